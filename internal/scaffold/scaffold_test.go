package scaffold

import (
	"go/format"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/flinktail/flinktail/pipeline"
	"github.com/flinktail/flinktail/protocol"
)

const list = `# what is compiled in
plugins:
  common:
    - import: "github.com/flinktail/flinktail/flusher/file"
    # the terminal
    - import: "github.com/flinktail/flinktail/flusher/stdout"
  linux:
  windows:
`

// tree is a source tree with nothing in it but what New looks at.
func tree(t *testing.T) (dir string) {
	dir = t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "go.mod"), []byte("module github.com/flinktail/flinktail\n\ngo 1.26\n"), 0o644))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "plugins.yml"), []byte(list), 0o644))
	return dir
}

func TestNew(t *testing.T) {
	dir := tree(t)
	var out strings.Builder
	require.NoError(t, New(dir, "flusher_pulsar", &out))

	entries, err := os.ReadDir(filepath.Join(dir, "flusher", "pulsar"))
	require.NoError(t, err)
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
		text, err := os.ReadFile(filepath.Join(dir, "flusher", "pulsar", e.Name()))
		require.NoError(t, err)
		require.NotContains(t, string(text), "{{", e.Name())
		if strings.HasSuffix(e.Name(), ".go") {
			formatted, err := format.Source(text)
			require.NoError(t, err, e.Name())
			require.Equal(t, string(formatted), string(text), e.Name())
		}
	}
	require.Equal(t, []string{"README.md", "pulsar.go", "pulsar_test.go", "sample.json"}, names)

	plugins, err := os.ReadFile(filepath.Join(dir, "plugins.yml"))
	require.NoError(t, err)
	require.Equal(t, strings.Replace(list, "    # the terminal\n", `    - import: "github.com/flinktail/flinktail/flusher/pulsar"`+"\n    # the terminal\n", 1), string(plugins))
	require.Contains(t, out.String(), "go test ./flusher/pulsar/")
	require.Contains(t, out.String(), "./bin/flinktail plugins flusher_pulsar\n")
}

func init() { pipeline.Register("flusher_registered", func() any { return registered{} }) }

func TestRefuses(t *testing.T) {
	for name, message := range map[string]string{
		"pulsar":                 `"pulsar" is not a flusher's name`,
		"input_pulsar":           `"input_pulsar" is not a flusher's name`,
		"":                       `"" is not a flusher's name`,
		"flusher_":               "only small letters and digits",
		"flusher_Pulsar":         "only small letters and digits",
		"flusher_my_pulsar":      "only small letters and digits",
		"flusher_../../pulsar":   "only small letters and digits",
		"flusher_2":              "only small letters and digits",
		"flusher_map":            `Go has another use for "map"`,
		"flusher_internal":       `Go has another use for "internal"`,
		"flusher_file":           "github.com/flinktail/flinktail/flusher/file is listed already",
		"flusher_registered":     "a plugin flusher_registered is there already",
		"flusher_taken":          filepath.Join("flusher", "taken") + " is there already",
		"flusher_pulsar\nplugin": "only small letters and digits",
	} {
		dir := tree(t)
		require.NoError(t, os.MkdirAll(filepath.Join(dir, "flusher", "taken"), 0o755))
		require.ErrorContains(t, New(dir, name, &strings.Builder{}), message, name)
		requireUnchanged(t, dir, "taken")
	}
}

func TestRefusesOtherFolders(t *testing.T) {
	require.ErrorContains(t, New(t.TempDir(), "flusher_pulsar", &strings.Builder{}), "is not flinktail's source tree")

	dir := tree(t)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "plugins.yml"), []byte("plugins: {common: []}\n"), 0o644))
	require.ErrorContains(t, New(dir, "flusher_pulsar", &strings.Builder{}), `there is no line "common:"`)
	require.NoDirExists(t, filepath.Join(dir, "flusher"))
}

func requireUnchanged(t *testing.T, dir string, flushers ...string) {
	text, err := os.ReadFile(filepath.Join(dir, "plugins.yml"))
	require.NoError(t, err)
	require.Equal(t, list, string(text))
	entries, err := os.ReadDir(filepath.Join(dir, "flusher"))
	require.NoError(t, err)
	require.Len(t, entries, len(flushers))
}

func TestAddImport(t *testing.T) {
	const a, b = "    - import: \"m/a\"\n", "    - import: \"m/b\"\n"
	for before, after := range map[string]string{
		"plugins:\n  common:\n" + a:                            "plugins:\n  common:\n" + a + b,
		"plugins:\n  common:\n    - import: m/c\n":             "plugins:\n  common:\n" + b + "    - import: m/c\n",
		"plugins:\n  common:\n  linux:\n" + a:                  "plugins:\n  common:\n" + b + "  linux:\n" + a,
		"plugins:\n  linux:\n  common:\n" + a + "\nproject:\n": "plugins:\n  linux:\n  common:\n" + a + b + "\nproject:\n",
	} {
		got, err := addImport(before, "m/b")
		require.NoError(t, err)
		require.Equal(t, after, got)
	}
}

type registered struct{}

func (registered) Init(pipeline.Context) error                              { return nil }
func (registered) Description() string                                      { return "is in the way" }
func (registered) IsReady(string, string, int64) bool                       { return true }
func (registered) Flush(string, string, string, []*protocol.LogGroup) error { return nil }
func (registered) SetUrgent(bool)                                           {}
func (registered) Stop() error                                              { return nil }
