package httpinput

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"
	"github.com/stretchr/testify/require"

	"github.com/flinktail/flinktail/pipeline"
	"github.com/flinktail/flinktail/pipeline/plugintest"
	"github.com/flinktail/flinktail/protocol"
	"github.com/flinktail/flinktail/protocol/flink"
)

// queue is a pipeline that settles at once, unless it is told to hold or to refuse.
type queue struct {
	mu      sync.Mutex
	hold    bool
	refuse  error
	block   bool
	events  []map[string]any
	groups  []*protocol.LogGroup // copies
	pending []func(error)
}

func (q *queue) Put(ctx context.Context, groups []*protocol.LogGroup, done func(error)) error {
	q.mu.Lock()
	if q.block {
		q.mu.Unlock()
		<-ctx.Done()
		return pipeline.ErrFull
	}
	defer q.mu.Unlock()
	if q.refuse != nil {
		return q.refuse
	}
	encoder := protocol.NewJSONEncoder(flink.Fields)
	for _, g := range groups {
		q.groups = append(q.groups, protocol.Clone(g))
		for i := range g.Logs {
			var event map[string]any
			if err := json.Unmarshal(encoder.Append(nil, g, i), &event); err != nil {
				return err
			}
			q.events = append(q.events, event)
		}
	}
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

func (q *queue) held() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.pending)
}

// taken returns the events that were put since the last call.
func (q *queue) taken() []map[string]any {
	q.mu.Lock()
	defer q.mu.Unlock()
	events := q.events
	q.events = nil
	return events
}

func (q *queue) ids() []string {
	ids := []string{}
	for _, e := range q.taken() {
		ids = append(ids, e["event_id"].(string))
	}
	return ids
}

// settle settles what is held.
func (q *queue) settle(err error) {
	q.mu.Lock()
	pending := q.pending
	q.pending = nil
	q.mu.Unlock()
	for _, done := range pending {
		done(err)
	}
}

// running is an input that runs, with a client of its own.
type running struct {
	*testing.T
	in      *Input
	context *plugintest.Context
	queue   *queue
	client  *http.Client
	end     func() // ends Run and waits for it
}

func run(t *testing.T, options func(in *Input)) *running {
	in := New()
	in.Address = "127.0.0.1:0"
	if options != nil {
		options(in)
	}
	require.NoError(t, in.Validate())
	r := &running{T: t, in: in, context: plugintest.NewContext(t, "input_http"), queue: &queue{}}
	require.NoError(t, in.Init(r.context))
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- in.Run(ctx, r.queue) }()
	r.end = sync.OnceFunc(func() {
		cancel()
		require.NoError(t, <-ended)
	})
	transport := &http.Transport{ExpectContinueTimeout: 10 * time.Second}
	r.client = &http.Client{Transport: transport}
	t.Cleanup(func() {
		r.end()
		r.queue.settle(nil)
		transport.CloseIdleConnections()
		require.NoError(t, in.Stop())
		require.Eventually(t, func() bool { return in.budget.used.Load() == 0 }, time.Minute, time.Millisecond, "memory was not given back")
		require.Zero(t, in.unsettled.oldest())
	})
	return r
}

// reply is an answer with its body read.
type reply struct {
	*http.Response
	text string
}

func (r *running) send(method, target, contentType string, body io.Reader, header ...string) reply {
	r.Helper()
	request, err := http.NewRequestWithContext(r.Context(), method, target, body)
	require.NoError(r, err)
	if contentType != "" {
		request.Header.Set("Content-Type", contentType)
	}
	for i := 0; i+1 < len(header); i += 2 {
		request.Header.Set(header[i], header[i+1])
	}
	response, err := r.client.Do(request)
	require.NoError(r, err)
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(response.Body)
	require.NoError(r, err)
	return reply{response, string(text)}
}

func (r *running) post(contentType, body string, header ...string) reply {
	r.Helper()
	return r.send(http.MethodPost, url(r.in), contentType, bytes.NewReader([]byte(body)), header...)
}

func (r *running) ndjson(body string, header ...string) reply {
	r.Helper()
	return r.post("application/x-ndjson", body, header...)
}

// refused checks that a post was answered with that status and counted with that reason, and that nothing was taken.
func (r *running) refused(a reply, status int, reason string) {
	r.Helper()
	require.Equal(r, status, a.StatusCode, a.text)
	var body map[string]string
	require.NoError(r, json.Unmarshal([]byte(a.text), &body), a.text)
	require.NotEmpty(r, body["error"])
	require.NotContains(r, body["error"], "\n")
	require.Equal(r, "application/json", a.Header.Get("Content-Type"))
	require.Empty(r, r.queue.taken())
	require.Empty(r, r.context.Rejected())
	require.Contains(r, r.context.Counters(), `requests_total{code="`+strconv.Itoa(status)+`",reason="`+reason+`"}`)
}

func (r *running) eventually(condition func() bool) {
	r.Helper()
	require.Eventually(r, condition, 10*time.Second, time.Millisecond)
}

func gzipped(t testing.TB, text []byte) string {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	_, err := z.Write(text)
	require.NoError(t, err)
	require.NoError(t, z.Close())
	return b.String()
}

func zstded(t testing.TB, text []byte) string {
	t.Helper()
	z, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1))
	require.NoError(t, err)
	return string(z.EncodeAll(text, nil))
}
