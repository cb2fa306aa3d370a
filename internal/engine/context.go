package engine

import (
	"context"
	"log/slog"
	"net/url"
	"path/filepath"
	"sync"

	"github.com/flinktail/flinktail/pipeline"
)

// pluginContext is what one plugin sees of the engine.
type pluginContext struct {
	ctx    context.Context
	cancel context.CancelFunc
	pipe   *pipe
	id     string
	logger *slog.Logger
	state  *fileState

	mu       sync.Mutex
	withdraw []func() // of its gauges
}

func (p *pipe) newContext(id string) *pluginContext {
	c := &pluginContext{
		pipe: p, id: id,
		logger: p.logger.With("pipeline", p.name, "plugin", id),
		state:  &fileState{dir: filepath.Join(p.dataDir, "state", url.PathEscape(id))},
	}
	c.ctx, c.cancel = context.WithCancel(p.soft)
	return c
}

// end comes after the plugin's Stop.
func (c *pluginContext) end() {
	c.cancel()
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, withdraw := range c.withdraw {
		withdraw()
	}
	c.withdraw = nil
}

func (c *pluginContext) Context() context.Context { return c.ctx }
func (c *pluginContext) Pipeline() string         { return c.pipe.name }
func (c *pluginContext) ID() string               { return c.id }
func (c *pluginContext) Logger() *slog.Logger     { return c.logger }
func (c *pluginContext) State() pipeline.State    { return c.state }

func (c *pluginContext) Counter(name, help string, labels ...pipeline.Label) pipeline.Counter {
	counter, err := c.pipe.metrics.Counter(c.metric(name), help, append(c.pipe.labels(c.id), labels...)...)
	if err != nil {
		c.logger.Error("metric is not published", "metric", name, "error", err)
	}
	return counter
}

func (c *pluginContext) Gauge(name, help string, value func() float64) {
	withdraw, err := c.pipe.metrics.Gauge(c.metric(name), help, value, c.pipe.labels(c.id)...)
	if err != nil {
		c.logger.Error("metric is not published", "metric", name, "error", err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.withdraw = append(c.withdraw, withdraw)
}

func (c *pluginContext) metric(name string) string {
	return "flinktail_" + typeOf(c.id) + "_" + name
}

func (c *pluginContext) Reject(ctx context.Context, raw []byte, reason, detail string) error {
	return c.pipe.reject(ctx, c.id, raw, reason, detail)
}
