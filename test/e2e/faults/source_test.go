//go:build e2e

package faults

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"os"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// event returns one event as a line. attempt is a JSON value, a number in ordinary events.
func event(id string, n int, attempt, message string) []byte {
	return fmt.Appendf(nil, `{"event_id":%q,"event_time":%q,"kind":%q,"source":"faults","cluster":"c","namespace":"default","resource":"r",`+
		`"job_id":"%032x","job_name":"job-%d","status_from":"CREATED","status_to":"RUNNING","severity":"info","attempt":%s,"message":%q}`+"\n",
		id, time.Now().UTC().Format(time.RFC3339Nano), []string{"job_status", "job_failure"}[n%2], n%40, n%40, attempt, message)
}

var ordinary = strings.Repeat("an ordinary message of an ordinary length; ", 6)

// incompressible returns a text that no compression makes much smaller.
func incompressible(bytes int) string {
	text := make([]byte, bytes*3/4)
	_, _ = rand.Read(text) // never fails
	return base64.StdEncoding.EncodeToString(text)
}

// flow appends events to a file that flinktail follows, at a steady pace, as Flink goes on whatever becomes of us.
type flow struct {
	prefix string
	file   *os.File
	end    chan struct{}
	ended  sync.WaitGroup

	mu  sync.Mutex
	ids []string
	err error
}

// pace is how many events a flow writes every 50 ms.
const pace = 25

// startFlow begins to write.
func startFlow(t testing.TB, f *tail) *flow {
	t.Helper()
	file, err := os.OpenFile(f.eventsFile(), os.O_APPEND|os.O_WRONLY, 0)
	require.NoError(t, err)
	s := &flow{prefix: name(t), file: file, end: make(chan struct{})}
	s.ended.Add(1)
	go func() {
		defer s.ended.Done()
		defer file.Close()
		ticks := time.NewTicker(50 * time.Millisecond)
		defer ticks.Stop()
		for {
			s.write()
			select {
			case <-ticks.C:
			case <-s.end:
				return
			}
		}
	}()
	t.Cleanup(func() { s.stop() })
	return s
}

func (s *flow) write() {
	s.mu.Lock()
	defer s.mu.Unlock()
	var text []byte
	for range pace {
		n := len(s.ids)
		id := fmt.Sprintf("%s-%d", s.prefix, n)
		text = append(text, event(id, n, "1", ordinary)...)
		s.ids = append(s.ids, id)
	}
	if _, err := s.file.Write(text); err != nil && s.err == nil {
		s.err = err
	}
}

func (s *flow) written() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.ids)
}

// stop ends the flow and returns the ids of all events.
func (s *flow) stop() []string {
	select {
	case <-s.end:
	default:
		close(s.end)
	}
	s.ended.Wait()
	return s.ids
}

// finish ends the flow after more events than now, and returns all ids.
func (s *flow) finish(t testing.TB, more int) []string {
	t.Helper()
	mark := s.written()
	await(t, "more events are written", func() bool { return s.written() >= mark+more })
	ids := s.stop()
	require.NoError(t, s.err)
	return ids
}

// writeFile fills the file that flinktail follows and returns the ids.
func writeFile(t testing.TB, f *tail, events int) []string {
	t.Helper()
	var text []byte
	var ids []string
	for n := range events {
		id := fmt.Sprintf("%s-%d", name(t), n)
		text = append(text, event(id, n, "1", ordinary)...)
		ids = append(ids, id)
	}
	file, err := os.OpenFile(f.eventsFile(), os.O_APPEND|os.O_WRONLY, 0)
	require.NoError(t, err)
	_, err = file.Write(text)
	require.NoError(t, err)
	require.NoError(t, file.Close())
	return ids
}

var unusual = regexp.MustCompile(`[^A-Za-z0-9]+`)

// name makes a test's name one for topics, indices and ids.
func name(t testing.TB) string {
	return strings.ToLower(unusual.ReplaceAllString(t.Name(), "-"))
}

// posts are posts to input_http, each sent until it is answered 200, as Flink's listener does.
type posts struct {
	url     string
	mu      sync.Mutex
	ids     []string // answered 200
	answers map[int]int
}

func newPosts(url string) *posts { return &posts{url: url, answers: map[int]int{}} }

// post sends one body until it is answered 200, and tells whether it was.
func (p *posts) post(body []byte, ids []string) bool {
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); {
		status := p.try(body)
		p.mu.Lock()
		p.answers[status]++
		if status == http.StatusOK {
			p.ids = append(p.ids, ids...)
		}
		p.mu.Unlock()
		if status == http.StatusOK {
			return true
		}
		time.Sleep(100 * time.Millisecond) // sooner than it was asked to
	}
	return false
}

// pour posts as fast as input_http allows, over so many connections, so many events each time, until stop.
func (p *posts) pour(t testing.TB, posters, size int) (stop func()) {
	end := make(chan struct{})
	var posting sync.WaitGroup
	for poster := range posters {
		posting.Go(func() {
			for n := 0; ; n++ {
				select {
				case <-end:
					return
				default:
				}
				var body bytes.Buffer
				var ids []string
				for i := range size {
					id := fmt.Sprintf("%s-%d-%d-%d", name(t), poster, n, i)
					body.Write(event(id, i, "1", ordinary))
					ids = append(ids, id)
				}
				if !p.post(body.Bytes(), ids) {
					t.Error("a post is never answered 200")
					return
				}
			}
		})
	}
	return func() {
		close(end)
		posting.Wait()
	}
}

func (p *posts) try(body []byte) (status int) {
	response, err := http.Post(p.url, "application/x-ndjson", bytes.NewReader(body))
	if err != nil {
		return 0
	}
	defer response.Body.Close()
	_, _ = io.Copy(io.Discard, response.Body)
	return response.StatusCode
}

// answered returns how many posts had this status.
func (p *posts) answered(status int) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.answers[status]
}
