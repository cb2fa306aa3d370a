package flushertest

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/flinktail/flinktail/pipeline"
	"github.com/flinktail/flinktail/pipeline/internal/contract"
	"github.com/flinktail/flinktail/pipeline/plugintest"
)

func checkDescription(t testing.TB, s Suite) {
	contract.Description(t, startDestination(t, s).dest.New())
}

func checkSample(t testing.TB, s Suite) {
	contract.Sample(t, startDestination(t, s).dest.New(), pipeline.CategoryFlusher)
}

func checkFailedInit(t testing.TB, s Suite) {
	if s.Broken == nil {
		return
	}
	contract.NoLeaks(t)
	for wrong, f := range s.Broken(t) {
		c := plugintest.NewContext(t, "flusher_contracttest")
		closed := contract.NoOpenFiles(t)
		contract.Within(t, patience, "Init", func() {
			if f.Init(c) == nil {
				t.Errorf("Init succeeded, though: %s", wrong)
				_ = f.Stop()
			}
		})
		closed()
	}
}

// checkLifeCycle calls the methods in orders that an engine, or a person, might come up with.
func checkLifeCycle(t testing.TB, s Suite) {
	orders := map[string]func(x *session){
		"without Init": func(x *session) {
			x.flusher = x.dest.New()
			if x.ready() {
				t.Error("IsReady is true before Init")
			}
			if x.flush(newBatch(1, 1, 1).groups) == nil {
				t.Error("Flush returned nil before Init")
			}
			x.flusher.SetUrgent(true)
			x.flusher.SetUrgent(false)
			x.stop()
			x.stop()
		},
		"only Init": func(x *session) {
			x.startFlusher()
			x.stop()
		},
		"Stop twice": func(x *session) {
			x.startFlusher()
			x.deliver(newBatch(1, 1, 1))
			x.stop()
			x.stop()
		},
		"after Stop": func(x *session) {
			x.startFlusher()
			x.deliver(newBatch(1, 1, 1))
			x.stop()
			if x.ready() {
				t.Error("IsReady is true after Stop")
			}
			b := newBatch(2, 1, 1)
			if x.flush(b.groups) == nil {
				t.Error("Flush returned nil after Stop")
			}
			x.flusher.SetUrgent(true)
			x.stop()
		},
	}
	for name, call := range orders {
		contract.Within(t, 2*patience, name, func() { call(startDestination(t, s)) })
	}
}

func checkReady(t testing.TB, s Suite) {
	x := start(t, s)
	x.awaitReady()
	for range 1000 {
		if !x.ready() || t.Failed() {
			break // it may change its mind, but it answers at once
		}
	}
	b := newBatch(1, 1, 1)
	x.deliver(b)
	x.arrived(once, b)
}

func checkUrgent(t testing.TB, s Suite) {
	x := start(t, s)
	x.awaitReady()
	first, second, third := newBatch(1, 1, 3), newBatch(2, 1, 3), newBatch(3, 1, 3)
	contract.Within(t, patience, "SetUrgent", func() { x.flusher.SetUrgent(true) })
	x.deliver(first)
	x.arrived(perhaps, first)
	x.flusher.SetUrgent(false)
	x.deliver(second)
	x.arrived(perhaps, first, second)

	// It may come beside a Flush.
	done := make(chan struct{})
	go func() {
		defer close(done)
		for i := range 100 {
			x.flusher.SetUrgent(i%2 == 0)
		}
	}()
	x.deliver(third)
	<-done
	x.arrived(perhaps, first, second, third)
}

// checkStopBesideFlush stops a flusher that is busy. What it acknowledged is delivered, and Flush returns.
func checkStopBesideFlush(t testing.TB, s Suite) {
	x := start(t, s)
	x.awaitReady()
	var acknowledged, sent []event
	flushed := make(chan struct{})
	busy := make(chan struct{})
	go func() {
		defer close(flushed)
		for n := range 10_000 {
			b := newBatch(n, 1, 5)
			sent = append(sent, b.want...)
			if x.flusher.Flush("project", "logstore", "config", b.groups) != nil {
				return
			}
			acknowledged = append(acknowledged, b.want...)
			if n == 3 {
				close(busy)
			}
		}
	}()
	select {
	case <-busy:
	case <-flushed:
		t.Fatal("Flush failed before Stop")
	case <-time.After(patience):
		t.Fatal("Flush does not return")
	}
	x.stop()
	select {
	case <-flushed:
	case <-time.After(onTime + slack):
		t.Fatalf("Flush did not return within %s of Stop", onTime+slack)
	}
	require.Less(t, len(sent), 5*10_000, "Flush went on after Stop")
	held := x.holds()
	for _, e := range acknowledged {
		if !held[e.id] {
			t.Errorf("Flush returned nil, but the destination lacks %s", e.id)
		}
	}
}
