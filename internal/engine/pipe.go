package engine

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"path/filepath"
	"runtime/debug"
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
	config  *config.Pipeline
	dataDir string
	logger  *slog.Logger
	metrics *telemetry.Metrics

	// soft ends when plugins must give up their I/O, hard when the process must end.
	soft, hard             context.Context
	cancelSoft, cancelHard context.CancelFunc

	queue       queue.Queue
	deadLetters *deadletter.Store
	ledger      ledger
	inputs      []*inputRunner
	processors  processorChain
	runners     []*flusherRunner
	stops       []func() // of what Init has opened, in that order

	putMu   sync.Mutex
	closed  bool
	putting sync.WaitGroup
	drained chan struct{} // closed when the queue is empty for good
}

func now() time.Time { return time.Now() }

// newPipe initialises every plugin: flushers first, inputs last. On an error nothing stays open.
func newPipe(c *config.Pipeline, o Options) (p *pipe, err error) {
	p = &pipe{
		config: c, dataDir: filepath.Join(o.DataDir, c.Name), logger: o.Logger, metrics: o.Metrics,
		queue:   queue.NewMemory(queue.Size{Bytes: int(c.Global.Queue.MaxBytes), Events: c.Global.Queue.MaxEvents}),
		drained: make(chan struct{}),
	}
	p.soft, p.cancelSoft = context.WithCancel(context.Background())
	p.hard, p.cancelHard = context.WithCancel(context.Background())
	p.ledger.flushers = make([]FlusherLedger, len(c.Flushers))
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
	for i, plugin := range c.Flushers {
		ctx, err := p.init(plugin, pipeline.CategoryFlusher, plugin.Instance.(pipeline.Flusher))
		if err != nil {
			return p, err
		}
		cursor, err := p.queue.Cursor(plugin.Name)
		if err != nil {
			return p, err
		}
		p.runners = append(p.runners, newFlusherRunner(p, i, plugin, ctx, cursor))
	}
	for _, plugin := range c.Processors {
		processor := plugin.Instance.(pipeline.Processor)
		ctx, err := p.init(plugin, pipeline.CategoryProcessor, processor)
		if err != nil {
			return p, err
		}
		p.processors.steps = append(p.processors.steps, processorStep{
			name: plugin.Name, processor: processor, context: ctx,
			errors: ctx.Counter("errors_total", "groups that passed unprocessed because the processor failed"),
		})
	}
	for _, plugin := range c.Inputs {
		input := plugin.Instance.(pipeline.Input)
		finite, ok := input.(pipeline.Finite)
		if o.Once && !ok {
			p.logger.Info("input does not run: it has no end, and --once waits for the end", "pipeline", c.Name, "plugin", plugin.Name)
			continue
		}
		if o.Once {
			finite.ReadOnce()
		}
		ctx, err := p.init(plugin, pipeline.CategoryInput, input)
		if err != nil {
			return p, err
		}
		p.inputs = append(p.inputs, newInputRunner(p, plugin.Name, input, ctx.Logger()))
	}
	if len(p.inputs) == 0 {
		return p, errors.New("none of its inputs can be read once and be done; input_file can")
	}
	return p, p.publish()
}

// plugin is what the three categories share.
type plugin interface {
	Init(pipeline.Context) error
	Stop() error
}

func (p *pipe) init(c config.Plugin, category pipeline.Category, instance plugin) (*pluginContext, error) {
	ctx := p.newContext(category, c.Name)
	if err := p.guard(c.Name, func() error { return instance.Init(ctx) }); err != nil {
		var option *pipeline.OptionError
		if errors.As(err, &option) {
			return nil, fmt.Errorf("%s.detail.%w", c.Path, err)
		}
		return nil, fmt.Errorf("%s (%s): %w", c.Path, c.Name, err)
	}
	p.stops = append(p.stops, func() {
		if err := p.guard(c.Name, instance.Stop); err != nil {
			ctx.logger.Error("plugin did not stop cleanly", "error", err)
		}
	})
	return ctx, nil
}

// close stops what was initialised, last first, and closes the rest.
func (p *pipe) close() {
	for i := len(p.stops) - 1; i >= 0; i-- {
		p.stops[i]()
	}
	p.stops = nil
	p.cancelSoft()
	p.cancelHard()
	if p.deadLetters != nil {
		if err := p.deadLetters.Close(); err != nil {
			p.logger.Error("dead letters did not close cleanly", "pipeline", p.config.Name, "error", err)
		}
	}
}

// guard calls f; a panic becomes an error.
func (p *pipe) guard(plugin string, f func() error) (err error) {
	defer func() {
		if v := recover(); v != nil {
			p.panicked(plugin, v, debug.Stack())
			err = fmt.Errorf("panic: %v", v)
		}
	}()
	return f()
}

// panicked logs and counts a plugin's panic.
func (p *pipe) panicked(plugin string, value any, stack []byte) {
	p.logger.Error("plugin panicked", "pipeline", p.config.Name, "plugin", plugin, "panic", value, "stack", string(stack))
	p.counter("flinktail_plugin_panics_total", "panics that were contained", p.labels(plugin)...).Add(1)
}

func (p *pipe) labels(id string) []pipeline.Label {
	return []pipeline.Label{{Name: "pipeline", Value: p.config.Name}, {Name: "plugin", Value: typeOf(id)}, {Name: "id", Value: id}}
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
		Time: now(), Pipeline: p.config.Name, Plugin: input, Reason: reason, Error: detail, Attempts: 1, Raw: raw,
	}
	if err := p.deadLetters.Append(ctx, []deadletter.Letter{letter}); err != nil {
		return fmt.Errorf("store dead letter: %w", err)
	}
	p.ledger.add(Ledger{Accepted: 1, Rejected: 1})
	p.count("input", input, "rejected_events_total", "what was received and is no event; it became dead letters", reason, 1)
	for _, i := range p.inputs {
		if i.name == input {
			i.letters.add(reason, detail, 1)
		}
	}
	return nil
}

// storeDeadLetters stores the events of b, retrying until the process must end.
func (p *pipe) storeDeadLetters(flusher string, b *batch, reason string, attempts int, causes []error) error {
	letters := make([]deadletter.Letter, 0, b.events)
	encoder := protocol.NewJSONEncoder(flink.Fields)
	b.each(func(r run, log int) {
		cause := causes[0]
		if len(causes) > 1 {
			cause = causes[len(letters)]
		}
		letters = append(letters, deadletter.Letter{
			Time: now(), Pipeline: p.config.Name, Plugin: flusher, Reason: reason, Error: fmt.Sprint(cause), Attempts: attempts,
			EventID: r.group.Field(r.group.Logs[log], flink.FieldEventID),
			Event:   json.RawMessage(encoder.Append(nil, r.group, log)),
		})
	})
	for {
		err := p.tryStore(letters)
		if err == nil || p.hard.Err() != nil {
			return err
		}
		p.logger.Error("dead letters are full or cannot be written, the flusher waits", "pipeline", p.config.Name,
			"plugin", flusher, "folder", deadletter.Dir(filepath.Dir(p.dataDir), p.config.Name), "error", err)
		select {
		case <-time.After(time.Second):
		case <-p.hard.Done():
		}
	}
}

// tryStore gives up now and then, so that somebody hears that the dead letters are full.
func (p *pipe) tryStore(letters []deadletter.Letter) error {
	ctx, cancel := context.WithTimeout(p.hard, 30*time.Second)
	defer cancel()
	return p.deadLetters.Append(ctx, letters)
}

func (p *pipe) encode(g *protocol.LogGroup, i int) []byte {
	return protocol.NewJSONEncoder(flink.Fields).Append(nil, g, i)
}

func (p *pipe) stateDir(id string) string {
	return filepath.Join(p.dataDir, "state", url.PathEscape(id))
}
