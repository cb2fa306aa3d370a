//go:build e2e

package e2e

import (
	"bytes"
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

// patience bounds every wait for a condition.
const patience = time.Minute

// event is one line at flusher_file.
type event struct {
	Schema           int       `json:"schema_version"`
	ID               string    `json:"event_id"`
	Time             time.Time `json:"event_time"`
	Kind             string    `json:"kind"`
	Source           string    `json:"source"`
	Cluster          string    `json:"cluster"`
	JobID            string    `json:"job_id"`
	JobName          string    `json:"job_name"`
	From             string    `json:"status_from"`
	To               string    `json:"status_to"`
	Terminal         *bool     `json:"terminal"`
	Scope            string    `json:"failure_scope"`
	Severity         string    `json:"severity"`
	ExceptionClass   string    `json:"exception_class"`
	ExceptionMessage string    `json:"exception_message"`
	RootClass        string    `json:"root_class"`
	RootMessage      string    `json:"root_message"`
	StackTrace       string    `json:"stack_trace"`
	Chain            []cause   `json:"exception_chain"`
	Lineage          *lineage  `json:"lineage"`
	Dropped          int       `json:"source_dropped"`
}

type cause struct{ Class, Message string }

type lineage struct {
	Sources, Sinks []dataset
	Relations      []struct{ Source, Sink dataset }
}

type dataset struct {
	Namespace, Name, Connector string
	Options                    map[string]string
}

// status is the part of /api/status that the tests read.
type status struct {
	Pipelines []struct {
		Name   string
		Ledger struct {
			Accepted, Generated, Filtered, Rejected, Appended int
		}
		Flushers []flusherStatus
	}
}

type flusherStatus struct {
	Name         string
	Delivered    int
	Filtered     int
	DeadLettered int `json:"dead_lettered"`
	Corrupt      int
	Queued       int
	Recovered    int
	Appended     int
}

// tail is a flinktail with input_http in front of flusher_file, which gets everything, and flusher_stdout, which
// gets the failures. It may be stopped and started again.
type tail struct {
	dir, url string
	process  *servers.Process
	earlier  int // lines at flusher_file when the process started
}

// startTail starts a flinktail whose flusher_file waits so long for more before it writes, and points the gates at it.
func startTail(t testing.TB, linger time.Duration, gates ...*gate) *tail {
	t.Helper()
	ports, err := servers.FreePorts(1)
	require.NoError(t, err)
	f := &tail{dir: t.TempDir(), url: fmt.Sprintf("http://127.0.0.1:%d", ports[0])}
	config, err := json.Marshal(map[string]any{
		"inputs": []any{map[string]any{
			"type":   "input_http",
			"detail": map[string]any{"Address": fmt.Sprintf("127.0.0.1:%d", ports[0])},
		}},
		"flushers": []any{
			map[string]any{
				"type": "flusher_file", "detail": map[string]any{"FileName": f.eventsFile()},
				"Batch": map[string]any{"MaxAge": linger.String()},
			},
			map[string]any{
				"type": "flusher_stdout", "detail": map[string]any{"OnlyStdout": true},
				"Match": map[string]any{"kind": "job_failure"},
			},
		},
	})
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(f.path("e2e.json"), config, 0o600))
	f.start(t)
	t.Cleanup(func() {
		for _, g := range gates {
			g.forward("")
		}
		f.process.Stop(patience)
		if t.Failed() {
			t.Logf("flinktail's log:\n%s", f.process.Tail(50))
		}
	})
	for _, g := range gates {
		g.forward(f.url)
	}
	return f
}

func (f *tail) path(name string) string { return filepath.Join(f.dir, name) }
func (f *tail) eventsFile() string      { return f.path("events.ndjson") }

// start starts the process and waits until it is ready.
func (f *tail) start(t testing.TB) {
	t.Helper()
	if _, err := os.Stat(f.eventsFile()); err == nil {
		f.earlier = len(lines(t, f.eventsFile()))
	}
	address := f.path("data/admin.addr")
	if err := os.Remove(address); err != nil {
		require.ErrorIs(t, err, fs.ErrNotExist)
	}
	stdout, err := os.OpenFile(f.path("stdout.ndjson"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	require.NoError(t, err)
	defer stdout.Close()
	cmd := exec.Command(binary(t), "run", "-config", f.path("e2e.json"), "-data-dir", f.path("data"), "-admin-address", "127.0.0.1:0")
	cmd.Stdout = stdout
	f.process, err = servers.StartProcess(cmd, f.path("flinktail.log"))
	require.NoError(t, err)
	await(t, "flinktail is ready", func() bool {
		select {
		case <-f.process.Done():
			require.FailNow(t, "flinktail ended", f.process.Tail(50))
		default:
		}
		return f.get("/readyz", nil) == nil
	})
}

// get asks the admin server.
func (f *tail) get(path string, into any) error {
	address, err := os.ReadFile(f.path("data/admin.addr"))
	if err != nil {
		return err
	}
	response, err := http.Get("http://" + strings.TrimSpace(string(address)) + path)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		return err
	}
	if response.StatusCode != http.StatusOK {
		return errors.New(response.Status)
	}
	if into == nil {
		return nil
	}
	return json.Unmarshal(text, into)
}

// events returns what is at flusher_file. A line that is no event fails the test.
func (f *tail) events(t testing.TB) []event {
	t.Helper()
	return decode(t, lines(t, f.eventsFile()))
}

// failures returns what is at flusher_stdout.
func (f *tail) failures(t testing.TB) []event {
	t.Helper()
	return decode(t, lines(t, f.path("stdout.ndjson")))
}

// requireLedger waits until the queue is empty and asserts that flinktail can account for every event, and that
// its account agrees with what is at the sinks.
func (f *tail) requireLedger(t testing.TB) {
	t.Helper()
	var s status
	await(t, "the queue is empty", func() bool {
		require.NoError(t, f.get("/api/status", &s))
		for _, flusher := range s.Pipelines[0].Flushers {
			if flusher.Queued > 0 {
				return false
			}
		}
		return true
	})
	require.Len(t, s.Pipelines, 1)
	in := s.Pipelines[0].Ledger
	require.Equal(t, in.Accepted+in.Generated, in.Filtered+in.Rejected+in.Appended, "%+v", in)
	require.Len(t, s.Pipelines[0].Flushers, 2)
	for _, o := range s.Pipelines[0].Flushers {
		require.Zero(t, o.Queued, "%+v", o)
		require.Equal(t, o.Recovered+o.Appended, o.Delivered+o.Filtered+o.DeadLettered+o.Corrupt+o.Queued, "%+v", o)
		require.Zero(t, o.DeadLettered+o.Corrupt, "%+v", o)
	}
	all := f.events(t)[f.earlier:]
	require.Positive(t, len(all))
	require.Equal(t, len(all), in.Accepted+s.Pipelines[0].Flushers[0].Recovered, "%+v", in)
	require.Equal(t, len(all), s.Pipelines[0].Flushers[0].Delivered, "lines at flusher_file")
	failures := 0
	for _, e := range all {
		if e.Kind == "job_failure" {
			failures++
		}
	}
	if f.earlier == 0 { // else flusher_file may have got again what flusher_stdout need not get again
		require.Equal(t, failures, s.Pipelines[0].Flushers[1].Delivered, "lines at flusher_stdout")
		require.Equal(t, len(all)-failures, s.Pipelines[0].Flushers[1].Filtered, "not for flusher_stdout")
	}
}

// requireUnique asserts that no event came twice and that the sources dropped none.
func requireUnique(t testing.TB, events []event) {
	t.Helper()
	seen := map[string]bool{}
	for _, e := range events {
		require.NotEmpty(t, e.ID)
		require.False(t, seen[e.ID], "%s came twice", e.ID)
		seen[e.ID] = true
		require.Zero(t, e.Dropped, "%s reports dropped events", e.ID)
	}
}

// lines returns the complete lines of a file, none when it does not exist yet.
func lines(t testing.TB, file string) [][]byte {
	t.Helper()
	text, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	require.NoError(t, err)
	all := bytes.SplitAfter(text, []byte("\n"))
	return all[:len(all)-1]
}

func decode(t testing.TB, lines [][]byte) []event {
	t.Helper()
	events := make([]event, len(lines))
	for i, line := range lines {
		require.NoError(t, json.Unmarshal(line, &events[i]), "line %d: %s", i+1, line)
	}
	return events
}

// of filters events by job and kind.
func of(events []event, jobID, kind string) []event {
	var some []event
	for _, e := range events {
		if e.JobID == jobID && e.Kind == kind {
			some = append(some, e)
		}
	}
	return some
}

// statuses returns a job's status changes as text, in the order of the file.
func statuses(events []event, jobID string) []string {
	var all []string
	for _, e := range of(events, jobID, "job_status") {
		all = append(all, e.From+" > "+e.To)
	}
	return all
}

// await polls until the condition holds.
func await(t testing.TB, what string, condition func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !condition(); time.Sleep(20 * time.Millisecond) {
		require.True(t, time.Now().Before(deadline), "%s: not within %s", what, patience)
	}
}
