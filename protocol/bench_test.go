package protocol_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/flinktail/flinktail/protocol"
	"github.com/flinktail/flinktail/protocol/flink"
)

// smallEvent is about 660 bytes, as in the end-to-end benchmarks.
func smallEvent(i int) []byte {
	return fmt.Appendf(nil, `{"schema_version":1,"event_id":"4f6c2e9e-8a53-4a52-9d3c-6f0d6e1b7a10-%d","event_time":"2026-01-05T08:00:00.%03dZ","kind":"job_failure","source":"flink-failure-enricher","cluster":"prod-eu","namespace":"streaming","resource":"orders","job_id":"20239a63ed9b70000d5185757dae99c4","job_name":"orders-enrichment","failure_scope":"TASK","exception_class":"java.lang.NumberFormatException","exception_message":"For input string: \"x-1500\"","root_class":"java.lang.NumberFormatException","stack_trace":"java.lang.NumberFormatException: For input\n\tat org.apache.flink.streaming.runtime.tasks.StreamTask.invoke(StreamTask.java:914)\n","severity":"error","attempt":%d,"label.team":"payments"}`, i, i%1000, i)
}

// mixedEvent varies the fields from event to event, as several sources in one batch do.
func mixedEvent(i int) []byte {
	if i%2 == 0 {
		return smallEvent(i)
	}
	return fmt.Appendf(nil, `{"schema_version":1,"event_id":"4f6c2e9e-8a53-4a52-9d3c-6f0d6e1b7a10-%d","event_time":"2026-01-05T08:00:00.%03d123456Z","kind":"job_status","source":"flink-status-listener","cluster":"prod-eu","job_id":"20239a63ed9b70000d5185757dae99c4","status_from":"RUNNING","status_to":"FAILING","terminal":false,"label.owner":"payments","attempts":%d,"lineage":{"sources":[{"namespace":"kafka://broker:9092","name":"orders"}],"sinks":[]}}`, i, i%1000, i)
}

// largeEvent has a stack trace of some 5 KB.
func largeEvent(i int) []byte {
	frames := strings.Repeat(`\n\tat org.apache.flink.streaming.runtime.tasks.StreamTask.invoke(StreamTask.java:914)`, 60)
	return fmt.Appendf(nil, `{"event_id":"%d","event_time":"2026-01-05T08:00:00Z","kind":"job_failure","stack_trace":"java.lang.IllegalStateException: \"x\"%s"}`, i, frames)
}

// batch is n events in lines.
func batch(n int, event func(int) []byte) []byte {
	var body []byte
	for i := range n {
		body = append(append(body, event(i)...), '\n')
	}
	return body
}

// roundTripper decodes batches and encodes them again, as a pipeline does.
type roundTripper struct {
	decoder *protocol.JSONDecoder
	encoder *protocol.JSONEncoder
	body    []byte
	out     []byte
}

func newRoundTripper() *roundTripper {
	return &roundTripper{
		decoder: protocol.NewJSONDecoder(flink.Fields, protocol.DefaultMaxDepth),
		encoder: protocol.NewJSONEncoder(flink.Fields),
	}
}

func (r *roundTripper) run(tb testing.TB, body []byte, received time.Time) {
	r.body = append(r.body[:0], body...)
	b := protocol.NewBuilder()
	decodeLines(tb, r.decoder, b, r.body, received)
	r.out = r.out[:0]
	for _, g := range b.Groups() {
		for i := range g.Logs {
			r.out = append(r.encoder.Append(r.out, g, i), '\n')
		}
	}
	b.Release()
}

// decodeLines decodes body into one group of b.
func decodeLines(tb testing.TB, d *protocol.JSONDecoder, b *protocol.Builder, body []byte, received time.Time) {
	b.BeginGroup("", "")
	for len(body) > 0 {
		end := bytes.IndexByte(body, '\n')
		if err := d.DecodeLine(b, body[:end:end], received); err != nil {
			tb.Fatal(err)
		}
		b.EndLog()
		body = body[end+1:]
	}
}

func BenchmarkJSONRoundTrip(b *testing.B) {
	for name, event := range map[string]func(int) []byte{"small": smallEvent, "mixed": mixedEvent, "large": largeEvent} {
		b.Run(name, func(b *testing.B) {
			const perBatch = 1000
			body := batch(perBatch, event)
			r, received := newRoundTripper(), time.Now()
			b.ReportAllocs()
			b.SetBytes(int64(len(body) / perBatch))
			for n := 0; n < b.N; n += perBatch {
				r.run(b, body, received)
			}
		})
	}
}

// BenchmarkValid is the yardstick: encoding/json only checks the event.
func BenchmarkValid(b *testing.B) {
	line := smallEvent(1)
	b.SetBytes(int64(len(line)))
	for b.Loop() {
		if !json.Valid(line) {
			b.Fatal("not JSON")
		}
	}
}

func BenchmarkAppendGroup(b *testing.B) {
	const perBatch = 1000
	builder := protocol.NewBuilder()
	defer builder.Release()
	decodeLines(b, protocol.NewJSONDecoder(flink.Fields, protocol.DefaultMaxDepth), builder, batch(perBatch, smallEvent), time.Now())
	var out []byte
	b.ReportAllocs()
	for n := 0; n < b.N; n += perBatch {
		out, _ = protocol.AppendGroup(out[:0], builder.Groups()[0])
	}
}

func BenchmarkUnmarshalGroup(b *testing.B) {
	const perBatch = 1000
	builder := protocol.NewBuilder()
	defer builder.Release()
	decodeLines(b, protocol.NewJSONDecoder(flink.Fields, protocol.DefaultMaxDepth), builder, batch(perBatch, smallEvent), time.Now())
	wire, err := protocol.AppendGroup(nil, builder.Groups()[0])
	require.NoError(b, err)
	b.ReportAllocs()
	for n := 0; n < b.N; n += perBatch {
		if _, err := protocol.UnmarshalGroup(wire); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkAppendTime(b *testing.B) {
	var out []byte
	b.ReportAllocs()
	for b.Loop() {
		out = protocol.AppendTime(out[:0], 1767600000, 123e6)
	}
}

// Whole batches may cost a few allocations (output that grows, chunks the pools lost to the garbage collector), an event
// none: the gate is a tenth of an allocation an event at most.
func TestRoundTripDoesNotAllocate(t *testing.T) {
	const events = 1000
	for name, event := range map[string]func(int) []byte{"small": smallEvent, "mixed": mixedEvent, "large": largeEvent} {
		t.Run(name, func(t *testing.T) {
			body := batch(events, event)
			r, received := newRoundTripper(), time.Now()
			perBatch := testing.AllocsPerRun(3, func() { r.run(t, body, received) })
			require.Less(t, perBatch/events, 0.1)
		})
	}
}

func TestAppendGroupDoesNotAllocate(t *testing.T) {
	b := protocol.NewBuilder()
	defer b.Release()
	decodeLines(t, protocol.NewJSONDecoder(flink.Fields, protocol.DefaultMaxDepth), b, batch(1000, smallEvent), time.Now())
	out, err := protocol.AppendGroup(nil, b.Groups()[0])
	require.NoError(t, err)
	require.Zero(t, testing.AllocsPerRun(10, func() { out, err = protocol.AppendGroup(out[:0], b.Groups()[0]) }))
	require.NoError(t, err)
}
