package httpflusher

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/klauspost/compress/zstd"
	"github.com/stretchr/testify/require"

	"github.com/flinktail/flinktail/pipeline"
	"github.com/flinktail/flinktail/pipeline/flushertest"
	"github.com/flinktail/flinktail/pipeline/plugintest"
	"github.com/flinktail/flinktail/protocol"
)

// receiver is a real HTTP server that takes events and has faults on demand.
type receiver struct {
	t       testing.TB
	address string

	mu       sync.Mutex
	server   *http.Server
	events   [][]byte
	requests []received
	faults   func(r received) *reply // nil, or what it returns: no fault
	hang     chan struct{}
}

type received struct {
	method, target, proto string
	header                http.Header
	body                  string // decompressed
	length                int64
	events                [][]byte
}

type reply struct {
	status int
	header map[string]string
	body   string
}

func newReceiver(t testing.TB) *receiver {
	r := &receiver{t: t, address: "127.0.0.1:0"}
	r.up()
	t.Cleanup(r.down)
	return r
}

func (r *receiver) url() string { return "http://" + r.address + "/v1/events?from=test" }

func (r *receiver) up() {
	listener, err := net.Listen("tcp", r.address)
	require.NoError(r.t, err)
	r.address = listener.Addr().String()
	server := &http.Server{Handler: r}
	r.server = server
	go func() { _ = server.Serve(listener) }()
}

func (r *receiver) down() { _ = r.server.Close() }

// set changes the receiver under its lock.
func (r *receiver) set(change func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	change()
}

// answer makes the receiver give these answers, the last one for ever.
func (r *receiver) answer(replies ...reply) {
	r.set(func() {
		r.faults = func(received) *reply {
			next := &replies[0]
			if len(replies) > 1 {
				replies = replies[1:]
			}
			return next
		}
	})
}

func (r *receiver) all() [][]byte {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([][]byte(nil), r.events...)
}

func (r *receiver) seen() []received {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]received(nil), r.requests...)
}

// ids are those of the events that were taken.
func (r *receiver) ids() []string { return idsOf(r.t, r.all()) }

func idsOf(t testing.TB, events [][]byte) []string {
	ids := []string{}
	for _, e := range events {
		var event struct {
			ID string `json:"event_id"`
		}
		require.NoError(t, json.Unmarshal(e, &event), "%s", e)
		ids = append(ids, event.ID)
	}
	return ids
}

func (r *receiver) ServeHTTP(w http.ResponseWriter, request *http.Request) {
	got, err := read(request)
	if err != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	r.mu.Lock()
	hang := r.hang
	r.requests = append(r.requests, got)
	r.mu.Unlock()
	if hang != nil {
		select {
		case <-hang:
		case <-request.Context().Done():
			return
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.faults != nil {
		if fault := r.faults(got); fault != nil {
			for name, value := range fault.header {
				w.Header().Set(name, value)
			}
			w.WriteHeader(fault.status)
			_, _ = io.WriteString(w, fault.body)
			if fault.status/100 != 2 {
				return
			}
		}
	}
	r.events = append(r.events, got.events...)
}

// read reads a request as its Content-Type and Content-Encoding say.
func read(request *http.Request) (received, error) {
	got := received{
		method: request.Method, target: request.RequestURI, proto: request.Proto,
		header: request.Header.Clone(), length: request.ContentLength,
	}
	body, err := io.ReadAll(request.Body)
	if err != nil {
		return got, err
	}
	switch request.Header.Get("Content-Encoding") {
	case "gzip":
		z, err := gzip.NewReader(bytes.NewReader(body))
		if err != nil {
			return got, err
		}
		if body, err = io.ReadAll(z); err != nil {
			return got, err
		}
	case "zstd":
		z, err := zstd.NewReader(nil)
		if err != nil {
			return got, err
		}
		defer z.Close()
		if body, err = z.DecodeAll(body, nil); err != nil {
			return got, err
		}
	}
	got.body = string(body)
	switch request.Header.Get("Content-Type") {
	case "application/x-ndjson":
		if len(body) > 0 && body[len(body)-1] != '\n' {
			return got, fmt.Errorf("the last line has no end")
		}
		got.events = flushertest.Lines(body)
	case "application/json":
		var events []json.RawMessage
		if err := json.Unmarshal(body, &events); err != nil {
			return got, nil //nolint:nilerr // what a template made
		}
		for _, e := range events {
			got.events = append(got.events, e)
		}
	case "application/x-protobuf":
		g, err := protocol.UnmarshalGroup(body)
		if err != nil {
			return got, err
		}
		got.events = flushertest.JSON(g)
	}
	return got, nil
}

// group makes a group of events from JSON lines.
func group(t testing.TB, lines ...string) *protocol.LogGroup {
	t.Helper()
	return flushertest.Groups(t, lines...)[0]
}

// numbered makes a group of events with the ids from, from+1, …
func numbered(t testing.TB, from, n int) *protocol.LogGroup {
	t.Helper()
	lines := make([]string, n)
	for i := range lines {
		lines[i] = fmt.Sprintf(`{"event_id":"%d","cluster":"c%d"}`, from+i, (from+i)%2)
	}
	return group(t, lines...)
}

// numbers returns "from", …, "to".
func numbers(from, to int) (ids []string) {
	for i := from; i <= to; i++ {
		ids = append(ids, fmt.Sprint(i))
	}
	return ids
}

// secrets returns a map of keys and values, which alternate.
func secrets(pairs ...string) map[string]pipeline.Secret {
	m := map[string]pipeline.Secret{}
	for i := 0; i < len(pairs); i += 2 {
		m[pairs[i]] = pipeline.NewSecret(pairs[i+1])
	}
	return m
}

// started returns a running flusher for the URL, changed by choose.
func started(t testing.TB, url string, choose ...func(*Flusher)) (*Flusher, *plugintest.Context) {
	t.Helper()
	f := New()
	f.RemoteURL = pipeline.NewSecret(url)
	for _, c := range choose {
		c(f)
	}
	require.NoError(t, f.Validate())
	c := plugintest.NewContext(t, "flusher_http")
	require.NoError(t, f.Init(c))
	t.Cleanup(func() { require.NoError(t, f.Stop()) })
	return f, c
}

func flush(f *Flusher, groups ...*protocol.LogGroup) error {
	return f.Flush("project", "logstore", "config", groups)
}

func containsID(events [][]byte, id string) bool {
	for _, e := range events {
		if strings.Contains(string(e), `"event_id":"`+id+`"`) {
			return true
		}
	}
	return false
}
