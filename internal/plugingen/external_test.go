package main

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/flinktail/flinktail/internal/treecopy"
)

const externalPlugins = `
plugins:
  common:
    - gomod: example.org/flinktail-plugins v0.0.0
      import: example.org/flinktail-plugins/tally
      path: test/plugin
project:
  replaces:
    - example.org/words => ./words
`

// TestPluginOfAnotherModule compiles flusher_tally in, from test/plugin, as its author would, and runs it.
func TestPluginOfAnotherModule(t *testing.T) {
	tree := treecopy.New(t)
	tree.Write(t, "external_plugins.yml", externalPlugins)
	// A plugin has a client library that flinktail has not.
	tree.Write(t, "words/go.mod", "module example.org/words\n")
	tree.Write(t, "words/words.go", "package words\n")
	tree.Write(t, "test/plugin/tally/words.go", "package tally\n\nimport _ \"example.org/words\"\n")
	tree.Run(t, "cd test/plugin && go mod edit -require example.org/words@v0.0.0 -replace example.org/words=../../words")

	tree.Run(t, "make plugins build")
	require.Contains(t, tree.Run(t, "./bin/flinktail plugins"), "flusher_tally")
	require.Contains(t, tree.Run(t, "./bin/flinktail plugins flusher_tally"), "the file that holds the counts")

	want := map[string]int{}
	for line := range strings.Lines(tree.Read(t, "test/testdata/recorded.ndjson")) {
		var event struct{ Kind string }
		require.NoError(t, json.Unmarshal([]byte(line), &event))
		want[event.Kind]++
	}
	tree.Run(t, "./bin/flinktail run --once --admin-address off -config test/plugin/tally/sample.json")
	counts := map[string]int{}
	require.NoError(t, json.Unmarshal([]byte(tree.Read(t, "tally.json")), &counts))
	require.Equal(t, want, counts)

	tree.Run(t, "cd test/plugin && GOFLAGS=-mod=mod go test ./...")
	tree.Run(t, "make docs")
	require.Contains(t, tree.Read(t, "docs/reference/config.md"), "| `flusher_tally` | counts events by kind |")
	require.Contains(t, tree.Read(t, "docs/reference/flinktail.schema.json"), `"flusher_tally"`)
}
