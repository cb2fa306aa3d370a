package engine

import (
	"errors"
	"fmt"
	"runtime/debug"

	"github.com/flinktail/flinktail/internal/config"
	"github.com/flinktail/flinktail/pipeline"
)

// plugin is what the three categories share.
type plugin interface {
	Init(pipeline.Context) error
	Stop() error
}

// component is a plugin that was initialised.
type component struct {
	config  config.Plugin
	context *pluginContext
}

func (p *pipe) init(c config.Plugin) (*component, error) {
	ctx := p.newContext(c.Name)
	if err := p.guard(c.Name, func() error { return c.Instance.(plugin).Init(ctx) }); err != nil {
		ctx.end()
		var option *pipeline.OptionError
		if errors.As(err, &option) {
			return nil, fmt.Errorf("%s.detail.%w", c.Path, err)
		}
		return nil, fmt.Errorf("%s (%s): %w", c.Path, c.Name, err)
	}
	return &component{config: c, context: ctx}, nil
}

// stop stops the plugin and takes back what its context has given it.
func (c *component) stop() {
	if err := c.context.pipe.guard(c.config.Name, c.config.Instance.(plugin).Stop); err != nil {
		c.context.logger.Error("plugin did not stop cleanly", "error", err)
	}
	c.context.end()
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
	p.logger.Error("plugin panicked", "pipeline", p.name, "plugin", plugin, "panic", value, "stack", string(stack))
	p.counter("flinktail_plugin_panics_total", "panics that were contained", p.labels(plugin)...).Add(1)
}
