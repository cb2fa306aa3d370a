package disk

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"sort"
	"sync"
	"time"

	"github.com/flinktail/flinktail/internal/queue"
	"github.com/flinktail/flinktail/protocol"
)

const (
	// maxWindow bounds the entries between the first that is not settled and the last that was read.
	maxWindow = 1 << 14
	// A segment that cannot be read is tried so often, with pauses; then what of it cannot be read is given up.
	maxReads  = 5
	readPause = time.Second
)

// Cursor is a [queue.Cursor] whose position is stored.
type Cursor struct {
	queue *Queue
	name  string
	wake  chan struct{}

	reading sync.Mutex // held by Next
	scan    scanner
	file    file // what scan reads
	reads   int  // that failed, one after the other

	// Under the queue's lock.
	used    bool
	event   uint64 // everything before it is settled
	at      int64  // bytes of the queue that are settled
	backlog int    // at Open
	window  []*entry
	ahead   int   // memory of the entries that are not settled
	err     error // why Next cannot read now
	hungry  bool  // Next would have read on if less were ahead
}

// entry is a record that was read, or some that could not be.
type entry struct {
	queue.Entry
	cursor  *Cursor
	after   uint64 // where the cursor moves when this entry and those before it are settled
	at      int64
	settled bool
	buf     *buffer
	builder *protocol.Builder
}

func (q *Queue) addCursor(name string, event uint64) *Cursor {
	c := &Cursor{queue: q, name: name, wake: make(chan struct{}, 1), event: event, at: q.end, backlog: int(q.next - event)}
	if i := q.segmentOf(event); event < q.next {
		c.at = q.segments[i].base
	}
	c.scan.event = event
	q.cursors[name] = c
	return c
}

// segmentOf returns the place of the segment that an event belongs to.
func (q *Queue) segmentOf(event uint64) int {
	return sort.Search(len(q.segments), func(i int) bool { return q.segments[i].first > event }) - 1
}

// Wake is sent to when Next may have an entry: see [queue.Cursor].
func (c *Cursor) Wake() <-chan struct{} { return c.wake }

// Backlog returns how many events were left when the queue was opened.
func (c *Cursor) Backlog() int { return c.backlog }

// Next returns the next entry: see [queue.Cursor]. It returns nil, too, while so much is ahead that some of it must be settled first.
func (c *Cursor) Next() *queue.Entry {
	c.reading.Lock()
	defer c.reading.Unlock()
	for {
		seg, ok := c.source()
		if !ok {
			return nil
		}
		e, err := c.read(seg)
		if err != nil {
			c.again(err)
			return nil
		}
		if c.reads > 0 {
			c.reads = 0
			c.setErr(nil)
		}
		if e != nil {
			c.push(e)
			return &e.Entry
		}
	}
}

// source returns the segment to read from, if there is anything to read.
func (c *Cursor) source() (seg segment, ok bool) {
	q := c.queue
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.stopped || c.scan.event >= q.next {
		return seg, false
	}
	if len(c.window) > 0 && (c.ahead >= q.options.AheadBytes || len(c.window) >= maxWindow) {
		c.hungry = true
		return seg, false
	}
	i := q.segmentOf(c.scan.event)
	seg = q.segments[i]
	c.scan.span.last, c.scan.span.end = q.last(i), seg.end
	return seg, true
}

// read returns the next entry from seg, nil when there is none to speak of.
func (c *Cursor) read(seg segment) (*entry, error) {
	if c.file == nil || c.scan.span.first != seg.first {
		err := c.open(seg)
		if errors.Is(err, fs.ErrNotExist) {
			return c.skip(seg, c.scan.end()), nil
		}
		if err != nil {
			return nil, err
		}
	}
	r, lost, err := c.scan.next()
	switch {
	case err != nil:
		return nil, err
	case lost != nil:
		return c.skip(seg, *lost), nil
	case r == nil:
		return nil, nil
	}
	e := &entry{cursor: c, after: c.scan.event, at: seg.base + c.scan.offset, buf: c.scan.buf, builder: protocol.NewBuilder()}
	e.buf.hold()
	if decode(e.builder, r.payload) {
		e.Groups = e.builder.Groups()
	} else {
		e.Groups, err = protocol.UnmarshalGroupList(r.payload)
	}
	for _, g := range e.Groups {
		e.Size.Events += len(g.Logs)
		e.Size.Bytes += protocol.MemorySize(g)
	}
	if err != nil || e.Size.Events != int(r.events) {
		e.release()
		return c.skip(seg, gap{c.scan.offset - r.size(), r.size(), uint64(r.events), errDecode}), nil
	}
	return e, nil
}

func (c *Cursor) open(seg segment) error {
	if err := c.closeFile(); err != nil {
		return err
	}
	f, err := c.queue.options.files.Open(filepath.Join(c.queue.dir, segmentName(seg.first)))
	c.scan.reset(f, span{seg.first, c.scan.span.last, c.scan.span.end}, c.scan.event)
	if err == nil {
		c.file = f
	}
	return err
}

func (c *Cursor) closeFile() (err error) {
	c.scan.buf.release()
	c.scan.buf = nil
	if c.file != nil {
		err = c.file.Close()
	}
	c.file = nil
	return err
}

// leave closes a segment that is to be removed: as long as it is open it takes its space.
func (c *Cursor) leave(segment uint64) {
	c.reading.Lock()
	defer c.reading.Unlock()
	if c.scan.span.first == segment {
		_ = c.closeFile()
	}
}

// skip makes an entry of events that cannot be read.
func (c *Cursor) skip(seg segment, lost gap) *entry {
	c.queue.damaged(seg.first, c.file, lost)
	if lost.events == 0 {
		return nil
	}
	e := &entry{cursor: c, after: c.scan.event, at: seg.base + c.scan.offset}
	e.Size.Events, e.Corrupt = int(lost.events), lost.why
	return e
}

// again has Next called later, because a segment cannot be read.
func (c *Cursor) again(err error) {
	c.setErr(fmt.Errorf("read queue: %w", err))
	if c.reads++; c.reads >= maxReads {
		c.scan.patient = true // until the end of the segment
	}
	time.AfterFunc(readPause, func() { signal(c.wake) })
}

func (c *Cursor) setErr(err error) {
	c.queue.mu.Lock()
	defer c.queue.mu.Unlock()
	c.err = err
}

// push notes that e was read.
func (c *Cursor) push(e *entry) {
	c.queue.mu.Lock()
	defer c.queue.mu.Unlock()
	e.Begin(e, e.Size.Events)
	c.window = append(c.window, e)
	c.ahead += e.Size.Bytes
}

func (e *entry) release() {
	e.buf.release()
	e.Groups = nil
	if e.builder != nil {
		e.builder.Release()
	}
	e.buf, e.builder = nil, nil
}

// Settled moves the cursor over what is settled without a gap. What is lost stays in the queue.
func (e *entry) Settled(lost error) {
	e.release()
	c, q := e.cursor, e.cursor.queue
	q.mu.Lock()
	defer q.mu.Unlock()
	c.ahead -= e.Size.Bytes
	e.settled = lost == nil
	n := 0
	for n < len(c.window) && c.window[n].settled {
		c.event, c.at = c.window[n].after, c.window[n].at
		c.window[n] = nil
		n++
	}
	if c.window = c.window[n:]; n > 0 {
		q.cursorMoved(c)
	}
	if c.hungry && c.ahead <= q.options.AheadBytes/2 && len(c.window) < maxWindow {
		c.hungry = false
		signal(c.wake)
	}
}

// cursorMoved lets in who waits for room, and has segments removed that all have passed.
func (q *Queue) cursorMoved(c *Cursor) {
	q.gate.Grant()
	if c.event == q.next {
		q.tellIdle()
	}
	if event, _ := q.settled(); len(q.segments) > 0 && event >= q.last(0) && (len(q.segments) > 1 || !q.active) {
		signal(q.passed)
	}
	signal(q.moved)
}
