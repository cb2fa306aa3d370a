package deadletter

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

const big = 1 << 30

func letter(id string) Letter {
	return Letter{
		Time: time.Date(2026, 1, 5, 8, 0, 0, 1e6, time.UTC), Pipeline: "orders", Plugin: "flusher_kafka/audit",
		Reason: "permanent", Error: "message too large", Attempts: 3, EventID: id,
		Event: json.RawMessage(`{"event_id":"` + id + `","n":1.0,"text":"a<b> & \u0041é"}`),
	}
}

func open(t *testing.T, dir string, maxBytes, maxFileBytes int64) *Store {
	t.Helper()
	s, err := Open(dir, maxBytes, maxFileBytes)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return s
}

func readAll(t *testing.T, dir string) (letters []Letter, unreadable int) {
	t.Helper()
	require.NoError(t, Read(dir, func(r Record) error {
		if r.Err != nil {
			unreadable++
			return nil
		}
		letters = append(letters, r.Letter)
		return nil
	}))
	return letters, unreadable
}

func ids(letters []Letter) (ids []string) {
	for _, l := range letters {
		ids = append(ids, l.EventID)
	}
	return ids
}

func fileSizes(t *testing.T, dir string) (sizes []int64) {
	t.Helper()
	files, err := listFiles(dir)
	require.NoError(t, err)
	for _, f := range files {
		sizes = append(sizes, f.size)
	}
	return sizes
}

func TestLettersComeBackAsTheyWere(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "orders", "deadletter")
	s := open(t, dir, big, big)
	text := letter("text")
	text.Event, text.Raw = nil, []byte("{\"broken\":\n\"<é>")
	binary := letter("binary")
	binary.Event, binary.Raw = nil, []byte{0xff, 0, '\n', 0xfe}
	want := []Letter{letter("1"), text, binary}
	require.NoError(t, s.Append(t.Context(), want[:1]))
	require.NoError(t, s.Append(t.Context(), want[1:]))

	got, unreadable := readAll(t, dir)
	require.Zero(t, unreadable)
	require.Equal(t, want, got)
	require.True(t, got[0].Replayable())
	require.False(t, got[1].Replayable())
}

func TestOnlyTheOwnerMayRead(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "deadletter")
	s := open(t, dir, big, 400)
	for i := range 4 {
		require.NoError(t, s.Append(t.Context(), []Letter{letter(fmt.Sprint(i))}))
	}
	_, err := Remove(dir, keysOf(t, dir, "0"))
	require.NoError(t, err)
	info, err := os.Stat(dir)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o700), info.Mode().Perm())
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Greater(t, len(entries), 2)
	for _, entry := range entries {
		info, err := entry.Info()
		require.NoError(t, err)
		require.Equal(t, os.FileMode(0o600), info.Mode().Perm(), entry.Name())
	}
}

func TestFilesAreRotated(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, big, 1000)
	var want []string
	for i := range 20 { // one at a time, then many at once
		want = append(want, fmt.Sprint(i))
		require.NoError(t, s.Append(t.Context(), []Letter{letter(fmt.Sprint(i))}))
	}
	var many []Letter
	for i := 20; i < 60; i++ {
		want = append(want, fmt.Sprint(i))
		many = append(many, letter(fmt.Sprint(i)))
	}
	require.NoError(t, s.Append(t.Context(), many))

	sizes := fileSizes(t, dir)
	require.GreaterOrEqual(t, len(sizes), 15)
	for _, size := range sizes {
		require.LessOrEqual(t, size, int64(1000))
	}
	for _, size := range sizes[:len(sizes)-1] {
		require.Greater(t, size, int64(600), "a file was closed early")
	}
	letters, _ := readAll(t, dir)
	require.Equal(t, want, ids(letters))
}

func TestALetterLargerThanAFileGetsItsOwn(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, big, 10)
	require.NoError(t, s.Append(t.Context(), []Letter{letter("a"), letter("b")}))
	require.Len(t, fileSizes(t, dir), 2)
	letters, _ := readAll(t, dir)
	require.Equal(t, []string{"a", "b"}, ids(letters))
}

func TestATornLineSpoilsOnlyItself(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, open(t, dir, big, big).Append(t.Context(), []Letter{letter("1"), letter("2")}))
	path := filepath.Join(dir, fileName(1))
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(path, text[:len(text)-20], 0o600))

	letters, unreadable := readAll(t, dir)
	require.Equal(t, []string{"1"}, ids(letters))
	require.Equal(t, 1, unreadable)

	require.NoError(t, open(t, dir, big, big).Append(t.Context(), []Letter{letter("3")}))
	letters, unreadable = readAll(t, dir)
	require.Equal(t, []string{"1", "3"}, ids(letters))
	require.Equal(t, 1, unreadable)
}

func TestAFullStoreWaitsForRoom(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		s, err := Open(dir, 600, 300)
		require.NoError(t, err)
		defer s.Close()
		require.NoError(t, s.Append(t.Context(), []Letter{letter("1"), letter("2")}))

		done := make(chan error, 1)
		go func() { done <- s.Append(t.Context(), []Letter{letter("3")}) }()
		time.Sleep(time.Minute)
		synctest.Wait()
		select {
		case err := <-done:
			t.Fatalf("append to a full store returned %v", err)
		default:
		}
		removed, err := Remove(dir, keysOf(t, dir, "1"))
		require.NoError(t, err)
		require.Equal(t, 1, removed)
		require.NoError(t, <-done)
		letters, _ := readAll(t, dir)
		require.Equal(t, []string{"2", "3"}, ids(letters))

		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		err = s.Append(ctx, []Letter{letter("4")})
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.ErrorContains(t, err, "is full (600 bytes)")
		letters, _ = readAll(t, dir)
		require.Equal(t, []string{"2", "3"}, ids(letters), "nothing of what was refused is stored")
	})
}

func TestLettersLargerThanTheStoreGoIntoAnEmptyOne(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, 10, 10)
	require.NoError(t, s.Append(t.Context(), []Letter{letter("1"), letter("2")}))
	letters, _ := readAll(t, dir)
	require.Len(t, letters, 2)
}

func TestAFailedAppendLeavesNothing(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, big, 700)
	require.NoError(t, s.Append(t.Context(), []Letter{letter("1")}))
	before := fileSizes(t, dir)
	obstacle := filepath.Join(dir, fileName(2), "x")
	require.NoError(t, os.MkdirAll(obstacle, 0o700))

	many := []Letter{letter("2"), letter("3"), letter("4")} // "2" fits into the first file, "4" does not
	require.ErrorContains(t, s.Append(t.Context(), many), fileName(2))
	require.Equal(t, before, fileSizes(t, dir))

	require.NoError(t, os.RemoveAll(filepath.Dir(obstacle)))
	require.NoError(t, s.Append(t.Context(), many))
	letters, _ := readAll(t, dir)
	require.Equal(t, []string{"1", "2", "3", "4"}, ids(letters))
	require.Len(t, fileSizes(t, dir), 2)
}

func TestAppendsAndRemovalsRunBesideEachOther(t *testing.T) {
	dir := t.TempDir()
	const writers, each = 4, 40
	var wg sync.WaitGroup
	for w := range writers {
		s := open(t, dir, big, 2000) // one store a writer, as processes would
		wg.Go(func() {
			for i := range each {
				id := fmt.Sprintf("%d-%d", w, i)
				if err := s.Append(t.Context(), []Letter{letter(id), letter(id + "-b")}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	finished := make(chan struct{})
	go func() { wg.Wait(); close(finished) }()
	seen := map[string]bool{}
	sweep := func() {
		keys := map[Key]struct{}{}
		if err := Read(dir, func(r Record) error {
			require.NoError(t, r.Err)
			if strings.HasSuffix(r.Letter.EventID, "-b") {
				keys[r.Key()] = struct{}{}
				seen[r.Letter.EventID] = true
			}
			return nil
		}); err != nil {
			t.Error(err)
		}
		removed, err := Remove(dir, keys)
		if err != nil || removed != len(keys) {
			t.Errorf("removed %d of %d: %v", removed, len(keys), err)
		}
	}
	for running := true; running; {
		select {
		case <-finished:
			running = false
		default:
		}
		sweep()
	}
	letters, unreadable := readAll(t, dir)
	require.Zero(t, unreadable)
	require.Len(t, letters, writers*each)
	require.Len(t, seen, writers*each)
}

func TestTheLockIsExclusive(t *testing.T) {
	path := filepath.Join(t.TempDir(), lockName)
	var inside atomic.Int32
	var wg sync.WaitGroup
	for range 4 {
		l, err := openLock(path)
		require.NoError(t, err)
		defer l.close()
		wg.Go(func() {
			for range 500 {
				if err := l.lock(); err != nil {
					t.Error(err)
				}
				if inside.Add(1) != 1 {
					t.Error("two hold the lock")
				}
				runtime.Gosched()
				inside.Add(-1)
				if err := l.unlock(); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
}

func TestRemoveKeepsWhatItDoesNotKnow(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, big, 600)
	require.NoError(t, s.Append(t.Context(), []Letter{letter("1"), letter("2"), letter("3"), letter("4")}))
	last := filepath.Join(dir, fileName(2))
	f, err := os.OpenFile(last, os.O_APPEND|os.O_WRONLY, 0)
	require.NoError(t, err)
	_, err = f.WriteString(`{"torn`)
	require.NoError(t, err)
	require.NoError(t, f.Close())

	removed, err := Remove(dir, keysOf(t, dir, "1", "2", "3"))
	require.NoError(t, err)
	require.Equal(t, 3, removed)
	letters, unreadable := readAll(t, dir)
	require.Equal(t, []string{"4"}, ids(letters))
	require.Equal(t, 1, unreadable)
	require.NoFileExists(t, filepath.Join(dir, fileName(1)), "an empty file is deleted")
	leftOver, err := filepath.Glob(filepath.Join(dir, "*.tmp"))
	require.NoError(t, err)
	require.Empty(t, leftOver)
}

func TestPipelines(t *testing.T) {
	data := t.TempDir()
	_, err := Pipelines(filepath.Join(data, "missing"))
	require.ErrorContains(t, err, "there is no folder")
	for _, name := range []string{"b", "a"} {
		open(t, Dir(data, name), big, big)
	}
	require.NoError(t, os.Mkdir(filepath.Join(data, "other"), 0o700))
	names, err := Pipelines(data)
	require.NoError(t, err)
	require.Equal(t, []string{"a", "b"}, names)
}

func TestClosedStore(t *testing.T) {
	s := open(t, t.TempDir(), big, big)
	require.NoError(t, s.Close())
	require.ErrorIs(t, s.Append(t.Context(), []Letter{letter("1")}), os.ErrClosed)
}

func TestOpenNamesWhatIsWrong(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(path, nil, 0o600))
	_, err := Open(filepath.Join(path, "deadletter"), big, big)
	require.ErrorContains(t, err, "open dead letters: ")
	require.ErrorContains(t, err, path)
}

func keysOf(t *testing.T, dir string, ids ...string) map[Key]struct{} {
	t.Helper()
	keys := map[Key]struct{}{}
	require.NoError(t, Read(dir, func(r Record) error {
		for _, id := range ids {
			if r.Letter.EventID == id {
				keys[r.Key()] = struct{}{}
			}
		}
		return nil
	}))
	return keys
}
