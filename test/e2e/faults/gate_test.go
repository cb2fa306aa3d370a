//go:build e2e

package faults

import (
	"bytes"
	"compress/gzip"
	"crypto/tls"
	"encoding/json"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/flinktail/flinktail/test/servers"
)

// gate is an HTTP server that can be absent, answer with an error, be slow, or show another certificate. What it lets
// through goes to next.
type gate struct {
	address string
	next    http.Handler

	mu       sync.Mutex
	fault    http.HandlerFunc // answers instead of next; nil: none
	server   *http.Server     // nil: absent
	requests int
}

func newGate(t testing.TB, next http.Handler) *gate {
	t.Helper()
	ports, err := servers.FreePorts(1)
	require.NoError(t, err)
	g := &gate{address: (&net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: ports[0]}).String(), next: next}
	t.Cleanup(g.close)
	return g
}

// open begins to serve, with TLS when there is a certificate.
func (g *gate) open(t testing.TB, certificate *servers.Certificate) {
	t.Helper()
	g.close()
	var l net.Listener
	await(t, "the port is free", func() (free bool) { // a process that was just started may still have it from us
		var err error
		l, err = net.Listen("tcp", g.address)
		return err == nil
	})
	if certificate != nil {
		c, err := tls.LoadX509KeyPair(certificate.CertFile, certificate.KeyFile)
		require.NoError(t, err)
		l = tls.NewListener(l, &tls.Config{Certificates: []tls.Certificate{c}})
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.server = &http.Server{Handler: g, ErrorLog: log.New(io.Discard, "", 0)}
	go func(s *http.Server) { _ = s.Serve(l) }(g.server)
}

// close makes the gate absent: its connections break, and nobody listens.
func (g *gate) close() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.server != nil {
		_ = g.server.Close() // the listener is all that matters
		g.server = nil
	}
}

// answer makes it answer requests with a fault, or, with nil, lets them through.
func (g *gate) answer(fault http.HandlerFunc) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.fault = fault
}

// seen returns how many requests came.
func (g *gate) seen() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.requests
}

func (g *gate) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	g.mu.Lock()
	fault := g.fault
	g.requests++
	g.mu.Unlock()
	if fault != nil {
		fault(w, r)
		return
	}
	g.next.ServeHTTP(w, r)
}

// refusing answers every request with a status.
func refusing(status int, header ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		if len(header) > 0 {
			w.Header().Set(header[0], header[1])
		}
		w.WriteHeader(status)
	}
}

// slow lets one request through each pause, one after the other.
func slow(next http.Handler, pause time.Duration) http.HandlerFunc {
	var turn sync.Mutex
	return func(w http.ResponseWriter, r *http.Request) {
		turn.Lock()
		defer turn.Unlock()
		time.Sleep(pause)
		next.ServeHTTP(w, r)
	}
}

// forward sends requests on to a server.
func forward(t testing.TB, to string) http.Handler {
	t.Helper()
	target, err := url.Parse(to)
	require.NoError(t, err)
	proxy := httputil.NewSingleHostReverseProxy(target)
	proxy.ErrorLog = log.New(io.Discard, "", 0)
	return proxy
}

// recorder takes NDJSON and remembers the ids. A body of more than maxBody is 413, an event with an attempt that is no
// number makes it 422.
type recorder struct {
	mu  sync.Mutex
	all []string
}

const maxBody = 1 << 20

func (r *recorder) ServeHTTP(w http.ResponseWriter, request *http.Request) {
	if request.ContentLength > maxBody {
		w.WriteHeader(http.StatusRequestEntityTooLarge)
		return
	}
	ids, err := readIDs(request)
	if err != nil {
		http.Error(w, err.Error(), http.StatusUnprocessableEntity)
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.all = append(r.all, ids...)
}

func readIDs(request *http.Request) (ids []string, err error) {
	body := io.Reader(request.Body)
	if request.Header.Get("Content-Encoding") == "gzip" {
		if body, err = gzip.NewReader(body); err != nil {
			return nil, err
		}
	}
	text, err := io.ReadAll(body)
	if err != nil {
		return nil, err
	}
	for line := range bytes.Lines(text) {
		var e struct {
			ID      string `json:"event_id"`
			Attempt int
		}
		if err := json.Unmarshal(line, &e); err != nil {
			return nil, err
		}
		ids = append(ids, e.ID)
	}
	return ids, nil
}

func (r *recorder) ids() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]string(nil), r.all...)
}
