package contract

import (
	"encoding/json"
	"os"
	"reflect"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/flinktail/flinktail/internal/config"
	"github.com/flinktail/flinktail/pipeline"
)

// Description checks a plugin's description.
func Description(t testing.TB, plugin interface{ Description() string }) {
	t.Helper()
	d := plugin.Description()
	require.NotEmpty(t, strings.TrimSpace(d), "Description is empty")
	require.NotContains(t, d, "\n", "Description has more than one line")
}

// Sample checks that the plugin's sample is a pipeline configuration that validates and uses the plugin, and that
// README.md in the test's folder shows it. Other categories' plugins in the sample are not looked at: their packages
// may not be part of the test.
func Sample(t testing.TB, plugin any, category pipeline.Category) {
	t.Helper()
	documented, ok := plugin.(pipeline.Documented)
	require.True(t, ok, "%T has no Sample: implement pipeline.Documented", plugin)
	sample := documented.Sample()

	readme, err := os.ReadFile("README.md")
	require.NoError(t, err, "a plugin has a README.md beside its code")
	require.Contains(t, string(readme), strings.TrimSpace(string(sample)), "README.md does not show the sample as it is")

	sections := map[string]json.RawMessage{}
	require.NoError(t, json.Unmarshal(sample, &sections), "the sample is not a JSON object")
	section := string(category) + "s"
	require.NotEmpty(t, sections[section], "the sample has no %s", section)
	for _, c := range []pipeline.Category{pipeline.CategoryInput, pipeline.CategoryProcessor, pipeline.CategoryFlusher} {
		if c != category {
			delete(sections, string(c)+"s")
		}
	}
	for _, c := range []pipeline.Category{pipeline.CategoryInput, pipeline.CategoryFlusher} {
		if c != category {
			sections[string(c)+"s"] = json.RawMessage(`[{"type":"` + string(c) + `_contracttest"}]`)
		}
	}
	text, err := json.Marshal(sections)
	require.NoError(t, err)
	decoded, err := config.Decode("sample", "sample.json", text)
	require.NoError(t, err, "the sample does not validate")

	list := map[pipeline.Category][]config.Plugin{
		pipeline.CategoryInput: decoded.Inputs, pipeline.CategoryProcessor: decoded.Processors, pipeline.CategoryFlusher: decoded.Flushers,
	}[category]
	for _, p := range list {
		if reflect.TypeOf(p.Instance) == reflect.TypeOf(plugin) {
			return
		}
	}
	t.Errorf("no %s of the sample is a %T: is it registered under the name that the sample uses?", category, plugin)
}
