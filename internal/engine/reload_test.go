package engine

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/flinktail/flinktail/internal/config"
	"github.com/flinktail/flinktail/internal/queue/disk"
	"github.com/flinktail/flinktail/pipeline"
	"github.com/flinktail/flinktail/protocol"
)

// world makes configurations of fakes, and remembers every fake that was made, and what was asked of it.
type world struct {
	t      *testing.T
	queue  config.Queue
	mu     sync.Mutex
	calls  []string // "Init flusher_fake/a v1", in order
	got    map[string][]string
	broken map[string]bool // "flusher_fake/a v2": Init fails
	sinks  map[string]pipeline.Sink
	answer func(name string, groups []*protocol.LogGroup) error
	ready  func(name string) bool

	onInit func(plugin string)
	hangs  map[string]chan struct{} // "Stop flusher_fake/a v1": the call returns when that is closed
	ends   map[string]error         // what an input returns when it is told to end
	fails  map[string]error         // what an input returns at once, or when until is closed
	until  map[string]chan struct{}
	last   map[string]func(pipeline.Sink) // what an input does before it ends
}

func newWorld(t *testing.T) *world {
	return &world{
		t: t, queue: memoryQueue, got: map[string][]string{}, broken: map[string]bool{}, sinks: map[string]pipeline.Sink{}, hangs: map[string]chan struct{}{},
		ends: map[string]error{}, fails: map[string]error{}, until: map[string]chan struct{}{}, last: map[string]func(pipeline.Sink){},
	}
}

// note records a call of a plugin, and returns the error that Init is to return.
func (w *world) note(call, plugin string) error {
	if call == "Init" && w.onInit != nil {
		w.onInit(plugin)
	}
	w.mu.Lock()
	hang := w.hangs[call+" "+plugin]
	w.mu.Unlock()
	if hang != nil {
		<-hang
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.calls = append(w.calls, call+" "+plugin)
	if call == "Init" && w.broken[plugin] {
		return errors.New(plugin + " is broken")
	}
	return nil
}

func (w *world) hang(call string, until chan struct{}) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.hangs[strings.TrimSpace(call)] = until
}

// took returns the calls since the last time.
func (w *world) took() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	calls := w.calls
	w.calls = nil
	return calls
}

func (w *world) ids(flusher string) []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return append([]string(nil), w.got[flusher]...)
}

// pipeline returns a configuration. A plugin is its name and, behind a blank, its version: other options.
func (w *world) pipeline(name string, plugins ...string) *config.Pipeline {
	c := &config.Pipeline{Name: name, Global: config.DefaultGlobal()}
	c.Global.Queue = w.queue
	for _, text := range plugins {
		full, version, _ := strings.Cut(text, " ")
		p := config.Plugin{Type: typeOf(full), Name: full, Path: full, Sum: version}
		switch category, _ := pipeline.CategoryOf(p.Type); category {
		case pipeline.CategoryInput:
			p.New = func() any { return &worldInput{w, full, version} }
			c.Inputs = append(c.Inputs, p.Anew())
		case pipeline.CategoryProcessor:
			p.New = func() any { return &worldProcessor{w, text} }
			if strings.Contains(full, "/tick") {
				p.New = func() any { return &worldTicker{worldProcessor{w, text}} }
			}
			c.Processors = append(c.Processors, p.Anew())
		default:
			p.Delivery = config.DefaultDelivery()
			p.Delivery.Retry.Initial = time.Second
			p.New = func() any { return &worldFlusher{w: w, name: full, version: version} }
			c.Flushers = append(c.Flushers, p.Anew())
		}
	}
	return c
}

func (w *world) start(pipelines ...*config.Pipeline) *worldEngine {
	w.t.Helper()
	r := newRig(w.t)
	e, err := New(pipelines, r.options)
	require.NoError(w.t, err)
	ctx, cancel := context.WithCancel(context.Background())
	run := &worldEngine{Engine: e, w: w, cancel: cancel, returned: make(chan error, 1)}
	go func() { run.returned <- e.Run(ctx) }()
	synctest.Wait()
	return run
}

type worldEngine struct {
	*Engine
	w        *world
	cancel   context.CancelFunc
	returned chan error
}

func (e *worldEngine) end() error {
	e.cancel()
	return <-e.returned
}

// put puts a group of n events into an input.
func (e *worldEngine) put(input, prefix string, n int) chan error {
	e.w.t.Helper()
	synctest.Wait() // for the input to run
	done := make(chan error, 1)
	require.NoError(e.w.t, e.w.sink(input).Put(context.Background(), []*protocol.LogGroup{group(prefix, n)}, func(err error) { done <- err }))
	return done
}

// sink returns what the input runs with, nil before it runs.
func (w *world) sink(input string) pipeline.Sink {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.sinks[input]
}

type worldInput struct {
	w             *world
	name, version string
}

func (i *worldInput) Init(pipeline.Context) error { return i.w.note("Init", i.name+" "+i.version) }
func (i *worldInput) Description() string         { return "fake" }
func (i *worldInput) Stop() error                 { return i.w.note("Stop", i.name+" "+i.version) }
func (i *worldInput) Run(ctx context.Context, out pipeline.Sink) error {
	i.w.mu.Lock()
	i.w.sinks[i.name] = out
	i.w.mu.Unlock()
	name := i.name + " " + i.version
	if err := i.w.fails[name]; err != nil {
		if until := i.w.until[name]; until != nil {
			<-until
		}
		return err
	}
	<-ctx.Done()
	if last := i.w.last[name]; last != nil {
		last(out)
	}
	return i.w.ends[name]
}

type worldProcessor struct {
	w    *world
	name string
}

func (p *worldProcessor) Init(pipeline.Context) error { return p.w.note("Init", p.name) }
func (p *worldProcessor) Description() string         { return "fake" }
func (p *worldProcessor) Stop() error                 { return p.w.note("Stop", p.name) }
func (p *worldProcessor) Process(*protocol.LogGroup, func(*protocol.LogGroup)) error {
	return p.w.note("Process", p.name)
}

// worldTicker is a processor "…/tick…".
type worldTicker struct{ worldProcessor }

func (p *worldTicker) Tick(time.Time, func(*protocol.LogGroup)) { _ = p.w.note("Tick", p.name) }

type worldFlusher struct {
	w             *world
	name, version string
	context       pipeline.Context
}

func (f *worldFlusher) Init(c pipeline.Context) error {
	f.context = c
	c.Gauge("fake", "Is published once at a time.", func() float64 { return 1 })
	return f.w.note("Init", f.name+" "+f.version)
}
func (f *worldFlusher) Description() string { return "fake" }
func (f *worldFlusher) Stop() error         { return f.w.note("Stop", f.name+" "+f.version) }
func (f *worldFlusher) SetUrgent(flag bool) {
	_ = f.w.note(fmt.Sprintf("SetUrgent(%t)", flag), f.name+" "+f.version)
}

func (f *worldFlusher) IsReady(string, string, int64) bool {
	return f.w.ready == nil || f.w.ready(f.name+" "+f.version)
}

func (f *worldFlusher) Flush(_, _, _ string, groups []*protocol.LogGroup) error {
	if f.w.answer != nil {
		if err := f.w.answer(f.name+" "+f.version, groups); err != nil {
			return err
		}
	}
	f.w.mu.Lock()
	defer f.w.mu.Unlock()
	for _, g := range groups {
		for _, log := range g.Logs {
			f.w.got[f.name] = append(f.w.got[f.name], strings.Clone(protocol.Value(log, "event_id")))
		}
	}
	return nil
}

func TestReloadChangesOnlyWhatDiffers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		e := w.start(w.pipeline("p", "input_fake/a v1", "input_fake/b v1", "processor_fake/x v1", "flusher_fake/a v1", "flusher_fake/b v1"))
		w.took()
		require.NoError(t, e.Reload([]*config.Pipeline{w.pipeline("p", "input_fake/a v1", "input_fake/b v1", "processor_fake/x v1", "flusher_fake/a v1", "flusher_fake/b v1")}))
		require.Empty(t, w.took())

		require.NoError(t, e.Reload([]*config.Pipeline{w.pipeline("p", "input_fake/a v1", "input_fake/b v2", "processor_fake/x v1", "flusher_fake/a v1", "flusher_fake/b v2")}))
		require.Equal(t, []string{
			"SetUrgent(false) flusher_fake/b v1", "Stop flusher_fake/b v1", "Init flusher_fake/b v2", "Stop input_fake/b v1", "Init input_fake/b v2",
		}, w.took())
		require.NoError(t, <-e.put("input_fake/a", "a", 2))
		require.NoError(t, <-e.put("input_fake/b", "b", 2))
		require.Equal(t, append(ids("a", 2), ids("b", 2)...), w.ids("flusher_fake/b"))
		w.took()

		require.NoError(t, e.Reload([]*config.Pipeline{w.pipeline("p", "input_fake/c v1", "input_fake/b v2", "processor_fake/y v1", "processor_fake/x v1", "flusher_fake/c v1", "flusher_fake/a v1")}))
		require.Equal(t, []string{
			"Init flusher_fake/c v1", "Init processor_fake/y v1", "Stop input_fake/a v1", "Init input_fake/c v1",
			"SetUrgent(false) flusher_fake/b v2", "Stop flusher_fake/b v2",
		}, w.took())
		require.NoError(t, <-e.put("input_fake/c", "c", 1))
		require.Equal(t, []string{"Process processor_fake/y v1", "Process processor_fake/x v1"}, w.took())
		require.Equal(t, ids("c", 1), w.ids("flusher_fake/c"), "a new flusher starts at the end")
		status := e.Status().Pipelines[0]
		require.Equal(t, FlusherLedger{Appended: 1, Delivered: 1}, status.Flushers[0].FlusherLedger)
		require.Equal(t, FlusherLedger{Appended: 5, Delivered: 5}, status.Flushers[1].FlusherLedger)
		require.NoError(t, e.end())
		require.Contains(t, w.took(), "SetUrgent(true) flusher_fake/a v1")
	})
}

func TestReloadThatFailsChangesNothing(t *testing.T) {
	old := []string{"input_fake/a v1", "input_fake/b v1", "processor_fake/x v1", "processor_fake/y v1", "flusher_fake/a v1", "flusher_fake/b v1"}
	for name, next := range map[string][]string{
		"flusher_fake/b v2":   {"input_fake/a v2", "input_fake/b v1", "processor_fake/x v1", "processor_fake/y v1", "flusher_fake/a v2", "flusher_fake/b v2"},
		"flusher_fake/c v1":   {"input_fake/a v2", "input_fake/b v1", "processor_fake/x v1", "processor_fake/y v1", "flusher_fake/a v2", "flusher_fake/c v1"},
		"processor_fake/y v2": {"input_fake/a v2", "input_fake/b v1", "processor_fake/x v2", "processor_fake/y v2", "flusher_fake/a v2", "flusher_fake/b v1"},
		"input_fake/b v2":     {"input_fake/b v2", "processor_fake/y v1", "flusher_fake/a v2", "flusher_fake/b v1"},
		"input_fake/c v1":     {"input_fake/c v1", "processor_fake/x v2", "processor_fake/y v1", "flusher_fake/a v2", "flusher_fake/c v1"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				w.broken[name] = true
				e := w.start(w.pipeline("p", old...), w.pipeline("other", "input_fake/o v1", "flusher_fake/o v1"))
				err := e.Reload([]*config.Pipeline{w.pipeline("other", "input_fake/o v2", "flusher_fake/o v2"), w.pipeline("p", next...)})
				require.ErrorContains(t, err, name+" is broken")
				require.ErrorContains(t, err, "pipeline p: ")

				inits, stops := map[string]int{}, map[string]int{}
				for _, call := range w.took() {
					if plugin, ok := strings.CutPrefix(call, "Init "); ok && plugin != name {
						inits[plugin]++
					}
					if plugin, ok := strings.CutPrefix(call, "Stop "); ok {
						stops[plugin]++
					}
				}
				for plugin, n := range inits {
					alive := n - stops[plugin]
					if strings.HasSuffix(plugin, "v1") && plugin != "flusher_fake/c v1" && plugin != "input_fake/c v1" {
						require.Equal(t, 1, alive, plugin)
					} else {
						require.Zero(t, alive, plugin)
					}
				}
				for _, input := range []string{"input_fake/a", "input_fake/b"} {
					require.NoError(t, <-e.put(input, input, 2))
				}
				require.NoError(t, <-e.put("input_fake/o", "o", 1))
				require.Len(t, w.ids("flusher_fake/a"), 4)
				require.Len(t, w.ids("flusher_fake/b"), 4)
				require.NoError(t, e.Ready())
				delete(w.broken, name)
				require.NoError(t, e.Reload([]*config.Pipeline{w.pipeline("p", next...)}), "mended")
				require.NoError(t, e.end())
			})
		})
	}
}

func TestReloadHandsOnWhatIsNotDelivered(t *testing.T) {
	for _, kind := range []string{config.QueueMemory, config.QueueDisk} {
		t.Run(kind, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				if kind == config.QueueDisk {
					w.queue = config.Queue{Type: kind, MaxBytes: 16 * pipeline.MiB}
				}
				w.answer = func(name string, _ []*protocol.LogGroup) error {
					if name == "flusher_fake v1" {
						time.Sleep(time.Second)
						return errors.New("wrong address")
					}
					return nil
				}
				e := w.start(w.pipeline("p", "input_fake v1", "flusher_fake v1"))
				for i := range 5 {
					e.put("input_fake", fmt.Sprint(i), 10)
				}
				next := w.pipeline("p", "input_fake v1", "flusher_fake v2")
				next.Flushers[0].Delivery.Workers = 3
				require.NoError(t, e.Reload([]*config.Pipeline{next}))
				<-e.running()[0].queue.Idle()
				got := w.ids("flusher_fake")
				require.Len(t, got, 50, "each of them once")
				for i := range 5 {
					var ofJob []string
					for _, id := range got {
						if strings.HasPrefix(id, fmt.Sprint(i, "-")) {
							ofJob = append(ofJob, id)
						}
					}
					require.Equal(t, ids(fmt.Sprint(i), 10), ofJob)
				}
				require.NoError(t, e.end())
			})
		})
	}
}

func TestReloadOfBatchAndMatchKeepsThePlugin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		var ready atomic.Bool
		w.ready = func(string) bool { return ready.Load() }
		e := w.start(w.pipeline("p", "input_fake v1", "flusher_fake v1"))
		done := e.put("input_fake", "a", 12)
		w.took()
		next := w.pipeline("p", "input_fake v1", "flusher_fake v1")
		next.Flushers[0].Delivery.Match = map[string]config.Patterns{"event_id": {"*1"}}
		require.NoError(t, e.Reload([]*config.Pipeline{next}))
		require.Empty(t, w.took())
		ready.Store(true)
		require.NoError(t, <-done)
		require.Equal(t, []string{"a-1", "a-11"}, w.ids("flusher_fake"))
		require.Equal(t, FlusherLedger{Appended: 12, Delivered: 2, Filtered: 10}, e.Status().Pipelines[0].Flushers[0].FlusherLedger)
		require.NoError(t, e.end())
	})
}

func TestReloadDoesNotWaitForAFlushThatHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		hang := make(chan struct{})
		w.answer = func(name string, _ []*protocol.LogGroup) error {
			if name == "flusher_fake v1" {
				<-hang
				return errors.New("too late")
			}
			return nil
		}
		e := w.start(w.pipeline("p", "input_fake v1", "flusher_fake v1"))
		done := e.put("input_fake", "a", 3)
		synctest.Wait()
		start := time.Now()
		require.NoError(t, e.Reload([]*config.Pipeline{w.pipeline("p", "input_fake v1", "flusher_fake v2")}))
		require.LessOrEqual(t, time.Since(start), e.options.StopTimeout+2*time.Second)
		require.NoError(t, <-done)
		require.Equal(t, ids("a", 3), w.ids("flusher_fake"))
		close(hang)
		require.NoError(t, e.end())
	})
}

func TestReloadRefusesToLoseTheEventsOfARemovedFlusher(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		var down atomic.Bool
		w.ready = func(name string) bool { return !down.Load() || name == "flusher_fake/a v1" }
		e := w.start(w.pipeline("p", "input_fake v1", "flusher_fake/a v1", "flusher_fake/b v1"))
		down.Store(true)
		done := e.put("input_fake", "a", 3)
		err := e.Reload([]*config.Pipeline{w.pipeline("p", "input_fake v1", "flusher_fake/a v1")})
		require.ErrorContains(t, err, "flusher_fake/b is no longer in the configuration, but 3 events are queued for it")
		down.Store(false)
		require.NoError(t, <-done)
		require.NoError(t, <-e.put("input_fake", "b", 3), "everything goes on")
		require.NoError(t, e.Reload([]*config.Pipeline{w.pipeline("p", "input_fake v1", "flusher_fake/a v1")}))
		require.NoError(t, <-e.put("input_fake", "c", 3))
		require.Len(t, w.ids("flusher_fake/a"), 9)
		require.Len(t, w.ids("flusher_fake/b"), 6)
		require.NoError(t, e.end())
	})
}

func TestReloadRefusesToStopAnInputThatIsOwedAnAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		var down atomic.Bool
		w.ready = func(string) bool { return !down.Load() }
		e := w.start(w.pipeline("p", "input_fake v1", "flusher_fake v1"))
		down.Store(true)
		done := e.put("input_fake", "a", 3)
		err := e.Reload([]*config.Pipeline{w.pipeline("p", "input_fake v2", "flusher_fake v1")})
		require.ErrorContains(t, err, "input_fake cannot be stopped, because what it took is not settled")
		require.ErrorContains(t, err, "flusher_fake (not_ready) is behind")
		down.Store(false)
		require.NoError(t, <-done)
		require.NoError(t, <-e.put("input_fake", "b", 3), "everything goes on")
		require.NoError(t, e.end())
	})
}

func TestReloadOfPipelines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		e := w.start(w.pipeline("a", "input_fake/a v1", "flusher_fake/a v1"), w.pipeline("b", "input_fake/b v1", "flusher_fake/b v1"))
		w.took()
		require.NoError(t, e.Reload([]*config.Pipeline{w.pipeline("a", "input_fake/a v1", "flusher_fake/a v1"), w.pipeline("c", "input_fake/b v1", "flusher_fake/b v1")}))
		require.Equal(t, []string{
			"SetUrgent(false) flusher_fake/b v1", "Stop input_fake/b v1", "Stop flusher_fake/b v1", "Init flusher_fake/b v1", "Init input_fake/b v1",
		}, w.took())
		require.NoError(t, <-e.put("input_fake/b", "b", 2))

		w.broken["input_fake/d v1"] = true
		err := e.Reload([]*config.Pipeline{w.pipeline("d", "input_fake/d v1", "flusher_fake/d v1")})
		require.ErrorContains(t, err, "pipeline d: input_fake/d (input_fake/d): input_fake/d v1 is broken")
		require.NoError(t, <-e.put("input_fake/a", "a", 2))
		require.NoError(t, <-e.put("input_fake/b", "b", 2))
		require.Len(t, e.Status().Pipelines, 2)
		require.NoError(t, e.end())
	})
}

func TestReloadOfTheQueueRestartsThePipeline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		var down atomic.Bool
		w.ready = func(string) bool { return !down.Load() }
		e := w.start(w.pipeline("p", "input_fake v1", "flusher_fake v1"))
		down.Store(true)
		done := e.put("input_fake", "a", 3)
		w.queue = config.Queue{Type: config.QueueDisk, MaxBytes: 16 * pipeline.MiB}
		require.ErrorContains(t, e.Reload([]*config.Pipeline{w.pipeline("p", "input_fake v1", "flusher_fake v1")}), "its queue in memory is not empty")
		down.Store(false)
		require.NoError(t, <-done)
		require.NoError(t, e.Reload([]*config.Pipeline{w.pipeline("p", "input_fake v1", "flusher_fake v1")}))
		require.IsType(t, &disk.Queue{}, e.running()[0].queue)

		down.Store(true)
		require.NoError(t, <-e.put("input_fake", "b", 3))
		w.queue.MaxBytes *= 2
		require.NoError(t, e.Reload([]*config.Pipeline{w.pipeline("p", "input_fake v1", "flusher_fake v1")}), "a queue on disk keeps what it holds")
		down.Store(false)
		<-e.running()[0].queue.Idle()
		require.Equal(t, append(ids("a", 3), ids("b", 3)...), w.ids("flusher_fake"))
		require.NoError(t, e.end())
	})
}

func TestReloadThatCannotBeUndoneStopsFlinktail(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		e := w.start(w.pipeline("p", "input_fake v1", "flusher_fake v1"))
		w.broken["input_fake v1"], w.broken["input_fake v2"] = true, true
		err := e.Reload([]*config.Pipeline{w.pipeline("p", "input_fake v2", "flusher_fake v1")})
		require.ErrorContains(t, err, "what ran before does not start again")
		require.ErrorContains(t, <-e.returned, "what ran before does not start again")
	})
}

func TestReloadGivesUpWhenFlinktailStops(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.ready = func(string) bool { return false }
		e := w.start(w.pipeline("p", "input_fake v1", "flusher_fake v1"))
		e.put("input_fake", "a", 3)
		reloaded := make(chan error, 1)
		go func() { reloaded <- e.Reload([]*config.Pipeline{w.pipeline("p", "input_fake v2", "flusher_fake v1")}) }()
		synctest.Wait()
		start := time.Now()
		require.ErrorContains(t, e.end(), "3 events could not be delivered in time")
		require.LessOrEqual(t, time.Since(start), e.options.StopTimeout)
		require.Error(t, <-reloaded)
		require.ErrorIs(t, e.Reload(nil), errStopping)
	})
}

// Under load, with a change of everything each time, nothing is lost, delivered twice or reordered.
func TestFiftyReloadsUnderLoad(t *testing.T) {
	for _, kind := range []string{config.QueueMemory, config.QueueDisk} {
		t.Run(kind, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				w.queue = config.Queue{Type: kind, MaxBytes: 16 * pipeline.MiB, MaxEvents: 200}
				var flushes atomic.Int64
				w.answer = func(string, []*protocol.LogGroup) error {
					time.Sleep(time.Millisecond)
					if flushes.Add(1)%5 == 0 {
						return errors.New("fault")
					}
					return nil
				}
				configuration := func(n int) []*config.Pipeline {
					v := func(every int) string { return fmt.Sprintf(" v%d", n/every) }
					c := w.pipeline("p", "input_fake/a"+v(1), "input_fake/b"+v(3), "processor_fake"+v(2), "flusher_fake/a"+v(1), "flusher_fake/b"+v(4))
					c.Flushers[0].Delivery.Workers = 1 + n%3
					c.Flushers[1].Delivery.Retry.Initial = time.Millisecond
					c.Flushers[0].Delivery.Retry.Initial = time.Millisecond
					return []*config.Pipeline{c}
				}
				e := w.start(configuration(0)...)
				ctx, stopSending := context.WithCancel(context.Background())
				var sending sync.WaitGroup
				sent := make([]int, 4)
				for job := range sent {
					sending.Go(func() {
						sent[job] = w.send(ctx, []string{"input_fake/a", "input_fake/b"}[job%2], fmt.Sprint("job", job))
					})
				}
				for n := range 50 {
					require.NoError(t, e.Reload(configuration(n+1)))
					time.Sleep(time.Millisecond)
				}
				stopSending()
				sending.Wait()
				<-e.running()[0].queue.Idle()
				for _, flusher := range []string{"flusher_fake/a", "flusher_fake/b"} {
					of := map[string][]string{}
					for _, id := range w.ids(flusher) {
						job, _, _ := strings.Cut(id, ".")
						of[job] = append(of[job], id)
					}
					for job, n := range sent {
						require.Len(t, of[fmt.Sprint("job", job)], n, flusher)
						for i, id := range of[fmt.Sprint("job", job)] {
							require.Equal(t, fmt.Sprintf("job%d.%d", job, i), id, flusher)
						}
					}
				}
				total := 0
				for _, n := range sent {
					total += n
				}
				require.Greater(t, total, 200)
				for _, f := range e.Status().Pipelines[0].Flushers {
					require.Equal(t, FlusherLedger{Appended: int64(total), Delivered: int64(total)}, f.FlusherLedger, f.Name)
				}
				require.NoError(t, e.end())
			})
		})
	}
}

// send puts events of a job, one after the other, through whatever input has the name at the time; it returns how many were taken.
func (w *world) send(ctx context.Context, input, job string) (taken int) {
	for ctx.Err() == nil {
		settled := make(chan error, 1)
		b := protocol.NewBuilder()
		b.BeginGroup("", "")
		addEvent(b, job, fmt.Sprintf("%s.%d", job, taken))
		out, err := w.sink(input), pipeline.ErrStopping
		if out != nil {
			put, cancel := context.WithTimeout(context.Background(), 10*time.Millisecond)
			err = out.Put(put, b.Groups(), func(err error) { settled <- err })
			cancel()
		}
		if err != nil { // full, paused or stopped: the sender tries again
			time.Sleep(time.Millisecond)
			continue
		}
		if err := <-settled; err != nil {
			w.t.Error(err)
		}
		taken++
	}
	return taken
}

// recordingFlusher notes IsReady and Flush, too.
type recordingFlusher struct{ worldFlusher }

func (f *recordingFlusher) IsReady(project, logstore string, key int64) bool {
	ready := f.worldFlusher.IsReady(project, logstore, key)
	_ = f.w.note(fmt.Sprintf("IsReady=%t", ready), f.name)
	return ready
}

func (f *recordingFlusher) Flush(project, logstore, configName string, groups []*protocol.LogGroup) error {
	_ = f.w.note("Flush", f.name)
	return f.worldFlusher.Flush(project, logstore, configName, groups)
}

func TestStopIsToldFirstAndAsksBeforeEveryFlush(t *testing.T) {
	for _, kind := range []string{config.QueueMemory, config.QueueDisk} {
		t.Run(kind, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				if kind == config.QueueDisk {
					w.queue = config.Queue{Type: kind, MaxBytes: 16 * pipeline.MiB}
				}
				var asked atomic.Int64
				w.ready = func(string) bool { return asked.Add(1) > 6 }
				c := w.pipeline("p", "input_fake v1", "processor_fake v1", "flusher_fake v1")
				c.Flushers[0].Instance = &recordingFlusher{worldFlusher{w: w, name: "flusher_fake", version: "v1"}}
				c.Flushers[0].Delivery.Batch.MaxEvents = 2
				e := w.start(c)
				done := e.put("input_fake", "a", 6)
				w.took()
				require.NoError(t, e.end())
				require.NoError(t, <-done)
				require.Equal(t, ids("a", 6), w.ids("flusher_fake"))
				calls := w.took()
				urgent, stopped := slices.Index(calls, "SetUrgent(true) flusher_fake v1"), slices.Index(calls, "Stop input_fake v1")
				require.NotEqual(t, -1, urgent)
				require.Less(t, urgent, stopped)
				require.Equal(t, []string{"Stop input_fake v1", "Stop processor_fake v1", "Stop flusher_fake v1"}, calls[stopped:])
				flushes := 0
				for i, call := range calls {
					if call == "Flush flusher_fake" {
						flushes++
						require.Equal(t, "IsReady=true flusher_fake", calls[i-1])
					}
				}
				require.Equal(t, 3, flushes)
				require.Contains(t, calls[urgent:], "IsReady=false flusher_fake", "it waits while the pipeline drains, too")
			})
		})
	}
}

func TestReloadLeavesNoQueueOnDiskBehind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.queue = config.Queue{Type: config.QueueDisk, MaxBytes: 16 * pipeline.MiB}
		var down atomic.Bool
		w.ready = func(string) bool { return !down.Load() }
		e := w.start(w.pipeline("p", "input_fake v1", "flusher_fake v1"))
		down.Store(true)
		require.NoError(t, <-e.put("input_fake", "a", 3))
		err := e.Reload([]*config.Pipeline{w.pipeline("renamed", "input_fake v1", "flusher_fake v1")})
		require.ErrorContains(t, err, "pipeline p: it is no longer in the configuration, but its queue is not empty")
		w.queue = memoryQueue
		err = e.Reload([]*config.Pipeline{w.pipeline("p", "input_fake v1", "flusher_fake v1")})
		require.ErrorContains(t, err, "keep Queue.Type disk until that is delivered: flusher_fake (not_ready) is behind")
		require.NoError(t, <-e.put("input_fake", "b", 1), "everything goes on")
		w.queue = config.Queue{Type: config.QueueDisk, MaxBytes: 32 * pipeline.MiB}
		start := time.Now()
		require.NoError(t, e.Reload([]*config.Pipeline{w.pipeline("p", "input_fake v1", "flusher_fake v1")}))
		require.Less(t, time.Since(start), time.Second, "what the same queue goes on with is not waited for")
		down.Store(false)
		require.NoError(t, e.Reload([]*config.Pipeline{w.pipeline("renamed", "input_fake v1", "flusher_fake v1")}))
		require.Equal(t, append(ids("a", 3), ids("b", 1)...), w.ids("flusher_fake"))
		require.NoError(t, e.end())
	})
}
