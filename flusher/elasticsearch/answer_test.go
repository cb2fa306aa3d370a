package elasticsearch

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestReadAnswer(t *testing.T) {
	var r results
	for _, c := range []struct {
		answer string
		want   []string
	}{
		{`{"items":[{"create":{"status":201}},{"create":{"status":429}},{"create":{"status":409}}]}`, []string{"201", "429", "409"}},
		{`{"items":[]}`, nil},
		{
			" {\n \"took\" : 1 , \"errors\":true, \"items\" : [ { \"create\" : { \"_index\":\"a\\\"]}\", \"_shards\":{\"total\":[2,{}]}, \"status\" : 201 } } ,\r\n\t{\"create\":{\"status\":400,\"error\":{\"type\":\"t\",\"reason\":\"}]\\\"\"}}} ] }\n",
			[]string{"201", `400 t: }]"`},
		},
		{`{"items":[{"create":{"error":"text","status":500}}],"ingest_took":3}`, []string{"500 text"}},
		{`{"items":[{"create":{"error":{"type":"t","reason":{}},"status":500}}]}`, []string{"500 t"}},
		{`{"items":[{"create":{"error":[1],"status":400}},{"create":{"error":null,"status":404}}]}`, []string{"400", "404"}},
	} {
		require.NoError(t, r.read([]byte(c.answer), len(c.want)), c.answer)
		var got []string
		for _, item := range r.Items {
			text := strconv.Itoa(item.Create.Status)
			if item.Create.Error != nil {
				text = strings.TrimSpace(text + " " + item.Create.Error.String())
			}
			got = append(got, text)
		}
		require.Equal(t, c.want, got)
		for _, n := range []int{len(c.want) + 1, len(c.want) - 1} {
			err := r.read([]byte(c.answer), n)
			require.ErrorIs(t, err, errMalformed)
			require.ErrorContains(t, err, fmt.Sprintf("%d results for %d documents", len(c.want), n))
		}
	}
}

func TestReadMalformedAnswer(t *testing.T) {
	var r results
	whole := `{"errors":true,"items":[{"create":{"status":201}},{"create":{"status":400,"error":{"type":"t","reason":"r"}}}]}`
	require.NoError(t, r.read([]byte(whole), 2))
	for i := range whole {
		require.ErrorIs(t, r.read([]byte(whole[:i]), 2), errMalformed, "cut off at byte %d", i)
	}
	for _, answer := range []string{
		``, ` `, `null`, `[]`, `"items"`, `{}`, `<html>`, "{\x00}", `{"items":{}}`, `{"items":null}`, `{"items":[1,2]}`,
		`{"items":[{},{}]}`, `{"items":[{"create":{}},{"create":{}}]}`, `{"items":[{"create":{"status":"201"}},{"create":{"status":201}}]}`,
		`{"items":[{"index":{"status":201}},{"create":{"status":201}}]}`,
		`{"items":[{"create":{"status":2010000000}},{"create":{"status":201}}]}`, `{"items":[{"create":{"status":0}},{"create":{"status":201}}]}`,
		whole + "x", whole + whole,
	} {
		require.ErrorIs(t, r.read([]byte(answer), 2), errMalformed, answer)
	}
}

// Whatever a server answers: results are those of the documents or malformed, and an error is short.
func FuzzAnswers(f *testing.F) {
	f.Add(200, "", []byte(`{"errors":true,"items":[{"create":{"status":201}},{"create":{"status":400,"error":{"type":"t","reason":"r"}}}]}`))
	f.Add(401, "nginx", []byte(`{"error":{"type":"security_exception","reason":"r","caused_by":{"reason":"q"}}}`))
	f.Add(302, "", []byte(`{"error":"no handler"}`))
	f.Add(200, "", []byte(`{"index_templates":[{"index_template":{"version":2,"data_stream":{}}}]}`))
	f.Fuzz(func(t *testing.T, status int, from string, body []byte) {
		var r results
		if r.read(body, 2) == nil {
			require.Len(t, r.Items, 2)
			for i := range r.Items {
				require.True(t, r.Items[i].Create.Status >= 100 && r.Items[i].Create.Status <= 999)
				require.LessOrEqual(t, len(cmp.Or(r.Items[i].Create.Error, &fault{}).String()), maxFault+len("…"))
			}
		}
		_, _, _ = readTemplate(body)
		for _, header := range []http.Header{{"Server": {from}, "Location": {from}}, {productHeader: {"Elasticsearch"}, "Retry-After": {from}}} {
			err := refused(&answer{status, header, body, nil})
			require.Error(t, err)
			require.LessOrEqual(t, len(err.Error()), maxFault+2*len(from)+200)
		}
	})
}

func TestFault(t *testing.T) {
	for text, want := range map[string]string{
		`{"type":"t","reason":"r"}`: "t: r",
		`{"type":"t","reason":"r","caused_by":{"type":"u","reason":"s","caused_by":{"reason":"q"}}}`: "t: r: s: q",
		`"no handler"`: "no handler",
		`{"type":"t"}`: "t",
		`{}`:           "",
	} {
		var f fault
		require.NoError(t, json.Unmarshal([]byte(text), &f), text)
		require.Equal(t, want, f.String())
	}
	long := fault{Type: "t", Reason: strings.Repeat("x", 10_000)}
	require.Less(t, len(long.String()), maxFault+10)
}
