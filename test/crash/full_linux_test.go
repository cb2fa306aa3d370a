//go:build e2e

package crash

import (
	"net/http"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// smallFolder returns the folder of a file system with 16 MB.
func smallFolder(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=16m"); err != nil {
		t.Fatalf("mount a tmpfs of 16 MB: %v; this test has to run as root, or in a container with CAP_SYS_ADMIN", err)
	}
	t.Cleanup(func() { require.NoError(t, syscall.Unmount(dir, syscall.MNT_DETACH)) })
	return dir
}

// The file system runs full and is freed, by others and by what is delivered: senders wait meanwhile, and nobody has to do anything.
func TestFullFileSystem(t *testing.T) {
	t.Run("to the last byte", func(t *testing.T) { fillUp(t, "0B", "no space left on device") })
	t.Run("but for MinFreeBytes", func(t *testing.T) { fillUp(t, "2MiB", "less than MinFreeBytes would stay free") })
}

func fillUp(t *testing.T, minFree, why string) {
	rnd := choices(t)
	s := newSink(t, rnd)
	dir := smallFolder(t)
	f := newTail(t, filepath.Join(dir, "data"), object{"MaxBytes": "64MiB", "MinFreeBytes": minFree}, s)
	other := filepath.Join(dir, "other")
	require.NoError(t, os.WriteFile(other, make([]byte, 8<<20), 0o600))
	c := newClient(f.url)
	s.setMood(silent)
	f.start(t)
	stop := c.load(t, rnd)

	f.awaitFull(t, c, why)
	require.NoError(t, os.Remove(other))
	f.awaitHealed(t, c)
	f.awaitFull(t, c, why)
	require.GreaterOrEqual(t, f.requireLedger(t).Flushers[0].Queued, c.acknowledged()-len(s.snapshot().lines))

	f.kill(t)
	f.launch(t) // it runs, but is ready only until it has tried to write
	await(t, "flinktail runs", func() bool { f.requireRunning(t); return f.get("/healthz", nil) == nil })
	f.awaitFull(t, c, why)
	s.setMood(quick)
	f.awaitHealed(t, c)

	stop()
	f.requireDrained(t)
	s.requireAll(t, c, nil)
	t.Logf("%d posts acknowledged with %d events, %d refused, %d without an answer", c.answers(http.StatusOK), c.acknowledged(), c.answers(429, 503), c.answers(0))
}

// awaitFull waits until posts are refused because nothing more can be written, and for a while that this stays so.
func (f *tail) awaitFull(t testing.TB, c *client, why string) {
	t.Helper()
	full := func() bool {
		f.requireRunning(t)
		f.requireLedger(t)
		return f.ready() != nil
	}
	await(t, "flinktail is not ready", full)
	require.ErrorContains(t, f.ready(), why)
	refused := c.answers(429, 503) + 50
	await(t, "posts are refused", func() bool { full(); return c.answers(429, 503) > refused })
	require.ErrorContains(t, f.ready(), why)
}

// awaitHealed waits until flinktail is ready and takes events again.
func (f *tail) awaitHealed(t testing.TB, c *client) {
	t.Helper()
	await(t, "flinktail is ready", func() bool { f.requireRunning(t); return f.ready() == nil })
	least := c.acknowledged() + 1000
	await(t, "posts are taken", func() bool { f.requireRunning(t); return c.acknowledged() > least })
}
