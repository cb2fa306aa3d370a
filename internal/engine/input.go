package engine

import (
	"context"
	"sync/atomic"

	"github.com/flinktail/flinktail/pipeline"
)

// inputRunner runs one input.
type inputRunner struct {
	pipe  *pipe
	name  string
	input pipeline.Input
	state atomic.Pointer[InputStatus]
}

// States of an input.
const (
	InputStarting = "starting"
	InputRunning  = "running"
	InputDone     = "done"
	InputFailed   = "failed"
)

func newInputRunner(p *pipe, name string, input pipeline.Input) *inputRunner {
	r := &inputRunner{pipe: p, name: name, input: input}
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

func (r *inputRunner) status() InputStatus { return *r.state.Load() }

// run returns when the input is done. One that fails does not stop the others: it is logged and makes flinktail not ready.
func (r *inputRunner) run(ctx context.Context) {
	r.set(InputRunning, nil)
	err := r.pipe.guard(r.name, func() error { return r.input.Run(ctx, &sink{pipe: r.pipe, input: r.name}) })
	if err != nil {
		r.set(InputFailed, err)
		r.pipe.logger.Error("input failed", "pipeline", r.pipe.config.Name, "plugin", r.name, "error", err)
		return
	}
	r.set(InputDone, nil)
}

// waiting reports whether the input has its source wait until more is settled.
func (r *inputRunner) waiting() bool {
	w, ok := r.input.(pipeline.Waiter)
	return ok && r.status().State == InputRunning && w.Waiting()
}
