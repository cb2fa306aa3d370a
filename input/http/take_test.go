package httpinput

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/flinktail/flinktail/pipeline"
	"github.com/flinktail/flinktail/protocol"
	"github.com/flinktail/flinktail/protocol/flink"
)

const (
	eventA = `{"event_id":"a","event_time":"2026-01-05T08:00:00.123Z","kind":"job_status","status_to":"RUNNING","terminal":false}`
	eventB = `{"event_id":"b","event_time":"2026-01-05T08:00:01.000Z","kind":"job_created","lineage":{"sources":[{"name":"orders"}]},"custom":7}`
)

func logGroup(t testing.TB, g *protocol.LogGroup) string {
	t.Helper()
	wire, err := protocol.AppendGroup(nil, g)
	require.NoError(t, err)
	return string(wire)
}

// decoded returns a group of the events in lines.
func decoded(t testing.TB, lines ...string) *protocol.LogGroup {
	t.Helper()
	b := protocol.NewBuilder()
	g := b.BeginGroup("topic", "source")
	b.AddTag("namespace", "streaming")
	d := protocol.NewJSONDecoder(flink.Fields, 10)
	for _, line := range lines {
		require.NoError(t, d.DecodeLine(b, []byte(line), time.Now()))
		b.EndLog()
	}
	return g
}

func TestBodies(t *testing.T) {
	r := run(t, nil)
	ndjson := eventA + "\r\n\n" + eventB // no newline at the end
	tests := []struct{ name, contentType, encoding, body string }{
		{"NDJSON", "application/x-ndjson", "", ndjson},
		{"with a parameter", "Application/X-NDJSON; charset=utf-8", "identity", ndjson + "\n"},
		{"array", "application/json", "", " [\n" + eventA + " ,\n" + eventB + "]\n"},
		{"gzip", "application/x-ndjson", "gzip", gzipped(t, []byte(ndjson))},
		{"zstd", "application/x-ndjson", "zstd", zstded(t, []byte(ndjson))},
		{"zstd, array", "application/json", "zstd", zstded(t, []byte("["+eventA+","+eventB+"]"))},
		{"log group", "application/x-protobuf", "", logGroup(t, decoded(t, eventA, eventB))},
		{"log group, gzip", "application/x-protobuf", "gzip", gzipped(t, []byte(logGroup(t, decoded(t, eventA, eventB))))},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			a := r.post(test.contentType, test.body, "Content-Encoding", test.encoding)
			require.Equal(t, http.StatusOK, a.StatusCode, a.text)
			require.Equal(t, "application/json", a.Header.Get("Content-Type"))
			require.JSONEq(t, `{"accepted":2,"rejected":[]}`, a.text)
			events := r.queue.taken()
			require.Len(t, events, 2)
			for i, want := range []string{eventA, eventB} {
				delete(events[i], "namespace") // the group's tag
				got, err := json.Marshal(events[i])
				require.NoError(t, err)
				require.JSONEq(t, want, string(got))
			}
		})
	}
	require.EqualValues(t, len(tests), r.context.Counters()[`requests_total{code="200",reason=""}`])
}

func TestObject(t *testing.T) {
	r := run(t, nil)
	a := r.post("application/json", "{\n \"event_id\": \"a\",\n \"kind\": \"job_status\"\n}")
	require.JSONEq(t, `{"accepted":1,"rejected":[]}`, a.text)
	require.Equal(t, []string{"a"}, r.queue.ids())

	a = r.post("application/json", `{"event_id":"a","event_time":"yesterday"}`)
	require.JSONEq(t, `{"accepted":0,"rejected":[{"line":1,"reason":"bad_event_time"}]}`, a.text)
	require.Empty(t, r.queue.taken())
}

func TestEmptyBodies(t *testing.T) {
	r := run(t, nil)
	for contentType, body := range map[string]string{"application/x-ndjson": "\n \n", "application/json": "[]", "application/x-protobuf": ""} {
		a := r.post(contentType, body)
		require.Equal(t, http.StatusOK, a.StatusCode, a.text)
		require.JSONEq(t, `{"accepted":0,"rejected":[]}`, a.text)
	}
	require.Empty(t, r.queue.taken())
}

func TestRejectedLines(t *testing.T) {
	r := run(t, func(in *Input) { in.MaxBodyBytes, in.MaxDecompressedBytes = 16*pipeline.MiB, 16*pipeline.MiB })
	deep := `{"event_id":"deep","x":` + strings.Repeat("[", 1000) + strings.Repeat("]", 1000) + `}`
	long := `{"event_id":"long","message":"` + strings.Repeat("x", 10_000_000) + `"}`
	fields := `{"a0":0` + strings.Repeat(`,"a":1`, protocol.MaxFields) + `}`
	body := strings.Join([]string{
		eventA, `{"event_id":`, `"text"`, deep, long, "", fields, `{"event_id":"old","schema_version":99,"message":"tab\t"}`,
		`{"event_id":"time","event_time":"yesterday"}`, "{\"event_id\":\"utf8\",\"message\":\"\xff\"}", eventB,
	}, "\n") + "\n"
	a := r.ndjson(body)
	require.Equal(t, http.StatusOK, a.StatusCode, a.text)
	require.JSONEq(t, `{"accepted":3,"rejected":[
		{"line":2,"reason":"malformed_json"}, {"line":3,"reason":"not_an_object"}, {"line":4,"reason":"nested_too_deep"},
		{"line":5,"reason":"line_too_long"}, {"line":7,"reason":"too_many_fields"}, {"line":8,"reason":"unsupported_schema_version"},
		{"line":9,"reason":"bad_event_time"}]}`, a.text)

	events := r.queue.taken()
	require.Len(t, events, 3)
	require.Equal(t, "\uFFFD", events[1]["message"], "invalid UTF-8 is repaired")

	rejected := r.context.Rejected()
	raw := map[string]string{}
	for _, reject := range rejected {
		raw[reject.Reason] = string(reject.Raw)
		require.NotEmpty(t, reject.Detail)
	}
	require.Equal(t, `{"event_id":`, raw["malformed_json"])
	require.Equal(t, deep, raw["nested_too_deep"])
	require.Equal(t, long, raw["line_too_long"])
	require.Contains(t, raw["unsupported_schema_version"], `"message":"tab\t"`)
}

func TestRejectedElements(t *testing.T) {
	r := run(t, func(in *Input) { in.MaxLineBytes = 200 })
	long := `{"event_id":"long","message":"` + strings.Repeat("x", 200) + `"}`
	a := r.post("application/json", "["+eventA+`,7,`+long+`,{"schema_version":"99"},`+eventB+"]")
	want := `{"accepted":2,"rejected":[{"line":2,"reason":"not_an_object"},{"line":3,"reason":"line_too_long"},{"line":4,"reason":"unsupported_schema_version"}]}`
	require.JSONEq(t, want, a.text)
	require.Equal(t, []string{"a", "b"}, r.queue.ids())
	require.Contains(t, string(r.context.Rejected()[1].Raw), strings.Repeat("x", 200))

	a = r.post("application/x-protobuf", logGroup(t, decoded(t, eventA, long, `{"schema_version":99}`, eventB)))
	require.JSONEq(t, `{"accepted":2,"rejected":[{"line":2,"reason":"line_too_long"},{"line":3,"reason":"unsupported_schema_version"}]}`, a.text)
	require.Equal(t, []string{"a", "b"}, r.queue.ids())
}

func TestTooManyRejectsRefuseThePost(t *testing.T) {
	r := run(t, nil)
	const limit = 1000
	r.refused(r.ndjson(eventA+"\n"+strings.Repeat("x\n", limit+1)), http.StatusBadRequest, "too_many_rejects")
	r.refused(r.post("application/json", "["+eventA+strings.Repeat(",1", limit+1)+"]"), http.StatusBadRequest, "too_many_rejects")

	a := r.ndjson(eventA + "\n" + strings.Repeat("x\n", limit))
	require.Equal(t, http.StatusOK, a.StatusCode)
	require.Len(t, r.context.Rejected(), limit)
}

func TestLogGroupKeepsWhatItCarries(t *testing.T) {
	r := run(t, nil)
	g := decoded(t, eventA)
	require.Equal(t, http.StatusOK, r.post("application/x-protobuf", logGroup(t, g)).StatusCode)
	require.True(t, protocol.Equal(g, r.queue.groups[0]), "%v", r.queue.groups[0])
}

func TestIDs(t *testing.T) {
	r := run(t, nil)
	body := `{"kind":"x"}` + "\n" + `{"event_id":"own"}` + "\n" + `{"event_id":""}` + "\n" + `{"event_id":null}`
	ids := func(header ...string) []string {
		require.Equal(t, http.StatusOK, r.ndjson(body, header...).StatusCode)
		return r.queue.ids()
	}
	first := ids("Idempotency-Key", "k")
	require.Equal(t, []string{flink.EventID("k", "1"), "own", flink.EventID("k", "3"), flink.EventID("k", "4")}, first)
	require.Equal(t, first, ids("Idempotency-Key", "k"))
	require.NotEqual(t, first, ids("Idempotency-Key", "l"))

	random := ids()
	require.Equal(t, "own", random[1])
	again := ids()
	seen := map[string]bool{}
	for _, id := range append(random, again...) {
		require.NotEmpty(t, id)
		seen[id] = true
	}
	require.Len(t, seen, 7, "without a key every post has ids of its own")
}

func TestTimeOfArrival(t *testing.T) {
	r := run(t, nil)
	before := time.Now().Truncate(time.Second)
	require.Equal(t, http.StatusOK, r.ndjson(`{"event_id":"x"}`).StatusCode)
	zero := uint32(0)
	require.Equal(t, http.StatusOK, r.post("application/x-protobuf", logGroup(t, &protocol.LogGroup{Logs: []*protocol.Log{{Time: &zero}}})).StatusCode)
	for _, g := range r.queue.groups {
		require.WithinRange(t, g.Logs[0].At(), before, time.Now().Add(time.Second))
	}
}

func TestAckTimeout(t *testing.T) {
	r := run(t, func(in *Input) { in.AckTimeout = 50 * time.Millisecond })
	r.queue.set(func(q *queue) { q.hold = true })
	a := r.ndjson(eventA)
	require.Equal(t, http.StatusServiceUnavailable, a.StatusCode)
	require.Equal(t, "5", a.Header.Get("Retry-After"))
	require.Contains(t, a.text, "queued")
	require.Equal(t, []string{"a"}, r.queue.ids(), "the events stay queued")
	require.True(t, r.in.Waiting())

	// While that post is unsettled others are not even read.
	r.queue.set(func(q *queue) { q.hold = false })
	body := &untouched{}
	a = r.send(http.MethodPost, url(r.in), "application/x-ndjson", body, "Expect", "100-continue")
	r.refused(a, http.StatusServiceUnavailable, "behind")
	require.Equal(t, "5", a.Header.Get("Retry-After"))
	require.False(t, body.read, "the body was asked for")

	r.queue.settle(nil)
	require.Equal(t, http.StatusOK, r.ndjson(eventA).StatusCode)
	require.False(t, r.in.Waiting())
}

// untouched is a body that notes when it is read.
type untouched struct{ read bool }

func (u *untouched) Read([]byte) (int, error) {
	u.read = true
	return 0, io.EOF
}

func TestLostCustodyIsNotAcknowledged(t *testing.T) {
	r := run(t, nil)
	r.queue.set(func(q *queue) { q.hold = true })
	answered := make(chan reply, 1)
	go func() { answered <- r.ndjson(eventA) }()
	r.eventually(func() bool { return r.queue.held() == 1 })
	r.queue.settle(errors.New("lost"))
	a := <-answered
	require.Equal(t, http.StatusServiceUnavailable, a.StatusCode)
	require.NotEmpty(t, a.Header.Get("Retry-After"))
}

func TestWholePostOrNothing(t *testing.T) {
	for name, test := range map[string]struct {
		fault  error
		status int
		reason string
	}{
		"full":      {pipeline.ErrFull, http.StatusTooManyRequests, "queue_full"},
		"too large": {pipeline.ErrTooLarge, http.StatusRequestEntityTooLarge, "queue_too_small"},
		"stopping":  {pipeline.ErrStopping, http.StatusServiceUnavailable, "stopping"},
		"other":     {errors.New("disk"), http.StatusServiceUnavailable, "put_failed"},
	} {
		t.Run(name, func(t *testing.T) {
			r := run(t, nil)
			r.queue.set(func(q *queue) { q.refuse = test.fault })
			a := r.ndjson(eventA + "\nno event\n" + eventB)
			r.refused(a, test.status, test.reason) // not even the bad line is taken
			if test.status != http.StatusRequestEntityTooLarge {
				require.NotEmpty(t, a.Header.Get("Retry-After"))
			}
		})
	}
}

func TestFullQueueIsWaitedFor(t *testing.T) {
	r := run(t, func(in *Input) { in.FullWait = 20 * time.Millisecond })
	r.queue.set(func(q *queue) { q.block = true })
	a := r.ndjson(eventA)
	r.refused(a, http.StatusTooManyRequests, "queue_full")
	require.Equal(t, "1", a.Header.Get("Retry-After"))
}

func TestDeadLettersFull(t *testing.T) {
	r := run(t, nil)
	r.context.FailRejects(errors.New("full"))
	a := r.ndjson(eventA + "\nno event")
	require.Equal(t, http.StatusServiceUnavailable, a.StatusCode)
	require.NotEmpty(t, a.Header.Get("Retry-After"))
}

func TestManyPostsAtOnce(t *testing.T) {
	r := run(t, nil)
	var senders sync.WaitGroup
	for sender := range 8 {
		senders.Go(func() {
			for n := range 30 {
				var body strings.Builder
				for i := range 1 + n*3 {
					fmt.Fprintf(&body, `{"event_id":"%d-%d-%d","message":"sender %d\tpost %d","x":{"n": %d}}`+"\n", sender, n, i, sender, n, i)
				}
				text, encoding := body.String(), ""
				if n%3 == 1 {
					text, encoding = gzipped(t, []byte(text)), "gzip"
				}
				if a := r.ndjson(text, "Content-Encoding", encoding); a.StatusCode != http.StatusOK {
					t.Errorf("%d: %s", a.StatusCode, a.text)
				}
			}
		})
	}
	senders.Wait()
	seen := map[string]bool{}
	for _, e := range r.queue.taken() {
		id := e["event_id"].(string)
		var sender, n, i int
		_, err := fmt.Sscanf(id, "%d-%d-%d", &sender, &n, &i)
		require.NoError(t, err, "%v", e)
		require.Equal(t, fmt.Sprintf("sender %d\tpost %d", sender, n), e["message"])
		require.Equal(t, map[string]any{"n": float64(i)}, e["x"])
		seen[id] = true
	}
	events := 0
	for n := range 30 {
		events += 8 * (1 + n*3)
	}
	require.Equal(t, events, len(seen))
}
