package listen

import (
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"time"
)

// reloader keeps a value that is read from files, and reads it again when one of them changes. What cannot be read
// any more stays as it was.
type reloader[T any] struct {
	files []string
	read  func() (T, error)
	log   *slog.Logger

	mu      sync.Mutex
	value   T
	stamp   string
	checked time.Time
}

// checkEvery bounds how often the files are looked at.
const checkEvery = time.Second

func newReloader[T any](log *slog.Logger, read func() (T, error), files ...string) (*reloader[T], error) {
	r := &reloader[T]{files: files, read: read, log: log, checked: time.Now()}
	r.stamp = r.look()
	value, err := read()
	if err != nil {
		return nil, err
	}
	r.value = value
	return r, nil
}

// current returns the value, read again if the files changed.
func (r *reloader[T]) current() T {
	r.mu.Lock()
	defer r.mu.Unlock()
	if now := time.Now(); now.Sub(r.checked) >= checkEvery {
		r.checked = now
		if stamp := r.look(); stamp != r.stamp {
			r.reload(stamp)
		}
	}
	return r.value
}

func (r *reloader[T]) reload(stamp string) {
	value, err := r.read()
	if err != nil {
		r.log.Warn("the file changed and cannot be used; what it held before stays valid", "error", err)
	} else {
		r.value = value
		r.log.Info("read again", "files", r.files)
	}
	r.stamp = stamp
}

// look returns what changes with the files.
func (r *reloader[T]) look() string {
	var stamp strings.Builder
	for _, file := range r.files {
		if info, err := os.Stat(file); err == nil {
			fmt.Fprintf(&stamp, "%d %d;", info.Size(), info.ModTime().UnixNano())
		}
	}
	return stamp.String()
}
