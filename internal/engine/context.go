package engine

import (
	"context"
	"log/slog"

	"github.com/flinktail/flinktail/pipeline"
)

// pluginContext is what one plugin sees of the engine.
type pluginContext struct {
	ctx      context.Context
	pipe     *pipe
	category pipeline.Category
	id       string
	logger   *slog.Logger
	state    *fileState
}

func (p *pipe) newContext(category pipeline.Category, id string) *pluginContext {
	return &pluginContext{
		ctx: p.soft, pipe: p, category: category, id: id,
		logger: p.logger.With("pipeline", p.config.Name, "plugin", id),
		state:  &fileState{dir: p.stateDir(id)},
	}
}

func (c *pluginContext) Context() context.Context { return c.ctx }
func (c *pluginContext) Pipeline() string         { return c.pipe.config.Name }
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
	if err := c.pipe.metrics.Gauge(c.metric(name), help, value, c.pipe.labels(c.id)...); err != nil {
		c.logger.Error("metric is not published", "metric", name, "error", err)
	}
}

func (c *pluginContext) metric(name string) string {
	return "flinktail_" + typeOf(c.id) + "_" + name
}

func (c *pluginContext) Reject(ctx context.Context, raw []byte, reason, detail string) error {
	return c.pipe.reject(ctx, c.id, raw, reason, detail)
}
