package engine

import (
	"errors"
	"sync"
	"time"

	"github.com/flinktail/flinktail/pipeline"
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
	last   time.Time // when a Put gave up waiting after that; zero when none did
}

func (r *room) ask() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.asking++
	if r.since.IsZero() {
		r.since = time.Now()
	}
}

// answer takes what Reserve has returned.
func (r *room) answer(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.asking--
	switch {
	case errors.Is(err, pipeline.ErrFull):
		r.last = time.Now()
	case err == nil && r.asking > 0:
		r.since, r.last = time.Now(), time.Time{}
	case err == nil || r.asking == 0 && r.last.IsZero(): // an error that has nothing to do with room leaves no trace
		r.since, r.last = time.Time{}, time.Time{}
	}
}

// none reports whether no Put has got room for a while, though some asked.
func (r *room) none() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return !r.since.IsZero() && time.Since(r.since) > roomPatience && (r.asking > 0 || time.Since(r.last) < roomMemory)
}
