package engine

import (
	"errors"
	"fmt"
	"time"

	"github.com/cenkalti/backoff/v5"

	"github.com/flinktail/flinktail/internal/config"
	"github.com/flinktail/flinktail/pipeline"
)

// Reasons of dead letters that the engine gives.
const (
	reasonPermanent = "permanent_error"
	reasonExpired   = "retry_expired"
	reasonTooOld    = "too_old"
	reasonQueueFull = "queue_full"
	reasonShutdown  = "shutdown"
	reasonPanic     = "panic"
	reasonTooLarge  = "larger_than_queue"
)

// What stands for a reason and makes no dead letters.
const (
	takenOver = "taken over" // takeOver has dealt with the batch
	halted    = "halted"     // the batch stays
)

var errHalted = errors.New("the flusher halts")

const (
	// maxPanics is how often a batch may make its flusher panic.
	maxPanics = 3
	// urgentPause bounds every pause once the pipeline stops.
	urgentPause = 500 * time.Millisecond
	// readyPause is the first pause after IsReady said no; it doubles up to maxReadyPause.
	readyPause    = 10 * time.Millisecond
	maxReadyPause = time.Second
	// holdUpCheck is how often a flusher that may give up events asks whether it holds up inputs.
	holdUpCheck = 10 * time.Millisecond
)

// attempt is the state of one batch's delivery.
type attempt struct {
	number  int
	started time.Time
	panics  int
	last    error // why it is not delivered yet
	pauses  *backoff.ExponentialBackOff
}

var errUntried = errors.New("not tried: the flusher was not ready, or flinktail stopped")

// deliver settles every event of b: delivered, or dead-lettered. It returns false when the plugin did not return in time and
// b, which it still has, was taken over.
func (l *lane) deliver(b *batch) bool {
	r := l.runner
	a := &attempt{started: time.Now(), last: errUntried}
	for {
		if reason := l.waitReady(b); reason != "" {
			return l.surrender(b, reason, a)
		}
		young, old := b.splitByAge(time.Now(), r.delivery.MaxEventAge)
		if old != nil && !l.tryDeadLetter(old, reasonTooOld, a, fmt.Errorf("older than MaxEventAge %s", r.delivery.MaxEventAge)) {
			l.giveBack(b) // as a whole, so that it stays in order
			return true
		}
		if b = young; b.events == 0 {
			return true
		}
		var err error
		groups := b.list() // outside of lend: a flusher that hangs may read groups after done, the engine not
		if reason := l.lend(b, func() { err = r.flush(groups) }); reason != "" {
			return l.surrender(b, reason, a)
		}
		a.number++
		if err == nil {
			r.setState(StateReady, nil)
			l.delivered(b)
			return true
		}
		a.last = err
		r.failures.Add(1)
		var pause time.Duration
		if b, pause = l.settleFailure(b, err, a); b == nil {
			return true
		}
		if reason := l.pause(pause); reason != "" {
			return l.surrender(b, reason, a)
		}
	}
}

// surrender makes dead letters of b unless there is another reason to give it up; it tells whether the lane goes on.
func (l *lane) surrender(b *batch, reason string, a *attempt) bool {
	switch reason {
	case takenOver:
		return false
	case halted:
		l.giveBack(b)
	default:
		l.deadLetter(b, reason, a, a.last)
	}
	return true
}

// settleFailure settles what can be after a failed Flush. It returns what is to be sent again, after the pause.
func (l *lane) settleFailure(b *batch, err error, a *attempt) (rest *batch, pause time.Duration) {
	r := l.runner
	var (
		partial   *pipeline.PartialError
		permanent *pipeline.PermanentError
		blocked   *pipeline.BlockedError
		throttle  *pipeline.ThrottleError
		panicked  *panicError
	)
	pause = a.nextPause(r.delivery.Retry)
	if errors.As(err, &partial) && b.lists(partial) {
		if b = l.settlePartial(b, partial, a); b == nil {
			r.setState(StateReady, nil)
			return nil, 0
		}
		err = whyAgain(partial)
	}
	switch {
	case errors.As(err, &permanent):
		l.deadLetter(b, reasonPermanent, a, err)
		r.setState(StateReady, nil)
		return nil, 0
	case errors.As(err, &blocked):
		r.setState(StateBlocked, err)
		a.started = time.Now() // a person takes the time a person takes
		return b, r.delivery.Retry.Max
	case errors.As(err, &throttle) && throttle.After > 0:
		pause = throttle.After
	case errors.As(err, &panicked):
		if a.panics++; a.panics >= maxPanics {
			l.deadLetter(b, reasonPanic, a, err)
			return nil, 0
		}
	}
	r.setState(StateRetrying, err)
	if limit := r.delivery.Retry.MaxElapsed; limit > 0 && time.Since(a.started) >= limit {
		l.deadLetter(b, reasonExpired, a, err)
		return nil, 0
	}
	return b, pause
}

func (a *attempt) nextPause(retry config.Retry) time.Duration {
	if a.pauses == nil {
		a.pauses = backoff.NewExponentialBackOff()
		a.pauses.InitialInterval, a.pauses.MaxInterval, a.pauses.Multiplier = retry.Initial, retry.Max, 2
	}
	return a.pauses.NextBackOff()
}

// whyAgain returns what is said of the logs that are to be sent again: that the destination is blocked, else the longest pause that it asks for.
func whyAgain(e *pipeline.PartialError) error {
	var (
		why      error = e
		blocked  *pipeline.BlockedError
		throttle *pipeline.ThrottleError
		longest  time.Duration
	)
	for _, f := range e.Failures {
		switch {
		case !f.Retryable:
		case errors.As(f.Err, &blocked):
			return f.Err
		case errors.As(f.Err, &throttle) && throttle.After > longest:
			why, longest = f.Err, throttle.After
		}
	}
	return why
}

// lists reports whether e names logs of b, as it must.
func (b *batch) lists(e *pipeline.PartialError) bool {
	for _, f := range e.Failures {
		if f.Group < 0 || f.Group >= len(b.runs) || f.Log < 0 || f.Log >= b.runs[f.Group].events() || f.Err == nil {
			return false
		}
	}
	return len(e.Failures) > 0
}

// settlePartial settles the delivered and the refused logs and returns those to send again, nil if there are none.
func (l *lane) settlePartial(b *batch, e *pipeline.PartialError, a *attempt) *batch {
	type place struct{ group, log int }
	failed := make(map[place]pipeline.Failure, len(e.Failures))
	for _, f := range e.Failures {
		failed[place{f.Group, f.Log}] = f
	}
	var causes []error
	l.delivered(b.part(func(group, log int) bool {
		_, ok := failed[place{group, log}]
		return !ok
	}))
	refused := b.part(func(group, log int) bool {
		f, ok := failed[place{group, log}]
		if ok && !f.Retryable {
			causes = append(causes, f.Err)
			return true
		}
		return false
	})
	if refused.events > 0 {
		l.deadLetter(refused, reasonPermanent, a, causes...)
	}
	again := b.part(func(group, log int) bool { return failed[place{group, log}].Retryable })
	if again.events == 0 {
		return nil
	}
	return again
}

// lend calls the plugin, which has b meanwhile. A reason says that b must become dead letters instead, or that the engine gave up
// waiting for the plugin and has made dead letters of b.
func (l *lane) lend(b *batch, call func()) (reason string) {
	l.mu.Lock()
	if closed(l.runner.abandon) || l.runner.halt.Err() != nil { // under the lock: nothing is lent after takeOver
		l.mu.Unlock()
		return l.runner.whyNot()
	}
	l.lent = b
	l.mu.Unlock()
	call()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lent = nil
	if l.taken {
		return takenOver
	}
	return ""
}

// whyNot says why nothing may be lent any more.
func (r *flusherRunner) whyNot() (reason string) {
	if closed(r.abandon) {
		return reasonShutdown
	}
	return halted
}

// takeOver replaces a lane's goroutine whose plugin does not return. What the plugin has stays in the lane when the flusher halts; otherwise
// takeOver makes dead letters of it and of all that the lane is still given. Call it after halt has ended or abandon was closed.
func (l *lane) takeOver() {
	l.mu.Lock()
	b := l.lent
	l.taken = b != nil
	l.mu.Unlock()
	if b == nil {
		return // the lane does it itself
	}
	if l.runner.whyNot() == halted {
		l.giveBack(b)
		l.runner.running.Done()
		return
	}
	l.deadLetter(b, reasonShutdown, &attempt{number: 1}, errors.New("flinktail stopped and the flusher did not return in time"))
	l.loop()
}

func (l *lane) delivered(b *batch) {
	if b.events == 0 {
		return
	}
	n := int64(b.events)
	l.runner.pipe.ledger.settled(l.runner.ledger, n, func(f *FlusherLedger) { f.Delivered += n })
	for _, r := range b.runs {
		r.entry.Settle(r.events())
	}
}

// deadLetter makes dead letters of b. They are pending again when the flusher halts first.
func (l *lane) deadLetter(b *batch, reason string, a *attempt, causes ...error) {
	if !l.tryDeadLetter(b, reason, a, causes...) {
		l.giveBack(b)
	}
}

// tryDeadLetter stores b's events as dead letters; causes holds one error for all of them, or one each. It waits while
// that is not possible, until the process must end, or the flusher halts: it returns false then, and nothing is settled.
func (l *lane) tryDeadLetter(b *batch, reason string, a *attempt, causes ...error) bool {
	r := l.runner
	n := int64(b.events)
	err := r.pipe.storeDeadLetters(r.halt, r.name, b, reason, a.number, causes)
	if errors.Is(err, errHalted) {
		return false
	}
	if err != nil {
		r.log.Error("events are lost: no dead letter could be written", "events", n, "reason", reason, "error", err)
		for _, run := range b.runs {
			run.entry.Lose(run.events(), err)
		}
		return true
	}
	if reason == reasonShutdown {
		r.abandoned.Add(n)
	}
	r.pipe.ledger.settled(r.ledger, n, func(f *FlusherLedger) { f.DeadLettered += n })
	r.pipe.count("flusher", r.name, "dead_lettered_events_total", "events that became dead letters", reason, n)
	r.letters.add(reason, fmt.Sprint(causes[0]), n)
	for _, run := range b.runs {
		run.entry.Settle(run.events())
	}
	return true
}

// waitReady waits until the flusher is ready. A reason says that the events must become dead letters instead.
func (l *lane) waitReady(b *batch) (reason string) {
	for pause := readyPause; ; pause = min(2*pause, maxReadyPause) {
		ready := false
		if reason := l.lend(b, func() { ready = l.runner.isReady() }); reason != "" || ready {
			return reason
		}
		if pause == readyPause && l.runner.state.Load().State == StateReady {
			l.runner.setState(StateNotReady, nil)
		}
		if reason := l.pause(pause); reason != "" {
			return reason
		}
	}
}

// pause waits for d, less when the pipeline stops. A reason says that the events must become dead letters.
func (l *lane) pause(d time.Duration) (reason string) {
	r := l.runner
	urgent := r.urgent
	if closed(urgent) {
		d, urgent = min(d, urgentPause), nil
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	var full <-chan time.Time
	if r.delivery.WhenFull == "dead_letter" {
		check := time.NewTicker(holdUpCheck)
		defer check.Stop()
		full = check.C
	}
	for {
		if full != nil && r.holdsUpInputs() {
			return reasonQueueFull
		}
		select {
		case <-timer.C:
			return ""
		case <-urgent:
			return ""
		case <-r.abandon:
			return r.whyNot()
		case <-r.halt.Done():
			return r.whyNot()
		case <-full:
		}
	}
}
