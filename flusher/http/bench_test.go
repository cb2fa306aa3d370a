package httpflusher

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/flinktail/flinktail/protocol"
)

// benchmarkGroup is a group of events of about 640 bytes, as in the end-to-end benchmarks.
func benchmarkGroup(t testing.TB, n int) *protocol.LogGroup {
	lines := make([]string, n)
	for i := range lines {
		lines[i] = fmt.Sprintf(`{"schema_version":1,"event_id":"4f6c2e9e-8a53-4a52-9d3c-6f0d6e1b7a10-%d","event_time":"2026-01-05T08:00:00.%03dZ","kind":"job_failure","source":"flink-failure-enricher","cluster":"prod-%d","namespace":"streaming","resource":"orders","job_id":"20239a63ed9b70000d5185757dae99c4","job_name":"orders-enrichment","failure_scope":"TASK","exception_class":"java.lang.NumberFormatException","exception_message":"For input string: \"x-1500\"","root_class":"java.lang.NumberFormatException","stack_trace":"java.lang.NumberFormatException: For input\n\tat org.apache.flink.streaming.runtime.tasks.StreamTask.invoke(StreamTask.java:914)\n","severity":"error","attempt":%d,"label.team":"payments"}`, i, i%1000, i%4, i)
	}
	return group(t, lines...)
}

// sink reads and forgets.
func sink(t testing.TB) string {
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
	}))
	t.Cleanup(server.Close)
	return server.URL
}

func BenchmarkFlush(b *testing.B) {
	for _, variant := range []struct {
		name   string
		choose func(*Flusher)
	}{
		{"ndjson", func(*Flusher) {}},
		{"ndjson/headers", func(f *Flusher) { f.Headers = secrets("X-Cluster", "%{cluster}") }},
		{"ndjson/gzip", func(f *Flusher) { f.Compression = CompressionGzip }},
		{"ndjson/zstd", func(f *Flusher) { f.Compression = CompressionZstd }},
		{"json_array", func(f *Flusher) { f.Format = FormatJSONArray }},
		{"loggroup", func(f *Flusher) { f.Format = FormatLogGroup }},
		{"loggroup/zstd", func(f *Flusher) { f.Format, f.Compression = FormatLogGroup, CompressionZstd }},
	} {
		for _, each := range []int{100, 2000} {
			b.Run(fmt.Sprintf("%s/%d", variant.name, each), func(b *testing.B) {
				events := benchmarkGroup(b, each)
				f, _ := started(b, sink(b), variant.choose)
				b.ReportAllocs()
				b.ResetTimer()
				for n := 0; n < b.N; n += each {
					require.NoError(b, flush(f, events))
				}
			})
		}
	}
}

// A request costs some allocations, an event none.
func TestFlushAllocatesNothingPerEvent(t *testing.T) {
	for name, choose := range map[string]func(*Flusher){
		"ndjson":     func(*Flusher) {},
		"json_array": func(f *Flusher) { f.Format = FormatJSONArray },
		"loggroup":   func(f *Flusher) { f.Format = FormatLogGroup },
		"zstd":       func(f *Flusher) { f.Compression = CompressionZstd },
	} {
		t.Run(name, func(t *testing.T) {
			f, _ := started(t, rawSink(t), choose)
			small, large := benchmarkGroup(t, 100), benchmarkGroup(t, 1100)
			require.NoError(t, flush(f, large))
			per := func(g *protocol.LogGroup) float64 {
				return testing.AllocsPerRun(20, func() { require.NoError(t, flush(f, g)) })
			}
			require.Less(t, (per(large)-per(small))/1000, 0.1, "allocations per event; the race detector makes pools forget now and then")
		})
	}
}

// rawSink answers every request of a connection without allocating for it, so that only the flusher's allocations count.
func rawSink(t testing.TB) string {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go serveRaw(conn)
		}
	}()
	return "http://" + listener.Addr().String()
}

func serveRaw(conn net.Conn) {
	defer conn.Close()
	buffer := make([]byte, 1<<20)
	for {
		n, length, head := 0, 0, -1
		for head < 0 {
			m, err := conn.Read(buffer[n:])
			if err != nil {
				return
			}
			n += m
			head = bytes.Index(buffer[:n], []byte("\r\n\r\n"))
		}
		at := bytes.Index(buffer[:head], []byte("Content-Length: ")) + len("Content-Length: ")
		for ; buffer[at] != '\r'; at++ {
			length = 10*length + int(buffer[at]-'0')
		}
		for left := head + 4 + length - n; left > 0; {
			m, err := conn.Read(buffer)
			if err != nil {
				return
			}
			left -= m
		}
		if _, err := conn.Write([]byte("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")); err != nil {
			return
		}
	}
}
