package flink_test

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/flinktail/flinktail/protocol"
	"github.com/flinktail/flinktail/protocol/flink"
)

// decodeFile decodes the events of a file into one group of b, and returns their lines.
func decodeFile(t *testing.T, b *protocol.Builder, path string) (*protocol.LogGroup, []string) {
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	d := protocol.NewJSONDecoder(flink.Fields, protocol.DefaultMaxDepth)
	g := b.BeginGroup("", "")
	var lines []string
	for line := range bytes.Lines(text) {
		lines = append(lines, string(line))
		require.NoError(t, d.DecodeLine(b, line, time.Time{}), "%s", line)
		b.EndLog()
	}
	return g, lines
}

// What the listeners send comes out again as it was: every field declared, typed, and in its place.
func TestListenerEvents(t *testing.T) {
	paths, err := filepath.Glob("testdata/*.ndjson")
	require.NoError(t, err)
	require.Len(t, paths, 2)
	kinds := map[string]bool{}
	for _, kind := range flink.Kinds {
		kinds[kind.Name] = true
	}
	for _, path := range paths {
		t.Run(filepath.Base(path), func(t *testing.T) {
			b := protocol.NewBuilder()
			defer b.Release()
			g, lines := decodeFile(t, b, path)
			e := protocol.NewJSONEncoder(flink.Fields)
			ids := map[string]bool{}
			for i, log := range g.Logs {
				require.JSONEq(t, lines[i], string(e.Append(nil, g, i)))
				require.True(t, kinds[protocol.Value(log, flink.FieldKind)])
				require.Empty(t, flink.CheckVersion(protocol.Value(log, flink.FieldSchemaVersion)))
				require.Equal(t, "prod-eu\x0020239a63ed9b70000d5185757dae99c4", string(flink.Key(nil, g, log)))
				ids[protocol.Value(log, flink.FieldEventID)] = true
				for _, c := range log.Contents {
					require.Nil(t, c.Type, "%s is not of its declared type", c.GetKey())
					require.True(t, flink.Fields.Field(c.GetKey()) != nil || strings.HasPrefix(c.GetKey(), "label."), c.GetKey())
				}
			}
			require.Len(t, ids, len(lines))
		})
	}
}

func TestListenerFailure(t *testing.T) {
	b := protocol.NewBuilder()
	defer b.Release()
	g, _ := decodeFile(t, b, "testdata/failure-enricher.ndjson")
	log := g.Logs[0]
	require.Equal(t, time.Date(2026, 1, 5, 8, 0, 2, 500e6, time.UTC), log.At().UTC())
	for key, want := range map[string]string{
		"failure_scope":     "TASK",
		"task_name":         "Source: orders -> Map (1/4)",
		"task_manager":      "tm-1",
		"exception_class":   "java.lang.IllegalStateException",
		"exception_message": `could not read "x-1500"`,
		"root_class":        "java.lang.NumberFormatException",
		"root_message":      `For input string: "x-1500"`,
		"exception_chain":   `[{"class":"java.lang.IllegalStateException","message":"could not read \"x-1500\""},{"class":"java.lang.NumberFormatException","message":"For input string: \"x-1500\""}]`,
		"label.team":        "payments",
	} {
		require.Equal(t, want, protocol.Value(log, key))
	}
	require.Contains(t, protocol.Value(log, "stack_trace"), "\n\tat com.acme.Orders.map(Orders.java:42)\nCaused by: ")
}

func TestListenerStatus(t *testing.T) {
	b := protocol.NewBuilder()
	defer b.Release()
	g, _ := decodeFile(t, b, "testdata/status-listener.ndjson")
	require.Equal(t, "STREAMING", protocol.Value(g.Logs[0], "execution_mode"))
	lineage := protocol.Value(g.Logs[0], flink.FieldLineage)
	require.True(t, json.Valid([]byte(lineage)))
	require.True(t, strings.HasPrefix(lineage, `{"sources":[{"namespace":"kafka://broker:9092","name":"orders"`), lineage)
	require.Equal(t, "Aufträge „neu“ \U0001f680\\", protocol.Value(g.Logs[2], flink.FieldJobName))
	require.Equal(t, "3", protocol.Value(g.Logs[2], "source_dropped"))
	require.Equal(t, "true", protocol.Value(g.Logs[3], "terminal"))
}

// The examples are what the reference shows: each must be what its type says.
func TestFieldExamples(t *testing.T) {
	for _, f := range flink.Fields.Fields() {
		require.NotEmpty(t, f.Meaning, f.Name)
		line := `{"` + f.Name + `":` + strings.ReplaceAll(f.Example, "\n", `\n`) + `}`
		b := protocol.NewBuilder()
		g := b.BeginGroup("", "")
		require.NoError(t, protocol.NewJSONDecoder(flink.Fields, protocol.DefaultMaxDepth).DecodeLine(b, []byte(line), time.Unix(0, 0)), line)
		log := b.EndLog()
		for _, c := range log.Contents {
			require.Nil(t, c.Type, line)
		}
		var fields map[string]json.RawMessage
		require.NoError(t, json.Unmarshal(protocol.NewJSONEncoder(flink.Fields).Append(nil, g, 0), &fields))
		require.JSONEq(t, f.Example, string(fields[f.Name]))
		b.Release()
	}
}
