package queue

import (
	"context"
	"fmt"
	"math"
	"slices"
	"sync"

	"github.com/flinktail/flinktail/pipeline"
	"github.com/flinktail/flinktail/protocol"
)

// Memory is a queue in memory: it answers for an entry's events when all of them are settled.
type Memory struct {
	max Size

	mu      sync.Mutex
	used    Size
	gate    Gate
	tail    *memoryEntry // the newest entry; cursors hold on to older ones, nothing else does
	cursors []*memoryCursor
	idle    chan struct{} // closed when nothing is held; nil while nobody asks
	held    int           // entries that are not settled
}

type memoryEntry struct {
	Entry
	queue *Memory
	next  *memoryEntry
	room  Size
	done  func(error)
}

type memoryCursor struct {
	queue *Memory
	name  string
	last  *memoryEntry
	wake  chan struct{}
}

// NewMemory returns an empty queue that holds at most limit; limit.Events may be 0, for as many as fit.
func NewMemory(limit Size) *Memory {
	if limit.Events == 0 {
		limit.Events = math.MaxInt
	}
	q := &Memory{max: limit, tail: &memoryEntry{}}
	q.gate = NewGate(&q.mu, q.take)
	return q
}

// Cursor adds a cursor: see [Queue].
func (q *Memory) Cursor(name string) (Cursor, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	c := &memoryCursor{queue: q, name: name, last: q.tail, wake: make(chan struct{}, 1)}
	q.cursors = append(q.cursors, c)
	return c, nil
}

// Remove takes a cursor out: see [Queue].
func (q *Memory) Remove(name string) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	i := slices.IndexFunc(q.cursors, func(c *memoryCursor) bool { return c.name == name })
	if i < 0 {
		return fmt.Errorf("remove cursor %s: there is none", name)
	}
	if q.cursors[i].last != q.tail {
		return fmt.Errorf("remove cursor %s: it has events left", name)
	}
	q.cursors = slices.Concat(q.cursors[:i], q.cursors[i+1:]) // an Append may be going through the old ones
	return nil
}

// Reserve waits for room: see [Queue].
func (q *Memory) Reserve(ctx context.Context, size Size) error {
	if !size.Within(q.max) {
		return pipeline.ErrTooLarge
	}
	return q.gate.Reserve(ctx, size)
}

func (q *Memory) take(size Size) bool {
	if !q.used.Plus(size).Within(q.max) {
		return false
	}
	q.used = q.used.Plus(size)
	return true
}

// Close ends every wait for room: see [Queue].
func (q *Memory) Close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.gate.Close()
}

// Stop has nothing to do.
func (q *Memory) Stop() error { return nil }

// resize changes what is used and lets in who waited for that.
func (q *Memory) resize(from, to Size) {
	q.used = q.used.Minus(from).Plus(to)
	q.gate.Grant()
}

// Cancel gives a reservation back.
func (q *Memory) Cancel(reserved Size) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.resize(reserved, Size{})
}

// Append adds an entry: see [Queue]. done is called when every cursor has settled every event.
func (q *Memory) Append(groups []*protocol.LogGroup, size, reserved Size, done func(error)) {
	e := &memoryEntry{Entry: Entry{Groups: groups, Size: size}, queue: q, done: done}
	// What was filtered out of a group is not counted as an event, but lies in the group's memory.
	e.room = Size{max(size.Bytes, reserved.Bytes), size.Events}
	q.mu.Lock()
	e.Begin(e, size.Events*len(q.cursors))
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

// Settled gives the groups back to their owner.
func (e *memoryEntry) Settled(lost error) {
	q := e.queue
	q.Cancel(e.room)
	done := e.done
	e.Groups, e.done = nil, nil // cursors still hold on to the newest entry
	done(lost)
	q.mu.Lock()
	q.held--
	if q.held == 0 && q.idle != nil {
		close(q.idle)
		q.idle = nil
	}
	q.mu.Unlock()
}

func (c *memoryCursor) Next() *Entry {
	c.queue.mu.Lock()
	defer c.queue.mu.Unlock()
	e := c.last.next
	if e == nil {
		return nil
	}
	c.last = e
	return &e.Entry
}

func (c *memoryCursor) Wake() <-chan struct{} { return c.wake }

// Backlog is 0: a queue in memory starts empty.
func (c *memoryCursor) Backlog() int { return 0 }

// Idle tells when no entry is held: see [Queue].
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
	return q.gate.Full()
}

// Used returns what the queue holds, reservations included.
func (q *Memory) Used() Size {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.used
}
