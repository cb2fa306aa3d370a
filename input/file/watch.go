package fileinput

import (
	"log/slog"
	"sync/atomic"

	"github.com/fsnotify/fsnotify"
)

// watcher wakes Run when something happens in the folders it knows. It only makes polling quicker: without it, as on
// network file systems, nothing is missed.
type watcher struct {
	notify *fsnotify.Watcher // nil: polling alone
	wake   chan struct{}
	names  atomic.Bool // files came, went or were renamed
	ended  chan struct{}
}

func newWatcher(log *slog.Logger, wake chan struct{}) *watcher {
	w := &watcher{wake: wake, ended: make(chan struct{})}
	notify, err := fsnotify.NewWatcher()
	if err != nil {
		log.Warn("no notifications from the file system; files are polled", "error", err)
		close(w.ended)
		return w
	}
	w.notify = notify
	go w.listen()
	return w
}

func (w *watcher) listen() {
	defer close(w.ended)
	for {
		select {
		case event, ok := <-w.notify.Events:
			if !ok {
				return
			}
			if event.Op&^(fsnotify.Write|fsnotify.Chmod) != 0 {
				w.names.Store(true)
			}
		case _, ok := <-w.notify.Errors: // some were missed
			if !ok {
				return
			}
			w.names.Store(true)
		}
		signal(w.wake)
	}
}

// add watches a folder. One that is not there is asked for again at the next poll.
func (w *watcher) add(dir string) {
	if w.notify != nil {
		_ = w.notify.Add(dir)
	}
}

// changed reports whether files came, went or were renamed since it was last asked.
func (w *watcher) changed() bool { return w.names.Swap(false) }

func (w *watcher) close() {
	if w.notify != nil {
		_ = w.notify.Close()
	}
	<-w.ended
}
