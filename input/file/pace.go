package fileinput

import (
	"context"
	"time"
)

// paced keeps the pace of recorded events within one file.
type paced struct {
	started time.Time // when the first event went out
	first   time.Time // its own time
}

// wait waits until the event of that time is due; false means that ctx ended first. Events out of order do not wait.
func (p *paced) wait(ctx context.Context, event time.Time, speed float64) bool {
	if p.started.IsZero() {
		p.started, p.first = time.Now(), event
	}
	due := p.started.Add(time.Duration(float64(event.Sub(p.first)) / speed))
	timer := time.NewTimer(time.Until(due))
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}
