package kafka

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/flinktail/flinktail/pipeline/flushertest"
	"github.com/flinktail/flinktail/protocol"
)

// group makes a group of events from JSON lines.
var group = flushertest.Groups

// benchmarkBatch is a batch of events of about 640 bytes of 200 jobs, no easier to compress than those of the end-to-end benchmarks.
func benchmarkBatch(t testing.TB, n int) []*protocol.LogGroup {
	random := rand.New(rand.NewPCG(42, 1))
	faults := []string{"java.lang.OutOfMemoryError: Java heap space", "java.util.concurrent.TimeoutException: Heartbeat of TaskManager timed out."}
	positions := []string{"runtime.taskmanager.Task.doRun(Task.java:751)", "streaming.runtime.tasks.StreamTask.invoke(StreamTask.java:914)"}
	lines := make([]string, n)
	for i := range lines {
		job := random.IntN(200)
		common := fmt.Sprintf(`"schema_version":1,"event_id":"evt-%010d","event_time":"2026-01-05T08:00:00.%03dZ","source":"flink-status-listener","cluster":"prod-eu","namespace":"streaming","resource":"flink-session-%02d","job_id":"%016x%016x","job_name":"orders-enrichment-%d","severity":"info","label.team":"payments","attempt":%d`,
			i, i%1000, job%12, job*0x9e3779b97f4a7c1, job*0x6c62272e07bb014, job%6, random.IntN(20))
		switch p := random.IntN(100); {
		case p < 50:
			lines[i] = fmt.Sprintf(`{%s,"kind":"job_status","status_from":"RUNNING","status_to":"FAILING","task_manager":"10.42.%d.%d:%d"}`,
				common, random.IntN(250), random.IntN(250), random.IntN(9999))
		case p < 75:
			lines[i] = fmt.Sprintf(`{%s,"kind":"checkpoint","checkpoint_id":%d,"state_size":%d,"external_path":"s3://checkpoints/%016x/chk-%d"}`,
				common, random.IntN(100000), random.Int64N(5e10), random.Uint64(), random.IntN(100000))
		default:
			var trace strings.Builder
			for range 8 + random.IntN(10) {
				trace.WriteString(`\n\tat org.apache.flink.` + positions[random.IntN(2)])
			}
			fault := faults[random.IntN(2)]
			lines[i] = fmt.Sprintf(`{%s,"kind":"job_failure","exception_class":%q,"root_class":%q,"stack_trace":"%s"}`, common, fault, fault, trace.String())
		}
	}
	return group(t, lines...)
}
