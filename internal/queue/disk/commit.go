package disk

import (
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/flinktail/flinktail/pipeline"
)

const (
	// commitBytes bounds what is written with one sync.
	commitBytes = 4 << 20
	gatherTime  = time.Millisecond

	firstPause   = 20 * time.Millisecond
	longestPause = 2 * time.Second
)

var errNoSpace = errors.New("less than MinFreeBytes would stay free")

// writer appends to one segment after the other. It belongs to the goroutine that commits.
type writer struct {
	file   file // nil: begin a new segment
	first  uint64
	offset int64 // where the next record goes
	buf    []byte
}

// commitLoop writes what is pending, all that has come since the last time with one sync.
func (q *Queue) commitLoop() {
	for {
		q.gather()
		batch := q.takePending()
		if batch == nil {
			select {
			case <-q.work:
				continue
			case <-q.stop:
			}
			if batch = q.takePending(); batch == nil {
				q.leaveSegment()
				return
			}
		}
		q.commit(batch)
	}
}

// gather gives those whom the last commit answered the time to append again, so that one sync serves them all.
func (q *Queue) gather() {
	late := false
	var timer <-chan time.Time
	for {
		q.mu.Lock()
		if late {
			q.expected = 0
		}
		enough := len(q.pending) >= q.expected
		q.mu.Unlock()
		if enough {
			return
		}
		if timer == nil {
			timer = time.After(gatherTime)
		}
		select {
		case <-q.work:
		case <-timer:
			late = true
		case <-q.stop:
			return
		}
	}
}

// takePending returns the oldest appends that are to be committed together.
func (q *Queue) takePending() (batch []*pending) {
	q.mu.Lock()
	defer q.mu.Unlock()
	n, size := 0, int64(0)
	for n < len(q.pending) && (n == 0 || size+q.pending[n].header.size() <= min(commitBytes, q.options.SegmentBytes)) {
		size += q.pending[n].header.size()
		n++
	}
	batch = q.pending[:n:n]
	if q.pending = q.pending[n:]; len(q.pending) == 0 {
		q.pending = nil
	}
	return batch[:n:n]
}

// commit writes batch, as often as it takes. What cannot be written when the queue is closed is given back.
func (q *Queue) commit(batch []*pending) {
	for pause := firstPause; ; pause = min(2*pause, longestPause) {
		q.syncs.Add(1)
		err := q.write(batch)
		if err == nil {
			q.committed(batch)
			return
		}
		q.leaveSegment()
		q.mu.Lock()
		q.err = fmt.Errorf("append to queue: %w", err)
		q.answered.Broadcast()
		q.mu.Unlock()
		signal(q.passed) // the space of that segment may be needed
		select {
		case <-time.After(pause):
		case <-q.gate.Closed():
			q.giveBack(batch, pipeline.ErrStopping)
			return
		case <-q.stop:
			q.giveBack(batch, pipeline.ErrStopping)
			return
		}
	}
}

// write writes batch to the segment and syncs it. After an error the segment must be left: what a sync could not write is
// forgotten by the operating system, and the next sync would not tell.
func (q *Queue) write(batch []*pending) error {
	w := &q.writer
	var size int64
	for _, p := range batch {
		size += p.header.size()
	}
	if least := q.options.MinFreeBytes; least > 0 {
		free, err := q.options.files.Free(q.dir)
		if err != nil {
			return err
		}
		if free-size < least {
			return fmt.Errorf("%w: %d bytes are free, and MinFreeBytes is %d", errNoSpace, free, least)
		}
	}
	if w.file != nil && w.offset+size > q.options.SegmentBytes {
		q.leaveSegment()
	}
	event, begin := q.next, w.file == nil // only this goroutine changes next
	w.buf = w.buf[:0]
	if begin {
		w.buf = segmentHeader(w.buf, event, time.Now())
		w.offset = 0
	}
	for _, p := range batch {
		p.header.first = event
		w.buf = p.header.append(w.buf, w.offset+int64(len(w.buf)))
		w.buf = append(w.buf, p.payload.data...)
		event = p.header.after()
	}
	if begin {
		return q.beginSegment()
	}
	if _, err := w.file.WriteAt(w.buf, w.offset); err != nil {
		return err
	}
	return w.file.Sync()
}

// beginSegment writes the writer's buffer into a new segment.
func (q *Queue) beginSegment() error {
	w := &q.writer
	path := filepath.Join(q.dir, segmentName(q.next))
	f, err := q.options.files.Create(path)
	if err != nil {
		return err
	}
	if _, err = f.WriteAt(w.buf, 0); err == nil {
		err = f.Sync()
	}
	if err == nil {
		err = q.options.files.SyncDir(q.dir)
	}
	if err != nil {
		return errors.Join(err, f.Close(), q.options.files.Remove(path))
	}
	w.file, w.first = f, q.next
	return nil
}

// leaveSegment ends the segment where it was last synced.
func (q *Queue) leaveSegment() {
	w := &q.writer
	if w.file == nil {
		return
	}
	// Both are for tidiness: what lies behind the last synced record does not count.
	_ = w.file.Truncate(w.offset)
	_ = w.file.Close()
	w.file = nil
	q.mu.Lock()
	q.active = false
	q.mu.Unlock()
}

// committed makes batch, which the writer has synced, visible and tells those who wait for it.
func (q *Queue) committed(batch []*pending) {
	w := &q.writer
	size := int64(len(w.buf))
	q.mu.Lock()
	if w.offset == 0 {
		q.segments = append(q.segments, segment{first: w.first, base: q.end})
		q.active = true
	}
	w.offset += size
	q.segments[len(q.segments)-1].end = w.offset
	q.end += size
	q.next = batch[len(batch)-1].header.after()
	q.err = nil
	q.expected = len(batch) + len(q.pending)
	q.finish(batch)
	for _, c := range q.cursors {
		signal(c.wake)
	}
	q.mu.Unlock()
	if cap(w.buf) > 2*commitBytes {
		w.buf = nil
	}
	for _, p := range batch {
		p.payload.release()
		p.done(nil)
	}
}

// giveBack fails batch.
func (q *Queue) giveBack(batch []*pending, err error) {
	q.mu.Lock()
	err = errors.Join(err, q.err)
	q.finish(batch)
	q.tellIdle()
	q.mu.Unlock()
	for _, p := range batch {
		p.payload.release()
		p.done(err)
	}
}

// finish ends the wait of batch.
func (q *Queue) finish(batch []*pending) {
	q.waiting -= len(batch)
	for _, p := range batch {
		q.reserved = q.reserved.Minus(p.reserved)
	}
	q.answered.Broadcast()
	q.gate.Grant()
}
