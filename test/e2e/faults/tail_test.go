//go:build e2e

package faults

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/flinktail/flinktail/test/servers"
)

// object is a JSON object.
type object = map[string]any

// status is the part of /api/status that the tests read.
type status struct {
	Queue  struct{ Events, MaxEvents int }
	Ledger struct {
		Accepted, Generated, Filtered, Rejected, Appended int
	}
	Flushers []flusherStatus
}

type flusherStatus struct {
	Name, State                                                             string
	LastError                                                               string `json:"last_error"`
	Recovered, Appended, Delivered, Filtered, Corrupt, Queued, DeadLettered int
}

func (s *flusherStatus) UnmarshalJSON(text []byte) error {
	type plain flusherStatus
	more := struct {
		*plain
		DeadLettered int `json:"dead_lettered"`
	}{plain: (*plain)(s)}
	err := json.Unmarshal(text, &more)
	s.DeadLettered = more.DeadLettered
	return err
}

// tail is a flinktail with one pipeline. It follows a file, or takes posts, or both.
type tail struct {
	dir     string
	url     string // of input_http
	process *servers.Process
	args    []string
}

// setup is what tests say of a pipeline.
type setup struct {
	global   object
	file     object // options of input_file, which follows eventsFile
	http     object // options of input_http; nil: there is none
	flushers []object
}

// quick makes a flusher try again sooner than a person would want.
func quick(flusher object, more ...object) object {
	all := object{"Retry": object{"Initial": "100ms", "Max": "2s"}}
	maps.Copy(all, flusher)
	for _, m := range more {
		maps.Copy(all, m)
	}
	return all
}

// newTail writes the configuration of a flinktail.
func newTail(t testing.TB, s setup) *tail {
	t.Helper()
	f := &tail{dir: t.TempDir()}
	require.NoError(t, os.WriteFile(f.eventsFile(), nil, 0o600))
	file := object{"FilePaths": []string{f.eventsFile()}, "PollInterval": "50ms"}
	maps.Copy(file, s.file)
	inputs := []object{{"type": "input_file", "detail": file}}
	if s.http != nil {
		ports, err := servers.FreePorts(1)
		require.NoError(t, err)
		address := fmt.Sprintf("127.0.0.1:%d", ports[0])
		f.url = "http://" + address + "/v1/events"
		detail := object{"Address": address}
		maps.Copy(detail, s.http)
		inputs = append(inputs, object{"type": "input_http", "detail": detail})
	}
	config := object{"inputs": inputs, "flushers": s.flushers}
	if s.global != nil {
		config["global"] = s.global
	}
	text, err := json.Marshal(config)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(f.path("faults.json"), text, 0o600))
	f.args = []string{"run", "-config", f.path("faults.json"), "-data-dir", f.path("data"), "-admin-address", "127.0.0.1:0"}
	return f
}

// startTail starts a flinktail and waits until it runs.
func startTail(t testing.TB, s setup) *tail {
	t.Helper()
	f := newTail(t, s)
	f.start(t)
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("flinktail's log:\n%s", f.process.Tail(40))
		}
		f.process.Kill()
	})
	return f
}

func (f *tail) start(t testing.TB) {
	t.Helper()
	var err error
	f.process, err = servers.StartProcess(exec.Command(binary(t), f.args...), f.path("flinktail.log"))
	require.NoError(t, err)
	await(t, "flinktail runs", func() bool {
		f.requireAlive(t)
		_, err := f.ask()
		return err == nil
	})
}

func (f *tail) path(name string) string { return filepath.Join(f.dir, name) }
func (f *tail) eventsFile() string      { return f.path("events.ndjson") }

func (f *tail) requireAlive(t testing.TB) {
	t.Helper()
	select {
	case <-f.process.Done():
		require.FailNow(t, "flinktail ended", f.process.Tail(50))
	default:
	}
}

// ask asks the admin server for the pipeline's status.
func (f *tail) ask() (s status, err error) {
	address, err := os.ReadFile(f.path("data/admin.addr"))
	if err != nil {
		return s, err
	}
	response, err := http.Get("http://" + strings.TrimSpace(string(address)) + "/api/status")
	if err != nil {
		return s, err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		return s, err
	}
	var all struct{ Pipelines []status }
	if err := json.Unmarshal(text, &all); err != nil {
		return s, err
	}
	if len(all.Pipelines) != 1 {
		return s, errors.New("no pipeline yet")
	}
	return all.Pipelines[0], nil
}

func (f *tail) status(t testing.TB) status {
	t.Helper()
	f.requireAlive(t)
	s, err := f.ask()
	require.NoError(t, err)
	return s
}

// awaitDelivered waits until the first flusher has delivered so many events.
func (f *tail) awaitDelivered(t testing.TB, events int) {
	t.Helper()
	await(t, fmt.Sprintf("%d events are delivered", events), func() bool { return f.status(t).Flushers[0].Delivered >= events })
}

// awaitState waits until the first flusher is in a state, for a cause that it tells.
func (f *tail) awaitState(t testing.TB, state, cause string) {
	t.Helper()
	var last flusherStatus
	defer func() {
		if t.Failed() {
			t.Logf("last status: %+v", last)
		}
	}()
	await(t, "flusher is "+state+": "+cause, func() bool {
		last = f.status(t).Flushers[0]
		return last.State == state && strings.Contains(strings.ToLower(last.LastError), strings.ToLower(cause))
	})
}

// settle waits until all that was sent is settled, asserts the ledger, and ends flinktail in order.
func (f *tail) settle(t testing.TB, sent int) status {
	t.Helper()
	var s status
	defer func() {
		if t.Failed() {
			t.Logf("last status: %+v", s)
		}
	}()
	await(t, "everything is settled", func() bool {
		s = f.status(t)
		require.Equal(t, s.Ledger.Accepted+s.Ledger.Generated, s.Ledger.Filtered+s.Ledger.Rejected+s.Ledger.Appended, "%+v", s)
		queued := 0
		for _, o := range s.Flushers {
			require.Equal(t, o.Recovered+o.Appended, o.Delivered+o.Filtered+o.DeadLettered+o.Corrupt+o.Queued, "%+v", s)
			queued += o.Queued
		}
		return s.Ledger.Accepted >= sent && queued == 0
	})
	require.True(t, f.process.Stop(patience), "stops by itself")
	require.Zero(t, f.process.ExitCode(), f.process.Tail(20))
	require.Contains(t, f.process.Log(), "everything is settled")
	return s
}

// letter is a dead letter as flinktail prints it.
type letter struct {
	Plugin, Reason, Error string
	ID                    string `json:"event_id"`
}

// letters returns the dead letters.
func (f *tail) letters(t testing.TB) []letter {
	t.Helper()
	out, err := exec.Command(binary(t), "deadletter", "show", "-data-dir", f.path("data")).Output()
	require.NoError(t, err)
	var all []letter
	lines := bufio.NewScanner(bytes.NewReader(out))
	lines.Buffer(nil, 64<<20)
	for lines.Scan() {
		var l letter
		require.NoError(t, json.Unmarshal(lines.Bytes(), &l), lines.Text())
		all = append(all, l)
	}
	require.NoError(t, lines.Err())
	return all
}

// peakMemory returns the most memory that the process had, in bytes.
func (f *tail) peakMemory(t testing.TB) int {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", f.process.PID()))
	require.NoError(t, err)
	_, rest, found := strings.Cut(string(text), "VmHWM:")
	require.True(t, found)
	kilobytes, err := strconv.Atoi(strings.Fields(rest)[0])
	require.NoError(t, err)
	return kilobytes << 10
}

// account compares what was sent with what is at a destination and in a flusher's dead letters, and adds a row to the table.
type account struct {
	fault       string
	destination destination
	flusher     int      // index in the pipeline
	sent        []string // event ids
	dead        []string // those that have to become dead letters
	anyDead     bool     // whichever become dead letters instead
	began       time.Time
}

func (a account) require(t testing.TB, f *tail, s status) {
	t.Helper()
	delivered, duplicates := count(a.destination.ids(t))
	dead := map[string]letter{}
	for _, l := range f.letters(t) {
		if l.Plugin == s.Flushers[a.flusher].Name {
			dead[l.ID] = l
		}
	}
	var lost, strange []string
	sent := make(map[string]bool, len(a.sent))
	for _, id := range a.sent {
		sent[id] = true
		if _, isDead := dead[id]; !isDead && !delivered[id] {
			lost = append(lost, id)
		}
	}
	for id := range delivered {
		if !sent[id] {
			strange = append(strange, id)
		}
	}
	addRow(row{
		fault: a.fault, destination: a.destination.String(), sent: len(sent), delivered: len(delivered),
		deadLetters: len(dead), duplicate: duplicates, lost: len(lost), took: time.Since(a.began),
	})
	require.NotEmpty(t, a.sent)
	require.Empty(t, head(lost), "%d events are lost", len(lost))
	require.Empty(t, head(strange), "%d events are delivered and were never sent", len(strange))
	if !a.anyDead {
		ids := make([]string, 0, len(dead))
		for id := range dead {
			ids = append(ids, id)
		}
		require.ElementsMatch(t, a.dead, ids, "dead letters: %+v", some(dead))
	}
	require.Equal(t, len(dead), s.Flushers[a.flusher].DeadLettered, "dead letters of the ledger")
	require.Zero(t, s.Flushers[a.flusher].Corrupt)
	if a.destination.exact() {
		require.Zero(t, duplicates, "duplicates")
	}
}

// head returns the first few ids, to show.
func head(ids []string) []string { return ids[:min(len(ids), 5)] }

// some returns a few dead letters, to show.
func some(letters map[string]letter) (few []letter) {
	for _, l := range letters {
		if few = append(few, l); len(few) == 3 {
			break
		}
	}
	return few
}

func count(ids []string) (unique map[string]bool, duplicates int) {
	unique = make(map[string]bool, len(ids))
	for _, id := range ids {
		unique[id] = true
	}
	return unique, len(ids) - len(unique)
}

// requireRefusal asserts that flinktail does not start, within StartTimeout, and says why in one line.
func requireRefusal(t *testing.T, flusher object, cause string) {
	t.Helper()
	f := newTail(t, setup{flushers: []object{flusher}})
	command := exec.Command(binary(t), f.args...)
	began := time.Now()
	process, err := servers.StartProcess(command, f.path("flinktail.log"))
	require.NoError(t, err)
	select {
	case <-process.Done():
	case <-time.After(startTimeout + 5*time.Second): // the machine may be busy
		process.Kill()
		require.FailNow(t, "flinktail has started, or does not give up", process.Log())
	}
	t.Logf("after %s: %s", time.Since(began).Round(10*time.Millisecond), process.Log())
	require.Equal(t, 1, process.ExitCode(), process.Log())
	lines := strings.Split(strings.TrimSpace(process.Log()), "\n")
	require.Len(t, lines, 1, process.Log())
	require.Contains(t, strings.ToLower(lines[0]), strings.ToLower(cause))
	require.Contains(t, lines[0], flusher["type"])
}

// startTimeout is the default of --start-timeout.
const startTimeout = 5 * time.Second
