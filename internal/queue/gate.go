package queue

import (
	"context"
	"slices"
	"sync"

	"github.com/flinktail/flinktail/pipeline"
)

// Gate lets those in who wait for room, who waits first before the others.
type Gate struct {
	mu      *sync.Mutex
	take    func(Size) bool // takes the room, if there is; called with mu held
	waiting []*waiter
	closed  chan struct{}
}

type waiter struct {
	size    Size
	granted chan struct{}
}

// NewGate returns a gate to what mu protects. take is called with mu held: it takes that much room if there is.
func NewGate(mu *sync.Mutex, take func(Size) bool) Gate {
	return Gate{mu: mu, take: take, closed: make(chan struct{})}
}

// Reserve waits for room. The error is ErrFull when ctx ended first, ErrStopping when the gate was closed first.
func (g *Gate) Reserve(ctx context.Context, size Size) error {
	g.mu.Lock()
	if len(g.waiting) == 0 && g.take(size) {
		g.mu.Unlock()
		return nil
	}
	w := &waiter{size, make(chan struct{})}
	g.waiting = append(g.waiting, w)
	g.mu.Unlock()
	var err error
	select {
	case <-w.granted:
		return nil
	case <-ctx.Done():
		err = pipeline.ErrFull
	case <-g.closed:
		err = pipeline.ErrStopping
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	select {
	case <-w.granted: // meanwhile
		return nil
	default:
	}
	g.waiting = slices.DeleteFunc(g.waiting, func(other *waiter) bool { return other == w })
	g.Grant() // a smaller one may have waited behind w
	return err
}

// Grant lets in whom there is room for now. Call it with the mutex held, whenever there may be more room.
func (g *Gate) Grant() {
	for len(g.waiting) > 0 && g.take(g.waiting[0].size) {
		close(g.waiting[0].granted)
		g.waiting = slices.Delete(g.waiting, 0, 1)
	}
}

// Close makes whoever waits, and would wait from now on, give up. Call it with the mutex held, once.
func (g *Gate) Close() {
	g.waiting = nil // the room that comes now is not for them
	close(g.closed)
}

// Closed is closed by Close.
func (g *Gate) Closed() <-chan struct{} { return g.closed }

// Full reports whether somebody waits. Call it with the mutex held.
func (g *Gate) Full() bool { return len(g.waiting) > 0 }
