package engine

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/flinktail/flinktail/internal/config"
)

const (
	// removePatience is how long senders wait at most while a flusher that is to go delivers what it has left.
	removePatience = 5 * time.Second
	// flushGrace is what a Flush gets to return after its context has ended, see [pipeline.Flusher].
	flushGrace = time.Second
)

// fatalError says that the old component could not be started again either: the pipeline is not whole any more.
type fatalError struct{ error }

func (e fatalError) Unwrap() error { return e.error }

// change turns a running pipeline into another, component by component. What it has done it can undo.
type change struct {
	*pipe
	ctx  context.Context // ends when flinktail stops
	by   time.Time
	next *config.Pipeline
	undo []func() error

	inputs []*inputRunner // initialised, to be started when nothing can fail any more
	added  []*component   // flushers, that too
}

// change replaces what differs in next, all of it or nothing. Flushers come first, so that a new destination can take what old ones hold up.
func (p *pipe) change(ctx context.Context, by time.Time, next *config.Pipeline) error {
	p.changing.Lock()
	defer p.changing.Unlock()
	if p.stopping {
		return errStopping
	}
	c := &change{pipe: p, ctx: ctx, by: by, next: next}
	for _, step := range []func() error{c.openFlushers, c.changeFlushers, c.changeProcessors, c.changeInputs, c.commit} {
		if err := step(); err != nil {
			return c.rollBack(err)
		}
	}
	return nil
}

// rollBack undoes what was done, last first.
func (c *change) rollBack(cause error) error {
	c.ctx = context.WithoutCancel(c.ctx)
	c.by = time.Now().Add(removePatience)
	for _, undo := range slices.Backward(c.undo) {
		if err := undo(); err != nil {
			cause = fatalError{fmt.Errorf("%w; and what ran before does not start again: %w", cause, err)}
		}
	}
	return cause
}

func sameOptions(a, b config.Plugin) bool { return a.Name == b.Name && a.Sum == b.Sum }

func find(list []config.Plugin, name string) (config.Plugin, bool) {
	i := slices.IndexFunc(list, func(p config.Plugin) bool { return p.Name == name })
	if i < 0 {
		return config.Plugin{}, false
	}
	return list[i], true
}

// openFlushers initialises the flushers that are new. They get events from commit on.
func (c *change) openFlushers() error {
	for _, plugin := range c.next.Flushers {
		if slices.ContainsFunc(c.runningFlushers(), func(f *flusherRunner) bool { return f.name == plugin.Name }) {
			continue
		}
		opened, err := c.init(plugin)
		if err != nil {
			return err
		}
		c.added = append(c.added, opened)
		c.undo = append(c.undo, func() error { opened.stop(); return nil })
	}
	return nil
}

func (c *change) changeFlushers() error {
	for _, old := range c.runningFlushers() {
		next, ok := find(c.next.Flushers, old.name)
		if !ok || sameOptions(old.config, next) && reflect.DeepEqual(old.delivery, next.Delivery) {
			continue
		}
		replaced, err := c.replaceFlusher(old, next)
		if err != nil {
			return err
		}
		c.undo = append(c.undo, func() error {
			_, err := c.replaceFlusher(replaced, old.config.Anew())
			return err
		})
	}
	return nil
}

// replaceFlusher settles what old has in flight and hands on the rest to a flusher with the options of next. A plugin whose own options
// are the same goes on as it is.
func (c *change) replaceFlusher(old *flusherRunner, next config.Plugin) (*flusherRunner, error) {
	whole := old.quiesce(c.ctx, c.by)
	if whole && sameOptions(old.config, next) {
		next.Instance = old.config.Instance
		return c.succeed(old, &component{config: next, context: old.context}), nil
	}
	old.setUrgent(false)
	old.stop()
	opened, err := c.init(next)
	if err == nil {
		return c.succeed(old, opened), nil
	}
	again, againErr := c.init(old.config.Anew())
	if againErr != nil {
		return nil, fatalError{fmt.Errorf("%w; and the old one does not start again: %w", err, againErr)}
	}
	c.succeed(old, again)
	return nil, err
}

// succeed puts a flusher into the place of old, which has halted.
func (c *change) succeed(old *flusherRunner, opened *component) *flusherRunner {
	r := newFlusherRunner(opened, old.cursor, old.flusherStats)
	r.adopt(old)
	c.setFlushers(func(running []*flusherRunner) []*flusherRunner {
		running[slices.Index(running, old)] = r
		return running
	})
	r.start()
	return r
}

// quiesce halts the flusher, and waits until by for the Flush under way. It returns false when that did not return: the plugin's
// I/O is ended then, and what it had may be delivered twice.
func (r *flusherRunner) quiesce(ctx context.Context, by time.Time) (whole bool) {
	r.endHalt()
	ended := inBackground(r.running.Wait)
	select {
	case <-ended:
		return true
	case <-time.After(time.Until(by)):
	case <-ctx.Done():
	}
	r.context.cancel()
	if !waitUntil(time.Now().Add(flushGrace), ended) {
		r.takeOver()
		<-ended
	}
	return false
}

func (c *change) changeProcessors() error {
	var old []config.Plugin
	for _, step := range c.processors.steps {
		old = append(old, step.config)
	}
	if slices.EqualFunc(old, c.next.Processors, sameOptions) {
		return nil
	}
	if err := c.setProcessors(c.next.Processors); err != nil {
		return err
	}
	c.undo = append(c.undo, func() error {
		for i := range old {
			old[i] = old[i].Anew()
		}
		return c.setProcessors(old)
	})
	return nil
}

// setProcessors stops the processors that are not in next and initialises those that are new. No event passes meanwhile.
func (c *change) setProcessors(next []config.Plugin) error {
	chain := &c.processors
	chain.mu.Lock()
	defer chain.mu.Unlock()
	old := chain.steps
	var kept, stopped []processorStep
	for _, step := range old {
		if same, ok := find(next, step.name); ok && sameOptions(same, step.config) {
			kept = append(kept, step)
			continue
		}
		step.stop()
		stopped = append(stopped, step)
	}
	steps, err := c.initProcessors(next, kept)
	if err == nil {
		chain.steps = steps
		return nil
	}
	before := make([]config.Plugin, len(old))
	for i, step := range old {
		before[i] = step.config
		if slices.ContainsFunc(stopped, func(s processorStep) bool { return s.name == step.name }) {
			before[i] = step.config.Anew()
		}
	}
	steps, againErr := c.initProcessors(before, kept)
	if againErr != nil {
		chain.steps = kept
		return fatalError{fmt.Errorf("%w; and the old one does not start again: %w", err, againErr)}
	}
	chain.steps = steps
	return err
}

// initProcessors returns the chain of plugins; those that are kept are taken as they are. On an error none of the others stays open.
func (c *change) initProcessors(plugins []config.Plugin, kept []processorStep) (steps []processorStep, err error) {
	var opened []processorStep
	for _, plugin := range plugins {
		if i := slices.IndexFunc(kept, func(s processorStep) bool { return s.name == plugin.Name }); i >= 0 {
			steps = append(steps, kept[i])
			continue
		}
		one, err := c.init(plugin)
		if err != nil {
			for _, step := range slices.Backward(opened) {
				step.stop()
			}
			return nil, err
		}
		step := newProcessorStep(one)
		opened, steps = append(opened, step), append(steps, step)
	}
	return steps, nil
}

// changeInputs stops the inputs that change or go, when what they took is settled, and initialises those that are new or changed.
func (c *change) changeInputs() error {
	for _, old := range c.runningInputs() {
		next, ok := find(c.next.Inputs, old.name)
		if ok && sameOptions(old.config, next) {
			continue
		}
		if err := c.endInput(old); err != nil {
			return err
		}
		c.undo = append(c.undo, func() error { return c.restartInput(old) })
	}
	for _, next := range c.next.Inputs {
		if slices.ContainsFunc(c.runningInputs(), func(i *inputRunner) bool { return i.name == next.Name }) {
			continue
		}
		opened, err := c.init(next)
		if err != nil {
			return err
		}
		c.inputs = append(c.inputs, newInputRunner(opened))
		c.undo = append(c.undo, func() error { opened.stop(); return nil })
	}
	return nil
}

// endInput stops an input when everything that it took is settled. After an error it goes on as before.
func (c *change) endInput(i *inputRunner) error {
	i.door.pause()
	if !c.await(c.by, i.door.whenEmpty()) {
		i.door.resume()
		return fmt.Errorf("%s cannot be stopped, because what it took is not settled: %s is behind", i.name, strings.Join(c.behind(), ", "))
	}
	i.endAccept()
	i.door.close()
	if !waitUntil(time.Now().Add(removePatience), i.ended) {
		return fatalError{fmt.Errorf("%s did not end within %s", i.name, removePatience)}
	}
	i.stop()
	c.setInputs(func(running []*inputRunner) []*inputRunner {
		return slices.DeleteFunc(running, func(other *inputRunner) bool { return other == i })
	})
	return nil
}

func (c *change) restartInput(old *inputRunner) error {
	opened, err := c.init(old.config.Anew())
	if err != nil {
		return err
	}
	i := newInputRunner(opened)
	c.setInputs(func(running []*inputRunner) []*inputRunner { return append(running, i) })
	i.start()
	return nil
}

// commit removes and adds flushers while nothing is queued, and starts the inputs.
func (c *change) commit() error {
	for _, i := range c.runningInputs() {
		i.door.pause()
		defer i.door.resume()
	}
	var removed []*flusherRunner
	for _, f := range c.runningFlushers() {
		if _, ok := find(c.next.Flushers, f.name); !ok {
			removed = append(removed, f)
		}
	}
	if err := c.lockWhenDelivered(removed); err != nil {
		return err
	}
	defer c.processors.mu.Unlock()
	if err := c.addFlushers(); err != nil {
		return err
	}
	for _, f := range removed {
		c.removeFlusher(f)
	}
	order := func(list []config.Plugin, name string) int {
		return slices.IndexFunc(list, func(p config.Plugin) bool { return p.Name == name })
	}
	c.setFlushers(func(running []*flusherRunner) []*flusherRunner {
		slices.SortFunc(running, func(a, b *flusherRunner) int {
			return order(c.next.Flushers, a.name) - order(c.next.Flushers, b.name)
		})
		return running
	})
	c.setInputs(func(running []*inputRunner) []*inputRunner {
		running = append(running, c.inputs...)
		slices.SortFunc(running, func(a, b *inputRunner) int {
			return order(c.next.Inputs, a.name) - order(c.next.Inputs, b.name)
		})
		return running
	})
	c.mu.Lock()
	c.config = c.next
	c.mu.Unlock()
	for _, i := range c.inputs {
		i.start()
	}
	return nil
}

// lockWhenDelivered gives flushers that are to go some time for what they have left. Nothing is queued until processors.mu is unlocked.
func (c *change) lockWhenDelivered(removed []*flusherRunner) error {
	by := time.Now().Add(removePatience)
	for {
		c.processors.mu.Lock()
		err := c.delivered(removed)
		if err == nil {
			return nil
		}
		c.processors.mu.Unlock()
		if time.Now().After(by) {
			return err
		}
		select {
		case <-time.After(10 * time.Millisecond):
		case <-c.ctx.Done():
			return err
		}
	}
}

func (c *change) delivered(removed []*flusherRunner) error {
	_, flushers := c.ledger.snapshot()
	var errs []error
	for _, f := range removed {
		if left := flushers[f.ledger].Queued; left > 0 {
			errs = append(errs, c.leftBehind(f.name, int(left)))
		}
	}
	return errors.Join(errs...)
}

// addFlushers gives the new flushers their cursors, all of them or none.
func (c *change) addFlushers() error {
	var runners []*flusherRunner
	for _, opened := range c.added {
		cursor, err := c.queue.Cursor(opened.config.Name)
		if err != nil {
			for _, r := range runners {
				c.ledger.close(r.ledger)
				err = errors.Join(err, c.queue.Remove(r.name))
			}
			return err
		}
		runners = append(runners, newFlusherRunner(opened, cursor, newFlusherStats(c.ledger.open(cursor.Backlog()), opened)))
	}
	c.setFlushers(func(running []*flusherRunner) []*flusherRunner { return append(running, runners...) })
	for _, r := range runners {
		if err := r.publish(); err != nil {
			r.log.Error("metrics are not published", "error", err)
		}
		r.start()
	}
	return nil
}

// removeFlusher takes a flusher out that has delivered everything.
func (c *change) removeFlusher(f *flusherRunner) {
	f.setUrgent(false)
	f.quiesce(c.ctx, c.by)
	c.setFlushers(func(running []*flusherRunner) []*flusherRunner {
		return slices.DeleteFunc(running, func(other *flusherRunner) bool { return other == f })
	})
	if err := c.queue.Remove(f.name); err != nil {
		f.log.Error("the queue keeps the position of a flusher that is gone", "error", err)
	}
	c.ledger.close(f.ledger)
	f.stop()
	f.unpublish()
}

// await waits for done until by; it gives up when flinktail stops.
func (c *change) await(by time.Time, done <-chan struct{}) bool {
	select {
	case <-done:
		return true
	case <-time.After(time.Until(by)):
	case <-c.ctx.Done():
	}
	return closed(done)
}

func (p *pipe) setFlushers(edit func([]*flusherRunner) []*flusherRunner) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.flushers = edit(slices.Clone(p.flushers))
}

func (p *pipe) setInputs(edit func([]*inputRunner) []*inputRunner) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.inputs = edit(slices.Clone(p.inputs))
}
