package appendfile

import (
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestRotationNeverOverwrites(t *testing.T) {
	path := filepath.Join(t.TempDir(), "events.log")
	now := time.Date(2026, 1, 5, 9, 0, 0, 123456789, time.FixedZone("", 3600))
	taken := map[string]string{
		path + ".20260105T080000.123Z":        "rotated",
		path + ".20260105T080000.124Z.gz":     "compressed",
		path + ".20260105T080000.125Z.gz.tmp": "being compressed",
	}
	for name, text := range taken {
		require.NoError(t, os.WriteFile(name, []byte(text), 0o600))
	}
	previous := ""
	for _, text := range []string{"a\n", "b\n", "c\n"} {
		f, err := Open(path, Options{Logger: slog.New(slog.NewTextHandler(io.Discard, nil))})
		require.NoError(t, err)
		require.NoError(t, f.Append([]byte(text), 0))
		rotated, err := f.Rotate(now)
		require.NoError(t, err)
		require.Greater(t, rotated, previous, "names do not sort by time")
		require.True(t, IsRotated(rotated))
		previous = rotated
		taken[rotated] = text
	}
	require.Equal(t, path+".20260105T080000.128Z", previous)
	for name, text := range taken {
		got, err := os.ReadFile(name)
		require.NoError(t, err)
		require.Equal(t, text, string(got), name)
	}
}

func TestIsRotated(t *testing.T) {
	for name, want := range map[string]bool{
		"x.20260105T080000.123Z": true, "x.20260105T080000.123Z.gz": true, "x.20260105T080000.123Z.gz.tmp": true,
		"x.20260105T080000.123": false, "x.20261305T080000.123Z": false, "x20260105T080000.123Z": false, "": false, "Z": false,
		"x.20260105T080000.123Z.log": false, "x.2026010aT080000.123Z": false, "x.gz": false,
	} {
		require.Equal(t, want, IsRotated(name), name)
	}
}

func TestSizeOfAFileThatIsGone(t *testing.T) {
	dir := t.TempDir()
	f, err := Open(filepath.Join(dir, "a", "b", "x"), Options{Sync: true, Logger: slog.New(slog.NewTextHandler(io.Discard, nil))})
	require.NoError(t, err)
	defer f.Close()
	require.NoError(t, os.RemoveAll(filepath.Join(dir, "a")))
	_, err = f.Size()
	require.ErrorIs(t, err, ErrMoved)
}
