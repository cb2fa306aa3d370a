package elasticsearch

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/flinktail/flinktail/protocol/flink"
)

// The template is what users may have to install by hand: every change of it shows here, and needs a new version.
func TestTemplate(t *testing.T) {
	for file, dataStream := range map[string]bool{"testdata/template.json": false, "testdata/template-datastream.json": true} {
		got, err := template("flink-*", dataStream)
		require.NoError(t, err)
		if os.Getenv("UPDATE") != "" {
			require.NoError(t, os.WriteFile(file, append(got, '\n'), 0o600))
		}
		want, err := os.ReadFile(file)
		require.NoError(t, err)
		require.Equal(t, string(want), string(got)+"\n", "UPDATE=1 writes %s; raise templateVersion", file)
	}
	require.Equal(t, "flinktail-flink-_-_", templateName("flink-*-*"))
}

func TestTemplateHasEveryField(t *testing.T) {
	text, err := template("flink-*", false)
	require.NoError(t, err)
	var parsed struct {
		Template struct {
			Mappings struct{ Properties map[string]map[string]any }
		}
	}
	require.NoError(t, json.Unmarshal(text, &parsed))
	properties := parsed.Template.Mappings.Properties
	for _, f := range flink.Fields.Fields() {
		require.NotNil(t, properties[f.Name], f.Name)
	}
	for name, want := range map[string]string{
		"event_time": "date_nanos", "event_id": "keyword", "stack_trace": "text", "message": "text", "lineage": "flattened",
		"exception_chain": "flattened", "terminal": "boolean", "schema_version": "long", "source_dropped": "long",
	} {
		require.Equal(t, want, properties[name]["type"], name)
	}
	for name := range texts {
		require.NotNil(t, flink.Fields.Field(name), "%s is no field", name)
	}
}

const ourTemplate = "flinktail-flink-events"

func TestTemplateIsInstalledOnce(t *testing.T) {
	s := newFake(t)
	f, _ := started(t, flusherFor(s.URL))
	require.Empty(t, s.templates, "Init sends nothing")
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() {
			if err := flush(f, group(t, fmt.Sprintf(`{"event_id":"%d"}`, i))); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	want, err := template("flink-events", false)
	require.NoError(t, err)
	require.JSONEq(t, string(want), string(s.templates[ourTemplate]))
	about := 0
	for _, r := range s.requests {
		if strings.Contains(r, "template") {
			about++
		}
	}
	require.Equal(t, 2, about, "a look and an installation")
	require.Equal(t, []string{"GET /_index_template/" + ourTemplate, "PUT /_index_template/" + ourTemplate, "POST /_bulk"}, s.requests[:3])
}

func TestInstalledTemplates(t *testing.T) {
	for name, c := range map[string]struct {
		installed string
		replaced  bool
	}{
		"same":              {fmt.Sprintf(`{"version":%d}`, templateVersion), false},
		"newer":             {fmt.Sprintf(`{"version":%d}`, templateVersion+1), false},
		"newer, stream":     {fmt.Sprintf(`{"version":%d,"data_stream":{}}`, templateVersion+1), false},
		"older":             {fmt.Sprintf(`{"version":%d}`, templateVersion-1), true},
		"no version":        {`{}`, true},
		"of the other mode": {fmt.Sprintf(`{"version":%d,"data_stream":{"hidden":false}}`, templateVersion), true},
	} {
		t.Run(name, func(t *testing.T) {
			s := newFake(t)
			s.templates[ourTemplate] = json.RawMessage(c.installed)
			f, _ := started(t, flusherFor(s.URL))
			require.NoError(t, flush(f, numbered(t, 1)))
			require.Equal(t, c.replaced, string(s.templates[ourTemplate]) != c.installed)
		})
	}
}

// Without the template nothing is sent: Elasticsearch would guess the types, for good.
func TestTemplateThatCannotBeInstalled(t *testing.T) {
	for name, c := range map[string]struct {
		method string
		status int
		want   string
	}{
		"no right to look":    {http.MethodGet, 403, "blocked"},
		"no right to install": {http.MethodPut, 403, "blocked"},
		"conflict":            {http.MethodPut, 400, "blocked"},
		"overloaded":          {http.MethodPut, 429, "again"},
		"no master":           {http.MethodGet, 503, "again"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newFake(t)
			f, _ := started(t, flusherFor(s.URL))
			end := s.answers(func(w http.ResponseWriter, r *http.Request, _ []byte) bool {
				if r.Method == c.method {
					writeFault(w, c.status, "some_exception", "because")
				}
				return r.Method == c.method
			})
			err := flush(f, numbered(t, 1))
			require.Equal(t, c.want, kindOf(err))
			require.ErrorContains(t, err, fmt.Sprintf("install the index template (or set InstallTemplate to false): elasticsearch answers %d some_exception: because", c.status))
			require.Zero(t, s.bulkRequests())
			end()
			require.NoError(t, flush(f, numbered(t, 1)))
			require.Len(t, s.templates, 1)
		})
	}
}
