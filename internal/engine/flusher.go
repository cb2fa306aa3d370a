package engine

import (
	"errors"
	"fmt"
	"hash/maphash"
	"log/slog"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/flinktail/flinktail/internal/config"
	"github.com/flinktail/flinktail/internal/queue"
	"github.com/flinktail/flinktail/pipeline"
	"github.com/flinktail/flinktail/protocol"
	"github.com/flinktail/flinktail/protocol/flink"
)

// flusherRunner reads the queue for one flusher: it filters by Match, spreads the events over lanes by their
// key, and each lane delivers its batches one after the other.
type flusherRunner struct {
	pipe     *pipe
	index    int // in the ledger
	name     string
	flusher  pipeline.Flusher
	delivery config.Delivery
	context  *pluginContext
	log      *slog.Logger
	match    []fieldMatch
	cursor   queue.Cursor
	lanes    []*lane
	seed     maphash.Seed

	// the dispatcher's own
	key    []byte
	shares []share

	urgent  chan struct{} // closed: waits are cut short
	abandon chan struct{} // closed: what is not delivered goes to the dead letters
	running sync.WaitGroup

	flushes, failures atomic.Int64
	abandoned         atomic.Int64 // events that became dead letters because flinktail stopped
	state             atomic.Pointer[flusherState]
	letters           *letters
}

// flusherState is what a person sees of a flusher.
type flusherState struct {
	State     string // see the State constants
	LastError string
	Since     time.Time
}

// States of a flusher.
const (
	StateReady    = "ready"
	StateNotReady = "not_ready"
	StateRetrying = "retrying"
	StateBlocked  = "blocked"
)

// share is a lane's part of an entry.
type share struct {
	lane int
	run  run
}

type fieldMatch struct {
	field    string
	patterns []string
}

func newFlusherRunner(p *pipe, index int, c config.Plugin, context *pluginContext, cursor queue.Cursor) *flusherRunner {
	r := &flusherRunner{
		pipe: p, index: index, name: c.Name, flusher: c.Instance.(pipeline.Flusher), delivery: c.Delivery,
		context: context, log: context.Logger(), cursor: cursor, seed: maphash.MakeSeed(),
		urgent: make(chan struct{}), abandon: make(chan struct{}), letters: newLetters(context.Logger()),
	}
	for field, patterns := range c.Delivery.Match {
		r.match = append(r.match, fieldMatch{field, patterns})
	}
	r.state.Store(&flusherState{State: StateReady, Since: time.Now()})
	for range max(c.Delivery.Workers, 1) {
		r.lanes = append(r.lanes, &lane{runner: r, wake: make(chan struct{}, 1)})
	}
	return r
}

// start runs the lanes until the pipeline is drained. A lane that is alone reads the queue itself: a goroutine between the
// two would cost a small post as much as all the rest.
func (r *flusherRunner) start() {
	r.running.Add(len(r.lanes))
	for _, l := range r.lanes {
		go l.loop()
	}
	if len(r.lanes) > 1 {
		go r.dispatch()
	}
}

// dispatch hands every entry of the queue to the lanes.
func (r *flusherRunner) dispatch() {
	for {
		r.pull()
		select {
		case <-r.cursor.Wake():
		case <-r.pipe.drained:
			return
		}
	}
}

// pull hands what the queue has to the lanes, as runs of adjacent events for the same lane.
func (r *flusherRunner) pull() {
	for e := r.cursor.Next(); e != nil; e = r.cursor.Next() {
		if len(r.lanes) == 1 && len(r.match) == 0 {
			r.lanes[0].takeEntry(e)
			continue
		}
		filtered := r.split(e)
		for _, s := range r.shares { // only now: once all is settled, the entry's groups are no longer ours
			r.lanes[s.lane].take(s.run)
		}
		if filtered > 0 {
			r.pipe.ledger.settled(r.index, int64(filtered), func(l *FlusherLedger) { l.Filtered += int64(filtered) })
			e.Settle(filtered)
		}
	}
}

// split cuts e into r.shares and returns how many events do not match.
func (r *flusherRunner) split(e *queue.Entry) (filtered int) {
	r.shares = r.shares[:0]
	for _, g := range e.Groups {
		start, current := 0, -1
		for i := 0; i <= len(g.Logs); i++ {
			next := -1
			if i < len(g.Logs) {
				if next = r.laneOf(g, g.Logs[i]); next < 0 {
					filtered++
				}
				if next == current {
					continue
				}
			}
			if current >= 0 {
				r.shares = append(r.shares, share{current, run{e, g, start, i}})
			}
			start, current = i, next
		}
	}
	return filtered
}

// laneOf returns the index of the lane that keeps the order of log's job, -1 when log does not match.
func (r *flusherRunner) laneOf(g *protocol.LogGroup, log *protocol.Log) int {
	if !r.matches(g, log) {
		return -1
	}
	if len(r.lanes) == 1 {
		return 0
	}
	r.key = flink.Key(r.key[:0], g, log)
	return int(maphash.Bytes(r.seed, r.key) % uint64(len(r.lanes)))
}

func (r *flusherRunner) matches(g *protocol.LogGroup, log *protocol.Log) bool {
	for _, m := range r.match {
		value, ok := g.Field(log, m.field), false
		for _, pattern := range m.patterns {
			if ok = wildcard(pattern, value); ok {
				break
			}
		}
		if !ok {
			return false
		}
	}
	return true
}

// wildcard reports whether s is pattern, in which "*" stands for any text.
func wildcard(pattern, s string) bool {
	head, rest, found := strings.Cut(pattern, "*")
	if !found {
		return pattern == s
	}
	if !strings.HasPrefix(s, head) {
		return false
	}
	s = s[len(head):]
	for {
		part, after, more := strings.Cut(rest, "*")
		if !more {
			return strings.HasSuffix(s, part)
		}
		i := strings.Index(s, part)
		if i < 0 {
			return false
		}
		s, rest = s[i+len(part):], after
	}
}

// flush calls the plugin; its panic becomes an error, and so does an error that cannot be read, such as a nil *PartialError.
func (r *flusherRunner) flush(groups []*protocol.LogGroup) (err error) {
	defer func() {
		if p := recover(); p != nil {
			r.pipe.panicked(r.name, p, debug.Stack())
			err = &panicError{fmt.Errorf("panic in %s: %v", r.name, p)}
		}
	}()
	r.flushes.Add(1)
	g := r.pipe.config.Global
	if err = r.flusher.Flush(g.Project, g.Logstore, r.pipe.config.Name, groups); err != nil {
		_ = err.Error()
		if partial := (*pipeline.PartialError)(nil); errors.As(err, &partial) {
			_ = whyAgain(partial).Error()
		}
	}
	return err
}

func (r *flusherRunner) isReady() (ready bool) {
	defer func() {
		if p := recover(); p != nil {
			r.pipe.panicked(r.name, p, debug.Stack())
			ready = false
		}
	}()
	g := r.pipe.config.Global
	return r.flusher.IsReady(g.Project, g.Logstore, 0)
}

type panicError struct{ error }

// setState notes what a person should know, and logs it when it changes.
func (r *flusherRunner) setState(state string, err error) {
	old := r.state.Load()
	text := ""
	if err != nil {
		text = err.Error()
	}
	if old.State == state && old.LastError == text {
		return
	}
	now := &flusherState{State: state, LastError: text, Since: time.Now()}
	if old.State == state {
		now.Since = old.Since
	}
	r.state.Store(now)
	if old.State == state {
		return
	}
	switch state {
	case StateReady:
		r.log.Info("delivering again", "after", now.Since.Sub(old.Since).Round(time.Millisecond).String())
	case StateBlocked:
		r.log.Error("blocked: the destination needs a person; retrying slowly, nothing is dropped", "error", text)
	case StateRetrying:
		r.log.Warn("delivery failed, retrying", "error", text)
	default:
		r.log.Info("not ready, waiting")
	}
}

// holdsUpInputs reports whether inputs have to wait and giving up events here would help: no flusher that blocks has as many left.
func (r *flusherRunner) holdsUpInputs() bool {
	if !r.pipe.queue.Full() && !slices.ContainsFunc(r.pipe.inputs, (*inputRunner).waiting) {
		return false
	}
	_, flushers := r.pipe.ledger.snapshot()
	for i, other := range r.pipe.runners {
		if other.delivery.WhenFull == "block" && flushers[i].Queued >= flushers[r.index].Queued {
			return false
		}
	}
	return true
}
