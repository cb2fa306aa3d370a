package kafka

import (
	"encoding/binary"
	"fmt"

	"github.com/flinktail/flinktail/pipeline"
	"github.com/flinktail/flinktail/protocol"
	"github.com/flinktail/flinktail/protocol/flink"
)

const (
	// batchOverhead is what a batch of records has beside them.
	batchOverhead = 61
	// recordOverhead is at least what a record has beside key, value and headers: lengths, time, offset, attributes.
	recordOverhead = 5*binary.MaxVarintLen32 + binary.MaxVarintLen64 + 1
	// headerOverhead is at least what a header has beside name and value.
	headerOverhead = 2 * binary.MaxVarintLen32
	// minRecordLimit is the least that MaxMessageBytes must leave for a record.
	minRecordLimit = 256
	// maxKept bounds the memory that a batch keeps for the next one.
	maxKept = 8 << 20
)

// headerFields are the fields that are headers of a json record too.
var headerFields = [...]struct {
	name string
	key  []byte
}{
	{flink.FieldEventID, []byte(flink.FieldEventID)},
	{flink.FieldKind, []byte(flink.FieldKind)},
	{flink.FieldCluster, []byte(flink.FieldCluster)},
}

// batch holds the records of one Flush. It belongs to one goroutine at a time, and shares no memory with the groups; its
// own is used again.
type batch struct {
	layout *layout
	json   *protocol.JSONEncoder

	total    int // events
	failures []pipeline.Failure

	data    []byte
	specs   []spec
	parts   []span // of values
	places  []place
	topics  []topicUse // the first used ones are this batch's
	used    int
	byTopic map[string]int
	scratch []byte

	// loggroup
	shares  []share
	byShare map[uint64]int // the last one, by the hash of topic and key

	lots     []lot // the first usedLots ones are this batch's
	usedLots int
}

// spec is a record, as positions in data.
type spec struct {
	topic   int
	key     span
	value   int  // its size
	parts   span // of the value: indexes in parts
	headers [len(headerFields)]span
	size    int  // at most, on the wire
	places  span // of its events: indexes in places
}

type span struct{ from, to int }

func (s span) size() int { return s.to - s.from }

func (s span) of(data []byte) []byte { return data[s.from:s.to:s.to] }

// place is where an event is in the list that Flush got.
type place struct{ group, log int }

// topicUse is a topic of the batch.
type topicUse struct {
	name       string
	partitions []*partition
	lots       []int // for each partition the index of its lot, -1: none
	first      int   // the partition of records without a key, and roundrobin's first
	records    int   // so many were spread round
	err        error
}

func newBatch(l *layout) *batch {
	return &batch{
		layout: l, json: protocol.NewJSONEncoder(flink.Fields),
		byTopic: map[string]int{}, byShare: map[uint64]int{},
	}
}

// reset makes b empty again.
func (b *batch) reset() {
	if cap(b.data) > maxKept {
		b.data = nil
	}
	clear(b.failures)
	clear(b.byTopic)
	clear(b.byShare)
	for i := range b.topics[:b.used] {
		u := &b.topics[i]
		*u = topicUse{lots: u.lots[:0]}
	}
	for i := range b.lots[:b.usedLots] {
		b.lots[i].reset()
	}
	b.total, b.used, b.usedLots, b.shares = 0, 0, 0, b.shares[:0]
	b.failures, b.data, b.specs, b.parts, b.places = b.failures[:0], b.data[:0], b.specs[:0], b.parts[:0], b.places[:0]
}

// encode makes the records of groups; what can be none goes to b.failures.
func (b *batch) encode(groups []*protocol.LogGroup) {
	for gi, g := range groups {
		b.total += len(g.Logs)
		if b.layout.format == FormatLogGroup {
			b.encodeGroup(gi, g)
			continue
		}
		for i, log := range g.Logs {
			b.encodeLog(gi, i, g, log)
		}
	}
	b.encodeShares()
}

// encodeLog makes the record of one event.
func (b *batch) encodeLog(gi, i int, g *protocol.LogGroup, log *protocol.Log) {
	s := spec{topic: b.topicOf(g, log)}
	from := len(b.data)
	b.data = b.layout.appendKey(b.data, g, log)
	s.key = span{from, len(b.data)}
	b.data = b.json.Append(b.data, g, i)
	value := span{s.key.to, len(b.data)}
	s.value, s.parts = value.size(), span{len(b.parts), len(b.parts) + 1}
	b.parts = append(b.parts, value)
	for h := range headerFields {
		from := len(b.data)
		b.data = append(b.data, g.Field(log, headerFields[h].name)...)
		s.headers[h] = span{from, len(b.data)}
	}
	s.places = b.addPlace(gi, i)
	b.add(s)
}

// append appends to data, nothing if there is an error.
func (b *batch) append(add func(dst []byte) ([]byte, error)) (span, error) {
	from := len(b.data)
	data, err := add(b.data)
	if err != nil {
		data = data[:from]
	}
	b.data = data
	return span{from, len(b.data)}, err
}

func (b *batch) addPlace(group, log int) span {
	b.places = append(b.places, place{group, log})
	return span{len(b.places) - 1, len(b.places)}
}

// add takes a record, unless it is larger than any may be: then its only event fails.
func (b *batch) add(s spec) {
	s.size = b.sizeOf(&s)
	if s.size > b.layout.limit {
		b.fail(s.places, fmt.Errorf("a record of %d bytes is larger than MaxMessageBytes, %d, allows", s.size, b.layout.limit+batchOverhead), false)
		return
	}
	b.specs = append(b.specs, s)
}

func (b *batch) sizeOf(s *spec) int {
	size := recordOverhead + s.key.size() + s.value
	for h, value := range s.headers {
		if value.size() > 0 {
			size += headerOverhead + len(headerFields[h].key) + value.size()
		}
	}
	for _, h := range b.layout.headers {
		size += headerOverhead + len(h.Key) + len(h.Value)
	}
	return size
}

// fail lists the events at places.
func (b *batch) fail(places span, err error, retryable bool) {
	for _, p := range b.places[places.from:places.to] {
		b.failures = append(b.failures, pipeline.Failure{Group: p.group, Log: p.log, Err: err, Retryable: retryable})
	}
}

// topicOf returns the index of an event's topic.
func (b *batch) topicOf(g *protocol.LogGroup, log *protocol.Log) int {
	if name, ok := b.layout.topic.Constant(); ok {
		if b.used == 0 {
			b.addTopic(name)
		}
		return 0
	}
	b.scratch = b.layout.topic.append(b.scratch[:0], g, log)
	if i, ok := b.byTopic[string(b.scratch)]; ok {
		return i
	}
	return b.addTopic(string(b.scratch))
}

func (b *batch) addTopic(name string) int {
	if b.used == len(b.topics) {
		b.topics = append(b.topics, topicUse{})
	}
	b.topics[b.used].name = name
	b.byTopic[name] = b.used
	b.used++
	return b.used - 1
}
