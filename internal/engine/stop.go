package engine

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"time"
)

// stop ends the pipeline within timeout: inputs stop accepting, the queue drains with every wait cut short, what is left in the
// last fifth of the time (at most 5 s) becomes dead letters, and the plugins stop.
func (p *pipe) stop(timeout time.Duration, stopAccepting context.CancelFunc, ended, ticking <-chan struct{}) error {
	grace := min(timeout/5, 5*time.Second)
	patience := grace / 5 // for a Flush to return, and for the plugins to stop
	start := time.Now()
	drainBy, settleBy, deadline := start.Add(timeout-grace), start.Add(timeout-patience/2), start.Add(timeout)
	defer time.AfterFunc(timeout-grace, func() { p.giveUp(patience) }).Stop()
	defer time.AfterFunc(timeout-patience, p.endHard).Stop()

	told := p.tellUrgent()
	stopAccepting()
	var errs []error
	for _, step := range []struct {
		what string
		done func() <-chan struct{} // called when it is its turn
		by   time.Time
	}{
		{"inputs did not end", func() <-chan struct{} { return ended }, drainBy},
		{"processors did not end", func() <-chan struct{} { return ticking }, drainBy},
		{"puts did not end", p.whenPutsEnd, settleBy},
		{"queue was not emptied", p.queue.Idle, settleBy},
		{"flushers did not end", p.whenLanesEnd, settleBy},
		{"flushers did not take SetUrgent", func() <-chan struct{} { return told }, settleBy},
	} {
		if !waitUntil(step.done(), step.by) {
			errs = append(errs, fmt.Errorf("%s within %s", step.what, timeout))
		}
	}
	errs = append(errs, p.undelivered())
	if !waitUntil(inBackground(p.close), deadline) {
		errs = append(errs, fmt.Errorf("plugins did not stop within %s", timeout))
	}
	return errors.Join(errs...)
}

// tellUrgent cuts the engine's waits short and tells the flushers, which may take their time.
func (p *pipe) tellUrgent() (told <-chan struct{}) {
	var all sync.WaitGroup
	for _, r := range p.runners {
		close(r.urgent)
		all.Go(func() { _ = p.guard(r.name, func() error { r.flusher.SetUrgent(true); return nil }) })
	}
	return inBackground(all.Wait)
}

// giveUp ends the plugins' I/O and makes dead letters of what is still queued. A Flush that does not return with patience
// has its batch taken away.
func (p *pipe) giveUp(patience time.Duration) {
	for _, r := range p.runners {
		close(r.abandon)
	}
	p.cancelSoft()
	time.AfterFunc(patience, func() {
		for _, r := range p.runners {
			for _, l := range r.lanes {
				go l.takeOver()
			}
		}
	})
}

// endHard ends every wait for disk space or room in the queue.
func (p *pipe) endHard() {
	p.queue.Close() // first: a Put is refused rather than taken and lost
	p.cancelHard()
}

// whenPutsEnd refuses further Puts and tells when none is under way.
func (p *pipe) whenPutsEnd() <-chan struct{} { return inBackground(p.closePuts) }

// whenLanesEnd ends the lanes, which have nothing more to expect.
func (p *pipe) whenLanesEnd() <-chan struct{} {
	close(p.drained)
	return inBackground(func() {
		for _, r := range p.runners {
			r.running.Wait()
		}
	})
}

func inBackground(f func()) (ended <-chan struct{}) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		f()
	}()
	return done
}

// undelivered reports what the stop left undelivered.
func (p *pipe) undelivered() error {
	_, flushers := p.ledger.snapshot()
	var errs []error
	for i, f := range flushers {
		if n := p.runners[i].abandoned.Load(); n > 0 {
			errs = append(errs, fmt.Errorf("%s: %d events could not be delivered in time and are in the dead letters; \"flinktail deadletter replay -config … -data-dir %s\" sends them", p.runners[i].name, n, filepath.Dir(p.dataDir)))
		}
		if f.Queued > 0 {
			errs = append(errs, fmt.Errorf("%s: %d events are lost, not even a dead letter could be written", p.runners[i].name, f.Queued))
		}
	}
	return errors.Join(errs...)
}

// waitUntil waits for done, at most until deadline, and tells whether it is.
func waitUntil(done <-chan struct{}, deadline time.Time) bool {
	timer := time.NewTimer(time.Until(deadline))
	defer timer.Stop()
	select {
	case <-done:
		return true
	case <-timer.C:
		return closed(done)
	}
}
