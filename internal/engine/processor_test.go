package engine

import (
	"encoding/json"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/flinktail/flinktail/internal/config"
	"github.com/flinktail/flinktail/pipeline"
	"github.com/flinktail/flinktail/protocol"
)

type fakeProcessor struct {
	process func(g *protocol.LogGroup, emit func(*protocol.LogGroup)) error
	tick    func(emit func(*protocol.LogGroup))
}

func (*fakeProcessor) Init(pipeline.Context) error { return nil }
func (*fakeProcessor) Description() string         { return "fake" }
func (*fakeProcessor) Stop() error                 { return nil }
func (f *fakeProcessor) Process(g *protocol.LogGroup, emit func(*protocol.LogGroup)) error {
	return f.process(g, emit)
}
func (f *fakeProcessor) Tick(_ time.Time, emit func(*protocol.LogGroup)) {
	if f.tick != nil {
		f.tick(emit)
	}
}

func withProcessors(r *rig, processors ...*fakeProcessor) *rig {
	for _, p := range processors {
		r.config.Processors = append(r.config.Processors, config.Plugin{Type: "processor_fake", Name: "processor_fake", Instance: p})
	}
	return r
}

func TestProcessorsFilterAndGenerate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fakeFlusher{}
		var passed []int
		r := withProcessors(newRig(t, f),
			&fakeProcessor{process: func(g *protocol.LogGroup, emit func(*protocol.LogGroup)) error {
				g.Logs = g.Logs[:2]
				emit(group("made", 2))
				return nil
			}},
			&fakeProcessor{process: func(g *protocol.LogGroup, _ func(*protocol.LogGroup)) error {
				passed = append(passed, len(g.Logs))
				if protocol.Value(g.Logs[0], "job_id") == "made" {
					g.Logs = g.Logs[1:]
				}
				return nil
			}}).start()
		require.NoError(t, <-r.put("a", 5))
		require.Equal(t, []string{"a-0", "a-1", "made-1"}, f.ids())
		require.ElementsMatch(t, []int{2, 2}, passed)
		require.Equal(t, Ledger{Accepted: 5, Generated: 2, Filtered: 4, Appended: 3}, r.status().Ledger)
		require.NoError(t, r.stop())
	})
}

func TestProcessorThatTakesEverythingSettles(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fakeFlusher{}
		r := withProcessors(newRig(t, f), &fakeProcessor{process: func(g *protocol.LogGroup, _ func(*protocol.LogGroup)) error {
			g.Logs = nil
			return nil
		}}).start()
		require.NoError(t, <-r.put("a", 5))
		require.Empty(t, f.ids())
		require.NoError(t, r.stop())
	})
}

func TestProcessorThatFailsLosesNothing(t *testing.T) {
	for name, fail := range map[string]func() error{
		"error": func() error { return errors.New("bug") },
		"panic": func() error { panic("bug") },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := &fakeFlusher{}
				r := withProcessors(newRig(t, f), &fakeProcessor{process: func(*protocol.LogGroup, func(*protocol.LogGroup)) error { return fail() }}).start()
				require.NoError(t, <-r.put("a", 2))
				require.Equal(t, ids("a", 2), f.ids())
				require.NoError(t, r.stop())
			})
		})
	}
}

func TestTickGenerates(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fakeFlusher{}
		first := true
		r := withProcessors(newRig(t, f), &fakeProcessor{tick: func(emit func(*protocol.LogGroup)) {
			if first {
				emit(group("window", 1))
			}
			first = false
		}}).start()
		time.Sleep(3 * time.Second)
		require.Equal(t, []string{"window-0"}, f.ids())
		require.EqualValues(t, 1, r.status().Ledger.Generated)
		require.NoError(t, r.stop())
	})
}

func jsonField(t *testing.T, text []byte, field string) string {
	t.Helper()
	var fields map[string]json.RawMessage
	require.NoError(t, json.Unmarshal(text, &fields))
	return string(fields[field])
}
