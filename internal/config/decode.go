package config

import (
	"encoding"
	"errors"
	"fmt"
	"math"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/flinktail/flinktail/pipeline"
)

var (
	durationType = reflect.TypeFor[time.Duration]()
	patternsType = reflect.TypeFor[Patterns]()
	secretType   = reflect.TypeFor[pipeline.Secret]()
	sizeType     = reflect.TypeFor[pipeline.Size]()
)

// decoder decodes one file and collects what is wrong with it.
type decoder struct {
	file   string
	source source
	errs   Errors

	places map[string][2]int // line and column of each path
	failed map[string]bool   // paths already reported, and those that a misspelt field was meant for
	values []replaced        // for conceal
}

// fail reports what is wrong at a path, at the line of the nearest path that stands in the file.
func (d *decoder) fail(path, format string, args ...any) {
	d.failed[path] = true
	at := path
	for at != "" && !d.given(at) {
		at = at[:max(strings.LastIndexAny(at, ".["), 0)]
	}
	d.failAt(d.places[at], path, fmt.Sprintf(format, args...))
}

func (d *decoder) failAt(place [2]int, path, message string) {
	d.errs = append(d.errs, Error{File: d.file, Line: place[0], Column: place[1], Path: path, Message: message})
}

// prepare walks the whole tree once, before any type is known: it notes where each path stands, reports duplicate
// keys and expands references.
func (d *decoder) prepare(n *node, path string) {
	switch n.kind {
	case kindInvalid:
		n.bad = true
		d.fail(path, "%s", n.text)
	case kindObject:
		seen := map[string]bool{}
		for _, e := range n.entries {
			child := join(path, e.key)
			if seen[e.key] {
				d.failed[child] = true
				e.value.kind, e.value.bad = kindInvalid, true
				d.failAt([2]int{e.line, e.column}, child, "the key is here twice; remove one")
				continue
			}
			seen[e.key] = true
			d.places[child] = [2]int{e.line, e.column}
			d.prepare(e.value, child)
		}
	case kindList:
		for i, item := range n.items {
			child := index(path, i)
			d.places[child] = [2]int{item.line, item.column}
			d.prepare(item, child)
		}
	case kindText:
		expanded, values, err := d.source.expand(n.text)
		d.values = append(d.values, values...)
		if err != nil {
			n.bad = true
			for _, failure := range unjoin(err) {
				d.fail(path, "%v", failure)
			}
			return
		}
		n.expanded = strings.Contains(n.text, "${") // with "$${" at worst a quoted number is accepted
		n.text = expanded
		if isSecret(path) {
			d.values = append(d.values, replaced{pipeline.NewSecret(n.text), "***"})
		}
	}
}

// decode fills v, which is settable, from n. An absent or empty object or list keeps the default.
func (d *decoder) decode(n *node, v reflect.Value, path string, limits limits) {
	if n.bad {
		return
	}
	t := v.Type()
	if t.Kind() == reflect.Pointer {
		if n.kind == kindNull {
			return
		}
		if v.IsNil() {
			v.Set(reflect.New(t.Elem()))
		}
		d.decode(n, v.Elem(), path, limits)
		return
	}
	n.secret = n.secret || holdsSecret(t)
	text, isText := v.Addr().Interface().(encoding.TextUnmarshaler)
	switch {
	case n.kind == kindNull && !isText && (t.Kind() == reflect.Struct || t.Kind() == reflect.Map || t.Kind() == reflect.Slice):
	case n.kind == kindNull:
		d.fail(path, "has no value; remove it to keep the default")
	case t == durationType:
		d.duration(n, v, path)
	case t == secretType:
		d.secret(n, v, path)
	case isText:
		d.text(n, text, path)
	case t == patternsType && n.kind == kindText:
		v.Set(reflect.ValueOf(Patterns{n.text}))
	case t.Kind() == reflect.Struct:
		d.object(n, v, path, nil)
	case t.Kind() == reflect.Slice:
		d.list(n, v, path, limits)
	case t.Kind() == reflect.Map && t.Key().Kind() == reflect.String:
		d.mapping(n, v, path, limits)
	default:
		d.scalar(n, v, path, limits)
	}
}

func (d *decoder) duration(n *node, v reflect.Value, path string) {
	switch n.kind {
	case kindNumber:
		d.fail(path, `write a duration with a unit, such as "5s"; a bare number is not accepted (iLogtail would read nanoseconds)`)
	case kindText:
		duration, err := time.ParseDuration(n.text)
		switch {
		case err != nil:
			d.fail(path, `%s is not a duration; write a number and a unit, such as "5s" or "1h30m"`, shown(n, path))
		case duration < 0:
			d.fail(path, "a duration must not be negative")
		default:
			v.SetInt(int64(duration))
		}
	default:
		d.wrongType(n, path, expectation(durationType, limits{}))
	}
}

func (d *decoder) secret(n *node, v reflect.Value, path string) {
	if n.kind != kindText { // not a number either: it may be written otherwise than it was meant, such as 0123
		d.wrongType(n, path, expectation(secretType, limits{}))
		return
	}
	secret := pipeline.NewSecret(n.text)
	d.values = append(d.values, replaced{secret, "***"})
	v.Set(reflect.ValueOf(secret))
}

func (d *decoder) text(n *node, value encoding.TextUnmarshaler, path string) {
	if n.kind != kindText && n.kind != kindNumber {
		d.wrongType(n, path, expectation(reflect.TypeOf(value).Elem(), limits{}))
		return
	}
	if err := value.UnmarshalText([]byte(n.text)); err == nil {
		return
	} else if n.expanded || !showable(n, path) { // the error may well quote the text
		d.fail(path, "%s is not accepted; expected %s", shown(n, path), expectation(reflect.TypeOf(value).Elem(), limits{}))
	} else {
		d.fail(path, "%v", err)
	}
}

// object decodes the entries of n into the fields of v. unknown may explain a key that is no field; a key that it
// answers with handled belongs to the caller.
func (d *decoder) object(n *node, v reflect.Value, path string, unknown func(key string) string) {
	if n.bad {
		return
	}
	if n.kind != kindObject {
		if n.kind != kindNull {
			d.wrongType(n, path, "an object")
		}
		return
	}
	fields := optionFields(v.Type())
	for _, e := range n.entries {
		child := join(path, e.key)
		if e.value.kind == kindInvalid { // reported, the key is at fault
			continue
		}
		if i := slices.IndexFunc(fields, func(f reflect.StructField) bool { return f.Name == e.key }); i >= 0 {
			d.decode(e.value, v.FieldByIndex(fields[i].Index), child, limitsOf(fields[i]))
			continue
		}
		explanation := ""
		if unknown != nil {
			explanation = unknown(e.key)
		}
		switch explanation {
		case handled:
		case "":
			d.unknownField(path, e.key, fieldNames(fields))
		default:
			d.fail(child, "%s", explanation)
		}
	}
}

const handled = "handled"

func (d *decoder) unknownField(path, key string, names []string) {
	meant := nearest(key, names)
	if meant != "" {
		d.failed[join(path, meant)] = true
	}
	child := join(path, key)
	switch {
	case strings.EqualFold(meant, key) && meant != "":
		d.fail(child, "unknown field; upper and lower case count, write %q", meant)
	case meant != "":
		d.fail(child, "unknown field; did you mean %q?", meant)
	case len(names) > 0 && len(names) <= 12:
		d.fail(child, "unknown field; known here: %s", strings.Join(names, ", "))
	default:
		d.fail(child, "unknown field")
	}
}

func (d *decoder) list(n *node, v reflect.Value, path string, limits limits) {
	if n.kind != kindList {
		d.wrongType(n, path, expectation(v.Type(), limits))
		return
	}
	list := reflect.MakeSlice(v.Type(), len(n.items), len(n.items))
	for i, item := range n.items {
		d.decode(item, list.Index(i), index(path, i), limits)
	}
	v.Set(list)
}

func (d *decoder) mapping(n *node, v reflect.Value, path string, limits limits) {
	if n.kind != kindObject {
		d.wrongType(n, path, expectation(v.Type(), limits))
		return
	}
	m := reflect.MakeMap(v.Type()) // not the default's: it may be shared
	for _, e := range n.entries {
		value := reflect.New(v.Type().Elem()).Elem()
		d.decode(e.value, value, join(path, e.key), limits)
		m.SetMapIndex(reflect.ValueOf(e.key).Convert(v.Type().Key()), value)
	}
	v.Set(m)
}

func (d *decoder) scalar(n *node, v reflect.Value, path string, limits limits) {
	expected := expectation(v.Type(), limits)
	wanted := kindNumber
	switch v.Kind() {
	case reflect.String:
		wanted = kindText
	case reflect.Bool:
		wanted = kindBoolean
	}
	// A reference is text, whatever it stands for: "${PORT}".
	if n.kind != wanted && (n.kind != kindText || !n.expanded) {
		d.wrongType(n, path, expected)
		return
	}
	var err error
	switch v.Kind() {
	case reflect.String:
		if len(limits.enum) > 0 && !slices.Contains(limits.enum, n.text) {
			suggestion := ""
			if meant := nearest(n.text, limits.enum); meant != "" && !n.expanded && showable(n, path) {
				suggestion = fmt.Sprintf("; did you mean %q?", meant)
			}
			d.fail(path, "%s is not accepted; expected %s%s", shown(n, path), expected, suggestion)
			return
		}
		v.SetString(n.text)
	case reflect.Bool:
		if n.text != "true" && n.text != "false" {
			err = strconv.ErrSyntax
		}
		v.SetBool(n.text == "true")
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		var i int64
		if i, err = strconv.ParseInt(n.text, 10, v.Type().Bits()); err == nil {
			v.SetInt(i)
			err = limits.check(float64(i))
		}
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		if strings.HasPrefix(n.text, "-") {
			err = strconv.ErrRange
			break
		}
		var u uint64
		if u, err = strconv.ParseUint(n.text, 10, v.Type().Bits()); err == nil {
			v.SetUint(u)
			err = limits.check(float64(u))
		}
	case reflect.Float32, reflect.Float64:
		var f float64
		if f, err = strconv.ParseFloat(n.text, v.Type().Bits()); err == nil && (math.IsNaN(f) || math.IsInf(f, 0)) {
			err = strconv.ErrSyntax
		}
		if err == nil {
			v.SetFloat(f)
			err = limits.check(f)
		}
	default:
		d.fail(path, "options of type %s cannot be set in a file; this is a fault of the plugin", v.Type())
		return
	}
	switch {
	case errors.Is(err, strconv.ErrRange):
		d.fail(path, "%s is out of range; expected %s", shown(n, path), expected)
	case errors.Is(err, strconv.ErrSyntax):
		d.fail(path, "%s is not %s", shown(n, path), expected)
	case err != nil:
		d.fail(path, "%v", err)
	}
}

// wrongType says what was expected and what was found.
func (d *decoder) wrongType(n *node, path, expected string) {
	found, hint := "", ""
	switch n.kind {
	case kindObject:
		found = "an object"
	case kindList:
		found = "a list"
	case kindNumber:
		found = "a number"
	case kindBoolean:
		found = n.text
	case kindText:
		found = "text"
	}
	if (n.kind == kindNumber || n.kind == kindText) && showable(n, path) {
		found = "the " + strings.TrimPrefix(found, "a ") + " " + shown(n, path)
	}
	number := n.kind == kindText && !n.expanded && isNumber(n.text)
	boolean := n.kind == kindText && !n.expanded && (n.text == "true" || n.text == "false")
	switch {
	case strings.HasPrefix(expected, "a list"):
		if n.kind != kindObject {
			hint = "; write [ ] around it"
		}
	case strings.HasPrefix(expected, "text") && (n.kind == kindNumber || n.kind == kindBoolean):
		hint = "; put it in quotes"
	case strings.Contains(expected, "number") && number, expected == "true or false" && boolean:
		hint = "; remove the quotes"
	}
	d.fail(path, "expected %s, found %s%s", expected, found, hint)
}

func isNumber(text string) bool {
	_, err := strconv.ParseFloat(text, 64)
	return err == nil
}

// shown is how messages show a value: as it stands in the file, unless that may hold a secret or is long.
func shown(n *node, path string) string {
	switch {
	case !showable(n, path):
		return "what is given"
	case n.kind == kindNumber:
		return n.raw
	}
	return strconv.Quote(n.raw)
}

func showable(n *node, path string) bool {
	return !n.secret && !isSecret(path) && len(n.raw) <= 64 && !strings.Contains(n.raw, "://") && utf8.ValidString(n.raw) // a URL may hold a password
}

var plainKey = regexp.MustCompile(`^[A-Za-z0-9_-]+$`)

// join appends a key to a path: a.b, or a["b c"].
func join(path, key string) string {
	switch {
	case !plainKey.MatchString(key):
		return path + "[" + strconv.Quote(key) + "]"
	case path == "":
		return key
	}
	return path + "." + key
}

func index(path string, i int) string { return path + "[" + strconv.Itoa(i) + "]" }

// unjoin returns the errors that errors.Join put together.
func unjoin(err error) []error {
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok {
		return []error{err}
	}
	var all []error
	for _, e := range joined.Unwrap() {
		all = append(all, unjoin(e)...)
	}
	return all
}
