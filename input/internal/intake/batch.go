// Package intake turns what an input received into one log group: it decodes, completes ids and times, and sets
// aside what cannot be an event.
package intake

import (
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/flinktail/flinktail/protocol"
	"github.com/flinktail/flinktail/protocol/flink"
)

// Reasons for which an event is set aside, beside those of [protocol.Reason].
const (
	ReasonTooLong = "line_too_long"
	ReasonVersion = "unsupported_schema_version"
)

// MaxRejects is how many rejects a batch may hold; its user stops when there are more.
const MaxRejects = 1000

// Reject is one event that cannot be taken.
type Reject struct {
	Number         int64 // of the line or element, as given to the batch
	Raw            []byte
	Reason, Detail string
}

// Batch collects events into one group. It belongs to one goroutine at a time and can be used again after Release.
// The group's texts are views into what was decoded, which must stay unchanged until then.
type Batch struct {
	// Rejects holds what was set aside, in order. Raw is a view into what was received, or a rendering of it.
	Rejects []Reject

	maxLine  int
	decoder  *protocol.JSONDecoder
	encoder  *protocol.JSONEncoder
	builder  *protocol.Builder
	group    *protocol.LogGroup
	refused  []*protocol.Log
	received time.Time
	idBase   string
}

// NewBatch returns a batch that refuses events of more than maxLine bytes and values that nest deeper than maxDepth.
func NewBatch(maxLine, maxDepth int) *Batch {
	return &Batch{maxLine: maxLine, decoder: protocol.NewJSONDecoder(flink.Fields, maxDepth)}
}

// Begin starts a group. Events without a time get received, events without an id one made of idBase and their
// number; an empty idBase stands for a random one.
func (b *Batch) Begin(source, idBase string, received time.Time) {
	b.builder = protocol.NewBuilder()
	b.group = b.builder.BeginGroup("", source)
	b.idBase, b.received = idBase, received
}

// Line takes the one event that line holds.
func (b *Batch) Line(number int64, line []byte) {
	if len(line) > b.maxLine {
		b.RejectLine(number, line, ReasonTooLong, fmt.Sprintf("%d bytes; the limit is %d", len(line), b.maxLine))
		return
	}
	if err := b.decoder.DecodeLine(b.builder, line, b.received); err != nil {
		b.rejectDecoded(number, line, err)
		return
	}
	b.complete(b.builder.EndLog(), number)
}

// Array takes the events that a JSON array holds, numbered from 1. The error is about the array as a whole; then nothing was taken.
func (b *Batch) Array(body []byte) error {
	return b.decoder.DecodeArray(b.builder, body, b.received,
		func(i int) {
			if log := b.builder.EndLog(); b.short(log, int64(i)+1) {
				b.complete(log, int64(i)+1)
			}
		},
		func(i int, raw []byte, err error) { b.rejectDecoded(int64(i)+1, raw, err) })
}

// Object takes the one event that body holds, as number 1. The error is about a body that is not JSON; then nothing was taken.
func (b *Batch) Object(body []byte) error {
	err := b.decoder.DecodeLine(b.builder, body, b.received)
	var fault *protocol.DecodeError
	switch {
	case err == nil:
		if log := b.builder.EndLog(); b.short(log, 1) {
			b.complete(log, 1)
		}
		return nil
	case errors.As(err, &fault) && (fault.Reason == protocol.ReasonMalformed || fault.Reason == protocol.ReasonTooDeep):
		return err
	}
	b.rejectDecoded(1, body, err)
	return nil
}

// Group takes a decoded group in place of the batch's own, its logs numbered from 1.
func (b *Batch) Group(g *protocol.LogGroup) {
	b.group = g
	for i, log := range g.Logs {
		if log.GetTime() == 0 {
			seconds, nanos := uint32(b.received.Unix()), uint32(b.received.Nanosecond())
			log.Time, log.TimeNs = &seconds, &nanos
		}
		if b.short(log, int64(i)+1) {
			b.complete(log, int64(i)+1)
		}
	}
}

// RejectLine sets an event aside. What exceeds MaxRejects by more than one is not even held.
func (b *Batch) RejectLine(number int64, raw []byte, reason, detail string) {
	if len(b.Rejects) > MaxRejects {
		return
	}
	b.Rejects = append(b.Rejects, Reject{Number: number, Raw: raw, Reason: reason, Detail: detail})
}

func (b *Batch) rejectDecoded(number int64, raw []byte, err error) {
	reason := protocol.ReasonMalformed
	if fault := (*protocol.DecodeError)(nil); errors.As(err, &fault) {
		reason = fault.Reason
	}
	b.RejectLine(number, raw, string(reason), err.Error())
}

// short refuses a log that is longer than a line may be.
func (b *Batch) short(log *protocol.Log, number int64) bool {
	n := 0
	for _, c := range log.Contents {
		n += len(c.GetKey()) + len(c.GetValue())
	}
	if n > b.maxLine {
		b.refuse(log, number, ReasonTooLong, fmt.Sprintf("%d bytes of text; the limit is %d", n, b.maxLine))
		return false
	}
	return true
}

// complete checks the log's version and gives it an id if it has none.
func (b *Batch) complete(log *protocol.Log, number int64) {
	var id *protocol.Log_Content
	version := ""
	for _, c := range log.Contents {
		switch *c.Key {
		case flink.FieldEventID:
			id = c
		case flink.FieldSchemaVersion:
			version = c.GetValue()
		}
	}
	if version == "" && len(b.group.LogTags) > 0 {
		version = b.group.Field(log, flink.FieldSchemaVersion)
	}
	if fault := flink.CheckVersion(version); fault != "" {
		b.refuse(log, number, ReasonVersion, fault)
		return
	}
	if id.GetValue() != "" {
		return
	}
	if b.idBase == "" {
		b.idBase = rand.Text()
	}
	value := flink.EventID(b.idBase, strconv.FormatInt(number, 10))
	if id != nil {
		id.Value, id.Type = &value, nil
		return
	}
	log.Contents = append(slices.Clip(log.Contents), &protocol.Log_Content{Key: &eventIDKey, Value: &value})
}

var eventIDKey = flink.FieldEventID

// refuse sets a log of the group aside. What it was read from may be changed already, so it is rendered.
func (b *Batch) refuse(log *protocol.Log, number int64, reason, detail string) {
	if b.encoder == nil {
		b.encoder = protocol.NewJSONEncoder(flink.Fields)
	}
	single := &protocol.LogGroup{Logs: []*protocol.Log{log}, LogTags: b.group.LogTags}
	b.RejectLine(number, b.encoder.Append(nil, single, 0), reason, detail)
	b.refused = append(b.refused, log)
}

// Groups returns the groups to put, none when no event was taken. The batch takes no more then.
func (b *Batch) Groups() []*protocol.LogGroup {
	if len(b.refused) > 0 {
		next := 0 // the refused are in the order of the logs
		b.group.Logs = slices.DeleteFunc(b.group.Logs, func(log *protocol.Log) bool {
			if next == len(b.refused) || b.refused[next] != log {
				return false
			}
			next++
			return true
		})
		b.refused = slices.Delete(b.refused, 0, next)
	}
	if len(b.group.Logs) == 0 {
		return nil
	}
	if own := b.builder.Groups(); own[0] == b.group {
		return own
	}
	return []*protocol.LogGroup{b.group}
}

// Release gives the group's memory back.
func (b *Batch) Release() {
	if b.builder != nil {
		b.builder.Release()
	}
	clear(b.Rejects)
	clear(b.refused)
	b.Rejects, b.refused = b.Rejects[:0], b.refused[:0]
	b.builder, b.group = nil, nil
}
