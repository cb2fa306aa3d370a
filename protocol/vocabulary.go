package protocol

import (
	"fmt"
	"slices"
)

// FieldType is how a field is rendered in JSON.
type FieldType string

// The types a vocabulary declares.
const (
	TypeString    FieldType = "string"
	TypeLong      FieldType = "long"
	TypeBoolean   FieldType = "boolean"
	TypeTimestamp FieldType = "timestamp"
	TypeJSON      FieldType = "json"
)

// Field declares one field of the events.
type Field struct {
	Name    string
	Type    FieldType
	Meaning string
	Example string // as it stands in JSON

	index  int    // in the vocabulary
	bit    uint64 // 1 << index, to find a field that comes twice
	text   bool   // rendered as a JSON string
	prefix string // ,"name":
}

// quoted returns "name": as it stands in compact JSON.
func (f *Field) quoted() string { return f.prefix[len(","):] }

// Vocabulary is a set of declared fields. It is immutable and safe for concurrent use.
type Vocabulary struct {
	// Time names the field that is Log.Time and Log.Time_ns instead of a Content.
	Time   string
	time   *Field
	fields []Field
	byName map[string]*Field
	shapes [32]uint64 // bits of the first bytes of the names, by their length
}

const maxDeclared = 64

// NewVocabulary makes a vocabulary of at most 64 fields, of which timeField is the event's time.
// It panics on a name that comes twice or needs escaping in JSON, and when timeField is not among them: vocabularies are
// constants.
func NewVocabulary(timeField string, fields []Field) *Vocabulary {
	if len(fields) > maxDeclared {
		panic("protocol: a vocabulary has at most 64 fields")
	}
	v := &Vocabulary{Time: timeField, fields: slices.Clone(fields), byName: make(map[string]*Field, len(fields))}
	for i := range v.fields {
		f := &v.fields[i]
		if end, high := scanPlain([]byte(f.Name)); v.byName[f.Name] != nil || f.Name == "" || end != len(f.Name) || high {
			panic(fmt.Sprintf("protocol: bad field name %q", f.Name))
		}
		v.shapes[len(f.Name)%len(v.shapes)] |= 1 << (f.Name[0] % 64)
		f.index, f.bit = i, 1<<i
		f.text = f.Type == TypeString || f.Type == TypeTimestamp
		f.prefix = `,"` + f.Name + `":`
		v.byName[f.Name] = f
	}
	if v.time = v.byName[timeField]; v.time == nil {
		panic(fmt.Sprintf("protocol: the time field %q is not declared", timeField))
	}
	return v
}

// Fields returns the declared fields in their order; they may not be changed.
func (v *Vocabulary) Fields() []Field { return v.fields }

// Field returns the field of that name, nil when it is not declared.
func (v *Vocabulary) Field(name string) *Field {
	if name == "" || v.shapes[len(name)%len(v.shapes)]&(1<<(name[0]%64)) == 0 {
		return nil // most undeclared names, without hashing them
	}
	return v.byName[name]
}

// lookup finds the declared fields of one event after the other. Events have their fields in much the same order, so
// what followed a field last time is tried first.
type lookup struct {
	vocabulary *Vocabulary
	next       [maxDeclared + 2]*Field // by index of the field before
	before     int                     // index of the last field
}

// Indexes of what is no declared field.
const (
	atStart    = maxDeclared
	undeclared = maxDeclared + 1
)

// expected returns the field that is tried first, nil if none is known yet.
func (l *lookup) expected() *Field { return l.next[l.before] }

// find returns the field of that name, nil when it is not declared.
func (l *lookup) find(name string) *Field {
	f := l.expected()
	if f == nil || f.Name != name {
		if f = l.vocabulary.Field(name); f == nil {
			l.before = undeclared
			return nil
		}
		l.next[l.before] = f
	}
	l.before = f.index
	return f
}
