package engine

import (
	"context"
	"errors"
	"fmt"
	"strings"
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

func TestDoneFiresWhenEveryFlusherHasDelivered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fast, slow := &fakeFlusher{}, &fakeFlusher{notReady: true}
		r := newRig(t, fast, slow).start()
		done := r.put("a", 5)
		synctest.Wait()
		require.Equal(t, ids("a", 5), fast.ids(), "an unready flusher stalls nobody else")
		require.Empty(t, done)
		require.EqualValues(t, 5, r.status().Flushers[1].Queued)
		slow.becomeReady()
		require.NoError(t, <-done)
		require.Equal(t, ids("a", 5), slow.ids())
		require.NoError(t, r.stop())
		require.Empty(t, done, "done fires once")
		require.Equal(t, 1, fast.stops)
		require.True(t, fast.urgent)
		require.Equal(t, 1, r.input.stops)
	})
}

func TestBatchesGrowWhileAFlusherIsBusy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		f := &fakeFlusher{}
		f.answer = func(n int, _ []*protocol.LogGroup) error {
			if n == 1 {
				<-release
			}
			return nil
		}
		r := newRig(t, f)
		r.config.Flushers[0].Delivery.Batch.MaxEvents = 4
		r.start()
		r.put("a", 1)
		synctest.Wait()
		r.put("b", 3)
		r.put("c", 6)
		synctest.Wait()
		close(release)
		synctest.Wait()
		require.Equal(t, []int{1, 4, 4, 1}, f.batches)
		require.Equal(t, append(append(ids("a", 1), ids("b", 3)...), ids("c", 6)...), f.ids())
		require.NoError(t, r.stop())
	})
}

func TestMaxAgeWaitsForABatchToFill(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fakeFlusher{}
		r := newRig(t, f)
		r.config.Flushers[0].Delivery.Batch.MaxAge = time.Minute
		r.start()
		start := time.Now()
		r.put("a", 1)
		time.Sleep(30 * time.Second)
		require.Empty(t, f.ids())
		require.NoError(t, <-r.put("b", 1))
		require.Equal(t, time.Minute, time.Since(start))
		require.Equal(t, []int{2}, f.batches)
		require.NoError(t, r.stop())
	})
}

func TestPlainErrorRetriesWithGrowingPauses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var at []time.Time
		f := &fakeFlusher{answer: func(n int, _ []*protocol.LogGroup) error {
			at = append(at, time.Now())
			if n <= 4 {
				return errors.New("refused")
			}
			return nil
		}}
		r := newRig(t, f).start()
		require.NoError(t, <-r.put("a", 3))
		require.Len(t, at, 5)
		require.Greater(t, at[4].Sub(at[3]), at[1].Sub(at[0]))
		require.Equal(t, ids("a", 3), f.ids())
		require.Equal(t, StateReady, r.status().Flushers[0].State)
		require.NoError(t, r.stop())
	})
}

func TestThrottleWaitsAsLongAsTheDestinationSays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fakeFlusher{answer: func(n int, _ []*protocol.LogGroup) error {
			if n == 1 {
				return pipeline.Throttle(errors.New("429"), 17*time.Second)
			}
			return nil
		}}
		r := newRig(t, f).start()
		start := time.Now()
		require.NoError(t, <-r.put("a", 1))
		require.Equal(t, 17*time.Second, time.Since(start))
		require.NoError(t, r.stop())
	})
}

func TestPartialErrorSplitsTheBatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fakeFlusher{}
		f.answer = func(n int, groups []*protocol.LogGroup) error {
			if n > 1 {
				return nil
			}
			require.Len(t, groups, 1)
			return &pipeline.PartialError{Failures: []pipeline.Failure{
				{Group: 0, Log: 1, Err: errors.New("too large")},
				{Group: 0, Log: 3, Err: errors.New("not leader"), Retryable: true},
				{Group: 0, Log: 4, Err: errors.New("bad mapping")},
			}}
		}
		r := newRig(t, f).start()
		require.NoError(t, <-r.put("a", 6))
		require.Equal(t, []string{"a-3"}, f.ids(), "only the retryable one is sent again")
		letters := r.letters()
		require.Len(t, letters, 2)
		require.Equal(t, "a-1", letters[0].EventID)
		require.Equal(t, "too large", letters[0].Error)
		require.Equal(t, "bad mapping", letters[1].Error)
		require.JSONEq(t, `"a-4"`, jsonField(t, letters[1].Event, "event_id"))
		s := r.status().Flushers[0]
		require.EqualValues(t, 4, s.Delivered)
		require.EqualValues(t, 2, s.DeadLettered)
		require.NoError(t, r.stop())
	})
}

// What a partial error says of the logs to send again is treated as if it were said of a whole batch.
func TestPartialErrorThatIsBlockedOrThrottled(t *testing.T) {
	for name, c := range map[string]struct {
		errs  []error
		pause time.Duration
		state string
	}{
		"throttled":            {[]error{pipeline.Throttle(errors.New("busy"), 7*time.Second), pipeline.Throttle(errors.New("busier"), 17*time.Second)}, 17 * time.Second, StateRetrying},
		"blocked":              {[]error{errors.New("not leader"), pipeline.Blocked(errors.New("no such topic"))}, time.Minute, StateBlocked},
		"blocked, not as such": {[]error{pipeline.Throttle(errors.New("busy"), time.Hour), fmt.Errorf("send: %w", pipeline.Blocked(errors.New("no such topic")))}, time.Minute, StateBlocked},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := &fakeFlusher{}
				f.answer = func(n int, groups []*protocol.LogGroup) error {
					if n > 1 {
						return nil
					}
					return &pipeline.PartialError{Failures: []pipeline.Failure{
						{Group: 0, Log: 0, Err: c.errs[0], Retryable: true},
						{Group: 0, Log: 2, Err: c.errs[1], Retryable: true},
						{Group: 0, Log: 3, Err: pipeline.Blocked(errors.New("of one that is not sent again"))},
					}}
				}
				r := newRig(t, f)
				r.config.Flushers[0].Delivery.Retry = config.Retry{Initial: time.Second, Max: time.Minute, MaxElapsed: time.Millisecond}
				if c.state != StateBlocked { // MaxElapsed does not count while a person is needed
					r.config.Flushers[0].Delivery.Retry.MaxElapsed = time.Hour
				}
				r.start()
				start := time.Now()
				settled := r.put("a", 4)
				synctest.Wait()
				require.Equal(t, c.state, r.status().Flushers[0].State)
				require.NoError(t, <-settled)
				require.Equal(t, c.pause, time.Since(start))
				require.Equal(t, []string{"a-0", "a-2"}, f.ids())
				require.Len(t, r.letters(), 1)
				require.NoError(t, r.stop())
			})
		})
	}
}

func TestPartialErrorThatListsNothingFailsTheWholeBatch(t *testing.T) {
	for name, failures := range map[string][]pipeline.Failure{
		"empty":        nil,
		"out of range": {{Group: 0, Log: 7, Err: errors.New("x")}},
		"no group":     {{Group: 1, Log: 0, Err: errors.New("x")}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := &fakeFlusher{answer: func(n int, _ []*protocol.LogGroup) error {
					if n == 1 {
						return &pipeline.PartialError{Failures: failures}
					}
					return nil
				}}
				r := newRig(t, f).start()
				require.NoError(t, <-r.put("a", 3))
				require.Equal(t, ids("a", 3), f.ids())
				require.Empty(t, r.letters())
				require.NoError(t, r.stop())
			})
		})
	}
}

func TestPermanentErrorBecomesDeadLetters(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fakeFlusher{answer: func(int, []*protocol.LogGroup) error { return pipeline.Permanent(errors.New("malformed")) }}
		r := newRig(t, f).start()
		require.NoError(t, <-r.put("a", 2))
		letters := r.letters()
		require.Len(t, letters, 2)
		require.Equal(t, "permanent_error", letters[0].Reason)
		require.Equal(t, "flusher_fake/0", letters[0].Plugin)
		require.Equal(t, 1, letters[0].Attempts)
		require.NoError(t, r.stop())
	})
}

func TestBlockedKeepsEverything(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var blocked = true
		f := &fakeFlusher{}
		f.answer = func(int, []*protocol.LogGroup) error {
			f.mu.Lock()
			defer f.mu.Unlock()
			if blocked {
				return pipeline.Blocked(errors.New("403: no permission to write topic flink"))
			}
			return nil
		}
		r := newRig(t, f)
		r.config.Flushers[0].Delivery.Retry.MaxElapsed = time.Minute
		r.start()
		done := r.put("a", 2)
		time.Sleep(time.Hour)
		s := r.status().Flushers[0]
		require.Equal(t, StateBlocked, s.State)
		require.Contains(t, s.LastError, "topic flink")
		require.EqualValues(t, 2, s.Queued)
		require.Less(t, s.Flushes, int64(200), "retried slowly")
		require.Empty(t, r.letters())
		f.mu.Lock()
		blocked = false
		f.mu.Unlock()
		require.NoError(t, <-done)
		require.NoError(t, r.stop())
	})
}

func TestPanicIsRetriedThenDeadLettered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fakeFlusher{answer: func(int, []*protocol.LogGroup) error { panic("bug") }}
		r := newRig(t, f).start()
		require.NoError(t, <-r.put("a", 1))
		require.Equal(t, 3, f.calls)
		require.Equal(t, "panic", r.letters()[0].Reason)
		require.NoError(t, r.stop())
	})
}

func TestMaxElapsedEndsInDeadLetters(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fakeFlusher{answer: func(int, []*protocol.LogGroup) error { return errors.New("down") }}
		r := newRig(t, f)
		r.config.Flushers[0].Delivery.Retry.MaxElapsed = 5 * time.Minute
		r.start()
		start := time.Now()
		require.NoError(t, <-r.put("a", 1))
		require.GreaterOrEqual(t, time.Since(start), 5*time.Minute)
		require.Equal(t, "retry_expired", r.letters()[0].Reason)
		require.NoError(t, r.stop())
	})
}

func TestMaxEventAge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fakeFlusher{notReady: true}
		r := newRig(t, f)
		r.config.Flushers[0].Delivery.MaxEventAge = time.Minute
		r.start()
		old := r.put("old", 2)
		time.Sleep(2 * time.Minute)
		young := r.put("young", 2)
		f.becomeReady()
		require.NoError(t, <-old)
		require.NoError(t, <-young)
		require.Equal(t, ids("young", 2), f.ids())
		require.Len(t, r.letters(), 2)
		require.Equal(t, "too_old", r.letters()[0].Reason)
		require.NoError(t, r.stop())
	})
}

func TestFullQueueBlocksPuts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fakeFlusher{notReady: true}
		r := newRig(t, f)
		r.config.Global.Queue.MaxEvents = 10
		r.start()
		r.put("a", 10)
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		err := r.sink.Put(ctx, []*protocol.LogGroup{group("b", 1)}, func(error) { t.Error("done of a refused Put") })
		require.ErrorIs(t, err, pipeline.ErrFull)
		require.ErrorIs(t, r.sink.Put(context.Background(), []*protocol.LogGroup{group("b", 11)}, nil), pipeline.ErrTooLarge)
		var all sync.WaitGroup
		all.Go(func() { r.put("c", 1) })
		synctest.Wait()
		all.Go(func() { r.put("d", 1) })
		synctest.Wait()
		f.becomeReady()
		all.Wait()
		require.NoError(t, r.stop())
		require.ElementsMatch(t, append(ids("a", 10), "c-0", "d-0"), f.ids())
	})
}

func TestWhenFullDeadLettersSparesTheOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dead, kafka := &fakeFlusher{notReady: true}, &fakeFlusher{}
		r := newRig(t, dead, kafka)
		r.config.Global.Queue.MaxEvents = 10
		r.config.Flushers[0].Delivery.WhenFull = "dead_letter"
		r.start()
		for range 5 {
			r.put("a", 4)
		}
		dead.becomeReady()
		require.NoError(t, r.stop())
		require.Len(t, kafka.ids(), 20)
		require.NotEmpty(t, r.letters())
		require.Equal(t, "queue_full", r.letters()[0].Reason)
		require.NotEmpty(t, dead.ids(), "only as many as it takes")
	})
}

// waitingInput says that it waits while so many of its Puts are unsettled.
type waitingInput struct {
	*fakeInput
	waits atomic.Bool
}

func (w *waitingInput) Waiting() bool { return w.waits.Load() }

// An input that bounds itself never fills the queue; that must not let a dead flusher stall the others.
func TestWhenFullDeadLettersWhenAnInputWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dead := &fakeFlusher{answer: func(int, []*protocol.LogGroup) error { return errors.New("down") }}
		kafka := &fakeFlusher{}
		r := newRig(t, dead, kafka)
		input := &waitingInput{fakeInput: r.config.Inputs[0].Instance.(*fakeInput)}
		r.config.Inputs[0].Instance = input
		r.config.Flushers[0].Delivery.WhenFull = "dead_letter"
		r.start()
		settled := r.put("a", 4)
		time.Sleep(time.Hour)
		require.Empty(t, r.letters(), "nobody waits")
		input.waits.Store(true)
		began := time.Now()
		require.NoError(t, <-settled)
		require.LessOrEqual(t, time.Since(began), holdUpCheck)
		require.Len(t, r.letters(), 4)
		require.Len(t, kafka.ids(), 4)
		require.NoError(t, r.stop())
	})
}

func TestEventLargerThanTheQueueIsDeadLettered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fakeFlusher{}
		r := newRig(t, f)
		r.config.Global.Queue.MaxBytes = 10_000
		r.start()
		g := group("a", 1)
		big := strings.Repeat("x", 20_000)
		g.Logs[0].Contents[0].Value = &big
		done := make(chan error, 1)
		require.NoError(t, r.sink.Put(context.Background(), []*protocol.LogGroup{g}, func(err error) { done <- err }))
		require.NoError(t, <-done)
		require.Equal(t, "larger_than_queue", r.letters()[0].Reason)
		require.EqualValues(t, 1, r.status().Ledger.Rejected)
		require.NoError(t, r.stop())
	})
}

func TestMatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, every := &fakeFlusher{}, &fakeFlusher{}
		r := newRig(t, f, every)
		r.config.Flushers[0].Delivery.Match = map[string]config.Patterns{"job_id": {"b", "c*"}, "event_id": {"*-0"}}
		r.start()
		r.put("a", 2)
		r.put("b", 2)
		require.NoError(t, <-r.put("cd", 2))
		require.Equal(t, []string{"b-0", "cd-0"}, f.ids())
		require.Len(t, every.ids(), 6)
		require.EqualValues(t, 4, r.status().Flushers[0].Filtered)
		require.NoError(t, r.stop())
	})
}

func TestWildcard(t *testing.T) {
	for _, c := range []struct {
		pattern, s string
		want       bool
	}{
		{"a", "a", true}, {"a", "b", false}, {"*", "", true}, {"*", "x", true}, {"a*", "abc", true}, {"*c", "abc", true},
		{"a*c", "ac", true}, {"a*c", "abd", false}, {"a*b*c", "axxbyyc", true}, {"a*b*c", "axxc", false}, {"aa*aa", "aaa", false}, {"", "", true},
	} {
		require.Equal(t, c.want, wildcard(c.pattern, c.s), "%q %q", c.pattern, c.s)
	}
}

func TestWorkersKeepTheOrderOfEachJob(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		inFlight, most := 0, 0
		f := &fakeFlusher{}
		f.answer = func(int, []*protocol.LogGroup) error {
			mu.Lock()
			inFlight++
			most = max(most, inFlight)
			mu.Unlock()
			time.Sleep(time.Second)
			mu.Lock()
			inFlight--
			mu.Unlock()
			return nil
		}
		r := newRig(t, f)
		r.config.Flushers[0].Delivery.Workers = 4
		r.config.Flushers[0].Delivery.Batch.MaxEvents = 2
		r.start()
		jobs := []string{"a", "b", "c", "d", "e", "f", "g", "h"}
		var dones []chan error
		for range 1 {
			for _, job := range jobs {
				dones = append(dones, r.put(job, 7))
			}
		}
		for _, done := range dones {
			require.NoError(t, <-done)
		}
		require.Greater(t, most, 1)
		require.LessOrEqual(t, most, 4)
		for _, job := range jobs {
			var got []string
			for _, id := range f.ids() {
				if strings.HasPrefix(id, job+"-") {
					got = append(got, id)
				}
			}
			require.Equal(t, ids(job, 7), got)
		}
		require.NoError(t, r.stop())
	})
}

func TestStopCutsWaitsShortAndDelivers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fakeFlusher{}
		f.answer = func(n int, _ []*protocol.LogGroup) error {
			if n == 1 {
				return pipeline.Throttle(errors.New("later"), time.Hour)
			}
			return nil
		}
		r := newRig(t, f).start()
		done := r.put("a", 3)
		synctest.Wait()
		start := time.Now()
		require.NoError(t, r.stop())
		require.Less(t, time.Since(start), time.Second)
		require.NoError(t, <-done)
		require.ErrorIs(t, r.sink.Put(context.Background(), []*protocol.LogGroup{group("b", 1)}, nil), pipeline.ErrStopping)
	})
}

func TestStopDeadLettersWhatCannotBeDelivered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fakeFlusher{answer: func(int, []*protocol.LogGroup) error { return errors.New("down") }}
		r := newRig(t, f).start()
		done := r.put("a", 3)
		synctest.Wait()
		start := time.Now()
		require.ErrorContains(t, r.stop(), "3 events could not be delivered in time")
		require.LessOrEqual(t, time.Since(start), 25*time.Second)
		require.NoError(t, <-done)
		require.Len(t, r.letters(), 3)
		require.Equal(t, "shutdown", r.letters()[0].Reason)
	})
}

func TestStopTakesABatchFromAFlushThatHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hang := make(chan struct{})
		f := &fakeFlusher{answer: func(int, []*protocol.LogGroup) error { <-hang; return nil }}
		r := newRig(t, f)
		r.config.Flushers[0].Delivery.Batch.MaxEvents = 2
		r.start()
		done := r.put("a", 5)
		synctest.Wait()
		start := time.Now()
		require.ErrorContains(t, r.stop(), "5 events could not be delivered in time")
		require.LessOrEqual(t, time.Since(start), 25*time.Second)
		require.NoError(t, <-done)
		require.Len(t, r.letters(), 5)
		require.Error(t, f.context.Context().Err())
		close(hang)
	})
}

func TestOnceEndsWhenAllIsDelivered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fakeFlusher{notReady: true}
		r := newRig(t, f)
		endless := newInput()
		r.input.run = func(ctx context.Context, out pipeline.Sink) error {
			return out.Put(ctx, []*protocol.LogGroup{group("a", 3)}, func(error) {})
		}
		r.config.Inputs[0].Instance = finiteInput{r.input}
		r.config.Inputs = append(r.config.Inputs, config.Plugin{Name: "input_endless", Instance: endless})
		r.options.Once = true
		e, err := New([]*config.Pipeline{r.config}, r.options)
		require.NoError(t, err)
		go func() {
			time.Sleep(time.Hour)
			f.becomeReady()
		}()
		require.NoError(t, e.Run(context.Background()))
		require.Equal(t, ids("a", 3), f.ids())
		require.Zero(t, endless.inits)
		require.Equal(t, 1, r.input.stops)
	})
}

func TestOnceNeedsAnInputThatEnds(t *testing.T) {
	r := newRig(t, &fakeFlusher{})
	r.options.Once = true
	_, err := New([]*config.Pipeline{r.config}, r.options)
	require.ErrorContains(t, err, "input_file")
}

func TestFailedInitLeavesNothingOpen(t *testing.T) {
	f := &fakeFlusher{}
	r := newRig(t, f)
	r.input.initErr = &pipeline.OptionError{Option: "Address", Err: errors.New("127.0.0.1:1 is in use")}
	_, err := New([]*config.Pipeline{r.config}, r.options)
	require.EqualError(t, err, "pipeline test: inputs[0].detail.Address: 127.0.0.1:1 is in use")
	require.Equal(t, 1, f.stops)
	require.Zero(t, r.input.stops)
}

func TestInputThatFailsIsReported(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, &fakeFlusher{})
		r.input.run = func(context.Context, pipeline.Sink) error { panic("bug") }
		e, err := New([]*config.Pipeline{r.config}, r.options)
		require.NoError(t, err)
		require.ErrorContains(t, e.Run(context.Background()), "panic: bug")
		require.ErrorContains(t, e.Ready(), "input_fake failed")
	})
}

func TestRejectIsADeadLetter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, &fakeFlusher{}).start()
		require.NoError(t, r.input.context.Reject(context.Background(), []byte("{bad"), "malformed_json", "unexpected end"))
		require.Equal(t, "{bad", string(r.letters()[0].Raw))
		require.EqualValues(t, 1, r.status().Ledger.Rejected)
		require.NoError(t, r.stop())
	})
}

func TestStateSurvives(t *testing.T) {
	r := newRig(t, &fakeFlusher{}).start()
	state := r.input.context.State()
	value, err := state.Load("../position")
	require.NoError(t, err)
	require.Nil(t, value)
	require.NoError(t, state.Store("../position", []byte("1")))
	require.NoError(t, state.Store("../position", []byte("22")))
	value, err = state.Load("../position")
	require.NoError(t, err)
	require.Equal(t, "22", string(value))
	require.NoError(t, r.stop())
}
