package engine

import (
	"slices"
	"sync"
)

// ledger accounts for every event of one pipeline. One lock makes its sums add up at any moment:
//
//	accepted + generated = filtered + rejected + appended
//	per flusher: recovered + appended = delivered + filtered + dead-lettered + corrupt + queued
type ledger struct {
	mu       sync.Mutex
	in       Ledger
	flushers []*FlusherLedger
}

// Ledger is what came into a pipeline since its start, and what became of it before the queue.
type Ledger struct {
	Accepted  int64 `json:"accepted"`
	Generated int64 `json:"generated"`
	Filtered  int64 `json:"filtered"`
	Rejected  int64 `json:"rejected"`
	Appended  int64 `json:"appended"`
}

// FlusherLedger is what became at one flusher of the events that were left to it at its start, and of those appended since.
type FlusherLedger struct {
	Recovered    int64 `json:"recovered"`
	Appended     int64 `json:"appended"`
	Delivered    int64 `json:"delivered"`
	Filtered     int64 `json:"filtered"`
	DeadLettered int64 `json:"dead_lettered"`
	Corrupt      int64 `json:"corrupt"`
	Queued       int64 `json:"queued"`
}

// open adds a flusher that has so many events left from before.
func (l *ledger) open(recovered int) *FlusherLedger {
	l.mu.Lock()
	defer l.mu.Unlock()
	f := &FlusherLedger{Recovered: int64(recovered), Queued: int64(recovered)}
	l.flushers = append(l.flushers, f)
	return f
}

// close takes a flusher out: what is appended from now on is not for it.
func (l *ledger) close(f *FlusherLedger) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.flushers = slices.DeleteFunc(l.flushers, func(other *FlusherLedger) bool { return other == f })
}

// add counts what came in; what is appended is queued for every flusher.
func (l *ledger) add(in Ledger) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.in.Accepted += in.Accepted
	l.in.Generated += in.Generated
	l.in.Filtered += in.Filtered
	l.in.Rejected += in.Rejected
	l.in.Appended += in.Appended
	for _, f := range l.flushers {
		f.Appended += in.Appended
		f.Queued += in.Appended
	}
}

// takeBack undoes an add: the queue did not keep the events, and whoever sent them was told so.
func (l *ledger) takeBack(in Ledger) {
	l.add(Ledger{-in.Accepted, -in.Generated, -in.Filtered, -in.Rejected, -in.Appended})
}

// settled moves events of a flusher from queued to where change puts them.
func (l *ledger) settled(f *FlusherLedger, n int64, change func(*FlusherLedger)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	f.Queued -= n
	change(f)
}

// snapshot returns the sums of one moment, with a copy of each flusher's.
func (l *ledger) snapshot() (Ledger, map[*FlusherLedger]FlusherLedger) {
	l.mu.Lock()
	defer l.mu.Unlock()
	flushers := make(map[*FlusherLedger]FlusherLedger, len(l.flushers))
	for _, f := range l.flushers {
		flushers[f] = *f
	}
	return l.in, flushers
}
