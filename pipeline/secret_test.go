package pipeline_test

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"text/template"

	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"

	"github.com/flinktail/flinktail/pipeline"
)

const marked = `s3cr3t "<&é`

// holder has secrets in every place where printers find them.
type holder struct {
	Public  pipeline.Secret
	Pointer *pipeline.Secret
	List    []pipeline.Secret
	Map     map[string]pipeline.Secret
	Keys    map[pipeline.Secret]int
	Any     any
	private pipeline.Secret
	inner   struct{ deep []pipeline.Secret }
}

func newHolder() holder {
	s := pipeline.NewSecret(marked)
	h := holder{Public: s, Pointer: &s, List: []pipeline.Secret{s}, Map: map[string]pipeline.Secret{"a": s}, Keys: map[pipeline.Secret]int{s: 1}, Any: s, private: s}
	h.inner.deep = []pipeline.Secret{s}
	return h
}

// Whatever prints a secret, alone or within something, prints "***" and nothing of the text.
func TestSecretIsNeverPrinted(t *testing.T) {
	h := newHolder()
	for name, value := range map[string]any{"itself": h.Public, "pointer": h.Pointer, "struct": h, "pointer to a struct": &h, "list": h.List, "map": h.Map, "error": fmt.Errorf("x: %v", h.Public)} {
		var printed []string
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%o", "%U", "%t", "%e", "%c", "%20v", "%-5s", "%!"} {
			printed = append(printed, fmt.Sprintf(verb, value))
		}
		printed = append(printed, fmt.Sprint(value), fmt.Sprintln(value), fmt.Errorf("a: %w", errors.New(fmt.Sprint(value))).Error())
		var b bytes.Buffer
		options := &slog.HandlerOptions{Level: slog.LevelDebug}
		for _, handler := range []slog.Handler{slog.NewTextHandler(&b, options), slog.NewJSONHandler(&b, options)} {
			slog.New(handler).With("with", value).WithGroup("g").Debug(fmt.Sprint(value), "x", value, slog.Any("any", value))
		}
		if name != "error" {
			for _, marshal := range []func(any) ([]byte, error){json.Marshal, yaml.Marshal, xml.Marshal} {
				if text, err := marshal(value); err == nil { // there is no XML of a map
					b.Write(text)
				}
			}
		}
		require.NoError(t, template.Must(template.New("").Parse("{{.}}{{printf `%q` .}}")).Execute(&b, value), name)
		printed = append(printed, b.String())
		for _, text := range printed {
			require.NotContains(t, text, "s3cr3t", name)
			require.NotContains(t, text, "733363723374", name) // %x
		}
		require.Contains(t, strings.Join(printed, ""), "***", name)
	}
}

func TestSecretAsText(t *testing.T) {
	s := pipeline.NewSecret(marked)
	require.Equal(t, "***", fmt.Sprintf("%q", s))
	require.Equal(t, "***", s.String())
	require.Equal(t, marked, s.Reveal())

	require.True(t, s == pipeline.NewSecret("s3cr3t"+marked[6:]), "equal texts are equal secrets")
	require.False(t, s == pipeline.NewSecret("other"))
	require.True(t, pipeline.NewSecret("") == pipeline.Secret{})
	require.False(t, s.IsZero())

	var empty pipeline.Secret
	require.True(t, empty.IsZero())
	require.Empty(t, empty.Reveal())
	require.Empty(t, fmt.Sprintf("%v%s%+v", empty, empty, empty), "nothing to hide")

	var read struct{ Password pipeline.Secret }
	require.NoError(t, json.Unmarshal([]byte(`{"Password": "s3cr3t"}`), &read))
	require.Equal(t, "s3cr3t", read.Password.Reveal())
	text, err := json.Marshal(read)
	require.NoError(t, err)
	require.Equal(t, `{"Password":"***"}`, string(text))
}

func TestReplaceIn(t *testing.T) {
	s := pipeline.NewSecret(`s3cr3t "<&é`)
	inJSON, err := json.Marshal(map[string]string{"given": s.Reveal()})
	require.NoError(t, err)
	for message, want := range map[string]string{
		"you sent s3cr3t \"<&é, s3cr3t \"<&é": "you sent ***, ***",
		fmt.Sprintf("%q", s.Reveal()):         `"***"`,
		string(inJSON):                        `{"given":"***"}`,
		"?a=s3cr3t+%22%3C%26%C3%A9":           "?a=***",
		"/s3cr3t%20%22%3C&%C3%A9":             "/***",
		"s3cr3t":                              "s3cr3t",
	} {
		require.Equal(t, want, s.ReplaceIn(message, "***"))
	}
	require.Equal(t, "a cab", pipeline.NewSecret("a").ReplaceIn("a cab", "***"))
	require.Equal(t, "a cab", pipeline.Secret{}.ReplaceIn("a cab", "***"))
}
