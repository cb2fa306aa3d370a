package fileinput

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/flinktail/flinktail/pipeline"
	"github.com/flinktail/flinktail/pipeline/plugintest"
	"github.com/flinktail/flinktail/protocol"
	"github.com/flinktail/flinktail/protocol/flink"
)

func storedPositions(t testing.TB, state pipeline.State) []position {
	t.Helper()
	text, err := state.Load(positionsKey)
	require.NoError(t, err)
	var stored []position
	if text != nil {
		require.NoError(t, json.Unmarshal(text, &stored))
	}
	return stored
}

// queue is a pipeline that settles at once, unless it holds.
type queue struct {
	maxEvents int // larger Puts are too large; 0 is no limit

	mu      sync.Mutex
	hold    bool
	ids     []string
	times   []time.Time
	puts    int
	pending []func(error)
}

func (q *queue) Put(_ context.Context, groups []*protocol.LogGroup, done func(error)) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, g := range groups {
		if q.maxEvents > 0 && len(g.Logs) > q.maxEvents {
			return pipeline.ErrTooLarge
		}
		for _, log := range g.Logs {
			if q.maxEvents > 0 && protocol.Value(log, flink.FieldMessage) == "too large" {
				return pipeline.ErrTooLarge
			}
		}
	}
	for _, g := range groups {
		for _, log := range g.Logs {
			q.ids = append(q.ids, string([]byte(g.Field(log, flink.FieldEventID))))
			q.times = append(q.times, log.At())
		}
	}
	q.puts++
	if q.hold {
		q.pending = append(q.pending, done)
		return nil
	}
	done(nil)
	return nil
}

func (q *queue) set(change func(q *queue)) {
	q.mu.Lock()
	defer q.mu.Unlock()
	change(q)
}

func (q *queue) seen() []string {
	q.mu.Lock()
	defer q.mu.Unlock()
	return append([]string{}, q.ids...)
}

func (q *queue) taken() []string {
	q.mu.Lock()
	defer q.mu.Unlock()
	ids := q.ids
	q.ids = nil
	return ids
}

func (q *queue) held() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.pending)
}

// settle settles what is held, last first when reversed.
func (q *queue) settle(reversed bool) {
	q.mu.Lock()
	pending := q.pending
	q.pending = nil
	q.mu.Unlock()
	for i := range pending {
		if reversed {
			i = len(pending) - 1 - i
		}
		pending[i](nil)
	}
}

// running is an input that runs.
type running struct {
	testing.TB
	in      *Input
	context *plugintest.Context
	queue   *queue
	stop    func()
	ended   chan error
}

// run starts an input; options apply to quick polling and a short grace. before is what ran until now, if anything.
func run(t testing.TB, before *running, options func(in *Input)) *running {
	t.Helper()
	c := plugintest.NewContext(t, "input_file")
	if before != nil {
		before.stop()
		c = before.context.Restarted(t)
	}
	return runWith(t, c, &queue{}, options)
}

func runWith(t testing.TB, c *plugintest.Context, q *queue, options func(in *Input)) *running {
	t.Helper()
	in := New()
	in.PollInterval, in.grace = 10*time.Millisecond, 30*time.Millisecond
	options(in)
	require.NoError(t, in.Validate())
	require.NoError(t, in.Init(c))
	r := &running{TB: t, in: in, context: c, queue: q, ended: make(chan error, 1)}
	ctx, cancel := context.WithCancel(t.Context())
	go func() { r.ended <- in.Run(ctx, q) }()
	r.stop = sync.OnceFunc(func() {
		cancel()
		select {
		case err := <-r.ended:
			require.NoError(t, err)
		case <-time.After(10 * time.Second):
			t.Error("Run did not end")
		}
		require.NoError(t, in.Stop())
	})
	t.Cleanup(r.stop)
	return r
}

// gets waits until exactly these ids have come.
func (r *running) gets(ids ...string) {
	r.Helper()
	require.EventuallyWithT(r, func(c *assert.CollectT) { require.Equal(c, ids, r.queue.seen()) }, 10*time.Second, 2*time.Millisecond)
	r.queue.taken()
}

// settledTo waits until the stored position of the file at path is its end.
func (r *running) settledTo(path string) {
	r.Helper()
	end := size(r, path)
	r.eventually(func() bool { return storedOffset(r, r.in, path) == end })
}

func (r *running) eventually(condition func() bool) {
	r.Helper()
	require.Eventually(r, condition, 10*time.Second, 2*time.Millisecond)
}

func ids(first, n int) []string {
	all := make([]string, n)
	for i := range all {
		all[i] = fmt.Sprintf("event-%06d", first+i)
	}
	return all
}

func tempFile(t testing.TB, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "events.ndjson")
	write(t, path, text)
	return path
}

// reading is the usual option: that one file.
func reading(paths ...string) func(in *Input) {
	return func(in *Input) { in.FilePaths = paths }
}

func rename(t testing.TB, from, to string) {
	t.Helper()
	require.NoError(t, os.Rename(from, to))
}

// settling is a pipeline that does nothing but settle.
type settling struct{}

func (settling) Put(_ context.Context, _ []*protocol.LogGroup, done func(error)) error {
	done(nil)
	return nil
}
