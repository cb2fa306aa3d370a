//go:build e2e

package crash

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/flinktail/flinktail/test/servers"
)

type object = map[string]any

const pipelineName = "crash"

// tail is a flinktail with a queue on disk between input_http and a flusher for each sink.
type tail struct {
	config, data, log string // paths
	url               string // of input_http
	admin             string // address; empty as long as it is not known
	process           *servers.Process
}

// small makes a queue have segments of 256 KiB.
var small = object{"MaxBytes": "4MiB"}

// newTail configures a flinktail; start starts it. Every second sink gets the events over several lanes.
func newTail(t testing.TB, dataDir string, queue object, sinks ...*sink) *tail {
	t.Helper()
	dir := t.TempDir()
	ports, err := servers.FreePorts(1)
	require.NoError(t, err)
	address := fmt.Sprintf("127.0.0.1:%d", ports[0])
	f := &tail{
		config: filepath.Join(dir, pipelineName+".json"), data: dataDir, log: filepath.Join(dir, "flinktail.log"), url: "http://" + address,
	}
	var flushers []object
	for i, s := range sinks {
		flushers = append(flushers, object{
			"type": fmt.Sprintf("flusher_http/%d", i), "detail": object{"RemoteURL": s.url}, "Workers": 1 + 3*(i%2),
			"Batch": object{"MaxEvents": 300}, "Retry": object{"Initial": "10ms", "Max": "100ms"},
		})
	}
	queue["Type"] = "disk"
	config, err := json.Marshal(object{
		"global":   object{"Queue": queue},
		"inputs":   []object{{"type": "input_http", "detail": object{"Address": address, "FullWait": "100ms", "AckTimeout": "2s"}}},
		"flushers": flushers,
	})
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(f.config, config, 0o600))
	f.cleanUp(t)
	return f
}

// cleanUp ends the process with the test.
func (f *tail) cleanUp(t testing.TB) {
	t.Cleanup(func() {
		if f.process == nil {
			return
		}
		f.process.Kill()
		if t.Failed() {
			t.Logf("flinktail's log:\n%s", f.process.Tail(50))
		}
	})
}

func (f *tail) queue() string { return filepath.Join(f.data, pipelineName, "queue") }

// launch starts the process. It returns before that does anything.
func (f *tail) launch(t testing.TB) {
	t.Helper()
	if err := os.Remove(f.addressFile()); err != nil {
		require.ErrorIs(t, err, fs.ErrNotExist)
	}
	f.admin = ""
	var err error
	f.process, err = servers.StartProcess(exec.Command(executable(t), "run", "-config", f.config, "-data-dir", f.data, "-admin-address", "127.0.0.1:0",
		"-stop-timeout", patience.String(), "-start-timeout", "0s"), f.log)
	require.NoError(t, err)
}

func (f *tail) addressFile() string { return filepath.Join(f.data, "admin.addr") }

// start starts the process and waits until it is ready.
func (f *tail) start(t testing.TB) {
	t.Helper()
	f.launch(t)
	await(t, "flinktail is ready", func() bool {
		f.requireRunning(t)
		return f.ready() == nil
	})
}

// ready returns what /readyz says: nil, or why not.
func (f *tail) ready() error { return f.get("/readyz", nil) }

func (f *tail) requireRunning(t testing.TB) {
	t.Helper()
	select {
	case <-f.process.Done():
		require.FailNow(t, "flinktail ended", "exit code %d:\n%s", f.process.ExitCode(), f.process.Tail(50))
	default:
	}
}

// kill ends the process with SIGKILL. It must not have ended before.
func (f *tail) kill(t testing.TB) {
	t.Helper()
	f.requireRunning(t)
	f.process.Kill()
}

// stop ends the process in order.
func (f *tail) stop(t testing.TB) {
	t.Helper()
	require.True(t, f.process.Stop(patience), f.process.Tail(20))
	require.Zero(t, f.process.ExitCode(), f.process.Tail(20))
}

// refused runs a process that must not start, and returns what it says.
func (f *tail) refused(t testing.TB) string {
	t.Helper()
	f.launch(t)
	select {
	case <-f.process.Done():
	case <-time.After(patience):
		require.FailNow(t, "it runs", f.process.Tail(20))
	}
	require.Positive(t, f.process.ExitCode(), f.process.Tail(20))
	return f.process.Log()
}

// get asks the admin server.
func (f *tail) get(path string, into any) error {
	if f.admin == "" {
		address, err := os.ReadFile(f.addressFile())
		if err != nil {
			return err
		}
		f.admin = strings.TrimSpace(string(address))
	}
	response, err := http.Get("http://" + f.admin + path)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		return err
	}
	if response.StatusCode != http.StatusOK {
		return errors.New(string(text))
	}
	if into == nil {
		return nil
	}
	return json.Unmarshal(text, into)
}

// status is the part of /api/status that the tests read.
type status struct {
	Ledger struct {
		Accepted, Generated, Filtered, Rejected, Appended int
	}
	Flushers []account
}

// account is what became of the events at one flusher.
type account struct {
	Name                         string
	Recovered, Appended          int
	Delivered, Filtered, Corrupt int
	DeadLettered                 int `json:"dead_lettered"`
	Queued                       int
}

// requireLedger asserts that flinktail can account for every event, at this moment.
func (f *tail) requireLedger(t testing.TB) status {
	t.Helper()
	var all struct{ Pipelines []status }
	require.NoError(t, f.get("/api/status", &all))
	require.Len(t, all.Pipelines, 1)
	s := all.Pipelines[0]
	require.Equal(t, s.Ledger.Accepted, s.Ledger.Appended, "%+v", s)
	require.Zero(t, s.Ledger.Generated+s.Ledger.Filtered+s.Ledger.Rejected, "%+v", s)
	for _, a := range s.Flushers {
		require.Equal(t, s.Ledger.Appended, a.Appended, "%+v", s)
		require.Equal(t, a.Recovered+a.Appended, a.Delivered+a.DeadLettered+a.Corrupt+a.Queued, "%+v", s)
		require.Zero(t, a.DeadLettered+a.Filtered, "%+v", s)
		require.GreaterOrEqual(t, a.Queued, 0, "%+v", s)
	}
	return s
}

// requireDrained waits until everything is delivered and asserts that this is so, and that a graceful stop leaves nothing for the next start.
func (f *tail) requireDrained(t testing.TB) {
	t.Helper()
	f.awaitEmpty(t, 0)
	f.stop(t)
	f.start(t)
	for _, a := range f.requireLedger(t).Flushers {
		require.Zero(t, a.Recovered, "%+v", a)
	}
	f.stop(t)
}

// awaitEmpty waits until nothing is queued. So many events must have turned out to be damaged.
func (f *tail) awaitEmpty(t testing.TB, corrupt int) {
	t.Helper()
	await(t, "the queue is empty", func() bool {
		for _, a := range f.requireLedger(t).Flushers {
			if a.Queued > 0 {
				return false
			}
		}
		return true
	})
	for _, a := range f.requireLedger(t).Flushers {
		require.Equal(t, corrupt, a.Corrupt, "%+v", a)
	}
}
