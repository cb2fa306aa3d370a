// Package queue holds what was accepted until every flusher is done with it.
package queue

import (
	"context"
	"sync/atomic"

	"github.com/flinktail/flinktail/protocol"
)

// Queue is bounded. Entries are appended once and read by every cursor; an entry leaves when all cursors have settled all of its
// events. It is safe for concurrent use.
type Queue interface {
	// Cursor returns the cursor of that name. A new one reads from the first entry that is appended from now on.
	Cursor(name string) (Cursor, error)

	// Remove takes a cursor out that has settled everything and is not read any more, while nothing is appended. The error says that it has not.
	Remove(name string) error

	// Reserve waits for room for an entry of that size. The error is ErrTooLarge, ErrFull when ctx ended first, or ErrStopping
	// when the queue was closed first.
	Reserve(ctx context.Context, size Size) error
	// Cancel gives a reservation back.
	Cancel(reserved Size)
	// Append adds groups, which hold size, under a reservation. They may hold more than was reserved: they are counted in full, and
	// who comes next waits the longer. done is called once, from any goroutine: when the queue answers for the events and no longer
	// needs groups, or with an error when it does not answer for them.
	Append(groups []*protocol.LogGroup, size, reserved Size, done func(error))

	// Idle returns a channel that is closed as soon as no entry is held.
	Idle() <-chan struct{}
	// Full reports whether somebody waits for room.
	Full() bool
	// Used returns what the queue holds, reservations included.
	Used() Size

	// Close makes whoever waits for room, and would wait from now on, give up. Entries are settled as before. Call it once.
	Close()
	// Stop comes after Close. It ends what the queue does in the background and lets go of its files; entries may still be settled.
	Stop() error
}

// Cursor reads a queue's entries in order.
type Cursor interface {
	// Next returns the entry after the last one returned, nil when there is none yet. A cursor belongs to one goroutine.
	Next() *Entry
	// Wake is sent to when Next, having returned nil, may have an entry.
	Wake() <-chan struct{}
	// Backlog returns how many events were left to it when the queue was opened.
	Backlog() int
}

// Size is how much something holds, or has room for.
type Size struct {
	Bytes  int // of memory
	Events int
}

// Plus returns the sum.
func (s Size) Plus(t Size) Size { return Size{s.Bytes + t.Bytes, s.Events + t.Events} }

// Minus returns the difference.
func (s Size) Minus(t Size) Size { return Size{s.Bytes - t.Bytes, s.Events - t.Events} }

// Within reports whether t has room for s.
func (s Size) Within(t Size) bool { return s.Bytes <= t.Bytes && s.Events <= t.Events }

// Entry is what one Append added.
type Entry struct {
	Groups []*protocol.LogGroup
	Size   Size
	// Corrupt says why the entry's events cannot be read. It has no Groups then, Size says how many there were.
	Corrupt error

	holder  Holder
	pending atomic.Int64 // events to be settled, once for each cursor that gets the entry
	failed  atomic.Pointer[error]
}

// Holder is the queue's side of an entry.
type Holder interface {
	// Settled is called once, when all is settled; lost is the error of a Lose.
	Settled(lost error)
}

// Begin makes e wait for the settling of so many events.
func (e *Entry) Begin(h Holder, events int) {
	e.holder = h
	e.pending.Store(int64(events))
}

// Settle says that one cursor is done with n events of e. The last one gives e's groups back to their owner.
func (e *Entry) Settle(n int) {
	if e.pending.Add(int64(-n)) != 0 {
		return
	}
	var lost error
	if failed := e.failed.Load(); failed != nil {
		lost = *failed
	}
	e.holder.Settled(lost)
}

// Lose says that one cursor could not deal with n events of e: a queue that survives a restart keeps them, any other loses custody.
func (e *Entry) Lose(n int, err error) {
	e.failed.CompareAndSwap(nil, &err)
	e.Settle(n)
}
