// Package flushertest is the contract suite of flushers: what the comments of [pipeline.Flusher] demand, as tests
// against a real destination. A flusher's test calls it:
//
//	func TestContract(t *testing.T) {
//		flushertest.Run(t, flushertest.Suite{Start: func(t testing.TB) *flushertest.Destination {
//			server := startServer(t)
//			return &flushertest.Destination{
//				New:    func() pipeline.Flusher { f := New(); f.URL = server.URL; return f },
//				Events: func() [][]byte { return server.Bodies() },
//				Down:   server.Close, // …
//			}
//		}})
//	}
//
// The test runs in the plugin's folder, where README.md has to show the plugin's sample.
package flushertest

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/flinktail/flinktail/pipeline"
	"github.com/flinktail/flinktail/pipeline/internal/contract"
	"github.com/flinktail/flinktail/pipeline/plugintest"
	"github.com/flinktail/flinktail/protocol"
)

// Suite says how to test a flusher.
type Suite struct {
	// Start returns an empty destination that nobody else uses. What it opens it closes by t.Cleanup.
	Start func(t testing.TB) *Destination

	// Broken returns flushers whose Init must fail, by what is wrong with them. Nil: Init cannot fail.
	Broken func(t testing.TB) map[string]pipeline.Flusher

	// Unordered says that the destination does not keep the order of events.
	Unordered bool

	// Workers is how many goroutines flush at once in the test of that; 0 is 4.
	Workers int
}

// Destination is where a flusher delivers to. The faults are optional: a check is run when the destination can show
// the fault. Each begins one and returns what ends it.
type Destination struct {
	// New returns a flusher with its options set for this destination, not initialised. It is called for every
	// flusher that a check needs.
	New func() pipeline.Flusher

	// Events returns what the destination has confirmed so far, one flat JSON object an event, oldest first. It
	// asks the destination itself, not the flusher.
	Events func() [][]byte

	// Down makes the destination unreachable or unable to take anything, as an outage does.
	Down func() (up func())

	// Refuse makes the destination refuse the flusher: a wrong credential, a missing right, a table that is gone.
	Refuse func() (allow func())

	// Throttle makes the destination ask for a pause that long before the next attempt.
	Throttle func(pause time.Duration) (end func())

	// Reject makes the destination take everything but the event of that id, which it finds faulty.
	Reject func(eventID string) (end func())

	// Hang makes the destination accept what is sent and never answer.
	Hang func() (resume func())
}

// check is one of the suite's tests.
type check struct {
	name string
	run  func(t testing.TB, s Suite)
}

// Each check has its own destination and flusher.
var checks = []check{
	{"description", checkDescription},
	{"sample validates", checkSample},
	{"failed Init leaks nothing", checkFailedInit},
	{"life cycle in any order", checkLifeCycle},
	{"becomes ready", checkReady},
	{"nil means confirmed", checkConfirmed},
	{"nothing to deliver", checkNothing},
	{"groups are read-only", checkReadOnly},
	{"groups are not kept", checkNotKept},
	{"concurrent flushes", checkConcurrent},
	{"urgent", checkUrgent},
	{"stop beside flush", checkStopBesideFlush},
	{"end of the context", checkContextEnd},
	{"destination hangs", checkHang},
	{"destination down", checkDown},
	{"destination refuses us", checkRefused},
	{"destination throttles", checkThrottled},
	{"destination rejects an event", checkRejected},
}

// Run runs every check that the destination allows as a subtest.
func Run(t *testing.T, s Suite) {
	t.Helper()
	require.NotNil(t, s.Start, "Suite.Start is missing")
	for _, c := range checks {
		t.Run(c.name, func(t *testing.T) { c.run(t, s) })
	}
}

// patience is the limit of what has no limit of its own.
var patience = 20 * time.Second

// Limits of the contract; generous, because test machines are busy.
const (
	onTime    = time.Second            // Flush after its context's end
	slack     = time.Second            // on top of onTime
	readyTime = 100 * time.Millisecond // IsReady
)

// session is a flusher that runs against a destination of its own.
type session struct {
	t       testing.TB
	suite   Suite
	dest    *Destination
	flusher pipeline.Flusher
	context *plugintest.Context
}

// start starts a destination and, unless told otherwise, a flusher for it.
func start(t testing.TB, s Suite) *session {
	t.Helper()
	x := startDestination(t, s)
	x.startFlusher()
	return x
}

func startDestination(t testing.TB, s Suite) *session {
	t.Helper()
	contract.NoLeaks(t)
	d := s.Start(t)
	require.NotNil(t, d.New, "Destination.New is missing")
	require.NotNil(t, d.Events, "Destination.Events is missing")
	return &session{t: t, suite: s, dest: d}
}

func (x *session) startFlusher() {
	x.t.Helper()
	x.flusher = x.dest.New()
	if v, ok := x.flusher.(pipeline.Validator); ok {
		require.NoError(x.t, v.Validate(), "Validate")
	}
	x.context = plugintest.NewContext(x.t, "flusher_contracttest")
	f := x.flusher
	contract.Within(x.t, patience, "Init", func() {
		if err := f.Init(x.context); err != nil {
			x.t.Errorf("Init: %v", err)
		}
	})
	x.t.Cleanup(func() { x.stop() })
	if x.t.Failed() {
		x.t.FailNow()
	}
}

func (x *session) stop() {
	x.t.Helper()
	contract.Within(x.t, patience, "Stop", func() {
		if err := x.flusher.Stop(); err != nil {
			x.t.Errorf("Stop: %v", err)
		}
	})
}

// ready asks IsReady, which has to answer at once.
func (x *session) ready() (ready bool) {
	x.t.Helper()
	contract.Within(x.t, patience, "IsReady", func() {
		began := time.Now()
		ready = x.flusher.IsReady("project", "logstore", 1)
		if took := time.Since(began); took > readyTime {
			x.t.Errorf("IsReady took %s; it must answer from what it knows, without I/O", took)
		}
	})
	return ready
}

// awaitReady waits as the engine does.
func (x *session) awaitReady() {
	x.t.Helper()
	for deadline := time.Now().Add(patience); !x.ready(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			x.t.Fatalf("IsReady is still false after %s", patience)
		}
	}
}

func (x *session) flush(groups []*protocol.LogGroup) (err error) {
	x.t.Helper()
	contract.Within(x.t, patience, "Flush", func() {
		err = x.flusher.Flush("project", "logstore", "config", groups)
	})
	return err
}

// deliver flushes b until it is delivered, with IsReady before each attempt as the engine has it.
func (x *session) deliver(b *batch) {
	x.t.Helper()
	var err error
	for deadline := time.Now().Add(patience); ; time.Sleep(5 * time.Millisecond) {
		x.awaitReady()
		if err = x.flush(b.groups); err == nil {
			return
		}
		if time.Now().After(deadline) {
			x.t.Fatalf("not delivered after %s: %v", patience, err)
		}
	}
}
