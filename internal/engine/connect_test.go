package engine

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/flinktail/flinktail/internal/config"
	"github.com/flinktail/flinktail/pipeline"
)

// connectFlusher is a flusher whose Connect is the test's.
type connectFlusher struct {
	*fakeFlusher
	connect func(ctx context.Context) error
}

func (f *connectFlusher) Connect(ctx context.Context) error { return f.connect(ctx) }

func TestConnect(t *testing.T) {
	refused := pipeline.Blocked(errors.New("wrong password"))
	hang := func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }
	deaf := func(context.Context) error { time.Sleep(time.Hour); return refused }
	answer := func(err error) func(context.Context) error { return func(context.Context) error { return err } }
	for name, c := range map[string]struct {
		connects []func(context.Context) error
		want     string
		warns    int
		takes    time.Duration
	}{
		"all well":          {[]func(context.Context) error{answer(nil), answer(nil)}, "", 0, 0},
		"down":              {[]func(context.Context) error{answer(errors.New("connection refused")), answer(nil)}, "", 1, 0},
		"refused":           {[]func(context.Context) error{answer(nil), answer(refused)}, "pipeline orders: flusher_fake/1: wrong password", 0, 0},
		"two refuse":        {[]func(context.Context) error{answer(refused), answer(refused)}, "flusher_fake/1", 0, 0},
		"hangs":             {[]func(context.Context) error{hang, answer(nil)}, "", 1, 5 * time.Second},
		"refused and hangs": {[]func(context.Context) error{hang, answer(refused)}, "wrong password", 1, 5 * time.Second},
		"heeds no context":  {[]func(context.Context) error{deaf}, "", 1, 6 * time.Second},
		"panics":            {[]func(context.Context) error{func(context.Context) error { panic("boom") }}, "", 1, 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := &config.Pipeline{Name: "orders", Flushers: []config.Plugin{{Name: "flusher_bare", Instance: &fakeFlusher{}}}}
				for i, connect := range c.connects {
					p.Flushers = append(p.Flushers, config.Plugin{Name: "flusher_fake/" + string(rune('0'+i)), Instance: &connectFlusher{&fakeFlusher{}, connect}})
				}
				var log bytes.Buffer
				began := time.Now()
				err := Connect(t.Context(), []*config.Pipeline{p}, 5*time.Second, slog.New(slog.NewTextHandler(&log, nil)))
				require.Equal(t, c.takes, time.Since(began))
				time.Sleep(2 * time.Hour) // until even the one that heeds no context has returned
				require.Equal(t, c.warns, bytes.Count(log.Bytes(), []byte("level=WARN")), log.String())
				if c.want == "" {
					require.NoError(t, err)
					return
				}
				require.ErrorContains(t, err, c.want)
			})
		})
	}
}

func TestConnectEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &connectFlusher{&fakeFlusher{}, func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		p := &config.Pipeline{Flushers: []config.Plugin{{Name: "flusher_fake", Instance: f}}}
		began := time.Now()
		require.NoError(t, Connect(ctx, []*config.Pipeline{p}, time.Minute, slog.New(slog.DiscardHandler)))
		require.Equal(t, time.Second, time.Since(began))
	})
}
