package engine

import (
	"context"
	"errors"
	"runtime/debug"
	"sync"

	"github.com/flinktail/flinktail/pipeline"
	"github.com/flinktail/flinktail/protocol"
)

// sink is what one input of a pipeline puts its events into.
type sink struct {
	pipe  *pipe
	input string
}

// Put reserves room first, so that what the processors did never has to be undone.
func (s *sink) Put(ctx context.Context, groups []*protocol.LogGroup, done func(error)) error {
	p := s.pipe
	events, bytes := measure(groups)
	if !p.begin() {
		return pipeline.ErrStopping
	}
	defer p.putting.Done()
	err := p.queue.Reserve(ctx, bytes, events)
	if errors.Is(err, pipeline.ErrTooLarge) && events == 1 {
		return p.rejectTooLarge(ctx, s.input, groups, done)
	}
	if err != nil {
		return err
	}
	out, filtered, generated := p.process(groups, events)
	remaining := events - filtered + generated
	account := func() {
		p.ledger.update(func(in *Ledger) {
			in.Accepted += int64(events)
			in.Filtered += int64(filtered)
			in.Generated += int64(generated)
		})
		p.ledger.appended(int64(remaining))
	}
	if remaining == 0 {
		account()
		p.queue.Cancel(bytes, events)
		done(nil)
		return nil
	}
	p.queue.Append(out, remaining, bytes, events, p.guardDone(s.input, done), account)
	return nil
}

// begin takes part in a Put, unless the pipeline has stopped taking any.
func (p *pipe) begin() bool {
	p.putMu.Lock()
	defer p.putMu.Unlock()
	if p.closed {
		return false
	}
	p.putting.Add(1)
	return true
}

// closePuts refuses every further Put and waits for those under way.
func (p *pipe) closePuts() {
	p.putMu.Lock()
	p.closed = true
	p.putMu.Unlock()
	p.putting.Wait()
}

// guardDone contains a panic of an input's callback.
func (p *pipe) guardDone(input string, done func(error)) func(error) {
	return func(err error) {
		defer func() {
			if v := recover(); v != nil {
				p.panicked(input, v, debug.Stack())
			}
		}()
		done(err)
	}
}

// rejectTooLarge makes a dead letter of an event that would never fit into the queue.
func (p *pipe) rejectTooLarge(ctx context.Context, input string, groups []*protocol.LogGroup, done func(error)) error {
	for _, g := range groups {
		for i := range g.Logs {
			event := p.encode(g, i)
			if err := p.reject(ctx, input, event, reasonTooLarge, "the event is larger than Queue.MaxBytes"); err != nil {
				return pipeline.ErrFull
			}
		}
	}
	done(nil)
	return nil
}

func measure(groups []*protocol.LogGroup) (events, bytes int) {
	for _, g := range groups {
		events += len(g.Logs)
		bytes += protocol.MemorySize(g)
	}
	return events, bytes
}

// processorChain runs a pipeline's processors, one call at a time.
type processorChain struct {
	mu    sync.Mutex
	steps []processorStep
}

type processorStep struct {
	name      string
	processor pipeline.Processor
	errors    pipeline.Counter
	context   *pluginContext
}

// process passes groups through the processors and returns what is to be queued, with how many events were taken
// out and how many were added.
func (p *pipe) process(groups []*protocol.LogGroup, events int) (out []*protocol.LogGroup, filtered, generated int) {
	c := &p.processors
	if len(c.steps) == 0 {
		return groups, 0, 0
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, g := range groups {
		made := p.processFrom(0, g, &generated)
		out = append(out, g)
		out = append(out, made...)
	}
	left := 0
	for _, g := range out {
		left += len(g.Logs)
	}
	return out, events + generated - left, generated
}

// processFrom runs g through the steps from first on and returns the groups that they emitted, processed too.
func (p *pipe) processFrom(first int, g *protocol.LogGroup, generated *int) (made []*protocol.LogGroup) {
	for i := first; i < len(p.processors.steps) && len(g.Logs) > 0; i++ {
		step := &p.processors.steps[i]
		var emitted []*protocol.LogGroup
		err := p.guard(step.name, func() error {
			return step.processor.Process(g, func(e *protocol.LogGroup) { emitted = append(emitted, e) })
		})
		if err != nil {
			step.errors.Add(1)
			step.context.logger.Warn("events pass unprocessed", "error", err)
		}
		for _, e := range emitted {
			*generated += len(e.Logs)
			made = append(made, e)
			made = append(made, p.processFrom(i+1, e, generated)...)
		}
	}
	return made
}

// tick lets the processors that want to act on time, and queues what they emit.
func (p *pipe) tick(ctx context.Context) {
	for i := range p.processors.steps {
		step := &p.processors.steps[i]
		ticker, ok := step.processor.(pipeline.Ticker)
		if !ok {
			continue
		}
		var emitted, made []*protocol.LogGroup
		generated := 0
		p.processors.mu.Lock()
		_ = p.guard(step.name, func() error {
			ticker.Tick(now(), func(g *protocol.LogGroup) { emitted = append(emitted, g) })
			return nil
		})
		for _, g := range emitted {
			generated += len(g.Logs)
			made = append(made, g)
			made = append(made, p.processFrom(i+1, g, &generated)...)
		}
		p.processors.mu.Unlock()
		p.appendGenerated(ctx, made, generated)
	}
}

func (p *pipe) appendGenerated(ctx context.Context, groups []*protocol.LogGroup, generated int) {
	left, bytes := measure(groups)
	account := func() {
		p.ledger.update(func(in *Ledger) {
			in.Generated += int64(generated)
			in.Filtered += int64(generated - left)
		})
		p.ledger.appended(int64(left))
	}
	if left == 0 {
		account()
		return
	}
	if err := p.queue.Reserve(ctx, bytes, left); err != nil {
		p.logger.Error("generated events are lost", "pipeline", p.config.Name, "events", left, "error", err)
		return
	}
	p.queue.Append(groups, left, bytes, left, func(error) {}, account)
}
