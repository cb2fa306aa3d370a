package kafka

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"hash/maphash"
	"slices"

	"github.com/flinktail/flinktail/protocol"
)

// share is the part of a group that has a topic and a key in common.
type share struct {
	topic  int
	key    span
	logs   []span // encoded, in the batch's data
	places []int  // of them in the group
}

// encodeGroup makes the records of a group: one for its events that share topic and key, or several when they are too large for
// one. Every event is encoded while it is looked at, because events are larger than the processor's caches.
func (b *batch) encodeGroup(gi int, g *protocol.LogGroup) {
	if len(g.Logs) == 0 {
		return
	}
	rest, groupErr := b.append(func(dst []byte) ([]byte, error) { return protocol.AppendGroup(dst, subgroup(g, nil)) })
	clear(b.byShare)
	b.shares = b.shares[:0]
	for i, log := range g.Logs {
		s := b.shareOf(g, log)
		encoded, err := b.append(func(dst []byte) ([]byte, error) { return appendLog(dst, log) })
		if err = cmp.Or(groupErr, err); err != nil {
			b.fail(b.addPlace(gi, i), err, false)
			continue
		}
		s.logs, s.places = append(s.logs, encoded), append(s.places, i)
	}
	for i := range b.shares {
		b.encodeShare(gi, &b.shares[i], rest)
	}
}

// shareOf returns the share of an event, which may be a new one.
func (b *batch) shareOf(g *protocol.LogGroup, log *protocol.Log) *share {
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
	s.topic, s.key, s.logs, s.places = topic, span{from, len(b.data)}, s.logs[:0], s.places[:0]
	return s
}

// encodeShare packs the share's events into as few records as MaxMessageBytes allows; rest is what the group has beside its logs.
func (b *batch) encodeShare(gi int, s *share, rest span) {
	room := b.layout.limit - b.sizeOf(&spec{key: s.key}) - rest.size()
	for from := 0; from < len(s.logs); {
		r := spec{topic: s.topic, key: s.key, parts: span{from: len(b.parts)}, places: span{from: len(b.places)}}
		to := from
		for to < len(s.logs) && (to == from || r.value+s.logs[to].size() <= room) {
			r.value += s.logs[to].size()
			b.places = append(b.places, place{gi, s.places[to]})
			to++
		}
		b.parts = append(append(b.parts, s.logs[from:to]...), rest)
		r.value += rest.size()
		r.parts.to, r.places.to = len(b.parts), len(b.places)
		b.add(r)
		from = to
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
