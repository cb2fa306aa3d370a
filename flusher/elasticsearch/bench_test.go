package elasticsearch

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/flinktail/flinktail/protocol"
)

// benchmarkBatch is a batch of events of about 640 bytes, as in the end-to-end benchmarks.
func benchmarkBatch(t testing.TB, n int) *protocol.LogGroup {
	lines := make([]string, n)
	for i := range lines {
		lines[i] = fmt.Sprintf(`{"schema_version":1,"event_id":"4f6c2e9e-8a53-4a52-9d3c-6f0d6e1b7a10-%d","event_time":"2026-01-05T08:00:00.%03dZ","kind":"job_failure","source":"flink-failure-enricher","cluster":"prod-%d","namespace":"streaming","resource":"orders","job_id":"20239a63ed9b70000d5185757dae99c4","job_name":"orders-enrichment","failure_scope":"TASK","exception_class":"java.lang.NumberFormatException","exception_message":"For input string: \"x-1500\"","root_class":"java.lang.NumberFormatException","stack_trace":"java.lang.NumberFormatException: For input\n\tat org.apache.flink.streaming.runtime.tasks.StreamTask.invoke(StreamTask.java:914)\n","severity":"error","attempt":%d,"label.team":"payments"}`, i, i%1000, i%4, i)
	}
	return group(t, lines...)
}

// answerOf is what Elasticsearch answers to n documents that it took.
func answerOf(n int) []byte {
	return []byte(`{"items":[` + strings.TrimSuffix(strings.Repeat(`{"create":{"status":201}},`, n), ",") + `]}`)
}

// sink takes every bulk request, as fast as a server can.
func sink(t testing.TB, n int) string {
	answer := answerOf(n)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header().Set(productHeader, "Elasticsearch")
		_, _ = w.Write(answer)
	}))
	t.Cleanup(s.Close)
	return s.URL
}

const perBatch = 2000

var variants = map[string]func(f *Flusher){
	"constant":    func(*Flusher) {},
	"pattern":     func(f *Flusher) { f.Index = "flink-%{kind}-%{+yyyy.MM.dd}" },
	"data stream": func(f *Flusher) { f.DataStream = true },
	"gzip":        func(f *Flusher) { f.Compression = CompressionGzip },
}

// BenchmarkFlush includes the server, which is in the same process.
func BenchmarkFlush(b *testing.B) {
	for name, choose := range variants {
		b.Run(name, func(b *testing.B) {
			g := benchmarkBatch(b, perBatch)
			f, _ := started(b, flusherFor(sink(b, perBatch), choose, func(f *Flusher) { f.InstallTemplate = false }))
			b.ReportAllocs()
			b.ResetTimer()
			for n := 0; n < b.N; n += perBatch {
				if err := flush(f, g); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkEncode(b *testing.B) {
	for name, choose := range variants {
		b.Run(name, func(b *testing.B) {
			g := benchmarkBatch(b, perBatch)
			f, _ := started(b, flusherFor("http://127.0.0.1:1", choose))
			batch := newBatch(f.pattern, f.DataStream)
			b.ReportAllocs()
			b.ResetTimer()
			for n := 0; n < b.N; n += perBatch {
				batch.encode([]*protocol.LogGroup{g})
				if _, err := batch.body(0, perBatch, f.Compression); err != nil {
					b.Fatal(err)
				}
				batch.reset()
			}
		})
	}
}

func BenchmarkReadAnswer(b *testing.B) {
	answer := answerOf(perBatch)
	var r results
	b.ReportAllocs()
	for n := 0; n < b.N; n += perBatch {
		if err := r.read(answer, perBatch); err != nil {
			b.Fatal(err)
		}
	}
}

// A batch costs some allocations, an event none.
func TestFlushAllocatesNothingPerEvent(t *testing.T) {
	for name, choose := range variants {
		t.Run(name, func(t *testing.T) {
			per := func(n int) float64 {
				g := benchmarkBatch(t, n)
				f, _ := started(t, flusherFor(sink(t, n), choose, func(f *Flusher) { f.InstallTemplate = false }))
				require.NoError(t, flush(f, g))
				return testing.AllocsPerRun(20, func() { require.NoError(t, flush(f, g)) })
			}
			require.Less(t, (per(1100)-per(100))/1000, 0.1, "allocations per event; the race detector makes pools forget now and then")
		})
	}
}
