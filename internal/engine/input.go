package engine

import (
	"context"
	"log/slog"
	"sync/atomic"

	"github.com/flinktail/flinktail/pipeline"
)

// inputRunner runs one input, and is the [pipeline.Sink] that it puts its events into.
type inputRunner struct {
	*component
	pipe  *pipe
	name  string
	input pipeline.Input
	log   *slog.Logger
	state atomic.Pointer[InputStatus]

	door      door
	accepting context.Context // ends when the input is to take nothing more
	endAccept context.CancelFunc
	ended     chan struct{} // closed when Run has returned

	room    room
	letters *letters
	waits   bool // as last logged; the ticker's own
}

// States of an input.
const (
	InputStarting = "starting"
	InputRunning  = "running"
	InputWaiting  = "waiting" // running, and its senders have to wait until more is settled
	InputDone     = "done"
	InputFailed   = "failed"
)

func newInputRunner(c *component) *inputRunner {
	log := c.context.Logger()
	r := &inputRunner{
		component: c, pipe: c.context.pipe, name: c.config.Name, input: c.config.Instance.(pipeline.Input), log: log,
		ended: make(chan struct{}), letters: newLetters(log),
	}
	r.accepting, r.endAccept = context.WithCancel(context.Background())
	r.set(InputStarting, nil)
	return r
}

func (r *inputRunner) set(state string, err error) {
	s := &InputStatus{Name: r.name, State: state}
	if err != nil {
		s.Error = err.Error()
	}
	r.state.Store(s)
}

func (r *inputRunner) status() InputStatus {
	s := *r.state.Load()
	if r.waiting() || r.getsNoRoom() {
		s.State = InputWaiting
	}
	s.LastDeadLetter = r.letters.status()
	return s
}

// start lets the input run until endAccept. One that fails does not stop the others: it is logged and makes flinktail not ready.
func (r *inputRunner) start() {
	r.set(InputRunning, nil)
	go r.run()
}

func (r *inputRunner) run() {
	defer func() {
		close(r.ended)
		select {
		case r.pipe.inputEnded <- struct{}{}:
		default:
		}
	}()
	err := r.pipe.guard(r.name, func() error { return r.input.Run(r.accepting, r) })
	if err != nil {
		r.set(InputFailed, err)
		r.log.Error("input failed", "error", err)
		return
	}
	r.set(InputDone, nil)
}

// waiting reports whether the input has its source wait until more is settled.
func (r *inputRunner) waiting() bool {
	w, ok := r.input.(pipeline.Waiter)
	return ok && r.state.Load().State == InputRunning && w.Waiting()
}

// getsNoRoom reports whether the queue has been full to the input for a while. That is for people; what flushers give up for it, they give
// up while somebody waits for room, see [flusherRunner.holdsUpInputs].
func (r *inputRunner) getsNoRoom() bool {
	return r.state.Load().State == InputRunning && r.room.none()
}

// noteWaiting logs when the input's senders begin to wait, and for whom, and when that is over.
func (r *inputRunner) noteWaiting() {
	noRoom := r.getsNoRoom()
	waits := noRoom || r.waiting()
	if waits == r.waits {
		return
	}
	r.waits = waits
	if !waits {
		r.log.Info("senders go on")
		return
	}
	why := "what they sent is not settled"
	if noRoom {
		why = "the queue is full"
	}
	r.log.Warn("senders have to wait: "+why, "because_of", r.pipe.behind())
}
