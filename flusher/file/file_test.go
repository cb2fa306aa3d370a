//go:build linux

package file

import (
	"compress/gzip"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/flinktail/flinktail/pipeline"
	"github.com/flinktail/flinktail/protocol"
)

func TestWritesFlatJSONLines(t *testing.T) {
	dir := t.TempDir()
	f := started(t, dir)
	line := `{"event_time":"2026-01-05T08:00:00.123Z","event_id":"1","terminal":true,"lineage":{"sources":[]},"x":1.5}`
	require.NoError(t, flush(f, group(t, line)))
	text, err := os.ReadFile(f.FileName)
	require.NoError(t, err)
	require.Equal(t, line+"\n", string(text))

	info, err := os.Stat(f.FileName)
	require.NoError(t, err)
	require.Zero(t, info.Mode().Perm()&^0o640, "mode %s", info.Mode())
}

func TestProtobufGroupsAreSplitByFile(t *testing.T) {
	dir := t.TempDir()
	f := started(t, dir, func(f *Flusher) { f.FileName, f.Format = dir+"/%{cluster}", FormatProtobuf })
	g := group(t, `{"event_id":"1","cluster":"a"}`, `{"event_id":"2","cluster":"b"}`, `{"event_id":"3","cluster":"a"}`)[0]
	g.LogTags = []*protocol.LogTag{{Key: ptr("host"), Value: ptr("h1")}}
	require.NoError(t, flush(f, []*protocol.LogGroup{g}))
	for name, want := range map[string][]string{"a": {"1", "3"}, "b": {"2"}} {
		text, err := os.ReadFile(filepath.Join(dir, name))
		require.NoError(t, err)
		groups := decodeGroups(t, text)
		require.Len(t, groups, 1)
		require.Equal(t, "h1", groups[0].LogTags[0].GetValue())
		var got []string
		for _, log := range groups[0].Logs {
			got = append(got, protocol.Value(log, "event_id"))
		}
		require.Equal(t, want, got)
	}
}

// A log that a peer's broken encoder left without a value cannot be encoded; the others must not suffer.
func TestProtobufEventThatCannotBeEncoded(t *testing.T) {
	dir := t.TempDir()
	f := started(t, dir, func(f *Flusher) { f.Format = FormatProtobuf })
	batch := numbered(t, 1, 3, "")
	broken := &protocol.Log{Time: batch[0].Logs[1].Time, Contents: []*protocol.Log_Content{{Key: ptr("event_id")}}}
	g := &protocol.LogGroup{Logs: []*protocol.Log{batch[0].Logs[0], broken, batch[0].Logs[2]}}
	err := flush(f, []*protocol.LogGroup{g})
	var partial *pipeline.PartialError
	require.ErrorAs(t, err, &partial)
	require.Len(t, partial.Failures, 1)
	require.Equal(t, 1, partial.Failures[0].Log)
	require.False(t, partial.Failures[0].Retryable)
	require.Equal(t, []string{"1", "3"}, ids(t, dir))
}

func TestRotatesBySize(t *testing.T) {
	dir := t.TempDir()
	f := started(t, dir, func(f *Flusher) { f.Rotate.MaxBytes = 2000 })
	for i := range 20 {
		require.NoError(t, flush(f, numbered(t, 1+10*i, 10, "")))
	}
	require.Equal(t, idsFrom(1, 200), ids(t, dir))
	names := files(t, dir)
	require.Greater(t, len(names), 4)
	for _, name := range names {
		info, err := os.Stat(filepath.Join(dir, name))
		require.NoError(t, err)
		require.LessOrEqual(t, info.Size(), int64(2000), name)
		require.Regexp(t, `^events\.log(\.\d{8}T\d{6}\.\d{3}Z)?$`, name)
	}
}

func TestBatchLargerThanMaxBytesGetsAFile(t *testing.T) {
	dir := t.TempDir()
	f := started(t, dir, func(f *Flusher) { f.Rotate.MaxBytes = 100 })
	require.NoError(t, flush(f, numbered(t, 1, 50, "")))
	require.NoError(t, flush(f, numbered(t, 51, 1, "")))
	require.Len(t, files(t, dir), 2)
	require.Equal(t, idsFrom(1, 51), ids(t, dir))
}

func TestRotatesByAge(t *testing.T) {
	dir := t.TempDir()
	f := started(t, dir, func(f *Flusher) { f.Rotate.MaxAge = 50 * time.Millisecond })
	n := 0
	for deadline := time.Now().Add(10 * time.Second); len(files(t, dir)) < 3; time.Sleep(time.Millisecond) {
		require.True(t, time.Now().Before(deadline), "not rotated")
		n++
		require.NoError(t, flush(f, numbered(t, n, 1, "")))
	}
	require.Greater(t, n, 3, "a file for every batch")
	require.Equal(t, idsFrom(1, n), ids(t, dir))
}

// The age is the file's, so that restarts do not put rotation off.
func TestAgeSurvivesRestart(t *testing.T) {
	dir := t.TempDir()
	long := func(f *Flusher) { f.Rotate.MaxAge = time.Hour }
	f := started(t, dir, long)
	require.NoError(t, flush(f, numbered(t, 1, 1, "")))
	require.NoError(t, f.Stop())
	time.Sleep(20 * time.Millisecond) // the age that the file is to have

	f = started(t, dir, func(f *Flusher) { f.Rotate.MaxAge = 10 * time.Millisecond })
	require.NoError(t, flush(f, numbered(t, 2, 1, "")))
	require.Len(t, files(t, dir), 2)
	require.Equal(t, idsFrom(1, 2), ids(t, dir))
}

func TestNewEventsGoBehindOldOnes(t *testing.T) {
	for _, format := range []string{FormatNDJSON, FormatProtobuf} {
		dir := t.TempDir()
		for i := range 3 {
			f := started(t, dir, func(f *Flusher) { f.Format = format })
			require.NoError(t, flush(f, numbered(t, 1+10*i, 10, "")))
			require.NoError(t, f.Stop())
		}
		require.Equal(t, idsFrom(1, 30), ids(t, dir))
	}
}

func TestCompressesRotatedFiles(t *testing.T) {
	dir := t.TempDir()
	f := started(t, dir, func(f *Flusher) { f.Compress, f.Rotate.MaxBytes = "gzip", 500 })
	for i := range 10 {
		require.NoError(t, flush(f, numbered(t, 1+10*i, 10, "")))
	}
	require.Eventually(t, func() bool {
		names := files(t, dir)
		for _, name := range names {
			if name != "events.log" && !strings.HasSuffix(name, ".gz") {
				return false
			}
		}
		return len(names) == 10
	}, 10*time.Second, 5*time.Millisecond, "still uncompressed: %s", files(t, dir))
	require.Equal(t, idsFrom(1, 100), ids(t, dir))
}

// Every point at which a crash can interrupt a compression leaves the events, and the next start finishes it.
func TestCompressionAfterACrash(t *testing.T) {
	const rotated, notRotated = "events.log.20260105T080000.123Z", "events.log.01234567T890123.456Z"
	text := []byte(`{"event_time":"2026-01-05T08:00:00.000Z","event_id":"1"}` + "\n")
	var zipped strings.Builder
	z := gzip.NewWriter(&zipped)
	_, _ = z.Write(text)
	require.NoError(t, z.Close())
	for name, left := range map[string]map[string]string{
		"after the rename":               {rotated: string(text)},
		"while it is written":            {rotated: string(text), rotated + ".gz.tmp": zipped.String()[:10]},
		"when it is written":             {rotated: string(text), rotated + ".gz.tmp": zipped.String()},
		"before the original is removed": {rotated: string(text), rotated + ".gz": zipped.String()},
		"when it is done":                {rotated + ".gz": zipped.String()},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			// A file that is not rotated is none of our business, whatever it is called.
			left[notRotated] = "{}\n"
			for file, content := range left {
				require.NoError(t, os.WriteFile(filepath.Join(dir, file), []byte(content), 0o600))
			}
			f := started(t, dir, func(f *Flusher) { f.Compress = "gzip" })
			require.EventuallyWithT(t, func(c *assert.CollectT) {
				assert.Equal(c, []string{notRotated, rotated + ".gz"}, files(t, dir))
			}, 10*time.Second, 5*time.Millisecond)
			require.NoError(t, f.Stop())
			require.Equal(t, []string{"1", ""}, ids(t, dir))
		})
	}
}

func TestTornEndIsRepaired(t *testing.T) {
	const one = `{"event_time":"2026-01-05T08:00:00.000Z","event_id":"1"}` + "\n"
	const last = `{"event_time":"2026-01-05T08:00:00.000Z","event_id":"2"}`
	for left, want := range map[string]string{
		one + last[:1]:                       one,
		one + last[:20]:                      one,
		one + last[:len(last)-1]:             one,
		one + last:                           one + last + "\n", // whole: only the line feed is missing
		one + "\x00\x00\x00":                 one,
		one + last[:20] + "\x00\x00":         one,
		one + "somebody's note":              one + "somebody's note\n", // not ours to remove
		one + `{"other":`:                    one + `{"other":` + "\n",
		last[:20]:                            "",
		strings.Repeat(one, 3000) + last[:9]: strings.Repeat(one, 3000),
		one + `{"event_time":"2026-01-05T08:00:00.000Z","message":"` + strings.Repeat("x", 200_000): one,
	} {
		dir := t.TempDir()
		f, c := startedWithContext(t, dir)
		require.NoError(t, os.WriteFile(f.FileName, []byte(left), 0o600))
		require.NoError(t, flush(f, group(t, last)))
		text, err := os.ReadFile(f.FileName)
		require.NoError(t, err)
		require.Equal(t, want+last+"\n", string(text))
		require.Contains(t, c.Logs(), "repaired the end")
	}
}

func TestTornMessageIsRepaired(t *testing.T) {
	dir := t.TempDir()
	f := started(t, dir, func(f *Flusher) { f.Format = FormatProtobuf })
	require.NoError(t, flush(f, numbered(t, 1, 5, "")))
	first, err := os.ReadFile(f.FileName)
	require.NoError(t, err)
	require.NoError(t, flush(f, numbered(t, 6, 5, "")))
	both, err := os.ReadFile(f.FileName)
	require.NoError(t, err)
	require.NoError(t, f.Stop())
	for cut := len(first) + 1; cut < len(both); cut++ {
		require.NoError(t, os.WriteFile(f.FileName, both[:cut], 0o600))
		f = started(t, dir, func(f *Flusher) { f.Format, f.Sync = FormatProtobuf, SyncNone })
		require.NoError(t, flush(f, numbered(t, 6, 5, "")))
		require.NoError(t, f.Stop())
		text, err := os.ReadFile(f.FileName)
		require.NoError(t, err)
		require.Equal(t, string(both), string(text), "cut at %d", cut)
	}
	// Zeros are what a crash of the machine may leave.
	for _, zeros := range []int{1, 2, 100} {
		require.NoError(t, os.WriteFile(f.FileName, append(append([]byte(nil), first...), make([]byte, zeros)...), 0o600))
		f = started(t, dir, func(f *Flusher) { f.Format = FormatProtobuf })
		require.NoError(t, flush(f, numbered(t, 6, 5, "")))
		require.NoError(t, f.Stop())
		require.Equal(t, idsFrom(1, 10), ids(t, dir))
	}
}

func TestForeignFileIsPutAside(t *testing.T) {
	for _, foreign := range []string{"{\"event_id\":\"1\"}\n", "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", "\x05hello"} {
		dir := t.TempDir()
		f, c := startedWithContext(t, dir, func(f *Flusher) { f.Format = FormatProtobuf })
		require.NoError(t, os.WriteFile(f.FileName, []byte(foreign), 0o600))
		require.NoError(t, flush(f, numbered(t, 1, 5, "")))
		names := files(t, dir)
		require.Len(t, names, 2)
		aside, err := os.ReadFile(filepath.Join(dir, names[1]))
		require.NoError(t, err)
		require.Equal(t, foreign, string(aside))
		require.Contains(t, c.Logs(), "put aside")
	}
}

func TestMovedFileIsBegunAnew(t *testing.T) {
	dir := t.TempDir()
	f := started(t, dir)
	require.NoError(t, flush(f, numbered(t, 1, 5, "")))
	require.NoError(t, os.Rename(f.FileName, f.FileName+".1"))
	require.NoError(t, flush(f, numbered(t, 6, 5, "")))
	require.NoError(t, os.Remove(f.FileName))
	require.NoError(t, flush(f, numbered(t, 11, 5, "")))
	require.NoError(t, os.Truncate(f.FileName, 0))
	require.NoError(t, flush(f, numbered(t, 16, 5, "")))

	// As logrotate does it: the new file is there already.
	require.NoError(t, os.Rename(f.FileName, f.FileName+".2"))
	require.NoError(t, os.WriteFile(f.FileName, nil, 0o600))
	require.NoError(t, flush(f, numbered(t, 31, 5, "")))
	require.NoError(t, os.Rename(f.FileName+".2", f.FileName+".0"))
	require.NoError(t, os.Rename(dir, dir+".old"))
	require.NoError(t, flush(f, numbered(t, 21, 5, "")))
	require.Equal(t, idsFrom(21, 25), ids(t, dir))
	require.NoError(t, os.RemoveAll(dir))
	require.NoError(t, os.Rename(dir+".old", dir))
	require.Equal(t, append(idsFrom(31, 35), append(idsFrom(16, 20), idsFrom(1, 5)...)...), ids(t, dir))
}

func TestFileHasOneWriter(t *testing.T) {
	dir := t.TempDir()
	first, second := started(t, dir), started(t, dir)
	require.NoError(t, flush(first, numbered(t, 1, 5, "")))
	err := flush(second, numbered(t, 6, 5, ""))
	var blocked *pipeline.BlockedError
	require.ErrorAs(t, err, &blocked)
	require.ErrorContains(t, err, first.FileName)
	require.NoError(t, first.Stop())
	require.NoError(t, flush(second, numbered(t, 6, 5, "")))
	require.Equal(t, idsFrom(1, 10), ids(t, dir))
}

func TestOpenFilesAreBounded(t *testing.T) {
	dir := t.TempDir()
	f := started(t, dir, func(f *Flusher) {
		f.FileName, f.MaxOpenFiles, f.Sync = dir+"/%{job_id}/events.log", 5, SyncNone
	})
	before := openFiles(t)
	var want []string
	for round := range 3 {
		var lines []string
		for job := range 50 {
			lines = append(lines, fmt.Sprintf(`{"event_id":"%d","job_id":"%02d"}`, round, job))
		}
		require.NoError(t, flush(f, group(t, lines...)))
		require.LessOrEqual(t, openFiles(t)-before, 5)
		require.Equal(t, 5, f.files.recent.Len())
		require.Len(t, f.files.byPath, 5)
	}
	for range 50 {
		want = append(want, "0", "1", "2")
	}
	require.Equal(t, want, ids(t, dir))
	// 45 to 49 are open. The one that is used again outlives the others.
	require.NoError(t, flush(f, group(t, `{"job_id":"45"}`)))
	require.NoError(t, flush(f, group(t, `{"job_id":"00"}`, `{"job_id":"01"}`, `{"job_id":"02"}`, `{"job_id":"03"}`)))
	require.Contains(t, f.files.byPath, dir+"/45/events.log")
	require.NotContains(t, f.files.byPath, dir+"/49/events.log")
}

func openFiles(t *testing.T) int {
	entries, err := os.ReadDir("/proc/self/fd")
	require.NoError(t, err)
	return len(entries)
}

func TestNotARegularFileIsBlocked(t *testing.T) {
	dir := t.TempDir()
	for _, path := range []string{dir, "/dev/null"} {
		f := started(t, dir, func(f *Flusher) { f.FileName = path })
		err := flush(f, numbered(t, 1, 1, ""))
		var blocked *pipeline.BlockedError
		require.ErrorAs(t, err, &blocked, path)
		require.ErrorContains(t, err, path)
		require.True(t, f.IsReady("", "", 0))
	}
}

func TestConnect(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(dir+"/there", nil, 0o600))
	connect := func(name string) error {
		f := New()
		f.FileName = name
		return f.Connect(context.Background())
	}
	for _, name := range []string{dir + "/there", dir + "/new", dir + "/a/b/c.log", dir + "/%{kind}.log", dir + "/a/%{kind}/b", dir + "/x%{kind}"} {
		require.NoError(t, connect(name), name)
	}
	for _, name := range []string{dir, dir + "/there/x.log", dir + "/there/%{kind}", "/dev/null", "/proc/nothing/events.log"} {
		require.Error(t, connect(name), name)
	}
	require.Equal(t, []string{"there"}, files(t, dir), "Connect leaves something behind")
}
