package engine

import (
	"context"
	"errors"
	"runtime/debug"
	"slices"
	"sync"

	"github.com/flinktail/flinktail/internal/queue"
	"github.com/flinktail/flinktail/pipeline"
	"github.com/flinktail/flinktail/protocol"
)

// Put reserves room first, so that what the processors did never has to be undone: see [pipeline.Sink].
func (r *inputRunner) Put(ctx context.Context, groups []*protocol.LogGroup, done func(error)) error {
	if err := r.door.enter(ctx); err != nil {
		return err
	}
	p := r.pipe
	size := measure(groups)
	r.room.ask()
	err := p.queue.Reserve(ctx, size)
	r.room.answer(err)
	if errors.Is(err, pipeline.ErrTooLarge) && size.Events == 1 {
		if err = p.rejectTooLarge(ctx, r.name, groups); err == nil {
			r.settled(done, nil)
			return nil
		}
	}
	if err != nil {
		r.door.leave()
		return err
	}
	settled := func(err error) { r.settled(done, err) }
	if !p.accept(groups, size, settled) {
		settled(nil)
	}
	return nil
}

// settled calls an input's done; a panic of it is contained.
func (r *inputRunner) settled(done func(error), err error) {
	defer r.door.leave()
	defer func() {
		if v := recover(); v != nil {
			r.pipe.panicked(r.name, v, debug.Stack())
		}
	}()
	done(err)
}

// accept passes groups through the processors and queues what is left, in one step: the queue keeps the order in which the
// processors saw the events. It returns false, and done is not called, when nothing is left.
func (p *pipe) accept(groups []*protocol.LogGroup, reserved queue.Size, done func(error)) bool {
	p.processors.mu.Lock()
	defer p.processors.mu.Unlock()
	out, generated := p.process(groups)
	return p.enqueue(out, Ledger{Accepted: int64(reserved.Events), Generated: generated}, reserved, done)
}

// enqueue accounts for what came in and appends what is left of it.
func (p *pipe) enqueue(groups []*protocol.LogGroup, in Ledger, reserved queue.Size, done func(error)) bool {
	size := reserved
	if len(p.processors.steps) > 0 {
		size = measure(groups)
	}
	in.Appended = int64(size.Events)
	in.Filtered = in.Accepted + in.Generated - in.Appended
	p.ledger.add(in) // first: no event is delivered before it is counted
	if size.Events == 0 {
		p.queue.Cancel(reserved)
		return false
	}
	if p.durable {
		taken, settled := in, done
		done = func(err error) {
			if err != nil { // the disk failed, and flinktail stopped before it healed
				p.ledger.takeBack(taken)
			}
			settled(err)
		}
	}
	p.queue.Append(groups, size, reserved, done)
	return true
}

// rejectTooLarge makes a dead letter of an event that would never fit into the queue.
func (p *pipe) rejectTooLarge(ctx context.Context, input string, groups []*protocol.LogGroup) error {
	for _, g := range groups {
		for i := range g.Logs {
			event := p.encode(g, i)
			if err := p.reject(ctx, input, event, reasonTooLarge, "the event is larger than Queue.MaxBytes"); err != nil {
				return pipeline.ErrFull
			}
		}
	}
	return nil
}

func measure(groups []*protocol.LogGroup) (size queue.Size) {
	for _, g := range groups {
		size.Events += len(g.Logs)
		size.Bytes += protocol.MemorySize(g)
	}
	return size
}

// processorChain runs a pipeline's processors, one call at a time.
type processorChain struct {
	mu    sync.Mutex      // held until what came out is queued
	steps []processorStep // replaced, never changed, with mu and the pipe's mu held
}

type processorStep struct {
	*component
	name      string
	processor pipeline.Processor
	errors    pipeline.Counter
}

func newProcessorStep(c *component) processorStep {
	return processorStep{
		component: c, name: c.config.Name, processor: c.config.Instance.(pipeline.Processor),
		errors: c.context.Counter("errors_total", "groups that passed unprocessed because the processor failed"),
	}
}

// process passes groups through the processors and returns what is to be queued, with how many events were added.
func (p *pipe) process(groups []*protocol.LogGroup) (out []*protocol.LogGroup, generated int64) {
	if len(p.processors.steps) == 0 {
		return groups, 0
	}
	for _, g := range groups {
		out = p.processFrom(0, g, out, &generated)
	}
	return out, generated
}

// processFrom runs g through the steps from first on and appends it to out, then the groups that they emitted, processed too.
// A group that was emptied is left out.
func (p *pipe) processFrom(first int, g *protocol.LogGroup, out []*protocol.LogGroup, generated *int64) []*protocol.LogGroup {
	var made []*protocol.LogGroup
	for i := first; i < len(p.processors.steps) && len(g.Logs) > 0; i++ {
		step := &p.processors.steps[i]
		emitted, err := p.collect(step, func(emit func(*protocol.LogGroup)) error { return step.processor.Process(g, emit) })
		if err != nil {
			step.errors.Add(1)
			step.context.logger.Warn("events pass unprocessed", "error", err)
		}
		for _, e := range emitted {
			*generated += int64(len(e.Logs))
			made = p.processFrom(i+1, e, made, generated)
		}
	}
	if len(g.Logs) > 0 {
		out = append(out, g)
	}
	return append(out, made...)
}

// collect calls a processor and returns the groups that it emitted.
func (p *pipe) collect(step *processorStep, call func(emit func(*protocol.LogGroup)) error) (emitted []*protocol.LogGroup, err error) {
	err = p.guard(step.name, func() error {
		return call(func(g *protocol.LogGroup) {
			if g != nil {
				emitted = append(emitted, g)
			}
		})
	})
	return emitted, err
}

// tick lets the processors act that want to act on time, and queues what they emit.
func (p *pipe) tick(ctx context.Context) {
	for _, step := range p.steps() {
		if ticker, ok := step.processor.(pipeline.Ticker); ok {
			p.tickOne(ctx, step, ticker)
		}
	}
}

// tickOne waits until the queue has any room first: what Tick emits has to be queued.
func (p *pipe) tickOne(ctx context.Context, step processorStep, ticker pipeline.Ticker) {
	reserved := queue.Size{Bytes: 1, Events: 1}
	if p.queue.Reserve(ctx, reserved) != nil {
		return
	}
	p.processors.mu.Lock()
	defer p.processors.mu.Unlock()
	i := slices.IndexFunc(p.processors.steps, func(s processorStep) bool { return s.component == step.component })
	if i < 0 { // a reload has taken it out meanwhile
		p.queue.Cancel(reserved)
		return
	}
	emitted, _ := p.collect(&step, func(emit func(*protocol.LogGroup)) error {
		ticker.Tick(now(), emit)
		return nil
	})
	var out []*protocol.LogGroup
	var generated int64
	for _, g := range emitted {
		generated += int64(len(g.Logs))
		out = p.processFrom(i+1, g, out, &generated)
	}
	p.enqueue(out, Ledger{Generated: generated}, reserved, func(error) {})
}

// steps returns the processors; with processors.mu held they stay what they are.
func (p *pipe) steps() []processorStep {
	p.mu.RLock()
	defer p.mu.RUnlock()
	return p.processors.steps
}

// setSteps needs processors.mu.
func (p *pipe) setSteps(steps []processorStep) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.processors.steps = steps
}
