package disk

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// Report says what a queue's folder holds.
type Report struct {
	Segments []SegmentReport `json:"segments"`
	Cursors  []CursorReport  `json:"cursors"`
	Damaged  []string        `json:"damaged"` // the files with what could not be read
}

// SegmentReport describes a file of events.
type SegmentReport struct {
	Name    string    `json:"name"`
	First   uint64    `json:"first_event"` // its index: the first event ever appended is 0
	Events  int       `json:"events"`
	Bytes   int64     `json:"bytes"`
	Created time.Time `json:"created,omitzero"` // zero when the header is damaged
}

// CursorReport describes how far a reader is.
type CursorReport struct {
	Name    string    `json:"name"`
	Backlog int       `json:"backlog"`         // events
	Oldest  time.Time `json:"oldest,omitzero"` // when the oldest of them that can be read was appended; zero without one
}

// Inspect reads the folder without changing it; the queue may be open. The error is [fs.ErrNotExist] without a folder, or ErrVersion.
func Inspect(dir string) (*Report, error) {
	segments, next, err := survey(dir)
	if err != nil {
		return nil, fmt.Errorf("inspect queue: %w", err)
	}
	stored, _, err := readPositions(dir)
	if err != nil {
		return nil, fmt.Errorf("inspect queue: %w", err)
	}
	r := &Report{Segments: []SegmentReport{}, Cursors: []CursorReport{}, Damaged: []string{}}
	for i, s := range segments {
		r.Segments = append(r.Segments, SegmentReport{segmentName(s.first), s.first, int(next[i] - s.first), s.end, s.created})
	}
	if stored != nil {
		for name, event := range stored.Cursors {
			r.Cursors = append(r.Cursors, inspectCursor(dir, name, event, segments, next))
		}
	}
	slices.SortFunc(r.Cursors, func(a, b CursorReport) int { return cmp.Compare(a.Name, b.Name) })
	kept, err := os.ReadDir(filepath.Join(dir, damagedDir))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("inspect queue: %w", err)
	}
	for _, entry := range kept {
		r.Damaged = append(r.Damaged, filepath.Join(damagedDir, entry.Name()))
	}
	return r, nil
}

// listSegments is [findSegments] for a queue that may be open. A folder that is listed while files come may show a later one and not an
// earlier one, so what came since the first list is left out of the second.
func listSegments(dir string) ([]found, error) {
	before, err := findSegments(dir)
	if err != nil {
		return nil, err
	}
	segments, err := findSegments(dir)
	return slices.DeleteFunc(segments, func(s found) bool { return len(before) == 0 || s.first > before[len(before)-1].first }), err
}

// survey returns the segments and, for each, the index after its last event.
func survey(dir string) (segments []found, next []uint64, err error) {
	if segments, err = listSegments(dir); err != nil {
		return nil, nil, err
	}
	for i := range segments {
		if i+1 < len(segments) {
			next = append(next, segments[i+1].first)
			continue
		}
		f, err := os.Open(filepath.Join(dir, segmentName(segments[i].first)))
		if errors.Is(err, fs.ErrNotExist) {
			return segments[:i], next, nil // removed meanwhile
		}
		if err != nil {
			return nil, nil, err
		}
		end, _, err := scanTail(f, segments[i].first, segments[i].end)
		_ = f.Close()
		if err != nil {
			return nil, nil, err
		}
		next = append(next, end.event)
	}
	return segments, next, nil
}

func inspectCursor(dir, name string, event uint64, segments []found, next []uint64) CursorReport {
	r := CursorReport{Name: name}
	if len(segments) == 0 {
		return r
	}
	event = max(event, segments[0].first)
	if last := next[len(next)-1]; event < last {
		r.Backlog = int(last - event)
	}
	for i, s := range segments {
		if event >= next[i] {
			continue
		}
		if record := firstRecord(dir, s, next[i], event); record != nil {
			r.Oldest = time.UnixMilli(record.appended)
			break
		}
	}
	return r
}

// firstRecord returns the first record from event on, nil when there is none that can be read.
func firstRecord(dir string, s found, last, event uint64) *record {
	f, err := os.Open(filepath.Join(dir, segmentName(s.first)))
	if err != nil {
		return nil
	}
	defer func() { _ = f.Close() }()
	var scan scanner
	scan.reset(f, span{s.first, last, s.end}, event)
	scan.headonly = true
	defer func() { scan.buf.release() }()
	for {
		r, lost, err := scan.next()
		if err != nil || r != nil || lost == nil {
			return r
		}
	}
}

// Verified says what Verify has read.
type Verified struct {
	Segments int
	Events   int // that can be read
}

// Verify reads everything in the folder and calls damaged for what cannot be read, and progress now and then. What a crash left behind the
// last event is not damage. Nothing is changed; the queue may be open: what is removed meanwhile is left out.
func Verify(dir string, damaged func(Damage), progress func(read, total int64)) (v Verified, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("verify queue: %w", err)
		}
	}()
	before, _, err := readPositions(dir)
	if err != nil {
		return v, err
	}
	segments, next, err := survey(dir)
	if err != nil {
		return v, err
	}
	after, _, err := readPositions(dir)
	if err != nil {
		return v, err
	}
	verifyPositions(segments, before, after, damaged)
	var read, total int64
	for _, s := range segments {
		total += s.end
	}
	for i, s := range segments {
		n, err := verifySegment(dir, s, next[i], damaged, func(offset int64) { progress(read+offset, total) })
		if errors.Is(err, fs.ErrNotExist) {
			continue // removed meanwhile
		}
		if err != nil {
			return v, err
		}
		v.Segments++
		v.Events += n
		read += s.end
	}
	return v, nil
}

// verifyPositions looks for cursors that have not settled what is gone. An open queue removes segments and moves cursors meanwhile, so the
// end is from before segments were looked for, and the cursors from after.
func verifyPositions(segments []found, before, after *positions, damaged func(Damage)) {
	if after == nil {
		if len(segments) > 0 {
			damaged(lostPositions())
		}
		return
	}
	var oldest uint64
	if len(segments) > 0 {
		oldest = segments[0].first
	} else if before != nil {
		for _, event := range before.Cursors {
			oldest = max(oldest, event)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(after.Cursors)) {
		if event := after.Cursors[name]; event < oldest {
			damaged(lostEvents(name, event, oldest))
		}
	}
}

func verifySegment(dir string, s found, last uint64, damaged func(Damage), progress func(offset int64)) (events int, err error) {
	name := segmentName(s.first)
	f, err := os.Open(filepath.Join(dir, name))
	if err != nil {
		return 0, err
	}
	defer func() { _ = f.Close() }()
	var head [segmentHeaderSize]byte
	n, _ := f.ReadAt(head[:], 0) // again: a file that has just come was empty when it was found
	if _, _, ok := parseSegmentHeader(head[:n]); !ok && last > s.first {
		damaged(Damage{File: name, Bytes: segmentHeaderSize, Err: errSegmentHeader})
	}
	var scan scanner
	scan.reset(f, span{s.first, last, s.end}, s.first)
	scan.patient = true
	defer func() { scan.buf.release() }()
	for {
		r, lost, err := scan.next()
		switch {
		case err != nil:
			return events, err
		case lost != nil:
			damaged(Damage{File: name, Offset: lost.offset, Bytes: lost.bytes, Events: int(lost.events), Err: lost.why})
		case r != nil:
			events += int(r.events)
		default:
			return events, nil
		}
		progress(scan.offset)
	}
}
