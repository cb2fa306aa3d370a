package fileinput

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/flinktail/flinktail/pipeline"
	"github.com/flinktail/flinktail/pipeline/inputtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestContract(t *testing.T) {
	inputtest.Run(t, inputtest.Suite{
		Start: func(t testing.TB) *inputtest.Source {
			path := filepath.Join(t.TempDir(), "events.ndjson")
			write(t, path, "")
			in := New()
			in.FilePaths, in.PollInterval = []string{path}, 20*time.Millisecond
			return &inputtest.Source{
				New: func() pipeline.Input { return in },
				Feed: func(ids []string) func() bool {
					write(t, path, lines(ids...))
					end := size(t, path)
					return func() bool { return in.context != nil && storedOffset(t, in, path) >= end }
				},
			}
		},
		Broken: func(t testing.TB) map[string]pipeline.Input {
			missing, folder, loop := New(), New(), New()
			missing.FilePaths = []string{filepath.Join(t.TempDir(), "missing.ndjson")}
			folder.FilePaths = []string{t.TempDir()}
			link := filepath.Join(t.TempDir(), "loop")
			require.NoError(t, os.Symlink(link, link))
			loop.FilePaths = []string{link}
			return map[string]pipeline.Input{"missing file": missing, "a folder": folder, "a link to itself": loop}
		},
	})
}

// lines returns an event for each id.
func lines(ids ...string) string {
	var text strings.Builder
	for _, id := range ids {
		fmt.Fprintf(&text, `{"event_id":%q,"event_time":"2026-01-05T08:00:00.123Z","kind":"job_status"}`+"\n", id)
	}
	return text.String()
}

// write appends text to a file.
func write(t testing.TB, path, text string) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	require.NoError(t, err)
	_, err = f.WriteString(text)
	require.NoError(t, err)
	require.NoError(t, f.Close())
}

func size(t testing.TB, path string) int64 {
	t.Helper()
	info, err := os.Stat(path)
	require.NoError(t, err)
	return info.Size()
}

// storedOffset returns the position that a restart would begin at.
func storedOffset(t testing.TB, in *Input, path string) int64 {
	t.Helper()
	for _, p := range storedPositions(t, in.context.State()) {
		if p.Path == path {
			return p.Offset
		}
	}
	return 0
}
