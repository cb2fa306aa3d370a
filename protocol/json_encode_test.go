package protocol_test

import (
	"bytes"
	"encoding/json"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"github.com/flinktail/flinktail/protocol"
	"github.com/flinktail/flinktail/protocol/flink"
)

// encode renders one log that add fills.
func encode(add func(*protocol.Builder)) string {
	b := protocol.NewBuilder()
	defer b.Release()
	g := b.BeginGroup("", "")
	b.BeginLog(1767600000, 123e6)
	add(b)
	b.EndLog()
	return string(protocol.NewJSONEncoder(flink.Fields).Append([]byte("before"), g, 0))
}

func TestEncodeFields(t *testing.T) {
	const at = `before{"event_time":"2026-01-05T08:00:00.123Z"`
	for _, tc := range []struct {
		name, key, value string
		want             string
		types            []protocol.ValueType
	}{
		{name: "string", key: "a", value: "x", want: `"a":"x"`},
		{name: "empty", key: "", value: "", want: `"":""`},
		{name: "escapes", key: "\"\n", value: "\"\\\b\f\n\r\t\x00\x1f/<\u2028\x7f", want: `"\"\n":"\"\\\u0008\u000c\n\r\t\u0000\u001f/<` + "\u2028\x7f\""},
		{name: "invalid UTF-8", key: "\xff", value: "\xe2\x82\nx\xc0", want: "\"\ufffd\":\"\ufffd\ufffd\\nx\ufffd\""},
		{name: "long", key: "source_dropped", value: "-17", want: `"source_dropped":-17`},
		{name: "not a long", key: "source_dropped", value: "9223372036854775808", want: `"source_dropped":"9223372036854775808"`},
		{name: "boolean", key: "terminal", value: "true", want: `"terminal":true`},
		{name: "not a boolean", key: "terminal", value: "TRUE", want: `"terminal":"TRUE"`},
		{name: "json", key: "lineage", value: ` {"a" : [ 1, "` + "\xff" + `" ] }` + "", want: `"lineage":" {\"a\" : [ 1, \"` + "\ufffd" + `\" ] }"`},
		{name: "json in lines", key: "lineage", value: "{\n\t\"a\" : [ 1, \"\xff \" ] }", want: "\"lineage\":{\"a\":[1,\"\ufffd \"]}"},
		{name: "text after json", key: "lineage", value: `{}x`, want: `"lineage":"{}x"`},
		{name: "not json", key: "lineage", value: `{"a":`, want: `"lineage":"{\"a\":"`},
		{name: "json too deep", key: "lineage", value: strings.Repeat("[", 1001) + strings.Repeat("]", 1001), want: `"lineage":"` + strings.Repeat("[", 1001) + strings.Repeat("]", 1001) + `"`},

		{name: "number", key: "a", value: "-1.5e+300", want: `"a":-1.5e+300`, types: []protocol.ValueType{protocol.ValueType_NUMBER}},
		{name: "not a number", key: "a", value: "1 ", want: `"a":"1 "`, types: []protocol.ValueType{protocol.ValueType_NUMBER}},
		{name: "neither", key: "a", value: "NaN", want: `"a":"NaN"`, types: []protocol.ValueType{protocol.ValueType_NUMBER, protocol.ValueType_BOOLEAN, protocol.ValueType_JSON, 7, -1}},
		{name: "true", key: "a", value: "true", want: `"a":true`, types: []protocol.ValueType{protocol.ValueType_BOOLEAN, protocol.ValueType_JSON}},
		{name: "null", key: "a", value: "whatever", want: `"a":null`, types: []protocol.ValueType{protocol.ValueType_NULL}},
		{name: "typed string", key: "terminal", value: "true", want: `"terminal":"true"`, types: []protocol.ValueType{protocol.ValueType_STRING}},
		{name: "nested", key: "a", value: `[{}]`, want: `"a":[{}]`, types: []protocol.ValueType{protocol.ValueType_JSON}},
		{name: "empty nested", key: "a", value: ``, want: `"a":""`, types: []protocol.ValueType{protocol.ValueType_JSON}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if tc.types == nil {
				require.Equal(t, at+","+tc.want+"}", encode(func(b *protocol.Builder) { b.Add(tc.key, tc.value) }))
			}
			for _, kind := range tc.types {
				require.Equal(t, at+","+tc.want+"}", encode(func(b *protocol.Builder) {
					b.Add(tc.key, tc.value)
					log := b.EndLog()
					log.Contents[0].Type = &kind
					b.BeginLog(0, 0)
				}))
			}
		})
	}
	require.Equal(t, at+"}", encode(func(*protocol.Builder) {}))
}

// A reader must not meet a name twice: Elasticsearch refuses such an event.
func TestEncodeNamesAreUnique(t *testing.T) {
	got := encode(func(b *protocol.Builder) {
		b.AddTag("team", "tag")
		b.AddTag("kind", "tag")
		b.AddTag("event_time", "tag")
		b.AddTag("zone", "tag")
		b.AddTag("zone", "again")
		b.AddTag("job_id", "tag")
		b.AddTag("job_id", "again")
		b.Add("kind", "first")
		b.Add("team", "first")
		b.Add("event_time", "never")
		b.Add("kind", "second")
		b.Add("team", "second")
	})
	require.Equal(t, `before{"event_time":"2026-01-05T08:00:00.123Z","kind":"first","team":"first","zone":"tag","job_id":"tag"}`, got)
}

func TestEncodeManyNamesAreUnique(t *testing.T) {
	for _, n := range []int{16, 17, 1000} {
		got := encode(func(b *protocol.Builder) {
			for i := range 2 * n {
				b.Add(strconv.Itoa(i%n), strconv.Itoa(i))
			}
		})
		unique, all := members(t, []byte(strings.TrimPrefix(got, "before")))
		require.Len(t, all, 1+n)
		require.Equal(t, unique, all)
		require.Equal(t, `"1"`, string(all[2].value))
	}
}

// The order of the fields changes from log to log: what was remembered of the last one must not show.
func TestEncodeRemembersNothingWrong(t *testing.T) {
	b := protocol.NewBuilder()
	defer b.Release()
	g := b.BeginGroup("", "")
	orders := [][]string{{"kind", "a", "cluster"}, {"a", "cluster", "kind"}, {"kind", "cluster", "a"}, {"cluster"}, {"b", "a"}, {"kind", "a", "cluster"}}
	for _, order := range orders {
		b.BeginLog(0, 0)
		for _, key := range order {
			b.Add(key, key)
		}
		b.EndLog()
	}
	e := protocol.NewJSONEncoder(flink.Fields)
	for i, order := range orders {
		want := `{"event_time":"1970-01-01T00:00:00.000Z"`
		for _, key := range order {
			want += `,"` + key + `":"` + key + `"`
		}
		require.Equal(t, want+"}", string(e.Append(nil, g, i)))
	}
}

// Peers' logs may lack what ours always have.
func TestEncodeForeignLog(t *testing.T) {
	g := &protocol.LogGroup{Logs: []*protocol.Log{{Contents: []*protocol.Log_Content{{}}}}, LogTags: []*protocol.LogTag{{}}}
	require.Equal(t, `{"event_time":"1970-01-01T00:00:00.000Z","":""}`, string(protocol.NewJSONEncoder(flink.Fields).Append(nil, g, 0)))
}

// Every length and place of what is special, against the borders of the eight bytes that are read at once.
func TestEncodeStringBorders(t *testing.T) {
	for length := range 26 {
		plain := strings.Repeat("x", length)
		for at := range length + 1 {
			for _, special := range []string{"\n", `"`, `\`, "\x00", "\x1f", " ", "!", "#", "é", "\xff", "\x7f", "\u2028", "\xff\n", "é\"\xff\xff"} {
				text := plain[:at] + special + plain[at:]
				got := encode(func(b *protocol.Builder) { b.Add(text, text) })[len("before"):]
				var fields map[string]string
				require.True(t, utf8.ValidString(got), "%q", got)
				require.NoError(t, json.Unmarshal([]byte(got), &fields), got)
				repaired := string([]rune(text))
				require.Equal(t, repaired, fields[repaired], got)
			}
		}
	}
}

func TestAppendTime(t *testing.T) {
	for _, tc := range []struct {
		seconds, nanos uint32
		want           string
	}{
		{0, 0, "1970-01-01T00:00:00.000Z"},
		{0, 1, "1970-01-01T00:00:00.000000001Z"},
		{1767600000, 0, "2026-01-05T08:00:00.000Z"},
		{1767600000, 7e6, "2026-01-05T08:00:00.007Z"},
		{1767600000, 120e6, "2026-01-05T08:00:00.120Z"},
		{1767600000, 120000100, "2026-01-05T08:00:00.120000100Z"},
		{1709164799, 999999999, "2024-02-28T23:59:59.999999999Z"},
		{4294967295, 999e6, "2106-02-07T06:28:15.999Z"},
		{0, 1500e6, "1970-01-01T00:00:01.500Z"}, // a peer may write any fixed32
		{4294967295, 4294967295, "2106-02-07T06:28:19.294967295Z"},
	} {
		require.Equal(t, "at "+tc.want, string(protocol.AppendTime([]byte("at "), tc.seconds, tc.nanos)))
		at, err := time.Parse(time.RFC3339Nano, tc.want)
		require.NoError(t, err)
		require.True(t, at.Equal((&protocol.Log{Time: &tc.seconds, TimeNs: &tc.nanos}).At()))
	}
}

// FuzzEncode: whatever a log holds, the text is one line of JSON in which encoding/json finds just that.
func FuzzEncode(f *testing.F) {
	f.Add(uint32(1767600000), uint32(123e6), "kind", "x", int32(-1), "a", "1e5", int32(1), "lineage", "{\n}", int32(-1), "tag", "\xff")
	f.Add(uint32(0), uint32(4294967295), "terminal", "true", int32(0), "a", "[\"\\u00e9\xff\"]", int32(4), "a", "", int32(3), "event_time", "x")
	f.Add(uint32(1), uint32(0), "source_dropped", "5", int32(-1), "\n\"", "\u2028\\", int32(2), "", "nul", int32(99), "kind", "y")
	e := protocol.NewJSONEncoder(flink.Fields)
	d := protocol.NewJSONDecoder(flink.Fields, 1002)
	f.Fuzz(func(t *testing.T, seconds, nanos uint32, k1, v1 string, t1 int32, k2, v2 string, t2 int32, k3, v3 string, t3 int32, tag, tagged string) {
		b := protocol.NewBuilder()
		defer b.Release()
		g := b.BeginGroup("", "")
		b.AddTag(tag, tagged)
		b.BeginLog(seconds, nanos)
		names := []string{k1, k2, k3}
		values := []string{v1, v2, v3}
		types := []int32{t1, t2, t3}
		for i := range names {
			b.Add(names[i], values[i])
		}
		log := b.EndLog()
		for i, kind := range types {
			if kind >= 0 {
				log.Contents[i].Type = protocol.ValueType(kind).Enum()
			}
		}

		text := e.Append(nil, g, 0)
		require.True(t, json.Valid(text), "%s", text)
		require.True(t, utf8.Valid(text), "%s", text)
		require.NotContains(t, string(text), "\n")
		_, found := members(t, text)
		require.Equal(t, flink.FieldEventTime, found[0].name)
		at, err := time.Parse(`"`+time.RFC3339Nano+`"`, string(found[0].value))
		require.NoError(t, err)
		require.True(t, log.At().Equal(at))

		seen := map[string]bool{flink.FieldEventTime: true}
		found = found[1:]
		next := func(name string) (member, bool) {
			if seen[name] {
				return member{}, false
			}
			seen[name] = true
			require.NotEmpty(t, found)
			m := found[0]
			found = found[1:]
			require.Equal(t, string([]rune(name)), m.name)
			return m, true
		}
		for i := range names {
			if m, ok := next(names[i]); ok {
				requireRendered(t, log.Contents[i], m.value)
			}
		}
		if m, ok := next(tag); ok {
			require.Equal(t, any(string([]rune(tagged))), valueOf(t, m.value))
		}
		require.Empty(t, found)

		// Read and written once more it stays as it is, but for what the vocabulary's types then change, once.
		if !utf8Names(names, tag) || at.Unix() > 1<<32-1 {
			return
		}
		once := recode(t, d, e, text)
		require.Equal(t, string(once), string(recode(t, d, e, once)))
	})
}

// requireRendered fails the test unless raw is how a content must be rendered: in its type if it fits, else as a string.
func requireRendered(t *testing.T, c *protocol.Log_Content, raw []byte) {
	text := string([]rune(c.GetValue()))
	rendered := valueOf(t, raw)
	if rendered == any(text) { // a string is right unless the value fits its type
		require.False(t, fitsType(c), "%q of type %v was rendered as a string", c.GetValue(), c.Type)
		return
	}
	require.True(t, fitsType(c), "%q of type %v was rendered as %s", c.GetValue(), c.Type, raw)
	if c.Type != nil && *c.Type == protocol.ValueType_NULL {
		require.Equal(t, "null", string(raw))
		return
	}
	var compact bytes.Buffer
	require.NoError(t, json.Compact(&compact, []byte(text)))
	require.Equal(t, compact.String(), string(raw))
}

// fitsType reports whether a content is to be rendered as something else than a string.
func fitsType(c *protocol.Log_Content) bool {
	value := c.GetValue()
	valid := json.Valid([]byte(value))
	plain := valid && strings.TrimSpace(value) == value
	isNumber := plain && strings.ContainsAny(value[:1], "-0123456789")
	isBoolean := value == "true" || value == "false"
	isNested := plain && depth([]byte(value)) <= 1000
	switch {
	case c.Type != nil:
		switch *c.Type {
		case protocol.ValueType_NULL:
			return true
		case protocol.ValueType_NUMBER:
			return isNumber
		case protocol.ValueType_BOOLEAN:
			return isBoolean
		case protocol.ValueType_JSON:
			return isNested
		}
	case flink.Fields.Field(c.GetKey()) != nil:
		switch flink.Fields.Field(c.GetKey()).Type {
		case protocol.TypeLong:
			return isNumber && !strings.ContainsAny(value, ".eE") && json.Unmarshal([]byte(value), new(int64)) == nil
		case protocol.TypeBoolean:
			return isBoolean
		case protocol.TypeJSON:
			return isNested
		}
	}
	return false
}

func utf8Names(names []string, tag string) bool {
	all := strings.Join(names, "") + tag
	return string([]rune(all)) == all
}

// recode decodes one event and encodes it again.
func recode(t *testing.T, d *protocol.JSONDecoder, e *protocol.JSONEncoder, text []byte) []byte {
	b := protocol.NewBuilder()
	defer b.Release()
	g := b.BeginGroup("", "")
	require.NoError(t, d.DecodeLine(b, bytes.Clone(text), time.Time{}), "%s", text)
	b.EndLog()
	return e.Append(nil, g, 0)
}
