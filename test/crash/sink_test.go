//go:build e2e

package crash

import (
	"bytes"
	"encoding/json"
	"fmt"
	"hash/maphash"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// sink is an HTTP server behind a flusher. It outlives flinktail.
type sink struct {
	url string

	mu    sync.Mutex
	rnd   *rand.Rand
	mood  mood
	moved chan struct{} // closed when the mood changes
	arrivals
}

// mood is how a sink treats requests.
type mood int

const (
	quick  mood = iota
	slow        // and refuses some, some of them after it took them
	silent      // does not answer until the mood changes
)

// arrivals is what a sink got.
type arrivals struct {
	lines map[event]uint64 // a hash of the line
	last  map[int]int      // by job: the latest event that came for the first time
	again int              // events that came once more
	wrong []string         // what must not be
}

var lineSeed = maphash.MakeSeed()

func newArrivals() arrivals { return arrivals{lines: map[event]uint64{}, last: map[int]int{}} }

func (a arrivals) clone() arrivals {
	a.lines, a.last = maps.Clone(a.lines), maps.Clone(a.last)
	a.wrong = slices.Clone(a.wrong)
	return a
}

func newSink(t testing.TB, rnd *rand.Rand) *sink {
	s := &sink{rnd: rand.New(rand.NewPCG(rnd.Uint64(), 0)), moved: make(chan struct{}), arrivals: newArrivals()}
	server := httptest.NewServer(s)
	t.Cleanup(func() {
		s.setMood(quick)
		server.Close()
	})
	s.url = server.URL
	return s
}

func (s *sink) setMood(m mood) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mood = m
	close(s.moved)
	s.moved = make(chan struct{})
}

// ServeHTTP takes a request whole or not at all.
func (s *sink) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return // its sender was killed
	}
	for {
		s.mu.Lock()
		mood, moved := s.mood, s.moved
		chance, pause := s.rnd.IntN(20), time.Duration(s.rnd.IntN(20))*time.Millisecond
		s.mu.Unlock()
		switch mood {
		case silent:
			select {
			case <-moved:
				continue
			case <-r.Context().Done():
				return
			}
		case slow:
			time.Sleep(pause)
			if chance == 0 {
				w.WriteHeader(http.StatusServiceUnavailable)
				return
			}
		}
		s.take(body)
		if mood == slow && chance == 1 {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
		return
	}
}

func (s *sink) take(body []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for line := range bytes.Lines(body) {
		if wrong := s.arrive(line); wrong != "" {
			s.wrong = append(s.wrong, wrong)
		}
	}
}

// arrive notes an event. It returns what is wrong with it.
func (a *arrivals) arrive(line []byte) (wrong string) {
	var got struct {
		ID      string `json:"event_id"`
		JobName string `json:"job_name"`
		Message string
	}
	if err := json.Unmarshal(line, &got); err != nil {
		return fmt.Sprintf("%v: %s", err, line)
	}
	e, ok := parseEvent(got.ID)
	if !ok || got.JobName != e.jobName() || got.Message != e.message() {
		return fmt.Sprintf("not an event as it was sent: %s", line)
	}
	hash := maphash.Bytes(lineSeed, line)
	if before, ok := a.lines[e]; ok {
		a.again++
		if before != hash {
			return fmt.Sprintf("%s came again with other content: %s", e, line)
		}
		return ""
	}
	a.lines[e] = hash
	if last, ok := a.last[e.job]; ok && e.number < last {
		return fmt.Sprintf("%s came after %s", e, event{e.job, last})
	}
	a.last[e.job] = e.number
	return ""
}

// snapshot returns what has arrived so far.
func (s *sink) snapshot() arrivals {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.clone()
}

// restore makes s one that has got only this.
func (s *sink) restore(a arrivals) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.arrivals = a.clone()
}

// missing returns what c has got acknowledged and is neither here nor lost.
func (s *sink) missing(c *client, lost map[event]bool) (missing []event) {
	c.mu.Lock()
	defer c.mu.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	for e := range c.acked {
		if _, ok := s.lines[e]; !ok && !lost[e] {
			missing = append(missing, e)
		}
	}
	slices.SortFunc(missing, func(a, b event) int { return 1_000_000*(a.job-b.job) + a.number - b.number })
	return missing
}

// requireAll asserts that everything acknowledged, but for what is lost, has arrived, in order and unchanged.
func (s *sink) requireAll(t testing.TB, c *client, lost map[event]bool) {
	t.Helper()
	missing := s.missing(c, lost)
	require.Empty(t, missing[:min(len(missing), 20)], "%d acknowledged events are lost", len(missing))
	c.mu.Lock()
	defer c.mu.Unlock()
	require.Empty(t, c.faults)
	s.mu.Lock()
	defer s.mu.Unlock()
	require.Empty(t, s.wrong[:min(len(s.wrong), 20)], "%d events came wrong", len(s.wrong))
	for e := range s.lines {
		require.Less(t, e.number, c.sent[e.job], "%s was never sent", e)
	}
}
