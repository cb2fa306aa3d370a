//go:build e2e

package kafka

import (
	"syscall"
	"testing"
	"time"
)

// BenchmarkFlush measures what this process does for an event, beside a real broker.
func BenchmarkFlush(b *testing.B) {
	for _, format := range []string{FormatJSON, FormatLogGroup} {
		for _, compression := range []string{"zstd", "none"} {
			b.Run(format+"/"+compression, func(b *testing.B) {
				k := sharedBroker(b)
				f := k.flusher(k.newTopic(b, 3, "retention.bytes=10000000", "segment.bytes=10000000"), func(f *Flusher) {
					f.Format, f.Compression = format, compression
				})
				started(b, f)
				const perBatch = 2000
				groups := benchmarkBatch(b, perBatch)
				b.ReportAllocs()
				b.ResetTimer()
				before := cpuTime()
				for n := 0; n < b.N; n += perBatch {
					if err := f.Flush("", "", "", groups); err != nil {
						b.Fatal(err)
					}
				}
				b.ReportMetric(float64(cpuTime()-before)/float64(b.N), "cpu-ns/op")
			})
		}
	}
}

func cpuTime() time.Duration {
	var usage syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &usage)
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}
