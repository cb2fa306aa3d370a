package engine

import (
	"context"
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
	*component
	*flusherStats
	pipe     *pipe
	name     string
	flusher  pipeline.Flusher
	delivery config.Delivery
	log      *slog.Logger
	match    []fieldMatch
	cursor   queue.Cursor
	lanes    []*lane
	seed     maphash.Seed

	// the dispatcher's own
	key    []byte
	shares []share

	urgent  chan struct{}   // closed: waits are cut short
	abandon chan struct{}   // closed: what is not delivered goes to the dead letters
	halt    context.Context // ended: what is not delivered stays; a Flush under way is waited for
	endHalt context.CancelFunc
	running sync.WaitGroup
}

// flusherStats are what people see of a flusher; they outlive a reload that changes it.
type flusherStats struct {
	ledger            *FlusherLedger
	flushes, failures atomic.Int64
	abandoned         atomic.Int64 // events that became dead letters because flinktail stopped
	state             atomic.Pointer[flusherState]
	letters           *letters
	withdraw          []func() // of metrics
}

func newFlusherStats(ledger *FlusherLedger, c *component) *flusherStats {
	s := &flusherStats{ledger: ledger, letters: newLetters(c.context.Logger())}
	s.state.Store(&flusherState{State: StateReady, Since: time.Now()})
	return s
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

func newFlusherRunner(c *component, cursor queue.Cursor, stats *flusherStats) *flusherRunner {
	r := &flusherRunner{
		component: c, flusherStats: stats, pipe: c.context.pipe, name: c.config.Name,
		flusher: c.config.Instance.(pipeline.Flusher), delivery: c.config.Delivery,
		log: c.context.Logger(), cursor: cursor, seed: maphash.MakeSeed(),
		urgent: make(chan struct{}), abandon: make(chan struct{}),
	}
	r.halt, r.endHalt = context.WithCancel(context.Background())
	for field, patterns := range r.delivery.Match {
		r.match = append(r.match, fieldMatch{field, patterns})
	}
	for range max(r.delivery.Workers, 1) {
		r.lanes = append(r.lanes, &lane{runner: r, wake: make(chan struct{}, 1)})
	}
	return r
}

// start runs the lanes until the pipeline is drained, or the flusher halts. A lane that is alone reads the queue itself: a goroutine between the
// two would cost a small post as much as all the rest.
func (r *flusherRunner) start() {
	r.running.Add(len(r.lanes))
	for _, l := range r.lanes {
		go l.loop()
	}
	if len(r.lanes) > 1 {
		r.running.Go(r.dispatch)
	}
}

// dispatch hands every entry of the queue to the lanes.
func (r *flusherRunner) dispatch() {
	for {
		r.pull()
		select {
		case <-r.cursor.Wake():
		case <-r.halt.Done():
			return
		case <-r.pipe.drained:
			return
		}
	}
}

// pull hands what the queue has to the lanes, as runs of adjacent events for the same lane.
func (r *flusherRunner) pull() {
	for e := r.cursor.Next(); e != nil; e = r.cursor.Next() {
		if e.Corrupt != nil {
			r.passOver(e)
			continue
		}
		if len(r.lanes) == 1 && len(r.match) == 0 {
			r.lanes[0].takeEntry(e)
			continue
		}
		r.shares = r.shares[:0]
		filtered := 0
		for _, g := range e.Groups {
			filtered += r.split(run{e, g, 0, len(g.Logs)})
		}
		r.share(e, filtered)
	}
}

// passOver settles an entry whose events cannot be read: the queue has reported it and kept its bytes aside.
func (r *flusherRunner) passOver(e *queue.Entry) {
	n := int64(e.Size.Events)
	r.pipe.ledger.settled(r.ledger, n, func(l *FlusherLedger) { l.Corrupt += n })
	e.Settle(e.Size.Events)
}

// adopt hands on what the lanes of old had taken and not delivered.
func (r *flusherRunner) adopt(old *flusherRunner) {
	for _, l := range old.lanes {
		for _, left := range l.pending[l.head:] {
			r.shares = r.shares[:0]
			r.share(left.entry, r.split(left))
		}
	}
}

// share hands r.shares to the lanes and settles the events that do not match. Once all is settled, the entry's groups are no longer ours.
func (r *flusherRunner) share(e *queue.Entry, filtered int) {
	for _, s := range r.shares {
		r.lanes[s.lane].take(s.run)
	}
	if filtered > 0 {
		r.pipe.ledger.settled(r.ledger, int64(filtered), func(l *FlusherLedger) { l.Filtered += int64(filtered) })
		e.Settle(filtered)
	}
}

// split appends the parts of a run to r.shares and returns how many of its events do not match.
func (r *flusherRunner) split(whole run) (filtered int) {
	g := whole.group
	start, current := whole.from, -1
	for i := whole.from; i <= whole.to; i++ {
		next := -1
		if i < whole.to {
			if next = r.laneOf(g, g.Logs[i]); next < 0 {
				filtered++
			}
			if next == current {
				continue
			}
		}
		if current >= 0 {
			r.shares = append(r.shares, share{current, run{whole.entry, g, start, i}})
		}
		start, current = i, next
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
	g := r.pipe.global()
	if err = r.flusher.Flush(g.Project, g.Logstore, r.pipe.name, groups); err != nil {
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
	g := r.pipe.global()
	return r.flusher.IsReady(g.Project, g.Logstore, 0)
}

func (r *flusherRunner) setUrgent(flag bool) {
	_ = r.pipe.guard(r.name, func() error { r.flusher.SetUrgent(flag); return nil })
}

// takeOver goes on without a plugin that does not return: see [lane.takeOver].
func (r *flusherRunner) takeOver() {
	for _, l := range r.lanes {
		go l.takeOver()
	}
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
	if !r.pipe.queue.Full() && !slices.ContainsFunc(r.pipe.runningInputs(), (*inputRunner).waiting) {
		return false
	}
	_, flushers := r.pipe.ledger.snapshot()
	for _, other := range r.pipe.runningFlushers() {
		if other.delivery.WhenFull == "block" && flushers[other.ledger].Queued >= flushers[r.ledger].Queued {
			return false
		}
	}
	return true
}
