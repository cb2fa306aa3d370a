package httpinput

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/flinktail/flinktail/pipeline"
	"github.com/flinktail/flinktail/pipeline/plugintest"
	"github.com/flinktail/flinktail/protocol"
)

// unserved is an input whose handler is called directly.
func unserved(t testing.TB, q pipeline.Sink) *Input {
	in := New()
	in.Address = "127.0.0.1:0"
	in.MaxBodyBytes, in.MaxDecompressedBytes, in.InflightBytes = pipeline.MiB, pipeline.MiB, 64*pipeline.MiB
	require.NoError(t, in.Init(plugintest.NewContext(t, "input_http")))
	in.out, in.running = q, t.Context()
	t.Cleanup(func() { require.NoError(t, in.Stop()) })
	return in
}

// FuzzBody posts any body in any format, as it is, as if it were compressed, and compressed: no panic, a definite answer, and
// all memory given back.
func FuzzBody(f *testing.F) {
	types := []string{"application/x-ndjson", "application/json", "application/x-protobuf"}
	encodings := []struct {
		name string
		pack func(testing.TB, []byte) string
	}{{"", nil}, {"gzip", nil}, {"zstd", nil}, {"gzip", gzipped}, {"zstd", zstded}}
	for i := range types {
		for _, body := range []string{eventA + "\n" + eventB, "[" + eventA + "]", logGroup(f, decoded(f, eventA, eventB)), "[{}", `{"a":`} {
			f.Add(uint8(i), uint8(0), []byte(body))
			f.Add(uint8(i), uint8(1), []byte(gzipped(f, []byte(body))))
			f.Add(uint8(i), uint8(2), []byte(zstded(f, []byte(body))))
			f.Add(uint8(i), uint8(3), []byte(body))
			f.Add(uint8(i), uint8(4), []byte(body))
		}
	}
	q := &queue{}
	in := unserved(f, q)
	f.Fuzz(func(t *testing.T, kind, encoding uint8, body []byte) {
		e := encodings[int(encoding)%len(encodings)]
		if e.pack != nil {
			body = []byte(e.pack(t, body))
		}
		r := httptest.NewRequest(http.MethodPost, path, bytes.NewReader(body))
		r.Header.Set("Content-Type", types[int(kind)%len(types)])
		r.Header.Set("Content-Encoding", e.name)
		w := httptest.NewRecorder()
		in.ServeHTTP(w, r)
		switch w.Code {
		case http.StatusOK:
		case http.StatusBadRequest, http.StatusRequestEntityTooLarge:
			require.Empty(t, q.taken())
		default:
			t.Fatalf("%d %s", w.Code, w.Body)
		}
		require.Zero(t, in.budget.used.Load())
		q.set(func(q *queue) { q.events, q.groups = nil, nil })
	})
}

// The memory that decoding takes has to be within what is drawn for it before.
func TestMemoryBound(t *testing.T) {
	group := &protocol.LogGroup{}
	one, empty := uint32(1), ""
	for range 5000 {
		group.Logs = append(group.Logs, &protocol.Log{Time: &one, Contents: []*protocol.Log_Content{{Key: &empty, Value: &empty}}})
	}
	manyFields := `{"":0` + strings.Repeat(`,"":0`, protocol.MaxFields-1) + "}\n"
	var distinct strings.Builder
	for i := range protocol.MaxFields {
		fmt.Fprintf(&distinct, `,"%x":0`, i)
	}
	tests := map[string]struct {
		format format
		body   string
	}{
		"empty objects":   {formatNDJSON, strings.Repeat("{}\n", 20_000)},
		"one field":       {formatNDJSON, strings.Repeat(`{"":0}`+"\n", 20_000)},
		"repeated fields": {formatNDJSON, strings.Repeat(manyFields, 20)},
		"distinct fields": {formatNDJSON, strings.Repeat("{"+distinct.String()[1:]+"}\n", 20)},
		"array":           {formatJSON, "[" + strings.Repeat(`{"":0},`, 20_000) + "{}]"},
		"log group":       {formatLogGroup, logGroup(t, group)},
		"usual events":    {formatNDJSON, strings.Repeat(eventA+"\n"+eventB+"\n", 2000)},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			in := unserved(t, &queue{})
			p := newPost(in)
			p.users.Store(1)
			body := []byte(test.body)
			p.body = &body
			p.batch.Begin("", "id", p.since)
			runtime.GC()
			runtime.GC() // empties the pools
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			bound := memoryBound(body, test.format)
			if refused := p.decode(test.format); refused != nil {
				t.Fatal(refused.text)
			}
			runtime.ReadMemStats(&after)
			took := int(after.TotalAlloc - before.TotalAlloc)
			require.LessOrEqual(t, took, bound+64<<10)
			used := 0
			for _, g := range p.batch.Groups() {
				used += logCost * len(g.Logs)
				for _, log := range g.Logs {
					used += fieldCost * len(log.Contents)
				}
			}
			require.EqualValues(t, min(used, bound), p.drawn, "what was not needed is given back")
			p.body = nil
			p.release()
		})
	}
}

// settling is a pipeline that does nothing but settle.
type settling struct{}

func (settling) Put(_ context.Context, _ []*protocol.LogGroup, done func(error)) error {
	done(nil)
	return nil
}

// call posts body to the handler and fails unless all is accepted.
func call(t testing.TB, in *Input, r *http.Request, w *answerWriter, body *bytes.Reader) {
	_, _ = body.Seek(0, io.SeekStart)
	w.status = http.StatusOK
	in.ServeHTTP(w, r)
	if w.status != http.StatusOK {
		t.Fatal(w.status)
	}
}

type answerWriter struct {
	header http.Header
	status int
}

func (w *answerWriter) Header() http.Header         { return w.header }
func (w *answerWriter) Write(p []byte) (int, error) { return len(p), nil }
func (w *answerWriter) WriteHeader(status int)      { w.status = status }

func prepared(events int) (*http.Request, *answerWriter, *bytes.Reader) {
	var text strings.Builder
	for i := range events {
		fmt.Fprintf(&text, `{"event_id":"evt-%010d","event_time":"2026-01-05T08:00:00.123Z","kind":"job_failure","job_id":"20239a63ed9b70000d5185757dae99c4","exception_message":%q,"custom":{"a":[1,2]}}`+"\n",
			i, strings.Repeat("x", 400))
	}
	body := bytes.NewReader([]byte(text.String()))
	r := httptest.NewRequest(http.MethodPost, path, nil)
	r.Body, r.ContentLength = io.NopCloser(body), int64(text.Len())
	r.Header.Set("Content-Type", "application/x-ndjson")
	return r, &answerWriter{header: http.Header{}}, body
}

// No allocation for an event, a handful for a request. Under the race detector pools forget some of what they are given.
func TestAllocations(t *testing.T) {
	in := unserved(t, settling{})
	for _, events := range []int{1, 1000} {
		r, w, body := prepared(events)
		got := testing.AllocsPerRun(100, func() { call(t, in, r, w, body) })
		require.LessOrEqual(t, got, 20+float64(events)/15, "%d events", events)
	}
}

func BenchmarkPost(b *testing.B) {
	for _, events := range []int{1, 100} {
		b.Run(fmt.Sprintf("events=%d", events), func(b *testing.B) {
			in := unserved(b, settling{})
			r, w, body := prepared(events)
			b.ReportAllocs()
			b.SetBytes(r.ContentLength)
			for b.Loop() {
				call(b, in, r, w, body)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*events), "ns/event")
		})
	}
}
