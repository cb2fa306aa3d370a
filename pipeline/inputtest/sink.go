package inputtest

import (
	"context"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/flinktail/flinktail/pipeline"
	"github.com/flinktail/flinktail/protocol"
	"github.com/flinktail/flinktail/protocol/flink"
)

// sink is a pipeline that the test steers.
type sink struct {
	t testing.TB

	mu      sync.Mutex
	refuse  error // what Put returns
	full    bool  // Put blocks
	blocked int   // Puts that do
	refused int   // Puts that were
	atOnce  bool  // Put settles before it returns
	closed  bool  // no Put may come
	puts    []*put
	next    int // the first of puts that take has not returned
}

// put is one accepted Put.
type put struct {
	t      testing.TB
	groups []*protocol.LogGroup
	wire   [][]byte // what groups were when they came
	ids    []string
	done   func(error)
	once   sync.Once
}

func newSink(t testing.TB) *sink { return &sink{t: t} }

// Put implements [pipeline.Sink].
func (s *sink) Put(ctx context.Context, groups []*protocol.LogGroup, done func(error)) error {
	s.mu.Lock()
	if s.closed {
		s.t.Errorf("Put was called after Run had returned")
	}
	if s.full {
		s.blocked++
		s.mu.Unlock()
		<-ctx.Done()
		return pipeline.ErrFull
	}
	defer s.mu.Unlock()
	if s.refuse != nil {
		s.refused++
		return s.refuse
	}
	p := &put{t: s.t, groups: slices.Clone(groups), done: done}
	for _, g := range groups {
		p.wire = append(p.wire, wireOf(s.t, g))
		for _, log := range g.Logs {
			if log.Time == nil {
				s.t.Errorf("a log has no time")
			}
			id := g.Field(log, flink.FieldEventID)
			if id == "" {
				s.t.Errorf("a log has no event_id")
			}
			p.ids = append(p.ids, string([]byte(id)))
		}
	}
	if len(p.ids) == 0 {
		s.t.Errorf("Put without a log")
	}
	s.puts = append(s.puts, p)
	if s.atOnce {
		p.settle(nil)
	}
	return nil
}

func wireOf(t testing.TB, g *protocol.LogGroup) []byte {
	wire, err := protocol.AppendGroup(nil, g)
	if err != nil {
		t.Errorf("Put with a bad group: %v", err)
	}
	return wire
}

func (s *sink) set(change func(s *sink)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change(s)
}

func (s *sink) count(what func(s *sink) int) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return what(s)
}

// take waits for the next Puts until they hold n events.
func (s *sink) take(n int) []*put {
	s.t.Helper()
	var taken []*put
	for deadline := time.Now().Add(patience); n > 0; {
		s.mu.Lock()
		if s.next < len(s.puts) {
			taken = append(taken, s.puts[s.next])
			n -= len(s.puts[s.next].ids)
			s.next++
			s.mu.Unlock()
			continue
		}
		s.mu.Unlock()
		if time.Now().After(deadline) {
			s.t.Fatalf("%d events did not come within %s", n, patience)
		}
		time.Sleep(time.Millisecond)
	}
	return taken
}

// settleAll settles what a failed test has left, so that the input can stop.
func (s *sink) settleAll() {
	s.mu.Lock()
	puts := s.puts
	s.full = false
	s.mu.Unlock()
	for _, p := range puts {
		p.settle(nil)
	}
}

// unchanged checks that the groups are what they were when they came.
func (p *put) unchanged() {
	p.t.Helper()
	for i, g := range p.groups {
		require.Equal(p.t, p.wire[i], wireOf(p.t, g), "a group changed while the pipeline had it")
	}
}

// settle calls done, once. Before that it changes the groups, as processors may.
func (p *put) settle(err error) {
	p.once.Do(func() {
		for _, g := range p.groups {
			for _, log := range g.Logs {
				for _, c := range log.Contents {
					c.Key, c.Value = &scribble, &scribble
				}
				log.Contents = log.Contents[:0]
			}
			g.Logs = g.Logs[:0]
		}
		p.done(err)
	})
}

var scribble = "the pipeline changed this"

func idsOf(puts []*put) []string {
	var all []string
	for _, p := range puts {
		all = append(all, p.ids...)
	}
	return all
}
