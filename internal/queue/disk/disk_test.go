package disk

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/flinktail/flinktail/internal/queue"
	"github.com/flinktail/flinktail/internal/queue/queuetest"
)

func TestDiskIsAQueue(t *testing.T) {
	queuetest.Run(t, func(t *testing.T, bytes int, cursors ...string) queue.Queue {
		const segmentBytes = 4000
		q, err := Open(t.TempDir(), Options{MaxBytes: int64(bytes + segmentBytes), SegmentBytes: segmentBytes, Cursors: cursors})
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, q.Stop()) })
		return q
	})
}

// damageLog collects what is reported.
type damageLog struct {
	mu  sync.Mutex
	all []Damage
}

func (l *damageLog) add(d Damage) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.all = append(l.all, d)
}

func (l *damageLog) events() (n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, d := range l.all {
		n += d.Events
	}
	return n
}

func (l *damageLog) list() []Damage {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]Damage(nil), l.all...)
}

// open opens a queue that is stopped at the end of the test unless stop was called.
func open(t *testing.T, dir string, o Options) (q *Queue, stop func()) {
	t.Helper()
	q, err := Open(dir, o)
	require.NoError(t, err)
	var once sync.Once
	stop = func() { once.Do(func() { require.NoError(t, q.Stop()) }) }
	t.Cleanup(stop)
	return q, stop
}

func cursor(t *testing.T, q *Queue, name string) queue.Cursor {
	t.Helper()
	c, err := q.Cursor(name)
	require.NoError(t, err)
	return c
}

// put appends one event for each number and waits until it is acknowledged.
func put(t *testing.T, q *Queue, numbers ...int) {
	t.Helper()
	for _, n := range numbers {
		require.NoError(t, <-queuetest.Append(t, q, queuetest.Group("x", n)))
	}
}

func ids(numbers ...int) (ids []string) {
	for _, n := range numbers {
		ids = append(ids, fmt.Sprintf("x-%d", n))
	}
	return ids
}

func upTo(from, to int) (numbers []int) {
	for n := from; n < to; n++ {
		numbers = append(numbers, n)
	}
	return numbers
}

// drain reads and settles what there is, and returns the ids and how many events could not be read.
func drain(t *testing.T, q *Queue, c queue.Cursor) (got []string, corrupt int) {
	t.Helper()
	for q.events(c) > 0 {
		e := queuetest.Next(t, c)
		if e.Corrupt != nil {
			require.Empty(t, e.Groups)
			corrupt += e.Size.Events
		}
		got = append(got, queuetest.IDs(e.Groups)...)
		e.Settle(e.Size.Events)
	}
	return got, corrupt
}

// events returns how many are not settled by c.
func (q *Queue) events(c queue.Cursor) int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return int(q.next - c.(*Cursor).event)
}

func segmentFiles(t *testing.T, dir string) (paths []string) {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(dir, "*"+segmentSuffix))
	require.NoError(t, err)
	return paths
}

func TestEventsSurviveARestart(t *testing.T) {
	dir := t.TempDir()
	o := Options{Cursors: []string{"a", "b"}, SegmentBytes: 1000}
	q, stop := open(t, dir, o)
	a, b := cursor(t, q, "a"), cursor(t, q, "b")
	put(t, q, upTo(0, 30)...)
	got, _ := drain(t, q, a)
	require.Equal(t, ids(upTo(0, 30)...), got)
	for range 10 {
		queuetest.Next(t, b).Settle(1)
	}
	queuetest.Next(t, b) // read, not settled
	queuetest.Next(t, b).Settle(1)
	stop()

	q, stop = open(t, dir, o)
	a, b = cursor(t, q, "a"), cursor(t, q, "b")
	require.Zero(t, a.Backlog())
	require.Equal(t, 20, b.Backlog())
	require.Nil(t, a.Next())
	require.Equal(t, 20, q.Used().Events)
	put(t, q, 30)
	got, _ = drain(t, q, b)
	require.Equal(t, ids(upTo(10, 31)...), got)
	got, _ = drain(t, q, a)
	require.Equal(t, ids(30), got)
	stop()
	require.Empty(t, segmentFiles(t, dir), "all was settled")

	q, _ = open(t, dir, o)
	a = cursor(t, q, "a")
	put(t, q, 31)
	got, _ = drain(t, q, a)
	require.Equal(t, ids(31), got)
}

func TestFilesAreForTheirOwnerOnly(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "deep", "queue")
	q, stop := open(t, dir, Options{Cursors: []string{"a"}})
	put(t, q, 1)
	stop()
	require.NoError(t, filepath.Walk(dir, func(_ string, info os.FileInfo, err error) error {
		require.NoError(t, err)
		require.Zero(t, info.Mode().Perm()&0o077, info.Name())
		return nil
	}))
}

// Eight who append at once, and again once they are answered, share their syncs.
func TestAppendsShareSyncs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		files := &countingFiles{}
		q, stop := open(t, t.TempDir(), Options{Cursors: []string{"a"}, files: files})
		const senders, appends = 8, 25
		var all sync.WaitGroup
		for range senders {
			all.Go(func() { put(t, q, upTo(0, appends)...) })
		}
		all.Wait()
		require.Less(t, files.syncs.Load(), int64(2*appends))
		put(t, q, 0)
		start := time.Now()
		put(t, q, 0)
		require.Zero(t, time.Since(start), "one alone waits for nobody")
		stop()
	})
}

func TestASecondProcessIsRefused(t *testing.T) {
	dir := t.TempDir()
	_, stop := open(t, dir, Options{})
	_, err := Open(dir, Options{})
	require.ErrorIs(t, err, ErrInUse)
	require.ErrorContains(t, err, fmt.Sprintf("another process uses it: process %d", os.Getpid()))
	stop()
	open(t, dir, Options{})
}

func timeout(t *testing.T, d time.Duration) (context.Context, context.CancelFunc) {
	return context.WithTimeout(t.Context(), d)
}
