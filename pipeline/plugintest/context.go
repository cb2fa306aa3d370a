// Package plugintest is a pipeline.Context for tests of plugins: state in memory, counters and rejects that
// can be read back.
package plugintest

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/flinktail/flinktail/pipeline"
)

// Context implements [pipeline.Context]. It is safe for concurrent use.
type Context struct {
	id     string
	ctx    context.Context
	cancel context.CancelFunc
	log    *logBuffer
	state  *State

	mu       sync.Mutex
	counters map[string]*counter
	gauges   map[string]func() float64
	rejected []Reject
	refuse   error
}

// Reject is one call of [pipeline.Context.Reject].
type Reject struct {
	Raw            []byte
	Reason, Detail string
}

var _ pipeline.Context = (*Context)(nil)

// NewContext returns a context for the plugin of that id ("flusher_kafka"). It is cancelled when the test ends; what
// the plugin logged is printed when the test fails.
func NewContext(t testing.TB, id string) *Context {
	return newContext(t, id, &State{values: map[string][]byte{}})
}

func newContext(t testing.TB, id string, state *State) *Context {
	c := &Context{
		id: id, log: &logBuffer{}, state: state,
		counters: map[string]*counter{}, gauges: map[string]func() float64{},
	}
	c.ctx, c.cancel = context.WithCancel(context.Background())
	t.Cleanup(func() {
		c.cancel()
		if t.Failed() && c.Logs() != "" {
			t.Logf("log of %s:\n%s", id, c.Logs())
		}
	})
	return c
}

// Restarted returns a new context with the same state, as after a restart.
func (c *Context) Restarted(t testing.TB) *Context { return newContext(t, c.id, c.state) }

// Cancel ends Context(), as the stop deadline does.
func (c *Context) Cancel() { c.cancel() }

// Context implements [pipeline.Context].
func (c *Context) Context() context.Context { return c.ctx }

// Pipeline implements [pipeline.Context]: "test".
func (c *Context) Pipeline() string { return "test" }

// ID implements [pipeline.Context].
func (c *Context) ID() string { return c.id }

// Logger implements [pipeline.Context]; [Context.Logs] has what it wrote.
func (c *Context) Logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(c.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

// Logs returns what the plugin logged so far, a line a record.
func (c *Context) Logs() string { return c.log.String() }

// Counter implements [pipeline.Context]. It panics on a name that does not end in "_total".
func (c *Context) Counter(name, _ string, labels ...pipeline.Label) pipeline.Counter {
	if !strings.HasSuffix(name, "_total") {
		panic(fmt.Sprintf("plugintest: counter %q: the name must end in _total", name))
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	key := counterKey(name, labels)
	if c.counters[key] == nil {
		c.counters[key] = &counter{}
	}
	return c.counters[key]
}

// counterKey writes a counter as Prometheus does, with sorted labels.
func counterKey(name string, labels []pipeline.Label) string {
	if len(labels) == 0 {
		return name
	}
	texts := make([]string, len(labels))
	for i, l := range labels {
		texts[i] = fmt.Sprintf("%s=%q", l.Name, l.Value)
	}
	slices.Sort(texts)
	return name + "{" + strings.Join(texts, ",") + "}"
}

// Counters returns the value of every counter that is not zero, by its name and labels: `requests_total{code="200"}`.
func (c *Context) Counters() map[string]float64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	values := map[string]float64{}
	for key, counter := range c.counters {
		if n := counter.value(); n != 0 {
			values[key] = n
		}
	}
	return values
}

// Gauge implements [pipeline.Context].
func (c *Context) Gauge(name, _ string, value func() float64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.gauges[name] = value
}

// Gauges returns the present value of every gauge.
func (c *Context) Gauges() map[string]float64 {
	c.mu.Lock()
	gauges := maps.Clone(c.gauges)
	c.mu.Unlock()
	values := map[string]float64{}
	for name, value := range gauges {
		values[name] = value()
	}
	return values
}

// State implements [pipeline.Context].
func (c *Context) State() pipeline.State { return c.state }

// Reject implements [pipeline.Context]; [Context.Rejected] has what it got.
func (c *Context) Reject(ctx context.Context, raw []byte, reason, detail string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.refuse != nil {
		return c.refuse
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	c.rejected = append(c.rejected, Reject{Raw: bytes.Clone(raw), Reason: reason, Detail: detail})
	return nil
}

// Rejected returns what was rejected so far, in order.
func (c *Context) Rejected() []Reject {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.rejected)
}

// FailRejects makes Reject return err, as when its context ended while the dead letters were full; nil ends that.
func (c *Context) FailRejects(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.refuse = err
}

// State is a [pipeline.State] in memory.
type State struct {
	mu     sync.Mutex
	values map[string][]byte
	fail   error
}

// Load implements [pipeline.State].
func (s *State) Load(key string) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fail != nil {
		return nil, s.fail
	}
	return bytes.Clone(s.values[key]), nil
}

// Store implements [pipeline.State].
func (s *State) Store(key string, value []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fail != nil {
		return s.fail
	}
	s.values[key] = bytes.Clone(value)
	return nil
}

// FailState makes the state return err; nil ends that.
func (c *Context) FailState(err error) {
	c.state.mu.Lock()
	defer c.state.mu.Unlock()
	c.state.fail = err
}

type counter struct {
	mu sync.Mutex
	n  float64
}

func (c *counter) Add(n float64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.n += n
}

func (c *counter) value() float64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.n
}

type logBuffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (b *logBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *logBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}
