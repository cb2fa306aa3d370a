package httpflusher

import (
	"bytes"
	"fmt"
	"slices"

	"github.com/flinktail/flinktail/pipeline"
	"github.com/flinktail/flinktail/protocol"
	"github.com/flinktail/flinktail/protocol/flink"
)

// maxKept bounds each buffer that a batch keeps for the next one.
const maxKept = 8 << 20

// batch is the events of one Flush in the order they are sent, and the bodies made of them. It belongs to one goroutine at a time; its memory is
// used again.
type batch struct {
	endpoint *endpoint
	encoder  *protocol.JSONEncoder
	packer   packer

	groups []*protocol.LogGroup
	events []place
	kinds  []int32          // with values that vary: which of their combinations an event has
	byKey  map[string]int32 // combinations met so far
	key    []byte

	// ndjson and json_array: every event's JSON with one byte between each two and at either end, which becomes a line feed,
	// comma or bracket. The other formats: the body at hand.
	data []byte
	ends []int // of each event's JSON

	logs   []*protocol.Log
	merged protocol.LogGroup
	fields map[string]string
	text   bytes.Buffer
	answer []byte

	settled  int // events before this one are delivered or refused
	failures []pipeline.Failure
}

// place is where an event is in the list passed to Flush.
type place struct{ group, log int32 }

func newBatch(e *endpoint) *batch {
	return &batch{
		endpoint: e, encoder: protocol.NewJSONEncoder(flink.Fields), packer: newPacker(e.compression),
		byKey: map[string]int32{}, fields: map[string]string{},
	}
}

// fill takes the events of a Flush and, where all bodies can be made of one text, makes that.
func (b *batch) fill(groups []*protocol.LogGroup) {
	b.groups = groups
	for gi, g := range groups {
		for i := range g.Logs {
			b.events = append(b.events, place{int32(gi), int32(i)})
		}
	}
	if len(b.endpoint.varying) > 0 {
		b.sortByValues()
	}
	if b.endpoint.format != FormatNDJSON && b.endpoint.format != FormatJSONArray {
		return
	}
	separator := byte('\n')
	if b.endpoint.format == FormatJSONArray {
		separator = ','
	}
	b.data = append(b.data, separator)
	for _, at := range b.events {
		b.data = b.encoder.Append(b.data, groups[at.group], int(at.log))
		b.ends = append(b.ends, len(b.data))
		b.data = append(b.data, separator)
	}
}

// sortByValues puts events with equal values of Headers and Query together, in their order.
func (b *batch) sortByValues() {
	for _, at := range b.events {
		g := b.groups[at.group]
		b.key = b.key[:0]
		for i := range b.endpoint.varying {
			b.key = append(b.endpoint.varying[i].appendTo(b.key, g, g.Logs[at.log]), 0)
		}
		kind, known := b.byKey[string(b.key)]
		if !known {
			kind = int32(len(b.byKey))
			b.byKey[string(b.key)] = kind
		}
		b.kinds = append(b.kinds, kind)
	}
	if len(b.byKey) < 2 {
		return
	}
	type sortable struct {
		place
		kind int32
	}
	sorted := make([]sortable, len(b.events))
	for i, at := range b.events {
		sorted[i] = sortable{at, b.kinds[i]}
	}
	slices.SortStableFunc(sorted, func(x, y sortable) int { return int(x.kind - y.kind) })
	for i, s := range sorted {
		b.events[i], b.kinds[i] = s.place, s.kind
	}
}

// requestEnd returns the end of the events that go in one request with the one at from.
func (b *batch) requestEnd(from int) int {
	if b.endpoint.format == FormatTemplate {
		return from + 1
	}
	if len(b.kinds) == 0 && b.endpoint.format != FormatLogGroup {
		return len(b.events)
	}
	to := from + 1
	for to < len(b.events) && b.together(to-1, to) {
		to++
	}
	return to
}

// together reports whether two events can be in one body.
func (b *batch) together(i, j int) bool {
	if len(b.kinds) > 0 && b.kinds[i] != b.kinds[j] {
		return false
	}
	return b.endpoint.format != FormatLogGroup ||
		b.events[i].group == b.events[j].group || sameFrame(b.groups[b.events[i].group], b.groups[b.events[j].group])
}

// sameFrame reports whether two groups differ in their logs only.
func sameFrame(a, b *protocol.LogGroup) bool {
	return a.GetTopic() == b.GetTopic() && a.GetSource() == b.GetSource() &&
		a.GetCategory() == b.GetCategory() && a.GetMachineUUID() == b.GetMachineUUID() &&
		slices.EqualFunc(a.LogTags, b.LogTags, func(x, y *protocol.LogTag) bool {
			return x.GetKey() == y.GetKey() && x.GetValue() == y.GetValue()
		}) &&
		bytes.Equal(a.ProtoReflect().GetUnknown(), b.ProtoReflect().GetUnknown())
}

// body returns the body for the events from from up to but not including to, valid until the next call. The error is about
// these events.
func (b *batch) body(from, to int) ([]byte, error) {
	switch b.endpoint.format {
	case FormatLogGroup:
		return b.group(from, to)
	case FormatTemplate:
		return b.execute(from)
	}
	before := 0
	if from > 0 {
		before = b.ends[from-1]
	}
	after := b.ends[to-1]
	if b.endpoint.format == FormatJSONArray {
		// No later body has these bytes in its middle: halves follow the whole, from left to right.
		b.data[before], b.data[after] = '[', ']'
		return b.packer.pack(b.data[before : after+1]), nil
	}
	return b.packer.pack(b.data[before+1 : after+1]), nil
}

func (b *batch) group(from, to int) ([]byte, error) {
	b.logs = b.logs[:0]
	for _, at := range b.events[from:to] {
		b.logs = append(b.logs, b.groups[at.group].Logs[at.log])
	}
	b.groups[b.events[from].group].Slice(&b.merged, 0, 0)
	b.merged.Logs = b.logs
	var err error
	if b.data, err = protocol.AppendGroup(b.data[:0], &b.merged); err != nil {
		return nil, err
	}
	return b.packer.pack(b.data), nil
}

// empty returns the body of a batch without events, for a format that has one.
func (b *batch) empty() []byte {
	switch b.endpoint.format {
	case FormatJSONArray:
		return b.packer.pack([]byte("[]"))
	case FormatLogGroup:
		empty, _ := protocol.AppendGroup(nil, &protocol.LogGroup{}) // nothing is missing where nothing is
		return b.packer.pack(empty)
	}
	return b.packer.pack(nil)
}

// refuse notes that the event at i can never be delivered.
func (b *batch) refuse(i int, err error) {
	at := b.events[i]
	b.failures = append(b.failures, pipeline.Failure{Group: int(at.group), Log: int(at.log), Err: err})
	b.settled = i + 1
}

// result is what Flush returns when err has stopped it, or nothing has.
func (b *batch) result(err error) error {
	if err != nil && b.settled == 0 {
		return err
	}
	if err != nil {
		err := fmt.Errorf("after %d of %d events: %w", b.settled, len(b.events), err)
		for _, at := range b.events[b.settled:] {
			b.failures = append(b.failures, pipeline.Failure{Group: int(at.group), Log: int(at.log), Err: err, Retryable: true})
		}
	}
	if len(b.failures) == 0 {
		return nil
	}
	return &pipeline.PartialError{Failures: b.failures}
}

// reset makes b empty again. Nobody has its buffers any more.
func (b *batch) reset() {
	b.groups = nil
	b.events, b.kinds, b.ends = b.events[:0], b.kinds[:0], b.ends[:0]
	clear(b.byKey)
	clear(b.fields)
	clear(b.logs[:cap(b.logs)])
	b.failures, b.settled = nil, 0
	(&protocol.LogGroup{}).Slice(&b.merged, 0, 0)
	if cap(b.data) > maxKept {
		b.data = nil
	}
	if b.text.Cap() > maxKept {
		b.text = bytes.Buffer{}
	}
	b.data = b.data[:0]
	b.packer.reset()
}
