package engine

import (
	"context"
	"sync"

	"github.com/flinktail/flinktail/pipeline"
)

// A door lets an input's Puts in, and knows how many are inside: under way, or taken and not settled. It is safe for concurrent use.
type door struct {
	mu     sync.Mutex
	inside int
	shut   bool
	paused chan struct{} // closed when Puts may go on; nil when they may anyway
	empty  chan struct{} // closed when nobody is inside; nil while nobody asks
}

// enter waits while the door is paused. The error is ErrFull when ctx ended first, ErrStopping when the door is shut.
func (d *door) enter(ctx context.Context) error {
	for {
		d.mu.Lock()
		paused := d.paused
		switch {
		case d.shut:
			d.mu.Unlock()
			return pipeline.ErrStopping
		case paused == nil:
			d.inside++
			d.mu.Unlock()
			return nil
		}
		d.mu.Unlock()
		select {
		case <-paused:
		case <-ctx.Done():
			return pipeline.ErrFull
		}
	}
}

func (d *door) leave() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.inside--
	if d.inside == 0 && d.empty != nil {
		close(d.empty)
		d.empty = nil
	}
}

// pause has Puts wait that come from now on.
func (d *door) pause() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.paused == nil {
		d.paused = make(chan struct{})
	}
}

func (d *door) resume() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.letOn()
}

func (d *door) letOn() {
	if d.paused != nil {
		close(d.paused)
		d.paused = nil
	}
}

// close refuses every further Put for good.
func (d *door) close() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.shut = true
	d.letOn()
}

// whenEmpty tells when nobody is inside.
func (d *door) whenEmpty() <-chan struct{} {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.empty == nil {
		empty := make(chan struct{})
		if d.inside == 0 {
			close(empty)
			return empty
		}
		d.empty = empty
	}
	return d.empty
}
