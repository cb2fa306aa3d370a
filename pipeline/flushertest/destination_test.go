package flushertest

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/flinktail/flinktail/pipeline"
	"github.com/flinktail/flinktail/protocol"
	"github.com/flinktail/flinktail/protocol/flink"
)

func init() { pipeline.Register("flusher_shelf", func() any { return &shelfFlusher{shelf: &shelf{}} }) }

const (
	readme = "# flusher_shelf\n\n" + sample + "\n"
	sample = `{"inputs": [{"type": "input_http"}], "flushers": [{"type": "flusher_shelf"}]}`
)

// shelf is a destination in memory.
type shelf struct {
	mu       sync.Mutex
	events   [][]byte
	down     bool
	refuse   bool
	throttle time.Duration
	reject   string
	hang     chan struct{}
}

func (s *shelf) all() [][]byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([][]byte(nil), s.events...)
}

// set changes the shelf under its lock.
func (s *shelf) set(change func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change()
}

var (
	errDown     = errors.New("shelf is down")
	errRefused  = errors.New("shelf is locked")
	errBusy     = errors.New("shelf is busy")
	errRejected = errors.New("does not fit the shelf")
)

// put takes what it can. Its answer is as clear as a good destination's: the index of what it rejects, or an error.
func (s *shelf) put(ctx context.Context, stopped <-chan struct{}, events [][]byte) (rejected []int, err error) {
	s.mu.Lock()
	hang := s.hang
	s.mu.Unlock()
	if hang != nil {
		select {
		case <-hang:
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-stopped:
			return nil, errNotRunning
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.down:
		return nil, errDown
	case s.refuse:
		return nil, errRefused
	case s.throttle > 0:
		return nil, errBusy
	}
	for i, e := range events {
		if s.reject != "" && parse([][]byte{e})[0].id == s.reject {
			rejected = append(rejected, i)
			continue
		}
		s.events = append(s.events, e)
	}
	return rejected, nil
}

var errNotRunning = errors.New("flusher_shelf is not running")

// shelfFlusher is right in everything, except where a test replaces a method's work.
type shelfFlusher struct {
	shelf *shelf

	// What a broken flusher does instead; nil is the right thing.
	init    func(f *shelfFlusher, c pipeline.Context) error
	ready   func(f *shelfFlusher) bool
	flush   func(f *shelfFlusher, groups []*protocol.LogGroup) error
	urgent  func(f *shelfFlusher, flag bool)
	stop    func(f *shelfFlusher) error
	text    string
	example string

	mu      sync.Mutex
	ctx     context.Context
	stopped chan struct{}
	running bool
	kept    []*protocol.LogGroup
}

func (f *shelfFlusher) Init(c pipeline.Context) error {
	if f.init != nil {
		if err := f.init(f, c); err != nil {
			return err
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.ctx, f.stopped, f.running = c.Context(), make(chan struct{}), true
	return nil
}

func (f *shelfFlusher) Description() string {
	if f.text != "" {
		return f.text
	}
	return "puts events on a shelf"
}

func (f *shelfFlusher) Sample() []byte {
	if f.example != "" {
		return []byte(f.example)
	}
	return []byte(sample)
}

func (f *shelfFlusher) IsReady(string, string, int64) bool {
	if f.ready != nil {
		return f.ready(f)
	}
	return f.isRunning()
}

func (f *shelfFlusher) isRunning() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.running
}

func (f *shelfFlusher) Flush(_, _, _ string, groups []*protocol.LogGroup) error {
	if f.flush != nil {
		return f.flush(f, groups)
	}
	return f.deliver(groups)
}

// deliver is the right Flush.
func (f *shelfFlusher) deliver(groups []*protocol.LogGroup) error {
	f.mu.Lock()
	ctx, stopped, running := f.ctx, f.stopped, f.running
	f.mu.Unlock()
	if !running {
		return errNotRunning
	}
	rejected, err := f.shelf.put(ctx, stopped, JSON(groups...))
	switch {
	case errors.Is(err, errRefused):
		return pipeline.Blocked(err)
	case errors.Is(err, errBusy):
		return pipeline.Throttle(err, f.shelf.throttle)
	case err != nil:
		return err
	case len(rejected) == 0:
		return nil
	}
	partial := &pipeline.PartialError{}
	at := 0
	for gi, g := range groups {
		for i := range g.Logs {
			if len(rejected) > 0 && rejected[0] == at {
				partial.Failures = append(partial.Failures, pipeline.Failure{Group: gi, Log: i, Err: errRejected})
				rejected = rejected[1:]
			}
			at++
		}
	}
	return partial
}

func (f *shelfFlusher) SetUrgent(flag bool) {
	if f.urgent != nil {
		f.urgent(f, flag)
	}
}

func (f *shelfFlusher) Stop() error {
	if f.stop != nil {
		return f.stop(f)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.running {
		close(f.stopped)
	}
	f.running = false
	return nil
}

// shelfSuite is the suite of shelfFlusher, broken by spoil if that is given.
func shelfSuite(spoil func(f *shelfFlusher)) Suite {
	newFlusher := func(s *shelf) pipeline.Flusher {
		f := &shelfFlusher{shelf: s}
		if spoil != nil {
			spoil(f)
		}
		return f
	}
	return Suite{
		Start: func(testing.TB) *Destination {
			s := &shelf{}
			return &Destination{
				New:    func() pipeline.Flusher { return newFlusher(s) },
				Events: s.all,
				Down: func() func() {
					s.set(func() { s.down = true })
					return func() { s.set(func() { s.down = false }) }
				},
				Refuse: func() func() {
					s.set(func() { s.refuse = true })
					return func() { s.set(func() { s.refuse = false }) }
				},
				Throttle: func(pause time.Duration) func() {
					s.set(func() { s.throttle = pause })
					return func() { s.set(func() { s.throttle = 0 }) }
				},
				Reject: func(id string) func() {
					s.set(func() { s.reject = id })
					return func() { s.set(func() { s.reject = "" }) }
				},
				Hang: func() func() {
					hang := make(chan struct{})
					s.set(func() { s.hang = hang })
					return func() { s.set(func() { s.hang = nil }); close(hang) }
				},
			}
		},
		Broken: func(testing.TB) map[string]pipeline.Flusher {
			f := &shelfFlusher{init: func(*shelfFlusher, pipeline.Context) error { return errors.New("no shelf") }}
			if spoil != nil {
				spoil(f)
			}
			return map[string]pipeline.Flusher{"there is no shelf": f}
		},
	}
}

// view decodes what is in groups by now.
func idsOf(groups []*protocol.LogGroup) (ids []string) {
	for _, g := range groups {
		for _, log := range g.Logs {
			ids = append(ids, protocol.Value(log, flink.FieldEventID))
		}
	}
	return ids
}
