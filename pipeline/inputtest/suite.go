// Package inputtest is the contract suite of inputs: what the comments of [pipeline.Input] and [pipeline.Sink]
// demand, as tests against a real source. An input's test calls it:
//
//	func TestContract(t *testing.T) {
//		inputtest.Run(t, inputtest.Suite{Start: func(t testing.TB) *inputtest.Source {
//			server := startServer(t)
//			return &inputtest.Source{
//				New:  func() pipeline.Input { in := New(); in.URL = server.URL; return in },
//				Feed: func(ids []string) (acknowledged func() bool) { … },
//			}
//		}})
//	}
//
// The test runs in the plugin's folder, where README.md has to show the plugin's sample.
package inputtest

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/flinktail/flinktail/pipeline"
	"github.com/flinktail/flinktail/pipeline/internal/contract"
	"github.com/flinktail/flinktail/pipeline/plugintest"
)

// Suite says how to test an input.
type Suite struct {
	// Start returns a source that nobody else uses. What it opens it closes by t.Cleanup.
	Start func(t testing.TB) *Source

	// Broken returns inputs whose Init must fail, by what is wrong with them. Nil: Init cannot fail.
	Broken func(t testing.TB) map[string]pipeline.Input
}

// Source is what an input reads from, or who sends to it.
type Source struct {
	// New returns an input with its options set for this source, not initialised. It is called once for each
	// source.
	New func() pipeline.Input

	// Feed makes events with these event_ids available to the input, in this order, and returns at once. As a
	// real sender does, it offers again what was refused and what was not acknowledged, until the test's end.
	// The returned function reports whether the source has been told that all of them are safe: the request was
	// answered with success, the offset is committed, the stored position is behind them.
	Feed func(ids []string) (acknowledged func() bool)
}

// check is one of the suite's tests.
type check struct {
	name string
	run  func(t testing.TB, s Suite)
}

// Each check has its own source and input.
var checks = []check{
	{"description", checkDescription},
	{"sample validates", checkSample},
	{"failed Init leaks nothing", checkFailedInit},
	{"life cycle in any order", checkLifeCycle},
	{"takes events in order", checkOrder},
	{"groups stay as they are while the pipeline has them", checkHeld},
	{"acknowledges only what is settled", checkAcknowledged},
	{"settled before Put returns", checkSettledAtOnce},
	{"Put fails", checkPutFails},
	{"custody is lost", checkLost},
	{"the queue is full at the end", checkFullAtEnd},
	{"takes nothing after the end", checkNothingAfterEnd},
	{"settled after the end", checkSettledAfterEnd},
	{"end of the context", checkContextEnd},
	{"read once", checkReadOnce},
}

// Run runs every check as a subtest.
func Run(t *testing.T, s Suite) {
	t.Helper()
	require.NotNil(t, s.Start, "Suite.Start is missing")
	for _, c := range checks {
		t.Run(c.name, func(t *testing.T) { c.run(t, s) })
	}
}

// Limits of the suite; generous, because test machines are busy.
const (
	patience = 20 * time.Second       // for what has no limit of its own
	endTime  = 5 * time.Second        // Run after its context's end, and Stop
	stays    = 100 * time.Millisecond // how long to look whether something that must not happen does
)

// session is an input that runs against a source of its own.
type session struct {
	t       testing.TB
	source  *Source
	input   pipeline.Input
	context *plugintest.Context
	sink    *sink
	end     context.CancelFunc
	ran     chan error
}

func startSource(t testing.TB, s Suite) *session {
	t.Helper()
	contract.NoLeaks(t)
	source := s.Start(t)
	require.NotNil(t, source.New, "Source.New is missing")
	require.NotNil(t, source.Feed, "Source.Feed is missing")
	return &session{t: t, source: source, sink: newSink(t)}
}

// start starts a source and an input that runs.
func start(t testing.TB, s Suite) *session {
	t.Helper()
	x := startSource(t, s)
	x.init()
	x.run()
	return x
}

func (x *session) init() {
	x.t.Helper()
	x.input = x.source.New()
	x.context = plugintest.NewContext(x.t, "input_contracttest")
	if v, ok := x.input.(pipeline.Validator); ok {
		require.NoError(x.t, v.Validate(), "Validate")
	}
	contract.Within(x.t, patience, "Init", func() { require.NoError(x.t, x.input.Init(x.context), "Init") })
	x.t.Cleanup(func() { _ = x.input.Stop() })
}

func (x *session) run() {
	ctx, end := context.WithCancel(context.Background())
	x.end, x.ran = end, make(chan error, 1)
	ran, finished := x.ran, make(chan struct{})
	go func() {
		defer close(finished)
		defer func() {
			if p := recover(); p != nil {
				ran <- fmt.Errorf("panic: %v", p)
			}
		}()
		ran <- x.input.Run(ctx, x.sink)
	}()
	x.t.Cleanup(func() {
		end()
		x.sink.settleAll()
		select {
		case <-finished:
		case <-time.After(endTime): // the test has failed, and says why
		}
	})
}

// ended ends Run's context and waits for it.
func (x *session) ended() {
	x.t.Helper()
	x.end()
	x.returned(endTime)
}

func (x *session) returned(limit time.Duration) {
	x.t.Helper()
	select {
	case err := <-x.ran:
		require.NoError(x.t, err, "Run")
	case <-time.After(limit):
		x.t.Fatalf("Run did not return within %s", limit)
	}
}

func (x *session) stop() {
	x.t.Helper()
	contract.Within(x.t, endTime, "Stop", func() { require.NoError(x.t, x.input.Stop(), "Stop") })
}

// ids returns n event ids that the session has not used.
func ids(first, n int) []string {
	all := make([]string, n)
	for i := range all {
		all[i] = fmt.Sprintf("event-%04d", first+i)
	}
	return all
}

// becomes waits until condition holds.
func (x *session) becomes(condition func() bool, what string) {
	x.t.Helper()
	for deadline := time.Now().Add(patience); !condition(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			x.t.Fatalf("it took more than %s: %s", patience, what)
		}
	}
}

// never looks for a while whether condition, which must not come true, does.
func (x *session) never(condition func() bool, what string) {
	x.t.Helper()
	for deadline := time.Now().Add(stays); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		if condition() {
			x.t.Fatal(what)
		}
	}
}
