package processortest

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/flinktail/flinktail/pipeline"
	"github.com/flinktail/flinktail/pipeline/internal/verdict"
	"github.com/flinktail/flinktail/protocol"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func init() { pipeline.Register("processor_alarm", func() any { return &alarm{} }) }

const (
	sample = `{"inputs": [{"type": "input_http"}], "processors": [{"type": "processor_alarm"}], "flushers": [{"type": "flusher_stdout"}]}`
	readme = "# processor_alarm\n\n" + sample + "\n"
)

// alarm drops events of kind "noise", marks the others and emits an incident for each failure. Fields replace what
// it does.
type alarm struct {
	init, stop func() error
	process    func(a *alarm, g *protocol.LogGroup, emit func(*protocol.LogGroup)) error
	text       string

	kept *protocol.LogGroup
	emit func(*protocol.LogGroup)
}

func (a *alarm) Init(pipeline.Context) error {
	if a.init != nil {
		return a.init()
	}
	return nil
}

func (a *alarm) Stop() error {
	if a.stop != nil {
		return a.stop()
	}
	return nil
}

func (a *alarm) Description() string { return "raises alarms" + a.text }
func (a *alarm) Sample() []byte      { return []byte(sample) }

func (a *alarm) Process(g *protocol.LogGroup, emit func(*protocol.LogGroup)) error {
	if a.process != nil {
		return a.process(a, g, emit)
	}
	return a.right(g, emit)
}

var errBad = errors.New("bad event")

func (a *alarm) right(g *protocol.LogGroup, emit func(*protocol.LogGroup)) error {
	for _, log := range g.Logs {
		if protocol.Value(log, "kind") == "bad" {
			return errBad
		}
	}
	left := g.Logs[:0]
	for _, log := range g.Logs {
		switch protocol.Value(log, "kind") {
		case "noise":
			continue
		case "job_failure":
			emit(incident(log))
		}
		log.Contents = append(log.Contents, &protocol.Log_Content{Key: ptr("seen"), Value: ptr("yes")})
		left = append(left, log)
	}
	g.Logs = left
	return nil
}

func incident(cause *protocol.Log) *protocol.LogGroup {
	return &protocol.LogGroup{Logs: []*protocol.Log{{Time: cause.Time, Contents: []*protocol.Log_Content{
		{Key: ptr("kind"), Value: ptr("incident")}, {Key: ptr("event_id"), Value: ptr("i-" + protocol.Value(cause, "event_id"))},
	}}}}
}

func ptr(s string) *string { return &s }

func alarmSuite(spoil func(a *alarm)) Suite {
	newAlarm := func(testing.TB) pipeline.Processor {
		a := &alarm{}
		if spoil != nil {
			spoil(a)
		}
		return a
	}
	return Suite{
		New: newAlarm,
		Input: []string{
			`{"event_id":"1","kind":"job_status"}`, `{"event_id":"2","kind":"noise"}`, `{"event_id":"3","kind":"job_failure"}`,
			`{"event_id":"4","kind":"noise"}`, `{"event_id":"5","kind":"job_failure"}`, `{"event_id":"6","kind":"job_status"}`,
		},
		Fails: []string{`{"event_id":"1","kind":"noise"}`, `{"event_id":"2","kind":"bad"}`},
		Broken: func(testing.TB) map[string]pipeline.Processor {
			a := &alarm{init: func() error { return errBad }}
			if spoil != nil {
				spoil(a)
			}
			return map[string]pipeline.Processor{"there is no bell": a}
		},
	}
}

func inPluginFolder(t *testing.T, text string) {
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "README.md"), []byte(text), 0o600))
	t.Chdir(dir)
}

func TestRightProcessorPasses(t *testing.T) {
	inPluginFolder(t, readme)
	Run(t, alarmSuite(nil))
}

func TestBrokenProcessorsAreFound(t *testing.T) {
	release := make(chan struct{})
	t.Cleanup(func() { close(release) })
	type group = *protocol.LogGroup
	process := func(f func(a *alarm, g group, emit func(group)) error) func(*alarm) {
		return func(a *alarm) { a.process = f }
	}
	tests := []struct {
		name, check, reason string
		spoil               func(a *alarm)
	}{
		{"two lines", "description", "more than one line", func(a *alarm) { a.text = "\n!" }},
		{"Init succeeds", "failed Init leaks nothing", "Init succeeded", func(a *alarm) { a.init = nil }},
		{"Init leaves a goroutine", "failed Init leaks nothing", "goroutines are left", func(a *alarm) {
			a.init = func() error { go func() { <-release }(); return errBad }
		}},
		{"Stop twice fails", "life cycle in any order", "Stop: bad event", func(a *alarm) {
			stopped := false
			a.stop = func() error {
				if stopped {
					return errBad
				}
				stopped = true
				return nil
			}
		}},
		{"Stop leaves a goroutine", "life cycle in any order", "goroutines are left", func(a *alarm) {
			a.init = func() error { go func() { <-release }(); return nil }
		}},
		{"reorders", "order is kept", "not replace, repeat or reorder", process(func(a *alarm, g group, emit func(group)) error {
			g.Logs[0], g.Logs[5] = g.Logs[5], g.Logs[0]
			return a.right(g, emit)
		})},
		{"replaces", "order is kept", "not replace, repeat or reorder", process(func(_ *alarm, g group, _ func(group)) error {
			g.Logs[0] = incident(g.Logs[0]).Logs[0]
			return nil
		})},
		{"repeats", "order is kept", "not replace, repeat or reorder", process(func(_ *alarm, g group, _ func(group)) error {
			g.Logs = append(g.Logs, g.Logs[5])
			return nil
		})},
		{"leaves a field without a value", "order is kept", "cannot be encoded", process(func(_ *alarm, g group, _ func(group)) error {
			g.Logs[0].Contents = append(g.Logs[0].Contents, &protocol.Log_Content{Key: ptr("x")})
			return nil
		})},
		{"emits its input", "emitted groups are its own", "emitted the group it was given", process(func(_ *alarm, g group, emit func(group)) error {
			emit(g)
			return nil
		})},
		{"emits a log of its input", "emitted groups are its own", "shares a log", process(func(_ *alarm, g group, emit func(group)) error {
			emit(&protocol.LogGroup{Logs: g.Logs[:1]})
			return nil
		})},
		{"emits nothing", "emitted groups are its own", "has no log", process(func(_ *alarm, _ group, emit func(group)) error {
			emit(&protocol.LogGroup{})
			return nil
		})},
		{"emits afterwards", "emitted groups are its own", "after Process had returned", process(func(a *alarm, g group, emit func(group)) error {
			if a.emit != nil {
				a.emit(incident(g.Logs[0]))
			}
			a.emit = emit
			return nil
		})},
		{"an error loses events", "an error passes events on", "removed events", process(func(a *alarm, g group, emit func(group)) error {
			err := a.right(g, emit)
			if err != nil {
				g.Logs = g.Logs[1:]
			}
			return err
		})},
		{"an error leaves changes", "an error passes events on", "changed the group", process(func(a *alarm, g group, emit func(group)) error {
			err := a.right(g, emit)
			if err != nil {
				g.Logs[0].Contents[0].Value = ptr("x")
			}
			return err
		})},
		{"hides errors", "an error passes events on", "returned nil", process(func(a *alarm, g group, emit func(group)) error {
			_ = a.right(g, emit)
			return nil
		})},
		{"fails for ever", "an error passes events on", "does not recover", func(a *alarm) {
			failed := false
			a.process = func(a *alarm, g group, emit func(group)) error {
				failed = failed || a.right(g, emit) != nil
				if failed {
					return errBad
				}
				return nil
			}
		}},
		{"keeps groups", "groups are not kept", "memory of earlier ones", process(func(a *alarm, g group, emit func(group)) error {
			if a.kept != nil {
				emit(protocol.Clone(a.kept))
			}
			a.kept = g
			return nil
		})},
		{"panics on an empty group", "empty group", "panicked", process(func(_ *alarm, g group, _ func(group)) error {
			_ = g.Logs[0]
			return nil
		})},
		{"fills an empty group", "empty group", "into an empty group", process(func(_ *alarm, g group, _ func(group)) error {
			g.Logs = append(g.Logs, &protocol.Log{})
			return nil
		})},
	}
	covered := map[string]bool{"sample validates": true} // see below
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			inPluginFolder(t, readme)
			c := checkNamed(t, test.check)
			reports := verdict.Of(t, func(tb testing.TB) { c.run(tb, alarmSuite(test.spoil)) })
			require.NotEmpty(t, reports, "the broken processor passed")
			require.True(t, verdict.Contains(reports, test.reason), "found for another reason: %q", reports)
		})
		covered[test.check] = true
	}
	for _, c := range checks {
		require.True(t, covered[c.name], "no broken processor proves the check %q", c.name)
	}
}

func TestSampleMustBeInTheREADME(t *testing.T) {
	inPluginFolder(t, "# processor_alarm\n")
	c := checkNamed(t, "sample validates")
	reports := verdict.Of(t, func(tb testing.TB) { c.run(tb, alarmSuite(nil)) })
	require.True(t, verdict.Contains(reports, "README.md does not show"), "%q", reports)
}

func checkNamed(t *testing.T, name string) check {
	for _, c := range checks {
		if c.name == name {
			return c
		}
	}
	t.Fatalf("there is no check %q", name)
	return check{}
}
