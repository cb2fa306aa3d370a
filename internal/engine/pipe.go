package engine

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/flinktail/flinktail/internal/config"
	"github.com/flinktail/flinktail/internal/deadletter"
	"github.com/flinktail/flinktail/internal/queue"
	"github.com/flinktail/flinktail/internal/telemetry"
	"github.com/flinktail/flinktail/pipeline"
	"github.com/flinktail/flinktail/protocol"
	"github.com/flinktail/flinktail/protocol/flink"
)

// pipe is one running pipeline.
type pipe struct {
	name    string
	dataDir string
	logger  *slog.Logger
	metrics *telemetry.Metrics
	options Options

	// soft ends when plugins must give up their I/O, hard when the process must end.
	soft, hard             context.Context
	cancelSoft, cancelHard context.CancelFunc

	queue       queue.Queue
	durable     bool   // the queue keeps its events over a restart
	notedErr    string // see noteQueueErr
	closing     sync.Once
	deadLetters *deadletter.Store
	ledger      ledger
	processors  processorChain
	withdraw    []func() // of metrics

	// Everything that a reload replaces. The slices are replaced, never changed.
	mu       sync.RWMutex
	config   *config.Pipeline
	inputs   []*inputRunner
	flushers []*flusherRunner

	changing   chan struct{} // a lock: held by a change, and by the beginning of the end
	stopping   bool
	forReload  bool          // the pipeline ends because of a reload
	inputEnded chan struct{} // sent to when one has

	// Of Engine.launch: end makes run return, which closes ended and leaves err.
	end   context.CancelFunc
	ended chan struct{}
	err   error

	drained chan struct{} // closed when the queue is empty for good, or keeps what it holds
	kept    chan struct{} // closed when a queue on disk is to keep what it holds
}

func now() time.Time { return time.Now() }

// newPipe initialises every plugin: flushers first, inputs last. On an error nothing stays open.
func newPipe(c *config.Pipeline, o Options) (p *pipe, err error) {
	p = &pipe{
		name: c.Name, dataDir: filepath.Join(o.DataDir, c.Name), logger: o.Logger, metrics: o.Metrics, options: o, config: c,
		drained: make(chan struct{}), kept: make(chan struct{}), ended: make(chan struct{}), changing: make(chan struct{}, 1), inputEnded: make(chan struct{}, 1),
	}
	p.soft, p.cancelSoft = context.WithCancel(context.Background())
	p.hard, p.cancelHard = context.WithCancel(context.Background())
	defer func() {
		if err != nil {
			p.close()
			p, err = nil, fmt.Errorf("pipeline %s: %w", c.Name, err)
		}
	}()
	letters := c.Global.DeadLetter
	p.deadLetters, err = deadletter.Open(deadletter.Dir(o.DataDir, c.Name), int64(letters.MaxBytes), int64(letters.MaxFileBytes))
	if err != nil {
		return p, err
	}
	if err := p.openQueue(c); err != nil {
		return p, err
	}
	if err := p.openPlugins(c); err != nil {
		return p, err
	}
	if err := p.forgetRemoved(); err != nil {
		return p, err
	}
	return p, p.publish()
}

func (p *pipe) openPlugins(c *config.Pipeline) error {
	for _, plugin := range c.Flushers {
		opened, err := p.init(plugin)
		if err != nil {
			return err
		}
		cursor, err := p.queue.Cursor(plugin.Name)
		if err != nil {
			opened.stop()
			return err
		}
		p.flushers = append(p.flushers, newFlusherRunner(opened, cursor, newFlusherStats(p.ledger.open(cursor.Backlog()), opened)))
	}
	for _, plugin := range c.Processors {
		opened, err := p.init(plugin)
		if err != nil {
			return err
		}
		p.processors.steps = append(p.processors.steps, newProcessorStep(opened))
	}
	for _, plugin := range c.Inputs {
		finite, ok := plugin.Instance.(pipeline.Finite)
		if p.options.Once && !ok {
			p.logger.Info("input does not run: it has no end, and --once waits for the end", "pipeline", c.Name, "plugin", plugin.Name)
			continue
		}
		if p.options.Once {
			finite.ReadOnce()
		}
		opened, err := p.init(plugin)
		if err != nil {
			return err
		}
		p.inputs = append(p.inputs, newInputRunner(opened))
	}
	if len(p.inputs) == 0 {
		return errors.New("none of its inputs can be read once and be done; input_file can")
	}
	return nil
}

func (p *pipe) lock()   { p.changing <- struct{}{} }
func (p *pipe) unlock() { <-p.changing }

// global returns what concerns the pipeline as a whole.
func (p *pipe) global() *config.Global {
	p.mu.RLock()
	defer p.mu.RUnlock()
	return &p.config.Global
}

func (p *pipe) runningInputs() []*inputRunner {
	p.mu.RLock()
	defer p.mu.RUnlock()
	return p.inputs
}

func (p *pipe) runningFlushers() []*flusherRunner {
	p.mu.RLock()
	defer p.mu.RUnlock()
	return p.flushers
}

// close stops what was initialised, last first, and closes the rest.
func (p *pipe) close() {
	for _, i := range slices.Backward(p.inputs) {
		i.stop()
	}
	for _, step := range slices.Backward(p.processors.steps) {
		step.stop()
	}
	for _, f := range slices.Backward(p.flushers) {
		f.stop()
		f.unpublish()
	}
	p.cancelSoft()
	p.cancelHard()
	if p.queue != nil {
		p.closeQueue()
		if err := p.queue.Stop(); err != nil {
			p.logger.Error("queue did not close cleanly", "pipeline", p.name, "error", err)
		}
	}
	if p.deadLetters != nil {
		if err := p.deadLetters.Close(); err != nil {
			p.logger.Error("dead letters did not close cleanly", "pipeline", p.name, "error", err)
		}
	}
	for _, withdraw := range p.withdraw {
		withdraw()
	}
}

// closeQueue has who waits for room wait no longer. It may be called twice.
func (p *pipe) closeQueue() { p.closing.Do(p.queue.Close) }

func (p *pipe) label() pipeline.Label { return pipeline.Label{Name: "pipeline", Value: p.name} }

func (p *pipe) labels(id string) []pipeline.Label {
	return []pipeline.Label{p.label(), {Name: "plugin", Value: typeOf(id)}, {Name: "id", Value: id}}
}

func (p *pipe) counter(name, help string, labels ...pipeline.Label) pipeline.Counter {
	c, err := p.metrics.Counter(name, help, labels...)
	if err != nil {
		p.logger.Error("metric is not published", "metric", name, "error", err)
	}
	return c
}

// count adds n to a plugin's counter that has a reason.
func (p *pipe) count(component, id, name, help, reason string, n int64) {
	labels := append(p.labels(id), pipeline.Label{Name: "reason", Value: reason})
	p.counter("flinktail_"+component+"_"+name, help, labels...).Add(float64(n))
}

// reject stores raw input as a dead letter and accounts for it.
func (p *pipe) reject(ctx context.Context, input string, raw []byte, reason, detail string) error {
	letter := deadletter.Letter{
		Time: now(), Pipeline: p.name, Plugin: input, Reason: reason, Error: detail, Attempts: 1, Raw: raw,
	}
	if err := p.deadLetters.Append(ctx, []deadletter.Letter{letter}); err != nil {
		return fmt.Errorf("store dead letter: %w", err)
	}
	p.ledger.add(Ledger{Accepted: 1, Rejected: 1})
	p.count("input", input, "rejected_events_total", "what was received and is no event; it became dead letters", reason, 1)
	for _, i := range p.runningInputs() {
		if i.name == input {
			i.letters.add(reason, detail, 1)
		}
	}
	return nil
}

// storeDeadLetters stores the events of b, retrying until the process must end, or until halt ends: errHalted.
func (p *pipe) storeDeadLetters(halt context.Context, flusher string, b *batch, reason string, attempts int, causes []error) error {
	letters := make([]deadletter.Letter, 0, b.events)
	encoder := protocol.NewJSONEncoder(flink.Fields)
	b.each(func(r run, log int) {
		cause := causes[0]
		if len(causes) > 1 {
			cause = causes[len(letters)]
		}
		letters = append(letters, deadletter.Letter{
			Time: now(), Pipeline: p.name, Plugin: flusher, Reason: reason, Error: fmt.Sprint(cause), Attempts: attempts,
			EventID: r.group.Field(r.group.Logs[log], flink.FieldEventID),
			Event:   json.RawMessage(encoder.Append(nil, r.group, log)),
		})
	})
	for {
		err := p.tryStore(halt, letters)
		switch {
		case err == nil || p.hard.Err() != nil:
			return err
		case halt.Err() != nil:
			return errHalted
		}
		p.logger.Error("dead letters are full or cannot be written, the flusher waits", "pipeline", p.name,
			"plugin", flusher, "folder", deadletter.Dir(filepath.Dir(p.dataDir), p.name), "error", err)
		select {
		case <-time.After(time.Second):
		case <-halt.Done():
		case <-p.hard.Done():
		}
	}
}

// tryStore gives up now and then, so that somebody hears that the dead letters are full.
func (p *pipe) tryStore(halt context.Context, letters []deadletter.Letter) error {
	ctx, cancel := context.WithTimeout(p.hard, 30*time.Second)
	defer cancel()
	defer context.AfterFunc(halt, cancel)()
	return p.deadLetters.Append(ctx, letters)
}

func (p *pipe) encode(g *protocol.LogGroup, i int) []byte {
	return protocol.NewJSONEncoder(flink.Fields).Append(nil, g, i)
}
