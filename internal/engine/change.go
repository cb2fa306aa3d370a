package engine

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/flinktail/flinktail/internal/config"
	"github.com/flinktail/flinktail/pipeline"
	"github.com/flinktail/flinktail/protocol"
)

const (
	// removePatience is how long senders wait at most while a flusher that is to go delivers what it has left.
	removePatience = 5 * time.Second
	// flushGrace is what a Flush gets to return after its context has ended, see [pipeline.Flusher].
	flushGrace = time.Second
)

// ErrNotWhole says that what ran before a reload could not be started again either.
var ErrNotWhole = errors.New("flinktail is not whole any more and stops")

func notWhole(cause, again error) error {
	return fmt.Errorf("%w: %w; what ran before does not start again: %w", ErrNotWhole, cause, again)
}

// change turns a running pipeline into another, component by component: prepare, hold, commit, finish. Up to commit all of it can be rolled
// back. The pipeline neither ends nor changes otherwise until release.
type change struct {
	*pipe
	patience
	next *config.Pipeline
	undo []func() error

	inputs []*inputRunner // initialised, to be started when nothing can fail any more
	added  []*component   // flushers, that too

	// Of hold.
	held    bool
	paused  []*inputRunner
	runners []*flusherRunner // of added
	removed []*flusherRunner // which have delivered everything
}

// begin returns errStopping when the pipeline ends, or has ended.
func (p *pipe) begin(w patience, next *config.Pipeline) (*change, error) {
	p.lock()
	if p.stopping {
		p.unlock()
		return nil, errStopping
	}
	return &change{pipe: p, patience: w, next: next}, nil
}

func (c *change) release() { c.unlock() }

// prepare replaces what differs in next, and initialises what is new. Flushers come first, so that a new destination can take what old ones
// hold up.
func (c *change) prepare() error {
	for _, step := range []func() error{c.openFlushers, c.changeFlushers, c.changeProcessors, c.changeInputs} {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

// rollBack undoes what was done, last first. An error says that the pipeline is not whole any more.
func (c *change) rollBack() (err error) {
	c.letGo()
	c.by = time.Now().Add(removePatience)
	for _, i := range slices.Backward(c.inputs) {
		c.stop(i.component)
	}
	for _, undo := range slices.Backward(c.undo) {
		if c.ctx.Err() != nil {
			break // everything stops, with what it has
		}
		err = errors.Join(err, undo())
	}
	for _, opened := range slices.Backward(c.added) {
		c.stop(opened)
	}
	return err
}

// init is that of pipe, in time.
func (c *change) init(plugin config.Plugin) (*component, error) {
	opened, err := inTime(c.patience, func() (*component, error) { return c.pipe.init(plugin) }, (*component).stop)
	if errors.Is(err, errTooSlow) {
		return nil, fmt.Errorf("%s (%s): %w", plugin.Path, plugin.Name, err)
	}
	return opened, err
}

// stop does not wait for a plugin for ever.
func (c *change) stop(old *component) {
	if !c.allow(old.stop) {
		old.context.cancel()
		old.context.logger.Error("plugin does not stop; flinktail goes on without it")
	}
}

// dismiss stops a flusher that another one replaces, or none.
func (c *change) dismiss(f *flusherRunner) {
	if !c.allow(func() { f.setUrgent(false) }) {
		f.log.Error("plugin does not take SetUrgent")
	}
	c.stop(f.component)
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
	whole := old.quiesce(c.patience)
	if whole && sameOptions(old.config, next) {
		next.Instance = old.config.Instance
		return c.succeed(old, &component{config: next, context: old.context}), nil
	}
	c.dismiss(old)
	opened, err := c.init(next)
	if err == nil {
		return c.succeed(old, opened), nil
	}
	again, againErr := c.init(old.config.Anew())
	if againErr != nil {
		gone := old.config
		gone.Instance = goneFlusher{}
		c.succeed(old, &component{config: gone, context: c.newContext(old.name)})
		return nil, notWhole(err, againErr)
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
func (r *flusherRunner) quiesce(w patience) (whole bool) {
	r.endHalt()
	ended := inBackground(r.running.Wait)
	if w.await(ended) {
		return true
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
	for _, step := range c.steps() {
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
	if err := c.lockProcessors(); err != nil {
		return err
	}
	defer c.processors.mu.Unlock()
	old := c.steps()
	var kept, stopped []processorStep
	for _, step := range old {
		if same, ok := find(next, step.name); ok && sameOptions(same, step.config) {
			kept = append(kept, step)
			continue
		}
		c.stop(step.component)
		stopped = append(stopped, step)
	}
	steps, err := c.initProcessors(next, kept)
	if err == nil {
		c.setSteps(steps)
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
		c.setSteps(kept)
		return notWhole(err, againErr)
	}
	c.setSteps(steps)
	return err
}

// lockProcessors keeps events from passing. The error says that a processor does not return.
func (c *change) lockProcessors() error {
	_, err := inTime(c.patience, func() (*sync.Mutex, error) { c.processors.mu.Lock(); return &c.processors.mu, nil }, (*sync.Mutex).Unlock)
	if err != nil {
		return errors.New("processors are busy and do not return")
	}
	return nil
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
				c.stop(step.component)
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
	}
	return nil
}

// endInput stops an input when everything that it took is settled. After an error it goes on as before.
func (c *change) endInput(i *inputRunner) error {
	i.door.pause()
	if !c.await(i.door.whenEmpty()) {
		i.door.resume()
		return fmt.Errorf("%s cannot be stopped, because what it took is not settled: %s is behind", i.name, strings.Join(c.behind(), ", "))
	}
	i.endAccept()
	i.door.close()
	if !waitUntil(time.Now().Add(removePatience), i.ended) {
		return fmt.Errorf("%w: %s did not end within %s", ErrNotWhole, i.name, removePatience)
	}
	c.stop(i.component)
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

// hold stops the flow of events when the flushers that go have delivered everything, and gives the new ones their places in the queue. An
// error, or letGo, takes that back.
func (c *change) hold() (err error) {
	defer func() {
		if err != nil {
			c.letGo()
		}
	}()
	for _, i := range c.runningInputs() {
		i.door.pause()
		c.paused = append(c.paused, i)
	}
	for _, f := range c.runningFlushers() {
		if _, ok := find(c.next.Flushers, f.name); !ok {
			c.removed = append(c.removed, f)
		}
	}
	if err := c.lockWhenDelivered(); err != nil {
		return err
	}
	c.held = true
	for _, opened := range c.added {
		cursor, err := c.queue.Cursor(opened.config.Name)
		if err != nil {
			return err
		}
		c.runners = append(c.runners, newFlusherRunner(opened, cursor, newFlusherStats(c.ledger.open(cursor.Backlog()), opened)))
	}
	return nil
}

// letGo has events flow again, as before.
func (c *change) letGo() {
	for _, r := range c.runners {
		c.ledger.close(r.ledger)
		c.removeCursor(r)
	}
	c.runners, c.removed = nil, nil
	c.goOn()
}

func (c *change) goOn() {
	if c.held {
		c.processors.mu.Unlock()
		c.held = false
	}
	for _, i := range c.paused {
		i.door.resume()
	}
	c.paused = nil
}

// commit makes the change visible while nothing is queued, and has events flow again. It cannot fail.
func (c *change) commit() {
	for _, f := range c.removed {
		f.quiesce(c.patience) // it has nothing left
		c.ledger.close(f.ledger)
		c.removeCursor(f)
	}
	order := func(list []config.Plugin, name string) int {
		return slices.IndexFunc(list, func(p config.Plugin) bool { return p.Name == name })
	}
	c.setFlushers(func(running []*flusherRunner) []*flusherRunner {
		running = slices.DeleteFunc(running, func(f *flusherRunner) bool { return slices.Contains(c.removed, f) })
		running = append(running, c.runners...)
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
	for _, r := range c.runners {
		if err := r.publish(); err != nil {
			r.log.Error("metrics are not published", "error", err)
		}
		r.start()
	}
	c.goOn()
	for _, i := range c.inputs {
		i.start()
	}
}

// finish stops the flushers that are gone, which may take a while.
func (c *change) finish() {
	for _, f := range c.removed {
		c.dismiss(f)
		f.unpublish()
	}
}

func (c *change) removeCursor(f *flusherRunner) {
	if err := c.queue.Remove(f.name); err != nil {
		f.log.Error("the queue keeps the position of a flusher that is gone", "error", err)
	}
}

// lockWhenDelivered gives flushers that are to go some time for what they have left. Nothing is queued until processors.mu is unlocked.
func (c *change) lockWhenDelivered() error {
	by := time.Now().Add(removePatience)
	for {
		if err := c.lockProcessors(); err != nil {
			return err
		}
		err := c.delivered()
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

func (c *change) delivered() error {
	_, flushers := c.ledger.snapshot()
	var errs []error
	for _, f := range c.removed {
		if left := flushers[f.ledger].Queued; left > 0 {
			errs = append(errs, c.leftBehind(f.name, int(left)))
		}
	}
	return errors.Join(errs...)
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

// goneFlusher stands in for one that could not be started again: what is left to it stays in the queue on disk, or becomes dead letters.
type goneFlusher struct{}

func (goneFlusher) Init(pipeline.Context) error                              { return nil }
func (goneFlusher) Description() string                                      { return "a flusher that could not be started again" }
func (goneFlusher) IsReady(string, string, int64) bool                       { return false }
func (goneFlusher) SetUrgent(bool)                                           {}
func (goneFlusher) Stop() error                                              { return nil }
func (goneFlusher) Flush(string, string, string, []*protocol.LogGroup) error { return errUntried }
