package fileinput

import (
	"compress/gzip"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/flinktail/flinktail/pipeline"
	"github.com/flinktail/flinktail/pipeline/plugintest"
)

func TestFollowsGrowth(t *testing.T) {
	path := tempFile(t, lines("a", "b"))
	r := run(t, nil, reading(path))
	r.gets("a", "b")
	write(t, path, lines("c")+"\r\n\n"+lines("d"))
	r.gets("c", "d")
	require.Empty(t, r.context.Rejected())
}

func TestLineIsTakenWithItsNewline(t *testing.T) {
	whole := lines("b")
	path := tempFile(t, lines("a")+whole[:10])
	r := run(t, nil, reading(path))
	r.gets("a")
	write(t, path, whole[10:len(whole)-1])
	r.eventually(func() bool { return r.in.context != nil && storedOffset(t, r.in, path) == int64(len(lines("a"))) })
	require.Empty(t, r.queue.seen())
	write(t, path, "\n")
	r.gets("b")
	require.Empty(t, r.context.Rejected())
}

func TestRestartGoesOnWhereItWasSettled(t *testing.T) {
	path := tempFile(t, lines("a", "b"))
	r := run(t, nil, reading(path))
	r.gets("a", "b")
	r.stop()
	write(t, path, lines("c"))
	r = run(t, r, reading(path))
	r.gets("c")
}

func TestPositionIsStoredWhileRunning(t *testing.T) {
	path := tempFile(t, lines("a", "b"))
	r := run(t, nil, reading(path))
	r.gets("a", "b")
	r.settledTo(path) // a crash from here on repeats nothing
}

func TestUnsettledComesAgain(t *testing.T) {
	path := tempFile(t, lines("a"))
	r := run(t, nil, reading(path))
	r.gets("a")
	r.settledTo(path)
	r.queue.set(func(q *queue) { q.hold = true })
	write(t, path, lines("b"))
	r.gets("b")
	write(t, path, lines("c"))
	r.gets("c")
	r.queue.mu.Lock()
	r.queue.pending[1](nil) // c is settled before b
	r.queue.mu.Unlock()

	r = run(t, r, reading(path))
	r.gets("b", "c")
}

func TestSettledOutOfOrder(t *testing.T) {
	path := tempFile(t, lines(ids(0, 20_000)...)) // several chunks
	q := &queue{hold: true}
	r := runWith(t, plugintest.NewContext(t, "input_file"), q, reading(path))
	r.gets(ids(0, 20_000)...)
	require.Greater(t, q.held(), 3)
	q.settle(true)
	r.settledTo(path)
}

func TestLostCustodyIsReadAgain(t *testing.T) {
	all := ids(0, 20_000)
	path := tempFile(t, lines(all...))
	q := &queue{hold: true}
	r := runWith(t, plugintest.NewContext(t, "input_file"), q, reading(path))
	r.gets(all...)
	q.mu.Lock()
	first, second, others := q.pending[0], q.pending[1], q.pending[2:]
	q.pending, q.hold = nil, false
	q.mu.Unlock()
	for _, done := range others {
		done(nil)
	}
	second(errors.New("lost"))
	first(nil)
	r.settledTo(path)
	again := q.seen()
	require.Less(t, len(again), len(all), "what was settled before does not come again")
	require.Equal(t, all[len(all)-len(again):], again)
}

func TestRotationByRenaming(t *testing.T) {
	path := tempFile(t, lines("a"))
	r := run(t, nil, reading(path))
	r.gets("a")
	rename(t, path, path+".1")
	write(t, path+".1", lines("b")) // the writer has not noticed yet
	write(t, path, lines("c", "d"))
	r.eventually(func() bool { return len(r.queue.seen()) == 3 })
	require.ElementsMatch(t, []string{"b", "c", "d"}, r.queue.taken())
	r.eventually(func() bool { return r.context.Gauges()["open_files"] == 1 })

	write(t, path, lines("e"))
	r = run(t, r, reading(path))
	r.eventually(func() bool { ids := r.queue.seen(); return len(ids) == 0 || ids[len(ids)-1] == "e" })
	r.settledTo(path)
}

func TestRotatedFileMatchedByItsNewName(t *testing.T) {
	path := tempFile(t, lines("a"))
	r := run(t, nil, reading(path+"*"))
	r.gets("a")
	rename(t, path, path+".1")
	write(t, path, lines("b"))
	r.gets("b")
	write(t, path+".1", lines("c"))
	r.gets("c")
	r = run(t, r, reading(path+"*"))
	write(t, path, lines("d"))
	r.gets("d")
}

func TestRotationWhileDown(t *testing.T) {
	path := tempFile(t, lines("a"))
	r := run(t, nil, reading(path))
	r.gets("a")
	r.stop()
	write(t, path, lines("b"))
	rename(t, path, path+".1")
	write(t, path, lines("c"))
	r = run(t, r, reading(path))
	r.eventually(func() bool { return len(r.queue.seen()) == 2 })
	require.ElementsMatch(t, []string{"b", "c"}, r.queue.seen())

	// The renamed file is done with: its position is forgotten.
	r.eventually(func() bool { return len(storedPositions(t, r.context.State())) == 1 })
}

func TestFileThatComesBackIsNotClosed(t *testing.T) {
	path := tempFile(t, lines("a"))
	in := New()
	in.FilePaths, in.grace = []string{filepath.Join(filepath.Dir(path), "*.ndjson")}, 0
	require.NoError(t, in.Init(plugintest.NewContext(t, "input_file")))
	in.watch = newWatcher(in.log, in.wake)
	defer in.watch.close()
	defer func() { require.NoError(t, in.Stop()) }()
	require.NoError(t, in.discover(true))
	rename(t, path, path+".away")
	require.NoError(t, in.discover(false))
	require.True(t, in.last(in.tails[0]))
	rename(t, path+".away", path)
	require.NoError(t, in.discover(false))
	require.False(t, in.last(in.tails[0]))
}

func TestDeletedFileIsReadToItsEnd(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "events.ndjson")
	write(t, path, lines("a"))
	q := &queue{hold: true}
	r := runWith(t, plugintest.NewContext(t, "input_file"), q, reading(filepath.Join(dir, "*.ndjson")))
	r.gets("a")
	last := lines("b")
	write(t, path, last[:len(last)-1]) // without a newline
	require.NoError(t, os.Remove(path))
	r.gets("b") // nobody will write the newline any more
	require.EqualValues(t, 1, r.context.Gauges()["open_files"], "open until everything is settled")
	q.settle(false)
	r.eventually(func() bool { return r.context.Gauges()["open_files"] == 0 })

	q.set(func(q *queue) { q.hold = false })
	write(t, path, lines("c")) // perhaps the same inode
	r.gets("c")
}

func TestTruncation(t *testing.T) {
	path := tempFile(t, lines("a", "b", "c"))
	r := run(t, nil, reading(path))
	r.gets("a", "b", "c")
	require.NoError(t, os.Truncate(path, 0))
	write(t, path, lines("d"))
	r.gets("d")

	// Written anew and longer than before.
	require.NoError(t, os.Truncate(path, 0))
	write(t, path, lines("e", "f", "g", "h"))
	r.gets("e", "f", "g", "h")

	// The same, without a moment of being shorter.
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	require.NoError(t, err)
	_, err = f.WriteString(lines("A", "B", "C", "D", "E"))
	require.NoError(t, errors.Join(err, f.Close()))
	r.gets("A", "B", "C", "D", "E")

	// While down.
	r.stop()
	require.NoError(t, os.Truncate(path, 0))
	write(t, path, lines("i", "j", "k", "l", "m", "n"))
	r = run(t, r, reading(path))
	r.gets("i", "j", "k", "l", "m", "n")
}

func TestTruncationWithUnsettledLines(t *testing.T) {
	path := tempFile(t, lines("a", "b"))
	q := &queue{hold: true}
	r := runWith(t, plugintest.NewContext(t, "input_file"), q, reading(path))
	r.gets("a", "b")
	require.NoError(t, os.Truncate(path, 0))
	write(t, path, lines("c"))
	r.gets("c")
	q.settle(false)
	r.settledTo(path)
}

// Ids of events that bring none: the same after a restart and a renaming, others in a file written anew.
func TestIDs(t *testing.T) {
	const event = `{"kind":"job_status"}` + "\n"
	path := tempFile(t, event+event)
	r := run(t, nil, reading(path))
	r.eventually(func() bool { return len(r.queue.seen()) == 2 })
	first := r.queue.taken()
	require.NotEqual(t, first[0], first[1])
	require.Len(t, first[0], 32)

	rename(t, path, path+".1")
	r = runWith(t, plugintest.NewContext(t, "input_file"), &queue{}, reading(path+".1")) // its position is lost
	r.gets(first...)
	r.settledTo(path + ".1") // so that the next line waits for the truncation to be seen
	require.NoError(t, os.Truncate(path+".1", 0))
	r.eventually(func() bool { return storedOffset(t, r.in, path+".1") == 0 })
	write(t, path+".1", event+event)
	r.eventually(func() bool { return len(r.queue.seen()) == 2 })
	require.NotSubset(t, first, r.queue.seen())
}

func TestFromEnd(t *testing.T) {
	dir := t.TempDir()
	path, later := filepath.Join(dir, "a.ndjson"), filepath.Join(dir, "b.ndjson")
	half := lines("half")
	write(t, path, lines("old")+half[:7])
	options := func(in *Input) { in.FilePaths, in.From = []string{filepath.Join(dir, "*.ndjson")}, "end" }
	r := run(t, nil, options)
	r.eventually(func() bool { return len(storedPositions(t, r.context.State())) == 1 })
	write(t, path, half[7:]+lines("new"))
	r.gets("half", "new")
	write(t, later, lines("in a later file"))
	r.gets("in a later file")

	// From is for the first start alone.
	r.stop()
	write(t, path, lines("while down"))
	write(t, filepath.Join(dir, "c.ndjson"), lines("new file while down"))
	r = run(t, r, options)
	r.gets("while down", "new file while down")
}

func TestFromEndOfAnEmptyFileSurvivesARestart(t *testing.T) {
	path := tempFile(t, "")
	options := func(in *Input) { in.FilePaths, in.From = []string{path}, "end" }
	r := run(t, nil, options)
	r.eventually(func() bool { return len(storedPositions(t, r.context.State())) == 1 })
	r.stop()
	write(t, path, lines("while down"))
	r = run(t, r, options)
	r.gets("while down")
}

func TestPatterns(t *testing.T) {
	dir := t.TempDir()
	r := run(t, nil, reading(filepath.Join(dir, "**", "*.ndjson"), filepath.Join(dir, "x.log")+"*"))
	r.eventually(func() bool { return strings.Count(r.context.Logs(), "no file matches yet") == 2 })
	require.NoError(t, os.MkdirAll(filepath.Join(dir, "deep", "er"), 0o700))
	write(t, filepath.Join(dir, "deep", "er", "a.ndjson"), lines("a"))
	r.gets("a")
	write(t, filepath.Join(dir, "x.log"), lines("b"))
	r.gets("b")
	require.NoError(t, os.Link(filepath.Join(dir, "x.log"), filepath.Join(dir, "x.ndjson"))) // the same file
	write(t, filepath.Join(dir, "x.log"), lines("c"))
	r.gets("c")
	require.Equal(t, 2, strings.Count(r.context.Logs(), "no file matches yet"), "said once")
}

func TestCompressedFilesAreLeftAlone(t *testing.T) {
	dir := t.TempDir()
	f, err := os.Create(filepath.Join(dir, "events.ndjson.1.gz"))
	require.NoError(t, err)
	z := gzip.NewWriter(f)
	_, err = z.Write([]byte(lines("old")))
	require.NoError(t, errors.Join(err, z.Close(), f.Close()))
	write(t, filepath.Join(dir, "events.ndjson"), lines("a"))
	r := run(t, nil, reading(filepath.Join(dir, "events.ndjson*")))
	r.gets("a")
	r.eventually(func() bool { return strings.Contains(r.context.Logs(), "compressed files are not read") })
	require.Empty(t, r.context.Rejected())
	require.EqualValues(t, 1, r.context.Gauges()["open_files"])
}

func TestFileThatCannotBeReadIsSaidOnce(t *testing.T) {
	dir := t.TempDir()
	link := filepath.Join(dir, "a.ndjson")
	require.NoError(t, os.Symlink(filepath.Join(dir, "nowhere"), link))
	path := filepath.Join(dir, "b.ndjson")
	write(t, path, lines("b"))
	r := run(t, nil, reading(link[:len(link)-8]+"{a,b}.ndjson"))
	r.gets("b")
	for range 3 { // several looks
		id := ids(int(size(t, path)), 1)
		write(t, path, lines(id...))
		r.gets(id...)
	}
	require.LessOrEqual(t, strings.Count(r.context.Logs(), "file is not read"), 1)
}

func TestStateFails(t *testing.T) {
	path := tempFile(t, lines("a"))
	r := run(t, nil, reading(path))
	r.gets("a")
	r.settledTo(path)
	r.context.FailState(errors.New("disk is gone"))
	write(t, path, lines("b"))
	r.gets("b")
	r.eventually(func() bool { return strings.Contains(r.context.Logs(), "disk is gone") })
	r.context.FailState(nil)
	r.settledTo(path)
}

func TestInit(t *testing.T) {
	fails := func(option, says string, prepare func(in *Input, c *plugintest.Context)) {
		t.Helper()
		in, c := New(), plugintest.NewContext(t, "input_file")
		prepare(in, c)
		err := in.Init(c)
		require.ErrorContains(t, err, says)
		var named *pipeline.OptionError
		if option != "" {
			require.ErrorAs(t, err, &named)
			require.Equal(t, option, named.Option)
		}
	}
	dir := t.TempDir()
	fails("FilePaths[1]", "no such file", func(in *Input, _ *plugintest.Context) {
		in.FilePaths = []string{filepath.Join(dir, "*"), filepath.Join(dir, "missing")}
	})
	fails("FilePaths[0]", "not a regular file", func(in *Input, _ *plugintest.Context) { in.FilePaths = []string{dir} })
	fails("", "load positions", func(in *Input, c *plugintest.Context) {
		in.FilePaths = []string{filepath.Join(dir, "*")}
		require.NoError(t, c.State().Store(positionsKey, []byte("{broken")))
	})
	fails("", "disk is gone", func(in *Input, c *plugintest.Context) {
		in.FilePaths = []string{filepath.Join(dir, "*")}
		c.FailState(errors.New("disk is gone"))
	})
}

func TestOptions(t *testing.T) {
	for option, set := range map[string]func(in *Input){
		"FilePaths":    func(in *Input) { in.FilePaths = nil },
		"FilePaths[0]": func(in *Input) { in.FilePaths = []string{"a["} },
		"From":         func(in *Input) { in.From = "middle" },
		"Replay":       func(in *Input) { in.Replay = "twice" },
		"Speed":        func(in *Input) { in.Speed = 0 },
		"MaxLineBytes": func(in *Input) { in.MaxLineBytes = 0 },
		"PollInterval": func(in *Input) { in.PollInterval = 0 },
	} {
		in := New()
		in.FilePaths = []string{"a"}
		require.NoError(t, in.Validate())
		set(in)
		var named *pipeline.OptionError
		require.ErrorAs(t, in.Validate(), &named)
		require.Equal(t, option, named.Option)
	}
}
