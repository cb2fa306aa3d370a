package engine

import (
	"sync"
	"time"
)

const (
	// roomPatience is how long an input gets no room in the queue before people hear of it.
	roomPatience = time.Second
	// roomMemory is how long after the last Put that got no room an input counts as waiting: its senders come again.
	roomMemory = 10 * time.Second
)

// room tells whether an input's Puts get room in the queue. It is safe for concurrent use.
type room struct {
	mu     sync.Mutex
	asking int       // Puts that wait for room
	since  time.Time // when the first of them asked that came after the last one that got room; zero when there is none
	last   time.Time // when a Put asked or was refused
}

func (r *room) ask() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.asking++
	r.last = time.Now()
	if r.since.IsZero() {
		r.since = r.last
	}
}

func (r *room) answer(got bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.asking--
	switch {
	case !got:
		r.last = time.Now()
	case r.asking > 0:
		r.since = time.Now()
	default:
		r.since = time.Time{}
	}
}

// none reports whether no Put has got room for a while, though some asked.
func (r *room) none() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return !r.since.IsZero() && time.Since(r.since) > roomPatience && (r.asking > 0 || time.Since(r.last) < roomMemory)
}
