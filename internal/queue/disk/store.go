package disk

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"
)

const (
	// noteEvery is how often the positions are written, for a crash of the process; storeEvery how often they are synced, for one of the
	// machine. What was settled since is delivered again.
	noteEvery  = 20 * time.Millisecond
	storeEvery = time.Second
)

// store keeps the cursors' positions in two files. One of them is always synced: it is left alone until the other one is.
//
// A file is a line with the checksum and the length of what follows, then that: JSON. What stands behind is of an older, longer one.
type store struct {
	mu         sync.Mutex
	files      [2]file
	current    int // the file that is written to
	generation uint64
}

type positions struct {
	Generation uint64            `json:"generation"`
	Cursors    map[string]uint64 `json:"cursors"` // the first event that is not settled
}

func storeName(i int) string { return fmt.Sprintf("cursors.%d", i) }

const storeHead = "%08x %08x\n"

// readPositions returns what was stored last, nil when nothing can be read, and in which of the files.
func readPositions(dir string) (p *positions, in int, err error) {
	for i := range 2 {
		data, err := os.ReadFile(filepath.Join(dir, storeName(i)))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, 0, err
		}
		var sum, length uint32
		head, body, _ := bytes.Cut(data, []byte("\n"))
		if _, err := fmt.Sscanf(string(head)+"\n", storeHead, &sum, &length); err != nil || int(length) > len(body) || checksum(body[:length]) != sum {
			continue
		}
		var one positions
		if json.Unmarshal(body[:length], &one) == nil && (p == nil || one.Generation > p.Generation) {
			p, in = &one, i
		}
	}
	return p, in, nil
}

// open takes the file to write to; the other one holds what was read, if anything was.
func (s *store) open(fs files, dir string, generation uint64, in int) error {
	s.current, s.generation = 1-in, generation
	for i := range s.files {
		path := filepath.Join(dir, storeName(i))
		f, err := fs.Open(path)
		if errors.Is(err, os.ErrNotExist) {
			f, err = fs.Create(path)
		}
		if err != nil {
			return errors.Join(err, s.close())
		}
		s.files[i] = f
	}
	return fs.SyncDir(dir)
}

// write needs mu, so that what is written last is what was true last.
func (s *store) write(cursors map[string]uint64, sync bool) error {
	s.generation++
	body, err := json.Marshal(positions{s.generation, cursors})
	if err != nil {
		return err
	}
	f := s.files[s.current]
	if _, err := f.WriteAt(append(fmt.Appendf(nil, storeHead, checksum(body), len(body)), body...), 0); err != nil {
		return err
	}
	if sync {
		if err := f.Sync(); err != nil {
			return err
		}
		s.current = 1 - s.current
	}
	return nil
}

func (s *store) close() (err error) {
	for _, f := range s.files {
		if f != nil {
			err = errors.Join(err, f.Close())
		}
	}
	return err
}

// storeCursors writes the cursors' positions and returns the event before which all of them have settled everything.
func (q *Queue) storeCursors(sync bool) (settled uint64, err error) {
	q.store.mu.Lock()
	defer q.store.mu.Unlock()
	q.mu.Lock()
	cursors := make(map[string]uint64, len(q.cursors))
	settled = q.next
	for name, c := range q.cursors {
		cursors[name] = c.event
		settled = min(settled, c.event)
	}
	q.mu.Unlock()
	if err = q.store.write(cursors, sync); err != nil {
		err = fmt.Errorf("store positions of queue: %w", err)
	}
	q.mu.Lock()
	q.storeErr = err
	q.mu.Unlock()
	return settled, err
}

// keep stores the cursors' positions as they move.
func (q *Queue) keep() {
	var due <-chan time.Time
	for {
		select {
		case <-q.moved:
			_, _ = q.storeCursors(false) // Err tells
			if due == nil {
				due = time.After(storeEvery)
			}
			select {
			case <-time.After(noteEvery):
			case <-q.stop:
				return
			}
		case <-due:
			due = nil
			if !q.removeSegments() {
				due = time.After(storeEvery)
			}
		case <-q.passed:
			if due = nil; !q.removeSegments() {
				due = time.After(storeEvery)
			}
		case <-q.stop:
			return
		}
	}
}

// removeSegments stores the cursors' positions for good and removes the segments that all have passed. It returns false when it has to be
// done again.
func (q *Queue) removeSegments() (ok bool) {
	q.removing.Lock()
	defer q.removing.Unlock()
	q.mu.Lock()
	nobody := len(q.cursors) == 0
	q.mu.Unlock()
	if nobody {
		return true // nothing is known to be delivered
	}
	settled, err := q.storeCursors(true)
	q.mu.Lock()
	full := q.err != nil
	if err != nil && !full { // a full disk needs the space more than the next start needs the truth about what is missing
		q.mu.Unlock()
		return false
	}
	var passed []uint64
	for i := range q.segments {
		if q.last(i) > settled || i == len(q.segments)-1 && q.active {
			break
		}
		passed = append(passed, q.segments[i].first)
	}
	cursors := slices.Collect(maps.Values(q.cursors))
	q.mu.Unlock()
	for _, first := range passed {
		for _, c := range cursors {
			c.leave(first)
		}
		err := q.options.files.Remove(filepath.Join(q.dir, segmentName(first)))
		q.mu.Lock()
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			q.storeErr = fmt.Errorf("remove what was delivered: %w", err)
			q.mu.Unlock()
			return false
		}
		q.segments = slices.Delete(q.segments, 0, 1)
		maps.DeleteFunc(q.damages, func(k damageKey, _ bool) bool { return k.segment == first })
		q.mu.Unlock()
	}
	return err == nil
}
