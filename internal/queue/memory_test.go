package queue

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/flinktail/flinktail/pipeline"
	"github.com/flinktail/flinktail/protocol"
)

func reserve(t *testing.T, q *Memory, bytes, events int) {
	t.Helper()
	require.NoError(t, q.Reserve(context.Background(), bytes, events))
}

func TestEntryIsDoneWhenEveryCursorHasSettledEveryEvent(t *testing.T) {
	q := NewMemory(100, 10)
	first, second := q.Cursor(), q.Cursor()
	var done []error
	reserve(t, q, 30, 3)
	q.Append([]*protocol.LogGroup{{}}, 3, 30, 3, func(err error) { done = append(done, err) }, nil)
	a, b := first.Next(), second.Next()
	require.Same(t, a, b)
	require.Nil(t, first.Next())
	a.Settle(2)
	b.Settle(3)
	require.Empty(t, done)
	bytes, events := q.Used()
	require.EqualValues(t, 30, bytes)
	require.EqualValues(t, 3, events)
	a.Settle(1)
	require.Equal(t, []error{nil}, done)
	bytes, events = q.Used()
	require.Zero(t, bytes+events)
}

func TestLostEventsFailTheirEntry(t *testing.T) {
	q := NewMemory(100, 10)
	c := q.Cursor()
	var done []error
	reserve(t, q, 2, 2)
	q.Append(nil, 2, 2, 2, func(err error) { done = append(done, err) }, nil)
	e := c.Next()
	lost := errors.New("disk full")
	e.Lose(1, lost)
	e.Settle(1)
	require.Equal(t, []error{lost}, done)
}

func TestReserveBoundsBytesAndEvents(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := NewMemory(100, 10)
		require.ErrorIs(t, q.Reserve(t.Context(), 101, 1), pipeline.ErrTooLarge)
		require.ErrorIs(t, q.Reserve(t.Context(), 1, 11), pipeline.ErrTooLarge)
		reserve(t, q, 90, 1)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		require.ErrorIs(t, q.Reserve(ctx, 11, 1), pipeline.ErrFull)
		require.False(t, q.Full())

		got := make(chan error, 1)
		go func() { got <- q.Reserve(t.Context(), 11, 10) }()
		synctest.Wait()
		require.True(t, q.Full())
		q.Cancel(90, 1)
		require.NoError(t, <-got)
		require.False(t, q.Full())
	})
}

func TestIdleWaitsForTheLastEntry(t *testing.T) {
	q := NewMemory(100, 10)
	c := q.Cursor()
	<-q.Idle()
	reserve(t, q, 1, 1)
	q.Append(nil, 1, 1, 1, func(error) {}, nil)
	select {
	case <-q.Idle():
		t.Fatal("idle while an entry is held")
	default:
	}
	c.Next().Settle(1)
	<-q.Idle()
}

func TestCursorWakesAfterAppend(t *testing.T) {
	q := NewMemory(100, 10)
	c := q.Cursor()
	for range 3 {
		reserve(t, q, 1, 1)
		q.Append(nil, 1, 1, 1, func(error) {}, nil)
	}
	<-c.Wake()
	for range 3 {
		require.NotNil(t, c.Next())
	}
	require.Nil(t, c.Next())
}
