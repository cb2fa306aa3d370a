package engine

import (
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestLedgerAddsUpAtAnyMoment(t *testing.T) {
	l := &ledger{}
	for range 2 {
		l.open(5)
	}
	var changes sync.WaitGroup
	for _, own := range l.flushers {
		changes.Go(func() {
			for range 20_000 {
				l.add(Ledger{Accepted: 3, Generated: 1, Filtered: 1, Appended: 3})
				l.add(Ledger{Accepted: 1, Rejected: 1})
				l.settled(own, 2, func(f *FlusherLedger) { f.Delivered += 2 })
			}
		})
	}
	ended := make(chan struct{})
	go func() {
		changes.Wait()
		close(ended)
	}()
	for !closed(ended) {
		in, flushers := l.snapshot()
		if in.Accepted+in.Generated != in.Filtered+in.Rejected+in.Appended {
			t.Fatalf("%+v", in)
		}
		for _, f := range flushers {
			if in.Appended != f.Appended || f.Recovered+f.Appended != f.Delivered+f.Queued {
				t.Fatalf("%+v, %+v", in, f)
			}
		}
	}
	in, _ := l.snapshot()
	require.Equal(t, Ledger{Accepted: 160_000, Generated: 40_000, Filtered: 40_000, Rejected: 40_000, Appended: 120_000}, in)
}
