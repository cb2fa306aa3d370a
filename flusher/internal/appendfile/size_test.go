package appendfile

import (
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// A write that fails is cut back to the size that is remembered between two looks at the file: were that too small, what was
// acknowledged would be cut off.
func TestSizeBetweenTwoLooksIsWhatWasWritten(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x")
	f, err := Open(path, Options{Logger: slog.New(slog.DiscardHandler)})
	require.NoError(t, err)
	t.Cleanup(func() { _ = f.Close() })
	for range 3 {
		size, err := f.Size()
		require.NoError(t, err)
		require.NoError(t, f.Append([]byte("{}\n"), size))
		f.looked = time.Now().Add(time.Hour) // no second look
	}
	size, err := f.Size()
	require.NoError(t, err)
	info, err := os.Stat(path)
	require.NoError(t, err)
	require.Equal(t, info.Size(), size)

	require.NoError(t, os.Rename(path, path+".away"))
	f.looked = time.Time{}
	_, err = f.Size()
	require.ErrorIs(t, err, ErrMoved)
}
