package engine

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/flinktail/flinktail/internal/config"
	"github.com/flinktail/flinktail/internal/deadletter"
	"github.com/flinktail/flinktail/pipeline"
	"github.com/flinktail/flinktail/protocol"
)

func TestReloadOfProcessorsWhileATickWaitsForRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.queue.MaxEvents = 2
		var ready atomic.Bool
		w.ready = func(string) bool { return ready.Load() }
		e := w.start(w.pipeline("p", "input_fake v1", "processor_fake/tick1 v1", "processor_fake/tick2 v1", "flusher_fake v1"))
		done := e.put("input_fake", "a", 2)
		time.Sleep(1500 * time.Millisecond) // the tick of x waits
		w.took()
		require.NoError(t, e.Reload([]*config.Pipeline{w.pipeline("p", "input_fake v1", "processor_fake/tick2 v1", "flusher_fake v1")}))
		ready.Store(true)
		require.NoError(t, <-done)
		time.Sleep(time.Second)
		calls := w.took()
		require.NotContains(t, calls, "Tick processor_fake/tick1 v1", "it has stopped")
		require.Contains(t, calls, "Tick processor_fake/tick2 v1")
		require.Zero(t, e.Status().Pipelines[0].Queue.Events, "no reservation is left")
		require.NoError(t, e.end())
	})
}

// What one pipeline was given while another one fails to change is not lost to flushers that would have gone, nor does it keep those that
// would have come.
func TestReloadThatFailsInALaterPipelineLosesNothing(t *testing.T) {
	for _, kind := range []string{config.QueueMemory, config.QueueDisk} {
		for _, broken := range []string{"input_fake/b v2", "input_fake/c v1", "input_fake/d v1"} {
			t.Run(kind+" "+broken, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					w := newWorld(t)
					w.queue = config.Queue{Type: kind, MaxBytes: 16 * pipeline.MiB, MaxEvents: 1000}
					w.ready = func(name string) bool { return name != "flusher_fake/down v1" }
					e := w.start(w.pipeline("a", "input_fake/a v1", "flusher_fake/old v1"), w.pipeline("b", "input_fake/b v1", "flusher_fake/b v1"))
					w.broken[broken] = true
					var done chan error
					w.onInit = func(plugin string) {
						if plugin == broken {
							done = e.put("input_fake/a", "a", 3)
							if w.sink("input_fake/c") != nil {
								t.Error("a pipeline runs before it is known that nothing fails")
							}
						}
					}
					require.ErrorContains(t, e.Reload([]*config.Pipeline{
						w.pipeline("a", "input_fake/a v1", "flusher_fake/down v1"), w.pipeline("b", "input_fake/b v2", "flusher_fake/b v1"),
						w.pipeline("c", "input_fake/c v1", "flusher_fake/down v1"), w.pipeline("d", "input_fake/d v1", "flusher_fake/d v1"),
					}), broken+" is broken")
					require.NoError(t, <-done)
					<-e.running()[0].queue.Idle()
					require.Equal(t, ids("a", 3), w.ids("flusher_fake/old"))
					require.Len(t, e.Status().Pipelines, 2)
					require.Len(t, e.Status().Pipelines[0].Flushers, 1)
					require.NoError(t, <-e.put("input_fake/b", "b", 3))
					require.NoError(t, e.end())
				})
			})
		}
	}
}

// That a flusher of one pipeline cannot go is found out before those of another one come.
func TestReloadRefusedByOnePipelineLeavesTheOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.ready = func(name string) bool { return name != "flusher_fake/down v1" }
		old := func() []*config.Pipeline {
			return []*config.Pipeline{w.pipeline("a", "input_fake/a v1", "flusher_fake/a v1"), w.pipeline("b", "input_fake/b v1", "flusher_fake/b v1", "flusher_fake/down v1")}
		}
		e := w.start(old()...)
		e.put("input_fake/b", "b", 3)
		w.took()
		require.ErrorContains(t, e.Reload([]*config.Pipeline{w.pipeline("a", "input_fake/a v1", "input_fake/new v1", "flusher_fake/new v1"), w.pipeline("b", "input_fake/b v1", "flusher_fake/b v1")}),
			"pipeline b: flusher_fake/down is no longer in the configuration")
		require.Equal(t, []string{"Init flusher_fake/new v1", "Init input_fake/new v1", "Stop input_fake/new v1", "Stop flusher_fake/new v1"}, w.took())
		require.Len(t, e.running()[0].ledger.flushers, 1)
		require.NoError(t, <-e.put("input_fake/a", "a", 3))
		require.Equal(t, ids("a", 3), w.ids("flusher_fake/a"))
		require.Empty(t, w.ids("flusher_fake/new"))
		require.NoError(t, e.Reload(old()))
		require.ErrorContains(t, e.end(), "3 events could not be delivered in time")
	})
}

func TestReloadOfAnInputThatEndsWithAnErrorLeavesThePipelineRunning(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.ends["input_fake v1"] = errors.New("connection closed")
		e := w.start(w.pipeline("p", "input_fake v1", "flusher_fake v1"))
		require.NoError(t, e.Reload([]*config.Pipeline{w.pipeline("p", "input_fake v2", "flusher_fake v1")}))
		require.NoError(t, <-e.put("input_fake", "a", 3))
		synctest.Wait()
		require.Empty(t, e.returned)
		require.Equal(t, InputRunning, e.Status().Pipelines[0].Inputs[0].State)
		require.NoError(t, e.end())
	})
}

func TestPipelineEndsWhenTheInputsOfAReloadFail(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		e := w.start(w.pipeline("p", "input_fake v1", "flusher_fake v1"))
		w.fails["input_fake v2"] = errors.New("connection refused")
		require.NoError(t, e.Reload([]*config.Pipeline{w.pipeline("p", "input_fake v2", "flusher_fake v1")}))
		require.ErrorContains(t, <-e.returned, "input_fake: connection refused")
	})
}

// A pipeline whose inputs have all failed takes its time to end; a reload waits for that and starts it again.
func TestReloadStartsAPipelineAgainThatEndsByItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		var ready atomic.Bool
		w.ready = func(string) bool { return ready.Load() }
		fail := make(chan struct{})
		w.until["input_fake/a v1"] = fail
		w.fails["input_fake/a v1"] = errors.New("connection refused")
		e := w.start(w.pipeline("a", "input_fake/a v1", "flusher_fake/a v1"), w.pipeline("b", "input_fake/b v1", "flusher_fake/b v1"))
		e.put("input_fake/a", "a", 3)
		close(fail)
		synctest.Wait() // it ends, but for the flusher
		require.NoError(t, e.Reload([]*config.Pipeline{w.pipeline("a", "input_fake/a v2", "flusher_fake/a v1"), w.pipeline("b", "input_fake/b v1", "flusher_fake/b v1")}))
		ready.Store(true)
		require.NoError(t, <-e.put("input_fake/a", "b", 3))
		require.Equal(t, ids("b", 3), w.ids("flusher_fake/a"))
		require.NoError(t, e.end())
	})
}

// A flusher that is neither replaced nor started again leaves nothing behind that nobody settles.
func TestReloadThatCannotBeUndoneLosesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.ready = func(string) bool { return false }
		e := w.start(w.pipeline("p", "input_fake v1", "flusher_fake v1"))
		done := e.put("input_fake", "a", 3)
		w.broken["flusher_fake v1"], w.broken["flusher_fake v2"] = true, true
		require.ErrorIs(t, e.Reload([]*config.Pipeline{w.pipeline("p", "input_fake v1", "flusher_fake v2")}), ErrNotWhole)
		err := <-e.returned
		require.ErrorContains(t, err, "3 events could not be delivered in time and are in the dead letters")
		require.NotContains(t, err.Error(), "lost")
		require.NoError(t, <-done)
	})
}

func TestPluginThatHangsInAReloadDoesNotHoldUpTheStop(t *testing.T) {
	for call, next := range map[string][]string{
		"Stop flusher_fake v1":             {"input_fake v1", "processor_fake v1", "flusher_fake v2"},
		"SetUrgent(false) flusher_fake v1": {"input_fake v1", "processor_fake v1", "flusher_fake v2"},
		"Init flusher_fake v2":             {"input_fake v1", "processor_fake v1", "flusher_fake v2"},
		"Init flusher_fake/new v1":         {"input_fake v1", "processor_fake v1", "flusher_fake v1", "flusher_fake/new v1"},
		"Stop flusher_fake v1 ":            {"input_fake v1", "processor_fake v1", "flusher_fake/new v1"},
		"Stop processor_fake v1":           {"input_fake v1", "processor_fake v2", "flusher_fake v1"},
		"Init processor_fake v2":           {"input_fake v1", "processor_fake v2", "flusher_fake v1"},
		"Stop input_fake v1":               {"input_fake v2", "processor_fake v1", "flusher_fake v1"},
		"Init input_fake v2":               {"input_fake v2", "processor_fake v1", "flusher_fake v1"},
		"Init flusher_fake/q v1":           {"q", "input_fake/q v1", "flusher_fake/q v1"},
	} {
		t.Run(call, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				hang := make(chan struct{})
				e := w.start(w.pipeline("p", "input_fake v1", "processor_fake v1", "flusher_fake v1"))
				require.NoError(t, <-e.put("input_fake", "a", 3))
				w.hang(call, hang)
				pipelines := []*config.Pipeline{w.pipeline("p", "input_fake v1", "processor_fake v1", "flusher_fake v1")}
				if next[0] == "q" {
					pipelines = append(pipelines, w.pipeline("q", next[1:]...))
				} else {
					pipelines[0] = w.pipeline("p", next...)
				}
				reloaded := make(chan error, 1)
				go func() { reloaded <- e.Reload(pipelines) }()
				time.Sleep(time.Second)
				start := time.Now()
				_ = e.end() // it may tell of what hangs
				require.LessOrEqual(t, time.Since(start), e.options.StopTimeout)
				select {
				case err := <-reloaded:
					t.Log(err)
				case <-time.After(time.Minute):
					t.Error("Reload did not return")
				}
				close(hang)
			})
		})
	}
}

// A stop takes over from a reload that is being rolled back.
func TestStopDoesNotWaitForARollBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		hang := make(chan struct{})
		w.answer = func(name string, _ []*protocol.LogGroup) error {
			if name == "flusher_fake v2" {
				<-hang
			}
			return nil
		}
		e := w.start(w.pipeline("p", "input_fake v1", "flusher_fake v1"))
		e.options.StopTimeout = 4 * time.Second
		e.running()[0].options.StopTimeout = e.options.StopTimeout
		w.onInit = func(plugin string) {
			if plugin == "flusher_fake v2" {
				e.put("input_fake", "a", 3)
			}
		}
		reloaded := make(chan error, 1)
		go func() { reloaded <- e.Reload([]*config.Pipeline{w.pipeline("p", "input_fake v2", "flusher_fake v2")}) }()
		time.Sleep(2 * time.Second)
		start := time.Now()
		require.ErrorContains(t, e.end(), "3 events could not be delivered in time")
		require.LessOrEqual(t, time.Since(start), e.options.StopTimeout)
		require.Error(t, <-reloaded)
		close(hang)
	})
}

func TestReloadThatNeverEndsDoesNotHoldUpTheStop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		e := w.start(w.pipeline("p", "input_fake v1", "flusher_fake v1"), w.pipeline("q", "input_fake/q v1", "flusher_fake/q v1"))
		p := e.running()[0]
		p.lock() // a disk that does not answer
		start := time.Now()
		require.ErrorContains(t, e.end(), "a reload did not end within 25s")
		require.LessOrEqual(t, time.Since(start), e.options.StopTimeout+flushGrace)
		require.True(t, closed(e.running()[1].ended))
		p.unlock()
	})
}

func TestFlusherThatIsSlowToStopDoesNotHoldUpSenders(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		e := w.start(w.pipeline("p", "input_fake v1", "flusher_fake/a v1", "flusher_fake/b v1"))
		hang := make(chan struct{})
		w.hang("Stop flusher_fake/b v1", hang)
		reloaded := make(chan error, 1)
		go func() {
			reloaded <- e.Reload([]*config.Pipeline{w.pipeline("p", "input_fake v1", "flusher_fake/a v1")})
		}()
		synctest.Wait()
		start := time.Now()
		require.NoError(t, <-e.put("input_fake", "a", 3))
		require.Zero(t, time.Since(start))
		close(hang)
		require.NoError(t, <-reloaded)
		require.NoError(t, e.end())
	})
}

// An input that is still putting when its pipeline ends for a reload hears at once that it is over.
func TestReloadThatEndsAPipelineDoesNotKeepPutsWaiting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		e := w.start(w.pipeline("p", "input_fake v1", "flusher_fake v1"), w.pipeline("q", "input_fake/q v1", "flusher_fake/q v1"))
		put := make(chan error, 1)
		w.last["input_fake v1"] = func(out pipeline.Sink) {
			put <- out.Put(context.Background(), []*protocol.LogGroup{group("a", 1)}, func(error) { t.Error("done of a refused Put") })
		}
		start := time.Now()
		require.NoError(t, e.Reload([]*config.Pipeline{w.pipeline("q", "input_fake/q v1", "flusher_fake/q v1")}))
		require.Zero(t, time.Since(start))
		require.ErrorIs(t, <-put, pipeline.ErrStopping)
		require.NoError(t, e.end())
	})
}

func TestReloadKeepsTheOrderOfWhatCouldNotBecomeDeadLetters(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		var ready atomic.Bool
		w.ready = func(string) bool { return ready.Load() }
		first := w.pipeline("p", "input_fake v1", "flusher_fake v1")
		first.Flushers[0].Delivery.MaxEventAge = time.Minute
		e := w.start(first)
		dir := deadletter.Dir(e.options.DataDir, "p")
		require.NoError(t, os.Rename(dir, dir+".away"))
		require.NoError(t, os.WriteFile(dir, nil, 0o600)) // no directory: every write fails

		b := protocol.NewBuilder()
		b.BeginGroup("", "")
		for i, at := range []time.Time{time.Now().Add(-time.Hour), time.Now()} {
			b.BeginLog(uint32(at.Unix()), 0)
			b.Add("event_id", fmt.Sprint("a-", i))
			b.Add("job_id", "a")
			b.EndLog()
		}
		done := make(chan error, 1)
		synctest.Wait()
		require.NoError(t, w.sink("input_fake").Put(context.Background(), b.Groups(), func(err error) { done <- err }))
		ready.Store(true)
		time.Sleep(5 * time.Second)
		require.Empty(t, w.ids("flusher_fake"), "the dead letter comes first")
		require.NoError(t, e.Reload([]*config.Pipeline{w.pipeline("p", "input_fake v1", "flusher_fake v1")}))
		require.NoError(t, <-done)
		require.Equal(t, ids("a", 2), w.ids("flusher_fake"))
		require.NoError(t, os.Remove(dir))
		require.NoError(t, os.Rename(dir+".away", dir))
		require.NoError(t, e.end())
	})
}

// While the disk takes nothing no flusher can be added; that leaves no cursor behind that holds up the queue.
func TestReloadOverADiskThatFailsAddsNoFlusher(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.queue = config.Queue{Type: config.QueueDisk, MaxBytes: 16 * pipeline.MiB, MinFreeBytes: 1 << 60}
		e := w.start(w.pipeline("p", "input_fake v1", "flusher_fake/a v1"))
		done := e.put("input_fake", "a", 3)
		time.Sleep(time.Second)
		err := e.Reload([]*config.Pipeline{w.pipeline("p", "input_fake v1", "flusher_fake/a v1", "flusher_fake/b v1")})
		require.ErrorContains(t, err, "add cursor flusher_fake/b: append to queue: less than MinFreeBytes would stay free")
		require.Len(t, e.Status().Pipelines[0].Flushers, 1)
		require.NoError(t, e.end())
		require.ErrorIs(t, <-done, pipeline.ErrStopping)
	})
}

// Senders that do not pause cannot keep a flusher from going, and it leaves nothing behind.
func TestFlusherIsRemovedUnderLoad(t *testing.T) {
	for _, kind := range []string{config.QueueMemory, config.QueueDisk} {
		t.Run(kind, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				w.queue = config.Queue{Type: kind, MaxBytes: 16 * pipeline.MiB, MaxEvents: 100}
				w.answer = func(string, []*protocol.LogGroup) error { time.Sleep(20 * time.Millisecond); return nil }
				e := w.start(w.pipeline("p", "input_fake v1", "flusher_fake/a v1", "flusher_fake/b v1"))
				ctx, stopSending := context.WithCancel(context.Background())
				var sending sync.WaitGroup
				for job := range 8 {
					sending.Go(func() { w.send(ctx, "input_fake", fmt.Sprint("job", job)) })
				}
				time.Sleep(time.Second)
				require.NoError(t, e.Reload([]*config.Pipeline{w.pipeline("p", "input_fake v1", "flusher_fake/a v1")}))
				time.Sleep(time.Second)
				stopSending()
				sending.Wait()
				p := e.running()[0]
				<-p.queue.Idle()
				require.Greater(t, len(w.ids("flusher_fake/a")), len(w.ids("flusher_fake/b")))
				require.Len(t, p.ledger.flushers, 1)
				metrics := httptest.NewRecorder()
				e.options.Metrics.Handler().ServeHTTP(metrics, httptest.NewRequest(http.MethodGet, "/metrics", nil))
				require.Contains(t, metrics.Body.String(), `flinktail_flusher_queued_events{id="flusher_fake/a"`)
				require.NotContains(t, metrics.Body.String(), `flinktail_flusher_queued_events{id="flusher_fake/b"`)
				require.NoError(t, e.end())
			})
		})
	}
}
