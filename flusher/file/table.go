package file

import (
	"container/list"
	"errors"
	"sync"
	"time"

	"github.com/flinktail/flinktail/flusher/internal/appendfile"
)

// table holds the open files, of which it closes the least recently used when there are too many. Those that are
// being written to stay open. It is safe for concurrent use.
type table struct {
	options appendfile.Options
	max     int

	mu     sync.Mutex
	byPath map[string]*entry
	recent *list.List // of *entry, the most recently used first
	closed bool
}

// entry is one file. The table's lock guards users, mu everything else.
type entry struct {
	path    string
	users   int
	element *list.Element

	mu     sync.Mutex
	file   *appendfile.File // nil while it is not open
	closed bool
}

func newTable(o appendfile.Options, limit int) *table {
	return &table{options: o, max: max(limit, 1), byPath: map[string]*entry{}, recent: list.New()}
}

// acquire returns the entry for path, which stays in the table until release.
func (t *table) acquire(path string) (*entry, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return nil, errNotRunning
	}
	e := t.byPath[path]
	if e == nil {
		e = &entry{path: path}
		e.element = t.recent.PushFront(e)
		t.byPath[path] = e
	} else {
		t.recent.MoveToFront(e.element)
	}
	e.users++
	t.evict()
	return e, nil
}

func (t *table) release(e *entry) {
	t.mu.Lock()
	defer t.mu.Unlock()
	e.users--
	t.evict()
}

func (t *table) evict() {
	if t.closed {
		return
	}
	for el := t.recent.Back(); el != nil && t.recent.Len() > t.max; {
		e := el.Value.(*entry)
		el = el.Prev()
		if e.users == 0 {
			t.recent.Remove(e.element)
			delete(t.byPath, e.path)
			_ = e.close() // every batch in it is complete already
		}
	}
}

// close closes every file, each after the write that is going on.
func (t *table) close() error {
	t.mu.Lock()
	t.closed = true
	entries := make([]*entry, 0, t.recent.Len())
	for el := t.recent.Front(); el != nil; el = el.Next() {
		entries = append(entries, el.Value.(*entry))
	}
	t.mu.Unlock()
	var errs []error
	for _, e := range entries {
		e.mu.Lock()
		errs = append(errs, e.close())
		e.closed = true
		e.mu.Unlock()
	}
	return errors.Join(errs...)
}

// open returns the open file and its size. It opens the file again after somebody moved it away.
func (e *entry) open(o appendfile.Options) (*appendfile.File, int64, error) {
	for {
		if e.closed {
			return nil, 0, errNotRunning
		}
		if e.file == nil {
			file, err := appendfile.Open(e.path, o)
			if err != nil {
				return nil, 0, err
			}
			e.file = file
		}
		size, err := e.file.Size()
		if err == nil {
			return e.file, size, nil
		}
		if err := errors.Join(err, e.close()); !errors.Is(err, appendfile.ErrMoved) {
			return nil, 0, err
		}
	}
}

func (e *entry) append(p []byte, size int64) error {
	err := e.file.Append(p, size)
	if err != nil {
		err = errors.Join(err, e.close())
	}
	return err
}

func (e *entry) rotate(now time.Time) error {
	file := e.file
	e.file = nil
	_, err := file.Rotate(now)
	return err
}

func (e *entry) close() error {
	if e.file == nil {
		return nil
	}
	file := e.file
	e.file = nil
	return file.Close()
}
