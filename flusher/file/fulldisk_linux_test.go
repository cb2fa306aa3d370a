package file

import (
	"errors"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/flinktail/flinktail/pipeline"
	"github.com/flinktail/flinktail/pipeline/flushertest"
)

// TestFullDisk has the kernel cut writes off in the middle and then refuse them, as on a disk that fills up. The limit
// that does so is the whole process's, so the tests run in a process of their own.
func TestFullDisk(t *testing.T) {
	if os.Getenv("FLINKTAIL_TEST_FULL_DISK") == "" {
		child := exec.Command(os.Args[0], "-test.run=^TestFullDisk$", "-test.v")
		child.Env = append(os.Environ(), "FLINKTAIL_TEST_FULL_DISK=1")
		out, err := child.CombinedOutput()
		require.NoError(t, err, "%s", out)
		require.Contains(t, string(out), "--- PASS: TestFullDisk/templates")
		return
	}
	for _, format := range []string{FormatNDJSON, FormatProtobuf} {
		t.Run(format, func(t *testing.T) { testFullDisk(t, format) })
	}
	t.Run("templates", testFullDiskOfOneFile)
	t.Run("contract", func(t *testing.T) {
		flushertest.Run(t, flushertest.Suite{Start: func(t testing.TB) *flushertest.Destination {
			dir := t.TempDir()
			return &flushertest.Destination{
				New: func() pipeline.Flusher {
					f := New()
					f.FileName = filepath.Join(dir, "events.log")
					return f
				},
				Events: func() [][]byte { return eventsUnder(t, dir) },
				Down:   func() func() { return limitFiles(t, 10_000) },
			}
		}})
	})
}

func limitFiles(t testing.TB, size uint64) (restore func()) {
	t.Helper()
	var before syscall.Rlimit
	require.NoError(t, syscall.Getrlimit(syscall.RLIMIT_FSIZE, &before))
	signal.Ignore(syscall.SIGXFSZ)
	require.NoError(t, syscall.Setrlimit(syscall.RLIMIT_FSIZE, &syscall.Rlimit{Cur: size, Max: before.Max}))
	return func() {
		require.NoError(t, syscall.Setrlimit(syscall.RLIMIT_FSIZE, &before))
	}
}

func testFullDisk(t *testing.T, format string) {
	dir := t.TempDir()
	f := started(t, dir, func(f *Flusher) { f.Format = format })
	require.NoError(t, flush(f, numbered(t, 1, 10, "")))
	whole, err := os.ReadFile(f.FileName)
	require.NoError(t, err)

	restore := limitFiles(t, uint64(len(whole)+100))
	for range 3 {
		err = flush(f, numbered(t, 11, 10, ""))
		require.ErrorIs(t, err, syscall.EFBIG)
		require.ErrorContains(t, err, f.FileName)
		var blocked *pipeline.BlockedError
		require.False(t, errors.As(err, &blocked))
		after, readErr := os.ReadFile(f.FileName)
		require.NoError(t, readErr)
		require.Equal(t, string(whole), string(after), "a part of the batch was left behind")
	}
	restore()
	require.NoError(t, flush(f, numbered(t, 11, 10, "")))
	require.Equal(t, idsFrom(1, 20), ids(t, dir))
}

// testFullDiskOfOneFile has one of the batch's files fail: its events alone are to be sent again.
func testFullDiskOfOneFile(t *testing.T) {
	dir := t.TempDir()
	f := started(t, dir, func(f *Flusher) { f.FileName = filepath.Join(dir, "%{cluster}") })
	require.NoError(t, flush(f, numbered(t, 1, 50, `,"cluster":"large"`)))
	info, err := os.Stat(filepath.Join(dir, "large"))
	require.NoError(t, err)

	restore := limitFiles(t, uint64(info.Size()+10))
	defer restore()
	batch := group(t, `{"event_id":"51","cluster":"small"}`, `{"event_id":"52","cluster":"large"}`, `{"event_id":"53","cluster":"small"}`)
	err = flush(f, batch)
	var partial *pipeline.PartialError
	require.ErrorAs(t, err, &partial)
	require.Len(t, partial.Failures, 1)
	require.Equal(t, 1, partial.Failures[0].Log)
	require.True(t, partial.Failures[0].Retryable)
	require.ErrorIs(t, partial.Failures[0].Err, syscall.EFBIG)
	require.Equal(t, append(idsFrom(1, 50), "51", "53"), ids(t, dir))
}
