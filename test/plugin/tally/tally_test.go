package tally

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/flinktail/flinktail/pipeline/plugintest"
	"github.com/flinktail/flinktail/protocol"
)

// The contract suite needs a destination that holds events; this one holds numbers.
func TestCountsByKindAcrossRestarts(t *testing.T) {
	name := filepath.Join(t.TempDir(), "tally.json")
	for _, want := range []string{`{"checkpoint":1,"job_status":2}`, `{"checkpoint":2,"job_status":4}`} {
		f := &Flusher{FileName: name}
		require.NoError(t, f.Validate())
		require.NoError(t, f.Init(plugintest.NewContext(t, "flusher_tally")))
		require.True(t, f.IsReady("", "", 0))
		require.NoError(t, f.Flush("", "", "", groups("job_status", "checkpoint", "job_status")))
		text, err := os.ReadFile(name)
		require.NoError(t, err)
		require.JSONEq(t, want, string(text))
		require.NoError(t, f.Stop())
		require.Error(t, f.Flush("", "", "", groups("job_status")))
	}
}

func groups(kinds ...string) []*protocol.LogGroup {
	b := protocol.NewBuilder()
	b.BeginGroup("", "")
	for _, kind := range kinds {
		b.BeginLog(1767600000, 0)
		b.Add("kind", kind)
		b.EndLog()
	}
	return b.Groups()
}
