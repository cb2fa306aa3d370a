package engine

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/flinktail/flinktail/internal/config"
)

// Reload turns what runs into pipelines, all of it or nothing: the error says why nothing was changed. Components whose options are the
// same go on with their connections and their places in the queue. It takes as long as a stop at most, and is safe for concurrent use.
func (e *Engine) Reload(next []*config.Pipeline) error {
	e.reloading.Lock()
	defer e.reloading.Unlock()
	if e.options.Once {
		return errors.New("flinktail ends by itself, with --once, and does not reload")
	}
	if !e.hold() {
		return errStopping
	}
	defer e.release()
	r := &reload{Engine: e, by: time.Now().Add(e.options.StopTimeout), next: next}
	err := r.run()
	var fatal fatalError
	if errors.As(err, &fatal) {
		e.options.Logger.Error("flinktail is not whole any more and stops", "error", err)
		e.fail(err)
	}
	return err
}

var errStopping = errors.New("flinktail stops")

// reload is one Reload.
type reload struct {
	*Engine
	by   time.Time
	next []*config.Pipeline
	undo []func() error
}

func (r *reload) run() error {
	if r.options.ConnectTimeout > 0 {
		if err := Connect(r.ctx, r.changedFlushers(), r.options.ConnectTimeout, r.options.Logger); err != nil {
			return err
		}
	}
	for _, step := range []func() error{r.changePipelines, r.removePipelines, r.addPipelines} {
		if err := step(); err != nil {
			return r.rollBack(err)
		}
	}
	return nil
}

func (r *reload) rollBack(cause error) error {
	if r.ctx.Err() != nil {
		return cause // everything stops
	}
	r.by = time.Now().Add(removePatience)
	for _, undo := range slices.Backward(r.undo) {
		if err := undo(); err != nil {
			cause = fatalError{fmt.Errorf("%w; and what ran before does not start again: %w", cause, err)}
		}
	}
	return cause
}

func (r *reload) nextOf(p *pipe) *config.Pipeline {
	i := slices.IndexFunc(r.next, func(c *config.Pipeline) bool { return c.Name == p.name })
	if i < 0 {
		return nil
	}
	return r.next[i]
}

// changedFlushers returns the pipelines with only those flushers that are new or have other options.
func (r *reload) changedFlushers() (changed []*config.Pipeline) {
	for _, c := range r.next {
		only := *c
		only.Flushers = slices.Clone(c.Flushers)
		for _, p := range r.running() {
			if p.name == c.Name {
				only.Flushers = slices.DeleteFunc(only.Flushers, func(f config.Plugin) bool {
					return slices.ContainsFunc(p.runningFlushers(), func(old *flusherRunner) bool { return sameOptions(old.config, f) })
				})
			}
		}
		changed = append(changed, &only)
	}
	return changed
}

func (r *reload) changePipelines() error {
	for _, p := range r.running() {
		next := r.nextOf(p)
		if next == nil {
			continue
		}
		old := p.current()
		change := r.change
		if old.Global.Queue != next.Global.Queue || old.Global.DeadLetter != next.Global.DeadLetter || closed(p.ended) {
			change = r.replace
		}
		if err := change(p, next); err != nil {
			return fmt.Errorf("pipeline %s: %w", p.name, err)
		}
		r.undo = append(r.undo, func() error {
			i := slices.IndexFunc(r.running(), func(now *pipe) bool { return now.name == p.name })
			return change(r.running()[i], old.Anew())
		})
	}
	return nil
}

func (r *reload) change(p *pipe, next *config.Pipeline) error { return p.change(r.ctx, r.by, next) }

// replace stops a pipeline and starts it with another queue or other limits of the dead letters.
func (r *reload) replace(p *pipe, next *config.Pipeline) error {
	old := p.current()
	if err := r.end(p); err != nil {
		return err
	}
	err := r.open(next)
	if err == nil {
		return nil
	}
	if againErr := r.open(old.Anew()); againErr != nil {
		return fatalError{fmt.Errorf("%w; and the old one does not start again: %w", err, againErr)}
	}
	return err
}

func (r *reload) removePipelines() error {
	for _, p := range r.running() {
		if r.nextOf(p) != nil {
			continue
		}
		old := p.current()
		if err := r.end(p); err != nil {
			return fmt.Errorf("pipeline %s: %w", p.name, err)
		}
		r.undo = append(r.undo, func() error { return r.open(old.Anew()) })
	}
	return nil
}

func (r *reload) addPipelines() error {
	for _, c := range r.next {
		if slices.ContainsFunc(r.running(), func(p *pipe) bool { return p.name == c.Name }) {
			continue
		}
		if err := r.open(c); err != nil {
			return err
		}
		r.undo = append(r.undo, func() error {
			i := slices.IndexFunc(r.running(), func(p *pipe) bool { return p.name == c.Name })
			return r.end(r.running()[i])
		})
	}
	return nil
}

// open starts a pipeline.
func (r *reload) open(c *config.Pipeline) error {
	p, err := newPipe(c, r.options)
	if err != nil {
		return err
	}
	r.setPipes(func(running []*pipe) []*pipe { return append(running, p) })
	r.launch(p)
	return nil
}

// end stops a pipeline; a queue in memory has to be empty first.
func (r *reload) end(p *pipe) error {
	if err := p.prepareEnd(r.ctx, r.by); err != nil {
		return err
	}
	p.end()
	<-p.ended
	if p.err != nil {
		r.options.Logger.Error("pipeline did not stop cleanly", "pipeline", p.name, "error", p.err)
	}
	if _, flushers := p.ledger.snapshot(); p.durable {
		for _, f := range p.runningFlushers() {
			if left := flushers[f.ledger].Queued; left > 0 {
				r.options.Logger.Warn("events stay in the queue of a pipeline that has stopped", "pipeline", p.name, "plugin", f.name, "events", left)
			}
		}
	}
	r.setPipes(func(running []*pipe) []*pipe {
		return slices.DeleteFunc(running, func(other *pipe) bool { return other == p })
	})
	return nil
}

// prepareEnd makes sure that nothing is lost by an end that a restart of the pipeline follows, or nothing at all.
func (p *pipe) prepareEnd(ctx context.Context, by time.Time) error {
	p.changing.Lock()
	defer p.changing.Unlock()
	p.forReload = true
	if p.durable || p.stopping {
		return nil
	}
	for _, i := range p.runningInputs() {
		i.door.pause()
	}
	c := &change{pipe: p, ctx: ctx}
	if c.await(by, p.queue.Idle()) {
		return nil
	}
	for _, i := range p.runningInputs() {
		i.door.resume()
	}
	p.forReload = false
	return fmt.Errorf("its queue in memory is not empty, and would be lost: %s is behind", strings.Join(p.behind(), ", "))
}

func (p *pipe) current() *config.Pipeline {
	p.mu.RLock()
	defer p.mu.RUnlock()
	return p.config
}
