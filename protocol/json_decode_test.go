package protocol_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/flinktail/flinktail/protocol"
	"github.com/flinktail/flinktail/protocol/flink"
)

var received = time.Unix(1700000000, 123456789)

// decode decodes one line, and fails the test unless it is taken.
func decode(tb testing.TB, line string) *protocol.Log {
	tb.Helper()
	b := protocol.NewBuilder()
	b.BeginGroup("", "")
	require.NoError(tb, protocol.NewJSONDecoder(flink.Fields, protocol.DefaultMaxDepth).DecodeLine(b, []byte(line), received))
	return b.EndLog()
}

// refusal decodes one line, and fails the test unless it is refused and unchanged.
func refusal(tb testing.TB, line string) *protocol.DecodeError {
	tb.Helper()
	b := protocol.NewBuilder()
	defer b.Release()
	g := b.BeginGroup("", "")
	text := []byte(line)
	err := protocol.NewJSONDecoder(flink.Fields, protocol.DefaultMaxDepth).DecodeLine(b, text, received)
	var refused *protocol.DecodeError
	require.ErrorAs(tb, err, &refused)
	require.Equal(tb, line, string(text))
	require.Empty(tb, g.Logs)
	return refused
}

type field struct {
	Key, Value string
	Type       any // a protocol.ValueType, or nil
}

func fieldsOf(log *protocol.Log) []field {
	fields := []field{}
	for _, c := range log.Contents {
		f := field{Key: c.GetKey(), Value: c.GetValue()}
		if c.Type != nil {
			f.Type = *c.Type
		}
		fields = append(fields, f)
	}
	return fields
}

func TestDecodeFields(t *testing.T) {
	const (
		text    = protocol.ValueType_STRING
		number  = protocol.ValueType_NUMBER
		boolean = protocol.ValueType_BOOLEAN
		null    = protocol.ValueType_NULL
		nested  = protocol.ValueType_JSON
	)
	for _, tc := range []struct {
		line string
		want []field
	}{
		{`{}`, []field{}},
		{" \t\r\n{ \t\r\n} \t\r\n", []field{}},
		{`{"":""}`, []field{{"", "", nil}}},
		// undeclared fields keep the type they came with
		{`{"a":"x","b":1.50e+1,"c":true,"d":null,"e":[1, "2"],"f":{ }}`, []field{
			{"a", "x", nil}, {"b", "1.50e+1", number}, {"c", "true", boolean}, {"d", "", null}, {"e", `[1,"2"]`, nested}, {"f", "{}", nested},
		}},
		{`{"a":123456789012345678901234567890,"b":-0}`, []field{{"a", "123456789012345678901234567890", number}, {"b", "-0", number}}},
		// declared ones take the declared type where they can, and keep theirs where they cannot
		{`{"schema_version":1}`, []field{{"schema_version", "1", nil}}},
		{`{"schema_version":"1"}`, []field{{"schema_version", "1", nil}}},
		{`{"schema_version":1.5}`, []field{{"schema_version", "1.5", number}}},
		{`{"schema_version":"one"}`, []field{{"schema_version", "one", text}}},
		{`{"source_dropped":9223372036854775807}`, []field{{"source_dropped", "9223372036854775807", nil}}},
		{`{"source_dropped":9223372036854775808}`, []field{{"source_dropped", "9223372036854775808", number}}},
		{`{"source_dropped":-9223372036854775808}`, []field{{"source_dropped", "-9223372036854775808", nil}}},
		{`{"source_dropped":-9223372036854775809}`, []field{{"source_dropped", "-9223372036854775809", number}}},
		{`{"source_dropped":"007"}`, []field{{"source_dropped", "007", text}}},
		{`{"terminal":true}`, []field{{"terminal", "true", nil}}},
		{`{"terminal":"false"}`, []field{{"terminal", "false", nil}}},
		{`{"terminal":0}`, []field{{"terminal", "0", number}}},
		{`{"kind":7}`, []field{{"kind", "7", nil}}},
		{`{"kind":null}`, []field{{"kind", "", null}}},
		{`{"kind":["x"]}`, []field{{"kind", `["x"]`, nested}}},
		{`{"lineage":{"a":[]}}`, []field{{"lineage", `{"a":[]}`, nil}}},
		{`{"lineage":"{}"}`, []field{{"lineage", "{}", text}}},
		{`{"lineage":5}`, []field{{"lineage", "5", number}}},
		// white space goes, but not inside strings
		{`{"a" : { "k 1" : [ 1 , " \n" ] } , "b" : "x y" }`, []field{{"a", `{"k 1":[1," \n"]}`, nested}, {"b", "x y", nil}}},
		// the last of a name wins, in the place of the first
		{`{"a":1,"b":2,"a":"x"}`, []field{{"a", "x", nil}, {"b", "2", number}}},
		{`{"a":"\n","b":2,"a":"\\n"}`, []field{{"a", `\n`, nil}, {"b", "2", number}}},
		{`{"a":"\n","a":{"k":"\n"}}`, []field{{"a", `{"k":"\n"}`, nested}}},
		{`{"a":"\\n","a":""}`, []field{{"a", "", nil}}},
		{`{"a":"\\n","\u0061":null}`, []field{{"a", "", null}}},
		{`{"kind":1,"cluster":"c","kind":"\"x\""}`, []field{{"kind", `"x"`, nil}, {"cluster", "c", nil}}},
		{`{"kind":1,"\u006bind":2}`, []field{{"kind", "2", nil}}},
		// escapes
		{`{"a":"\"\\\/\b\f\n\r\t\u0000\u001f\u00e9\u20AC\ud83d\ude00"}`, []field{{"a", "\"\\/\b\f\n\r\t\x00\x1f\u00e9\u20ac\U0001f600", nil}}},
		{`{"a":"\ud83d"}`, []field{{"a", "\ufffd", nil}}},
		{`{"a":"\ud83dx"}`, []field{{"a", "\ufffdx", nil}}},
		{`{"a":"\ude00\ud83d\ud83d\ude00\ud83d\u0041"}`, []field{{"a", "\ufffd\ufffd\U0001f600\ufffdA", nil}}},
		{`{"a":"\ud83d\\ude00"}`, []field{{"a", "\ufffd\\ude00", nil}}},
		{`{"\n\u00e9":1}`, []field{{"\n\u00e9", "1", number}}},
		// invalid UTF-8 is repaired byte by byte, before escapes are
		{"{\"a\xff\":\"\xe2\x82\",\"b\":\"\xc0\xaf\\n\",\"c\":[\"\xed\xa0\x80\"]}", []field{
			{"a\ufffd", "\ufffd\ufffd", nil}, {"b", "\ufffd\ufffd\n", nil}, {"c", "[\"\ufffd\ufffd\ufffd\"]", nested},
		}},
		{"{\"a\":\"\u2028\x7f\"}", []field{{"a", "\u2028\x7f", nil}}},
	} {
		t.Run(tc.line, func(t *testing.T) { require.Equal(t, tc.want, fieldsOf(decode(t, tc.line))) })
	}
}

func TestDecodeRefusals(t *testing.T) {
	for _, tc := range []struct {
		line   string
		reason protocol.Reason
		offset int
	}{
		{``, protocol.ReasonMalformed, 0},
		{`  `, protocol.ReasonMalformed, 2},
		{`{`, protocol.ReasonMalformed, 1},
		{`{"a"`, protocol.ReasonMalformed, 4},
		{`{"a":`, protocol.ReasonMalformed, 5},
		{`{"a":1`, protocol.ReasonMalformed, 6},
		{`{"a":1,`, protocol.ReasonMalformed, 7},
		{`{"a":1,}`, protocol.ReasonMalformed, 7},
		{`{"a":1 "b":2}`, protocol.ReasonMalformed, 7},
		{`{,}`, protocol.ReasonMalformed, 1},
		{`{a:1}`, protocol.ReasonMalformed, 1},
		{`{'a':1}`, protocol.ReasonMalformed, 1},
		{`{"a";1}`, protocol.ReasonMalformed, 4},
		{`{"a":1}x`, protocol.ReasonMalformed, 7},
		{`{"a":1} {}`, protocol.ReasonMalformed, 8},
		{"\ufeff{}", protocol.ReasonMalformed, 0},
		{`{"a":tru}`, protocol.ReasonMalformed, 5},
		{`{"a":truex}`, protocol.ReasonMalformed, 9},
		{`{"a":NaN}`, protocol.ReasonMalformed, 5},
		{`{"a":01}`, protocol.ReasonMalformed, 7},
		{`{"a":-}`, protocol.ReasonMalformed, 6},
		{`{"a":+1}`, protocol.ReasonMalformed, 5},
		{`{"a":1.}`, protocol.ReasonMalformed, 7},
		{`{"a":.1}`, protocol.ReasonMalformed, 5},
		{`{"a":1e}`, protocol.ReasonMalformed, 7},
		{`{"a":1e+}`, protocol.ReasonMalformed, 8},
		{`{"a":"x}`, protocol.ReasonMalformed, 8},
		{`{"a":"\x"}`, protocol.ReasonMalformed, 6},
		{`{"a":"\u12"}`, protocol.ReasonMalformed, 6},
		{`{"a":"\u12g4"}`, protocol.ReasonMalformed, 6},
		{`{"a":"\`, protocol.ReasonMalformed, 6},
		{"{\"a\":\"x\ny\"}", protocol.ReasonMalformed, 7},
		{"{\"a\":\"long enough for eight\x00\"}", protocol.ReasonMalformed, 27},
		{`{"a":[1,]}`, protocol.ReasonMalformed, 8},
		{`{"a":[1}`, protocol.ReasonMalformed, 7},
		{`{"a":{"b"}}`, protocol.ReasonMalformed, 9},
		{`{"a":{"b":1,}}`, protocol.ReasonMalformed, 12},
		{`{"a":{1:1}}`, protocol.ReasonMalformed, 6},
		{`[`, protocol.ReasonMalformed, 1},
		{` [{}]`, protocol.ReasonNotObject, 1},
		{`"x"`, protocol.ReasonNotObject, 0},
		{`5`, protocol.ReasonNotObject, 0},
		{`null`, protocol.ReasonNotObject, 0},
		{`{"\u0061":"\n","b":}`, protocol.ReasonMalformed, 19},
		{`{"event_time":"2026-01-05T08:00:00\u005a","b":}`, protocol.ReasonMalformed, 46},
		{`{"a":"\n","event_time":"yesterday"}`, protocol.ReasonBadTime, 23},
	} {
		t.Run(tc.line, func(t *testing.T) {
			err := refusal(t, tc.line)
			require.Equal(t, tc.reason, err.Reason, err)
			require.Equal(t, tc.offset, err.Offset, err)
			require.Contains(t, err.Error(), fmt.Sprintf(" at byte %d", tc.offset))
		})
	}
}

func TestDecodeDepth(t *testing.T) {
	nested := func(n int) string { return strings.Repeat("[", n) + strings.Repeat("]", n) }
	decode(t, `{"a":`+nested(protocol.DefaultMaxDepth-1)+`}`)
	require.Equal(t, protocol.ReasonTooDeep, refusal(t, `{"a":`+nested(protocol.DefaultMaxDepth)+`}`).Reason)
	require.Equal(t, protocol.ReasonTooDeep, refusal(t, `{"a":`+nested(1000)+`}`).Reason)
	require.Equal(t, protocol.ReasonTooDeep, refusal(t, nested(1000)).Reason)
	require.Equal(t, protocol.ReasonTooDeep, refusal(t, strings.Repeat(`{"a":`, 100000)).Reason)
	require.Equal(t, protocol.ReasonTooDeep, refusal(t, strings.Repeat(`[`, 100000)).Reason)
}

func TestDecodeFieldLimit(t *testing.T) {
	line := func(n int) string {
		var s strings.Builder
		for i := range n {
			fmt.Fprintf(&s, `,"field-%d":%d`, i, i)
		}
		return "{" + s.String()[1:] + "}"
	}
	require.Len(t, decode(t, line(protocol.MaxFields)).Contents, protocol.MaxFields)
	for _, n := range []int{15, 16, 17, 18, protocol.MaxFields / 2} {
		twice := line(n)[:len(line(n))-1] + "," + strings.ReplaceAll(line(n)[1:], `":`, `":1`)
		log := decode(t, twice)
		require.Len(t, log.Contents, n)
		for i, c := range log.Contents {
			require.Equal(t, fmt.Sprintf("field-%d", i), c.GetKey())
			require.Equal(t, fmt.Sprintf("1%d", i), c.GetValue())
		}
	}
	require.Equal(t, protocol.ReasonTooManyFields, refusal(t, line(protocol.MaxFields+1)).Reason)
}

func TestDecodeHugeNamesAndValues(t *testing.T) {
	for _, n := range []int{1, 7, 8, 9, 1023, 10 << 20} {
		name, value := strings.Repeat("k", n), strings.Repeat("é", n/2)
		log := decode(t, `{"`+name+`":"`+value+`\n"}`)
		require.Equal(t, []field{{name, value + "\n", nil}}, fieldsOf(log))
	}
}

// Every length and place of what is special, against the borders of the eight bytes that are read at once.
func TestDecodeStringBorders(t *testing.T) {
	for length := range 26 {
		plain := strings.Repeat("x", length)
		for at := range length + 1 {
			for special, want := range map[string]string{`\n`: "\n", `\u00e9`: "é", "é": "é", "\xff": "\ufffd", "\x7f": "\x7f", `\"`: `"`} {
				line := `{"` + plain[:at] + special + plain[at:] + `":"` + plain[:at] + special + plain[at:] + `"}`
				text := plain[:at] + want + plain[at:]
				require.Equal(t, []field{{text, text, nil}}, fieldsOf(decode(t, line)), line)
			}
			for _, special := range []string{"\x00", "\x1f", "\n", `\x`, `"`} {
				require.Equal(t, protocol.ReasonMalformed, refusal(t, `{"a":"`+plain[:at]+special+plain[at:]+`"}`).Reason)
			}
		}
	}
}

func TestDecodeTime(t *testing.T) {
	for _, tc := range []struct {
		text    string
		seconds uint32
		nanos   uint32
	}{
		{`"1970-01-01T00:00:00Z"`, 0, 0},
		{`"2026-01-05T08:00:00Z"`, 1767600000, 0},
		{`"2026-01-05T08:00:00.1Z"`, 1767600000, 100000000},
		{`"2026-01-05T08:00:00.123Z"`, 1767600000, 123000000},
		{`"2026-01-05T08:00:00.123456789Z"`, 1767600000, 123456789},
		{`"2026-01-05T08:00:00.999999999999Z"`, 1767600000, 999999999},
		{`"2026-01-05t08:00:00.000000001z"`, 1767600000, 1},
		{`"2026-01-05T09:30:00+01:30"`, 1767600000, 0},
		{`"2026-01-05T00:00:00.5-08:00"`, 1767600000, 500000000},
		{`"1969-12-31T23:30:00-01:00"`, 1800, 0},
		{`"2024-02-29T00:00:00Z"`, 1709164800, 0},
		{`"2016-12-31T23:59:60Z"`, 1483228800, 0},
		{`"2017-01-01T00:59:60.25+01:00"`, 1483228800, 250000000},
		{`"2106-02-07T06:28:15.999999999Z"`, math.MaxUint32, 999999999},
		{`"2026-01-05T08:00:00\u005a"`, 1767600000, 0},
		{`0`, 0, 0},
		{`-0`, 0, 0},
		{`1767600000123`, 1767600000, 123000000},
		{`4294967295999`, math.MaxUint32, 999000000},
		{`null`, uint32(received.Unix()), uint32(received.Nanosecond())},
	} {
		t.Run(tc.text, func(t *testing.T) {
			log := decode(t, `{"kind":"x","event_time":`+tc.text+`}`)
			require.Equal(t, [2]uint32{tc.seconds, tc.nanos}, [2]uint32{log.GetTime(), log.GetTimeNs()})
			require.Equal(t, []field{{"kind", "x", nil}}, fieldsOf(log))
		})
	}
	log := decode(t, `{}`)
	require.True(t, received.Equal(log.At()))
	log = decode(t, `{"event_time":5,"event_time":7000}`)
	require.Equal(t, uint32(7), log.GetTime())

	for _, text := range []string{
		`"1969-12-31T23:59:59.999Z"`, `"1970-01-01T00:00:00+00:01"`, `"2106-02-07T06:28:16Z"`, `"0000-01-01T00:00:00Z"`, `"9999-12-31T23:59:59Z"`,
		`-1`, `-1000`, `4294967296000`, `9223372036854775807`, `-9223372036854775808`, `9223372036854775808`, `1.5`, `1e3`, `1767600000.0`,
		`""`, `"now"`, `"2026-01-05"`, `"2026-01-05T08:00:00"`, `"2026-01-05 08:00:00Z"`, `"2026-01-05T08:00Z"`, `"2026-1-05T08:00:00Z"`,
		`"2026-01-05T08:00:00.Z"`, `"2026-01-05T08:00:00,5Z"`, `"2026-01-05T08:00:00+0100"`, `"2026-01-05T08:00:00+24:00"`, `"2026-01-05T08:00:00+01:60"`,
		`"2026-01-05T08:00:00 01:00"`, `"2026-01-05T08:00:00+01:00x"`, `"2026-01-05T08:00:00ZZ"`, `"+026-01-05T08:00:00Z"`,
		`"2026-00-05T08:00:00Z"`, `"2026-13-05T08:00:00Z"`, `"2026-01-00T08:00:00Z"`, `"2026-01-32T08:00:00Z"`, `"2025-02-29T00:00:00Z"`,
		`"2026-01-05T24:00:00Z"`, `"2026-01-05T08:60:00Z"`, `"2026-01-05T08:00:61Z"`, `"2026-01-05T08:00:60Z"`, `"2016-12-31T23:59:60+01:00"`,
		`"2026t01t05t08t00t00Z"`, `true`, `{}`, `["2026-01-05T08:00:00Z"]`,
	} {
		t.Run("not "+text, func(t *testing.T) {
			err := refusal(t, `{"event_time":`+text+`}`)
			require.Equal(t, protocol.ReasonBadTime, err.Reason)
			require.Equal(t, len(`{"event_time":`), err.Offset)
			require.Contains(t, err.Detail, "event_time: ")
		})
	}
	// What a sender wrote does not swell the message.
	require.Less(t, len(refusal(t, `{"event_time":"`+strings.Repeat("x", 1<<20)+`"}`).Error()), 300)
	require.Less(t, len(refusal(t, `{"event_time":"2200-01-01T00:00:00.`+strings.Repeat("0", 1<<20)+`Z"}`).Error()), 300)
	require.Less(t, len(refusal(t, `{"event_time":`+strings.Repeat("1", 1<<20)+`}`).Error()), 300)
}

func TestDecodeArray(t *testing.T) {
	deep := strings.Repeat("[", 500) + strings.Repeat("]", 500)
	body := []byte(` [ {"event_id":"\u0031", "event_time":1000} ,5,{"a":` + deep + `},{}, [{}],"x",{"event_time":"?"} , {"event_id":"2"}] `)
	b := protocol.NewBuilder()
	defer b.Release()
	g := b.BeginGroup("", "")
	var outcome []string
	err := protocol.NewJSONDecoder(flink.Fields, protocol.DefaultMaxDepth).DecodeArray(b, body, received,
		func(i int) {
			b.Add("line", strconv.Itoa(i))
			b.EndLog()
			outcome = append(outcome, strconv.Itoa(i))
		},
		func(i int, raw []byte, err error) {
			var refused *protocol.DecodeError
			require.ErrorAs(t, err, &refused)
			require.True(t, json.Valid(raw))
			require.Equal(t, len(raw), cap(raw))
			outcome = append(outcome, fmt.Sprintf("%d %s %d %d", i, refused.Reason, refused.Offset, len(raw)))
		})
	require.NoError(t, err)
	require.Equal(t, []string{"0", "1 not_an_object 0 1", "2 nested_too_deep 68 1006", "3", "4 not_an_object 0 4", "5 not_an_object 0 3", "6 bad_event_time 14 18", "7"}, outcome)
	require.Len(t, g.Logs, 3)
	require.Equal(t, []field{{"event_id", "1", nil}, {"line", "0", nil}}, fieldsOf(g.Logs[0]))
	require.Equal(t, uint32(1), g.Logs[0].GetTime())
	require.Equal(t, []field{{"line", "3", nil}}, fieldsOf(g.Logs[1]))
	require.Equal(t, []field{{"event_id", "2", nil}, {"line", "7", nil}}, fieldsOf(g.Logs[2]))
}

func TestDecodeArrayRefusesWhole(t *testing.T) {
	for body, reason := range map[string]protocol.Reason{
		``: protocol.ReasonMalformed, `{}`: protocol.ReasonMalformed, `[`: protocol.ReasonMalformed, `[{}`: protocol.ReasonMalformed,
		`[{},]`: protocol.ReasonMalformed, `[{}]x`: protocol.ReasonMalformed, `[{"a":"\n"},{"a":tru}]`: protocol.ReasonMalformed,
		`[{"a":"\n"}][]`: protocol.ReasonMalformed, strings.Repeat("[", 100000): protocol.ReasonTooDeep,
	} {
		b := protocol.NewBuilder()
		text := []byte(body)
		err := protocol.NewJSONDecoder(flink.Fields, protocol.DefaultMaxDepth).DecodeArray(b, text, received,
			func(int) { t.Errorf("%.40s: an element was accepted", body) },
			func(int, []byte, error) { t.Errorf("%.40s: an element was rejected", body) })
		var refused *protocol.DecodeError
		require.ErrorAs(t, err, &refused)
		require.Equal(t, reason, refused.Reason, "%.40s", body)
		require.Equal(t, body, string(text))
		b.Release()
	}
	for _, empty := range []string{`[]`, " [ ] \n"} {
		b := protocol.NewBuilder()
		require.NoError(t, protocol.NewJSONDecoder(flink.Fields, protocol.DefaultMaxDepth).DecodeArray(b, []byte(empty), received, nil, nil))
		b.Release()
	}
}

// A decoder is as good after a refused line as before it.
func TestDecoderAfterRefusal(t *testing.T) {
	d := protocol.NewJSONDecoder(flink.Fields, protocol.DefaultMaxDepth)
	b := protocol.NewBuilder()
	defer b.Release()
	g := b.BeginGroup("", "")
	require.Error(t, d.DecodeLine(b, []byte(`{"kind":"\n","x":"\n","kind":"\n",`), received))
	require.NoError(t, d.DecodeLine(b, []byte(`{"x":1,"kind":"\\n"}`), received))
	b.EndLog()
	require.Error(t, d.DecodeLine(b, []byte(`{"kind":"\n"}x`), received))
	require.Len(t, g.Logs, 1)
	require.Equal(t, []field{{"x", "1", protocol.ValueType_NUMBER}, {"kind", `\n`, nil}}, fieldsOf(g.Logs[0]))
}

// member is one name and value of an object, as encoding/json reads it.
type member struct {
	name  string
	value json.RawMessage
}

// members are an object's, in order, one a name: the last in the place of the first. all has them one by one.
func members(tb testing.TB, object []byte) (unique, all []member) {
	tb.Helper()
	d := json.NewDecoder(bytes.NewReader(object))
	_, err := d.Token()
	require.NoError(tb, err)
	place := map[string]int{}
	for d.More() {
		name, err := d.Token()
		require.NoError(tb, err)
		m := member{name: name.(string)}
		require.NoError(tb, d.Decode(&m.value))
		all = append(all, m)
		if i, ok := place[m.name]; ok {
			unique[i] = m
		} else {
			place[m.name] = len(unique)
			unique = append(unique, m)
		}
	}
	return unique, all
}

// valueOf is what encoding/json makes of a value; numbers stay text.
func valueOf(tb testing.TB, raw []byte) any {
	tb.Helper()
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	var v any
	require.NoError(tb, d.Decode(&v))
	return v
}

// expected is what a field must decode to, of a value as encoding/json reads it.
func expected(tb testing.TB, m member) field {
	f := field{Key: m.name}
	kind := protocol.ValueType_JSON
	switch v := valueOf(tb, m.value).(type) {
	case string:
		f.Value, kind = v, protocol.ValueType_STRING
	case json.Number:
		f.Value, kind = v.String(), protocol.ValueType_NUMBER
	case bool:
		f.Value, kind = strconv.FormatBool(v), protocol.ValueType_BOOLEAN
	case nil:
		kind = protocol.ValueType_NULL
	default:
		var text bytes.Buffer
		require.NoError(tb, json.Compact(&text, m.value))
		f.Value = string([]rune(text.String()))
	}
	f.Type = kind
	declared := protocol.TypeString
	if d := flink.Fields.Field(m.name); d != nil {
		declared = d.Type
		if declared == protocol.TypeString && kind != protocol.ValueType_NULL && kind != protocol.ValueType_JSON {
			f.Type = nil
		}
	}
	switch {
	case kind == protocol.ValueType_NULL:
	case declared == protocol.TypeString && kind == protocol.ValueType_STRING, declared == protocol.TypeJSON && kind == protocol.ValueType_JSON:
		f.Type = nil
	case declared == protocol.TypeLong && kind != protocol.ValueType_JSON:
		if n, err := strconv.ParseInt(f.Value, 10, 64); err == nil && (strconv.FormatInt(n, 10) == f.Value || f.Value == "-0") {
			f.Type = nil
		}
	case declared == protocol.TypeBoolean && (f.Value == "true" || f.Value == "false"):
		f.Type = nil
	}
	return f
}

// timeOf is the time that an event_time's value means, by package time.
func timeOf(tb testing.TB, raw json.RawMessage) (at time.Time, ok bool) {
	switch v := valueOf(tb, raw).(type) {
	case string:
		var err error
		at, err = time.Parse(time.RFC3339Nano, strings.ToUpper(v))
		ok = err == nil
	case json.Number:
		millis, err := v.Int64()
		at, ok = time.UnixMilli(millis), err == nil
	case nil:
		return received, true
	}
	return at, ok && at.Unix() >= 0 && at.Unix() <= math.MaxUint32
}

func depth(text []byte) (deepest int) {
	d := json.NewDecoder(bytes.NewReader(text))
	for now := 0; ; {
		token, err := d.Token()
		if err != nil {
			return deepest
		}
		switch token {
		case json.Delim('['), json.Delim('{'):
			now++
			deepest = max(deepest, now)
		case json.Delim(']'), json.Delim('}'):
			now--
		}
	}
}

// FuzzDecode holds the decoder against encoding/json: the verdict, the names, values, types and the time.
func FuzzDecode(f *testing.F) {
	for _, seed := range []string{
		string(smallEvent(1)), string(mixedEvent(1)), `{}`, ` { "a" : [ 1 , { } ] } `, `{"a":"\n","a":"\\n","\u0061":{"k":"\n"}}`, "{\"\xff\":\"\xe2\x82\\u00e9\"}",
		`{"a":"\ud83d\ude00\ud83d"}`, `{"event_time":"2016-12-31T23:59:60Z"}`, `{"event_time":-1}`, `{"a":-0.5e+10,"b":01}`, `[{}]`, `{"a":1}}`, `{"terminal":"true","source_dropped":"-0"}`,
	} {
		f.Add([]byte(seed))
	}
	d := protocol.NewJSONDecoder(flink.Fields, protocol.DefaultMaxDepth)
	e := protocol.NewJSONEncoder(flink.Fields)
	f.Fuzz(func(t *testing.T, data []byte) {
		const guard = "\\\"guard"
		memory := []byte(guard + string(data) + guard)
		line := memory[len(guard) : len(guard)+len(data)]
		b := protocol.NewBuilder()
		defer b.Release()
		g := b.BeginGroup("", "")
		err := d.DecodeLine(b, line, received)
		require.Equal(t, guard, string(memory[:len(guard)]))
		require.Equal(t, guard, string(memory[len(guard)+len(data):]))

		isObject := json.Valid(data) && bytes.HasPrefix(bytes.TrimLeft(data, " \t\r\n"), []byte("{"))
		if err != nil {
			require.Equal(t, string(data), string(line))
			require.Empty(t, g.Logs)
			var refused *protocol.DecodeError
			require.ErrorAs(t, err, &refused)
			if isObject {
				requireOwnLimit(t, data, refused)
			}
			return
		}
		require.True(t, isObject, "taken, but encoding/json refuses it")
		b.EndLog()

		unique, all := members(t, data)
		want := []field{}
		for _, m := range unique {
			if m.name != flink.FieldEventTime {
				want = append(want, expected(t, m))
			}
		}
		require.Equal(t, want, fieldsOf(g.Logs[0]))
		at, leap := received, false
		for _, m := range all {
			if m.name == flink.FieldEventTime && string(m.value) != "null" {
				var ok bool
				leap = bytes.Contains(m.value, []byte(":60")) // package time knows no leap seconds
				at, ok = timeOf(t, m.value)
				require.True(t, ok || leap, "%s is no time", m.value)
			}
		}
		require.True(t, leap || at.Equal(g.Logs[0].At()), "%s became %s", at, g.Logs[0].At())

		text := e.Append(nil, g, 0)
		require.True(t, json.Valid(text))
		var unchanged protocol.LogGroup
		g.Slice(&unchanged, 0, 1)
		again := protocol.NewBuilder()
		defer again.Release()
		h := again.BeginGroup("", "")
		require.NoError(t, d.DecodeLine(again, bytes.Clone(text), time.Time{}))
		again.EndLog()
		require.True(t, protocol.Equal(&unchanged, h), "%s", text)
	})
}

// requireOwnLimit fails the test unless an object that encoding/json takes was refused for one of our limits, rightly.
func requireOwnLimit(t *testing.T, data []byte, refused *protocol.DecodeError) {
	switch refused.Reason {
	case protocol.ReasonTooDeep:
		require.Greater(t, depth(data), protocol.DefaultMaxDepth)
	case protocol.ReasonTooManyFields:
		_, all := members(t, data)
		require.Greater(t, len(all), protocol.MaxFields)
	case protocol.ReasonBadTime:
		_, all := members(t, data)
		bad := false
		for _, m := range all {
			if m.name == flink.FieldEventTime {
				_, ok := timeOf(t, m.value)
				bad = bad || !ok || m.value[0] == '"' && !rfc3339.Match(m.value) // package time takes more than RFC 3339
			}
		}
		require.True(t, bad, refused)
	default:
		require.Fail(t, "refused, but encoding/json takes it", "%s", refused)
	}
}

var rfc3339 = regexp.MustCompile(`^"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt][0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]+)?([Zz]|[+-]([01][0-9]|2[0-3]):[0-5][0-9])"$`)
