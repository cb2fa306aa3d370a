package config

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	validator "github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/stretchr/testify/require"

	"github.com/flinktail/flinktail/pipeline"
)

func TestOptions(t *testing.T) {
	require.Equal(t, []Option{
		{"Verbose", "boolean", "false", "say more"},
		{"Brokers", "list of text", `["a:1","b:2"]`, "addresses to connect to"},
		{"Headers", "object of text", `{"A":"a"}`, "headers of every request"},
		{"Mode", `"fast" or "safe"`, `"safe"`, "how to write"},
		{"Ports", "list of whole numbers", "", ""},
		{"Ratio", "number", "0", ""},
		{"Small", "whole number", "0", ""},
		{"Interval", "duration", `"1m30s"`, ""},
		{"Pauses", "list of durations", "", ""},
		{"Size", "size", `"4MiB"`, ""},
		{"Password", "text", "", ""},
		{"Pin", "secret", "", "number of the safe"},
		{"Pins", "list of secrets", "", ""},
		{"Safes", "object of secrets", "", ""},
		{"Tokens", "list of text", "", ""},
		{"Auth.User", "text", "", ""},
		{"Auth.Token", "text", "", ""},
		{"Auth.TLS.CAFile", "text", "", ""},
		{"Rules", "list of objects", "", ""},
		{"Rules[].Name", "text", "", "name of the rule"},
		{"Rules[].Max", "whole number", "", ""},
		{"Routes", "object of objects", "", ""},
		{"Routes.*.Name", "text", "", "name of the rule"},
		{"Routes.*.Max", "whole number", "", ""},
	}, Options(newProbe()))
	require.Contains(t, Options(DefaultDelivery()), Option{"Retry.Max", "duration", `"30s"`, "longest pause"})
	require.Contains(t, Options(DefaultDelivery()), Option{"Match", "object of text or list of text", "", "only events whose fields match: all fields, one of each field's patterns"})
	require.Empty(t, Options(&probeBare{}))
}

func TestDurationText(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "0s", time.Minute: "1m", time.Hour: "1h", 90 * time.Second: "1m30s", 10 * time.Hour: "10h", 500 * time.Millisecond: "500ms",
		time.Hour + time.Second: "1h0m1s", 20 * time.Minute: "20m",
	} {
		require.Equal(t, want, durationText(d))
	}
}

func compileSchema(t *testing.T) *validator.Schema {
	t.Helper()
	text, err := Schema()
	require.NoError(t, err)
	document, err := validator.UnmarshalJSON(strings.NewReader(string(text)))
	require.NoError(t, err)
	compiler := validator.NewCompiler()
	require.NoError(t, compiler.AddResource("flinktail.schema.json", document))
	schema, err := compiler.Compile("flinktail.schema.json") // checks it against the meta-schema
	require.NoError(t, err)
	return schema
}

// TestSchemaAgrees gives the same texts to the schema and to Decode.
func TestSchemaAgrees(t *testing.T) {
	schema := compileSchema(t)
	entry := func(detail string) string {
		return `{"inputs":[{"type":"input_probe"}],"flushers":[{"type":"flusher_probe/x","detail":` + detail + `}]}`
	}
	beside := func(options string) string {
		return `{"inputs":[{"type":"input_probe"}],"flushers":[{"type":"flusher_print",` + options + `}]}`
	}
	for _, good := range []string{
		entry(`{}`), entry(`null`),
		entry(`{"Mode":"fast","Ports":[1,"${PORT}"],"Ratio":0.5,"Small":"${NONE:-1}","Verbose":"${NONE:-false}"}`),
		entry(`{"Mode":"${NONE:-fast}","Interval":"1m30s","Pauses":["200ms","0"],"Size":"64MiB"}`),
		entry(`{"Size":4096,"Interval":"${WAIT}","Headers":{"x":"y"},"Rules":[{"Name":"a"}],"Routes":{"r":{"Max":1}}}`),
		entry(`{"Pin":"${NONE:-1}","Pins":["1"],"Safes":{"a":"1"}}`),
		entry(`{"Size":"1.5 GB","Auth":{"User":"u","TLS":{"CAFile":"f"}}}`),
		beside(`"Workers":2,"Match":{"kind":"a","x":["b"]},"WhenFull":"dead_letter","Retry":{"Max":"1m"},"Batch":{"MaxBytes":"1MiB"},"MaxEventAge":"1h"`),
		`{"global":{"Project":"p","Queue":{"Type":"memory","MaxBytes":"64MiB","MaxEvents":5}},"inputs":[{"type":"input_probe","detail":{"Address":"a"}}],"processors":[{"type":"processor_probe/a"}],"flushers":[{"type":"flusher_print"}]}`,
	} {
		_, err := decodeText(t, "test.json", good)
		require.NoError(t, err, good)
		require.NoError(t, validate(t, schema, good), good)
	}
	for _, bad := range []string{
		`[]`, `{}`, `{"inputs":[],"flushers":[]}`,
		entry(`{"Brokres":[]}`), entry(`{"Common":{}}`), entry(`{"Hook":1}`), entry(`[]`),
		entry(`{"Mode":"slow"}`), entry(`{"Ports":["x"]}`), entry(`{"Ratio":2}`), entry(`{"Small":1.5}`), entry(`{"Verbose":1}`), entry(`{"Verbose":"true"}`),
		entry(`{"Interval":5}`), entry(`{"Interval":"5"}`), entry(`{"Interval":"-5s"}`), entry(`{"Size":"x"}`), entry(`{"Size":-1}`), entry(`{"Brokers":"a"}`),
		entry(`{"Pin":1}`), entry(`{"Pins":"1"}`), entry(`{"Safes":{"a":1}}`), entry(`{"Auth":{"TLS":{"X":1}}}`), entry(`{"Rules":[{"X":1}]}`), entry(`{"Routes":{"r":{"X":1}}}`),
		beside(`"Workers":0`), beside(`"WhenFull":"drop"`), beside(`"Match":{"a":[]}`), beside(`"Match":{"a":1}`), beside(`"Other":1`), beside(`"detail":{"A":1}`),
		`{"inputs":[{"type":"input_probe","Workers":1}],"flushers":[{"type":"flusher_print"}]}`,
		`{"inputs":[{"type":"input_probe"}],"flushers":[{"type":"input_probe"}]}`,
		`{"inputs":[{"type":"input_probe"}],"flushers":[{"type":"flusher_none"}]}`,
		`{"inputs":[{"type":"input_probe"}],"flushers":[{"detail":{}}]}`,
		`{"inputs":[{"type":"input_probe"}],"flushers":[{"type":"flusher_print/.."}]}`,
		`{"global":{"Queue":{"Type":"tape"}},"inputs":[{"type":"input_probe"}],"flushers":[{"type":"flusher_print"}]}`,
		`{"aggregators":[],"inputs":[{"type":"input_probe"}],"flushers":[{"type":"flusher_print"}]}`,
	} {
		_, err := decodeText(t, "test.json", bad)
		require.Error(t, err, bad)
		require.Error(t, validate(t, schema, bad), bad)
	}
}

func validate(t *testing.T, schema *validator.Schema, text string) error {
	t.Helper()
	document, err := validator.UnmarshalJSON(strings.NewReader(text))
	require.NoError(t, err)
	return schema.Validate(document)
}

// TestSchemaHelpsEditors checks what completion shows: names, descriptions and defaults.
func TestSchemaHelpsEditors(t *testing.T) {
	text, err := Schema()
	require.NoError(t, err)
	again, err := Schema()
	require.NoError(t, err)
	require.Equal(t, string(text), string(again), "the same at every call: it is a committed file")
	var schema struct {
		Schema     string `json:"$schema"`
		Properties map[string]json.RawMessage
		Defs       map[string]struct {
			Description string
			Properties  map[string]map[string]any
		} `json:"$defs"`
	}
	require.NoError(t, json.Unmarshal(text, &schema))
	require.Equal(t, "https://json-schema.org/draft/2020-12/schema", schema.Schema)
	require.Contains(t, string(schema.Properties["flushers"]), `"flusher_print",`)
	probe := schema.Defs["flusher_probe"]
	require.Equal(t, "takes part in tests", probe.Description)
	require.Equal(t, "how to write", probe.Properties["Mode"]["description"])
	require.Equal(t, "safe", probe.Properties["Mode"]["default"])
	require.Equal(t, "1m30s", probe.Properties["Interval"]["default"])
	require.Equal(t, (4 * pipeline.MiB).String(), probe.Properties["Size"]["default"])
	require.Equal(t, []any{"a:1", "b:2"}, probe.Properties["Brokers"]["default"])
	require.NotContains(t, probe.Properties, "Hook")
	require.Contains(t, string(schema.Properties["global"]), `"default": "32MiB"`)
	require.Equal(t, map[string]any{"type": "string", "writeOnly": true, "description": "number of the safe"}, probe.Properties["Pin"])
}
