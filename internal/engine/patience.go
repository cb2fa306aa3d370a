package engine

import (
	"context"
	"errors"
	"time"
)

// patience is how long a reload waits: until by, and not when flinktail stops.
type patience struct {
	ctx context.Context // ends when flinktail stops
	by  time.Time
}

// await waits for done and tells whether it is.
func (w patience) await(done <-chan struct{}) bool {
	select {
	case <-done:
		return true
	case <-time.After(time.Until(w.by)):
	case <-w.ctx.Done():
	}
	return closed(done)
}

// allow waits for a call of a plugin, for removePatience at least however late it is; once flinktail stops it gets flushGrace.
func (w patience) allow(call func()) (returned bool) {
	if least := time.Now().Add(removePatience); w.by.Before(least) {
		w.by = least
	}
	ended := inBackground(call)
	return w.await(ended) || waitUntil(time.Now().Add(flushGrace), ended)
}

var errTooSlow = errors.New("Init does not return")

// inTime returns what open returns. What it opens too late is closed again.
func inTime[T any](w patience, open func() (T, error), closeIt func(T)) (opened T, err error) {
	var (
		late    T
		lateErr error
		ended   = make(chan struct{})
	)
	if w.allow(func() { defer close(ended); late, lateErr = open() }) {
		return late, lateErr
	}
	go func() {
		<-ended
		if lateErr == nil {
			closeIt(late)
		}
	}()
	return opened, errTooSlow
}
