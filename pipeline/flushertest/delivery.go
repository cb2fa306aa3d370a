package flushertest

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/flinktail/flinktail/protocol"
)

// checkConfirmed asks the destination the moment Flush has returned.
func checkConfirmed(t testing.TB, s Suite) {
	x := start(t, s)
	var sent []*batch
	for n := range 5 {
		x.awaitReady()
		b := newBatch(n, 1+n, 1+10*n)
		sent = append(sent, b)
		require.NoError(t, x.flush(b.groups), "Flush")
		x.arrived(once, sent...)
	}
}

func checkNothing(t testing.TB, s Suite) {
	x := start(t, s)
	x.awaitReady()
	require.NoError(t, x.flush(nil), "Flush of no groups")
	text := ""
	empty := &protocol.LogGroup{Category: &text, Topic: &text, Source: &text, MachineUUID: &text}
	require.NoError(t, x.flush([]*protocol.LogGroup{empty}), "Flush of a group without logs")
	b := newBatch(1, 2, 1)
	require.NoError(t, x.flush([]*protocol.LogGroup{b.groups[0], empty, b.groups[1]}), "Flush with an empty group between others")
	x.arrived(once, b)
}

func checkReadOnly(t testing.TB, s Suite) {
	x := start(t, s)
	x.awaitReady()
	b := newBatch(1, 3, 10)
	var before []*protocol.LogGroup
	for _, g := range b.groups {
		before = append(before, protocol.Clone(g))
	}
	memory := string(b.memory)
	require.NoError(t, x.flush(b.groups), "Flush")
	requireUnchanged(t, before, b)
	require.True(t, memory == string(b.memory), "Flush changed the bytes of keys or values, which are read-only")
}

// checkNotKept overwrites each batch as soon as Flush has returned.
func checkNotKept(t testing.TB, s Suite) {
	x := start(t, s)
	var sent []*batch
	for n := range 10 {
		x.awaitReady()
		b := newBatch(n, 3, 10)
		sent = append(sent, b)
		require.NoError(t, x.flush(b.groups), "Flush")
		b.poison()
	}
	x.stop()
	x.arrived(once, sent...)
}

func checkConcurrent(t testing.TB, s Suite) {
	x := start(t, s)
	x.awaitReady()
	workers := s.Workers
	if workers == 0 {
		workers = 4
	}
	const each = 20
	batches := make([]*batch, workers*each)
	problems := make(chan error, workers)
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			for i := range each {
				n := w*each + i
				b := newBatch(n, 2, 5)
				batches[n] = b
				for deadline := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
					err := fmt.Errorf("not ready")
					if x.flusher.IsReady("project", "logstore", 1) {
						err = x.flusher.Flush("project", "logstore", "config", b.groups)
					}
					if err == nil {
						break
					}
					if time.Now().After(deadline) {
						problems <- err
						return
					}
				}
				b.poison()
			}
		})
	}
	wg.Wait()
	close(problems)
	for err := range problems {
		t.Fatalf("Flush beside others: %v", err)
	}
	x.arrived(once, batches...)
}

// checkContextEnd flushes when the stop deadline has passed: it may still deliver or not, but it says which, at once.
func checkContextEnd(t testing.TB, s Suite) {
	x := start(t, s)
	x.awaitReady()
	x.context.Cancel()
	b := newBatch(1, 2, 5)
	began := time.Now()
	err := x.flush(b.groups)
	if took := time.Since(began); took > onTime+slack {
		t.Errorf("Flush took %s after the end of its context; it may take %s", took, onTime)
	}
	if err == nil {
		x.arrived(once, b)
	}
}
