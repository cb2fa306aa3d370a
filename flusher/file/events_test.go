package file

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/flinktail/flinktail/pipeline/flushertest"
	"github.com/flinktail/flinktail/pipeline/plugintest"
	"github.com/flinktail/flinktail/protocol"
	"github.com/flinktail/flinktail/protocol/flink"
)

// group makes a group of events from JSON lines.
var group = flushertest.Groups

// numbered makes n events with the ids from, from+1, …
func numbered(t testing.TB, from, n int, more string) []*protocol.LogGroup {
	t.Helper()
	lines := make([]string, n)
	for i := range lines {
		lines[i] = fmt.Sprintf(`{"event_id":"%d"%s}`, from+i, more)
	}
	return group(t, lines...)
}

// started returns a running flusher for dir/events.log, changed by choose.
func started(t testing.TB, dir string, choose ...func(*Flusher)) *Flusher {
	t.Helper()
	f, _ := startedWithContext(t, dir, choose...)
	return f
}

func startedWithContext(t testing.TB, dir string, choose ...func(*Flusher)) (*Flusher, *plugintest.Context) {
	t.Helper()
	f := New()
	f.FileName = filepath.Join(dir, "events.log")
	for _, c := range choose {
		c(f)
	}
	require.NoError(t, f.Validate())
	c := plugintest.NewContext(t, "flusher_file")
	require.NoError(t, f.Init(c))
	t.Cleanup(func() { require.NoError(t, f.Stop()) })
	return f, c
}

func flush(f *Flusher, groups []*protocol.LogGroup) error {
	return f.Flush("project", "logstore", "config", groups)
}

// ids reads the event ids of every file below dir.
func ids(t testing.TB, dir string) (ids []string) {
	t.Helper()
	for _, e := range eventsUnder(t, dir) {
		ids = append(ids, idOf(t, e))
	}
	return ids
}

func idOf(t testing.TB, event []byte) string {
	t.Helper()
	g := group(t, string(event))
	return protocol.Value(g[0].Logs[0], flink.FieldEventID)
}

// idsFrom returns "from", …, "to".
func idsFrom(from, to int) (ids []string) {
	for i := from; i <= to; i++ {
		ids = append(ids, fmt.Sprint(i))
	}
	return ids
}

func files(t testing.TB, dir string) (names []string) {
	t.Helper()
	require.NoError(t, filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			names = append(names, strings.TrimPrefix(path, dir+"/"))
		}
		return err
	}))
	return names
}
