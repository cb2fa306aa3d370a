package cli

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"time"

	"github.com/flinktail/flinktail/internal/config"
	"github.com/flinktail/flinktail/internal/deadletter"
	"github.com/flinktail/flinktail/internal/engine"
	"github.com/flinktail/flinktail/internal/telemetry"
	"github.com/flinktail/flinktail/pipeline"
)

type replayCommand struct{ filters }

// Run replays flusher by flusher. It may run beside a flinktail that runs the same pipelines.
func (c *replayCommand) Run(a *app) error {
	pipelines, err := a.pipelines(a.Config)
	if err != nil {
		return err
	}
	logger := a.logger()
	ctx, stop := a.untilSignal(logger)
	defer stop()

	piles, err := c.survey(a)
	if err != nil {
		return err
	}
	piles = c.configured(a, piles, pipelines)
	var errs []error
	for _, p := range piles {
		if ctx.Err() != nil {
			break
		}
		if err := p.replay(ctx, a, c, pipelines, logger); err != nil {
			errs = append(errs, fmt.Errorf("replay %s: %w", p.name(), err))
		}
	}
	if ctx.Err() != nil {
		errs = append(errs, errors.New("replay was interrupted"))
	}
	return errors.Join(errs...)
}

// configured leaves out, and says so, the letters of pipelines that are not in the configuration, unless none is.
func (c *replayCommand) configured(a *app, piles []*pile, pipelines []*config.Pipeline) []*pile {
	var in, out []*pile
	for _, p := range piles {
		if slices.ContainsFunc(pipelines, func(c *config.Pipeline) bool { return c.Name == p.pipeline }) {
			in = append(in, p)
		} else {
			out = append(out, p)
		}
	}
	if len(in) == 0 {
		return piles
	}
	for _, p := range out {
		fmt.Fprintf(a.stderr, "%s: %s kept: the pipeline is not in %s\n", p.name(), count(p.letters, "letter"), a.Config)
	}
	return in
}

// pile is the letters of one plugin.
type pile struct {
	pipeline, plugin string

	letters  int
	longest  int // bytes of the longest line
	noEvents int // letters that hold no event
}

func (p *pile) name() string { return p.pipeline + "/" + p.plugin }

// survey counts the chosen letters, so that progress has an end.
func (c *replayCommand) survey(a *app) ([]*pile, error) {
	var piles []*pile
	unreadable := 0
	err := eachRecord(a.DataDir, c.Pipeline, func(pipeline string, r deadletter.Record) error {
		if r.Err != nil {
			unreadable++
			return nil
		}
		if !c.match(&r.Letter) {
			return nil
		}
		i := slices.IndexFunc(piles, func(p *pile) bool { return p.pipeline == pipeline && p.plugin == r.Letter.Plugin })
		if i < 0 {
			i = len(piles)
			piles = append(piles, &pile{pipeline: pipeline, plugin: r.Letter.Plugin})
		}
		p := piles[i]
		p.longest = max(p.longest, len(r.Line))
		p.letters++
		if !r.Letter.Replayable() {
			p.noEvents++
		}
		return nil
	})
	if unreadable > 0 {
		fmt.Fprintf(a.stderr, "%s unreadable and kept\n", count(unreadable, "line"))
	}
	if err == nil && len(piles) == 0 {
		fmt.Fprintf(a.stderr, "no such dead letters in %s\n", a.DataDir)
	}
	return piles, err
}

// replay sends a pile to its flusher through an engine of its own. The engine's own dead letters go to a temporary
// folder: a letter that comes back there stays where it is, one that does not is removed.
func (p *pile) replay(ctx context.Context, a *app, c *replayCommand, pipelines []*config.Pipeline, logger *slog.Logger) (err error) {
	if p.noEvents > 0 {
		fmt.Fprintf(a.stderr, "%s: %s kept: what was received could not be read as an event (\"deadletter show\" says why); mend that and send it to the input again\n", p.name(), count(p.noEvents, "letter"))
	}
	if p.noEvents == p.letters {
		return nil
	}
	temporary, err := os.MkdirTemp(a.DataDir, ".replay-*")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(temporary)) }()

	feed := &feed{dir: deadletter.Dir(a.DataDir, p.pipeline), plugin: p.plugin, filters: &c.filters}
	only, err := p.only(pipelines, feed)
	if err != nil {
		return err
	}
	e, err := engine.New([]*config.Pipeline{only}, engine.Options{
		DataDir: temporary, StopTimeout: a.StopTimeout, Once: true, Version: version(), Logger: logger, Metrics: telemetry.New(),
	})
	if err != nil {
		return err
	}
	stopProgress := p.progress(a, feed)
	err = e.Run(ctx)
	stopProgress()

	delivered, readErr := feed.delivered(deadletter.Dir(temporary, p.pipeline))
	if readErr != nil {
		return errors.Join(err, readErr)
	}
	removed, removeErr := deadletter.Remove(feed.dir, delivered)
	fmt.Fprintf(a.stderr, "%s: %d of %s delivered and removed\n", p.name(), removed, count(p.letters-p.noEvents, "letter"))
	if err := errors.Join(err, feed.failure(), removeErr); err != nil {
		return err
	}
	if kept := p.letters - p.noEvents - removed; kept > 0 {
		return fmt.Errorf("%s kept, not delivered", count(kept, "letter"))
	}
	return nil
}

// only is the pile's pipeline with nothing but the feed and the flusher that the letters are for. What would take letters
// away from the flusher is off: they have been chosen by name.
func (p *pile) only(pipelines []*config.Pipeline, feed *feed) (*config.Pipeline, error) {
	i := slices.IndexFunc(pipelines, func(c *config.Pipeline) bool { return c.Name == p.pipeline })
	if i < 0 {
		return nil, errors.New("the configuration has no such pipeline; its letters are kept")
	}
	only := *pipelines[i]
	j := slices.IndexFunc(only.Flushers, func(f config.Plugin) bool { return f.Name == p.plugin })
	if j < 0 {
		return nil, errors.New("the pipeline has no such flusher; its letters are kept")
	}
	flusher := only.Flushers[j]
	flusher.Delivery.Match = nil
	flusher.Delivery.MaxEventAge = 0
	flusher.Delivery.WhenFull = "block"
	only.Flushers = []config.Plugin{flusher}
	only.Processors = nil
	only.Inputs = []config.Plugin{{Type: feedName, Name: feedName, Path: "inputs[0]", Instance: feed}}
	// Whatever was an event in memory once fits, and so do all letters when they come back.
	only.Global.Queue = config.Queue{Type: config.QueueMemory, MaxBytes: pipeline.Size(4*p.longest) + 64*pipeline.MiB}
	only.Global.DeadLetter.MaxBytes = 1 << 60
	return &only, nil
}

// progress prints how far the feed is, every two seconds that it moved, until stop.
func (p *pile) progress(a *app, feed *feed) (stop func()) {
	quit, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		ticker := time.NewTicker(2 * time.Second)
		defer ticker.Stop()
		for last := int64(-1); ; {
			select {
			case <-quit:
				return
			case <-ticker.C:
			}
			if n := feed.settled.Load(); n != last {
				last = n
				fmt.Fprintf(a.stderr, "%s: %d of %d\n", p.name(), n, p.letters-p.noEvents)
			}
		}
	}()
	return func() {
		close(quit)
		<-stopped
	}
}
