//go:build e2e

package faults

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestReload reloads 50 times under full load, each time with other options of the input, the flusher or what stands beside its detail,
// and now and then with a configuration that is wrong. Nothing is lost, nothing comes twice.
func TestReload(t *testing.T) {
	t.Parallel()
	const posters, size, reloads = 8, 100, 50
	s := newHTTPServer(t)
	began := time.Now()
	f := startTail(t, setup{global: object{"Queue": object{"Type": "disk"}}, http: object{}, flushers: []object{s.flusher()}})
	p := newPosts(f.url)
	stop := p.pour(t, posters, size)
	f.awaitDelivered(t, 1000)
	good, err := os.ReadFile(f.path("faults.json"))
	require.NoError(t, err)
	for n := range reloads {
		if n%10 == 9 {
			require.NoError(t, os.WriteFile(f.path("faults.json"), bytes.Replace(good, []byte(`"RemoteURL"`), []byte(`"RemoteUrl"`), 1), 0o600))
			code, out := f.reload(t)
			require.Equal(t, 78, code, out)
			require.Contains(t, out, `unknown field; upper and lower case count, write "RemoteURL"`)
		}
		require.NoError(t, os.WriteFile(f.path("faults.json"), variant(t, good, n), 0o600))
		mark := f.status(t).Flushers[0].Delivered
		code, out := f.reload(t)
		require.Zero(t, code, out)
		f.awaitDelivered(t, mark+1) // it goes on
	}
	stop()
	sent := p.ids
	now := f.settle(t, len(sent))
	account{fault: fmt.Sprint(reloads, " reloads"), destination: s, sent: sent, began: began}.require(t, f, now)
	_, duplicates := count(s.ids(t))
	require.Zero(t, duplicates)
}

// variant returns the configuration with another option of the input, the flusher, or beside the flusher's detail.
func variant(t *testing.T, text []byte, n int) []byte {
	t.Helper()
	var config struct {
		Global   object   `json:"global"`
		Inputs   []object `json:"inputs"`
		Flushers []object `json:"flushers"`
	}
	require.NoError(t, json.Unmarshal(text, &config))
	flusher := config.Flushers[0]
	flusher["detail"].(object)["Headers"] = object{"X-Version": fmt.Sprint(n)}
	switch n % 3 {
	case 0:
		flusher["Workers"] = 1 + n%4
		flusher["Batch"] = object{"MaxEvents": 100 + n}
	case 1:
		config.Inputs[1]["detail"].(object)["MaxDepth"] = 10 + n
	}
	text, err := json.Marshal(config)
	require.NoError(t, err)
	return text
}

// reload runs flinktail reload.
func (f *tail) reload(t *testing.T) (code int, out string) {
	t.Helper()
	command := exec.Command(binary(t), "reload", "-data-dir", f.path("data"))
	text, _ := command.CombinedOutput() // the exit code tells
	return command.ProcessState.ExitCode(), string(text)
}
