package config

import (
	"encoding"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Option is one option of a plugin, for help and documentation.
type Option struct {
	Path        string // "Retry.Initial"; "Rules[].Name" in a list, "Routes.*.URL" in a map
	Type        string // in words: "duration", "list of text"
	Default     string // as JSON; empty when there is none
	Description string
}

// Options lists the options of a plugin, or of any struct that configuration is decoded into, with the defaults that
// the instance holds. Nested structs are flattened.
func Options(instance any) []Option {
	v := reflect.Indirect(reflect.ValueOf(instance))
	return appendOptions(nil, v.Type(), v, "")
}

func appendOptions(options []Option, t reflect.Type, v reflect.Value, prefix string) []Option {
	for _, f := range optionFields(t) {
		path, value := prefix+f.Name, reflect.Value{}
		if v.IsValid() {
			value = v.FieldByIndex(f.Index)
		}
		inner, suffix := f.Type, ""
		for inner.Kind() == reflect.Pointer || !isText(inner) && (inner.Kind() == reflect.Slice || inner.Kind() == reflect.Map) {
			switch inner.Kind() {
			case reflect.Slice:
				suffix += "[]"
			case reflect.Map:
				suffix += ".*"
			}
			inner = inner.Elem()
		}
		if inner.Kind() != reflect.Struct || isText(inner) {
			options = append(options, Option{path, typeName(f.Type, limitsOf(f)), defaultText(value), f.Tag.Get("jsonschema_description")})
			continue
		}
		if suffix != "" {
			options = append(options, Option{path, typeName(f.Type, limits{}), defaultText(value), f.Tag.Get("jsonschema_description")})
			value = reflect.Value{}
		} else if value.IsValid() {
			value = reflect.Indirect(value)
		}
		options = appendOptions(options, inner, value, path+suffix+".")
	}
	return options
}

// optionFields returns the fields that are options: the exported ones without the tag `jsonschema:"-"`; those of an
// embedded struct count as the outer's own.
func optionFields(t reflect.Type) []reflect.StructField {
	var fields []reflect.StructField
	for _, f := range reflect.VisibleFields(t) {
		embedded := f.Anonymous && f.Type.Kind() == reflect.Struct
		if f.IsExported() && !embedded && f.Tag.Get("jsonschema") != "-" {
			fields = append(fields, f)
		}
	}
	return fields
}

func fieldNames(fields []reflect.StructField) []string {
	names := make([]string, len(fields))
	for i, f := range fields {
		names[i] = f.Name
	}
	return names
}

// limits are what a field's jsonschema tag allows: enum=a,enum=b,minimum=1,maximum=9.
type limits struct {
	enum             []string
	minimum, maximum *float64
}

func limitsOf(f reflect.StructField) limits {
	var l limits
	for part := range strings.SplitSeq(f.Tag.Get("jsonschema"), ",") {
		name, value, _ := strings.Cut(part, "=")
		number, err := strconv.ParseFloat(value, 64)
		switch {
		case name == "enum":
			l.enum = append(l.enum, value)
		case name == "minimum" && err == nil:
			l.minimum = &number
		case name == "maximum" && err == nil:
			l.maximum = &number
		}
	}
	return l
}

func (l limits) check(f float64) error {
	switch {
	case l.minimum != nil && f < *l.minimum:
		return fmt.Errorf("must be at least %v", *l.minimum)
	case l.maximum != nil && f > *l.maximum:
		return fmt.Errorf("must be at most %v", *l.maximum)
	}
	return nil
}

// typeName says in words what may be written for a type.
func typeName(t reflect.Type, l limits) string {
	switch {
	case t.Kind() == reflect.Pointer:
		return typeName(t.Elem(), l)
	case t == durationType:
		return "duration"
	case t == sizeType:
		return "size"
	case t == secretType:
		return "secret"
	case t == patternsType:
		return "text or list of text"
	case isText(t):
		return "text"
	}
	switch t.Kind() {
	case reflect.String:
		if len(l.enum) > 0 {
			return `"` + strings.Join(l.enum, `" or "`) + `"`
		}
		return "text"
	case reflect.Bool:
		return "boolean"
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64,
		reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return "whole number"
	case reflect.Float32, reflect.Float64:
		return "number"
	case reflect.Struct:
		return "object"
	case reflect.Slice:
		return "list of " + plural(typeName(t.Elem(), l))
	case reflect.Map:
		return "object of " + plural(typeName(t.Elem(), l))
	}
	return t.String()
}

func plural(name string) string {
	switch name {
	case "duration", "secret", "size", "boolean", "whole number", "number", "object":
		return name + "s"
	}
	return name
}

// expectation is typeName in a sentence: "expected a whole number".
func expectation(t reflect.Type, l limits) string {
	name := typeName(t, l)
	switch {
	case name == "boolean":
		return "true or false"
	case name == "secret":
		return "text"
	case name == "duration":
		return `a duration, such as "5s"`
	case strings.HasPrefix(name, "object"):
		return "an " + name
	case strings.HasPrefix(name, "text"), strings.HasPrefix(name, `"`):
		return name
	}
	return "a " + name
}

// defaultText renders a default as it would be written in a JSON file; empty for none.
func defaultText(v reflect.Value) string {
	value, ok := defaultValue(v)
	if !ok {
		return ""
	}
	text, err := json.Marshal(value)
	if err != nil {
		return ""
	}
	return string(text)
}

// defaultValue returns what JSON shall show as a default: durations and sizes as text. Empty texts, lists and maps are no
// default, zero and false are.
func defaultValue(v reflect.Value) (any, bool) {
	if !v.IsValid() || v.Kind() == reflect.Pointer && v.IsNil() {
		return nil, false
	}
	v = reflect.Indirect(v)
	if v.Type() == durationType {
		return durationText(time.Duration(v.Int())), true
	}
	if isText(v.Type()) {
		if marshaler, ok := v.Interface().(encoding.TextMarshaler); ok {
			text, err := marshaler.MarshalText()
			return string(text), err == nil && len(text) > 0
		}
		return nil, false
	}
	switch v.Kind() {
	case reflect.String, reflect.Slice, reflect.Map:
		if v.Len() == 0 {
			return nil, false
		}
	}
	return writable(v), true
}

// writable returns lists and maps with their elements as defaultValue shows them.
func writable(v reflect.Value) any {
	switch v.Kind() {
	case reflect.Slice:
		list := []any{}
		for i := range v.Len() {
			if element, ok := defaultValue(v.Index(i)); ok {
				list = append(list, element)
			}
		}
		return list
	case reflect.Map:
		m := map[string]any{}
		for key, element := range v.Seq2() {
			m[key.String()], _ = defaultValue(element)
		}
		return m
	case reflect.Struct:
		m := map[string]any{}
		for _, f := range optionFields(v.Type()) {
			if element, ok := defaultValue(v.FieldByIndex(f.Index)); ok {
				m[f.Name] = element
			}
		}
		return m
	}
	return v.Interface()
}

// durationText is 1m30s, 5m, 2h: without the zeros that Duration.String writes.
func durationText(d time.Duration) string {
	text := d.String()
	if strings.HasSuffix(text, "m0s") {
		text = strings.TrimSuffix(text, "0s")
	}
	if strings.HasSuffix(text, "h0m") {
		text = strings.TrimSuffix(text, "0m")
	}
	return text
}

var textType = reflect.TypeFor[encoding.TextUnmarshaler]()

// holdsSecret tells whether a value of the type is a [pipeline.Secret] or may have one in it.
func holdsSecret(t reflect.Type) bool {
	switch t.Kind() {
	case reflect.Pointer, reflect.Slice, reflect.Map:
		return holdsSecret(t.Elem())
	case reflect.Struct:
		return t == secretType || slices.ContainsFunc(optionFields(t), func(f reflect.StructField) bool { return holdsSecret(f.Type) })
	}
	return false
}

// isText tells whether values of the type are written as text that they read themselves.
func isText(t reflect.Type) bool {
	return t.Kind() != reflect.Pointer && reflect.PointerTo(t).Implements(textType)
}
