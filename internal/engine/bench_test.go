package engine

import (
	"context"
	"log/slog"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/flinktail/flinktail/internal/config"
	"github.com/flinktail/flinktail/internal/telemetry"
	"github.com/flinktail/flinktail/pipeline"
	"github.com/flinktail/flinktail/protocol"
)

const benchEvents = 100

// benchPut returns a function that puts a group of 100 events of ten jobs and returns when it is settled.
func benchPut(tb testing.TB, d config.Delivery) (put func()) {
	in := newInput()
	e, err := New([]*config.Pipeline{{
		Name: "bench", Global: config.Global{Queue: memoryQueue, DeadLetter: config.DefaultGlobal().DeadLetter},
		Inputs:   []config.Plugin{{Type: "input_fake", Name: "input_fake", Instance: in}},
		Flushers: []config.Plugin{{Type: "flusher_fake", Name: "flusher_fake", Instance: nullFlusher{}, Delivery: d}},
	}}, Options{DataDir: tb.TempDir(), StopTimeout: time.Minute, Logger: slog.New(slog.DiscardHandler), Metrics: telemetry.New()})
	require.NoError(tb, err)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- e.Run(ctx) }()
	sink := <-in.sink
	tb.Cleanup(func() {
		cancel()
		require.NoError(tb, <-ended)
	})
	b := protocol.NewBuilder()
	b.BeginGroup("", "")
	for i := range benchEvents {
		addEvent(b, "job"+strconv.Itoa(i/10), strconv.Itoa(i))
	}
	groups := b.Groups()
	settled := make(chan error, 1)
	done := func(err error) { settled <- err }
	return func() {
		if err := sink.Put(ctx, groups, done); err != nil {
			tb.Error(err)
			return
		}
		if err := <-settled; err != nil {
			tb.Error(err)
		}
	}
}

type nullFlusher struct{}

func (nullFlusher) Init(pipeline.Context) error                              { return nil }
func (nullFlusher) Description() string                                      { return "null" }
func (nullFlusher) IsReady(string, string, int64) bool                       { return true }
func (nullFlusher) Flush(string, string, string, []*protocol.LogGroup) error { return nil }
func (nullFlusher) SetUrgent(bool)                                           {}
func (nullFlusher) Stop() error                                              { return nil }

var benchCases = map[string]func(*config.Delivery){
	"default": func(*config.Delivery) {},
	"match":   func(d *config.Delivery) { d.Match = map[string]config.Patterns{"event_id": {"*1", "*2", "*3"}} },
	"workers": func(d *config.Delivery) { d.Workers = 4 },
}

func BenchmarkPut(b *testing.B) {
	for name, change := range benchCases {
		b.Run(name, func(b *testing.B) {
			d := config.DefaultDelivery()
			change(&d)
			put := benchPut(b, d)
			b.ReportAllocs()
			for b.Loop() {
				put()
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/benchEvents, "ns/event")
		})
	}
}

func TestAllocationsPerEvent(t *testing.T) {
	for name, change := range benchCases {
		t.Run(name, func(t *testing.T) {
			d := config.DefaultDelivery()
			change(&d)
			require.Less(t, testing.AllocsPerRun(100, benchPut(t, d))/benchEvents, 0.2)
		})
	}
}
