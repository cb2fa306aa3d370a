package disk

import (
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/flinktail/flinktail/internal/queue/queuetest"
)

func TestInspect(t *testing.T) {
	start := time.Now().Add(-time.Second)
	dir := t.TempDir()
	q, stop := open(t, dir, Options{Cursors: []string{"a", "b"}, SegmentBytes: 1000})
	put(t, q, upTo(0, 20)...)
	_, _ = drain(t, q, cursor(t, q, "a"))
	b := cursor(t, q, "b")
	queuetest.Next(t, b).Settle(1)
	stop()
	before := snapshot(t, dir)
	r, err := Inspect(dir)
	require.NoError(t, err)
	require.Len(t, r.Segments, len(segmentFiles(t, dir)))
	events := 0
	for _, s := range r.Segments {
		events += s.Events
		require.WithinRange(t, s.Created, start, time.Now())
		require.Positive(t, s.Bytes)
	}
	require.Equal(t, 20, events)
	require.Len(t, r.Cursors, 2)
	require.Equal(t, CursorReport{Name: "a"}, r.Cursors[0])
	require.Equal(t, 19, r.Cursors[1].Backlog)
	require.WithinRange(t, r.Cursors[1].Oldest, start, time.Now())
	var read, total int64
	intact, err := Verify(dir, func(d Damage) { t.Error(d) }, func(r, of int64) { read, total = r, of })
	require.NoError(t, err)
	require.Equal(t, Verified{Segments: len(r.Segments), Events: 20}, intact)
	require.Positive(t, total)
	require.Equal(t, total, read)
	require.Equal(t, before, snapshot(t, dir))

	_, err = Inspect(filepath.Join(dir, "none"))
	require.ErrorIs(t, err, fs.ErrNotExist)
}

func quiet(int64, int64) {}

// What a running queue does meanwhile is not damage.
func TestInspectAndVerifyAnOpenQueue(t *testing.T) {
	dir := t.TempDir()
	q, _ := open(t, dir, Options{Cursors: []string{"a", "b"}, SegmentBytes: 1000, files: unsyncedFiles{}})
	a, b := cursor(t, q, "a"), cursor(t, q, "b")
	enough, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for n := 0; ; n += 10 {
			select {
			case <-enough:
				return
			default:
			}
			put(t, q, upTo(n, n+10)...)
			_, _ = drain(t, q, a)
			_, _ = drain(t, q, b)
		}
	}()
	for range 500 {
		_, err := Verify(dir, func(d Damage) { t.Error(d) }, quiet)
		require.NoError(t, err)
		r, err := Inspect(dir)
		require.NoError(t, err)
		require.Len(t, r.Cursors, 2)
	}
	close(enough)
	<-done
}

func TestVerifyMissesWhatIsGone(t *testing.T) {
	dir := fill(t, 20, 1000)
	paths := segmentFiles(t, dir)
	second, _ := parseSegmentName(filepath.Base(paths[1]))
	require.NoError(t, os.Remove(paths[0]))
	var log damageLog
	v, err := Verify(dir, log.add, quiet)
	require.NoError(t, err)
	require.Equal(t, Verified{Segments: len(paths) - 1, Events: 20 - int(second)}, v)
	require.Equal(t, int(second), log.events())
	require.ErrorIs(t, log.list()[0].Err, errMissing)

	for i := range 2 {
		require.NoError(t, os.WriteFile(filepath.Join(dir, storeName(i)), []byte("garbage"), 0o600))
	}
	log = damageLog{}
	_, err = Verify(dir, log.add, quiet)
	require.NoError(t, err)
	require.Len(t, log.list(), 1)
	require.ErrorContains(t, log.list()[0].Err, "positions are lost")
}
