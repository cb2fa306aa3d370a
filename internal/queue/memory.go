// Package queue holds what was accepted until every flusher is done with it.
package queue

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/flinktail/flinktail/pipeline"
	"github.com/flinktail/flinktail/protocol"
)

// Memory is a bounded queue in memory. Entries are appended once and read by every cursor; an entry leaves when all
// cursors have settled all of its events. It is safe for concurrent use.
type Memory struct {
	max    Size
	closed chan struct{}

	mu      sync.Mutex
	used    Size
	waiting []*waiter // fair: who waits first appends first
	tail    *Entry    // the newest entry; cursors hold on to older ones, nothing else does
	cursors []*Cursor
	idle    chan struct{} // closed when nothing is held; nil while nobody asks
	held    int           // entries that are not settled
}

// Size is how much something holds, or has room for.
type Size struct {
	Bytes  int // of memory
	Events int
}

func (s Size) plus(t Size) Size  { return Size{s.Bytes + t.Bytes, s.Events + t.Events} }
func (s Size) minus(t Size) Size { return Size{s.Bytes - t.Bytes, s.Events - t.Events} }
func (s Size) within(t Size) bool {
	return s.Bytes <= t.Bytes && s.Events <= t.Events
}

// waiter is a Reserve that waits for room.
type waiter struct {
	size    Size
	granted chan struct{}
}

// Entry is what one Append added.
type Entry struct {
	Groups []*protocol.LogGroup
	Size   Size

	queue   *Memory
	next    *Entry
	room    Size
	pending atomic.Int64 // events times cursors still to be settled
	failed  atomic.Pointer[error]
	done    func(error)
}

// Cursor reads a queue's entries in order, from the first that is appended after the cursor was made.
type Cursor struct {
	queue *Memory
	last  *Entry
	wake  chan struct{}
}

// NewMemory returns an empty queue that holds at most limit.
func NewMemory(limit Size) *Memory {
	return &Memory{max: limit, closed: make(chan struct{}), tail: &Entry{}}
}

// Cursor adds a cursor. Make all cursors before the first Append.
func (q *Memory) Cursor() *Cursor {
	q.mu.Lock()
	defer q.mu.Unlock()
	c := &Cursor{queue: q, last: q.tail, wake: make(chan struct{}, 1)}
	q.cursors = append(q.cursors, c)
	return c
}

// Reserve waits for room for an entry of that size. The error is ErrTooLarge, ErrFull when ctx ended first, or ErrStopping
// when the queue was closed first.
func (q *Memory) Reserve(ctx context.Context, size Size) error {
	if !size.within(q.max) {
		return pipeline.ErrTooLarge
	}
	q.mu.Lock()
	if len(q.waiting) == 0 && q.used.plus(size).within(q.max) {
		q.used = q.used.plus(size)
		q.mu.Unlock()
		return nil
	}
	w := &waiter{size, make(chan struct{})}
	q.waiting = append(q.waiting, w)
	q.mu.Unlock()
	var err error
	select {
	case <-w.granted:
		return nil
	case <-ctx.Done():
		err = pipeline.ErrFull
	case <-q.closed:
		err = pipeline.ErrStopping
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	select {
	case <-w.granted: // meanwhile
		return nil
	default:
	}
	q.waiting = slices.DeleteFunc(q.waiting, func(other *waiter) bool { return other == w })
	q.grant() // a smaller one may have waited behind w
	return err
}

// Close makes whoever waits for room, and would wait from now on, give up. Entries are settled as before. Call it once.
func (q *Memory) Close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.waiting = nil // the room that comes now is not for them
	close(q.closed)
}

// resize changes what is used and lets in who waited for that.
func (q *Memory) resize(from, to Size) {
	q.used = q.used.minus(from).plus(to)
	q.grant()
}

func (q *Memory) grant() {
	for len(q.waiting) > 0 && q.used.plus(q.waiting[0].size).within(q.max) {
		q.used = q.used.plus(q.waiting[0].size)
		close(q.waiting[0].granted)
		q.waiting = slices.Delete(q.waiting, 0, 1)
	}
}

// Cancel gives a reservation back.
func (q *Memory) Cancel(reserved Size) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.resize(reserved, Size{})
}

// Append adds groups, which hold size, under a reservation. They may hold more than was reserved: they are counted in full, and
// who comes next waits the longer. done is called once, when every cursor has settled every event.
func (q *Memory) Append(groups []*protocol.LogGroup, size, reserved Size, done func(error)) {
	e := &Entry{Groups: groups, Size: size, queue: q, done: done}
	// What was filtered out of a group is not counted as an event, but lies in the group's memory.
	e.room = Size{max(size.Bytes, reserved.Bytes), size.Events}
	q.mu.Lock()
	e.pending.Store(int64(size.Events * len(q.cursors)))
	q.held++
	q.resize(reserved, e.room)
	q.tail.next = e
	q.tail = e
	cursors := q.cursors
	q.mu.Unlock()
	for _, c := range cursors {
		select {
		case c.wake <- struct{}{}:
		default:
		}
	}
}

// Settle says that one cursor is done with n events of e. The last one gives e's groups back to their owner.
func (e *Entry) Settle(n int) {
	if e.pending.Add(int64(-n)) != 0 {
		return
	}
	q := e.queue
	q.Cancel(e.room)
	var err error
	if failed := e.failed.Load(); failed != nil {
		err = *failed
	}
	done := e.done
	e.Groups, e.done = nil, nil // cursors still hold on to the newest entry
	done(err)
	q.mu.Lock()
	q.held--
	if q.held == 0 && q.idle != nil {
		close(q.idle)
		q.idle = nil
	}
	q.mu.Unlock()
}

// Lose says that one cursor has lost custody of n events of e.
func (e *Entry) Lose(n int, err error) {
	e.failed.CompareAndSwap(nil, &err)
	e.Settle(n)
}

// Next returns the entry after the last one returned, nil when there is none yet. A cursor belongs to one goroutine.
func (c *Cursor) Next() *Entry {
	c.queue.mu.Lock()
	defer c.queue.mu.Unlock()
	e := c.last.next
	if e != nil {
		c.last = e
	}
	return e
}

// Wake is sent to after an Append; Next then has an entry, unless it was already returned.
func (c *Cursor) Wake() <-chan struct{} { return c.wake }

// Idle returns a channel that is closed as soon as no entry is held.
func (q *Memory) Idle() <-chan struct{} {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.idle == nil {
		idle := make(chan struct{})
		if q.held == 0 {
			close(idle)
			return idle
		}
		q.idle = idle
	}
	return q.idle
}

// Full reports whether somebody waits for room.
func (q *Memory) Full() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.waiting) > 0
}

// Used returns what the queue holds, reservations included.
func (q *Memory) Used() Size {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.used
}
