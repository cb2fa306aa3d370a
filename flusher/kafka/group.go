package kafka

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"hash/maphash"
	"slices"

	"github.com/flinktail/flinktail/protocol"
)

// share is a part of the groups whose events have topic and key in common, and so has all that the groups have beside their events.
type share struct {
	topic  int
	key    span
	rest   span   // what the groups have beside their events, encoded
	logs   []span // encoded
	places []place
}

// encodeGroup sorts the events of a group into shares. Every event is encoded while it is looked at, because events are larger
// than the processor's caches.
func (b *batch) encodeGroup(gi int, g *protocol.LogGroup) {
	if len(g.Logs) == 0 {
		return
	}
	rest, groupErr := b.append(func(dst []byte) ([]byte, error) { return protocol.AppendGroup(dst, subgroup(g, nil)) })
	for i, log := range g.Logs {
		s := b.shareOf(g, log, rest)
		encoded, err := b.append(func(dst []byte) ([]byte, error) { return appendLog(dst, log) })
		if err = cmp.Or(groupErr, err); err != nil {
			b.fail(b.addPlace(gi, i), err, false)
			continue
		}
		s.logs, s.places = append(s.logs, encoded), append(s.places, place{gi, i})
	}
}

// shareOf returns the share of an event, which may be a new one. Only the last share of a key is added to, to keep the order.
func (b *batch) shareOf(g *protocol.LogGroup, log *protocol.Log, rest span) *share {
	topic := b.topicOf(g, log)
	from := len(b.data)
	b.data = b.layout.appendKey(b.data, g, log)
	key := b.data[from:]
	hash := maphash.Bytes(hashSeed, key) + uint64(topic)
	for {
		i, ok := b.byShare[hash]
		if !ok {
			break
		}
		if s := &b.shares[i]; s.topic == topic && string(s.key.of(b.data)) == string(key) {
			if s.rest != rest && string(s.rest.of(b.data)) != string(rest.of(b.data)) {
				break
			}
			b.data = b.data[:from]
			return s
		}
		hash++ // another one's
	}
	n := len(b.shares)
	b.byShare[hash] = n
	if n < cap(b.shares) {
		b.shares = b.shares[:n+1]
	} else {
		b.shares = append(b.shares, share{})
	}
	s := &b.shares[n]
	*s = share{topic: topic, key: span{from, len(b.data)}, rest: rest, logs: s.logs[:0], places: s.places[:0]}
	return s
}

// encodeShares packs the events of every share into as few records as MaxMessageBytes allows.
func (b *batch) encodeShares() {
	for i := range b.shares {
		s := &b.shares[i]
		room := b.layout.limit - b.sizeOf(&spec{key: s.key}) - s.rest.size()
		for from := 0; from < len(s.logs); {
			r := spec{topic: s.topic, key: s.key, parts: span{from: len(b.parts)}, places: span{from: len(b.places)}}
			to := from
			for to < len(s.logs) && (to == from || r.value+s.logs[to].size() <= room) {
				r.value += s.logs[to].size()
				to++
			}
			b.parts = append(append(b.parts, s.logs[from:to]...), s.rest)
			b.places = append(b.places, s.places[from:to]...)
			r.value += s.rest.size()
			r.parts.to, r.places.to = len(b.parts), len(b.places)
			b.add(r)
			from = to
		}
	}
}

// logsField is the key of LogGroup.Logs: field 1, of known length.
const logsField = 1<<3 | 2

// appendLog appends a log as a field of a group, as protocol.AppendGroup does. After an error dst is as it was.
func appendLog(dst []byte, log *protocol.Log) ([]byte, error) {
	size, start := log.SizeVT(), len(dst)
	dst = binary.AppendUvarint(append(dst, logsField), uint64(size))
	at := len(dst)
	dst = slices.Grow(dst, size)[:at+size]
	if _, err := log.MarshalToSizedBufferVT(dst[at:]); err != nil {
		return dst[:start], fmt.Errorf("encode log: %w", err)
	}
	return dst, nil
}

// subgroup returns a group with everything of g but its logs.
func subgroup(g *protocol.LogGroup, logs []*protocol.Log) *protocol.LogGroup {
	sub := &protocol.LogGroup{
		Logs: logs, Category: g.Category, Topic: g.Topic, Source: g.Source, MachineUUID: g.MachineUUID, LogTags: g.LogTags,
	}
	sub.ProtoReflect().SetUnknown(g.ProtoReflect().GetUnknown())
	return sub
}
