package engine

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// stop ends the pipeline within timeout: inputs stop accepting, the queue drains with every wait cut short, what is left in the
// last fifth of the time (at most 5 s) becomes dead letters, and the plugins stop.
func (p *pipe) stop(timeout time.Duration, stopAccepting context.CancelFunc, ended, ticking <-chan struct{}) error {
	deadline := time.Now().Add(timeout)
	grace := min(timeout/5, 5*time.Second)
	give := time.AfterFunc(timeout-grace, p.giveUp)
	end := time.AfterFunc(timeout, p.cancelHard)
	defer give.Stop()
	defer end.Stop()

	for _, r := range p.runners {
		_ = p.guard(r.name, func() error { r.flusher.SetUrgent(true); return nil })
		close(r.urgent)
	}
	stopAccepting()
	var errs []error
	for _, step := range []struct {
		what string
		done <-chan struct{}
	}{{"inputs", ended}, {"processors", ticking}, {"puts", p.whenPutsEnd()}, {"queue", p.queue.Idle()}} {
		if !waitUntil(step.done, deadline) {
			errs = append(errs, fmt.Errorf("%s did not end within %s", step.what, timeout))
			break
		}
	}
	close(p.drained)
	waitUntil(p.whenLanesEnd(), deadline)
	errs = append(errs, p.undelivered())
	p.close()
	return errors.Join(errs...)
}

// giveUp ends the plugins' I/O and makes dead letters of what is still queued. A Flush that does not return within
// a second of that, as it must, has its batch taken away.
func (p *pipe) giveUp() {
	for _, r := range p.runners {
		close(r.abandon)
	}
	p.cancelSoft()
	time.AfterFunc(time.Second, func() {
		for _, r := range p.runners {
			for _, l := range r.lanes {
				go l.takeOver()
			}
		}
	})
}

// whenPutsEnd refuses further Puts and tells when none is under way.
func (p *pipe) whenPutsEnd() <-chan struct{} {
	done := make(chan struct{})
	go func() {
		p.closePuts()
		close(done)
	}()
	return done
}

func (p *pipe) whenLanesEnd() <-chan struct{} {
	done := make(chan struct{})
	go func() {
		for _, r := range p.runners {
			r.running.Wait()
		}
		close(done)
	}()
	return done
}

// undelivered reports what the stop left undelivered.
func (p *pipe) undelivered() error {
	_, flushers := p.ledger.snapshot()
	var errs []error
	for i, f := range flushers {
		if n := p.runners[i].abandoned.Load(); n > 0 {
			errs = append(errs, fmt.Errorf("%s: %d events could not be delivered in time and are in the dead letters; \"flinktail deadletter replay\" sends them", p.runners[i].name, n))
		}
		if f.Queued > 0 {
			errs = append(errs, fmt.Errorf("%s: %d events are lost, not even a dead letter could be written", p.runners[i].name, f.Queued))
		}
	}
	return errors.Join(errs...)
}

func waitUntil(done <-chan struct{}, deadline time.Time) bool {
	timer := time.NewTimer(time.Until(deadline))
	defer timer.Stop()
	select {
	case <-done:
		return true
	case <-timer.C:
		return false
	}
}
