//go:build e2e

package elasticsearch

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/flinktail/flinktail/flusher/internal/client"
	"github.com/flinktail/flinktail/pipeline"
	"github.com/flinktail/flinktail/pipeline/flushertest"
	"github.com/flinktail/flinktail/protocol"
	"github.com/flinktail/flinktail/test/servers"
)

// real is a real Elasticsearch, seen from an administrator's side.
type real struct {
	*servers.Elasticsearch
	client         *http.Client
	user, password string
}

func startReal(t *testing.T, o servers.ElasticsearchOptions) *real {
	s, err := servers.StartElasticsearch(t.Context(), t.TempDir(), o)
	require.NoError(t, err)
	t.Cleanup(s.Stop)
	tls, err := tlsOf(s).Config()
	require.NoError(t, err)
	transport := &http.Transport{TLSClientConfig: tls, DisableKeepAlives: true} // the suite counts goroutines
	t.Cleanup(transport.CloseIdleConnections)
	return &real{Elasticsearch: s, client: &http.Client{Transport: transport, Timeout: 30 * time.Second}, user: "elastic", password: o.Password}
}

func tlsOf(s *servers.Elasticsearch) client.TLS {
	return client.TLS{Enabled: s.CAFile() != "", CAFile: s.CAFile()}
}

// try sends a request and returns the status and the body.
func (r *real) try(method, path, body string) (int, string, error) {
	q, err := http.NewRequest(method, r.URL+path, strings.NewReader(body))
	if err != nil {
		return 0, "", err
	}
	q.Header.Set("Content-Type", "application/json")
	if r.password != "" {
		q.SetBasicAuth(r.user, r.password)
	}
	answer, err := r.client.Do(q)
	if err != nil {
		return 0, "", err
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	return answer.StatusCode, string(text), err
}

func (r *real) do(t testing.TB, method, path, body string) string {
	t.Helper()
	status, text, err := r.try(method, path, body)
	require.NoError(t, err)
	require.Equal(t, 2, status/100, "%s %s: %s", method, path, text)
	return text
}

// setting sets one of the cluster until the returned function is called.
func (r *real) setting(t testing.TB, name, value string) func() {
	t.Helper()
	r.do(t, http.MethodPut, "/_cluster/settings", fmt.Sprintf(`{"transient":{%q:%q}}`, name, value))
	return func() {
		r.do(t, http.MethodPut, "/_cluster/settings", fmt.Sprintf(`{"transient":{%q:null}}`, name))
	}
}

type hit struct {
	Index  string          `json:"_index"`
	ID     string          `json:"_id"`
	Source json.RawMessage `json:"_source"`
}

// held returns what an index holds, in the order in which it was created.
func (r *real) held(t testing.TB, index string) []hit {
	t.Helper()
	r.do(t, http.MethodPost, "/"+index+"/_refresh?ignore_unavailable=true", "")
	var found struct{ Hits struct{ Hits []hit } }
	text := r.do(t, http.MethodPost, "/"+index+"/_search?ignore_unavailable=true&size=10000", `{"sort":[{"_seq_no":{"order":"asc","unmapped_type":"long"}}]}`)
	require.NoError(t, json.Unmarshal([]byte(text), &found))
	return found.Hits.Hits
}

func (r *real) count(t testing.TB, index string) (n int) {
	t.Helper()
	r.do(t, http.MethodPost, "/"+index+"/_refresh", "")
	var counted struct{ Count int }
	require.NoError(t, json.Unmarshal([]byte(r.do(t, http.MethodGet, "/"+index+"/_count", "")), &counted))
	return counted.Count
}

func (r *real) heldIDs(t testing.TB, index string) (ids []string) {
	t.Helper()
	for _, h := range r.held(t, index) {
		ids = append(ids, h.ID)
	}
	return ids
}

func (r *real) flusher(index string, choose ...func(f *Flusher)) *Flusher {
	return flusherFor(r.URL, append([]func(f *Flusher){func(f *Flusher) { f.Index = index }}, choose...)...)
}

var destinations atomic.Int64

// destination is an index of its own.
func (r *real) destination(t testing.TB, choose func(f *Flusher)) *flushertest.Destination {
	index := fmt.Sprintf("contract-%d", destinations.Add(1))
	return &flushertest.Destination{
		New: func() pipeline.Flusher { return r.flusher(index, choose) },
		Events: func() (events [][]byte) {
			for _, h := range r.held(t, index) {
				events = append(events, withoutTimestamp(h.Source))
			}
			return events
		},
		Refuse: func() func() { return r.setting(t, "cluster.blocks.read_only", "true") },
		Hang: func() func() {
			require.NoError(t, r.Pause())
			return func() { require.NoError(t, r.Resume()) }
		},
	}
}

func TestReal(t *testing.T) {
	r := startReal(t, servers.ElasticsearchOptions{Config: map[string]string{"http.max_content_length": "1mb"}})
	for name, choose := range map[string]func(f *Flusher){
		"default":     func(*Flusher) {},
		"data stream": func(f *Flusher) { f.DataStream = true },
		"gzip":        func(f *Flusher) { f.Compression = CompressionGzip },
	} {
		t.Run("contract, "+name, func(t *testing.T) {
			flushertest.Run(t, flushertest.Suite{Start: func(t testing.TB) *flushertest.Destination { return r.destination(t, choose) }})
		})
	}
	for name, run := range map[string]func(t *testing.T, r *real){
		"connect":           func(t *testing.T, r *real) { require.NoError(t, r.flusher("connect").Connect(t.Context())) },
		"types":             realTypes,
		"index of an event": realIndex,
		"resend":            realResend,
		"unmappable":        realUnmappable,
		"429 per item":      realItem429,
		"429 whole":         realWhole429,
		"blocked":           realBlocked,
		"too large":         realTooLarge,
		"template versions": realTemplates,
		"killed mid-flow":   realKill,
	} {
		t.Run(name, func(t *testing.T) { run(t, r) })
	}
}

// Everything that an event may have ends up in the type that it shall have.
func realTypes(t *testing.T, r *real) {
	f, _ := started(t, r.flusher("types"))
	require.NoError(t, flush(f, group(t,
		`{"event_id":"1","event_time":"2026-01-05T08:00:00.123456789Z","schema_version":1,"terminal":true,"stack_trace":"java.lang.IllegalStateException: late data",
		"lineage":{"sources":[{"name":"orders"}]},"exception_chain":[{"class":"a.B","message":"m"}],"label.app":"a","label.app.kubernetes.io/name":"b","label.on":true,
		"root_message":"`+strings.Repeat("word ", 10_000)+`","kind":"`+strings.Repeat("k", 40_000)+`","other":{"a":[1,"two"]},"attempt":3,"when":"2026-01-05","big":12345678901234567890.25,"nothing":null}`,
		`{"event_id":"2","event_time":"1970-01-01T00:00:00.000Z","when":"soon","other":{"a":{"b":"c"}},"label.app.kubernetes.io":"x","label.on":"yes"}`,
		`{"event_id":"3","event_time":"2106-01-01T00:00:00.000Z","dotted.name":1,"dotted.name.more":"x"}`,
	)))
	require.Len(t, r.held(t, "types"), 3)
	for query, want := range map[string]string{
		`{"match":{"stack_trace":"late"}}`:           "1",
		`{"term":{"lineage.sources.name":"orders"}}`: "1",
		`{"term":{"exception_chain.class":"a.B"}}`:   "1",
		`{"term":{"terminal":true}}`:                 "1",
		`{"term":{"label.app":"a"}}`:                 "1",
		`{"term":{"label.app.kubernetes.io":"x"}}`:   "2",
		`{"term":{"label.on":"yes"}}`:                "2",
		`{"term":{"when":"2026-01-05"}}`:             "1",
		`{"term":{"other.a.b":"c"}}`:                 "2",
		`{"term":{"dotted.name.more":"x"}}`:          "3",
		`{"range":{"event_time":{"gt":"2026-01-05T08:00:00.123456788Z","lt":"2026-01-05T08:00:00.123456790Z"}}}`: "1",
		`{"range":{"event_time":{"gt":"2100-01-01"}}}`:                                                           "3",
	} {
		var found struct{ Hits struct{ Hits []hit } }
		require.NoError(t, json.Unmarshal([]byte(r.do(t, http.MethodPost, "/types/_search", `{"query":`+query+`}`)), &found))
		require.Len(t, found.Hits.Hits, 1, query)
		require.Equal(t, want, found.Hits.Hits[0].ID, query)
	}
}

func realIndex(t *testing.T, r *real) {
	f, _ := started(t, r.flusher("of-%{cluster}-%{+yyyy.MM.dd}"))
	long := indexOf(t, "of-%{cluster}-2026.01.06", ofCluster(strings.Repeat("x", 1000)))
	require.NoError(t, flush(f, group(t,
		`{"event_id":"1","event_time":"2026-01-05T23:59:59.999Z","cluster":"Prod EU/\\*?\"<>|,#:é"}`,
		`{"event_id":"2","event_time":"2026-01-06T00:00:00.000Z"}`,
		`{"event_id":"3","event_time":"2026-01-06T00:00:00.000Z","cluster":"`+strings.Repeat("x", 1000)+`"}`,
		`{"event_id":"`+strings.Repeat("é", 600)+`","event_time":"2026-01-06T00:00:00.000Z"}`,
		`{"event_time":"2026-01-06T00:00:00.000Z"}`,
	)))
	var indices []string
	for _, h := range r.held(t, "of-*") {
		indices = append(indices, h.Index)
	}
	require.ElementsMatch(t, []string{
		"of-prod_eu___________é-2026.01.05", "of--2026.01.06", "of--2026.01.06", "of--2026.01.06", long,
	}, indices)
}

func realResend(t *testing.T, r *real) {
	for name, dataStream := range map[string]bool{"resend": false, "resend-stream": true} {
		f, c := started(t, r.flusher(name, func(f *Flusher) { f.DataStream = dataStream }))
		g := numbered(t, 20)
		require.NoError(t, flush(f, g))
		require.NoError(t, flush(f, g))
		require.Len(t, r.held(t, name), 20)
		require.Equal(t, map[string]float64{"duplicate_events_total": 20}, c.Counters())
		isStream := strings.Contains(r.do(t, http.MethodGet, "/"+name, ""), `".ds-`+name)
		require.Equal(t, dataStream, isStream)
	}
}

func realUnmappable(t *testing.T, r *real) {
	f, _ := started(t, r.flusher("unmappable"))
	require.NoError(t, flush(f, group(t, `{"event_id":"0","attempt":1,"free":"x"}`)))
	err := flush(f, group(t,
		`{"event_id":"1"}`, `{"event_id":"2","lineage":"text"}`, `{"event_id":"3","attempt":"many"}`, `{"event_id":"4"}`, `{"event_id":"5","a..b":1}`, `{"event_id":"6","free":{"x":1}}`, `{"event_id":"7"}`,
	))
	require.Equal(t, "0/1 faulty, 0/2 faulty, 0/4 faulty, 0/5 faulty", kindOf(err))
	require.Equal(t, []string{"0", "1", "4", "7"}, r.heldIDs(t, "unmappable"))
	var partial *pipeline.PartialError
	require.ErrorAs(t, err, &partial)
	require.ErrorContains(t, partial.Failures[1].Err, "elasticsearch answers 400 document_parsing_exception: [1:")
	require.ErrorContains(t, partial.Failures[1].Err, "failed to parse field [attempt] of type [long] in document with id '3'. Preview of field's value: 'many'")
	require.ErrorContains(t, partial.Failures[1].Err, `For input string: "many"`, "the cause behind it")
}

func realItem429(t *testing.T, r *real) {
	f, _ := started(t, r.flusher("full-%{cluster}"))
	g := group(t, `{"event_id":"1","cluster":"a"}`, `{"event_id":"2","cluster":"b"}`)
	require.NoError(t, flush(f, g))
	r.do(t, http.MethodPut, "/full-a/_settings", `{"index.blocks.read_only_allow_delete":true}`)
	g = group(t, `{"event_id":"3","cluster":"a"}`, `{"event_id":"4","cluster":"b"}`)
	err := flush(f, g)
	require.Equal(t, "0/0 again", kindOf(err))
	require.ErrorContains(t, err, "elasticsearch answers 429 cluster_block_exception")
	require.Equal(t, "again", kindOf(flush(f, group(t, `{"event_id":"3","cluster":"a"}`))))
	r.do(t, http.MethodPut, "/full-a/_settings", `{"index.blocks.read_only_allow_delete":null}`)
	require.NoError(t, flush(f, g))
	require.Equal(t, []string{"1", "3"}, r.heldIDs(t, "full-a"))
	require.Equal(t, []string{"2", "4"}, r.heldIDs(t, "full-b"))
}

func realWhole429(t *testing.T, r *real) {
	f, _ := started(t, r.flusher("breaker"))
	require.NoError(t, flush(f, numbered(t, 1)))
	end := r.setting(t, "network.breaker.inflight_requests.limit", "10b")
	err := flush(f, numbered(t, 5))
	end()
	require.Equal(t, "again", kindOf(err))
	require.ErrorContains(t, err, "elasticsearch answers 429 circuit_breaking_exception: [inflight_requests] Data too large")
	require.NoError(t, flush(f, numbered(t, 5)))
	require.Len(t, r.held(t, "breaker"), 5)
}

// What a person must mend blocks, and nothing is given up.
func realBlocked(t *testing.T, r *real) {
	for name, c := range map[string]struct {
		begin func(t *testing.T) (end func())
		text  string
	}{
		"index may not be created": {func(t *testing.T) func() { return r.setting(t, "action.auto_create_index", "false") }, "404 index_not_found_exception"},
		"no more shards":           {func(t *testing.T) func() { return r.setting(t, "cluster.max_shards_per_node", "1") }, "400 validation_exception"},
		"index is closed": {func(t *testing.T) func() {
			r.do(t, http.MethodPut, "/stuck", "")
			r.do(t, http.MethodPost, "/stuck/_close", "")
			return func() { r.do(t, http.MethodPost, "/stuck/_open", "") }
		}, "400 index_closed_exception"},
		"index takes no writes": {func(t *testing.T) func() {
			r.do(t, http.MethodPut, "/stuck", `{"settings":{"index.blocks.write":true}}`)
			return func() { r.do(t, http.MethodPut, "/stuck/_settings", `{"index.blocks.write":null}`) }
		}, "403 cluster_block_exception"},
		"alias without a write index": {func(t *testing.T) func() {
			for _, index := range []string{"stuck-1", "stuck-2"} {
				r.do(t, http.MethodPut, "/"+index, `{"aliases":{"stuck":{}}}`)
			}
			return func() {
				for _, index := range []string{"stuck-1", "stuck-2"} {
					r.do(t, http.MethodDelete, "/"+index, "")
				}
			}
		}, "400 illegal_argument_exception: no write index is defined for alias [stuck]"},
		"pipeline is missing": {func(t *testing.T) func() {
			r.do(t, http.MethodPut, "/stuck", `{"settings":{"index.default_pipeline":"none"}}`)
			return func() { r.do(t, http.MethodPut, "/stuck/_settings", `{"index.default_pipeline":null}`) }
		}, "400 illegal_argument_exception: pipeline with id [none] does not exist"},
	} {
		t.Run(name, func(t *testing.T) {
			f, _ := started(t, r.flusher("stuck"))
			end := c.begin(t)
			err := flush(f, numbered(t, 3))
			end()
			require.Equal(t, "blocked", kindOf(err), "%v", err)
			require.ErrorContains(t, err, c.text)
			require.NoError(t, flush(f, numbered(t, 3)))
			require.Equal(t, []string{"e0", "e1", "e2"}, r.heldIDs(t, "stuck"))
			r.do(t, http.MethodDelete, "/stuck", "")
		})
	}
	r.do(t, http.MethodPut, "/_index_template/foreign-stream", `{"index_patterns":["foreign-stream"],"data_stream":{},"priority":900}`)
	f, _ := started(t, r.flusher("foreign-stream"))
	err := flush(f, numbered(t, 3))
	require.Equal(t, "blocked", kindOf(err), "a data stream without DataStream")
	require.ErrorContains(t, err, "data stream timestamp field [@timestamp] is missing")
}

func realTooLarge(t *testing.T, r *real) {
	f, _ := started(t, r.flusher("large"))
	var lines []string
	for i := range 40 {
		size := 100_000
		if i == 17 {
			size = 1_200_000
		}
		lines = append(lines, fmt.Sprintf(`{"event_id":"%d","message":%q}`, i, strings.Repeat("x", size)))
	}
	err := flush(f, group(t, lines...))
	require.Equal(t, "0/17 faulty", kindOf(err), "%.1000v", err)
	require.ErrorContains(t, err, "413 Request Entity Too Large for this event alone")
	require.Len(t, r.held(t, "large"), 39)
}

func realTemplates(t *testing.T, r *real) {
	const path = "/_index_template/flinktail-templates"
	version := func() (version int) {
		var err error
		version, _, err = readTemplate([]byte(r.do(t, http.MethodGet, path, "")))
		require.NoError(t, err)
		return version
	}
	put := func(version int) {
		r.do(t, http.MethodPut, path, fmt.Sprintf(`{"index_patterns":["templates"],"version":%d,"template":{}}`, version))
	}
	once := func() {
		f, _ := started(t, r.flusher("templates"))
		require.NoError(t, flush(f, numbered(t, 1)))
	}
	once()
	require.Equal(t, templateVersion, version())
	put(templateVersion + 1)
	once()
	require.Equal(t, templateVersion+1, version())
	put(templateVersion - 1)
	once()
	require.Equal(t, templateVersion, version())

	r.do(t, http.MethodPut, "/_index_template/foreign", `{"index_patterns":["foreig*"],"priority":207,"template":{}}`)
	f, _ := started(t, r.flusher("foreign"))
	err := flush(f, numbered(t, 1))
	require.Equal(t, "blocked", kindOf(err))
	require.ErrorContains(t, err, "matching patterns from existing templates [foreign]")
	r.do(t, http.MethodDelete, "/_index_template/foreign", "")
	require.NoError(t, flush(f, numbered(t, 1)))
}

// Elasticsearch is killed, and paused, while events flow: every event is there once.
func realKill(t *testing.T, r *real) {
	f, c := started(t, r.flusher("killed", func(f *Flusher) { f.Timeout = 5 * time.Second }))
	const each = 50
	var delivered, failures atomic.Int64
	enough, done := make(chan struct{}), make(chan error, 1)
	go func() {
		for n := 0; ; n++ {
			select {
			case <-enough:
				done <- nil
				return
			default:
			}
			lines := make([]string, each)
			for i := range lines {
				lines[i] = fmt.Sprintf(`{"event_id":"%d-%d"}`, n, i)
			}
			logs := group(t, lines...).Logs
			for err := flush(f, &protocol.LogGroup{Logs: logs}); err != nil; err = flush(f, &protocol.LogGroup{Logs: logs}) {
				failures.Add(1)
				var partial *pipeline.PartialError
				switch {
				case errors.As(err, new(*pipeline.BlockedError)), t.Context().Err() != nil:
					done <- err
					return
				case errors.As(err, &partial):
					logs = pick(logs, partial)
				}
				time.Sleep(10 * time.Millisecond)
			}
			delivered.Add(1)
		}
	}()
	reach := func(n *atomic.Int64, more int64) {
		t.Helper()
		want := n.Load() + more
		require.Eventually(t, func() bool { return n.Load() >= want }, time.Minute, 5*time.Millisecond)
	}
	reach(&delivered, 20)
	r.Kill()
	require.NoError(t, r.Start(t.Context()))
	reach(&delivered, 20)
	require.NoError(t, r.Pause())
	t.Cleanup(func() { require.NoError(t, r.Resume()) })
	reach(&failures, 1)
	require.NoError(t, r.Resume())
	reach(&delivered, 20)
	close(enough)
	require.NoError(t, <-done)
	require.EqualValues(t, delivered.Load()*each, r.count(t, "killed"))
	t.Logf("%d events, %d attempts failed, %v", delivered.Load()*each, failures.Load(), c.Counters())
}

func pick(logs []*protocol.Log, e *pipeline.PartialError) (picked []*protocol.Log) {
	for _, f := range e.Failures {
		picked = append(picked, logs[f.Log])
	}
	return picked
}

func TestRealSecurity(t *testing.T) {
	r := startReal(t, servers.ElasticsearchOptions{Password: "elastic-secret", TLS: true})
	withTLS := func(f *Flusher) { f.Authentication.TLS = tlsOf(r.Elasticsearch) }
	me := func(user, password string) func(f *Flusher) {
		return func(f *Flusher) {
			withTLS(f)
			f.Authentication.PlainText = PlainText{user, pipeline.NewSecret(password)}
		}
	}
	both := func(f *Flusher) (connect, flushed error) {
		f, _ = started(t, f)
		return f.Connect(t.Context()), flush(f, numbered(t, 2))
	}
	delivers := func(f *Flusher) {
		t.Helper()
		connect, flushed := both(f)
		require.NoError(t, connect)
		require.NoError(t, flushed)
		require.Len(t, r.held(t, f.Index), 2)
	}
	blocked := func(f *Flusher, connect, flushed string) {
		t.Helper()
		err1, err2 := both(f)
		if connect == "" {
			require.NoError(t, err1)
		} else {
			require.Equal(t, "blocked", kindOf(err1), "%v", err1)
			require.ErrorContains(t, err1, connect)
		}
		require.Equal(t, "blocked", kindOf(err2), "%v", err2)
		require.ErrorContains(t, err2, flushed)
		for _, err := range []error{err1, err2} {
			require.NotContains(t, fmt.Sprint(err), "secret")
		}
	}
	delivers(r.flusher("right", me("elastic", "elastic-secret")))
	blocked(r.flusher("wrong", me("elastic", "not-the-secret")), "401 security_exception", "401 security_exception: unable to authenticate user [elastic]")
	blocked(r.flusher("nobody", withTLS), "401 security_exception: missing authentication credentials", "401 security_exception")
	other, err := servers.NewAuthority(t.TempDir())
	require.NoError(t, err)
	blocked(r.flusher("authority", me("elastic", "elastic-secret"), func(f *Flusher) { f.Authentication.TLS.CAFile = other.CAFile }),
		"certificate signed by unknown authority", "certificate signed by unknown authority")

	// An API key with all rights, and one without the right to install templates.
	key := func(roles string) func(f *Flusher) {
		var created struct{ Encoded string }
		require.NoError(t, json.Unmarshal([]byte(r.do(t, http.MethodPost, "/_security/api_key", `{"name":"flinktail","role_descriptors":`+roles+`}`)), &created))
		return func(f *Flusher) { withTLS(f); f.Authentication.APIKey = pipeline.NewSecret(created.Encoded) }
	}
	enough := `"indices":[{"names":["key*"],"privileges":["create_doc","auto_configure"]}]`
	delivers(r.flusher("key-all", key(`{}`)))
	delivers(r.flusher("key-least", key(`{"r":{"cluster":["manage_index_templates"],`+enough+`}}`)))
	delivers(r.flusher("key-no-template", key(`{"r":{`+enough+`}}`), withoutTemplate))
	delivers(r.flusher("key-stream", key(`{"r":{"cluster":["manage_index_templates"],`+enough+`}}`), func(f *Flusher) { f.DataStream = true }))
	blocked(r.flusher("key-template", key(`{"r":{`+enough+`}}`)), "lacks the privilege manage_index_templates (or set InstallTemplate to false)", "403 security_exception")
	blocked(r.flusher("elsewhere", key(`{"r":{`+enough+`}}`), withoutTemplate), "lacks the privilege create_doc on elsewhere", "403 security_exception")

	// A right that is given later.
	f, _ := started(t, r.flusher("key-later", me("later", "later-secret"), withoutTemplate))
	r.do(t, http.MethodPut, "/_security/role/later", `{"cluster":[]}`)
	r.do(t, http.MethodPut, "/_security/user/later", `{"password":"later-secret","roles":["later"]}`)
	require.Equal(t, "blocked", kindOf(flush(f, numbered(t, 2))))
	r.do(t, http.MethodPut, "/_security/role/later", `{`+enough+`}`)
	require.NoError(t, flush(f, numbered(t, 2)))
	require.Len(t, r.held(t, "key-later"), 2)
}
