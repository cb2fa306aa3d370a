package pipeline

import (
	"context"

	"github.com/flinktail/flinktail/protocol"
)

// Input takes events from one source and puts them into the pipeline.
//
// The engine calls Init, then Run once, and Stop after Run has returned and after the done of every
// Put has fired.
type Input interface {
	// Init opens what the input needs: it binds its port, opens its state. After an error
	// nothing may stay open and Stop is not called.
	Init(Context) error

	// Description says in one line what the input does.
	Description() string

	// Run accepts events until ctx ends, then returns nil; connections and sessions stay open, so
	// that what was taken can still be answered. An input that has read all there is (a file
	// under "run --once") returns nil early. An error means that the input cannot go on.
	Run(ctx context.Context, out Sink) error

	// Stop gives the last answers, commits, saves state and closes. It may be called twice.
	Stop() error
}

// Finite is implemented by an input that can read what its source holds and be done:
// "run --once" asks it to, before Run.
type Finite interface {
	ReadOnce()
}

// Waiter is implemented by an input that takes only so much before it is settled. Waiting reports whether it holds up its source for
// that now, or is about to; it is asked often, from any goroutine while Run runs. A flusher with "WhenFull": "dead_letter" then gives up what
// nobody but it has left to deliver, as it does when the queue is full.
type Waiter interface {
	Waiting() bool
}

// Sink is where an input puts its events. It is safe for concurrent use.
type Sink interface {
	// Put appends all of the groups, or none. It blocks while the queue is full. An error means
	// that none was taken and that done will not be called; ErrFull means that ctx ended first.
	// ErrTooLarge means that the groups can never fit.
	//
	// When Put returned nil, done is called exactly once, from any goroutine, and must not block:
	// with nil when every event is settled (delivered, filtered or dead-lettered by every flusher,
	// or synced to the disk queue), with an error when custody of them was lost. The groups
	// and all they point to belong to the pipeline until then.
	Put(ctx context.Context, groups []*protocol.LogGroup, done func(error)) error
}
