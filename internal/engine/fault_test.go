package engine

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/flinktail/flinktail/internal/config"
	"github.com/flinktail/flinktail/pipeline"
	"github.com/flinktail/flinktail/protocol"
)

// When done is called its groups belong to the input again, which reuses them at once: the engine may not even look.
func TestGroupsAreNotTouchedAfterDone(t *testing.T) {
	f := &fakeFlusher{}
	r := newRig(t, f)
	r.config.Flushers[0].Delivery.Workers = 4
	f.answer = func(int, []*protocol.LogGroup) error {
		if r.status().Flushers[0].Queued < 1 {
			t.Error("an event was flushed before it was counted")
		}
		return nil
	}
	r.start()
	for i := range 2000 {
		groups := []*protocol.LogGroup{group(fmt.Sprint(i), 1), {}}
		done := make(chan struct{})
		require.NoError(t, r.sink.Put(context.Background(), groups, func(error) {
			groups[0].Logs = group("reused", 2).Logs
			groups[1] = nil
			close(done)
		}))
		<-done
	}
	require.NoError(t, r.stop())
	require.NotContains(t, f.ids(), "reused-1")
	require.Len(t, f.ids(), 2000)
}

func TestQueueKeepsTheOrderOfTheProcessors(t *testing.T) {
	f := &fakeFlusher{}
	r := newRig(t, f)
	next := 0
	withProcessors(r, &fakeProcessor{process: func(g *protocol.LogGroup, emit func(*protocol.LogGroup)) error {
		emit(group(fmt.Sprintf("made%06d", next), 1))
		next++
		return nil
	}}).start()
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range 500 {
				_ = r.sink.Put(context.Background(), []*protocol.LogGroup{group("a", 1)}, func(error) {})
			}
		})
	}
	all.Wait()
	require.NoError(t, r.stop())
	made := slices.DeleteFunc(f.ids(), func(id string) bool { return id == "a-0" })
	require.Len(t, made, 4000)
	require.True(t, slices.IsSorted(made))
}

func TestEmittedEventsCountInTheQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fakeFlusher{notReady: true}
		r := newRig(t, f)
		withProcessors(r, &fakeProcessor{process: func(g *protocol.LogGroup, emit func(*protocol.LogGroup)) error {
			emit(nil)
			emit(&protocol.LogGroup{})
			emit(group("made", 7))
			return nil
		}}).start()
		done := r.put("a", 1)
		q := r.status().Queue
		require.EqualValues(t, 8, q.Events)
		require.EqualValues(t, protocol.MemorySize(group("a", 1))+protocol.MemorySize(group("made", 7)), q.Bytes)
		f.becomeReady()
		require.NoError(t, <-done)
		require.Zero(t, r.status().Queue.Events+r.status().Queue.Bytes)
		require.NoError(t, r.stop())
	})
}

func TestErrorsThatAreFaultsThemselves(t *testing.T) {
	for name, err := range map[string]error{
		"nil partial":        (*pipeline.PartialError)(nil),
		"nil throttle":       (*pipeline.ThrottleError)(nil),
		"unreadable failure": &pipeline.PartialError{Failures: []pipeline.Failure{{Log: 0, Err: (*pipeline.BlockedError)(nil)}, {Log: 1, Err: errors.New("x")}, {Log: 2, Err: errors.New("x")}}},
		"unreadable blocked": &pipeline.PartialError{Failures: []pipeline.Failure{{Log: 0, Err: errors.New("x")}, {Log: 1, Err: (*pipeline.BlockedError)(nil), Retryable: true}}},
		"throttle of zero":   pipeline.Throttle(errors.New("429"), 0),
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := &fakeFlusher{answer: func(int, []*protocol.LogGroup) error { return err }}
				r := newRig(t, f)
				r.config.Flushers[0].Delivery.Retry.MaxElapsed = time.Minute
				r.start()
				require.NoError(t, <-r.put("a", 3))
				require.Len(t, r.letters(), 3)
				require.Less(t, f.calls, 20, "retried with pauses")
				require.NoError(t, r.stop())
			})
		})
	}
}

func TestPartialErrorMayRepeatItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fakeFlusher{}
		f.answer = func(n int, groups []*protocol.LogGroup) error {
			if n > 1 {
				return nil
			}
			x := errors.New("x")
			return &pipeline.PartialError{Failures: []pipeline.Failure{
				{Log: 1, Err: x}, {Log: 1, Err: x}, {Log: 2, Err: x, Retryable: true}, {Log: 2, Err: x, Retryable: true},
			}}
		}
		r := newRig(t, f).start()
		require.NoError(t, <-r.put("a", 4))
		require.Equal(t, []string{"a-2"}, f.ids())
		require.Len(t, r.letters(), 1)
		require.NoError(t, r.stop())
	})
}

func TestDoneThatPanicsIsContained(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, &fakeFlusher{})
		withProcessors(r, &fakeProcessor{process: func(g *protocol.LogGroup, _ func(*protocol.LogGroup)) error {
			if protocol.Value(g.Logs[0], "job_id") == "none" {
				g.Logs = nil
			}
			return nil
		}}).start()
		for _, job := range []string{"some", "none"} {
			require.NoError(t, r.sink.Put(context.Background(), []*protocol.LogGroup{group(job, 2)}, func(error) { panic("bug") }))
		}
		require.NoError(t, <-r.put("a", 1))
		require.NoError(t, r.stop())
		require.Zero(t, r.status().Queue.Events)
	})
}

func TestEveryMethodMayPanic(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &panickingFlusher{}
		r := newRig(t, &f.fakeFlusher)
		r.config.Flushers[0].Instance = f
		withProcessors(r, &fakeProcessor{
			process: func(*protocol.LogGroup, func(*protocol.LogGroup)) error { panic("process") },
			tick:    func(func(*protocol.LogGroup)) { panic("tick") },
		}).start()
		done := r.put("a", 2)
		time.Sleep(3 * time.Second)
		require.Equal(t, StateNotReady, r.status().Flushers[0].State)
		f.ready.Store(true)
		require.NoError(t, <-done)
		require.Len(t, r.letters(), 2)
		require.NoError(t, stopWithin(r))
	})
}

func TestInitThatPanicsIsAnError(t *testing.T) {
	r := newRig(t, &fakeFlusher{})
	r.config.Flushers[0].Instance = &panickingFlusher{inInit: true}
	_, err := New([]*config.Pipeline{r.config}, r.options)
	require.ErrorContains(t, err, "panic: init")
}

// panickingFlusher panics in every method but Init.
type panickingFlusher struct {
	fakeFlusher
	inInit bool
	ready  atomic.Bool
}

func (f *panickingFlusher) Init(pipeline.Context) error {
	if f.inInit {
		panic("init")
	}
	return nil
}
func (f *panickingFlusher) IsReady(string, string, int64) bool {
	if !f.ready.Load() {
		panic("not ready")
	}
	return true
}
func (*panickingFlusher) Flush(string, string, string, []*protocol.LogGroup) error { panic("flush") }
func (*panickingFlusher) SetUrgent(bool)                                           { panic("urgent") }
func (*panickingFlusher) Stop() error                                              { panic("stop") }
