package flushertest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"
	"unsafe"

	"github.com/stretchr/testify/require"

	"github.com/flinktail/flinktail/protocol"
	"github.com/flinktail/flinktail/protocol/flink"
)

// Groups makes one log group of events that are JSON objects, as [JSON] renders them. An event without a time of its own is of 2026-01-05
// 08:00 UTC.
func Groups(t testing.TB, events ...string) []*protocol.LogGroup {
	t.Helper()
	b := protocol.NewBuilder()
	b.BeginGroup("", "")
	d := protocol.NewJSONDecoder(flink.Fields, protocol.DefaultMaxDepth)
	for _, e := range events {
		require.NoError(t, d.DecodeLine(b, []byte(e), time.Date(2026, 1, 5, 8, 0, 0, 0, time.UTC)))
		b.EndLog()
	}
	return b.Groups()
}

// JSON renders groups as [Destination.Events] has to return events: for destinations that hold log groups.
func JSON(groups ...*protocol.LogGroup) (events [][]byte) {
	encoder := protocol.NewJSONEncoder(flink.Fields)
	for _, g := range groups {
		for i := range g.Logs {
			events = append(events, encoder.Append(nil, g, i))
		}
	}
	return events
}

// Lines splits newline-delimited JSON into events. Text behind the last line feed counts as an event too: it has no
// place there.
func Lines(text []byte) (events [][]byte) {
	for line := range bytes.SplitSeq(bytes.TrimSuffix(text, []byte("\n")), []byte("\n")) {
		if len(line) > 0 {
			events = append(events, bytes.Clone(line))
		}
	}
	return events
}

// batch is a list of groups whose memory the suite owns, as the engine owns a real batch.
type batch struct {
	groups []*protocol.LogGroup
	memory []byte // what keys and values are views of
	want   []event
}

// event is an event as it should be, or is, at the destination.
type event struct {
	id, job string
	fields  map[string]any
}

// newBatch makes groups of events of one job each; n numbers the batch, so that ids differ.
func newBatch(n int, groups, eventsEach int) *batch {
	b := &batch{memory: make([]byte, 0, groups*eventsEach*4096)}
	for gi := range groups {
		job := fmt.Sprintf("%d-%d", n, gi)
		g := &protocol.LogGroup{
			Category: b.text(""), Topic: b.text(""), Source: b.text("contract"), MachineUUID: b.text(""),
			LogTags: []*protocol.LogTag{{Key: b.text("namespace"), Value: b.text("streaming")}},
		}
		for i := range eventsEach {
			g.Logs = append(g.Logs, b.log(job, i))
		}
		b.groups = append(b.groups, g)
	}
	b.want = parse(JSON(b.groups...))
	return b
}

// log makes one event, with everything in its fields that a flusher may get wrong.
func (b *batch) log(job string, i int) *protocol.Log {
	seconds, nanos := uint32(1767600000+i), uint32(i%1000)*1e6
	log := &protocol.Log{Time: &seconds, TimeNs: &nanos}
	add := func(key, value string, types ...protocol.ValueType) {
		c := &protocol.Log_Content{Key: b.text(key), Value: b.text(value)}
		if len(types) > 0 {
			c.Type = &types[0]
		}
		log.Contents = append(log.Contents, c)
	}
	add(flink.FieldSchemaVersion, "1")
	add(flink.FieldEventID, fmt.Sprintf("contract-%s-%d", job, i))
	add(flink.FieldKind, flink.KindJobStatus)
	add(flink.FieldCluster, "prod-eu")
	add(flink.FieldJobID, "20239a63ed9b70000d51-"+job)
	add(flink.FieldJobName, `orders "enrichment" 订单`)
	add(flink.FieldStatusFrom, "RUNNING")
	add(flink.FieldStatusTo, "FAILED")
	add("terminal", "true")
	add(flink.FieldRootClass, "java.lang.NumberFormatException")
	add(flink.FieldRootMessage, "For input string: \"x\\1500\"\n\t<b>&amp;</b>\u2028 \x1b[31m \x00 🦑")
	add(flink.FieldLineage, `{"sources":[{"namespace":"kafka://b:9092","name":"orders"}],"sinks":[]}`)
	add("stack_trace", strings.Repeat("\tat org.example.Job.run(Job.java:42)\n", 20))
	add("label.team", "payments")
	add("message", "")
	add("attempt", "12345678901234567890.25", protocol.ValueType_NUMBER)
	add("healthy", "false", protocol.ValueType_BOOLEAN)
	add("nothing", "", protocol.ValueType_NULL)
	add("nested", `{"a":[1,"two",null]}`, protocol.ValueType_JSON)
	return log
}

// text returns s as a view into b's memory.
func (b *batch) text(s string) *string {
	if len(b.memory)+len(s) > cap(b.memory) {
		panic("flushertest: a batch needs more memory") // growing would move what was handed out
	}
	start := len(b.memory)
	b.memory = append(b.memory, s...)
	view := unsafe.String(unsafe.SliceData(b.memory[start:]), len(s))
	return &view
}

// poison does to b what the engine does to a batch once Flush has returned: its memory is used for something else.
func (b *batch) poison() {
	for i := range b.memory {
		b.memory[i] = '#'
	}
	for _, g := range b.groups {
		for _, log := range g.Logs {
			*log.Time, *log.TimeNs = 0, 0
			for _, c := range log.Contents {
				*c.Key, *c.Value, c.Type = "poisoned", "poisoned", nil
			}
			log.Contents = log.Contents[:1]
		}
		g.Logs = g.Logs[:1]
	}
}

// parse reads what a destination holds. Text that is no JSON object becomes an event without an id.
func parse(texts [][]byte) (events []event) {
	for _, text := range texts {
		e := event{fields: map[string]any{}}
		d := json.NewDecoder(bytes.NewReader(text))
		d.UseNumber()
		if err := d.Decode(&e.fields); err != nil {
			e.fields["this is no JSON object"] = string(text)
		}
		e.id, _ = e.fields[flink.FieldEventID].(string)
		e.job, _ = e.fields[flink.FieldJobID].(string)
		events = append(events, e)
	}
	return events
}

// repeats says whether an event may have arrived more than once.
type repeats bool

const (
	once    repeats = false
	perhaps repeats = true
)

// arrived checks that the destination holds the batches, whole, in order and unchanged, and nothing else.
func (x *session) arrived(r repeats, batches ...*batch) {
	x.t.Helper()
	var want []event
	for _, b := range batches {
		want = append(want, b.want...)
	}
	x.arrivedEvents(r, want)
}

func (x *session) arrivedEvents(r repeats, want []event) {
	x.t.Helper()
	wanted := map[string]event{}
	for _, e := range want {
		wanted[e.id] = e
	}
	seen := map[string]int{}
	order := map[string][]string{}
	for _, e := range parse(x.dest.Events()) {
		w, ok := wanted[e.id]
		if !ok {
			x.t.Errorf("the destination holds what was not delivered: %v", e.fields)
			continue
		}
		require.Equal(x.t, w.fields, e.fields, "an event changed on its way")
		if seen[e.id]++; seen[e.id] == 1 {
			order[e.job] = append(order[e.job], e.id)
		}
	}
	wantOrder := map[string][]string{}
	for _, e := range want {
		switch n := seen[e.id]; {
		case n == 0:
			x.t.Errorf("lost: %s", e.id)
		case n > 1 && r == once:
			x.t.Errorf("delivered %d times: %s", n, e.id)
		}
		wantOrder[e.job] = append(wantOrder[e.job], e.id)
	}
	if !x.suite.Unordered && !x.t.Failed() {
		require.Equal(x.t, wantOrder, order, "events of a job arrived in another order")
	}
}

// holds reports which of b's events the destination has.
func (x *session) holds() map[string]bool {
	held := map[string]bool{}
	for _, e := range parse(x.dest.Events()) {
		held[e.id] = true
	}
	return held
}

func requireUnchanged(t testing.TB, before []*protocol.LogGroup, b *batch) {
	t.Helper()
	require.Len(t, b.groups, len(before), "Flush changed the list of groups")
	for i := range before {
		if !protocol.Equal(before[i], b.groups[i]) {
			t.Errorf("Flush changed group %d, which is read-only", i)
		}
	}
}
