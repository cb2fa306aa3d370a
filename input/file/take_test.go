package fileinput

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/flinktail/flinktail/input/internal/intake"
	"github.com/flinktail/flinktail/pipeline/plugintest"
)

func TestMalformedLines(t *testing.T) {
	first := lines("a")
	path := tempFile(t, first+"no event\n"+lines("b")+`{"schema_version":99}`+"\n"+lines("c"))
	r := run(t, nil, reading(path))
	r.gets("a", "b", "c")
	r.settledTo(path)
	rejected := r.context.Rejected()
	require.Len(t, rejected, 2)
	require.Equal(t, "malformed_json", rejected[0].Reason)
	require.Equal(t, "no event", string(rejected[0].Raw))
	require.Contains(t, rejected[0].Detail, fmt.Sprintf("%s, byte %d", path, len(first)))
	require.Equal(t, "unsupported_schema_version", rejected[1].Reason)
}

func TestNothingButMalformedLines(t *testing.T) {
	path := tempFile(t, strings.Repeat("no event\n", 2500)) // more than a batch may reject
	r := run(t, nil, reading(path))
	r.settledTo(path)
	require.Len(t, r.context.Rejected(), 2500)
	require.Empty(t, r.queue.seen())
}

func TestRejectsAreStoredBeforeThePositionMoves(t *testing.T) {
	path := tempFile(t, "no event\n"+lines("a"))
	c := plugintest.NewContext(t, "input_file")
	c.FailRejects(errors.New("dead letters are full"))
	r := runWith(t, c, &queue{}, reading(path))
	r.gets("a")
	r.eventually(func() bool { return strings.Contains(c.Logs(), "dead letters are full") })
	require.Zero(t, storedOffset(t, r.in, path))
	c.FailRejects(nil)
	r.settledTo(path)
	require.Len(t, c.Rejected(), 1)
	require.Empty(t, r.queue.seen(), "the events do not come again")
}

func TestLongLines(t *testing.T) {
	long := `{"event_id":"long","message":"` + strings.Repeat("x", 10_000_000)
	fits := `{"event_id":"fits","message":"` + strings.Repeat("y", 1<<20-32) + `"}`
	require.Len(t, fits, 1<<20)
	path := tempFile(t, lines("a")+fits+"\n"+fits+" \n"+long)
	r := run(t, nil, reading(path))
	r.gets("a", "fits")
	r.eventually(func() bool { return len(r.context.Rejected()) == 1 }) // one byte too long
	write(t, path, `"}`+"\n"+lines("b"))
	r.gets("b")
	r.settledTo(path)
	rejected := r.context.Rejected()
	require.Len(t, rejected, 2)
	require.Equal(t, intake.ReasonTooLong, rejected[1].Reason)
	require.Equal(t, long[:1<<20], string(rejected[1].Raw), "its beginning is kept")
	require.Contains(t, rejected[1].Detail, fmt.Sprint(len(long)+3))
}

func TestShortLimit(t *testing.T) {
	path := tempFile(t, lines("a")+strings.Repeat("x", 200)+"\n"+lines("b")+strings.Repeat("y", 600_000)+"\n"+lines("c"))
	r := run(t, nil, func(in *Input) { in.FilePaths, in.MaxLineBytes = []string{path}, 100 })
	r.gets("a", "b", "c")
	r.settledTo(path)
	require.Len(t, r.context.Rejected(), 2)
}

func TestTooLargeForTheQueue(t *testing.T) {
	huge := `{"event_id":"huge","message":"too large","x":"\u0041"}`
	all := ids(0, 100)
	path := tempFile(t, lines(all[:50]...)+huge+"\n"+lines(all[50:]...))
	r := runWith(t, plugintest.NewContext(t, "input_file"), &queue{maxEvents: 7}, reading(path))
	r.gets(all...)
	r.settledTo(path)
	rejected := r.context.Rejected()
	require.Len(t, rejected, 1)
	require.Equal(t, "too_large", rejected[0].Reason)
	require.Equal(t, huge, string(rejected[0].Raw), "as it stands in the file")
}

func TestInflightIsBounded(t *testing.T) {
	event := strings.Repeat(`{"event_id":"x","message":"`+strings.Repeat("m", 600)+`"}`+"\n", 20_000) // 12 MB
	path := tempFile(t, event)
	q := &queue{hold: true}
	r := runWith(t, plugintest.NewContext(t, "input_file"), q, reading(path))
	inflight := func() float64 { return r.context.Gauges()["inflight_bytes"] }
	r.eventually(func() bool { return inflight() == maxInflight })
	require.True(t, r.in.Waiting())
	for len(q.seen()) < 20_000 {
		require.LessOrEqual(t, inflight(), float64(maxInflight))
		q.settle(false)
	}
	q.settle(false)
	r.settledTo(path)
	require.Zero(t, inflight())
	require.False(t, r.in.Waiting())
}

func TestReadOnce(t *testing.T) {
	dir := t.TempDir()
	last := lines("d")
	write(t, filepath.Join(dir, "b.ndjson"), lines("c")+last[:len(last)-1])
	write(t, filepath.Join(dir, "a.ndjson"), lines("a", "b"))
	write(t, filepath.Join(dir, "empty.ndjson"), "")
	once := func(in *Input) {
		in.FilePaths = []string{filepath.Join(dir, "*.ndjson")}
		in.ReadOnce()
	}
	r := run(t, nil, once)
	err := <-r.ended
	require.NoError(t, err)
	r.ended <- err
	require.ElementsMatch(t, []string{"a", "b", "c", "d"}, r.queue.seen())

	write(t, filepath.Join(dir, "a.ndjson"), lines("e"))
	r = run(t, r, once)
	err = <-r.ended
	require.NoError(t, err)
	r.ended <- err
	require.Equal(t, []string{"e"}, r.queue.seen())
}

func TestReadOnceTellsWhatItCouldNotRead(t *testing.T) {
	path := tempFile(t, lines("a"))
	in := New()
	in.FilePaths = []string{path}
	in.ReadOnce()
	require.NoError(t, in.Init(plugintest.NewContext(t, "input_file")))
	require.NoError(t, os.Remove(path))
	require.ErrorIs(t, in.Run(t.Context(), &queue{}), fs.ErrNotExist)
	require.NoError(t, in.Stop())
}

func TestReplay(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"a", "b"} {
		write(t, filepath.Join(dir, name+".ndjson"), lines(name+"1", name+"2"))
	}
	last := lines("b3")
	write(t, filepath.Join(dir, "b.ndjson"), last[:len(last)-1])
	for _, replay := range []string{replayAtOnce, replayRecorded} {
		options := func(in *Input) { in.FilePaths, in.Replay = []string{filepath.Join(dir, "*.ndjson")}, replay }
		var r *running
		for range 2 { // each start replays everything
			r = run(t, r, options)
			r.eventually(func() bool { return len(r.queue.seen()) == 5 })
			require.ElementsMatch(t, []string{"a1", "a2", "b1", "b2", "b3"}, r.queue.seen())
		}
		require.Empty(t, storedPositions(t, r.context.State()))
		require.Empty(t, r.context.Rejected())
	}
}

func TestRecordedPace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var p paced
		begun := time.Now()
		recorded := time.Date(2026, 1, 5, 8, 0, 0, 0, time.UTC)
		for _, step := range []struct{ event, due time.Duration }{
			{0, 0}, {3 * time.Second, 2 * time.Second}, {time.Second, 2 * time.Second}, {30 * time.Second, 20 * time.Second},
		} {
			require.True(t, p.wait(t.Context(), recorded.Add(step.event), 1.5))
			require.Equal(t, step.due, time.Since(begun))
		}
	})
}

func TestRecordedReplayWaits(t *testing.T) {
	path := tempFile(t, `{"event_id":"a","event_time":"2026-01-05T08:00:00Z"}`+"\n"+`{"event_id":"b","event_time":"2026-01-05T09:00:00Z"}`+"\n")
	r := run(t, nil, func(in *Input) { in.FilePaths, in.Replay = []string{path}, replayRecorded })
	r.gets("a")
	r.stop() // which does not wait for an hour
	require.Empty(t, r.queue.seen())
}

// BenchmarkFile reads a file of 640 B events and settles each chunk at once.
func BenchmarkFile(b *testing.B) {
	var text strings.Builder
	const events = 20_000
	for i := range events {
		fmt.Fprintf(&text, `{"event_id":"evt-%010d","event_time":"2026-01-05T08:00:00.123Z","kind":"job_failure","job_id":"20239a63ed9b70000d5185757dae99c4","exception_message":%q,"custom":{"a":[1,2]}}`+"\n",
			i, strings.Repeat("x", 450))
	}
	path := tempFile(b, text.String())
	b.ReportAllocs()
	b.SetBytes(int64(text.Len()))
	for b.Loop() {
		readAll(b, path)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*events), "ns/event")
}

func readAll(t testing.TB, path string) {
	in := New()
	in.FilePaths = []string{path}
	in.ReadOnce()
	require.NoError(t, in.Init(plugintest.NewContext(t, "input_file")))
	require.NoError(t, in.Run(t.Context(), settling{}))
	require.NoError(t, in.Stop())
}

// No allocation for an event: 20,000 take hardly more than 20.
func TestAllocations(t *testing.T) {
	small := tempFile(t, lines(ids(0, 20)...))
	large := tempFile(t, lines(ids(0, 20_000)...))
	few := testing.AllocsPerRun(10, func() { readAll(t, small) })
	many := testing.AllocsPerRun(10, func() { readAll(t, large) })
	require.Less(t, many-few, 20_000.0/10)
}
