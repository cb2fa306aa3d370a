package disk

import (
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/flinktail/flinktail/internal/queue"
	"github.com/flinktail/flinktail/internal/queue/queuetest"
	"github.com/flinktail/flinktail/protocol"
)

// event has the fields of a job's failure, about 900 bytes.
func addEvent(b *protocol.Builder, n int) {
	b.BeginLog(1700000000, uint32(n))
	for _, f := range [][2]string{
		{"schema_version", "1"}, {"event_id", fmt.Sprintf("0192e4a0-7b1c-7d00-8000-%012d", n)}, {"kind", "job_failure"},
		{"source", "listener"}, {"cluster", "production-eu"}, {"namespace", "flink"}, {"job_id", "a2c8c9e6f2d4406f9a3d5d6d1b7c8e9f"},
		{"job_name", "orders-enrichment"}, {"status_from", "RUNNING"}, {"status_to", "FAILING"}, {"failure_scope", "TASK"},
		{"task_name", "Source: orders -> Map (3/8)"}, {"task_manager", "10.0.3.17:6122-1a2b3c"}, {"exception_class", "java.io.IOException"},
		{"exception_message", "connection reset by peer"}, {"severity", "error"},
		{"stack_trace", strings.Repeat("\tat org.apache.flink.runtime.io.network.partition.consumer(Some.java:42)\n", 6)},
	} {
		b.Add(f[0], f[1])
	}
	b.EndLog()
}

func benchGroups(events int) []*protocol.LogGroup {
	b := protocol.NewBuilder()
	b.BeginGroup("flink", "bench")
	for n := range events {
		addEvent(b, n)
	}
	return b.Groups()
}

// countingFiles counts syncs of segments.
type countingFiles struct {
	osFiles
	syncs atomic.Int64
}

type countingFile struct {
	file
	files *countingFiles
}

func (f *countingFile) Sync() error {
	f.files.syncs.Add(1)
	return f.file.Sync()
}

func (c *countingFiles) Create(path string) (file, error) {
	f, err := c.osFiles.Create(path)
	if err == nil && isSegment(path) {
		f = &countingFile{f, c}
	}
	return f, err
}

// Eight senders append groups of 100 events, each waiting for its acknowledgement; with a reader that settles, and without.
func BenchmarkAppend(b *testing.B) {
	for _, read := range []bool{false, true} {
		b.Run(map[bool]string{false: "append", true: "append and read"}[read], func(b *testing.B) {
			files := &countingFiles{}
			q, err := Open(b.TempDir(), Options{MaxBytes: 64 << 30, SegmentBytes: 64 << 20, Cursors: []string{"a"}, files: files})
			require.NoError(b, err)
			c, err := q.Cursor("a")
			require.NoError(b, err)
			stop := make(chan struct{})
			var reader, senders sync.WaitGroup
			if read {
				reader.Go(func() { settleAll(c, stop) })
			}
			const events = 100
			groups := benchGroups(events)
			size := queuetest.Measure(groups)
			var left atomic.Int64
			left.Store(int64(b.N))
			b.ReportAllocs()
			b.ResetTimer()
			for range 8 {
				senders.Go(func() {
					done := make(chan error, 1)
					answer := func(err error) { done <- err }
					for left.Add(-1) >= 0 {
						if err := q.Reserve(b.Context(), size); err != nil {
							b.Error(err)
							return
						}
						q.Append(groups, size, size, answer)
						if err := <-done; err != nil {
							b.Error(err)
						}
					}
				})
			}
			senders.Wait()
			if read {
				<-q.Idle()
			}
			b.StopTimer()
			n := float64(b.N) * events
			b.ReportMetric(n/b.Elapsed().Seconds(), "events/s")
			b.ReportMetric(float64(files.syncs.Load())/n*1000, "fsyncs/1000events")
			close(stop)
			reader.Wait()
			require.NoError(b, q.Stop())
		})
	}
}

func settleAll(c queue.Cursor, stop <-chan struct{}) {
	for {
		if e := c.Next(); e != nil {
			e.Settle(e.Size.Events)
			continue
		}
		select {
		case <-c.Wake():
		case <-stop:
			return
		}
	}
}

// A reader works off a backlog of groups of 100 events.
func BenchmarkRead(b *testing.B) {
	const events = 100
	dir := b.TempDir()
	q, err := Open(dir, Options{MaxBytes: 64 << 30, SegmentBytes: 64 << 20, Cursors: []string{"a"}, files: unsyncedFiles{}})
	require.NoError(b, err)
	c, err := q.Cursor("a")
	require.NoError(b, err)
	groups := benchGroups(events)
	size := queuetest.Measure(groups)
	for range b.N {
		require.NoError(b, q.Reserve(b.Context(), size))
		q.Append(groups, size, size, func(error) {})
	}
	for q.events(c) < b.N*events {
	}
	b.ReportAllocs()
	b.ResetTimer()
	for q.events(c) > 0 {
		if e := c.Next(); e != nil {
			e.Settle(e.Size.Events)
		}
	}
	b.StopTimer()
	b.ReportMetric(float64(b.N)*events/b.Elapsed().Seconds(), "events/s")
	require.NoError(b, q.Stop())
}
