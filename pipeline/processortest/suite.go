// Package processortest is the contract suite of processors: what the comments of [pipeline.Processor] demand. A
// processor's test calls it:
//
//	func TestContract(t *testing.T) {
//		processortest.Run(t, processortest.Suite{
//			New:   func(testing.TB) pipeline.Processor { return New() },
//			Input: []string{`{"kind":"job_failure","root_class":"java.io.IOException"}`},
//		})
//	}
//
// The test runs in the plugin's folder, where README.md has to show the plugin's sample.
package processortest

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/flinktail/flinktail/pipeline"
	"github.com/flinktail/flinktail/pipeline/internal/contract"
	"github.com/flinktail/flinktail/pipeline/plugintest"
	"github.com/flinktail/flinktail/protocol"
	"github.com/flinktail/flinktail/protocol/flink"
)

// Suite says how to test a processor.
type Suite struct {
	// New returns a processor with its options set, not initialised.
	New func(t testing.TB) pipeline.Processor

	// Input is events, one flat JSON object each, that give the processor something to do: to change, to filter, to
	// emit. They are processed as one group, again and again.
	Input []string

	// Fails is events that Process returns an error for, if there are any.
	Fails []string

	// Broken returns processors whose Init must fail, by what is wrong with them. Nil: Init cannot fail.
	Broken func(t testing.TB) map[string]pipeline.Processor
}

type check struct {
	name string
	run  func(t testing.TB, s Suite)
}

var checks = []check{
	{"description", func(t testing.TB, s Suite) { contract.Description(t, s.New(t)) }},
	{"sample validates", func(t testing.TB, s Suite) { contract.Sample(t, s.New(t), pipeline.CategoryProcessor) }},
	{"failed Init leaks nothing", checkFailedInit},
	{"life cycle in any order", checkLifeCycle},
	{"order is kept", checkOrder},
	{"emitted groups are its own", checkEmitted},
	{"an error passes events on", checkError},
	{"groups are not kept", checkNotKept},
	{"empty group", checkEmpty},
}

// Run runs every check as a subtest.
func Run(t *testing.T, s Suite) {
	t.Helper()
	require.NotNil(t, s.New, "Suite.New is missing")
	require.NotEmpty(t, s.Input, "Suite.Input is missing")
	for _, c := range checks {
		t.Run(c.name, func(t *testing.T) { c.run(t, s) })
	}
}

const patience = 20 * time.Second

// started returns an initialised processor that is stopped when the test ends.
func started(t testing.TB, s Suite) pipeline.Processor {
	t.Helper()
	contract.NoLeaks(t)
	p := s.New(t)
	if v, ok := p.(pipeline.Validator); ok {
		require.NoError(t, v.Validate(), "Validate")
	}
	c := plugintest.NewContext(t, "processor_contracttest")
	contract.Within(t, patience, "Init", func() { require.NoError(t, p.Init(c), "Init") })
	t.Cleanup(func() { stop(t, p) })
	return p
}

func stop(t testing.TB, p pipeline.Processor) {
	t.Helper()
	contract.Within(t, patience, "Stop", func() {
		if err := p.Stop(); err != nil {
			t.Errorf("Stop: %v", err)
		}
	})
}

// process returns what Process emitted. Emitting later is an error.
func process(t testing.TB, p pipeline.Processor, g *protocol.LogGroup) (emitted []*protocol.LogGroup, err error) {
	t.Helper()
	returned := false
	contract.Within(t, patience, "Process", func() {
		err = p.Process(g, func(g *protocol.LogGroup) {
			if returned {
				t.Error("emit was called after Process had returned")
			}
			emitted = append(emitted, g)
		})
		returned = true
	})
	return emitted, err
}

// events makes a group of the suite's input, in memory of its own.
func events(t testing.TB, lines []string) *protocol.LogGroup {
	t.Helper()
	b := protocol.NewBuilder()
	g := b.BeginGroup("", "contract")
	d := protocol.NewJSONDecoder(flink.Fields, protocol.DefaultMaxDepth)
	for _, line := range lines {
		require.NoError(t, d.DecodeLine(b, []byte(line), time.Unix(1767600000, 0)), "Suite.Input: %s", line)
		b.EndLog()
	}
	return protocol.Clone(g)
}

// text renders groups, so that they can be compared later.
func text(groups ...*protocol.LogGroup) string {
	var b strings.Builder
	e := protocol.NewJSONEncoder(flink.Fields)
	for _, g := range groups {
		for i := range g.Logs {
			fmt.Fprintf(&b, "%s\n", e.Append(nil, g, i))
		}
	}
	return b.String()
}

// sound checks that g can be encoded, and so be queued and delivered.
func sound(t testing.TB, what string, g *protocol.LogGroup) {
	t.Helper()
	require.NotNil(t, g, "%s is nil", what)
	for i, log := range g.Logs {
		require.NotNil(t, log, "%s: log %d is nil", what, i)
	}
	_, err := protocol.AppendGroup(nil, g)
	require.NoError(t, err, "%s cannot be encoded", what)
}
