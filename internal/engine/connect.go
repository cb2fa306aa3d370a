package engine

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/flinktail/flinktail/internal/config"
	"github.com/flinktail/flinktail/pipeline"
)

// connectGrace is what a plugin may take to return after the end of Connect's context.
const connectGrace = time.Second

// Connect tries every flusher that is a [pipeline.Connector], all at once, for at most timeout; call it before [New]. The error lists the definite
// refusals: what a person must mend is best said at the start. A destination that is down or slow is none: it is logged and
// retried later.
func Connect(ctx context.Context, pipelines []*config.Pipeline, timeout time.Duration, logger *slog.Logger) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	var (
		all  sync.WaitGroup
		mu   sync.Mutex
		errs []error
	)
	for _, p := range pipelines {
		for _, f := range p.Flushers {
			c, ok := f.Instance.(pipeline.Connector)
			if !ok {
				continue
			}
			all.Go(func() {
				err := TryConnect(ctx, c)
				var blocked *pipeline.BlockedError
				switch {
				case errors.As(err, &blocked):
					mu.Lock()
					defer mu.Unlock()
					errs = append(errs, fmt.Errorf("pipeline %s: %s: %w", p.Name, f.Name, err))
				case err != nil && ctx.Err() != context.Canceled:
					logger.Warn("destination cannot be reached yet; starting all the same, it is tried again", "pipeline", p.Name, "plugin", f.Name, "error", err)
				}
			})
		}
	}
	all.Wait()
	return errors.Join(errs...)
}

// TryConnect calls c.Connect. It contains a panic, and gives up on a plugin that does not heed the end of ctx.
func TryConnect(ctx context.Context, c pipeline.Connector) error {
	result := make(chan error, 1)
	go func() {
		defer func() {
			if v := recover(); v != nil {
				result <- fmt.Errorf("panic: %v", v)
			}
		}()
		result <- c.Connect(ctx)
	}()
	select {
	case err := <-result:
		return err
	case <-ctx.Done():
	}
	select {
	case err := <-result:
		return err
	case <-time.After(connectGrace):
		return ctx.Err()
	}
}
