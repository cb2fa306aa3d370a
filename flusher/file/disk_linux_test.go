package file

import (
	"os"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/flinktail/flinktail/pipeline"
)

// Root may do everything, so the thread becomes somebody else for the file system; it dies with the test's goroutine.
func TestNotPermittedIsBlocked(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.Chmod(filepath.Dir(dir), 0o755))
	require.NoError(t, os.Chmod(dir, 0o755))
	f := started(t, dir, func(f *Flusher) { f.FileName = dir + "/a/b/events.log" })
	runtime.LockOSThread()
	if os.Getuid() == 0 {
		require.NoError(t, syscall.Setfsuid(65534))
		require.NoError(t, syscall.Setfsgid(65534))
	} else {
		require.NoError(t, os.Chmod(dir, 0o500))
	}
	err := flush(f, numbered(t, 1, 1, ""))
	connectErr := f.Connect(t.Context())
	if os.Getuid() == 0 {
		require.NoError(t, syscall.Setfsuid(0))
		require.NoError(t, syscall.Setfsgid(0))
	}
	var blocked *pipeline.BlockedError
	require.ErrorAs(t, err, &blocked)
	require.ErrorIs(t, err, os.ErrPermission)
	require.ErrorContains(t, err, dir+"/a")
	require.ErrorIs(t, connectErr, os.ErrPermission)
	require.ErrorContains(t, connectErr, dir)

	require.NoError(t, os.Chmod(dir, 0o755))
	require.NoError(t, flush(f, numbered(t, 1, 1, "")))
	require.Equal(t, idsFrom(1, 1), ids(t, dir))
}

// The kernel tells how many pages of a file are not on disk yet.
func TestSyncBatchLeavesNothingInMemory(t *testing.T) {
	for sync, want := range map[string]bool{SyncBatch: true, SyncNone: false} {
		f := started(t, t.TempDir(), func(f *Flusher) { f.Sync = sync })
		require.NoError(t, flush(f, numbered(t, 1, 1000, "")))
		dirty, ok := dirtyPages(t, f.FileName)
		if !ok {
			return // a kernel before 6.5, or a file system in memory
		}
		require.Equal(t, want, dirty == 0, "%d pages are not on disk with Sync %q", dirty, sync)
	}
}

func dirtyPages(t *testing.T, path string) (n uint64, ok bool) {
	file, err := os.Open(path)
	require.NoError(t, err)
	defer file.Close()
	var fs unix.Statfs_t
	require.NoError(t, unix.Fstatfs(int(file.Fd()), &fs))
	var whole unix.CachestatRange
	var stat unix.Cachestat_t
	err = unix.Cachestat(uint(file.Fd()), &whole, &stat, 0)
	return stat.Dirty + stat.Writeback, err == nil && fs.Type != unix.TMPFS_MAGIC
}
