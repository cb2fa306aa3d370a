package engine

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"sync"
	"time"
)

// keepAfter is what flushers get, when flinktail stops, to deliver what is in a queue on disk: it can wait for the next start.
const keepAfter = 5 * time.Second

// stop ends the pipeline within timeout of start: inputs stop accepting, the queue drains with every wait cut short, and the plugins stop. What a
// queue on disk holds after some seconds stays there; what is left in memory in the last fifth of the time (at most 5 s) becomes dead letters.
func (p *pipe) stop(start time.Time, timeout time.Duration, stopTicking context.CancelFunc, ticked <-chan struct{}) error {
	grace := min(timeout/5, 5*time.Second)
	patience := grace / 5 // for a Flush to return, and for the plugins to stop
	drainBy, settleBy, deadline := start.Add(timeout-grace), start.Add(timeout-patience/2), start.Add(timeout)
	at := func(after time.Duration, do func()) *time.Timer {
		return time.AfterFunc(time.Until(start.Add(after)), do)
	}
	if p.durable {
		after := min(keepAfter, timeout-2*grace)
		if p.forReload {
			after = 0 // the next start is now
		}
		defer at(after, p.keep).Stop()
	}
	defer at(timeout-grace, func() { p.giveUp(patience) }).Stop()
	defer at(timeout-patience, p.endHard).Stop()

	told := p.tellUrgent()
	for _, i := range p.runningInputs() {
		i.endAccept()
	}
	stopTicking()
	var errs []error
	for _, step := range []struct {
		what string
		done func() []<-chan struct{} // called when it is its turn
		by   time.Time
	}{
		{"inputs did not end", p.whenInputsEnd, drainBy},
		{"processors did not end", func() []<-chan struct{} { return []<-chan struct{}{ticked} }, drainBy},
		{"puts did not end", p.whenPutsEnd, settleBy},
		{"queue was not emptied", p.whenDrained, settleBy},
		{"flushers did not end", p.whenLanesEnd, settleBy},
		{"flushers did not take SetUrgent", func() []<-chan struct{} { return []<-chan struct{}{told} }, settleBy},
	} {
		if !waitUntil(step.by, step.done()...) {
			errs = append(errs, fmt.Errorf("%s within %s", step.what, timeout))
		}
	}
	errs = append(errs, p.undelivered())
	if !waitUntil(deadline, inBackground(p.close)) {
		errs = append(errs, fmt.Errorf("plugins did not stop within %s", timeout))
	}
	return errors.Join(errs...)
}

// tellUrgent cuts the engine's waits short and tells the flushers, which may take their time.
func (p *pipe) tellUrgent() (told <-chan struct{}) {
	var all sync.WaitGroup
	for _, f := range p.runningFlushers() {
		close(f.urgent)
		all.Go(func() { f.setUrgent(!p.forReload) })
	}
	return inBackground(all.Wait)
}

// keep has the flushers deliver no more than what they deliver now: the queue keeps the rest for the next start.
func (p *pipe) keep() {
	p.closeQueue() // who waits for room waits in vain
	close(p.kept)
	for _, f := range p.runningFlushers() {
		f.endHalt()
	}
}

// giveUp ends the plugins' I/O and, where the queue does not keep it, makes dead letters of what is still queued. A Flush that does not
// return with patience has its batch taken away.
func (p *pipe) giveUp(patience time.Duration) {
	if !p.durable {
		for _, f := range p.runningFlushers() {
			close(f.abandon)
		}
	}
	p.cancelSoft()
	time.AfterFunc(patience, func() {
		for _, f := range p.runningFlushers() {
			f.takeOver()
		}
	})
}

// endHard ends every wait for disk space or room in the queue.
func (p *pipe) endHard() {
	p.closeQueue() // first: a Put is refused rather than taken and lost
	p.cancelHard()
}

func (p *pipe) whenInputsEnd() (ended []<-chan struct{}) {
	for _, i := range p.runningInputs() {
		ended = append(ended, i.ended)
	}
	return ended
}

// whenPutsEnd refuses further Puts and tells when every one that was let in is settled.
func (p *pipe) whenPutsEnd() (ended []<-chan struct{}) {
	for _, i := range p.runningInputs() {
		i.door.close()
	}
	for _, i := range p.runningInputs() {
		ended = append(ended, i.door.whenEmpty())
	}
	return ended
}

// whenDrained tells when the queue is empty, or keeps what it holds.
func (p *pipe) whenDrained() []<-chan struct{} {
	idle := p.queue.Idle()
	if !p.durable {
		return []<-chan struct{}{idle}
	}
	return []<-chan struct{}{inBackground(func() {
		select {
		case <-idle:
		case <-p.kept:
		}
	})}
}

// whenLanesEnd ends the lanes, which have nothing more to expect.
func (p *pipe) whenLanesEnd() (ended []<-chan struct{}) {
	close(p.drained)
	for _, f := range p.runningFlushers() {
		ended = append(ended, inBackground(f.running.Wait))
	}
	return ended
}

func inBackground(f func()) (ended <-chan struct{}) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		f()
	}()
	return done
}

// undelivered reports what the stop left undelivered and no queue keeps.
func (p *pipe) undelivered() error {
	_, flushers := p.ledger.snapshot()
	var errs []error
	for _, f := range p.runningFlushers() {
		if n := f.abandoned.Load(); n > 0 {
			errs = append(errs, fmt.Errorf("%s: %d events could not be delivered in time and are in the dead letters; \"flinktail deadletter replay -config … -data-dir %s\" sends them", f.name, n, filepath.Dir(p.dataDir)))
		}
		if n := flushers[f.ledger].Queued; n > 0 && !p.durable {
			errs = append(errs, fmt.Errorf("%s: %d events are lost, not even a dead letter could be written", f.name, n))
		}
	}
	return errors.Join(errs...)
}

// waitUntil waits for all of done, at most until deadline, and tells whether they are.
func waitUntil(deadline time.Time, done ...<-chan struct{}) bool {
	timer := time.NewTimer(time.Until(deadline))
	defer timer.Stop()
	for _, one := range done {
		select {
		case <-one:
		case <-timer.C:
			return !slices.ContainsFunc(done, func(c <-chan struct{}) bool { return !closed(c) })
		}
	}
	return true
}
