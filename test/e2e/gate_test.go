//go:build e2e

package e2e

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// gate stands between the listeners of a Flink cluster and flinktail, keeps its address while flinktail comes and
// goes, can be slow or dead, and remembers what was posted and what was answered.
type gate struct {
	address string

	mu      sync.Mutex
	server  *http.Server
	target  string // where posts go; "" breaks their connections
	delay   time.Duration
	posts   []post
	posting int
}

// post is one request that reached the gate.
type post struct {
	ids    []string
	status int // what the listener was told; 0 when the connection broke
	at     time.Time
}

func newGate(t testing.TB) *gate {
	g := &gate{address: "127.0.0.1:0"}
	g.revive(t)
	return g
}

func (g *gate) url() string { return "http://" + g.address }

// forward sends posts on to a flinktail, or nowhere.
func (g *gate) forward(target string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.target = target
}

// slow makes every request wait before it is forwarded.
func (g *gate) slow(delay time.Duration) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.delay = delay
}

// die closes the port, so that connections are refused.
func (g *gate) die() {
	_ = g.server.Close() // the listener is all that matters
}

// revive opens the port again.
func (g *gate) revive(t testing.TB) {
	l, err := net.Listen("tcp", g.address)
	require.NoError(t, err)
	g.address = l.Addr().String()
	g.server = &http.Server{Handler: http.HandlerFunc(g.serve)}
	go func(s *http.Server) { _ = s.Serve(l) }(g.server)
}

// seen returns all posts so far.
func (g *gate) seen() []post {
	g.mu.Lock()
	defer g.mu.Unlock()
	return append([]post(nil), g.posts...)
}

// failed counts the posts that were not answered 200.
func (g *gate) failed() int {
	n := 0
	for _, p := range g.seen() {
		if p.status != http.StatusOK {
			n++
		}
	}
	return n
}

// idle tells whether no post is under way.
func (g *gate) idle() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.posting == 0
}

func (g *gate) serve(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	g.mu.Lock()
	target, delay := g.target, g.delay
	g.posting++
	g.mu.Unlock()
	p := post{ids: ids(body)}
	defer func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		p.at = time.Now()
		g.posts = append(g.posts, p)
		g.posting--
	}()
	select {
	case <-time.After(delay):
	case <-r.Context().Done():
		panic(http.ErrAbortHandler)
	}
	if target == "" {
		panic(http.ErrAbortHandler)
	}
	request, err := http.NewRequestWithContext(r.Context(), r.Method, target+r.URL.Path, bytes.NewReader(body))
	if err != nil {
		panic(err)
	}
	request.Header = r.Header.Clone()
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(response.Body)
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	for name, values := range response.Header {
		w.Header()[name] = values
	}
	w.WriteHeader(response.StatusCode)
	_, _ = w.Write(answer)
	p.status = response.StatusCode
}

// ids returns the event_id of every line of a gzipped NDJSON body.
func ids(body []byte) []string {
	unzipped, err := gzip.NewReader(bytes.NewReader(body))
	if err != nil {
		panic(err)
	}
	var all []string
	lines := bufio.NewScanner(unzipped)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var e event
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			panic(err)
		}
		all = append(all, e.ID)
	}
	return all
}
