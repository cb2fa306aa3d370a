package processortest

import (
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/flinktail/flinktail/pipeline"
	"github.com/flinktail/flinktail/pipeline/internal/contract"
	"github.com/flinktail/flinktail/pipeline/plugintest"
	"github.com/flinktail/flinktail/protocol"
)

func checkFailedInit(t testing.TB, s Suite) {
	if s.Broken == nil {
		return
	}
	contract.NoLeaks(t)
	for wrong, p := range s.Broken(t) {
		c := plugintest.NewContext(t, "processor_contracttest")
		closed := contract.NoOpenFiles(t)
		contract.Within(t, patience, "Init", func() {
			if p.Init(c) == nil {
				t.Errorf("Init succeeded, though: %s", wrong)
				_ = p.Stop()
			}
		})
		closed()
	}
}

func checkLifeCycle(t testing.TB, s Suite) {
	contract.NoLeaks(t)
	without := s.New(t)
	stop(t, without)
	stop(t, without)

	unused := started(t, s)
	stop(t, unused)

	used := started(t, s)
	_, _ = process(t, used, events(t, s.Input))
	if ticker, ok := used.(pipeline.Ticker); ok {
		contract.Within(t, patience, "Tick", func() {
			ticker.Tick(time.Now(), func(g *protocol.LogGroup) { sound(t, "what Tick emits", g) })
		})
	}
	stop(t, used)
	stop(t, used)
}

// checkOrder checks that what is left of a group are its own logs, in their order.
func checkOrder(t testing.TB, s Suite) {
	p := started(t, s)
	for range 3 {
		g := events(t, s.Input)
		before := slices.Clone(g.Logs)
		_, err := process(t, p, g)
		require.NoError(t, err, "Process")
		sound(t, "the group", g)
		at := 0
		for _, log := range g.Logs {
			i := slices.Index(before[at:], log)
			if i < 0 {
				t.Fatal("Process may filter logs of the group and change them, not replace, repeat or reorder them")
			}
			at += i + 1
		}
	}
}

// checkEmitted checks that groups which Process makes share no log with their cause, nor with each other: they are
// settled one by one.
func checkEmitted(t testing.TB, s Suite) {
	p := started(t, s)
	for range 3 {
		g := events(t, s.Input)
		owner := map[*protocol.Log]bool{}
		for _, log := range g.Logs {
			owner[log] = true
		}
		emitted, err := process(t, p, g)
		require.NoError(t, err, "Process")
		for _, made := range emitted {
			sound(t, "an emitted group", made)
			require.NotEmpty(t, made.Logs, "an emitted group has no log")
			require.NotSame(t, g, made, "Process emitted the group it was given")
			for _, log := range made.Logs {
				if owner[log] {
					t.Error("an emitted group shares a log with another group")
				}
				owner[log] = true
			}
		}
	}
}

// checkError checks that a group which Process fails for is as it was.
func checkError(t testing.TB, s Suite) {
	if len(s.Fails) == 0 {
		return
	}
	p := started(t, s)
	g := events(t, s.Fails)
	before, logs := text(g), slices.Clone(g.Logs)
	emitted, err := process(t, p, g)
	require.Error(t, err, "Process returned nil for Suite.Fails")
	require.Empty(t, emitted, "Process emitted groups and failed")
	require.True(t, slices.Equal(logs, g.Logs), "Process failed and removed events")
	require.Equal(t, before, text(g), "Process failed and changed the group")

	good := events(t, s.Input)
	_, err = process(t, p, good)
	require.NoError(t, err, "Process does not recover from an error")
}

// checkNotKept changes what Process is done with: neither later groups nor what was emitted may depend on it, and
// nobody may change it any more.
func checkNotKept(t testing.TB, s Suite) {
	p := started(t, s)
	reference := started(t, s)
	for range 3 {
		g, same := events(t, s.Input), events(t, s.Input)
		want, err := process(t, reference, same)
		require.NoError(t, err, "Process")
		got, err := process(t, p, g)
		require.NoError(t, err, "Process")
		require.Equal(t, text(append(want, same)...), text(append(got, g)...), "later events depend on memory of earlier ones")
		for _, done := range append(got, g) {
			poison(done)
		}
	}
}

// poison overwrites every text of g, as its memory is once the events are delivered.
func poison(g *protocol.LogGroup) {
	for _, log := range g.Logs {
		for _, c := range log.Contents {
			*c.Key, *c.Value = "poisoned", "poisoned"
		}
		log.Contents = log.Contents[:0]
	}
	g.Logs = g.Logs[:0]
}

func checkEmpty(t testing.TB, s Suite) {
	p := started(t, s)
	g := events(t, nil)
	_, err := process(t, p, g)
	require.NoError(t, err, "Process of a group without logs")
	require.Empty(t, g.Logs, "Process put logs into an empty group")
}
