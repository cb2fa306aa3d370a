//go:build unix

package secrets

import (
	"bytes"
	"io/fs"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/flinktail/flinktail/pipeline"
)

// With a umask that hides nothing, nobody else can read what flinktail keeps for itself, and nobody outside the group what
// flusher_file writes for others.
func TestNobodyElseMayRead(t *testing.T) {
	flinktail := build(t)
	refusing := httptest.NewServer(repeat(400))
	defer refusing.Close()
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	config, data, output, events := at("modes.json"), at("data"), at("output"), at("events.ndjson")
	plugins := map[pipeline.Category][]any{pipeline.CategoryFlusher: {
		object{"type": "flusher_http", "detail": object{"RemoteURL": refusing.URL}},
		object{"type": "flusher_file", "Batch": object{"MaxEvents": 5}, "detail": object{"FileName": output + "/%{cluster}/events.ndjson", "Rotate": object{"MaxBytes": "100B"}, "Compress": "gzip"}},
	}}
	require.NoError(t, os.WriteFile(config, []byte(pipelineFile(t, plugins, events)), 0o600))
	require.NoError(t, os.WriteFile(events, bytes.Repeat([]byte(`{"kind":"job_status","cluster":"prod","message":"a line that is long enough to have files rotated"}`+"\n"), 20), 0o600))

	args := []string{"-c", `umask 0 && exec "$0" "$@"`, flinktail, "-config", config, "-data-dir", data, "-admin-address", "127.0.0.1:0"}
	p := start(t, "/bin/sh", args...)
	require.Eventually(t, func() bool {
		letters, _ := filepath.Glob(at("data/modes/deadletter/letters-*"))
		rotated, _ := filepath.Glob(at("output/prod/*.gz"))
		_, err := os.Stat(at("data/admin.addr"))
		return err == nil && len(letters) > 0 && len(rotated) > 0
	}, time.Minute, 20*time.Millisecond)
	requirePrivate(t, data, 0o077)
	out := p.stop(t)
	require.Contains(t, string(out), "has stopped")
	requirePrivate(t, data, 0o077)
	requirePrivate(t, output, 0o027)

	_, out = run(t, "/bin/sh", "-c", `umask 0 && exec "$0" "$@"`, flinktail, "deadletter", "replay", "-config", config, "-data-dir", data)
	require.NotEmpty(t, out)
	requirePrivate(t, data, 0o077)
}

// requirePrivate checks that nothing under dir, nor dir, has one of the permissions.
func requirePrivate(t *testing.T, dir string, forbidden fs.FileMode) {
	t.Helper()
	files := 0
	require.NoError(t, filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := entry.Info()
		require.NoError(t, err)
		require.Zero(t, info.Mode().Perm()&forbidden, "others may read %s: %s", path, info.Mode())
		files++
		return nil
	}))
	require.Greater(t, files, 3)
}
