package flushertest

import (
	"errors"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/flinktail/flinktail/pipeline"
	"github.com/flinktail/flinktail/pipeline/internal/verdict"
	"github.com/flinktail/flinktail/protocol"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// inPluginFolder makes the test run in a folder with that README.md.
func inPluginFolder(t *testing.T, text string) {
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "README.md"), []byte(text), 0o600))
	t.Chdir(dir)
}

func TestRightFlusherPasses(t *testing.T) {
	inPluginFolder(t, readme)
	Run(t, shelfSuite(nil))
}

// Each broken flusher has to be found by the check that is there for it, and for the right reason.
func TestBrokenFlushersAreFound(t *testing.T) {
	release := make(chan struct{})
	t.Cleanup(func() { close(release) })
	defer func(d time.Duration) { patience = d }(patience)
	patience = 3 * time.Second // longer than any right flusher takes here, and than the limits that are checked
	tests := []struct {
		name, check, reason string
		spoil               func(f *shelfFlusher)
	}{
		{"no description", "description", "is empty", func(f *shelfFlusher) { f.text = " " }},
		{"long description", "description", "more than one line", func(f *shelfFlusher) { f.text = "a\nb" }},
		{"sample is not what README.md shows", "sample validates", "README.md does not show", func(f *shelfFlusher) {
			f.example = `{"flushers": [{"type": "flusher_shelf"}]}`
		}},

		{"Init succeeds", "failed Init leaks nothing", "Init succeeded", func(f *shelfFlusher) { f.init = nil }},
		{"Init leaves a goroutine", "failed Init leaks nothing", "goroutines are left", func(f *shelfFlusher) {
			f.init = func(*shelfFlusher, pipeline.Context) error {
				go func() { <-release }()
				return errors.New("no shelf")
			}
		}},
		{"Init leaves a file open", "failed Init leaks nothing", "left open", func(f *shelfFlusher) {
			f.init = func(*shelfFlusher, pipeline.Context) error {
				r, w, err := os.Pipe()
				t.Cleanup(func() { _, _ = r.Close(), w.Close() })
				return errors.Join(err, errors.New("no shelf"))
			}
		}},
		{"Init panics", "failed Init leaks nothing", "panicked", func(f *shelfFlusher) {
			f.init = func(*shelfFlusher, pipeline.Context) error { panic("no shelf") }
		}},

		{"Stop twice panics", "life cycle in any order", "panicked", func(f *shelfFlusher) {
			f.stop = func(f *shelfFlusher) error { f.running = false; close(f.stopped); return nil }
		}},
		{"ready before Init", "life cycle in any order", "true before Init", func(f *shelfFlusher) {
			f.ready = func(*shelfFlusher) bool { return true }
		}},
		{"ready after Stop", "life cycle in any order", "true after Stop", func(f *shelfFlusher) {
			f.ready = func(f *shelfFlusher) bool { return f.ctx != nil }
		}},
		{"acknowledges before Init", "life cycle in any order", "nil before Init", func(f *shelfFlusher) {
			f.flush = func(f *shelfFlusher, g []*protocol.LogGroup) error {
				if f.ctx == nil {
					return nil
				}
				return f.deliver(g)
			}
		}},
		{"acknowledges after Stop", "life cycle in any order", "nil after Stop", func(f *shelfFlusher) {
			f.flush = func(f *shelfFlusher, g []*protocol.LogGroup) error {
				if f.ctx != nil && !f.isRunning() {
					return nil
				}
				return f.deliver(g)
			}
		}},
		{"Stop leaves a goroutine", "life cycle in any order", "goroutines are left", func(f *shelfFlusher) {
			f.init = func(*shelfFlusher, pipeline.Context) error { go func() { <-release }(); return nil }
		}},

		{"never ready", "becomes ready", "still false", func(f *shelfFlusher) {
			f.ready = func(*shelfFlusher) bool { return false }
		}},
		{"IsReady is slow", "becomes ready", "without I/O", func(f *shelfFlusher) {
			f.ready = func(*shelfFlusher) bool { time.Sleep(2 * readyTime); return true }
		}},

		{"acknowledges first, delivers later", "nil means confirmed", "lost", func(f *shelfFlusher) {
			f.flush = func(f *shelfFlusher, g []*protocol.LogGroup) error {
				events := JSON(g...)
				time.AfterFunc(300*time.Millisecond, func() { f.shelf.set(func() { f.shelf.events = append(f.shelf.events, events...) }) })
				return nil
			}
		}},
		{"delivers twice", "nil means confirmed", "2 times", func(f *shelfFlusher) {
			f.flush = func(f *shelfFlusher, g []*protocol.LogGroup) error {
				return errors.Join(f.deliver(g), f.deliver(g))
			}
		}},
		{"loses the last event", "nil means confirmed", "lost", func(f *shelfFlusher) {
			f.flush = func(f *shelfFlusher, g []*protocol.LogGroup) error {
				err := f.deliver(g)
				f.shelf.set(func() { f.shelf.events = f.shelf.events[:max(0, len(f.shelf.events)-1)] })
				return err
			}
		}},
		{"turns the order round", "nil means confirmed", "another order", func(f *shelfFlusher) {
			f.flush = func(f *shelfFlusher, g []*protocol.LogGroup) error {
				err := f.deliver(g)
				f.shelf.set(func() {
					e := f.shelf.events
					if n := len(e); n > 1 && err == nil {
						e[n-1], e[n-2] = e[n-2], e[n-1]
					}
				})
				return err
			}
		}},
		{"changes an event", "nil means confirmed", "changed on its way", func(f *shelfFlusher) {
			f.flush = func(f *shelfFlusher, g []*protocol.LogGroup) error {
				cut := protocol.Clone(g[0])
				log := cut.Logs[0]
				log.Contents = log.Contents[:len(log.Contents)-1]
				return f.deliver(append([]*protocol.LogGroup{cut}, g[1:]...))
			}
		}},
		{"delivers something else too", "nil means confirmed", "was not delivered", func(f *shelfFlusher) {
			f.flush = func(f *shelfFlusher, g []*protocol.LogGroup) error {
				f.shelf.set(func() { f.shelf.events = append(f.shelf.events, []byte(`{"half an`)) })
				return f.deliver(g)
			}
		}},

		{"fails on nothing", "nothing to deliver", "Flush of no groups", func(f *shelfFlusher) {
			f.flush = func(f *shelfFlusher, g []*protocol.LogGroup) error {
				if len(g) == 0 {
					return errors.New("nothing to do")
				}
				return f.deliver(g)
			}
		}},
		{"panics on an empty group", "nothing to deliver", "panicked", func(f *shelfFlusher) {
			f.flush = func(f *shelfFlusher, g []*protocol.LogGroup) error {
				if len(g) > 0 {
					_ = g[0].Logs[0]
				}
				return f.deliver(g)
			}
		}},

		{"changes a group", "groups are read-only", "changed group 0", func(f *shelfFlusher) {
			f.flush = func(f *shelfFlusher, g []*protocol.LogGroup) error {
				g[0].Logs[0].Contents = g[0].Logs[0].Contents[1:]
				return f.deliver(g)
			}
		}},
		{"keeps groups", "groups are not kept", "was not delivered", func(f *shelfFlusher) {
			f.flush = func(f *shelfFlusher, g []*protocol.LogGroup) error {
				f.kept = append(f.kept, g...)
				return nil
			}
			f.stop = func(f *shelfFlusher) error {
				f.shelf.set(func() { f.shelf.events = append(f.shelf.events, JSON(f.kept...)...) })
				f.kept, f.running = nil, false
				return nil
			}
		}},
		{"loses under concurrency", "concurrent flushes", "lost", func(f *shelfFlusher) {
			busy := make(chan struct{}, 1)
			f.flush = func(f *shelfFlusher, g []*protocol.LogGroup) error {
				select {
				case busy <- struct{}{}:
					defer func() { <-busy }()
					time.Sleep(time.Millisecond)
					return f.deliver(g)
				default:
					return nil
				}
			}
		}},

		{"stuck when urgent", "urgent", "did not return", func(f *shelfFlusher) {
			f.urgent = func(*shelfFlusher, bool) { <-release }
		}},
		{"drops when urgent", "urgent", "lost", func(f *shelfFlusher) {
			var hurry atomic.Bool
			f.urgent = func(_ *shelfFlusher, flag bool) { hurry.Store(flag) }
			f.flush = func(f *shelfFlusher, g []*protocol.LogGroup) error {
				if hurry.Load() {
					return nil
				}
				return f.deliver(g)
			}
		}},

		{"goes on after Stop", "stop beside flush", "did not return within", func(f *shelfFlusher) {
			f.flush = func(f *shelfFlusher, g []*protocol.LogGroup) error {
				if f.isRunning() {
					return f.deliver(g)
				}
				<-release
				return errNotRunning
			}
		}},
		{"acknowledges what Stop cut off", "stop beside flush", "the destination lacks", func(f *shelfFlusher) {
			claimed := false
			f.flush = func(f *shelfFlusher, g []*protocol.LogGroup) error {
				err := f.deliver(g)
				if err != nil && !claimed && len(f.shelf.all()) > 0 {
					claimed = true
					return nil
				}
				return err
			}
		}},

		{"ignores the context's end", "destination hangs", "its context's end", func(f *shelfFlusher) {
			f.flush = func(f *shelfFlusher, g []*protocol.LogGroup) error {
				f.shelf.mu.Lock()
				hang := f.shelf.hang
				f.shelf.mu.Unlock()
				if hang != nil {
					<-hang
				}
				return f.deliver(g)
			}
		}},
		{"acknowledges without an answer", "destination hangs", "did not answer", func(f *shelfFlusher) {
			f.flush = func(f *shelfFlusher, g []*protocol.LogGroup) error {
				f.shelf.mu.Lock()
				hang := f.shelf.hang
				f.shelf.mu.Unlock()
				if hang != nil {
					return nil
				}
				return f.deliver(g)
			}
		}},
		{"late after the context's end", "end of the context", "after the end of its context", func(f *shelfFlusher) {
			f.flush = func(f *shelfFlusher, g []*protocol.LogGroup) error {
				if f.ctx.Err() != nil {
					time.Sleep(onTime + slack + 100*time.Millisecond)
				}
				return f.deliver(g)
			}
		}},
		{"claims delivery after the context's end", "end of the context", "lost", func(f *shelfFlusher) {
			f.flush = func(f *shelfFlusher, g []*protocol.LogGroup) error {
				if f.ctx.Err() != nil {
					return nil
				}
				return f.deliver(g)
			}
		}},

		{"Init needs the destination", "destination down", "Init: shelf is down", func(f *shelfFlusher) {
			f.init = func(f *shelfFlusher, _ pipeline.Context) error {
				if f.shelf != nil && f.shelf.down {
					return errDown
				}
				return nil
			}
		}},
		{"acknowledges in an outage", "destination down", "nil while the destination was down", func(f *shelfFlusher) {
			f.flush = func(f *shelfFlusher, g []*protocol.LogGroup) error { _ = f.deliver(g); return nil }
		}},
		{"gives up in an outage", "destination down", "gives them up", func(f *shelfFlusher) {
			f.flush = func(f *shelfFlusher, g []*protocol.LogGroup) error {
				if err := f.deliver(g); err != nil {
					return pipeline.Permanent(err)
				}
				return nil
			}
		}},
		{"gives up one by one in an outage", "destination down", "gives one up", func(f *shelfFlusher) {
			f.flush = func(f *shelfFlusher, g []*protocol.LogGroup) error {
				if err := f.deliver(g); err != nil {
					return &pipeline.PartialError{Failures: []pipeline.Failure{{Err: err}}}
				}
				return nil
			}
		}},
		{"calls for a person in an outage", "destination down", "calls for a person", func(f *shelfFlusher) {
			f.flush = func(f *shelfFlusher, g []*protocol.LogGroup) error {
				if err := f.deliver(g); err != nil {
					return pipeline.Blocked(err)
				}
				return nil
			}
		}},

		{"takes a refusal for an outage", "destination refuses us", "say so with Blocked", func(f *shelfFlusher) {
			f.flush = func(f *shelfFlusher, g []*protocol.LogGroup) error {
				if err := f.deliver(g); err != nil {
					return errors.New(err.Error())
				}
				return nil
			}
		}},
		{"ignores a throttle", "destination throttles", "pass that on with Throttle", func(f *shelfFlusher) {
			f.flush = func(f *shelfFlusher, g []*protocol.LogGroup) error {
				if err := f.deliver(g); err != nil {
					return errors.New(err.Error())
				}
				return nil
			}
		}},
		{"another pause", "destination throttles", "a pause of 3s", func(f *shelfFlusher) {
			f.flush = func(f *shelfFlusher, g []*protocol.LogGroup) error {
				if err := f.deliver(g); err != nil {
					return pipeline.Throttle(err, time.Second)
				}
				return nil
			}
		}},

		{"fails a batch for one event", "destination rejects an event", "list it in a PartialError", func(f *shelfFlusher) {
			f.flush = func(f *shelfFlusher, g []*protocol.LogGroup) error {
				if f.deliver(g) != nil {
					return errRejected
				}
				return nil
			}
		}},
		{"lists another event", "destination rejects an event", "the destination rejects group 1 log 2", func(f *shelfFlusher) {
			f.flush = func(f *shelfFlusher, g []*protocol.LogGroup) error {
				if f.deliver(g) != nil {
					return &pipeline.PartialError{Failures: []pipeline.Failure{{Group: 0, Log: 2, Err: errRejected}}}
				}
				return nil
			}
		}},
		{"would send the event again", "destination rejects an event", "never take", func(f *shelfFlusher) {
			f.flush = func(f *shelfFlusher, g []*protocol.LogGroup) error {
				err := f.deliver(g)
				var partial *pipeline.PartialError
				if errors.As(err, &partial) {
					partial.Failures[0].Retryable = true
				}
				return err
			}
		}},
		{"retries the only event", "destination rejects an event", "Permanent or a PartialError", func(f *shelfFlusher) {
			f.flush = func(f *shelfFlusher, g []*protocol.LogGroup) error {
				err := f.deliver(g)
				if err != nil && len(idsOf(g)) == 1 {
					return errRejected
				}
				return err
			}
		}},
	}
	covered := map[string]bool{}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			inPluginFolder(t, readme)
			c := checkNamed(t, test.check)
			reports := verdict.Of(t, func(tb testing.TB) { c.run(tb, shelfSuite(test.spoil)) })
			require.NotEmpty(t, reports, "the broken flusher passed")
			require.True(t, verdict.Contains(reports, test.reason), "found for another reason: %q", reports)
		})
		covered[test.check] = true
	}
	for _, c := range checks {
		require.True(t, covered[c.name], "no broken flusher proves the check %q", c.name)
	}
}

func TestSampleIsChecked(t *testing.T) {
	for example, reason := range map[string]string{
		`[]`:                                   "not a JSON object",
		`{"inputs": [{"type": "input_http"}]}`: "has no flushers",
		`{"flushers": [{"type": "flusher_shelf", "detail": {"Colour":1}}]}`: "does not validate",
		`{"flushers": [{"type": "flusher_contracttest"}]}`:                  "is it registered",
	} {
		inPluginFolder(t, "# flusher_shelf\n"+example)
		reports := verdict.Of(t, func(tb testing.TB) {
			checkSample(tb, shelfSuite(func(f *shelfFlusher) { f.example = example }))
		})
		require.True(t, verdict.Contains(reports, reason), "%s: %q", example, reports)
	}
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
