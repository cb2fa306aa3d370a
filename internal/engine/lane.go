package engine

import (
	"slices"
	"sync"
	"time"

	"github.com/flinktail/flinktail/internal/config"
	"github.com/flinktail/flinktail/internal/queue"
	"github.com/flinktail/flinktail/pipeline"
)

// A lane delivers one batch after the other, so that what it is given stays in order.
type lane struct {
	runner *flusherRunner
	wake   chan struct{}

	mu      sync.Mutex
	pending []run
	head    int // pending[:head] is gone
	events  int
	bytes   int
	oldest  time.Time // when pending became non-empty
	lent    *batch    // the batch that the plugin has
	taken   bool      // lent was dead-lettered because the plugin did not return in time
}

func (l *lane) take(r run) {
	l.mu.Lock()
	l.push(r)
	l.mu.Unlock()
	l.signal()
}

func (l *lane) takeEntry(e *queue.Entry) {
	l.mu.Lock()
	for _, g := range e.Groups {
		if len(g.Logs) > 0 {
			l.push(run{e, g, 0, len(g.Logs)})
		}
	}
	l.mu.Unlock()
	l.signal()
}

func (l *lane) push(r run) {
	if l.events == 0 {
		l.oldest = time.Now()
	}
	l.pending = append(l.pending, r)
	l.events += r.events()
	l.bytes += r.bytes()
}

func (l *lane) signal() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

func (l *lane) loop() {
	b := &batch{}
	for l.fill(b) {
		if !l.deliver(b) {
			return // takeOver goes on in its place
		}
		b.reset()
	}
	l.runner.running.Done()
}

// giveBack puts b's events back before those that are pending, for [flusherRunner.adopt]: the lane itself delivers nothing any more.
func (l *lane) giveBack(b *batch) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.pending, l.head = slices.Concat(b.runs, l.pending[l.head:]), 0
}

// fill waits until a batch is due and cuts it: at once, or, with MaxAge, when it is full or old enough. It returns
// false when the pipeline has nothing more, or the flusher halts.
func (l *lane) fill(b *batch) bool {
	limits := l.runner.delivery.Batch
	var arrivals <-chan struct{}
	if len(l.runner.lanes) == 1 {
		arrivals = l.runner.cursor.Wake()
	}
	for {
		if l.runner.halt.Err() != nil {
			return false
		}
		if arrivals != nil {
			l.runner.pull()
		}
		l.mu.Lock()
		due := l.events > 0
		var wait <-chan time.Time
		if due && limits.MaxAge > 0 && l.events < limits.MaxEvents && l.bytes < int(limits.MaxBytes) && !closed(l.runner.urgent) {
			if left := limits.MaxAge - time.Since(l.oldest); left > 0 {
				due = false
				wait = time.After(left)
			}
		}
		if due {
			l.cut(b)
			l.mu.Unlock()
			return true
		}
		l.mu.Unlock()
		urgent := l.runner.urgent
		if wait == nil {
			urgent = nil // nothing is pending: nothing to hurry
		}
		select {
		case <-l.wake:
		case <-arrivals:
		case <-wait:
		case <-urgent:
		case <-l.runner.halt.Done():
		case <-l.runner.pipe.drained:
			return false
		}
	}
}

// cut moves pending runs into b, up to the limits but at least one event.
func (l *lane) cut(b *batch) {
	limits := l.runner.delivery.Batch
	if closed(l.runner.abandon) { // all becomes dead letters, and what costs time is to sync them
		limits = config.Batch{MaxEvents: 10_000, MaxBytes: 16 * pipeline.MiB}
	}
	for l.head < len(l.pending) {
		r := l.pending[l.head]
		room := limits.MaxEvents - b.events
		if each := max(r.entry.Size.Bytes/max(r.entry.Size.Events, 1), 1); limits.MaxBytes > 0 {
			room = min(room, (int(limits.MaxBytes)-b.bytes)/each)
		}
		if room <= 0 {
			if b.events > 0 {
				break
			}
			room = 1
		}
		if r.events() > room {
			first := r
			first.to = r.from + room
			l.pending[l.head].from = first.to
			b.add(first)
			break
		}
		b.add(r)
		l.pending[l.head] = run{}
		l.head++
	}
	l.events -= b.events
	l.bytes -= b.bytes
	l.oldest = time.Now()
	if l.head == len(l.pending) {
		l.pending, l.head = l.pending[:0], 0
	} else if l.head > 1024 && l.head > len(l.pending)/2 {
		n := copy(l.pending, l.pending[l.head:])
		clear(l.pending[n:])
		l.pending, l.head = l.pending[:n], 0
	}
}

func closed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}
