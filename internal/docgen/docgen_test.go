package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/flinktail/flinktail/internal/config"
	"github.com/flinktail/flinktail/pipeline"
	"github.com/flinktail/flinktail/protocol/flink"
)

func TestCommittedDocumentsAreCurrent(t *testing.T) {
	root := filepath.Join("..", "..")
	documents, err := render(root)
	require.NoError(t, err)
	for _, d := range documents {
		committed, err := os.ReadFile(filepath.Join(root, filepath.FromSlash(d.path)))
		require.NoError(t, err, "run: make docs")
		if string(committed) != d.text {
			require.Equal(t, d.text, string(committed), "%s is not current; run: make docs", d.path)
		}
	}
}

// An option that nobody explains is a hole in every table made from it.
func TestEveryOptionIsDescribed(t *testing.T) {
	for _, name := range pipeline.Names() {
		plugin, _ := pipeline.New(name)
		requireDescribed(t, name, plugin)
	}
	global, delivery := config.DefaultGlobal(), config.DefaultDelivery()
	requireDescribed(t, "global", &global)
	requireDescribed(t, "delivery", &delivery)
}

func requireDescribed(t *testing.T, name string, instance any) {
	for _, o := range config.Options(instance) {
		require.NotEmpty(t, o.Description, "%s: %s has no jsonschema_description", name, o.Path)
	}
}

func TestEventsPageHasEveryKindAndField(t *testing.T) {
	page := eventsPage()
	for _, kind := range flink.Kinds {
		require.Contains(t, page, "| `"+kind.Name+"` | "+kind.Meaning+" |\n")
	}
	for _, f := range flink.Fields.Fields() {
		require.Contains(t, page, "| `"+f.Name+"` | "+string(f.Type)+" | "+f.Meaning+" | `")
	}
	require.NotContains(t, page+configPage(), "{{")
}

func TestConfigPageHasEveryPlugin(t *testing.T) {
	page := configPage()
	require.NotEmpty(t, pipeline.Names())
	for _, name := range pipeline.Names() {
		require.Contains(t, page, "`"+name+"`")
	}
}

func TestTableGoesBetweenTheMarkers(t *testing.T) {
	page, err := withTable("# x\n\n<!-- options:start -->\nold\n<!-- options:end -->\n\nmore\n", "new\n")
	require.NoError(t, err)
	require.Equal(t, "# x\n\n<!-- options:start -->\nnew\n<!-- options:end -->\n\nmore\n", page)

	for _, page := range []string{"# x\n", "<!-- options:start -->", "<!-- options:end -->\n<!-- options:start -->"} {
		_, err := withTable(page, "new\n")
		require.ErrorContains(t, err, "<!-- options:start -->", page)
	}
}

func TestTableOfOptions(t *testing.T) {
	require.Equal(t, "It has no options.\n", optionsTable(nil))
	require.Equal(t, "| option | type | default | |\n|---|---|---|---|\n"+
		"| `A` | text | `\"a\\|b\"` | this \\| that |\n"+
		"| `B.C` | \"x\" or \"y\" |  |  |\n",
		optionsTable([]config.Option{
			{Path: "A", Type: "text", Default: `"a|b"`, Description: "this | that"},
			{Path: "B.C", Type: `"x" or "y"`},
		}))
}

// A table's cell shows the example as it stands in JSON: no character in it may end the code span.
func TestExamplesFitACell(t *testing.T) {
	for _, f := range flink.Fields.Fields() {
		require.NotContains(t, f.Example, "`", f.Name)
		require.NotContains(t, f.Example, "\n", f.Name)
	}
}
