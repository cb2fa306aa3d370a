package elasticsearch

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/flinktail/flinktail/pipeline"
	"github.com/flinktail/flinktail/protocol"
)

// numbered makes events with the ids e0, e1 and so on.
func numbered(t testing.TB, n int) *protocol.LogGroup {
	lines := make([]string, n)
	for i := range lines {
		lines[i] = fmt.Sprintf(`{"event_id":"e%d","kind":"job_status","cluster":"prod"}`, i)
	}
	return group(t, lines...)
}

func withoutTemplate(f *Flusher) { f.InstallTemplate = false }

// kindOf names what the engine makes of an error.
func kindOf(err error) string {
	var (
		blocked   *pipeline.BlockedError
		throttle  *pipeline.ThrottleError
		permanent *pipeline.PermanentError
		partial   *pipeline.PartialError
	)
	switch {
	case err == nil:
		return "delivered"
	case errors.As(err, &partial):
		var kinds []string
		for _, f := range partial.Failures {
			kind := "faulty"
			if f.Retryable {
				kind = kindOf(f.Err)
			}
			kinds = append(kinds, fmt.Sprintf("%d/%d %s", f.Group, f.Log, kind))
		}
		return strings.Join(kinds, ", ")
	case errors.As(err, &permanent):
		return "permanent"
	case errors.As(err, &blocked):
		return "blocked"
	case errors.As(err, &throttle):
		return "throttle " + throttle.After.String()
	}
	return "again"
}

// What the answer to a whole request means.
func TestWholeAnswers(t *testing.T) {
	es, other := map[string]string{}, map[string]string{productHeader: "", "Server": "nginx"}
	for _, c := range []struct {
		status  int
		headers map[string]string
		body    string
		want    string
		text    string
	}{
		{401, es, `{"error":{"type":"security_exception","reason":"unable to authenticate user [me]"},"status":401}`, "blocked", "elasticsearch answers 401 security_exception: unable to authenticate user [me]"},
		{401, other, `{"error":{"type":"security_exception","reason":"unable to authenticate"},"status":401}`, "blocked", "elasticsearch answers 401 security_exception: unable to authenticate"},
		{403, es, `{"error":{"type":"cluster_block_exception","reason":"blocked by: [FORBIDDEN/6/cluster read-only (api)];"}}`, "blocked", "FORBIDDEN/6"},
		{404, es, `{"error":"no handler found"}`, "blocked", "no handler found"},
		{405, es, ``, "blocked", "405 Method Not Allowed"},
		{301, es, ``, "blocked", "301"},
		{202, es, `{}`, "blocked", "202"},
		{408, es, ``, "again", "408"},
		{429, es, `{"error":{"type":"circuit_breaking_exception","reason":"Data too large"}}`, "again", "circuit_breaking_exception"},
		{429, map[string]string{"Retry-After": "7"}, ``, "throttle 7s", "429"},
		{500, es, ``, "again", "500"},
		{503, es, `{"error":{"type":"cluster_block_exception","reason":"state not recovered"}}`, "again", "state not recovered"},
		{503, map[string]string{"Retry-After": "2"}, `<html>`, "throttle 2s", "503"},

		{301, map[string]string{productHeader: "", "Location": "https://es1/"}, ``, "blocked", "not Elasticsearch but a server on the way answers 301 Moved Permanently to https://es1/"},
		{400, other, `<html>`, "blocked", "a server on the way answers 400 Bad Request (nginx)"},
		{401, other, ``, "blocked", "(nginx)"},
		{404, other, ``, "blocked", "(nginx)"},
		{407, other, ``, "blocked", "407"},
		{502, other, `<html>`, "again", "502 Bad Gateway (nginx)"},
		{504, other, ``, "again", "504"},
	} {
		t.Run(fmt.Sprint(c.status, " ", c.text), func(t *testing.T) {
			s := newFake(t)
			f, _ := started(t, flusherFor(s.URL, withoutTemplate))
			end := s.answers(func(w http.ResponseWriter, _ *http.Request, _ []byte) bool {
				for name, value := range c.headers {
					w.Header().Set(name, value)
				}
				w.WriteHeader(c.status)
				_, _ = w.Write([]byte(c.body))
				return true
			})
			g := numbered(t, 3)
			err := flush(f, g)
			require.Equal(t, c.want, kindOf(err), "%v", err)
			require.ErrorContains(t, err, c.text)
			require.Equal(t, 1, s.bulkRequests())
			end()
			require.NoError(t, flush(f, g))
			require.Equal(t, []string{"e0", "e1", "e2"}, s.heldIDs())
		})
	}
}

// What the result of one document means; the others are delivered.
func TestItems(t *testing.T) {
	for _, c := range []struct {
		status        int
		kind, reason  string
		after         string
		want, without string
	}{
		{status: 200, want: "delivered"},
		{status: 409, kind: "version_conflict_engine_exception", reason: "[e1]: version conflict, document already exists", want: "delivered"},
		{status: 409, kind: "something_else", want: "0/1 again"},
		{status: 408, kind: "timeout", want: "0/1 again"},
		{status: 429, kind: "es_rejected_execution_exception", want: "0/1 again"},
		{status: 429, kind: "cluster_block_exception", reason: "[TOO_MANY_REQUESTS/12/disk usage exceeded flood-stage watermark]", after: "9", want: "0/1 throttle 9s"},
		{status: 500, kind: "some_exception", want: "0/1 again"},
		{status: 503, kind: "unavailable_shards_exception", after: "1", want: "0/1 throttle 1s"},
		{status: 302, want: "0/1 again"},
		{status: 400, kind: "document_parsing_exception", reason: "[1:5] failed to parse field [n] of type [long]", want: "0/1 faulty"},
		{status: 400, kind: "mapper_parsing_exception", reason: "failed to parse", want: "0/1 faulty"},
		{status: 400, kind: "illegal_argument_exception", reason: "mapper [a] cannot be changed from type [long] to [keyword]", want: "0/1 faulty"},
		{status: 400, kind: "strict_dynamic_mapping_exception", want: "0/1 faulty"},
		{status: 400, kind: "invalid_index_name_exception", want: "0/1 faulty"},
		{status: 400, kind: "document_parsing_exception", reason: "failed. Preview of field's value: 'pipeline with id [x'", want: "0/1 faulty"},
		{status: 413, kind: "too_large", want: "0/1 faulty"},
		{status: 401, kind: "security_exception", want: "0/1 blocked"},
		{status: 403, kind: "security_exception", want: "0/1 blocked"},
		{status: 403, kind: "cluster_block_exception", reason: "index [flink] blocked by: [FORBIDDEN/8/index write (api)];", want: "0/1 blocked"},
		{status: 404, kind: "index_not_found_exception", reason: "no such index [flink] and [action.auto_create_index] is [false]", want: "0/1 blocked"},
		{status: 400, kind: "index_closed_exception", reason: "closed", want: "0/1 blocked"},
		{status: 400, kind: "validation_exception", reason: "this action would add [2] shards, but this cluster currently has [10]/[1] maximum normal shards open", want: "0/1 blocked"},
		{status: 400, kind: "illegal_argument_exception", reason: "no write index is defined for alias [al].", want: "0/1 blocked"},
		{status: 400, kind: "illegal_argument_exception", reason: "pipeline with id [nope] does not exist", want: "0/1 blocked"},
		{status: 400, kind: "document_parsing_exception", reason: "[1:7] failed to parse: data stream timestamp field [@timestamp] is missing", want: "0/1 blocked"},
	} {
		t.Run(fmt.Sprint(c.status, " ", c.kind, c.reason), func(t *testing.T) {
			s := newFake(t)
			f, context := started(t, flusherFor(s.URL, withoutTemplate))
			fault := ""
			if c.kind != "" {
				fault = fmt.Sprintf(`{"type":%q,"reason":%q}`, c.kind, c.reason)
			}
			end := s.refuses(func(d stored) (int, string) {
				if d.id == "e1" {
					return c.status, fault
				}
				return 0, ""
			})
			s.answers(func(w http.ResponseWriter, _ *http.Request, _ []byte) bool {
				if c.after != "" {
					w.Header().Set("Retry-After", c.after)
				}
				return false
			})
			g := numbered(t, 3)
			err := flush(f, g)
			require.Equal(t, c.want, kindOf(err), "%v", err)
			var partial *pipeline.PartialError
			if errors.As(err, &partial) {
				require.ErrorContains(t, partial.Failures[0].Err, strings.TrimSpace(fmt.Sprintf("elasticsearch answers %d %s", c.status, c.kind)))
				require.ErrorContains(t, partial.Failures[0].Err, c.reason)
			} else if c.status == 409 {
				require.Equal(t, map[string]float64{"duplicate_events_total": 1}, context.Counters())
			}
			if c.want != "delivered" {
				require.ElementsMatch(t, []string{"e0", "e2"}, s.heldIDs())
				end()
				require.NoError(t, flush(f, g))
				require.ElementsMatch(t, []string{"e0", "e2", "e1"}, s.heldIDs())
			}
		})
	}
}

// When all of a batch fail, the error says what matters most; a list is for when they differ in more than that.
func TestAllItemsFail(t *testing.T) {
	for _, c := range []struct {
		statuses [3]int
		want     string
	}{
		{[3]int{429, 503, 500}, "throttle 5s"},
		{[3]int{429, 403, 429}, "blocked"},
		{[3]int{403, 403, 403}, "blocked"},
		{[3]int{400, 403, 429}, "0/0 faulty, 0/1 blocked, 0/2 throttle 5s"},
		{[3]int{400, 400, 400}, "0/0 faulty, 0/1 faulty, 0/2 faulty"},
		{[3]int{403, 201, 403}, "0/0 blocked, 0/2 blocked"},
	} {
		s := newFake(t)
		f, _ := started(t, flusherFor(s.URL, withoutTemplate))
		s.answers(func(w http.ResponseWriter, _ *http.Request, _ []byte) bool {
			w.Header().Set("Retry-After", "5")
			return false
		})
		s.refuses(func(d stored) (int, string) { return c.statuses[d.id[1]-'0'], `{"type":"t"}` })
		if c.statuses[1] == 201 {
			s.refuses(func(d stored) (int, string) {
				if status := c.statuses[d.id[1]-'0']; status != 201 {
					return status, `{"type":"t"}`
				}
				return 0, ""
			})
		}
		err := flush(f, numbered(t, 3))
		require.Equal(t, c.want, kindOf(err), "%v", err)
	}
}

// A resend of what was delivered is a conflict that counts as delivered.
func TestResend(t *testing.T) {
	s := newFake(t)
	f, c := started(t, flusherFor(s.URL))
	g := numbered(t, 10)
	require.NoError(t, flush(f, g))
	require.NoError(t, flush(f, g))
	require.Len(t, s.heldIDs(), 10)
	require.Equal(t, map[string]float64{"duplicate_events_total": 10}, c.Counters())

	require.NoError(t, flush(f, group(t, `{"kind":"job_status"}`)))
	require.NoError(t, flush(f, group(t, `{"kind":"job_status"}`)))
	require.Len(t, s.heldIDs(), 12, "without an event_id nobody can tell a resend")
}

// An answer that cannot be trusted is no acknowledgement: all is sent again, and found to be there.
func TestAnswersThatLie(t *testing.T) {
	for name, answer := range map[string]string{
		"empty":         ``,
		"one too few":   string(answerOf(2)),
		"one too many":  string(answerOf(4)),
		"truncated":     string(answerOf(3)[:60]),
		"no JSON":       `<html>welcome</html>`,
		"no items":      `{"errors":false}`,
		"too large":     `{"items":[],"x":"` + strings.Repeat("x", answerRoom+3*documentRoom) + `"}`,
		"error instead": `{"error":{"type":"t"},"status":400}`,
	} {
		t.Run(name, func(t *testing.T) {
			s := newFake(t)
			f, c := started(t, flusherFor(s.URL, withoutTemplate))
			end := s.answers(func(w http.ResponseWriter, _ *http.Request, body []byte) bool {
				s.mu.Lock()
				s.bulk(body)
				s.mu.Unlock()
				_, _ = w.Write([]byte(answer))
				return true
			})
			g := numbered(t, 3)
			require.Equal(t, "again", kindOf(flush(f, g)))
			end()
			require.NoError(t, flush(f, g))
			require.Equal(t, []string{"e0", "e1", "e2"}, s.heldIDs())
			require.Equal(t, map[string]float64{"duplicate_events_total": 3}, c.Counters())
		})
	}
}

// errors:false does not make a refused document a delivered one.
func TestErrorsFlagIsNotTrusted(t *testing.T) {
	s := newFake(t)
	f, _ := started(t, flusherFor(s.URL, withoutTemplate))
	s.answers(func(w http.ResponseWriter, _ *http.Request, _ []byte) bool {
		_, _ = w.Write([]byte(`{"errors":false,"items":[{"create":{"status":201}},{"create":{"status":400,"error":{"type":"t"}}}]}`))
		return true
	})
	require.Equal(t, "0/1 faulty", kindOf(flush(f, numbered(t, 2))))
}

// tooLarge answers 413 to requests above limit bytes, as Elasticsearch and proxies do: without a body.
func tooLarge(limit int) func(w http.ResponseWriter, r *http.Request, body []byte) bool {
	return func(w http.ResponseWriter, _ *http.Request, body []byte) bool {
		if len(body) > limit {
			w.Header().Del(productHeader)
			w.WriteHeader(http.StatusRequestEntityTooLarge)
			return true
		}
		return false
	}
}

func TestTooLargeIsDivided(t *testing.T) {
	for _, compression := range []string{CompressionNone, CompressionGzip} {
		t.Run(compression, func(t *testing.T) {
			s := newFake(t)
			f, _ := started(t, flusherFor(s.URL, withoutTemplate, func(f *Flusher) { f.Compression = compression }))
			s.answers(tooLarge(1000))
			small := numbered(t, 20)
			require.NoError(t, flush(f, small))
			require.Len(t, s.heldIDs(), 20)
			require.True(t, slices.IsSorted(s.heldIDs()[:10]), "in order")

			g := group(t, `{"event_id":"a"}`, `{"event_id":"b","message":"`+strings.Repeat("x", 2000)+`"}`, `{"event_id":"c"}`)
			err := flush(f, numbered(t, 1), g)
			require.Equal(t, "1/1 faulty", kindOf(err), "%v", err)
			var partial *pipeline.PartialError
			require.ErrorAs(t, err, &partial)
			require.ErrorContains(t, partial.Failures[0].Err, "413 Request Entity Too Large for this event alone")
			require.Subset(t, s.heldIDs(), []string{"a", "c"})
			require.NotContains(t, s.heldIDs(), "b")
			for _, size := range s.sizes {
				require.LessOrEqual(t, size, 1000)
			}
		})
	}
}

// Some servers refuse a request before they have read it, and close: their answer is lost in the reset, unless they are asked first.
func TestTooLargeForAServerThatClosesAtOnce(t *testing.T) {
	s := newFake(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			r, err := http.ReadRequest(bufio.NewReader(c))
			if err == nil && r.ContentLength > 1_000_000 {
				_, _ = io.WriteString(c, "HTTP/1.1 413 Request Entity Too Large\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
			} else if err == nil {
				body, _ := io.ReadAll(r.Body)
				s.mu.Lock()
				answer := s.bulk(body)
				s.mu.Unlock()
				_, _ = fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nConnection: close\r\n%s: Elasticsearch\r\nContent-Length: %d\r\n\r\n%s", productHeader, len(answer), answer)
			}
			_ = c.Close()
		}
	})
	t.Cleanup(func() { require.NoError(t, l.Close()); wg.Wait() })
	f, _ := started(t, flusherFor("http://"+l.Addr().String(), withoutTemplate))
	for i := range 5 {
		lines := make([]string, 9)
		for n := range lines {
			lines[n] = fmt.Sprintf(`{"event_id":"%d-%d","message":%q}`, i, n, strings.Repeat("x", 400_000+n/8*3_000_000))
		}
		require.Equal(t, "0/8 faulty", kindOf(flush(f, group(t, lines...))))
	}
	require.Len(t, s.heldIDs(), 40)
}

// A whole request that is refused for one of its documents costs that one alone.
func TestWholeRefusedForOne(t *testing.T) {
	s := newFake(t)
	f, _ := started(t, flusherFor(s.URL, withoutTemplate))
	s.answers(func(w http.ResponseWriter, _ *http.Request, body []byte) bool {
		if strings.Contains(string(body), `"e0"`) {
			writeFault(w, 400, "action_request_validation_exception", "id is too long")
			return true
		}
		return false
	})
	g := numbered(t, 9)
	err := flush(f, g)
	require.Equal(t, "0/0 blocked", kindOf(err), "the first request ever: it may be our configuration")
	require.Len(t, s.heldIDs(), 8)
	err = flush(f, g)
	require.Equal(t, "0/0 faulty", kindOf(err), "Elasticsearch takes our requests, so it is the event")
	require.ErrorContains(t, err, "id is too long for this event alone")
}

// When every request is refused nothing is given up.
func TestEveryRequestRefused(t *testing.T) {
	s := newFake(t)
	f, _ := started(t, flusherFor(s.URL, withoutTemplate))
	s.answers(func(w http.ResponseWriter, _ *http.Request, _ []byte) bool {
		writeFault(w, 400, "illegal_argument_exception", "explicit index in bulk is not allowed")
		return true
	})
	for range 3 {
		require.Equal(t, "blocked", kindOf(flush(f, numbered(t, 4))))
	}
}

func TestNotElasticsearch(t *testing.T) {
	for name, c := range map[string]struct{ server, root, want string }{
		"OpenSearch":        {"", `{"version":{"distribution":"opensearch","number":"2.11.0"},"tagline":"The OpenSearch Project"}`, "it says it is opensearch 2.11.0"},
		"old Elasticsearch": {"", `{"version":{"number":"7.10.2"}}`, "it says it is version 7.10.2"},
		"nginx":             {"nginx/1.27", `<html>`, "it says it is nginx/1.27"},
		"nobody":            {"", ``, "it does not say what it is"},
	} {
		t.Run(name, func(t *testing.T) {
			authorized := 0
			s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if c.server != "" {
					w.Header().Set("Server", c.server)
				}
				if r.URL.Path == "/" {
					if _, _, ok := r.BasicAuth(); ok {
						authorized++
					}
					_, _ = w.Write([]byte(c.root))
				} else {
					_, _ = w.Write(answerOf(1))
				}
			}))
			t.Cleanup(s.Close)
			for _, choose := range []func(f *Flusher){withoutTemplate, func(*Flusher) {}} {
				f, _ := started(t, flusherFor(s.URL, choose, func(f *Flusher) { f.Authentication.PlainText = PlainText{"me", pipeline.NewSecret("secret")} }))
				err := flush(f, numbered(t, 1))
				require.Equal(t, "blocked", kindOf(err))
				require.ErrorContains(t, err, "the server at "+s.URL+" is no Elasticsearch of version 8 or later: "+c.want)
				require.NotContains(t, err.Error(), "secret")
			}
			require.Zero(t, authorized)
			f := flusherFor(s.URL)
			err := f.Connect(t.Context())
			require.Equal(t, "blocked", kindOf(err))
			require.ErrorContains(t, err, c.want)
		})
	}
}

func TestAuthorization(t *testing.T) {
	for want, a := range map[string]Authentication{
		"":                    {},
		"Basic bWU6c2VjcmV0":  {PlainText: PlainText{"me", pipeline.NewSecret("secret")}},
		"APIKey aWQ6c2VjcmV0": {APIKey: pipeline.NewSecret("aWQ6c2VjcmV0")},
	} {
		s := newFake(t)
		got := "none"
		s.answers(func(_ http.ResponseWriter, r *http.Request, _ []byte) bool {
			got = r.Header.Get("Authorization")
			return false
		})
		f, _ := started(t, flusherFor(s.URL, func(f *Flusher) { f.Authentication = a }))
		require.NoError(t, flush(f, numbered(t, 1)))
		require.Equal(t, want, got)
	}
}

// A server that refuses a request may repeat it.
func TestRepeatedSecrets(t *testing.T) {
	for name, a := range map[string]Authentication{
		"password": {PlainText: PlainText{"me", pipeline.NewSecret("s3cret")}},
		"API key":  {APIKey: pipeline.NewSecret("czNjcmV0LWtleQ==")},
	} {
		for _, form := range []string{"%s", `{"error":{"type":"security_exception","reason":"we got %s"}}`} {
			for _, status := range []int{302, 400, 401, 403, 429, 503} {
				s := newFake(t)
				s.answers(func(w http.ResponseWriter, r *http.Request, _ []byte) bool {
					_, password, _ := r.BasicAuth()
					w.Header().Set("Location", "/?from="+url.QueryEscape(r.Header.Get("Authorization")))
					w.WriteHeader(status)
					_, _ = fmt.Fprintf(w, form, r.Header.Get("Authorization")+password)
					return true
				})
				f, c := started(t, flusherFor(s.URL, func(f *Flusher) { f.Authentication = a }))
				errs := []error{flush(f, numbered(t, 1)), f.Connect(t.Context())}
				for _, err := range errs {
					if form != "%s" && err != nil {
						require.Regexp(t, `we got .*\*\*\*`, err.Error())
					}
					for _, secret := range []string{"s3cret", "bWU6czNjcmV0", "czNjcmV0LWtleQ"} {
						require.NotContains(t, fmt.Sprint(err, c.Logs()), secret, "%s %d", name, status)
					}
				}
				require.Error(t, errs[0])
			}
		}
	}
}

// deadAddress is one where nobody listens.
func deadAddress(t *testing.T) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, l.Close())
	return "http://" + l.Addr().String()
}

func TestOtherNodes(t *testing.T) {
	hanging := make(chan struct{})
	bad := map[string]http.HandlerFunc{
		"502": func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadGateway) },
		"hangs": func(_ http.ResponseWriter, r *http.Request) {
			select {
			case <-hanging:
			case <-r.Context().Done():
			}
		},
	}
	t.Cleanup(func() { close(hanging) })
	for name := range map[string]bool{"502": true, "hangs": true, "absent": true} {
		t.Run(name, func(t *testing.T) {
			s := newFake(t)
			address := deadAddress(t)
			if handler := bad[name]; handler != nil {
				server := httptest.NewServer(handler)
				t.Cleanup(server.Close)
				address = server.URL
			}
			f, _ := started(t, flusherFor("", func(f *Flusher) {
				f.Addresses = []string{address, s.URL}
				if name != "502" { // a node that answers stays in the round
					f.Addresses = []string{address, deadAddress(t), deadAddress(t), s.URL}
				}
				f.HTTPConfig.ResponseHeaderTimeout = 50 * time.Millisecond
			}))
			for i := range 4 {
				require.NoError(t, flush(f, group(t, fmt.Sprintf(`{"event_id":"%d"}`, i))))
			}
			require.Equal(t, []string{"0", "1", "2", "3"}, s.heldIDs())
		})
	}
	t.Run("all absent", func(t *testing.T) {
		f, _ := started(t, flusherFor("", func(f *Flusher) { f.Addresses = []string{deadAddress(t), deadAddress(t)} }))
		for range 3 {
			require.Equal(t, "again", kindOf(flush(f, numbered(t, 1))))
		}
	})
}

func TestTimeout(t *testing.T) {
	s := newFake(t)
	f, _ := started(t, flusherFor(s.URL, withoutTemplate, func(f *Flusher) { f.Timeout = 50 * time.Millisecond }))
	s.answers(func(_ http.ResponseWriter, r *http.Request, _ []byte) bool { <-r.Context().Done(); return true })
	err := flush(f, numbered(t, 2))
	require.Equal(t, "again", kindOf(err))
	require.ErrorContains(t, err, "no answer in time")
}

func TestStopEndsARequest(t *testing.T) {
	s := newFake(t)
	f, _ := started(t, flusherFor(s.URL, withoutTemplate))
	asked := make(chan struct{})
	s.answers(func(_ http.ResponseWriter, r *http.Request, _ []byte) bool {
		close(asked)
		<-r.Context().Done()
		return true
	})
	result := make(chan error, 1)
	go func() { result <- flush(f, numbered(t, 1)) }()
	<-asked
	require.NoError(t, f.Stop())
	select {
	case err := <-result:
		require.Equal(t, "again", kindOf(err))
	case <-time.After(2 * time.Second):
		t.Fatal("Flush goes on after Stop")
	}
}

// The lines of a request that the HTTP client may still be reading are not used for the next one.
func TestMemoryOfARequestThatEndedEarly(t *testing.T) {
	b := newBatch(indexPattern(t, "flink"), false)
	b.encode([]*protocol.LogGroup{numbered(t, 3)})
	body, err := b.body(0, 3, CompressionGzip)
	require.NoError(t, err)
	first, second := b.reader(body), b.reader(body)
	require.NoError(t, first.Close())
	require.NoError(t, first.Close())
	require.False(t, b.reset())
	other, err := b.body(0, 2, CompressionGzip)
	require.NoError(t, err)
	require.NotSame(t, &body[0], &other[0])
	require.NoError(t, second.Close())
	require.True(t, b.reset())
}

// Every document of a data stream has a @timestamp, the event's own if it has one.
func TestTimestamp(t *testing.T) {
	s := newFake(t)
	f, _ := started(t, flusherFor(s.URL, func(f *Flusher) { f.DataStream = true }))
	require.NoError(t, flush(f, group(t,
		`{"event_id":"a","event_time":"2026-01-05T08:00:00.123Z"}`,
		`{"event_id":"b","event_time":"2026-01-05T08:00:00.123456789Z","@timestamp":"2026-01-06T00:00:00Z"}`,
	)))
	require.Equal(t, `{"@timestamp":"2026-01-05T08:00:00.123Z","event_time":"2026-01-05T08:00:00.123Z","event_id":"a"}`, string(s.documents[0].source))
	require.Equal(t, `{"event_time":"2026-01-05T08:00:00.123456789Z","event_id":"b","@timestamp":"2026-01-06T00:00:00Z"}`, string(s.documents[1].source))

	require.Contains(t, string(s.templates["flinktail-flink-events"]), `"data_stream"`)
}
