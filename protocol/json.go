package protocol

import (
	"fmt"

	jsoniter "github.com/json-iterator/go"
)

// JSONEncoder renders logs as flat JSON objects: the time first, then every field in its order, typed by the
// Content's Type, else by the vocabulary, else as a string. What does not fit its type is rendered as a string, so that
// the output is valid JSON on one line whatever the log holds. A group's tags follow as strings. Names are unique: of
// fields that share one the first is rendered, as [Get] finds it, and a field named like the time or a tag named like a field is not.
//
// An encoder belongs to one goroutine at a time.
type JSONEncoder struct {
	stream *jsoniter.Stream
	lookup lookup
	others names // this log's undeclared names
}

// NewJSONEncoder returns an encoder that types fields by v.
func NewJSONEncoder(v *Vocabulary) *JSONEncoder {
	return &JSONEncoder{
		stream: jsoniter.NewStream(jsoniter.ConfigDefault, nil, 0),
		lookup: lookup{vocabulary: v},
	}
}

// Append appends the i-th log of g to dst as one JSON object, without a line break.
func (e *JSONEncoder) Append(dst []byte, g *LogGroup, i int) []byte {
	e.stream.SetBuffer(dst)
	e.writeLog(g, g.Logs[i])
	dst = e.stream.Buffer()
	e.stream.SetBuffer(nil)
	return dst
}

func (e *JSONEncoder) writeLog(g *LogGroup, log *Log) {
	w := e.stream
	w.WriteObjectStart()
	w.WriteRaw(e.lookup.vocabulary.time.quoted())
	w.WriteRaw(`"`)
	w.SetBuffer(AppendTime(w.Buffer(), log.GetTime(), log.GetTimeNs()))
	w.WriteRaw(`"`)
	e.lookup.before = atStart
	seen := e.lookup.vocabulary.time.bit
	for _, c := range log.Contents {
		field := e.lookup.find(c.GetKey())
		switch {
		case field == nil:
			if !e.writeOther(c.GetKey()) {
				continue
			}
		case seen&field.bit != 0:
			continue
		default:
			seen |= field.bit
			w.WriteRaw(field.prefix)
		}
		e.writeValue(c, field)
	}
	for _, tag := range g.LogTags {
		if field := e.lookup.vocabulary.Field(tag.GetKey()); field != nil && seen&field.bit != 0 {
			continue
		}
		if e.writeOther(tag.GetKey()) {
			e.writeString(tag.GetValue())
		}
	}
	e.others.reset()
	w.WriteObjectEnd()
}

// writeOther writes an undeclared name, unless it was written before.
func (e *JSONEncoder) writeOther(name string) bool {
	if e.others.find(name) >= 0 {
		return false
	}
	e.others.add(name)
	e.stream.WriteRaw(",")
	e.writeString(name)
	e.stream.WriteRaw(":")
	return true
}

func (e *JSONEncoder) writeValue(c *Log_Content, field *Field) {
	value := c.GetValue()
	t := ValueType_STRING
	switch {
	case c.Type != nil:
		t = *c.Type
	case field == nil || field.text:
	case field.Type == TypeLong && isInteger(value):
		t = ValueType_NUMBER
	case field.Type == TypeBoolean:
		t = ValueType_BOOLEAN
	case field.Type == TypeJSON:
		t = ValueType_JSON
	}
	switch {
	case t == ValueType_NULL:
		e.stream.WriteNil()
	case t == ValueType_NUMBER && isNumber(value), t == ValueType_BOOLEAN && isBoolean(value):
		e.stream.WriteRaw(value)
	case t == ValueType_JSON:
		e.writeJSON(value)
	default:
		e.writeString(value)
	}
}

// writeJSON writes value as it is if it is JSON, on one line, else as a string: it may come from a peer.
func (e *JSONEncoder) writeJSON(value string) {
	var t text
	p := bytesOf(value)
	if end, reason := scanValue(p, 0, maxJSONDepth, &t); reason != "" || end != len(p) {
		e.writeString(value)
		return
	}
	if t.high {
		p = repair(p)
	}
	if t.spaced {
		p = compact(p)
	}
	e.stream.WriteRaw(view(p))
}

func (e *JSONEncoder) writeString(s string) { e.stream.SetBuffer(appendString(e.stream.Buffer(), s)) }

// appendString appends s as a JSON string. It copies what needs no escaping in runs, where the stream's own
// WriteString goes byte by byte: that matters for stack traces.
func appendString(dst []byte, s string) []byte {
	dst = append(dst, '"')
	for {
		end, high := scanPlain(bytesOf(s))
		run := s[:end]
		if high {
			run = view(repair(bytesOf(run)))
		}
		dst = append(dst, run...)
		if end == len(s) {
			return append(dst, '"')
		}
		dst = append(dst, escapes[s[end]]...)
		s = s[end+1:]
	}
}

// escapes are the escape sequences of the bytes that need one.
var escapes = func() (e ['\\' + 1]string) {
	for c := range ' ' {
		e[c] = fmt.Sprintf(`\u%04x`, c)
	}
	e['"'], e['\\'], e['\n'], e['\r'], e['\t'] = `\"`, `\\`, `\n`, `\r`, `\t`
	return e
}()
