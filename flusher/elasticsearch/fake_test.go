package elasticsearch

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/flinktail/flinktail/flusher/internal/pattern"
	"github.com/flinktail/flinktail/pipeline/flushertest"
	"github.com/flinktail/flinktail/pipeline/plugintest"
	"github.com/flinktail/flinktail/protocol"
)

// fake is Elasticsearch as far as this flusher sees it: it creates documents, refuses an id that is taken, keeps templates.
type fake struct {
	*httptest.Server
	t testing.TB

	mu        sync.Mutex
	answer    func(w http.ResponseWriter, r *http.Request, body []byte) bool // may answer instead
	item      func(d stored) (status int, fault string)                      // may refuse a document
	documents []stored
	ids       map[string]bool
	templates map[string]json.RawMessage
	requests  []string
	sizes     []int // of bulk requests
}

type stored struct {
	index, id string
	source    []byte
}

func newFake(t testing.TB) *fake {
	f := &fake{t: t, ids: map[string]bool{}, templates: map[string]json.RawMessage{}}
	f.Server = httptest.NewServer(f)
	t.Cleanup(f.Close)
	return f
}

// answers makes f give that answer to bulk requests instead of its own; nil ends that.
func (f *fake) answers(answer func(w http.ResponseWriter, r *http.Request, body []byte) bool) func() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.answer = answer
	return func() { f.answers(nil) }
}

// refuses makes f refuse documents; status 0 is none.
func (f *fake) refuses(item func(d stored) (status int, fault string)) func() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.item = item
	return func() { f.refuses(nil) }
}

func (f *fake) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var body io.Reader = r.Body
	if r.Header.Get("Content-Encoding") == "gzip" {
		z, err := gzip.NewReader(r.Body)
		if err != nil {
			panic(err)
		}
		body = z
	}
	text, err := io.ReadAll(body)
	if err != nil {
		return // the client has gone
	}
	w.Header().Set(productHeader, "Elasticsearch")
	w.Header().Set("Content-Type", "application/json")
	f.mu.Lock()
	answer := f.answer
	f.requests = append(f.requests, r.Method+" "+r.URL.Path)
	f.mu.Unlock()
	if answer != nil && answer(w, r, text) {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	name, isTemplate := strings.CutPrefix(r.URL.Path, "/_index_template/")
	switch {
	case r.URL.Path == "/_bulk" && r.Method == http.MethodPost:
		f.sizes = append(f.sizes, len(text))
		_, _ = io.WriteString(w, f.bulk(text))
	case isTemplate && r.Method == http.MethodPut:
		f.templates[name] = text
		_, _ = io.WriteString(w, `{"acknowledged":true}`)
	case isTemplate && f.templates[name] != nil:
		_, _ = fmt.Fprintf(w, `{"index_templates":[{"index_template":%s}]}`, f.templates[name])
	case isTemplate:
		writeFault(w, 404, "resource_not_found_exception", "index template matching ["+name+"] not found")
	case r.URL.Path == "/":
		_, _ = io.WriteString(w, `{"name":"fake","version":{"number":"8.19.21"},"tagline":"You Know, for Search"}`)
	default:
		w.WriteHeader(http.StatusBadRequest)
		_, _ = io.WriteString(w, `{"error":"no handler found for uri ["]"}`)
	}
}

func writeFault(w http.ResponseWriter, status int, kind, reason string) {
	w.WriteHeader(status)
	_, _ = fmt.Fprintf(w, `{"error":{"root_cause":[{"type":%[1]q,"reason":%[2]q}],"type":%[1]q,"reason":%[2]q},"status":%d}`, kind, reason, status)
}

func (f *fake) bulk(text []byte) string {
	var out strings.Builder
	out.WriteString(`{"items":[`)
	for i, d := range parseBulk(f.t, text) {
		if i > 0 {
			out.WriteByte(',')
		}
		status, fault := 201, ""
		key := d.index + "/" + d.id
		if f.item != nil {
			if s, text := f.item(d); s != 0 {
				status, fault = s, text
			}
		}
		switch {
		case fault != "" || status/100 != 2:
		case d.id != "" && f.ids[key]:
			status, fault = 409, `{"type":"version_conflict_engine_exception","reason":"document already exists"}`
		default:
			f.ids[key] = true
			f.documents = append(f.documents, d)
		}
		fmt.Fprintf(&out, `{"create":{"status":%d`, status)
		if fault != "" {
			out.WriteString(`,"error":` + fault)
		}
		out.WriteString(`}}`)
	}
	return out.String() + `]}`
}

func parseBulk(t testing.TB, text []byte) (documents []stored) {
	lines := bytes.Split(bytes.TrimSuffix(text, []byte("\n")), []byte("\n"))
	if len(lines)%2 != 0 {
		t.Errorf("a bulk request with an odd number of lines: %q", text)
		return nil
	}
	for i := 0; i < len(lines); i += 2 {
		var action struct {
			Create *struct {
				Index string `json:"_index"`
				ID    string `json:"_id"`
			} `json:"create"`
		}
		if err := json.Unmarshal(lines[i], &action); err != nil || action.Create == nil || !json.Valid(lines[i+1]) {
			t.Errorf("bad lines in a bulk request: %q %q", lines[i], lines[i+1])
			return nil
		}
		documents = append(documents, stored{action.Create.Index, action.Create.ID, lines[i+1]})
	}
	return documents
}

// events returns the documents in their order, without what a data stream adds.
func (f *fake) events() (events [][]byte) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, d := range f.documents {
		events = append(events, withoutTimestamp(d.source))
	}
	return events
}

func withoutTimestamp(source []byte) []byte {
	if rest, ok := bytes.CutPrefix(source, []byte(`{"@timestamp":"`)); ok {
		_, rest, _ = bytes.Cut(rest, []byte(`",`))
		return append([]byte("{"), rest...)
	}
	return source
}

func (f *fake) bulkRequests() (n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, r := range f.requests {
		if r == "POST /_bulk" {
			n++
		}
	}
	return n
}

// flusherFor returns a flusher for a server, not started.
func flusherFor(address string, choose ...func(f *Flusher)) *Flusher {
	f := New()
	f.Addresses, f.Index = []string{address}, "flink-events"
	for _, c := range choose {
		c(f)
	}
	return f
}

func started(t testing.TB, f *Flusher) (*Flusher, *plugintest.Context) {
	t.Helper()
	require.NoError(t, f.Validate())
	c := plugintest.NewContext(t, "flusher_elasticsearch")
	require.NoError(t, f.Init(c))
	t.Cleanup(func() { require.NoError(t, f.Stop()) })
	return f, c
}

func flush(f *Flusher, groups ...*protocol.LogGroup) error {
	return f.Flush("project", "logstore", "config", groups)
}

// group makes a group of events from JSON lines.
func group(t testing.TB, lines ...string) *protocol.LogGroup {
	t.Helper()
	return flushertest.Groups(t, lines...)[0]
}

func indexPattern(t testing.TB, text string) *pattern.Pattern {
	t.Helper()
	p, err := pattern.Parse(text)
	require.NoError(t, err)
	return p
}
