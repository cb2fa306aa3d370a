package engine

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/flinktail/flinktail/internal/config"
)

// Reload turns what runs into pipelines, all of it or nothing: the error says why nothing was changed, or that flinktail stops, see
// [ErrNotWhole]. Components whose options are the same go on with their connections and their places in the queue. Together they wait for what is in
// flight as long as a stop does; a pipeline that is ended may take as long again. It is safe for concurrent use.
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
	r := &reload{Engine: e, wait: patience{e.ctx, time.Now().Add(e.options.StopTimeout)}, next: next}
	err := r.run()
	if errors.Is(err, ErrNotWhole) {
		e.fail(err)
	}
	return err
}

var errStopping = errors.New("flinktail stops")

// reload is one Reload.
type reload struct {
	*Engine
	wait    patience
	next    []*config.Pipeline
	undo    []func() error
	changes []*change
	opened  []*pipe // to be launched when nothing can fail any more
}

func (r *reload) run() error {
	if r.options.ConnectTimeout > 0 {
		if err := Connect(r.ctx, r.changedFlushers(), r.options.ConnectTimeout, r.options.Logger); err != nil {
			return err
		}
	}
	defer func() {
		for _, c := range r.changes {
			c.release()
		}
	}()
	for _, step := range []func() error{r.changePipelines, r.endPipelines, r.openPipelines, r.holdPipelines} {
		if err := step(); err != nil {
			return r.rollBack(err)
		}
	}
	r.commit()
	return nil
}

func (r *reload) rollBack(cause error) error {
	r.wait.by = time.Now().Add(removePatience)
	for _, undo := range slices.Backward(r.undo) {
		if err := undo(); err != nil {
			cause = notWhole(cause, err)
		}
	}
	return cause
}

// commit is what cannot fail.
func (r *reload) commit() {
	for _, c := range r.changes {
		c.commit()
	}
	for _, p := range r.opened {
		r.start(p)
	}
	for _, c := range r.changes {
		c.finish()
	}
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

// changePipelines prepares the changes of pipelines that run and keep their queues.
func (r *reload) changePipelines() error {
	for _, p := range r.running() {
		next, now := r.nextOf(p), &p.current().Global
		if next == nil || now.Queue != next.Global.Queue || now.DeadLetter != next.Global.DeadLetter {
			continue
		}
		c, err := p.begin(r.wait, next)
		if err != nil && r.ctx.Err() == nil {
			continue // it ends by itself, because its inputs have failed, and is started again
		}
		if err != nil {
			return err
		}
		r.changes = append(r.changes, c)
		r.undo = append(r.undo, c.rollBack)
		if err := c.prepare(); err != nil {
			return fmt.Errorf("pipeline %s: %w", p.name, err)
		}
	}
	return nil
}

// endPipelines ends those that go, or are to start again: with another queue, or because they have ended by themselves.
func (r *reload) endPipelines() error {
	for _, p := range r.running() {
		if slices.ContainsFunc(r.changes, func(c *change) bool { return c.pipe == p }) {
			continue
		}
		old := p.current()
		if err := r.end(p); err != nil {
			return fmt.Errorf("pipeline %s: %w", p.name, err)
		}
		r.undo = append(r.undo, func() error {
			if r.ctx.Err() != nil {
				return nil // everything stops
			}
			again, err := r.open(old.Anew())
			if err == nil {
				r.start(again)
			}
			return err
		})
	}
	return nil
}

func (r *reload) openPipelines() error {
	for _, c := range r.next {
		if slices.ContainsFunc(r.running(), func(p *pipe) bool { return p.name == c.Name }) {
			continue
		}
		p, err := r.open(c)
		if err != nil {
			return err
		}
		r.opened = append(r.opened, p)
		r.undo = append(r.undo, func() error {
			r.close(p)
			return nil
		})
	}
	return nil
}

func (r *reload) holdPipelines() error {
	for _, c := range r.changes {
		if err := c.hold(); err != nil {
			return fmt.Errorf("pipeline %s: %w", c.name, err)
		}
	}
	return nil
}

// open initialises a pipeline.
func (r *reload) open(c *config.Pipeline) (*pipe, error) {
	p, err := inTime(r.wait, func() (*pipe, error) { return newPipe(c, r.options) }, (*pipe).close)
	if errors.Is(err, errTooSlow) {
		return nil, fmt.Errorf("pipeline %s: a plugin's %w", c.Name, err)
	}
	return p, err
}

// start runs what open has returned.
func (r *reload) start(p *pipe) {
	r.setPipes(func(running []*pipe) []*pipe { return append(running, p) })
	r.launch(p)
}

// close takes back what open has returned.
func (r *reload) close(p *pipe) {
	if !r.wait.allow(p.close) {
		r.options.Logger.Error("plugins do not stop; flinktail goes on without them", "pipeline", p.name)
	}
}

// end stops a pipeline; a queue that nobody will read has to be empty first.
func (r *reload) end(p *pipe) error {
	if err := p.prepareEnd(r.wait, r.nextOf(p)); err != nil {
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

// prepareEnd makes sure that nothing is lost, and nothing left behind, by an end that a restart with next follows, or nothing when that is nil.
func (p *pipe) prepareEnd(w patience, next *config.Pipeline) error {
	p.lock()
	defer p.unlock()
	if p.stopping {
		return nil
	}
	if why := p.mustBeEmpty(next); why != "" {
		if p.durable {
			w.by = time.Now().Add(removePatience)
		}
		inputs := p.runningInputs()
		for _, i := range inputs {
			i.door.pause()
		}
		if !w.await(p.queue.Idle()) {
			for _, i := range inputs {
				i.door.resume()
			}
			return fmt.Errorf("%s: %s is behind", why, strings.Join(p.behind(), ", "))
		}
		for _, i := range inputs {
			i.door.close() // who waits hears that now
		}
	}
	p.forReload = true
	return nil
}

// mustBeEmpty says why a reload has to leave the pipeline as it is while its queue is not empty; nothing when next goes on with the queue.
func (p *pipe) mustBeEmpty(next *config.Pipeline) string {
	switch {
	case !p.durable:
		return "its queue in memory is not empty, and would be lost"
	case next == nil:
		return fmt.Sprintf("it is no longer in the configuration, but its queue is not empty; leave it in until that is delivered, or stop flinktail and remove %s to give it up", p.dataDir)
	case next.Global.Queue.Type == config.QueueMemory:
		return "its queue on disk is not empty; keep Queue.Type disk until that is delivered"
	}
	return ""
}

func (p *pipe) current() *config.Pipeline {
	p.mu.RLock()
	defer p.mu.RUnlock()
	return p.config
}
