package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/flinktail/flinktail/internal/config"
	"github.com/flinktail/flinktail/internal/engine"
	"github.com/flinktail/flinktail/pipeline"
)

const connectTimeout = 10 * time.Second

type validateCommand struct {
	configAlias

	Connect bool `help:"Also try every source and destination, 10 s each."`
}

func (c *validateCommand) Run(a *app) error {
	pipelines, err := a.pipelines(cmp.Or(a.Config, c.Plugin))
	if err != nil {
		return err
	}
	for _, p := range pipelines {
		fmt.Fprintf(a.stdout, "%s: ok (pipeline %s: %s)\n", p.File, p.Name, summary(p))
	}
	if !c.Connect {
		return nil
	}
	failed := 0
	for _, p := range pipelines {
		for _, plugin := range slices.Concat(p.Inputs, p.Processors, p.Flushers) {
			if !a.connect(p, plugin) {
				failed++
			}
		}
	}
	if failed > 0 {
		return fmt.Errorf("connect: %s failed", count(failed, "plugin"))
	}
	return nil
}

// connect tries one plugin and prints a line about it.
func (a *app) connect(p *config.Pipeline, plugin config.Plugin) bool {
	connector, ok := plugin.Instance.(pipeline.Connector)
	fmt.Fprintf(a.stdout, "%s: %s: connect: ", p.File, plugin.Name)
	if !ok {
		fmt.Fprintln(a.stdout, "nothing to try")
		return true
	}
	start := time.Now()
	if err := tryConnect(connector); err != nil {
		fmt.Fprintln(a.stdout, strings.ReplaceAll(err.Error(), "\n", "; "))
		return false
	}
	fmt.Fprintf(a.stdout, "ok (%s)\n", time.Since(start).Round(time.Millisecond))
	return true
}

func tryConnect(c pipeline.Connector) error {
	ctx, cancel := context.WithTimeout(context.Background(), connectTimeout)
	defer cancel()
	err := engine.TryConnect(ctx, c)
	if errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("no answer within %s: %w", connectTimeout, err)
	}
	return err
}

// count is "1 plugin", "2 plugins".
func count(n int, noun string) string {
	if n != 1 {
		noun += "s"
	}
	return fmt.Sprintf("%d %s", n, noun)
}
