package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"time"
)

// writeCorpus writes n events in flinktail's schema, one JSON object a line, about 700 bytes on average, always the same.
func writeCorpus(path string, n int) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	w := bufio.NewWriterSize(f, 1<<20)
	c := newCorpus()
	var total int
	for i := range n {
		line, err := json.Marshal(c.event(i))
		if err != nil {
			return err
		}
		total += len(line) + 1
		if _, err := w.Write(append(line, '\n')); err != nil {
			return err
		}
	}
	fmt.Fprintf(os.Stderr, "%d bytes an event\n", total/max(n, 1))
	if err := w.Flush(); err != nil {
		return err
	}
	return f.Close()
}

type corpus struct {
	random *rand.Rand
	jobs   []string
}

var (
	jobNames  = []string{"orders-enrichment", "fraud-detector", "clickstream-sessionizer", "iceberg-compactor", "cdc-to-kafka", "pricing-aggregator"}
	statuses  = []string{"CREATED", "RUNNING", "FAILING", "FAILED", "CANCELLING", "CANCELED", "RESTARTING", "FINISHED"}
	faults    = []string{"java.lang.OutOfMemoryError: Java heap space", "java.util.concurrent.TimeoutException: Heartbeat of TaskManager timed out.", "java.io.IOException: Could not perform checkpoint 4711 for operator Source: \"orders\" (3/8)#0."}
	positions = []string{"org.apache.flink.runtime.taskmanager.Task.doRun(Task.java:751)", "org.apache.flink.streaming.runtime.tasks.StreamTask.invoke(StreamTask.java:914)", "org.apache.flink.streaming.runtime.io.StreamTaskNetworkInput.emitNext(StreamTaskNetworkInput.java:110)", "java.base/java.lang.Thread.run(Thread.java:829)"}
)

func newCorpus() *corpus {
	c := &corpus{random: rand.New(rand.NewPCG(42, 1))}
	for range 200 {
		c.jobs = append(c.jobs, fmt.Sprintf("%016x%016x", c.random.Uint64(), c.random.Uint64()))
	}
	return c
}

func (c *corpus) pick(from []string) string { return from[c.random.IntN(len(from))] }

func (c *corpus) event(i int) map[string]any {
	r := c.random
	at := time.Date(2026, 1, 5, 8, 0, 0, 0, time.UTC).Add(time.Duration(i) * 37 * time.Millisecond)
	job := r.IntN(len(c.jobs))
	event := map[string]any{
		"schema_version": 1, "event_id": fmt.Sprintf("evt-%010d", i), "event_time": at.Format("2006-01-02T15:04:05.000Z"),
		"source": "flink-status-listener", "cluster": "prod-eu", "namespace": "streaming", "resource": fmt.Sprintf("flink-session-%02d", job%12),
		"job_id": c.jobs[job], "job_name": jobNames[job%len(jobNames)], "severity": "info", "label.team": "payments", "attempt": r.IntN(20),
	}
	switch p := r.IntN(100); {
	case p < 50:
		event["kind"], event["status_from"], event["status_to"], event["terminal"] = "job_status", c.pick(statuses), c.pick(statuses), r.IntN(5) == 0
		event["task_manager"] = fmt.Sprintf("10.42.%d.%d:%d", r.IntN(250), r.IntN(250), 30000+r.IntN(9999))
	case p < 75:
		event["kind"], event["checkpoint_id"], event["state_size"] = "checkpoint", r.IntN(100000), r.Int64N(5e10)
		event["external_path"] = "s3://checkpoints/" + c.jobs[job] + fmt.Sprintf("/chk-%d", r.IntN(100000))
		event["message"] = "Completed checkpoint: “orders” — 64 of 64 subtasks"
	case p < 92:
		fault := c.pick(faults)
		class, message, _ := strings.Cut(fault, ": ")
		var trace strings.Builder
		trace.WriteString(fault)
		for range 8 + r.IntN(10) {
			trace.WriteString("\n\tat " + c.pick(positions))
		}
		event["kind"], event["source"], event["severity"], event["failure_scope"] = "job_failure", "flink-failure-enricher", "error", "TASK"
		event["exception_class"], event["exception_message"], event["root_class"], event["root_message"] = class, message, class, message
		event["stack_trace"], event["task_name"] = trace.String(), fmt.Sprintf("Window(Tumbling(60000)) (%d/8)", 1+r.IntN(8))
	default:
		table := func(side string) []map[string]any {
			return []map[string]any{{"namespace": fmt.Sprintf("kafka://broker-%d:9092", r.IntN(9)), "name": side + "." + c.pick(jobNames),
				"options": map[string]any{"connector": "kafka", "format": "json", "scan.startup.mode": "earliest-offset"}}}
		}
		event["kind"], event["execution_mode"] = "job_created", "STREAMING"
		event["lineage"] = map[string]any{"sources": table("in"), "sinks": table("out"), "relations": []any{}}
	}
	return event
}
