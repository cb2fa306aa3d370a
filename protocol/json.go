package protocol

import (
	"slices"
	"unicode/utf8"

	jsoniter "github.com/json-iterator/go"
)

// JSONEncoder renders logs as flat JSON objects: the time first, then every field in its order, typed by the
// Content's Type, else by the vocabulary, else as a string. What does not fit its type is rendered as a string, so that
// the output is valid JSON on one line whatever the log holds. A group's tags follow as strings. Names are unique: of
// fields that share one the first is rendered, as [Get] finds it, and a field named like the time or a tag named like a field is not.
//
// An encoder belongs to one goroutine at a time.
type JSONEncoder struct {
	vocabulary *Vocabulary
	stream     *jsoniter.Stream
	lookup     lookup
	others     []string // this log's undeclared names
}

// NewJSONEncoder returns an encoder that types fields by v.
func NewJSONEncoder(v *Vocabulary) *JSONEncoder {
	return &JSONEncoder{
		vocabulary: v,
		stream:     jsoniter.NewStream(jsoniter.ConfigDefault, nil, 0),
		lookup:     lookup{byName: v.byName},
	}
}

// Append appends the i-th log of g to dst as one JSON object, without a line break.
func (e *JSONEncoder) Append(dst []byte, g *LogGroup, i int) []byte {
	log := g.Logs[i]
	dst = append(dst, '{')
	dst = append(dst, e.vocabulary.time.prefix[1:]...)
	dst = append(dst, '"')
	dst = AppendTime(dst, log.GetTime(), log.GetTimeNs())
	dst = append(dst, '"')
	e.lookup.before = atStart
	seen := e.vocabulary.time.bit
	for _, c := range log.Contents {
		field := e.lookup.find(c.GetKey())
		if field != nil {
			if seen&field.bit != 0 {
				continue
			}
			seen |= field.bit
			dst = append(dst, field.prefix...)
		} else {
			if slices.Contains(e.others, c.GetKey()) {
				continue
			}
			e.others = append(e.others, c.GetKey())
			dst = e.appendKey(dst, c.GetKey())
		}
		dst = e.appendValue(dst, c, field)
	}
	for _, tag := range g.LogTags {
		key := tag.GetKey()
		if field := e.vocabulary.byName[key]; field != nil && seen&field.bit != 0 || slices.Contains(e.others, key) {
			continue
		}
		e.others = append(e.others, key)
		dst = e.appendKey(dst, key)
		dst = e.appendString(dst, tag.GetValue())
	}
	clear(e.others) // they are views into the batch
	e.others = e.others[:0]
	return append(dst, '}')
}

func (e *JSONEncoder) appendKey(dst []byte, key string) []byte {
	return append(e.appendString(append(dst, ','), key), ':')
}

func (e *JSONEncoder) appendValue(dst []byte, c *Log_Content, field *Field) []byte {
	value := c.GetValue()
	if c.Type == nil {
		switch {
		case field == nil || field.text:
		case field.Type == TypeLong && isInteger(value), field.Type == TypeBoolean && isBoolean(value):
			return append(dst, value...)
		case field.Type == TypeJSON:
			return e.appendJSON(dst, value)
		}
		return e.appendString(dst, value)
	}
	switch *c.Type {
	case ValueType_NULL:
		return append(dst, "null"...)
	case ValueType_BOOLEAN:
		if isBoolean(value) {
			return append(dst, value...)
		}
	case ValueType_NUMBER:
		p := bytesOf(value)
		if end, ok := scanNumber(p, 0); ok && end == len(p) {
			return append(dst, value...)
		}
	case ValueType_JSON:
		return e.appendJSON(dst, value)
	}
	return e.appendString(dst, value)
}

// appendJSON appends value as it is if it is JSON on one line, else as a string: it may come from a peer.
func (e *JSONEncoder) appendJSON(dst []byte, value string) []byte {
	var t text
	p := bytesOf(value)
	if end, reason := scanValue(p, 0, maxJSONDepth, &t); reason != "" || end != len(p) {
		return e.appendString(dst, value)
	}
	if t.high {
		p = repair(p)
	}
	if t.spaced {
		p = compact(p)
	}
	return append(dst, p...)
}

// maxJSONDepth bounds the recursion over values that no decoder of ours has checked.
const maxJSONDepth = 1000

// appendString appends s as a JSON string. Most need no escaping and are copied whole.
func (e *JSONEncoder) appendString(dst []byte, s string) []byte {
	var t text
	p := bytesOf(s)
	if plain := scanPlain(p, &t); t.high && !utf8.Valid(p) {
		s = view(repair(p))
	} else if plain {
		dst = append(dst, '"')
		dst = append(dst, s...)
		return append(dst, '"')
	}
	e.stream.SetBuffer(dst)
	e.stream.WriteString(s)
	dst = e.stream.Buffer()
	e.stream.SetBuffer(nil)
	return dst
}
