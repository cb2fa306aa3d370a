// Package pattern reads options such as "flink-%{kind}-%{+yyyy.MM.dd}", which stand for other text with every event.
package pattern

import (
	"errors"
	"fmt"
	"strings"

	"github.com/flinktail/flinktail/protocol"
	"github.com/flinktail/flinktail/protocol/flink"
)

// Pattern is literal text, fields and dates in turn. It is safe for concurrent use.
type Pattern struct {
	parts []Part
}

// Part is one of its fields.
type Part struct {
	Literal string
	Field   string // name
	Layout  string // of a date, for package time; its text is as long as the layout
}

// Parse reads a pattern. "%{field}" stands for a field of the event or a tag of its group, "%{+yyyy.MM.dd}" for its time in UTC.
// iLogtail's "%{content.field}" and "%{tag.name}" are read as "%{field}" and "%{name}".
func Parse(text string) (*Pattern, error) {
	p := &Pattern{}
	for rest := text; rest != ""; {
		literal, after, found := strings.Cut(rest, "%{")
		if literal != "" {
			p.parts = append(p.parts, Part{Literal: literal})
		}
		if !found {
			break
		}
		name, after, closed := strings.Cut(after, "}")
		if !closed {
			return nil, fmt.Errorf("%q has a %%{ without its }", text)
		}
		place, err := parsePlace(name)
		if err != nil {
			return nil, fmt.Errorf("%%{%s} in %q: %w", name, text, err)
		}
		p.parts = append(p.parts, place)
		rest = after
	}
	return p, nil
}

func parsePlace(name string) (Part, error) {
	if format, ok := strings.CutPrefix(name, "+"); ok {
		layout, err := dateLayout(format)
		return Part{Layout: layout}, err
	}
	name = FieldName(name)
	switch name {
	case "":
		return Part{}, errors.New("name a field, such as %{kind}")
	case flink.FieldEventTime:
		return Part{}, errors.New("for the event's time write a date, such as %{+yyyy.MM.dd}")
	}
	return Part{Field: name}, nil
}

// FieldName returns the name of a field as flinktail writes it, without iLogtail's "content." or "tag." before it.
func FieldName(name string) string {
	for _, prefix := range []string{"content.", "tag."} {
		if rest, ok := strings.CutPrefix(name, prefix); ok {
			return rest
		}
	}
	return name
}

// dateLetters are the parts of a date as Java and Logstash write them.
var dateLetters = map[string]string{"yyyy": "2006", "yy": "06", "MM": "01", "dd": "02", "HH": "15", "mm": "04", "ss": "05"}

func dateLayout(format string) (string, error) {
	var layout strings.Builder
	for i := 0; i < len(format); {
		c, end := format[i], i+1
		for end < len(format) && format[end] == c {
			end++
		}
		switch goes, ok := dateLetters[format[i:end]]; {
		case ok:
			layout.WriteString(goes)
		case strings.IndexByte("-_./:", c) >= 0:
			layout.WriteString(format[i:end])
		default:
			return "", fmt.Errorf("%q is no part of a date; there are yyyy, yy, MM, dd, HH, mm and ss, with any of -_./: between them", format[i:end])
		}
		i = end
	}
	if layout.Len() == 0 {
		return "", errors.New("write a date, such as %{+yyyy.MM.dd}")
	}
	return layout.String(), nil
}

// Parts returns what the pattern is made of.
func (p *Pattern) Parts() []Part { return p.parts }

// Constant returns the text when it is the same for every event.
func (p *Pattern) Constant() (text string, ok bool) {
	switch {
	case len(p.parts) == 0:
		return "", true
	case len(p.parts) == 1 && p.parts[0].Field == "" && p.parts[0].Layout == "":
		return p.parts[0].Literal, true
	}
	return "", false
}

// Fields returns the names of the fields.
func (p *Pattern) Fields() (names []string) {
	for _, part := range p.parts {
		if part.Field != "" {
			names = append(names, part.Field)
		}
	}
	return names
}

// Append appends the text for an event, one of g's logs. A field without a value adds nothing.
func (p *Pattern) Append(dst []byte, g *protocol.LogGroup, log *protocol.Log) []byte {
	return p.AppendFunc(dst, g, log, appendValue)
}

func appendValue(dst []byte, value string) []byte { return append(dst, value...) }

// AppendFunc is Append with values as add appends them: made safe for where the text goes.
func (p *Pattern) AppendFunc(dst []byte, g *protocol.LogGroup, log *protocol.Log, add func(dst []byte, value string) []byte) []byte {
	for i := range p.parts {
		switch part := &p.parts[i]; {
		case part.Field != "":
			dst = add(dst, g.Field(log, part.Field))
		case part.Layout != "":
			dst = log.At().UTC().AppendFormat(dst, part.Layout)
		default:
			dst = append(dst, part.Literal...)
		}
	}
	return dst
}

// Glob returns the text with "*" in place of every field and date.
func (p *Pattern) Glob() string {
	var b strings.Builder
	for _, part := range p.parts {
		if part.Literal == "" {
			b.WriteByte('*')
		}
		b.WriteString(part.Literal)
	}
	return b.String()
}
