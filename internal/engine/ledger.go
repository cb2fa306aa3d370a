package engine

import "sync"

// ledger accounts for every event of one pipeline. One lock makes its sums add up at any moment:
//
//	accepted + generated = filtered + rejected + appended
//	per flusher: appended = delivered + filtered + dead-lettered + corrupt + queued
type ledger struct {
	mu       sync.Mutex
	in       Ledger
	flushers []FlusherLedger
}

// Ledger is what came into a pipeline and what became of it before the queue.
type Ledger struct {
	Accepted  int64 `json:"accepted"`
	Generated int64 `json:"generated"`
	Filtered  int64 `json:"filtered"`
	Rejected  int64 `json:"rejected"`
	Appended  int64 `json:"appended"`
}

// FlusherLedger is what became of the appended events at one flusher.
type FlusherLedger struct {
	Delivered    int64 `json:"delivered"`
	Filtered     int64 `json:"filtered"`
	DeadLettered int64 `json:"dead_lettered"`
	Corrupt      int64 `json:"corrupt"`
	Queued       int64 `json:"queued"`
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
	for i := range l.flushers {
		l.flushers[i].Queued += in.Appended
	}
}

// settled moves events of a flusher from queued to where change puts them.
func (l *ledger) settled(flusher int, n int64, change func(*FlusherLedger)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.flushers[flusher].Queued -= n
	change(&l.flushers[flusher])
}

func (l *ledger) snapshot() (Ledger, []FlusherLedger) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.in, append([]FlusherLedger(nil), l.flushers...)
}
