package engine

import (
	"time"

	"github.com/flinktail/flinktail/internal/queue"
	"github.com/flinktail/flinktail/protocol"
)

// A run is consecutive logs of one group of one entry.
type run struct {
	entry    *queue.Entry
	group    *protocol.LogGroup
	from, to int
}

func (r run) events() int { return r.to - r.from }

// bytes estimates the run's memory from its entry's.
func (r run) bytes() int { return r.entry.Size.Bytes / max(r.entry.Size.Events, 1) * r.events() }

// A batch is what one Flush gets: a log group for each run, which is the queued group itself where the run
// covers it, else a view of it.
type batch struct {
	runs   []run
	events int
	bytes  int

	groups []*protocol.LogGroup
	views  []protocol.LogGroup
}

func (b *batch) reset() {
	clear(b.runs)
	clear(b.groups)
	clear(b.views)
	b.runs, b.groups, b.events, b.bytes = b.runs[:0], b.groups[:0], 0, 0
}

func (b *batch) add(r run) {
	b.runs = append(b.runs, r)
	b.events += r.events()
	b.bytes += r.bytes()
}

// list returns the groups to pass to Flush.
func (b *batch) list() []*protocol.LogGroup {
	b.groups = b.groups[:0]
	if cap(b.views) < len(b.runs) {
		b.views = make([]protocol.LogGroup, len(b.runs))
	}
	for i, r := range b.runs {
		if r.events() == len(r.group.Logs) {
			b.groups = append(b.groups, r.group)
			continue
		}
		shell := &b.views[:cap(b.views)][i]
		r.group.Slice(shell, r.from, r.to)
		b.groups = append(b.groups, shell)
	}
	return b.groups
}

// each calls f for every event, by its place in the list passed to Flush.
func (b *batch) each(f func(run run, log int)) {
	for _, r := range b.runs {
		for log := r.from; log < r.to; log++ {
			f(r, log)
		}
	}
}

// part returns a batch of those events for which keep is true, given their places in the list passed to Flush.
func (b *batch) part(keep func(group, log int) bool) *batch {
	out := &batch{}
	for i, r := range b.runs {
		start := r.from
		for log := r.from; log <= r.to; log++ {
			if log < r.to && keep(i, log-r.from) {
				continue
			}
			if log > start {
				out.add(run{r.entry, r.group, start, log})
			}
			start = log + 1
		}
	}
	return out
}

// splitByAge moves events older than limit out of b.
func (b *batch) splitByAge(now time.Time, limit time.Duration) (young, old *batch) {
	if limit <= 0 {
		return b, nil
	}
	tooOld := func(group, log int) bool {
		r := b.runs[group]
		return now.Sub(r.group.Logs[r.from+log].At()) > limit
	}
	if old = b.part(tooOld); old.events == 0 {
		return b, nil
	}
	return b.part(func(group, log int) bool { return !tooOld(group, log) }), old
}
