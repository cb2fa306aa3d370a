package disk

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/flinktail/flinktail/internal/queue"
	"github.com/flinktail/flinktail/internal/queue/queuetest"
	"github.com/flinktail/flinktail/protocol"
)

// fill makes a queue of n events, one a record, that nobody has read, and returns its folder.
func fill(t *testing.T, n int, segmentBytes int64) (dir string) {
	t.Helper()
	dir = t.TempDir()
	q, stop := open(t, dir, Options{Cursors: []string{"a"}, SegmentBytes: segmentBytes, files: unsyncedFiles{}})
	put(t, q, upTo(0, n)...)
	stop()
	return dir
}

func copyDir(t *testing.T, dir string) (to string) {
	t.Helper()
	to = t.TempDir()
	require.NoError(t, os.CopyFS(to, os.DirFS(dir)))
	return to
}

// records returns where the records of a segment end.
func records(t *testing.T, path string) (ends []int64) {
	t.Helper()
	data, err := os.ReadFile(path)
	require.NoError(t, err)
	for at := int64(segmentHeaderSize); at < int64(len(data)); {
		h, ok := parseRecordHeader(data[at:], at)
		require.True(t, ok)
		at += h.size()
		ends = append(ends, at)
	}
	return ends
}

// The last segment is cut at every byte: what lies whole before the cut is delivered, and what comes after the restart.
func TestTornTail(t *testing.T) {
	original := fill(t, 4, 1<<20)
	paths := segmentFiles(t, original)
	require.Len(t, paths, 1)
	name := filepath.Base(paths[0])
	ends := records(t, paths[0])
	for cut := range ends[len(ends)-1] + 1 {
		dir := copyDir(t, original)
		require.NoError(t, os.Truncate(filepath.Join(dir, name), cut))
		whole := 0
		for whole < len(ends) && ends[whole] <= cut {
			whole++
		}
		var damages damageLog
		q, stop := open(t, dir, Options{Cursors: []string{"a"}, Damaged: damages.add, files: unsyncedFiles{}})
		a := cursor(t, q, "a")
		require.Equal(t, whole, a.Backlog())
		put(t, q, 100)
		got, corrupt := drain(t, q, a)
		require.Equal(t, append(ids(upTo(0, whole)...), ids(100)...), got, "cut at %d", cut)
		require.Zero(t, corrupt)
		torn := cut > segmentHeaderSize && (whole == 0 || ends[whole-1] != cut)
		require.Len(t, damages.list(), map[bool]int{true: 1}[torn], "cut at %d", cut)
		stop()
	}
}

// A crash may leave zeros, or anything, behind what was synced.
func TestJunkBehindTheTail(t *testing.T) {
	for name, junk := range map[string][]byte{
		"zeros":                make([]byte, 10_000),
		"a record's beginning": recordHeader{length: 5000, events: 1, first: 4}.append(nil, 0),
		"noise":                bytes.Repeat([]byte(recordMarker+"noise"), 1000),
	} {
		t.Run(name, func(t *testing.T) {
			dir := fill(t, 4, 1<<20)
			path := segmentFiles(t, dir)[0]
			data, err := os.ReadFile(path)
			require.NoError(t, err)
			require.NoError(t, os.WriteFile(path, append(slices.Clone(data), junk...), 0o600))
			var damages damageLog
			q, _ := open(t, dir, Options{Cursors: []string{"a"}, Damaged: damages.add})
			after, err := os.ReadFile(path)
			require.NoError(t, err)
			require.Equal(t, data, after)
			require.Len(t, damages.list(), 1)
			kept := damages.list()[0].Kept
			if name == "zeros" {
				require.Empty(t, kept)
			} else {
				require.Equal(t, junk, readFile(t, kept))
			}
			put(t, q, 4)
			got, corrupt := drain(t, q, cursor(t, q, "a"))
			require.Equal(t, ids(upTo(0, 5)...), got)
			require.Zero(t, corrupt)
		})
	}
}

func readFile(t *testing.T, path string) []byte {
	t.Helper()
	data, err := os.ReadFile(path)
	require.NoError(t, err)
	return data
}

// Bits flip in closed segments: only the events that were hit go, each is counted, and all bytes of what was hit are kept.
func TestBitFlips(t *testing.T) {
	const n = 60
	original := fill(t, n, 2000)
	paths := segmentFiles(t, original)
	require.Greater(t, len(paths), 3)
	rnd := rand.New(rand.NewPCG(3, 4))
	for range 120 {
		dir := copyDir(t, original)
		hit := map[int]bool{} // events
		header := 0
		for range 1 + rnd.IntN(4) {
			segment := rnd.IntN(len(paths) - 1)
			path := filepath.Join(dir, filepath.Base(paths[segment]))
			first, _ := parseSegmentName(filepath.Base(path))
			data := readFile(t, path)
			at := rnd.IntN(len(data))
			data[at] ^= 1 << rnd.IntN(8)
			require.NoError(t, os.WriteFile(path, data, 0o600))
			if at < segmentHeaderSize {
				header++
				continue
			}
			record := slices.IndexFunc(records(t, paths[segment]), func(end int64) bool { return int64(at) < end })
			hit[int(first)+record] = true
		}
		var damages, verified damageLog
		intact, err := Verify(dir, verified.add, func(int64, int64) {})
		if header > 0 && err != nil {
			require.ErrorIs(t, err, ErrVersion)
			t.Fatal("a flipped bit passes for a newer version")
		}
		require.NoError(t, err)
		require.Equal(t, len(hit), n-intact.Events)
		require.Equal(t, len(hit), verified.events())

		q, stop := open(t, dir, Options{Cursors: []string{"a", "b"}, Damaged: damages.add, files: unsyncedFiles{}})
		var want []string
		for i := range n {
			if !hit[i] {
				want = append(want, ids(i)...)
			}
		}
		got, corrupt := drain(t, q, cursor(t, q, "a"))
		require.Equal(t, want, got)
		require.Equal(t, len(hit), corrupt)
		require.Equal(t, len(hit), damages.events(), "%v", damages.list())
		stop()
		for _, d := range damages.list() {
			if d.Bytes > 0 && !errors.Is(d.Err, errSegmentHeader) {
				require.Len(t, readFile(t, d.Kept), int(d.Bytes))
			}
		}
	}
}

func TestDamageIsReportedOnceForAllCursors(t *testing.T) {
	dir := fill(t, 10, 1<<20)
	flip(t, segmentFiles(t, dir)[0], records(t, segmentFiles(t, dir)[0])[4]-1)
	var damages damageLog
	q, _ := open(t, dir, Options{Cursors: []string{"a"}, Damaged: damages.add})
	b := cursor(t, q, "b")
	require.NoError(t, q.rewind(b))
	for _, c := range []queue.Cursor{cursor(t, q, "a"), b} {
		got, corrupt := drain(t, q, c)
		require.Len(t, got, 9)
		require.Equal(t, 1, corrupt)
	}
	require.Len(t, damages.list(), 1)
}

// rewind moves an unused cursor to the oldest event.
func (q *Queue) rewind(c queue.Cursor) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	first := q.segments[0].first
	c.(*Cursor).event, c.(*Cursor).scan.event = first, first
	return nil
}

func flip(t *testing.T, path string, at int64) {
	t.Helper()
	data := readFile(t, path)
	data[at] ^= 0x10
	require.NoError(t, os.WriteFile(path, data, 0o600))
}

func TestMissingSegments(t *testing.T) {
	const n = 60
	original := fill(t, n, 2000)
	names := segmentFiles(t, original)
	for i, path := range names {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			dir := copyDir(t, original)
			require.NoError(t, os.Remove(filepath.Join(dir, filepath.Base(path))))
			first, _ := parseSegmentName(filepath.Base(path))
			last := uint64(n)
			if i+1 < len(names) {
				last, _ = parseSegmentName(filepath.Base(names[i+1]))
			}
			var damages damageLog
			q, _ := open(t, dir, Options{Cursors: []string{"a"}, Damaged: damages.add})
			put(t, q, n)
			got, _ := drain(t, q, cursor(t, q, "a"))
			want := append(upTo(0, int(first)), upTo(int(last), n+1)...)
			require.Equal(t, ids(want...), got)
			if i+1 < len(names) { // nobody knows of what was at the end
				require.Equal(t, int(last-first), damages.events())
			}
		})
	}
}

// The last segment is gone, with what was delivered: what comes then is not taken for delivered.
func TestEventsAfterALostTailAreDelivered(t *testing.T) {
	dir := t.TempDir()
	o := Options{Cursors: []string{"a", "b"}, SegmentBytes: 1000}
	q, stop := open(t, dir, o)
	put(t, q, upTo(0, 20)...)
	_, _ = drain(t, q, cursor(t, q, "a"))
	stop()
	paths := segmentFiles(t, dir)
	require.NoError(t, os.Remove(paths[len(paths)-1]))
	lost, _ := parseSegmentName(filepath.Base(paths[len(paths)-1]))
	q, _ = open(t, dir, o)
	put(t, q, 20, 21)
	got, _ := drain(t, q, cursor(t, q, "a"))
	require.Equal(t, ids(20, 21), got)
	got, corrupt := drain(t, q, cursor(t, q, "b"))
	require.Equal(t, append(ids(upTo(0, int(lost))...), ids(20, 21)...), got)
	require.Equal(t, 20-int(lost), corrupt)
}

func TestLostPositionsMeanRedelivery(t *testing.T) {
	dir := t.TempDir()
	o := Options{Cursors: []string{"a", "b"}, SegmentBytes: 1000}
	q, stop := open(t, dir, o)
	put(t, q, upTo(0, 20)...)
	_, _ = drain(t, q, cursor(t, q, "a"))
	stop()
	for name, lose := range map[string]func(path string, i int) error{
		"removed":   func(path string, _ int) error { return os.Remove(path) },
		"truncated": func(path string, _ int) error { return os.Truncate(path, 20) },
		"empty":     func(path string, _ int) error { return os.Truncate(path, 0) },
		"flipped": func(path string, _ int) error {
			flip(t, path, int64(bytes.IndexByte(readFile(t, path), ':')+1))
			return nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := copyDir(t, dir)
			for i := range 2 {
				require.NoError(t, lose(filepath.Join(dir, storeName(i)), i))
			}
			var damages damageLog
			o.Damaged = damages.add
			q, stop := open(t, dir, o)
			for _, name := range []string{"a", "b"} {
				got, _ := drain(t, q, cursor(t, q, name))
				require.Equal(t, ids(upTo(0, 20)...), got)
			}
			require.Len(t, damages.list(), 1)
			stop()
			q, _ = open(t, dir, o)
			require.Zero(t, cursor(t, q, "a").Backlog())
		})
	}
}

// Whoever opens a queue without saying who reads it, a command say, changes nothing.
func TestAQueueWithoutCursorsKeepsEverything(t *testing.T) {
	dir := fill(t, 20, 1000)
	for i := range 2 {
		require.NoError(t, os.Remove(filepath.Join(dir, storeName(i))))
	}
	segments := segmentFiles(t, dir)
	for range 2 {
		q, stop := open(t, dir, Options{})
		require.Empty(t, q.Unused())
		require.Error(t, q.Forget("a"))
		stop()
		require.Equal(t, segments, segmentFiles(t, dir))
	}
	q, _ := open(t, dir, Options{})
	got, _ := drain(t, q, cursor(t, q, "a"))
	require.Equal(t, ids(upTo(0, 20)...), got)
}

// One of the two files is lost, or an older one was put back: at worst something is delivered again.
func TestOlderPositionsMeanRedelivery(t *testing.T) {
	dir := t.TempDir()
	o := Options{Cursors: []string{"a"}}
	q, stop := open(t, dir, o)
	put(t, q, upTo(0, 20)...)
	a := cursor(t, q, "a")
	for range 10 {
		queuetest.Next(t, a).Settle(1)
	}
	stop()
	older := copyDir(t, dir)
	q, stop = open(t, dir, o)
	a = cursor(t, q, "a")
	for range 5 {
		queuetest.Next(t, a).Settle(1)
	}
	stop()
	for i := range 2 {
		one := copyDir(t, dir)
		require.NoError(t, os.Remove(filepath.Join(one, storeName(i))))
		q, stop := open(t, one, o)
		backlog := cursor(t, q, "a").Backlog()
		require.GreaterOrEqual(t, backlog, 5)
		require.LessOrEqual(t, backlog, 20)
		stop()

		require.NoError(t, os.WriteFile(filepath.Join(dir, storeName(i)), readFile(t, filepath.Join(older, storeName(i))), 0o600))
	}
	q, _ = open(t, dir, o)
	got, _ := drain(t, q, cursor(t, q, "a"))
	require.Equal(t, ids(upTo(10, 20)...), got)
}

func TestNewerFormatIsRefusedUntouched(t *testing.T) {
	dir := fill(t, 20, 1000)
	paths := segmentFiles(t, dir)
	data := readFile(t, paths[1])
	binary.LittleEndian.PutUint32(data[8:], formatVersion+1)
	binary.LittleEndian.PutUint32(data[28:], checksum(data[:28]))
	require.NoError(t, os.WriteFile(paths[1], data, 0o600))
	last := paths[len(paths)-1]
	require.NoError(t, os.WriteFile(last, append(readFile(t, last), "torn"...), 0o600))
	before := snapshot(t, dir)
	_, err := Open(dir, Options{Cursors: []string{"a", "new"}})
	require.ErrorIs(t, err, ErrVersion)
	require.ErrorContains(t, err, filepath.Base(paths[1])+" is in format 2")
	_, err = Inspect(dir)
	require.ErrorIs(t, err, ErrVersion)
	require.Equal(t, before, snapshot(t, dir))
}

func snapshot(t *testing.T, dir string) map[string]string {
	t.Helper()
	files := map[string]string{}
	require.NoError(t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			files[path] = string(readFile(t, path))
		}
		return err
	}))
	return files
}

func TestUnusedCursorsKeepTheirEvents(t *testing.T) {
	dir := t.TempDir()
	q, stop := open(t, dir, Options{Cursors: []string{"a", "b", "c"}, SegmentBytes: 1000})
	put(t, q, upTo(0, 20)...)
	_, _ = drain(t, q, cursor(t, q, "a"))
	_, _ = drain(t, q, cursor(t, q, "c"))
	stop()

	q, stop = open(t, dir, Options{Cursors: []string{"a"}, SegmentBytes: 1000})
	cursor(t, q, "a")
	require.Equal(t, map[string]int{"b": 20, "c": 0}, q.Unused())
	require.ErrorContains(t, q.Forget("a"), "in use")
	require.ErrorContains(t, q.Forget("d"), "there is none")
	require.NotEmpty(t, segmentFiles(t, dir))
	require.Equal(t, 20, q.Used().Events)
	require.NoError(t, q.Forget("b"))
	require.NoError(t, q.Forget("c"))
	require.Zero(t, q.Used())
	stop()
	require.Empty(t, segmentFiles(t, dir))

	q, _ = open(t, dir, Options{Cursors: []string{"a", "b"}})
	require.Zero(t, cursor(t, q, "b").Backlog())
}

// A cursor that was added keeps its place when the process is killed.
func TestAnAddedCursorIsKnownAtOnce(t *testing.T) {
	dir := t.TempDir()
	q, _ := open(t, dir, Options{Cursors: []string{"a"}})
	put(t, q, 0)
	cursor(t, q, "b")
	killed := copyDir(t, dir)
	put(t, q, 1)
	for _, path := range segmentFiles(t, dir) {
		require.NoError(t, os.WriteFile(filepath.Join(killed, filepath.Base(path)), readFile(t, path), 0o600))
	}
	q, _ = open(t, killed, Options{Cursors: []string{"a", "b", "c"}})
	got, _ := drain(t, q, cursor(t, q, "b"))
	require.Equal(t, ids(1), got)
	require.Zero(t, cursor(t, q, "c").Backlog())
}

// What Lose says is left to the next start, and so is all that comes after it.
func TestLostEventsStay(t *testing.T) {
	dir := t.TempDir()
	o := Options{Cursors: []string{"a"}}
	q, stop := open(t, dir, o)
	a := cursor(t, q, "a")
	put(t, q, 0, 1, 2)
	queuetest.Next(t, a).Settle(1)
	queuetest.Next(t, a).Lose(1, fs.ErrClosed)
	queuetest.Next(t, a).Settle(1)
	stop()
	q, _ = open(t, dir, o)
	got, _ := drain(t, q, cursor(t, q, "a"))
	require.Equal(t, ids(1, 2), got)
}

// A reader holds what it works on, whatever is queued.
func TestReadersDoNotRunAhead(t *testing.T) {
	dir := fill(t, 500, 10_000)
	q, _ := open(t, dir, Options{Cursors: []string{"a"}, AheadBytes: 20_000})
	a := cursor(t, q, "a")
	var held []*queue.Entry
	for e := a.Next(); e != nil; e = a.Next() {
		held = append(held, e)
	}
	require.Greater(t, len(held), 3)
	require.Less(t, len(held), 50)
	size := 0
	for _, e := range held {
		size += e.Size.Bytes
	}
	require.Less(t, size, 40_000)
	for i, e := range held {
		require.Equal(t, ids(i), queuetest.IDs(e.Groups))
		e.Settle(1)
	}
	<-a.Wake()
	got, _ := drain(t, q, a)
	require.Equal(t, ids(upTo(len(held), 500)...), got)
}

// What the decoder reads is what was appended, and what the generated code reads.
func TestDecodeAgreesWithTheGeneratedCode(t *testing.T) {
	groups := []*protocol.LogGroup{queuetest.Group("x", 1, 2), {}, queuetest.Group("y")}
	groups[0].Logs[1].TimeNs = nil
	data, err := protocol.AppendGroupList(nil, groups)
	require.NoError(t, err)
	want, err := protocol.UnmarshalGroupList(data)
	require.NoError(t, err)
	b := protocol.NewBuilder()
	require.True(t, decode(b, data))
	require.Len(t, b.Groups(), len(want))
	for i, g := range b.Groups() {
		require.True(t, protocol.Equal(want[i], g))
	}
	b.Release()
}

func TestDecodeHardlyAllocates(t *testing.T) {
	const events = 100
	data, err := protocol.AppendGroupList(nil, benchGroups(events))
	require.NoError(t, err)
	allocs := testing.AllocsPerRun(100, func() {
		b := protocol.NewBuilder()
		if !decode(b, data) {
			t.Error("not decoded")
		}
		b.Release()
	})
	require.Less(t, allocs/events, 0.7) // the race detector empties pools
}

// unsyncedFiles are fast.
type unsyncedFiles struct{ osFiles }

type unsyncedFile struct{ file }

func (unsyncedFile) Sync() error           { return nil }
func (unsyncedFiles) SyncDir(string) error { return nil }
func (u unsyncedFiles) Create(path string) (file, error) {
	f, err := u.osFiles.Create(path)
	return unsyncedFile{f}, err
}
func (u unsyncedFiles) Open(path string) (file, error) {
	f, err := u.osFiles.Open(path)
	if err != nil {
		return nil, err
	}
	return unsyncedFile{f}, nil
}
