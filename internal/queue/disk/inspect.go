package disk

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
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
	Bytes   int64     `json:"bytes"`
	Events  int       `json:"events"`
	Created time.Time `json:"created"` // zero when the header is damaged
}

// CursorReport describes how far a reader is.
type CursorReport struct {
	Name    string    `json:"name"`
	Backlog int       `json:"backlog"` // events
	Oldest  time.Time `json:"oldest"`  // when the oldest of them that can be read was appended; zero without one
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
		r.Segments = append(r.Segments, SegmentReport{segmentName(s.first), s.end, int(next[i] - s.first), s.created})
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

// survey returns the segments and, for each, the index after its last event.
func survey(dir string) (segments []found, next []uint64, err error) {
	if segments, err = findSegments(dir); err != nil {
		return nil, nil, err
	}
	for i := range segments {
		if i+1 < len(segments) {
			next = append(next, segments[i+1].first)
			continue
		}
		f, err := os.Open(filepath.Join(dir, segmentName(segments[i].first)))
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

// Verify reads everything in the folder and calls damaged for what cannot be read. It returns how many events can. What a crash left behind
// the last event is not damage. Nothing is changed; the queue should not be open, for it may remove what is being read.
func Verify(dir string, damaged func(Damage)) (events int, err error) {
	segments, next, err := survey(dir)
	if err != nil {
		return 0, fmt.Errorf("verify queue: %w", err)
	}
	for i, s := range segments {
		n, err := verifySegment(dir, s, next[i], damaged)
		if err != nil {
			return events, fmt.Errorf("verify queue: %w", err)
		}
		events += n
	}
	return events, nil
}

func verifySegment(dir string, s found, last uint64, damaged func(Damage)) (events int, err error) {
	name := segmentName(s.first)
	if s.version == 0 && last > s.first {
		damaged(Damage{File: name, Bytes: segmentHeaderSize, Err: errSegmentHeader})
	}
	f, err := os.Open(filepath.Join(dir, name))
	if err != nil {
		return 0, err
	}
	defer func() { _ = f.Close() }()
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
	}
}
