package disk

import (
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/flinktail/flinktail/internal/queue"
	"github.com/flinktail/flinktail/internal/queue/queuetest"
	"github.com/flinktail/flinktail/protocol"
)

func FuzzDecode(f *testing.F) {
	data, err := protocol.AppendGroupList(nil, []*protocol.LogGroup{queuetest.Group("x", 1, 2)})
	require.NoError(f, err)
	f.Add(data)
	f.Fuzz(func(t *testing.T, data []byte) {
		b := protocol.NewBuilder()
		defer b.Release()
		if !decode(b, data) {
			return
		}
		want, err := protocol.UnmarshalGroupList(data)
		require.NoError(t, err, "the generated code refuses what decode takes")
		require.Len(t, b.Groups(), len(want))
	})
}

// sound are the events of the segment that FuzzRecovery begins with, each a record.
const sound = 5

// Whatever the files hold: the queue opens, tells how much there is, delivers what lies whole before the first damage, takes events and
// delivers those; and it needs no more memory than the files are long, some times over.
//
// The first segment is so many sound records and then a tail, or the tail alone; the second one is anything, under any name.
func FuzzRecovery(f *testing.F) {
	segment, starts, positions := soundFiles(f)
	f.Add(uint8(sound), []byte{}, []byte{}, uint16(0), []byte{}, []byte{})
	f.Add(uint8(sound-1), segment[starts[sound-1]:len(segment)-7], []byte(recordMarker), uint16(200), positions, []byte("00000000 00000002\n{}"))
	f.Add(uint8(0), segment[segmentHeaderSize:], segment, uint16(sound), positions[:len(positions)-3], positions)
	f.Add(uint8(2), segment[starts[3]:], segment[segmentHeaderSize:], uint16(3), []byte{}, positions)
	f.Add(uint8(255), segment, segment, uint16(2), []byte{}, []byte{})
	f.Fuzz(func(t *testing.T, whole uint8, tail, second []byte, at uint16, cursors0, cursors1 []byte) {
		intact := int(whole)
		first := tail
		if intact <= sound {
			first = slices.Concat(segment[:starts[intact]], tail)
		} else {
			intact = 0
		}
		dir := t.TempDir()
		write := func(name string, data []byte) {
			require.NoError(t, os.WriteFile(filepath.Join(dir, name), data, 0o600))
		}
		write(segmentName(0), first)
		if len(second) > 0 {
			write(segmentName(uint64(at)), second)
			intact = min(intact, int(at)) // what follows the next segment's first event counts there
		}
		for i, data := range [][]byte{cursors0, cursors1} {
			if len(data) > 0 {
				write(storeName(i), data)
			}
		}
		for _, data := range [][]byte{first, second} {
			if version, _, ok := parseSegmentHeader(data); ok && version > formatVersion {
				_, err := Open(dir, Options{})
				require.ErrorIs(t, err, ErrVersion)
				return
			}
		}
		settled := uint64(0)
		if stored, _, err := readPositions(dir); err == nil && stored != nil {
			var known bool
			if settled, known = stored.Cursors["a"]; !known {
				settled = uint64(intact) // a new cursor begins at the end
			}
		}

		defer time.AfterFunc(20*time.Second, func() { panic("it hangs") }).Stop()
		before := allocated()
		_, err := Inspect(dir)
		require.NoError(t, err)
		_, err = Verify(dir, func(Damage) {}, func(int64, int64) {})
		require.NoError(t, err)
		q, err := Open(dir, Options{Cursors: []string{"a"}, files: unsyncedFiles{}})
		require.NoError(t, err)
		a, err := q.Cursor("a")
		require.NoError(t, err)
		backlog := a.Backlog()
		put(t, q, 1000)
		got, corrupt := drain(t, q, a)
		if settled < uint64(intact) {
			require.GreaterOrEqual(t, len(got), intact-int(settled))
			require.Equal(t, ids(upTo(int(settled), intact)...), got[:intact-int(settled)], "intact, and not delivered")
		}
		require.Equal(t, ids(1000)[0], got[len(got)-1])
		require.Equal(t, backlog+1, len(got)+corrupt)
		require.NoError(t, q.Stop())
		require.Less(t, allocated()-before, uint64(16<<20+100*(len(first)+len(second))))
	})
}

func allocated() uint64 {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.TotalAlloc
}

// soundFiles returns a segment, where its records begin and the last one ends, and a file of positions of a cursor that has read two events.
func soundFiles(f *testing.F) (segment []byte, starts []int64, positions []byte) {
	dir := f.TempDir()
	q, err := Open(dir, Options{Cursors: []string{"a"}})
	require.NoError(f, err)
	for i := range sound {
		g := []*protocol.LogGroup{queuetest.Group("x", i)}
		done := make(chan error)
		q.Append(g, queuetest.Measure(g), queue.Size{}, func(err error) { done <- err })
		require.NoError(f, <-done)
	}
	a, err := q.Cursor("a")
	require.NoError(f, err)
	for range 2 {
		e := a.Next()
		e.Settle(e.Size.Events)
	}
	require.NoError(f, q.Stop())
	segment, err = os.ReadFile(filepath.Join(dir, segmentName(0)))
	require.NoError(f, err)
	starts = []int64{segmentHeaderSize}
	for at := starts[0]; at < int64(len(segment)); starts = append(starts, at) {
		h, ok := parseRecordHeader(segment[at:], at)
		require.True(f, ok)
		at += h.size()
	}
	require.Len(f, starts, sound+1)
	stored, in, err := readPositions(dir)
	require.NoError(f, err)
	require.Equal(f, uint64(2), stored.Cursors["a"])
	positions, err = os.ReadFile(filepath.Join(dir, storeName(in)))
	require.NoError(f, err)
	return segment, starts, positions
}
