package inputtest

import (
	"errors"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/flinktail/flinktail/pipeline"
	"github.com/flinktail/flinktail/pipeline/internal/contract"
	"github.com/flinktail/flinktail/pipeline/plugintest"
)

func checkDescription(t testing.TB, s Suite) {
	contract.Description(t, startSource(t, s).source.New())
}

func checkSample(t testing.TB, s Suite) {
	contract.Sample(t, startSource(t, s).source.New(), pipeline.CategoryInput)
}

func checkFailedInit(t testing.TB, s Suite) {
	if s.Broken == nil {
		return
	}
	contract.NoLeaks(t)
	for wrong, in := range s.Broken(t) {
		c := plugintest.NewContext(t, "input_contracttest")
		closed := contract.NoOpenFiles(t)
		contract.Within(t, patience, "Init", func() {
			if in.Init(c) == nil {
				t.Errorf("Init succeeded, though: %s", wrong)
				_ = in.Stop()
			}
		})
		closed()
	}
}

// checkLifeCycle calls the methods in orders that an engine, or a person, might come up with.
func checkLifeCycle(t testing.TB, s Suite) {
	orders := map[string]func(x *session){
		"without Init": func(x *session) {
			x.input = x.source.New()
			x.stop()
			x.stop()
		},
		"without Run": func(x *session) {
			x.init()
			x.stop()
			x.stop()
		},
		"Run after its end": func(x *session) {
			x.init()
			x.run()
			x.ended()
			x.stop()
			x.stop()
		},
		"with events": func(x *session) {
			x.init()
			x.run()
			x.source.Feed(ids(0, 3))
			for _, p := range x.sink.take(3) {
				p.settle(nil)
			}
			x.ended()
			x.stop()
			x.stop()
		},
	}
	for name, call := range orders {
		contract.Within(t, 2*patience, name, func() {
			x := startSource(t, s)
			call(x)
		})
	}
}

func checkOrder(t testing.TB, s Suite) {
	x := start(t, s)
	all := ids(0, 1000)
	x.source.Feed(all)
	puts := x.sink.take(len(all))
	require.Equal(t, all, idsOf(puts))
	for _, p := range puts {
		p.settle(nil)
	}
}

func checkHeld(t testing.TB, s Suite) {
	x := start(t, s)
	first, second := ids(0, 50), ids(50, 50)
	x.source.Feed(first)
	held := x.sink.take(len(first))
	x.source.Feed(second)
	later := x.sink.take(len(second))
	require.Equal(t, second, idsOf(later))
	for _, p := range append(held, later...) {
		p.unchanged()
	}
	for _, p := range later { // memory that goes back must not be that of the first
		p.settle(nil)
	}
	x.source.Feed(ids(100, 50))
	last := x.sink.take(50)
	for _, p := range append(held, last...) {
		p.unchanged()
	}
	x.ended()
	for _, p := range append(held, last...) {
		p.unchanged()
		p.settle(nil)
	}
}

func checkAcknowledged(t testing.TB, s Suite) {
	x := start(t, s)
	acknowledged := x.source.Feed(ids(0, 20))
	puts := x.sink.take(20)
	x.never(acknowledged, "events were acknowledged before they were settled")
	for _, p := range puts {
		p.settle(nil)
	}
	x.becomes(acknowledged, "acknowledge settled events")
}

func checkSettledAtOnce(t testing.TB, s Suite) {
	x := start(t, s)
	x.sink.set(func(s *sink) { s.atOnce = true })
	acknowledged := x.source.Feed(ids(0, 20))
	x.sink.take(20)
	x.becomes(acknowledged, "acknowledge events that were settled before Put returned")
}

func checkPutFails(t testing.TB, s Suite) {
	for _, refusal := range []error{pipeline.ErrFull, errors.New("the suite refuses")} {
		x := start(t, s)
		x.sink.set(func(s *sink) { s.refuse = refusal })
		all := ids(0, 20)
		acknowledged := x.source.Feed(all)
		x.becomes(func() bool { return x.sink.count(func(s *sink) int { return s.refused }) > 0 }, "put what was fed")
		x.never(acknowledged, "events were acknowledged though Put refused them")
		x.sink.set(func(s *sink) { s.refuse = nil })
		puts := x.sink.take(len(all))
		require.Equal(t, all, idsOf(puts))
		for _, p := range puts {
			p.settle(nil)
		}
		x.becomes(acknowledged, "acknowledge events that were taken in the end")
		x.ended()
		x.stop()
	}
}

func checkLost(t testing.TB, s Suite) {
	x := start(t, s)
	all := ids(0, 20)
	acknowledged := x.source.Feed(all)
	for _, p := range x.sink.take(len(all)) {
		p.settle(errors.New("the suite lost them"))
	}
	x.never(acknowledged, "events were acknowledged though custody of them was lost")
	puts := x.sink.take(len(all))
	require.Equal(t, all, idsOf(puts))
	for _, p := range puts {
		p.settle(nil)
	}
	x.becomes(acknowledged, "acknowledge events that were settled the second time")
}

func checkFullAtEnd(t testing.TB, s Suite) {
	x := start(t, s)
	x.sink.set(func(s *sink) { s.full = true })
	acknowledged := x.source.Feed(ids(0, 20))
	x.becomes(func() bool { return x.sink.count(func(s *sink) int { return s.blocked }) > 0 }, "put what was fed")
	x.ended()
	x.sink.set(func(s *sink) { s.closed = true })
	x.stop()
	require.False(t, acknowledged(), "events were acknowledged though they were never taken")
}

func checkNothingAfterEnd(t testing.TB, s Suite) {
	x := start(t, s)
	x.source.Feed(ids(0, 20))
	for _, p := range x.sink.take(20) {
		p.settle(nil)
	}
	x.ended()
	x.sink.set(func(s *sink) { s.closed = true })
	acknowledged := x.source.Feed(ids(20, 20))
	x.never(acknowledged, "events were acknowledged that came after the end")
	x.stop()
	require.False(t, acknowledged(), "events were acknowledged that came after the end")
}

// checkSettledAfterEnd is the engine's stop: Run returns, the queue drains, then comes Stop.
func checkSettledAfterEnd(t testing.TB, s Suite) {
	x := start(t, s)
	acknowledged := x.source.Feed(ids(0, 20))
	puts := x.sink.take(20)
	x.ended()
	x.sink.set(func(s *sink) { s.closed = true })
	x.never(acknowledged, "events were acknowledged before they were settled")
	for _, p := range puts {
		p.unchanged()
		p.settle(nil)
	}
	x.stop()
	x.becomes(acknowledged, "acknowledge what was settled between Run's return and Stop")
}

// checkContextEnd is a stop whose deadline has passed.
func checkContextEnd(t testing.TB, s Suite) {
	x := start(t, s)
	x.source.Feed(ids(0, 20))
	puts := x.sink.take(20)
	x.ended()
	x.context.Cancel()
	for _, p := range puts {
		p.settle(errors.New("the stop deadline has passed"))
	}
	contract.Within(t, endTime, "Stop", func() { _ = x.input.Stop() })
}

func checkReadOnce(t testing.TB, s Suite) {
	x := startSource(t, s)
	x.init()
	finite, ok := x.input.(pipeline.Finite)
	if !ok {
		return
	}
	all := ids(0, 20)
	acknowledged := x.source.Feed(all)
	finite.ReadOnce()
	x.run()
	puts := x.sink.take(len(all))
	require.Equal(t, all, idsOf(puts))
	x.never(func() bool { return len(x.ran) > 0 }, "Run returned before what it read was settled")
	for _, p := range puts {
		p.settle(nil)
	}
	x.returned(patience)
	x.stop()
	require.True(t, acknowledged(), "what was read once is not acknowledged")
}
