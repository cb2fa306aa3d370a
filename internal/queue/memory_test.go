package queue

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/flinktail/flinktail/pipeline"
	"github.com/flinktail/flinktail/protocol"
)

func reserve(t *testing.T, q *Memory, bytes, events int) {
	t.Helper()
	require.NoError(t, q.Reserve(context.Background(), Size{bytes, events}))
}

func cursor(t *testing.T, q Queue) Cursor {
	t.Helper()
	c, err := q.Cursor("")
	require.NoError(t, err)
	return c
}

func TestEntryIsDoneWhenEveryCursorHasSettledEveryEvent(t *testing.T) {
	q := NewMemory(Size{100, 10})
	first, second := cursor(t, q), cursor(t, q)
	var done []error
	reserve(t, q, 30, 3)
	q.Append([]*protocol.LogGroup{{}}, Size{30, 3}, Size{30, 3}, func(err error) { done = append(done, err) })
	a, b := first.Next(), second.Next()
	require.Same(t, a, b)
	require.Nil(t, first.Next())
	a.Settle(2)
	b.Settle(3)
	require.Empty(t, done)
	require.Equal(t, Size{30, 3}, q.Used())
	a.Settle(1)
	require.Equal(t, []error{nil}, done)
	require.Nil(t, a.Groups, "the cursors hold on to the entry, and must not to its groups")
	require.Zero(t, q.Used())
}

func TestLostEventsFailTheirEntry(t *testing.T) {
	q := NewMemory(Size{100, 10})
	c := cursor(t, q)
	var done []error
	reserve(t, q, 2, 2)
	q.Append(nil, Size{2, 2}, Size{2, 2}, func(err error) { done = append(done, err) })
	e := c.Next()
	lost := errors.New("disk full")
	e.Lose(1, lost)
	e.Settle(1)
	require.Equal(t, []error{lost}, done)
}

func TestReserveBoundsBytesAndEvents(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := NewMemory(Size{100, 10})
		require.ErrorIs(t, q.Reserve(t.Context(), Size{101, 1}), pipeline.ErrTooLarge)
		require.ErrorIs(t, q.Reserve(t.Context(), Size{1, 11}), pipeline.ErrTooLarge)
		reserve(t, q, 90, 1)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		require.ErrorIs(t, q.Reserve(ctx, Size{11, 1}), pipeline.ErrFull)
		require.False(t, q.Full())

		got := make(chan error, 1)
		go func() { got <- q.Reserve(t.Context(), Size{11, 10}) }()
		synctest.Wait()
		require.True(t, q.Full())
		q.Cancel(Size{90, 1})
		require.NoError(t, <-got)
		require.False(t, q.Full())
	})
}

func TestIdleWaitsForTheLastEntry(t *testing.T) {
	q := NewMemory(Size{100, 10})
	c := cursor(t, q)
	<-q.Idle()
	reserve(t, q, 1, 1)
	q.Append(nil, Size{1, 1}, Size{1, 1}, func(error) {})
	select {
	case <-q.Idle():
		t.Fatal("idle while an entry is held")
	default:
	}
	c.Next().Settle(1)
	<-q.Idle()
}

func TestCursorWakesAfterAppend(t *testing.T) {
	q := NewMemory(Size{100, 10})
	c := cursor(t, q)
	for range 3 {
		reserve(t, q, 1, 1)
		q.Append(nil, Size{1, 1}, Size{1, 1}, func(error) {})
	}
	<-c.Wake()
	for range 3 {
		require.NotNil(t, c.Next())
	}
	require.Nil(t, c.Next())
}

func TestAReserveThatGivesUpLetsASmallerOneIn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := NewMemory(Size{100, 10})
		reserve(t, q, 50, 1)
		ctx, cancel := context.WithCancel(t.Context())
		large, small := make(chan error, 1), make(chan error, 1)
		go func() { large <- q.Reserve(ctx, Size{60, 1}) }()
		synctest.Wait()
		go func() { small <- q.Reserve(t.Context(), Size{10, 1}) }()
		synctest.Wait()
		require.Empty(t, small, "who waits first appends first")
		cancel()
		require.ErrorIs(t, <-large, pipeline.ErrFull)
		require.NoError(t, <-small)
		require.Equal(t, Size{60, 2}, q.Used())
	})
}

func TestReserveThatWaitsTakesNothingMeanwhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := NewMemory(Size{100, 10})
		reserve(t, q, 10, 10)
		got := make(chan error, 1)
		go func() { got <- q.Reserve(t.Context(), Size{80, 1}) }()
		synctest.Wait()
		require.Equal(t, Size{10, 10}, q.Used())
		q.Cancel(Size{10, 10})
		require.NoError(t, <-got)
	})
}

func TestCloseEndsEveryWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := NewMemory(Size{100, 10})
		reserve(t, q, 100, 10)
		got := make(chan error, 2)
		for range cap(got) {
			go func() { got <- q.Reserve(t.Context(), Size{1, 1}) }()
		}
		synctest.Wait()
		q.Close()
		require.ErrorIs(t, q.Reserve(t.Context(), Size{1, 1}), pipeline.ErrStopping)
		q.Cancel(Size{100, 10}) // room that comes too late
		require.ErrorIs(t, <-got, pipeline.ErrStopping)
		require.ErrorIs(t, <-got, pipeline.ErrStopping)
		require.False(t, q.Full())
	})
}

func TestEntriesMayOutgrowTheirReservation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := NewMemory(Size{100, 10})
		c := cursor(t, q)
		reserve(t, q, 50, 5)
		q.Append(nil, Size{120, 12}, Size{50, 5}, func(error) {})
		require.Equal(t, Size{120, 12}, q.Used())
		reserved := make(chan error, 1)
		go func() { reserved <- q.Reserve(t.Context(), Size{1, 1}) }()
		synctest.Wait()
		require.Empty(t, reserved)
		c.Next().Settle(12)
		require.NoError(t, <-reserved)
		require.Equal(t, Size{1, 1}, q.Used())

		q.Append(nil, Size{1, 1}, Size{1, 1}, func(error) {})
		reserve(t, q, 50, 5)
		q.Append(nil, Size{10, 2}, Size{50, 5}, func(error) {})
		require.Equal(t, Size{51, 3}, q.Used(), "what was filtered out lies in memory still")
	})
}

// Many goroutines reserve, give up, append and settle; in the end nothing is left over.
func TestConcurrentUseAddsUp(t *testing.T) {
	q := NewMemory(Size{100, 10})
	first, second := cursor(t, q), cursor(t, q)
	var all, dones sync.WaitGroup
	stop := make(chan struct{})
	var over atomic.Bool
	for i := range 8 {
		all.Go(func() {
			rnd := rand.New(rand.NewPCG(1, uint64(i)))
			for range 500 {
				ctx, cancel := context.WithTimeout(t.Context(), time.Duration(rnd.IntN(300))*time.Microsecond)
				size := Size{1 + rnd.IntN(100), 1 + rnd.IntN(10)}
				if q.Reserve(ctx, size) == nil {
					over.CompareAndSwap(false, !q.Used().Within(q.max))
					dones.Add(1)
					q.Append(nil, size, size, func(error) { dones.Done() })
				}
				cancel()
			}
		})
	}
	var cursors sync.WaitGroup
	for _, c := range []Cursor{first, second} {
		cursors.Go(func() {
			for {
				e := c.Next()
				if e != nil {
					e.Settle(e.Size.Events)
					continue
				}
				select {
				case <-c.Wake():
				case <-stop:
					return
				}
			}
		})
	}
	all.Wait()
	dones.Wait()
	close(stop)
	cursors.Wait()
	<-q.Idle()
	require.Zero(t, q.Used())
	require.False(t, q.Full())
	require.False(t, over.Load(), "more was reserved than there is room for")
}
