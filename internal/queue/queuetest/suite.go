// Package queuetest is what every queue must pass.
package queuetest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/flinktail/flinktail/internal/queue"
	"github.com/flinktail/flinktail/pipeline"
	"github.com/flinktail/flinktail/protocol"
)

// New returns an empty queue that holds at most so many bytes. Stop is called on it.
type New func(t *testing.T, bytes int, cursors ...string) queue.Queue

// Run runs the suite. It runs in a synctest bubble.
func Run(t *testing.T, open New) {
	for name, check := range map[string]func(*testing.T, New){
		"every cursor gets everything in order":         everythingInOrder,
		"done is called once, when the queue answers":   doneOnce,
		"reservations are bounded":                      bounded,
		"who waits first appends first":                 fair,
		"close ends every wait":                         closed,
		"room comes back when entries are settled":      roomComesBack,
		"idle waits for the last entry":                 idle,
		"a new cursor gets what is appended after it":   newCursor,
		"a cursor that has settled everything can go":   removedCursor,
		"concurrent use adds up":                        concurrent,
		"entries may be settled in parts, in any order": anyOrder,
	} {
		t.Run(name, func(t *testing.T) { synctest.Test(t, func(t *testing.T) { check(t, open) }) })
	}
}

// Group returns a group of events whose ids begin with id, one for each number.
func Group(id string, numbers ...int) *protocol.LogGroup {
	b := protocol.NewBuilder() // never released
	g := b.BeginGroup("flink", "test")
	b.AddTag("host", "a")
	for _, n := range numbers {
		b.BeginLog(1700000000, uint32(n))
		b.Add("event_id", fmt.Sprintf("%s-%d", id, n))
		b.AddTyped("attempt", fmt.Sprint(n), protocol.ValueType_NUMBER)
		b.Add("stack_trace", "")
		b.EndLog()
	}
	return g
}

// IDs returns the ids of all events.
func IDs(groups []*protocol.LogGroup) (ids []string) {
	for _, g := range groups {
		for _, log := range g.Logs {
			ids = append(ids, strings.Clone(g.Field(log, "event_id"))) // the text is the queue's
		}
	}
	return ids
}

// Append appends groups, after it got room, and returns where its done is sent to.
func Append(t *testing.T, q queue.Queue, groups ...*protocol.LogGroup) <-chan error {
	t.Helper()
	size := Measure(groups)
	require.NoError(t, q.Reserve(t.Context(), size))
	done := make(chan error, 2)
	q.Append(groups, size, size, func(err error) { done <- err })
	return done
}

// Measure returns the size of groups as the engine counts it.
func Measure(groups []*protocol.LogGroup) (size queue.Size) {
	for _, g := range groups {
		size.Events += len(g.Logs)
		size.Bytes += protocol.MemorySize(g)
	}
	return size
}

// Next waits for the next entry.
func Next(t *testing.T, c queue.Cursor) *queue.Entry {
	t.Helper()
	for {
		if e := c.Next(); e != nil {
			return e
		}
		select {
		case <-c.Wake():
		case <-t.Context().Done():
			t.Fatal("no entry came")
		}
	}
}

func cursor(t *testing.T, q queue.Queue, name string) queue.Cursor {
	t.Helper()
	c, err := q.Cursor(name)
	require.NoError(t, err)
	return c
}

func everythingInOrder(t *testing.T, open New) {
	q := open(t, 1<<20, "a", "b")
	a, b := cursor(t, q, "a"), cursor(t, q, "b")
	var want []string
	var groups [][]*protocol.LogGroup
	for i := range 50 {
		g := []*protocol.LogGroup{Group("first", i, i+1), Group("second", i)}
		groups = append(groups, g)
		want = append(want, IDs(g)...)
		Append(t, q, g...)
	}
	for _, c := range []queue.Cursor{a, b} {
		var got []string
		for i := range groups {
			e := Next(t, c)
			require.NoError(t, e.Corrupt)
			require.Equal(t, 3, e.Size.Events)
			require.Positive(t, e.Size.Bytes)
			require.Len(t, e.Groups, 2)
			for j, g := range e.Groups {
				require.True(t, protocol.Equal(groups[i][j], g))
			}
			got = append(got, IDs(e.Groups)...)
			e.Settle(3)
		}
		require.Equal(t, want, got)
		require.Nil(t, c.Next())
	}
}

func doneOnce(t *testing.T, open New) {
	q := open(t, 1<<20, "a", "b")
	a, b := cursor(t, q, "a"), cursor(t, q, "b")
	done := Append(t, q, Group("x", 1, 2, 3))
	first, second := Next(t, a), Next(t, b)
	first.Settle(2)
	second.Settle(3)
	first.Settle(1)
	require.NoError(t, <-done)
	synctest.Wait()
	require.Empty(t, done)
	require.Zero(t, q.Used())
}

func bounded(t *testing.T, open New) {
	q := open(t, 1000, "a")
	require.ErrorIs(t, q.Reserve(t.Context(), queue.Size{Bytes: 1001, Events: 1}), pipeline.ErrTooLarge)
	require.NoError(t, q.Reserve(t.Context(), queue.Size{Bytes: 900, Events: 1}))
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	require.ErrorIs(t, q.Reserve(ctx, queue.Size{Bytes: 101, Events: 1}), pipeline.ErrFull)
	require.False(t, q.Full())
	got := make(chan error, 1)
	go func() { got <- q.Reserve(t.Context(), queue.Size{Bytes: 101, Events: 1}) }()
	synctest.Wait()
	require.True(t, q.Full())
	q.Cancel(queue.Size{Bytes: 900, Events: 1})
	require.NoError(t, <-got)
	require.False(t, q.Full())
	require.Equal(t, 101, q.Used().Bytes)
}

func fair(t *testing.T, open New) {
	q := open(t, 1000, "a")
	require.NoError(t, q.Reserve(t.Context(), queue.Size{Bytes: 500, Events: 1}))
	ctx, cancel := context.WithCancel(t.Context())
	large, small := make(chan error, 1), make(chan error, 1)
	go func() { large <- q.Reserve(ctx, queue.Size{Bytes: 600, Events: 1}) }()
	synctest.Wait()
	go func() { small <- q.Reserve(t.Context(), queue.Size{Bytes: 100, Events: 1}) }()
	synctest.Wait()
	require.Empty(t, small)
	cancel()
	require.ErrorIs(t, <-large, pipeline.ErrFull)
	require.NoError(t, <-small)
	require.Equal(t, 600, q.Used().Bytes)
}

func closed(t *testing.T, open New) {
	q := open(t, 1000, "a")
	require.NoError(t, q.Reserve(t.Context(), queue.Size{Bytes: 1000, Events: 1}))
	got := make(chan error, 2)
	for range cap(got) {
		go func() { got <- q.Reserve(t.Context(), queue.Size{Bytes: 1, Events: 1}) }()
	}
	synctest.Wait()
	q.Close()
	require.ErrorIs(t, <-got, pipeline.ErrStopping)
	require.ErrorIs(t, <-got, pipeline.ErrStopping)
	q.Cancel(queue.Size{Bytes: 999, Events: 1}) // room that comes too late
	require.False(t, q.Full())
	require.ErrorIs(t, q.Reserve(t.Context(), queue.Size{Bytes: 1000, Events: 1}), pipeline.ErrStopping)
}

func roomComesBack(t *testing.T, open New) {
	q := open(t, 100_000, "a", "b")
	a, b := cursor(t, q, "a"), cursor(t, q, "b")
	settled, appended := 0, 0
	for settled < 300 {
		g := []*protocol.LogGroup{Group("x", appended)}
		size := Measure(g)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		err := q.Reserve(ctx, size)
		cancel()
		if err == nil {
			q.Append(g, size, size, func(error) {})
			appended++
			continue
		}
		require.ErrorIs(t, err, pipeline.ErrFull)
		for settled < appended {
			for _, c := range []queue.Cursor{a, b} {
				e := Next(t, c)
				require.Equal(t, []string{fmt.Sprintf("x-%d", settled)}, IDs(e.Groups))
				e.Settle(1)
			}
			settled++
		}
		require.Zero(t, q.Used())
	}
}

func idle(t *testing.T, open New) {
	q := open(t, 1<<20, "a")
	c := cursor(t, q, "a")
	<-q.Idle()
	Append(t, q, Group("x", 1))
	waiting := q.Idle()
	e := Next(t, c)
	synctest.Wait()
	select {
	case <-waiting:
		t.Fatal("idle while an entry is held")
	default:
	}
	e.Settle(1)
	<-waiting
	<-q.Idle()
}

func removedCursor(t *testing.T, open New) {
	q := open(t, 1<<20, "a", "b")
	a, b := cursor(t, q, "a"), cursor(t, q, "b")
	done := Append(t, q, Group("x", 1, 2))
	Next(t, a).Settle(2)
	require.ErrorContains(t, q.Remove("b"), "remove cursor b: it has events left")
	Next(t, b).Settle(2)
	require.NoError(t, <-done)
	require.NoError(t, q.Remove("b"))
	require.ErrorContains(t, q.Remove("b"), "there is none")

	done = Append(t, q, Group("y", 1))
	Next(t, a).Settle(1)
	require.NoError(t, <-done)
	<-q.Idle()
	require.Zero(t, q.Used(), "nothing is held for it any more")

	b = cursor(t, q, "b")
	require.Nil(t, b.Next(), "it is a new one")
	Append(t, q, Group("z", 1))
	require.Equal(t, []string{"z-1"}, IDs(Next(t, b).Groups))
}

func newCursor(t *testing.T, open New) {
	q := open(t, 1<<20, "a")
	a := cursor(t, q, "a")
	require.NoError(t, settleNext(t, a, Append(t, q, Group("x", 1))))
	b := cursor(t, q, "b")
	require.Zero(t, b.Backlog())
	Append(t, q, Group("x", 2))
	for _, c := range []queue.Cursor{a, b} {
		e := Next(t, c)
		require.Equal(t, []string{"x-2"}, IDs(e.Groups))
		e.Settle(1)
	}
}

func settleNext(t *testing.T, c queue.Cursor, done <-chan error) error {
	e := Next(t, c)
	e.Settle(e.Size.Events)
	return <-done
}

func anyOrder(t *testing.T, open New) {
	q := open(t, 1<<20, "a")
	c := cursor(t, q, "a")
	const n = 20
	for i := range n {
		Append(t, q, Group("x", i, i+100, i+200))
	}
	var parts []*queue.Entry
	for range n {
		e := Next(t, c)
		parts = append(parts, e, e, e)
	}
	rnd := rand.New(rand.NewPCG(1, 2))
	rnd.Shuffle(len(parts), func(i, j int) { parts[i], parts[j] = parts[j], parts[i] })
	for i, e := range parts {
		require.Positive(t, q.Used().Events, "after %d", i)
		e.Settle(1)
	}
	require.Zero(t, q.Used())
	<-q.Idle()
}

// Many goroutines reserve, give up, append and settle; in the end nothing is left over or missing.
func concurrent(t *testing.T, open New) {
	q := open(t, 20_000, "a", "b")
	cursors := []queue.Cursor{cursor(t, q, "a"), cursor(t, q, "b")}
	var producers, consumers sync.WaitGroup
	var appended, dones atomic.Int64
	stop := make(chan struct{})
	for i := range 8 {
		producers.Go(func() {
			rnd := rand.New(rand.NewPCG(1, uint64(i)))
			for n := range 200 {
				ctx, cancel := context.WithTimeout(t.Context(), time.Duration(rnd.IntN(3000))*time.Microsecond)
				g := []*protocol.LogGroup{Group(fmt.Sprint("p", i), n)}
				size := Measure(g)
				switch err := q.Reserve(ctx, size); {
				case err != nil && !errors.Is(err, pipeline.ErrFull):
					t.Error(err)
				case err == nil && rnd.IntN(10) == 0:
					q.Cancel(size)
				case err == nil:
					appended.Add(1)
					q.Append(g, size, size, func(err error) {
						if err == nil {
							dones.Add(1)
						}
					})
				}
				cancel()
			}
		})
	}
	got := make([][]string, len(cursors))
	for i, c := range cursors {
		consumers.Go(func() {
			for {
				if e := c.Next(); e != nil {
					got[i] = append(got[i], IDs(e.Groups)...)
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
	producers.Wait()
	<-q.Idle()
	close(stop)
	consumers.Wait()
	synctest.Wait()
	require.Zero(t, q.Used())
	require.False(t, q.Full())
	require.Equal(t, appended.Load(), dones.Load())
	require.Positive(t, appended.Load())
	require.Equal(t, got[0], got[1])
	require.Len(t, got[0], int(appended.Load()))
	slices.Sort(got[0])
	require.Len(t, slices.Compact(got[0]), int(appended.Load()))
}
