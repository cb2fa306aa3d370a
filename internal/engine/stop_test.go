package engine

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
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

// stopWithin stops r and checks that it takes no longer than its StopTimeout.
func stopWithin(r *rig) error {
	r.t.Helper()
	start := time.Now()
	err := r.stop()
	require.LessOrEqual(r.t, time.Since(start), r.options.StopTimeout)
	return err
}

func TestStopDeliversWhatAnInputPutsWhileItEnds(t *testing.T) {
	for range 30 { // what the lanes and the end hear first is left to chance
		synctest.Test(t, stopWhileAnInputPuts)
	}
}

func stopWhileAnInputPuts(t *testing.T) {
	f := &fakeFlusher{}
	r := newRig(t, f)
	done := make(chan error, 1)
	r.input.run = func(ctx context.Context, out pipeline.Sink) error {
		r.input.sink <- out
		<-ctx.Done()
		time.Sleep(time.Second) // a request whose body was still on its way; the queue is empty meanwhile
		return out.Put(context.Background(), []*protocol.LogGroup{group("a", 3)}, func(err error) { done <- err })
	}
	r.start()
	require.NoError(t, stopWithin(r))
	require.NoError(t, <-done)
	require.Equal(t, ids("a", 3), f.ids())
}

func TestStopTakesPutsThatWaitForRoom(t *testing.T) {
	for _, timeout := range []time.Duration{100 * time.Millisecond, time.Second, 25 * time.Second} {
		t.Run(timeout.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				hang := make(chan struct{})
				f := &fakeFlusher{answer: func(int, []*protocol.LogGroup) error { <-hang; return errors.New("too late") }}
				r := newRig(t, f)
				r.options.StopTimeout = timeout
				r.config.Global.Queue.MaxEvents = 4
				r.config.Flushers[0].Delivery.Batch.MaxEvents = 2
				r.start()
				settled := make(chan error, 10)
				for i := range 10 { // the first two fill the queue
					go func() {
						groups := []*protocol.LogGroup{group(fmt.Sprint(i), 2)}
						require.NoError(t, r.sink.Put(context.Background(), groups, func(err error) { settled <- err }))
					}()
				}
				synctest.Wait()
				require.ErrorContains(t, stopWithin(r), "20 events could not be delivered in time")
				for range 10 {
					require.NoError(t, <-settled)
				}
				require.Len(t, r.letters(), 20)
				close(hang)
			})
		})
	}
}

// A Flush that heeds its context gets the time to say what became of its batch.
func TestStopEndsTheContextOfAFlushBeforeItTakesTheBatchAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fakeFlusher{}
		f.answer = func(_ int, groups []*protocol.LogGroup) error {
			<-f.context.Context().Done()
			time.Sleep(900 * time.Millisecond) // it has been delivered, as it turns out
			return nil
		}
		r := newRig(t, f).start()
		done := r.put("a", 3)
		require.NoError(t, stopWithin(r))
		require.NoError(t, <-done)
		require.Empty(t, r.letters())
	})
}

func TestStopDoesNotWaitForAFlusherThatHangsInIsReady(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hang := make(chan struct{})
		f := &unreadyFlusher{isReady: func() bool { <-hang; return true }}
		r := newRig(t, &f.fakeFlusher)
		r.config.Flushers[0].Instance = f
		r.start()
		done := r.put("a", 3)
		synctest.Wait()
		require.ErrorContains(t, stopWithin(r), "3 events could not be delivered in time")
		require.NoError(t, <-done)
		require.Len(t, r.letters(), 3)
		close(hang)
		synctest.Wait()
		require.Empty(t, f.ids(), "no Flush follows Stop")
	})
}

type unreadyFlusher struct {
	fakeFlusher
	isReady func() bool
}

func (f *unreadyFlusher) IsReady(string, string, int64) bool { return f.isReady() }

func TestPluginThatHangsDoesNotHoldUpTheStop(t *testing.T) {
	hang := make(chan struct{})
	t.Cleanup(func() { close(hang) })
	for name, c := range map[string]struct {
		plugin func(*rig)
		report string
	}{
		"SetUrgent": {func(r *rig) { r.config.Flushers[0].Instance.(*hangingFlusher).urgent = func() { <-hang } }, "did not take SetUrgent"},
		"Stop":      {func(r *rig) { r.config.Flushers[0].Instance.(*hangingFlusher).stop = func() { <-hang } }, "plugins did not stop"},
		"Run": {func(r *rig) {
			r.input.run = func(_ context.Context, out pipeline.Sink) error { r.input.sink <- out; <-hang; return nil }
		}, "inputs did not end"},
		"Process": {func(r *rig) {
			withProcessors(r, &fakeProcessor{process: func(g *protocol.LogGroup, _ func(*protocol.LogGroup)) error {
				if protocol.Value(g.Logs[0], "job_id") == "hang" {
					<-hang
				}
				return nil
			}})
		}, "puts did not end"},
		"Tick": {func(r *rig) {
			withProcessors(r, &fakeProcessor{
				process: func(*protocol.LogGroup, func(*protocol.LogGroup)) error { return nil },
				tick:    func(func(*protocol.LogGroup)) { <-hang },
			})
		}, "processors did not end"},
	} {
		t.Run(name, func(t *testing.T) { // in real time: a bubble would wait for what hangs
			f := &hangingFlusher{urgent: func() {}, stop: func() {}}
			r := newRig(t, &f.fakeFlusher)
			r.options.StopTimeout = 500 * time.Millisecond
			r.config.Flushers[0].Instance = f
			c.plugin(r)
			r.start()
			require.NoError(t, <-r.put("a", 2))
			switch name {
			case "Process":
				go func() {
					_ = r.sink.Put(context.Background(), []*protocol.LogGroup{group("hang", 1)}, func(error) {})
				}()
				require.Eventually(t, func() bool { return r.status().Queue.Events == 1 }, time.Second, time.Millisecond)
			case "Tick":
				require.Eventually(t, func() bool { return r.status().Queue.Events == 1 }, 5*time.Second, time.Millisecond)
			}
			start := time.Now()
			require.ErrorContains(t, r.stop(), c.report)
			require.Less(t, time.Since(start), r.options.StopTimeout+time.Second)
			require.Equal(t, ids("a", 2), f.ids())
		})
	}
}

// A reload that waits for a processor ends when flinktail does.
func TestProcessorThatHangsDoesNotHoldUpTheStopOfAReload(t *testing.T) {
	hang := make(chan struct{})
	t.Cleanup(func() { close(hang) })
	r := newRig(t, &fakeFlusher{})
	r.options.StopTimeout = 2500 * time.Millisecond
	entered := make(chan struct{})
	withProcessors(r, &fakeProcessor{process: func(*protocol.LogGroup, func(*protocol.LogGroup)) error { close(entered); <-hang; return nil }}).start()
	go func() {
		_ = r.sink.Put(context.Background(), []*protocol.LogGroup{group("hang", 1)}, func(error) {})
	}()
	<-entered
	next := *r.config
	next.Processors = nil
	reloaded := make(chan error, 1)
	go func() { reloaded <- r.engine.Reload([]*config.Pipeline{&next}) }()
	require.Eventually(t, func() bool { return len(r.engine.running()[0].changing) == 1 }, time.Second, time.Millisecond)
	start := time.Now()
	require.ErrorContains(t, r.stop(), "puts did not end")
	require.Less(t, time.Since(start), r.options.StopTimeout+time.Second)
	require.ErrorContains(t, <-reloaded, "processors are busy")
}

type hangingFlusher struct {
	fakeFlusher
	urgent, stop func()
}

func (f *hangingFlusher) SetUrgent(bool) { f.urgent() }
func (f *hangingFlusher) Stop() error    { f.stop(); return nil }

func TestStopTimeoutOfZero(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fakeFlusher{answer: func(int, []*protocol.LogGroup) error { return errors.New("down") }}
		r := newRig(t, f)
		r.options.StopTimeout = 0
		r.start()
		done := r.put("a", 3)
		synctest.Wait()
		_ = stopWithin(r)
		select {
		case err := <-done:
			t.Log(err) // or nil: it depends on whether the dead letters could still be written
		case <-time.After(time.Minute):
			t.Error("done was not called")
		}
	})
}

func TestTickLosesNothingToAFullQueueOrAStop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fakeFlusher{notReady: true}
		r := newRig(t, f)
		r.config.Global.Queue.MaxEvents = 2
		var made atomic.Int64
		withProcessors(r, &fakeProcessor{
			process: func(*protocol.LogGroup, func(*protocol.LogGroup)) error { return nil },
			tick: func(emit func(*protocol.LogGroup)) {
				emit(group(fmt.Sprintf("tick%d", made.Add(1)), 5)) // more than the queue holds
			},
		}).start()
		time.Sleep(10 * time.Second)
		require.EqualValues(t, 1, made.Load(), "the next Tick waits until the queue has room")
		require.Equal(t, 5, int(r.status().Queue.Events))
		require.ErrorContains(t, r.stop(), "could not be delivered")
		require.Len(t, r.letters(), 5)
	})
}

func TestFullDeadLettersHoldEverythingUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fakeFlusher{answer: func(int, []*protocol.LogGroup) error { return pipeline.Permanent(errors.New("malformed")) }}
		r := newRig(t, f)
		r.config.Global.DeadLetter.MaxBytes = 1000
		r.config.Global.Queue.MaxEvents = 5
		r.start()
		require.NoError(t, <-r.put("a", 3))
		done := r.put("b", 3)
		time.Sleep(time.Hour)
		require.Empty(t, done)
		require.Len(t, r.letters(), 3)
		require.EqualValues(t, 3, r.status().Flushers[0].Queued)

		keys := map[deadletter.Key]struct{}{}
		dir := deadletter.Dir(r.dir, "test")
		require.NoError(t, deadletter.Read(dir, func(rec deadletter.Record) error { keys[rec.Key()] = struct{}{}; return nil }))
		_, err := deadletter.Remove(dir, keys)
		require.NoError(t, err)
		require.NoError(t, <-done)
		require.Len(t, r.letters(), 3)
		require.Equal(t, "b-0", r.letters()[0].EventID)

		lost := r.put("c", 3)
		refused := make(chan error, 1)
		go func() {
			refused <- r.sink.Put(context.Background(), []*protocol.LogGroup{group("d", 3)}, func(error) { t.Error("done of a refused Put") })
		}()
		synctest.Wait()
		require.ErrorContains(t, stopWithin(r), "3 events are lost")
		require.ErrorIs(t, <-refused, pipeline.ErrStopping)
		require.ErrorContains(t, <-lost, "full", "custody was lost, and the input is told")
	})
}

func TestDeadLettersThatFailAreTriedUntilTheDiskHeals(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fakeFlusher{answer: func(int, []*protocol.LogGroup) error { return pipeline.Permanent(errors.New("malformed")) }}
		r := newRig(t, f).start()
		dir := deadletter.Dir(r.dir, "test")
		require.NoError(t, os.Rename(dir, dir+".away"))
		require.NoError(t, os.WriteFile(dir, nil, 0o600)) // no directory: every write fails
		done := r.put("a", 3)
		time.Sleep(time.Minute)
		require.Empty(t, done)
		require.NoError(t, os.Remove(dir))
		require.NoError(t, os.Rename(dir+".away", dir))
		require.NoError(t, <-done)
		require.Len(t, r.letters(), 3)
		require.NoError(t, r.stop())
	})
}

func TestStateOfOneKeyIsWrittenByManyAtOnce(t *testing.T) {
	s := &fileState{dir: filepath.Join(t.TempDir(), "state")}
	small, large := make([]byte, 10), make([]byte, 100_000)
	ended := make(chan error, 20)
	for i := range cap(ended) {
		go func() {
			if i%2 == 0 {
				ended <- s.Store("k", small)
			} else {
				ended <- s.Store("k", large)
			}
		}()
	}
	for range cap(ended) {
		require.NoError(t, <-ended)
	}
	value, err := s.Load("k")
	require.NoError(t, err)
	require.Contains(t, []int{len(small), len(large)}, len(value))
	require.NoError(t, s.Store("k.tmp", small))
}

// New pipelines of one engine stop when one of them cannot start.
func TestFailedPipelineStopsTheOthers(t *testing.T) {
	good, bad := newRig(t, &fakeFlusher{}), newRig(t, &fakeFlusher{initErr: errors.New("bad")})
	bad.config.Name = "bad"
	_, err := New([]*config.Pipeline{good.config, bad.config}, good.options)
	require.ErrorContains(t, err, "pipeline bad")
	require.Equal(t, 1, good.input.stops)
}
