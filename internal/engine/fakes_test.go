package engine

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/flinktail/flinktail/internal/config"
	"github.com/flinktail/flinktail/internal/deadletter"
	"github.com/flinktail/flinktail/internal/telemetry"
	"github.com/flinktail/flinktail/pipeline"
	"github.com/flinktail/flinktail/protocol"
)

// fakeInput hands its sink to the test.
type fakeInput struct {
	sink    chan pipeline.Sink
	context pipeline.Context
	initErr error
	inits   int
	stops   int
	run     func(ctx context.Context, out pipeline.Sink) error
}

func newInput() *fakeInput { return &fakeInput{sink: make(chan pipeline.Sink, 1)} }

func (f *fakeInput) Init(c pipeline.Context) error { f.context = c; f.inits++; return f.initErr }
func (f *fakeInput) Description() string           { return "fake" }
func (f *fakeInput) Stop() error                   { f.stops++; return nil }
func (f *fakeInput) Run(ctx context.Context, out pipeline.Sink) error {
	if f.run != nil {
		return f.run(ctx, out)
	}
	f.sink <- out
	<-ctx.Done()
	return nil
}

// finiteInput ends by itself.
type finiteInput struct{ *fakeInput }

func (finiteInput) ReadOnce() {}

// fakeFlusher records what it delivered; answer decides the fate of each Flush.
type fakeFlusher struct {
	mu        sync.Mutex
	context   pipeline.Context
	delivered []string // event ids
	batches   []int
	notReady  bool
	urgent    bool
	stops     int
	initErr   error
	answer    func(n int, groups []*protocol.LogGroup) error // n counts from 1
	calls     int
}

func (f *fakeFlusher) Init(c pipeline.Context) error { f.context = c; return f.initErr }
func (f *fakeFlusher) Description() string           { return "fake" }
func (f *fakeFlusher) SetUrgent(u bool)              { f.mu.Lock(); f.urgent = u; f.mu.Unlock() }
func (f *fakeFlusher) Stop() error                   { f.mu.Lock(); f.stops++; f.mu.Unlock(); return nil }
func (f *fakeFlusher) IsReady(string, string, int64) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return !f.notReady
}

func (f *fakeFlusher) becomeReady() { f.mu.Lock(); f.notReady = false; f.mu.Unlock() }

func (f *fakeFlusher) Flush(_, _, _ string, groups []*protocol.LogGroup) error {
	f.mu.Lock()
	f.calls++
	n := f.calls
	f.mu.Unlock()
	if f.answer != nil {
		if err := f.answer(n, groups); err != nil {
			return err
		}
	}
	f.record(groups)
	return nil
}

func (f *fakeFlusher) record(groups []*protocol.LogGroup) {
	f.mu.Lock()
	defer f.mu.Unlock()
	events := 0
	for _, g := range groups {
		for _, log := range g.Logs {
			f.delivered = append(f.delivered, strings.Clone(protocol.Value(log, "event_id")))
			events++
		}
	}
	f.batches = append(f.batches, events)
}

func (f *fakeFlusher) ids() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]string(nil), f.delivered...)
}

// rig is one pipeline with one fake input, running.
type rig struct {
	t       *testing.T
	dir     string
	config  *config.Pipeline
	input   *fakeInput
	engine  *Engine
	sink    pipeline.Sink
	cancel  context.CancelFunc
	ended   chan error
	options Options
}

var memoryQueue = config.Queue{Type: config.QueueMemory, MaxBytes: 64 * pipeline.MiB, MaxEvents: 1_000_000}

// newRig prepares a pipeline; change may alter its configuration before start.
func newRig(t *testing.T, flushers ...*fakeFlusher) *rig {
	r := &rig{t: t, dir: t.TempDir(), input: newInput(), ended: make(chan error, 1)}
	r.config = &config.Pipeline{Name: "test", Global: config.DefaultGlobal()}
	r.config.Global.Queue = memoryQueue
	r.config.Inputs = []config.Plugin{{Type: "input_fake", Name: "input_fake", Path: "inputs[0]", Instance: r.input}}
	for i, f := range flushers {
		d := config.DefaultDelivery()
		d.Retry.Initial = time.Second
		r.config.Flushers = append(r.config.Flushers, config.Plugin{
			Type: "flusher_fake", Name: fmt.Sprintf("flusher_fake/%d", i), Path: fmt.Sprintf("flushers[%d]", i), Instance: f, Delivery: d,
		})
	}
	r.options = Options{DataDir: r.dir, StopTimeout: 25 * time.Second, Logger: slog.New(slog.DiscardHandler), Metrics: telemetry.New()}
	return r
}

func (r *rig) start() *rig {
	r.t.Helper()
	var err error
	r.engine, err = New([]*config.Pipeline{r.config}, r.options)
	require.NoError(r.t, err)
	var ctx context.Context
	ctx, r.cancel = context.WithCancel(context.Background())
	go func() { r.ended <- r.engine.Run(ctx) }()
	r.sink = <-r.input.sink
	return r
}

// stop ends the run and returns its error.
func (r *rig) stop() error {
	r.t.Helper()
	r.cancel()
	err := <-r.ended
	r.requireLedger()
	return err
}

func (r *rig) status() PipelineStatus { return r.engine.Status().Pipelines[0] }

func (r *rig) requireLedger() {
	r.t.Helper()
	s := r.status()
	require.Equal(r.t, s.Ledger.Accepted+s.Ledger.Generated, s.Ledger.Filtered+s.Ledger.Rejected+s.Ledger.Appended, "%+v", s.Ledger)
	for _, f := range s.Flushers {
		require.Equal(r.t, f.Recovered+f.Appended, f.Delivered+f.Filtered+f.DeadLettered+f.Corrupt+f.Queued, "%+v", f)
		require.GreaterOrEqual(r.t, f.Queued, int64(0), "an event was settled before it was counted")
	}
}

func (r *rig) letters() (letters []deadletter.Letter) {
	r.t.Helper()
	require.NoError(r.t, deadletter.Read(deadletter.Dir(r.dir, "test"), func(rec deadletter.Record) error {
		letters = append(letters, rec.Letter)
		return nil
	}))
	return letters
}

// put puts one group of n events ("a-0", "a-1", …) and returns where done reports.
func (r *rig) put(prefix string, n int) chan error {
	r.t.Helper()
	done := make(chan error, 2)
	require.NoError(r.t, r.sink.Put(context.Background(), []*protocol.LogGroup{group(prefix, n)}, func(err error) { done <- err }))
	return done
}

// group returns events of one job named prefix.
func group(prefix string, n int) *protocol.LogGroup {
	b := protocol.NewBuilder()
	g := b.BeginGroup("", "")
	at := time.Now()
	for i := range n {
		b.BeginLog(uint32(at.Unix()), 0)
		b.Add("event_id", fmt.Sprintf("%s-%d", prefix, i))
		b.Add("job_id", prefix)
		b.EndLog()
	}
	return g
}

func ids(prefix string, n int) (out []string) {
	for i := range n {
		out = append(out, fmt.Sprintf("%s-%d", prefix, i))
	}
	return out
}
