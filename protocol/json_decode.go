package protocol

import (
	"bytes"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
	"unsafe"
)

// Reason says in one word why an event was not taken; it labels counters and dead letters.
type Reason string

// What the JSON decoder refuses.
const (
	ReasonMalformed     Reason = "malformed_json"
	ReasonNotObject     Reason = "not_an_object"
	ReasonTooDeep       Reason = "nested_too_deep"
	ReasonTooManyFields Reason = "too_many_fields"
	ReasonBadTime       Reason = "bad_event_time"
)

// DecodeError is one event's fault. Offset counts bytes from the start of the text that was given.
type DecodeError struct {
	Reason Reason
	Offset int
	Detail string
}

func (e *DecodeError) Error() string { return fmt.Sprintf("%s at byte %d", e.Detail, e.Offset) }

// MaxFields is how many fields an event may have.
const MaxFields = 1024

// DefaultMaxDepth is how deep arrays and objects may nest in an event.
const DefaultMaxDepth = 64

// JSONDecoder turns flat JSON objects into logs. Nested values are kept as their JSON text, without white
// space. A field that comes twice keeps its first place and its last value. Invalid UTF-8 is repaired with U+FFFD.
//
// A decoder belongs to one goroutine at a time.
type JSONDecoder struct {
	maxDepth int
	lookup   lookup // and the vocabulary

	fields  int            // of this object, so far
	seen    uint64         // bits of this object's declared fields
	others  names          // this object's other fields
	unknown []*Log_Content // the same, by place
	escapes []pending      // this object's values that still hold escapes
}

type pending struct {
	content *Log_Content
	value   []byte
}

// NewJSONDecoder returns a decoder that types fields by v and refuses what nests deeper than maxDepth.
func NewJSONDecoder(v *Vocabulary, maxDepth int) *JSONDecoder {
	return &JSONDecoder{maxDepth: maxDepth, lookup: lookup{vocabulary: v}}
}

// DecodeLine opens a log in b from the one JSON object that line holds; the caller adds what it wants to and ends
// it with EndLog. The log's time is the vocabulary's time field (RFC 3339 text, or a whole number of milliseconds since
// 1970), else received. Values are views into line, which nobody may change until b's Release; strings with escapes
// are unescaped in place. An error is a *DecodeError: line is unchanged then, and b has nothing new.
func (d *JSONDecoder) DecodeLine(b *Builder, line []byte, received time.Time) error {
	end, err := d.object(b, line, received)
	if err == nil {
		if end = skipSpace(line, end); end != len(line) {
			err = &DecodeError{ReasonMalformed, end, "text after the JSON object"}
		}
	}
	return d.settle(b, err)
}

// DecodeArray calls DecodeLine for every element of the JSON array that body holds: accept follows each success and
// ends the log, reject gets the elements that are JSON but no events. A body that is not an array of JSON values, or nests
// more than 1000 deep, is an error, and then neither was called.
func (d *JSONDecoder) DecodeArray(b *Builder, body []byte, received time.Time, accept func(i int), reject func(i int, raw []byte, err error)) error {
	var t text
	at := skipSpace(body, 0)
	if at >= len(body) || body[at] != '[' {
		return syntaxError(ReasonMalformed, body, at)
	}
	end, reason := scanValue(body, at, maxJSONDepth, &t)
	if reason != "" {
		return syntaxError(reason, body, end)
	}
	if end = skipSpace(body, end); end != len(body) {
		return syntaxError(ReasonMalformed, body, end)
	}
	at = skipSpace(body, at+1)
	for i := 0; body[at] != ']'; i++ {
		end, err := d.object(b, body[at:], received)
		if err = d.settle(b, err); err == nil {
			end += at
			accept(i)
		} else {
			end, _ = scanValue(body, at, maxJSONDepth, &t)
			reject(i, body[at:end:end], err)
		}
		if at = skipSpace(body, end); body[at] == ',' {
			at = skipSpace(body, at+1)
		}
	}
	return nil
}

// settle finishes the log that object opened in b, or drops it when there was an error.
func (d *JSONDecoder) settle(b *Builder, err error) error {
	if err != nil {
		b.DropLog()
	} else {
		for _, e := range d.escapes {
			// A later field of the same name may have replaced the value.
			if unsafe.StringData(*e.content.Value) == unsafe.SliceData(e.value) {
				*e.content.Value = view(unescape(e.value))
			}
		}
	}
	d.others.reset() // what is remembered would keep the batch alive
	clear(d.unknown)
	clear(d.escapes)
	d.unknown, d.escapes = d.unknown[:0], d.escapes[:0]
	return err
}

// object opens a log in b with the fields of the object that p starts with, and returns the index after it. The
// bytes of p are still as they came.
func (d *JSONDecoder) object(b *Builder, p []byte, received time.Time) (int, error) {
	d.fields, d.seen, d.lookup.before = 0, 0, atStart
	b.BeginLog(uint32(received.Unix()), uint32(received.Nanosecond()))
	i := skipSpace(p, 0)
	if i >= len(p) || p[i] != '{' {
		return i, notAnObject(p, i, d.maxDepth)
	}
	if i = skipSpace(p, i+1); i < len(p) && p[i] == '}' {
		return i + 1, nil
	}
	for {
		field, name, next, ok := d.name(p, i)
		if !ok {
			return next, syntaxError(ReasonMalformed, p, next)
		}
		start := skipSpace(p, next)
		var t text
		end, reason := scanValue(p, start, d.maxDepth-1, &t)
		if reason != "" {
			return end, syntaxError(reason, p, end)
		}
		if d.fields++; d.fields > MaxFields {
			return end, &DecodeError{ReasonTooManyFields, start, fmt.Sprintf("more than %d fields", MaxFields)}
		}
		if field != d.lookup.vocabulary.time {
			d.add(b, field, name, p[start:end], t)
		} else if err := setTime(b, p[start:end]); err != nil {
			return end, &DecodeError{ReasonBadTime, start, d.lookup.vocabulary.Time + ": " + err.Error()}
		}
		if i = skipSpace(p, end); i >= len(p) {
			return i, syntaxError(ReasonMalformed, p, i)
		}
		switch p[i] {
		case '}':
			return i + 1, nil
		case ',':
			i = skipSpace(p, i+1)
		default:
			return i, syntaxError(ReasonMalformed, p, i)
		}
	}
}

// name reads a field's name and its colon at p[i]; next is the index after them, or that of the fault.
func (d *JSONDecoder) name(p []byte, i int) (field *Field, name []byte, next int, ok bool) {
	if f := d.lookup.expected(); f != nil && strings.HasPrefix(view(p[i:]), f.quoted()) {
		d.lookup.before = f.index
		return f, nil, i + len(f.quoted()), true
	}
	if i >= len(p) || p[i] != '"' {
		return nil, nil, i, false
	}
	var t text
	start := i + 1
	if i, ok = scanString(p, start, &t); !ok {
		return nil, nil, i, false
	}
	name = p[start:i]
	if i = skipSpace(p, i+1); i >= len(p) || p[i] != ':' {
		return nil, nil, i, false
	}
	if t.escaped {
		name = unescape(slices.Clone(name))
	}
	if t.high {
		name = repair(name)
	}
	return d.lookup.find(view(name)), name, i + 1, true
}

// add adds a field, whose name is given if it is undeclared, and its value as it stands in the text.
func (d *JSONDecoder) add(b *Builder, field *Field, name, raw []byte, t text) {
	kind := kindOf(raw)
	content := raw
	switch kind {
	case ValueType_STRING:
		content = raw[1 : len(raw)-1]
	case ValueType_NULL:
		content = nil
	case ValueType_JSON:
		if t.spaced {
			content = compact(content)
		}
	}
	if t.high {
		content = repair(content)
	}

	c := d.content(b, field, name)
	*c.Value, c.Type = view(content), keptType(field, kind, content)
	if kind == ValueType_STRING && t.escaped {
		d.escapes = append(d.escapes, pending{c, content})
	}
}

// content returns this object's field of that name: a new one, unless it came before.
func (d *JSONDecoder) content(b *Builder, field *Field, name []byte) *Log_Content {
	if field == nil {
		if place := d.others.find(view(name)); place >= 0 {
			return d.unknown[place]
		}
		c := &b.addKey(b.keyPtr(view(name))).Log_Content
		d.others.add(*c.Key)
		d.unknown = append(d.unknown, c)
		return c
	}
	if d.seen&field.bit != 0 {
		for _, c := range b.current {
			if c.Key == &field.Name {
				return c
			}
		}
	}
	d.seen |= field.bit
	return &b.addKey(&field.Name).Log_Content
}

// maxJSONDepth bounds the recursion over values that may nest deeper than an event's.
const maxJSONDepth = 1000

// kindOf tells a checked JSON value's type by its first byte.
func kindOf(raw []byte) ValueType {
	switch raw[0] {
	case '"':
		return ValueType_STRING
	case '{', '[':
		return ValueType_JSON
	case 't', 'f':
		return ValueType_BOOLEAN
	case 'n':
		return ValueType_NULL
	}
	return ValueType_NUMBER
}

// keptType returns the type that has to be kept with a value: none when what the vocabulary declares (for an unknown
// field: a string) renders it.
func keptType(field *Field, kind ValueType, content []byte) *ValueType {
	implied := false
	switch {
	case kind == ValueType_NULL:
	case field == nil:
		implied = kind == ValueType_STRING
	case kind == ValueType_JSON:
		implied = field.Type == TypeJSON
	case field.text:
		implied = true
	case field.Type == TypeLong:
		implied = isInteger(content)
	case field.Type == TypeBoolean:
		implied = isBoolean(content)
	}
	if implied {
		return nil
	}
	return &valueTypes[kind]
}

// isInteger reports whether s is a whole number that fits 64 bits, as JSON writes it.
func isInteger[T string | []byte](s T) bool {
	most := "9223372036854775807"
	if len(s) > 0 && s[0] == '-' {
		s, most = s[1:], "9223372036854775808"
	}
	if len(s) == 0 || s[0] == '0' && len(s) > 1 {
		return false
	}
	for i := range len(s) {
		if s[i]-'0' > 9 {
			return false
		}
	}
	return len(s) < len(most) || len(s) == len(most) && string(s) <= most
}

func isBoolean[T string | []byte](s T) bool { return string(s) == "true" || string(s) == "false" }

// setTime sets the log's time from RFC 3339 text or from a number of milliseconds since 1970.
func setTime(b *Builder, raw []byte) error {
	var (
		seconds int64
		nanos   uint32
		ok      bool
	)
	switch kindOf(raw) {
	case ValueType_NULL:
		return nil
	case ValueType_STRING:
		raw = raw[1 : len(raw)-1]
		if bytes.IndexByte(raw, '\\') >= 0 {
			raw = unescape(slices.Clone(raw))
		}
		seconds, nanos, ok = parseTime(raw)
	case ValueType_NUMBER:
		millis, err := strconv.ParseInt(view(raw), 10, 64)
		at := time.UnixMilli(millis)
		seconds, nanos, ok = at.Unix(), uint32(at.Nanosecond()), err == nil
	}
	if !ok {
		return fmt.Errorf("%.64q is neither an RFC 3339 time nor a whole number of milliseconds since 1970", raw)
	}
	if seconds < 0 || seconds > math.MaxUint32 {
		return fmt.Errorf("%.64q is not between the years 1970 and 2106", raw)
	}
	b.SetTime(uint32(seconds), nanos)
	return nil
}

// notAnObject says what is wrong with p, which does not have an object at p[i].
func notAnObject(p []byte, i, maxDepth int) error {
	var t text
	end, reason := scanValue(p, i, maxDepth, &t)
	if reason != "" {
		return syntaxError(reason, p, end)
	}
	return &DecodeError{ReasonNotObject, i, "not a JSON object"}
}

func syntaxError(reason Reason, p []byte, i int) *DecodeError {
	e := &DecodeError{Reason: reason, Offset: i}
	switch {
	case reason == ReasonTooDeep:
		e.Detail = "arrays or objects nested too deep"
	case i >= len(p):
		e.Detail = "unexpected end of JSON"
	default:
		e.Detail = fmt.Sprintf("unexpected %q in JSON", p[i])
	}
	return e
}

func view(p []byte) string { return unsafe.String(unsafe.SliceData(p), len(p)) }
