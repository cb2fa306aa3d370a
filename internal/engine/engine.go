// Package engine runs pipelines: it is the only place that joins queue, batch and retry.
package engine

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/flinktail/flinktail/internal/config"
	"github.com/flinktail/flinktail/internal/telemetry"
)

// Options are the engine's own.
type Options struct {
	DataDir     string        // state and dead letters, a folder for each pipeline
	StopTimeout time.Duration // from the end of Run's context to its return
	Once        bool          // end when every input that can end has, and all is delivered

	ConnectTimeout time.Duration // what new flushers of a reload get for Connect
	Version        string
	Logger         *slog.Logger
	Metrics        *telemetry.Metrics
}

// Engine runs a set of pipelines.
type Engine struct {
	options Options
	started time.Time

	reloading sync.Mutex // held by Reload

	mu    sync.RWMutex
	pipes []*pipe // replaced, never changed
	errs  []error // of what has ended

	// Of Run: ctx ends when the pipelines are to stop.
	ctx   context.Context
	stop  context.CancelFunc
	holds int           // pipelines that run, and a reload
	ended chan struct{} // closed when holds is 0
}

// New initialises every plugin of every pipeline. An error names the pipeline and the plugin; nothing stays open then.
func New(pipelines []*config.Pipeline, o Options) (*Engine, error) {
	e := &Engine{options: o, started: time.Now(), ended: make(chan struct{})}
	warnOfLeftQueues(pipelines, o)
	for _, c := range pipelines {
		p, err := newPipe(c, o)
		if err != nil {
			for _, opened := range e.pipes {
				opened.close()
			}
			return nil, err
		}
		e.pipes = append(e.pipes, p)
	}
	return e, nil
}

func (e *Engine) running() []*pipe {
	e.mu.RLock()
	defer e.mu.RUnlock()
	return e.pipes
}

// Status tells how the pipelines fare. It is safe for concurrent use.
func (e *Engine) Status() Status {
	s := Status{Version: e.options.Version, StartedAt: e.started}
	for _, p := range e.running() {
		s.Pipelines = append(s.Pipelines, p.status())
	}
	return s
}

// Ready returns nil while every input runs and every queue takes events. It is safe for concurrent use.
func (e *Engine) Ready() error {
	var errs []error
	for _, p := range e.running() {
		for _, i := range p.runningInputs() {
			switch s := i.status(); s.State {
			case InputStarting:
				errs = append(errs, fmt.Errorf("pipeline %s: %s is starting", p.name, s.Name))
			case InputFailed:
				errs = append(errs, fmt.Errorf("pipeline %s: %s failed: %s", p.name, s.Name, s.Error))
			}
		}
		if err := p.queueErr(); err != nil {
			errs = append(errs, fmt.Errorf("pipeline %s: %w", p.name, err))
		}
	}
	return errors.Join(errs...)
}

// Run runs the pipelines until ctx ends, then stops them within StopTimeout. With Once it returns when all is delivered.
// The error tells what failed, or what could not be delivered in time and lies in the dead letters. Call it once.
func (e *Engine) Run(ctx context.Context) error {
	e.mu.Lock()
	e.ctx, e.stop = context.WithCancel(ctx)
	e.holds = 1
	e.mu.Unlock()
	defer e.stop()
	for _, p := range e.running() {
		e.launch(p)
	}
	e.release()
	select {
	case <-e.ended:
	case <-e.ctx.Done():
	}
	overdue := !waitUntil(time.Now().Add(e.options.StopTimeout+flushGrace), e.ended)
	e.mu.RLock()
	defer e.mu.RUnlock()
	errs := slices.Clone(e.errs)
	for _, p := range e.pipes {
		if closed(p.ended) {
			errs = append(errs, p.err)
		}
	}
	if overdue {
		errs = append(errs, fmt.Errorf("a reload did not end within %s, and keeps pipelines from stopping", e.options.StopTimeout))
	}
	return errors.Join(errs...)
}

// launch runs p in the background.
func (e *Engine) launch(p *pipe) {
	var ctx context.Context
	ctx, p.end = context.WithCancel(e.ctx)
	e.hold()
	go func() {
		defer e.release()
		defer close(p.ended)
		p.err = p.run(ctx)
	}()
}

// hold keeps Run from returning; false when it has, or has not begun.
func (e *Engine) hold() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.holds == 0 {
		return false
	}
	e.holds++
	return true
}

func (e *Engine) release() {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.holds--; e.holds == 0 {
		close(e.ended)
	}
}

// fail stops everything; Run returns err.
func (e *Engine) fail(err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.errs = append(e.errs, err)
	e.stop()
}

func (e *Engine) setPipes(edit func([]*pipe) []*pipe) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.pipes = edit(slices.Clone(e.pipes))
}

// run runs one pipeline from its first event to the end of its plugins.
func (p *pipe) run(ctx context.Context) error {
	for _, f := range p.runningFlushers() {
		f.start()
	}
	for _, i := range p.runningInputs() {
		i.start()
	}
	ticking, stopTicking := context.WithCancel(context.Background())
	defer stopTicking()
	ticked := p.startTicking(ticking)

	var start time.Time
	if p.options.Once {
		p.waitForAll(ctx)
		start = time.Now()
	} else {
		start = p.waitForEnd(ctx)
	}
	err := p.stop(start, p.options.StopTimeout, stopTicking, ticked)
	for _, i := range p.runningInputs() {
		if s := i.status(); s.State == InputFailed {
			err = errors.Join(err, fmt.Errorf("%s: %s", s.Name, s.Error))
		}
	}
	if err != nil {
		return fmt.Errorf("pipeline %s: %w", p.name, err)
	}
	return nil
}

// waitForAll waits until the inputs have ended and everything is settled, or until ctx ends.
func (p *pipe) waitForAll(ctx context.Context) {
	for _, i := range p.runningInputs() {
		select {
		case <-i.ended:
		case <-ctx.Done():
			return
		}
	}
	select {
	case <-p.queue.Idle():
	case <-ctx.Done():
	}
}

// waitForEnd waits for ctx, or until no input is left because all have failed, and returns when that was. A change under way ends first, none
// begins any more. A replay that has ended leaves flinktail running.
func (p *pipe) waitForEnd(ctx context.Context) (since time.Time) {
	for {
		if ctx.Err() != nil || p.inputsFailed() {
			since = time.Now()
			if p.beginEnd(ctx) {
				return since
			}
		}
		select {
		case <-p.inputEnded:
		case <-ctx.Done():
		}
	}
}

// beginEnd returns false when a change has brought inputs that have not failed.
func (p *pipe) beginEnd(ctx context.Context) bool {
	p.lock()
	defer p.unlock()
	p.stopping = ctx.Err() != nil || p.inputsFailed()
	return p.stopping
}

func (p *pipe) inputsFailed() bool {
	inputs := p.runningInputs()
	return len(inputs) > 0 && !slices.ContainsFunc(inputs, func(i *inputRunner) bool { return i.state.Load().State != InputFailed })
}

// startTicking gives the processors the time once a second, and looks after the inputs.
func (p *pipe) startTicking(ctx context.Context) (stopped <-chan struct{}) {
	return inBackground(func() {
		ticker := time.NewTicker(time.Second)
		defer ticker.Stop()
		for {
			select {
			case <-ticker.C:
				p.tick(ctx)
				p.noteQueueErr()
				for _, i := range p.runningInputs() {
					i.noteWaiting()
				}
			case <-ctx.Done():
				return
			}
		}
	})
}
