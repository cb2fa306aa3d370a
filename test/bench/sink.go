package main

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"
)

// sink is a destination that answers at once and remembers which events it has seen. It takes NDJSON and Elasticsearch's _bulk.
type sink struct {
	server  *http.Server
	address string
	outage  outage

	mu   sync.Mutex
	seen []bool
	once int // events that came
	more int // events that came again
}

// outage is when the sink fails, counted from its first request; a zero outage is none.
type outage struct {
	begin   sync.Once
	first   time.Time
	stalled time.Duration // requests of this time are held until it is over
	refused time.Duration // then requests of this time are answered with 503
}

// serve reports whether the request may be served, and waits where it has to.
func (o *outage) serve() bool {
	o.begin.Do(func() { o.first = time.Now() })
	time.Sleep(o.stalled - time.Since(o.first))
	return time.Since(o.first) >= o.stalled+o.refused
}

var idPrefix = []byte("evt-")

func newSink(events int) (*sink, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	s := &sink{address: listener.Addr().String(), seen: make([]bool, events)}
	s.server = &http.Server{Handler: s, ReadHeaderTimeout: 10 * time.Second}
	go func() { _ = s.server.Serve(listener) }()
	return s, nil
}

func (s *sink) close() { _ = s.server.Close() }

// complete waits until every event has come.
func (s *sink) complete() {
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		s.mu.Lock()
		all := s.once == len(s.seen)
		s.mu.Unlock()
		if all {
			return
		}
	}
}

// missing returns an error unless every event came, and only once.
func (s *sink) missing() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.once != len(s.seen) || s.more > 0 {
		return fmt.Errorf("the sink has %d events of %d, and %d twice", s.once, len(s.seen), s.more)
	}
	return nil
}

func (s *sink) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("X-Elastic-Product", "Elasticsearch")
	if r.Method == http.MethodGet || r.Method == http.MethodHead {
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, `{"version": {"number": "8.19.0", "build_flavor": "default"}, "tagline": "You Know, for Search"}`)
		return
	}
	body := bytes.NewBuffer(make([]byte, 0, max(r.ContentLength, 0)+512))
	if _, err := body.ReadFrom(r.Body); err != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	if !s.outage.serve() {
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	}
	if !strings.HasSuffix(r.URL.Path, "_bulk") {
		for line := range bytes.Lines(body.Bytes()) {
			s.note(line)
		}
		return
	}
	answer := []byte(`{"errors":false,"took":1,"items":[`)
	for document := false; body.Len() > 0; document = !document {
		line, _ := body.ReadBytes('\n')
		if !document {
			continue
		}
		s.note(line)
		answer = append(answer, `{"create":{"_index":"flink","_id":"evt-0000000000","_version":1,"result":"created","status":201}},`...)
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(append(bytes.TrimSuffix(answer, []byte(",")), "]}"...))
}

// note finds an event's id in text.
func (s *sink) note(text []byte) {
	i := bytes.Index(text, idPrefix)
	if i < 0 || i+14 > len(text) {
		return
	}
	id := 0
	for _, c := range text[i+4 : i+14] {
		id = 10*id + int(c-'0')
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.seen[id] {
		s.more++
		return
	}
	s.seen[id] = true
	s.once++
}
