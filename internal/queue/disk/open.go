package disk

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/flinktail/flinktail/internal/queue"
)

const lockName = "lock"

// Open opens the queue in dir and creates the folder, for its owner only. It reads the last segment only, whatever is queued.
// ErrInUse and ErrVersion are for a person; nothing was changed then. What is damaged does not keep the queue from opening.
func Open(dir string, options Options) (q *Queue, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("open queue %s: %w", dir, err)
		}
	}()
	if err := makeDir(dir); err != nil {
		return nil, err
	}
	lock, err := takeLock(filepath.Join(dir, lockName))
	if err != nil {
		return nil, err
	}
	q = &Queue{
		dir: dir, options: options.withDefaults(), lock: lock,
		work: make(chan struct{}, 1), moved: make(chan struct{}, 1), passed: make(chan struct{}, 1), stop: make(chan struct{}),
		cursors: map[string]*Cursor{}, damages: map[damageKey]bool{},
	}
	q.gate = queue.NewGate(&q.mu, q.take)
	q.answered = sync.NewCond(&q.mu)
	if err := q.recover(); err != nil {
		return nil, errors.Join(err, q.store.close(), lock.Close())
	}
	sign(lock)
	q.running.Go(q.commitLoop)
	q.running.Go(q.keep)
	signal(q.passed) // by all, before
	return q, nil
}

// holderText is of one length, so that a shorter number leaves nothing of a longer one behind.
const holderText = "%-10d\n"

// Lock takes the file, which it creates, as a lock until it is closed, or the process dies. The error is ErrInUse, with the number of the process that
// has it.
func Lock(path string) (*os.File, error) {
	lock, err := takeLock(path)
	if err == nil {
		sign(lock)
	}
	return lock, err
}

func takeLock(path string) (*os.File, error) {
	lock, err := lockFile(path)
	if errors.Is(err, ErrInUse) {
		text, _ := os.ReadFile(path)
		if pid, err := strconv.Atoi(strings.TrimSpace(string(text))); err == nil {
			return nil, fmt.Errorf("%w: process %d", ErrInUse, pid)
		}
	}
	return lock, err
}

// sign leaves the number of the process in the file, as a courtesy to who wants the lock.
func sign(lock *os.File) { _, _ = fmt.Fprintf(io.NewOffsetWriter(lock, 0), holderText, os.Getpid()) }

// makeDir creates dir and what is above it so that they survive a crash of the machine.
func makeDir(dir string) error {
	if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
		return err
	}
	parent := filepath.Dir(dir)
	if err := makeDir(parent); err != nil {
		return err
	}
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
		return err
	}
	return syncDir(parent)
}

// found is a segment's file.
type found struct {
	segment
	version uint32 // 0 when the header is damaged
	created time.Time
}

// findSegments returns the segments in dir, in order.
func findSegments(dir string) ([]found, error) {
	names, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var all []found
	for _, entry := range names {
		first, ok := parseSegmentName(entry.Name())
		if !ok || !entry.Type().IsRegular() {
			continue
		}
		f, err := os.Open(filepath.Join(dir, entry.Name()))
		if errors.Is(err, os.ErrNotExist) {
			continue // removed meanwhile
		}
		if err != nil {
			return nil, err
		}
		s := found{segment: segment{first: first}}
		var head [segmentHeaderSize]byte
		n, _ := f.ReadAt(head[:], 0)
		s.version, s.created, _ = parseSegmentHeader(head[:n])
		s.end, err = f.Seek(0, io.SeekEnd)
		if _ = f.Close(); err != nil {
			return nil, err
		}
		if s.version > formatVersion {
			return nil, fmt.Errorf("%s is in format %d: %w", entry.Name(), s.version, ErrVersion)
		}
		all = append(all, s)
	}
	slices.SortFunc(all, func(a, b found) int { return cmp.Compare(a.first, b.first) })
	return all, nil
}

// recover finds out what the folder holds.
func (q *Queue) recover() error {
	segments, err := findSegments(q.dir)
	if err != nil {
		return err
	}
	stored, in, err := readPositions(q.dir)
	if err != nil {
		return err
	}
	for i, s := range segments {
		if s.version == 0 && i < len(segments)-1 {
			q.options.Damaged(Damage{File: segmentName(s.first), Bytes: segmentHeaderSize, Err: errSegmentHeader})
		}
		s.base = q.end
		q.end += s.end
		q.segments = append(q.segments, s.segment)
	}
	if err := q.recoverTail(); err != nil {
		return err
	}
	if stored == nil {
		stored = &positions{}
		if q.lost = len(q.segments) > 0; q.lost {
			q.options.Damaged(lostPositions())
		}
	}
	for _, event := range stored.Cursors {
		q.next = max(q.next, event) // the last segment may be gone, and what comes now must not take its place
	}
	oldest := q.next
	if len(q.segments) > 0 {
		oldest = q.segments[0].first
	}
	for name, event := range stored.Cursors {
		if event < oldest {
			q.options.Damaged(lostEvents(name, event, oldest))
		}
		q.addCursor(name, max(event, oldest))
	}
	added := false
	for _, name := range q.options.Cursors {
		if _, ok := q.cursors[name]; ok {
			continue
		}
		added = true
		q.addCursor(name, q.beginning())
	}
	if err := q.store.open(q.options.files, q.dir, stored.Generation, in); err != nil {
		return err
	}
	if added {
		_, err = q.storeCursors(true)
	}
	return err
}

// recoverTail finds the end of the last segment and cuts what a crash has left behind it.
func (q *Queue) recoverTail() error {
	if len(q.segments) == 0 {
		return nil
	}
	tail := &q.segments[len(q.segments)-1]
	q.next = tail.first
	path := filepath.Join(q.dir, segmentName(tail.first))
	f, err := q.options.files.Open(path)
	if err != nil {
		return err
	}
	end, lost, err := scanTail(f, tail.first, tail.end)
	if err != nil {
		return errors.Join(err, f.Close())
	}
	q.next = end.event
	if lost.bytes > 0 {
		q.damaged(tail.first, f, lost)
		err = f.Truncate(end.offset)
	}
	err = errors.Join(err, f.Sync(), f.Close())
	q.end -= tail.end - end.offset
	tail.end = end.offset
	if end.event == tail.first { // it holds nothing
		q.segments = q.segments[:len(q.segments)-1]
		q.end = tail.base
		err = errors.Join(err, q.options.files.Remove(path))
	}
	return err
}

// tailEnd is where the last segment ends.
type tailEnd struct {
	event  uint64
	offset int64
}

// scanTail returns the end of the last record that can be read, and what follows it.
func scanTail(f io.ReaderAt, first uint64, size int64) (end tailEnd, lost gap, err error) {
	var s scanner
	s.reset(f, span{first, unknown, size}, first)
	defer func() { s.buf.release() }()
	end = tailEnd{first, min(size, segmentHeaderSize)}
	for {
		r, g, err := s.next()
		switch {
		case err != nil && !s.patient:
			s.patient = true
		case err != nil:
			return end, lost, err
		case g != nil:
			if lost.why == nil {
				lost.why = g.why
			}
			lost.events += g.events
		case r != nil:
			end, lost = tailEnd{s.event, s.offset}, gap{}
		default:
			lost.offset, lost.bytes = end.offset, max(size-end.offset, 0)
			return end, lost, nil
		}
	}
}
