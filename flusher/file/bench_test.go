package file

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/flinktail/flinktail/protocol"
)

// benchmarkBatch is a batch of events of about 640 bytes, as in the end-to-end benchmarks.
func benchmarkBatch(t testing.TB, n int) []*protocol.LogGroup {
	lines := make([]string, n)
	for i := range lines {
		lines[i] = fmt.Sprintf(`{"schema_version":1,"event_id":"4f6c2e9e-8a53-4a52-9d3c-6f0d6e1b7a10-%d","event_time":"2026-01-05T08:00:00.%03dZ","kind":"job_failure","source":"flink-failure-enricher","cluster":"prod-%d","namespace":"streaming","resource":"orders","job_id":"20239a63ed9b70000d5185757dae99c4","job_name":"orders-enrichment","failure_scope":"TASK","exception_class":"java.lang.NumberFormatException","exception_message":"For input string: \"x-1500\"","root_class":"java.lang.NumberFormatException","stack_trace":"java.lang.NumberFormatException: For input\n\tat org.apache.flink.streaming.runtime.tasks.StreamTask.invoke(StreamTask.java:914)\n","severity":"error","attempt":%d,"label.team":"payments"}`, i, i%1000, i%4, i)
	}
	return group(t, lines...)
}

func BenchmarkFlush(b *testing.B) {
	for name, choose := range map[string]func(*Flusher){
		"ndjson":           func(*Flusher) {},
		"ndjson/templates": func(f *Flusher) { f.FileName += ".%{cluster}" },
		"ndjson/rotated":   func(f *Flusher) { f.Rotate.MaxBytes = 64 << 20 },
		"protobuf":         func(f *Flusher) { f.Format = FormatProtobuf },
	} {
		for _, sync := range []string{SyncNone, SyncBatch} {
			b.Run(name+"/sync="+sync, func(b *testing.B) {
				const perBatch = 2000
				groups := benchmarkBatch(b, perBatch)
				f := started(b, b.TempDir(), choose, func(f *Flusher) { f.Sync = sync })
				b.ReportAllocs()
				b.ResetTimer()
				for n := 0; n < b.N; n += perBatch {
					if err := flush(f, groups); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

// A batch costs a few allocations, an event none.
func TestFlushAllocatesNothingPerEvent(t *testing.T) {
	for name, choose := range map[string]func(*Flusher){
		"ndjson":    func(*Flusher) {},
		"templates": func(f *Flusher) { f.FileName += ".%{cluster}" },
		"protobuf":  func(f *Flusher) { f.Format = FormatProtobuf },
	} {
		t.Run(name, func(t *testing.T) {
			f := started(t, t.TempDir(), choose, func(f *Flusher) { f.Sync = SyncNone })
			small, large := benchmarkBatch(t, 100), benchmarkBatch(t, 1100)
			require.NoError(t, flush(f, large))
			per := func(groups []*protocol.LogGroup) float64 {
				return testing.AllocsPerRun(20, func() { require.NoError(t, flush(f, groups)) })
			}
			require.Less(t, (per(large)-per(small))/1000, 0.1, "allocations per event; the race detector makes pools forget now and then")
		})
	}
}
