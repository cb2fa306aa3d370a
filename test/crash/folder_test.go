//go:build e2e

package crash

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// The files with the flushers' positions go missing or are overwritten while flinktail is down. What is delivered again is no loss.
func TestLostPositions(t *testing.T) {
	rnd := choices(t)
	r := killed(t, rnd)
	for name, files := range map[string][]string{
		"both": {"cursors.0", "cursors.1"}, "first": {"cursors.0"}, "second": {"cursors.1"},
	} {
		for how, harm := range map[string]func(path string) error{
			"removed": os.Remove,
			"garbage": func(path string) error { return os.WriteFile(path, []byte(filler[rnd.IntN(1000):]), 0o600) },
			"empty":   func(path string) error { return os.Truncate(path, 0) },
		} {
			t.Run(name+" "+how, func(t *testing.T) {
				f, c := r.again(t, func(dir string) {
					for _, file := range files {
						require.NoError(t, harm(filepath.Join(dir, file)))
					}
				})
				r.sink.setMood(quick)
				f.start(t)
				require.Equal(t, len(files) == 2, strings.Contains(f.process.Log(), "positions are lost"))
				r.requireRecovered(t, f, c, rnd, nil, 0)
				if len(files) == 2 {
					require.Greater(t, r.sink.snapshot().again, r.before.again)
				}
			})
		}
	}
}

// A folder that a newer version has written is left as it is.
func TestNewerVersion(t *testing.T) {
	rnd := choices(t)
	r := killed(t, rnd)
	for i := range r.segments {
		f, _ := r.again(t, func(dir string) {
			path := filepath.Join(dir, r.segments[i].name)
			data, err := os.ReadFile(path)
			require.NoError(t, err)
			binary.LittleEndian.PutUint32(data[8:], 2)
			binary.LittleEndian.PutUint32(data[28:], crc32.Checksum(data[:28], crc32.MakeTable(crc32.Castagnoli)))
			require.NoError(t, os.WriteFile(path, data, 0o600))
		})
		before := tree(t, f.queue())
		said := f.refused(t)
		require.Contains(t, said, r.segments[i].name+" is in format 2: written by a newer version")
		require.Equal(t, before, tree(t, f.queue()))
	}
}

// tree returns the files of a folder with what is in them.
func tree(t testing.TB, dir string) map[string]string {
	t.Helper()
	files := map[string]string{}
	require.NoError(t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := os.ReadFile(path)
		files[path] = string(text)
		return err
	}))
	return files
}

// Who starts flinktail twice on a folder is told, and the first one goes on.
func TestSecondProcess(t *testing.T) {
	rnd := choices(t)
	s := newSink(t, rnd)
	f := newTail(t, t.TempDir(), small, s)
	c := newClient(f.url)
	f.start(t)
	stop := c.load(t, rnd)
	second := newTail(t, f.data, small, s)
	said := second.refused(t)
	require.Contains(t, said, fmt.Sprintf("data folder %s: another process uses it: process %d", f.data, f.process.PID()))
	least := c.acknowledged() + 1000
	await(t, "the first one goes on", func() bool { f.requireRunning(t); return c.acknowledged() > least })
	stop()
	f.requireDrained(t)
	s.requireAll(t, c, nil)
}
