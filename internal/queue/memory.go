// Package queue holds what was accepted until every flusher is done with it.
package queue

import (
	"context"
	"sync"
	"sync/atomic"

	"golang.org/x/sync/semaphore"

	"github.com/flinktail/flinktail/pipeline"
	"github.com/flinktail/flinktail/protocol"
)

// Memory is a bounded queue in memory. Entries are appended once and read by every cursor; an entry leaves when all
// cursors have settled all of its events. It is safe for concurrent use.
type Memory struct {
	maxBytes, maxEvents int64
	bytes, events       *semaphore.Weighted // fair: who waits first appends first
	usedBytes           atomic.Int64
	usedEvents          atomic.Int64
	waiting             atomic.Int64

	mu      sync.Mutex
	tail    *Entry // the newest entry; cursors hold on to older ones, nothing else does
	cursors []*Cursor
	idle    chan struct{} // closed when nothing is held; nil while nobody asks
	held    int           // entries that are not settled
}

// Entry is what one Append added.
type Entry struct {
	Groups []*protocol.LogGroup
	Bytes  int // of memory
	Events int

	queue   *Memory
	next    *Entry
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

// NewMemory returns an empty queue that holds at most maxBytes of memory and maxEvents events.
func NewMemory(maxBytes int64, maxEvents int) *Memory {
	return &Memory{
		maxBytes: maxBytes, maxEvents: int64(maxEvents),
		bytes: semaphore.NewWeighted(maxBytes), events: semaphore.NewWeighted(int64(maxEvents)),
		tail: &Entry{},
	}
}

// Cursor adds a cursor. Make all cursors before the first Append.
func (q *Memory) Cursor() *Cursor {
	q.mu.Lock()
	defer q.mu.Unlock()
	c := &Cursor{queue: q, last: q.tail, wake: make(chan struct{}, 1)}
	q.cursors = append(q.cursors, c)
	return c
}

// Reserve waits for room for an entry of that size. The error is ErrTooLarge, or ErrFull when ctx ended first.
func (q *Memory) Reserve(ctx context.Context, bytes, events int) error {
	if int64(bytes) > q.maxBytes || int64(events) > q.maxEvents {
		return pipeline.ErrTooLarge
	}
	if !q.tryReserve(bytes, events) {
		q.waiting.Add(1)
		defer q.waiting.Add(-1)
		if q.bytes.Acquire(ctx, int64(bytes)) != nil {
			return pipeline.ErrFull
		}
		if q.events.Acquire(ctx, int64(events)) != nil {
			q.bytes.Release(int64(bytes))
			return pipeline.ErrFull
		}
	}
	q.usedBytes.Add(int64(bytes))
	q.usedEvents.Add(int64(events))
	return nil
}

func (q *Memory) tryReserve(bytes, events int) bool {
	if !q.bytes.TryAcquire(int64(bytes)) {
		return false
	}
	if !q.events.TryAcquire(int64(events)) {
		q.bytes.Release(int64(bytes))
		return false
	}
	return true
}

// Cancel gives a reservation back.
func (q *Memory) Cancel(bytes, events int) {
	q.usedBytes.Add(int64(-bytes))
	q.usedEvents.Add(int64(-events))
	q.bytes.Release(int64(bytes))
	q.events.Release(int64(events))
}

// Append adds groups under a reservation of bytes and events; count is how many events they really hold. done is called
// once, when every cursor has settled them. appended, if not nil, is called before any cursor sees them.
func (q *Memory) Append(groups []*protocol.LogGroup, count, bytes, events int, done func(error), appended func()) {
	e := &Entry{Groups: groups, Bytes: bytes, Events: events, queue: q, done: done}
	q.mu.Lock()
	e.pending.Store(int64(count * len(q.cursors)))
	q.held++
	if appended != nil {
		appended()
	}
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

// Settle says that one cursor is done with n events of e.
func (e *Entry) Settle(n int) {
	if e.pending.Add(int64(-n)) != 0 {
		return
	}
	q := e.queue
	q.Cancel(e.Bytes, e.Events)
	var err error
	if failed := e.failed.Load(); failed != nil {
		err = *failed
	}
	e.Groups = nil // cursors still hold on to the newest entry
	e.done(err)
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
func (q *Memory) Full() bool { return q.waiting.Load() > 0 }

// Used returns the memory and the number of events that the queue holds, reservations included.
func (q *Memory) Used() (bytes, events int64) { return q.usedBytes.Load(), q.usedEvents.Load() }
