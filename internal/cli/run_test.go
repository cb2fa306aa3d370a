package cli

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/flinktail/flinktail/internal/config"
	"github.com/flinktail/flinktail/pipeline"
)

func TestRunOnce(t *testing.T) {
	inFolder(t, map[string]string{"a.json": sample(t, "input_numbers", "", "", "")})
	r := run("run", "--once", "-config", "a.json", "-admin-address", "127.0.0.1:0")
	require.Equal(t, exitOK, r.code, r.stderr)
	require.Empty(t, r.stdout, "the standard output belongs to flusher_stdout")
	require.Equal(t, []string{"job 1 1 2026-01-05T08:00:00Z", "job 2 2 2026-01-05T08:00:01Z", "job 3 3 2026-01-05T08:00:02Z"}, delivered(t))
	require.NoFileExists(t, "data/admin.addr")
	info, err := os.Stat("data")
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o700), info.Mode().Perm())
}

func TestRunIsTheDefaultCommand(t *testing.T) {
	inFolder(t, map[string]string{"a.json": sample(t, "input_numbers", "", "", "")})
	r := run("-plugin", "a.json", "-once", "-admin-address=off", "-data-dir", "state", "-log-format", "text")
	require.Equal(t, exitOK, r.code, r.stderr)
	require.Len(t, delivered(t), 3)
	require.DirExists(t, "state/a")
	require.Contains(t, r.stderr, `level=INFO msg="flinktail runs"`)
	require.Contains(t, r.stderr, "admin=off")
}

func TestAdminPortInUse(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	inFolder(t, map[string]string{"a.json": sample(t, "input_numbers", "", "", "")})
	r := run("-config", "a.json", "-once", "-admin-address", l.Addr().String())
	require.Equal(t, exitRunTime, r.code)
	require.Equal(t, 1, strings.Count(r.stderr, "\n"), r.stderr)
	require.Contains(t, r.stderr, "flinktail: admin address "+l.Addr().String()+": ")
	require.Contains(t, r.stderr, "address already in use")
	require.Empty(t, delivered(t))
}

func TestAPluginThatCannotStart(t *testing.T) {
	inFolder(t, map[string]string{"a.json": sample(t, "input_idle", `"Fails": true`, "", "")})
	r := run("-config", "a.json", "-admin-address", "127.0.0.1:0")
	require.Equal(t, exitRunTime, r.code)
	require.Equal(t, "flinktail: pipeline a: inputs[0] (input_idle): listen on 127.0.0.1:1: in use\n", r.stderr)
	require.NoFileExists(t, "data/admin.addr")
}

// process is flinktail as a process of its own.
type process struct {
	*exec.Cmd
	t      *testing.T
	stderr *bufio.Reader
}

func startProcess(t *testing.T, args ...string) *process {
	t.Helper()
	self, err := os.Executable()
	require.NoError(t, err)
	cmd := exec.Command(self, args...)
	cmd.Env = append(os.Environ(), "FLINKTAIL_TEST_PROCESS=1")
	stderr, err := cmd.StderrPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	return &process{cmd, t, bufio.NewReader(stderr)}
}

// waitFor reads the log up to a line that holds text.
func (p *process) waitFor(text string) string {
	p.t.Helper()
	defer time.AfterFunc(time.Minute, func() { _ = p.Process.Kill() }).Stop()
	for {
		line, err := p.stderr.ReadString('\n')
		if strings.Contains(line, text) {
			return line
		}
		require.NoError(p.t, err, "before a line with %q; last: %s", text, line)
	}
}

func (p *process) end() (code int, rest string) {
	p.t.Helper()
	text, err := io.ReadAll(p.stderr)
	require.NoError(p.t, err)
	_ = p.Wait() // the exit code tells
	return p.ProcessState.ExitCode(), string(text)
}

func TestRunUntilASignal(t *testing.T) {
	inFolder(t, map[string]string{"c/a.json": sample(t, "input_idle", "", "", ""), "c/b.json": sample(t, "input_numbers", "", "", "")})
	for _, signal := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT} {
		p := startProcess(t, "-config", "c", "-admin-address", "127.0.0.1:0")
		var line struct {
			Pipelines []string
			Admin     string
		}
		require.NoError(t, json.Unmarshal([]byte(p.waitFor("flinktail runs")), &line))
		require.Equal(t, []string{"a: input_idle -> flusher_picky", "b: input_numbers -> flusher_picky"}, line.Pipelines)
		address, err := os.ReadFile("data/admin.addr")
		require.NoError(t, err)
		require.Equal(t, line.Admin, "http://"+strings.TrimSpace(string(address)))

		require.Eventually(t, func() bool { return get(t, line.Admin+"/readyz") == "ok\n" }, 10*time.Second, 10*time.Millisecond)
		require.Contains(t, get(t, line.Admin+"/api/status"), `"name": "flusher_picky"`)
		require.Contains(t, get(t, line.Admin+"/metrics"), "go_goroutines")

		require.NoError(t, p.Process.Signal(signal))
		code, rest := p.end()
		require.Equal(t, exitOK, code, rest)
		require.Contains(t, rest, "everything is settled")
		require.NoFileExists(t, "data/admin.addr")
	}
}

func TestASecondSignalExitsAtOnce(t *testing.T) {
	inFolder(t, map[string]string{"a.json": sample(t, "input_idle", `"Deaf": true`, "", "")})
	p := startProcess(t, "-config", "a.json", "-admin-address", "off", "-stop-timeout", "1h")
	p.waitFor("flinktail runs")
	require.NoError(t, p.Process.Signal(syscall.SIGTERM))
	p.waitFor("stopping; a second signal exits at once")
	require.NoError(t, p.Process.Signal(syscall.SIGINT))
	code, rest := p.end()
	require.Equal(t, exitRunTime, code)
	require.Contains(t, rest, "flinktail: second signal (interrupt), exiting at once")
}

func get(t *testing.T, url string) string {
	t.Helper()
	response, err := http.Get(url)
	require.NoError(t, err)
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	return string(body)
}

// Whatever went wrong while it stopped, it says what is left.
func TestWhatIsQueuedIsSaidAfterAStopThatFailed(t *testing.T) {
	inFolder(t, map[string]string{
		"c/a.json": sample(t, "input_idle", `"Deaf": true`, "", ""),
		"c/b.json": sample(t, "input_numbers", "", `"Down": true`, ""),
	})
	p := startProcess(t, "-config", "c", "-admin-address", "off", "-stop-timeout", "500ms")
	p.waitFor("delivery failed, retrying")
	require.NoError(t, p.Process.Signal(syscall.SIGTERM))
	code, rest := p.end()
	require.Equal(t, exitRunTime, code)
	require.Regexp(t, `what is queued is delivered after the next start.*queued"?[=:]3`, rest)
	require.Contains(t, rest, "flinktail: pipeline a: inputs did not end within 500ms")
}

func TestMemoryLimit(t *testing.T) {
	delivery := config.DefaultDelivery()
	delivery.Workers = 3
	p := &config.Pipeline{
		Global: config.DefaultGlobal(), Inputs: make([]config.Plugin, 2), Flushers: []config.Plugin{{Delivery: delivery}},
	}
	want := baseMemory + 2*inputMemory + pendingMemory + 3*4*4*pipeline.MiB
	require.Equal(t, want, memoryLimit([]*config.Pipeline{p}))
	inMemory := *p
	inMemory.Global.Queue = config.Queue{Type: config.QueueMemory, MaxBytes: pipeline.GiB}
	require.Equal(t, baseMemory+2*inputMemory+pipeline.GiB+3*2*4*pipeline.MiB, memoryLimit([]*config.Pipeline{&inMemory}))

	before := debug.SetMemoryLimit(-1)
	defer debug.SetMemoryLimit(before)
	t.Setenv("GOMEMLIMIT", "1GiB")
	setMemoryLimit([]*config.Pipeline{p})
	require.Equal(t, before, debug.SetMemoryLimit(-1), "the user's wins")
	t.Setenv("GOMEMLIMIT", "")
	setMemoryLimit([]*config.Pipeline{p})
	require.Equal(t, int64(want), debug.SetMemoryLimit(-1))
}

func TestValidateConnect(t *testing.T) {
	inFolder(t, map[string]string{
		"up.json":   sample(t, "input_numbers", "", "", ""),
		"down.json": sample(t, "input_numbers", "", `"Down": true`, ""),
	})
	r := run("validate", "--connect", "-config", "up.json")
	require.Equal(t, exitOK, r.code, r.stderr)
	require.Regexp(t, `\nup\.json: flusher_picky: connect: ok \(\S+\)\n$`, r.stdout)
	require.Contains(t, r.stdout, "up.json: input_numbers: connect: nothing to try\n")

	r = run("validate", "--connect", "-config", "down.json")
	require.Equal(t, exitRunTime, r.code)
	require.Contains(t, r.stdout, "down.json: flusher_picky: connect: dial 127.0.0.1:1:; refused\n")
	require.Equal(t, "flinktail: connect: 1 plugin failed\n", r.stderr)
}

// A destination that refuses us ends the start; one that is down does not.
func TestStartIsRefused(t *testing.T) {
	inFolder(t, map[string]string{
		"bad.json":  sample(t, "input_numbers", "", `"Locked": true`, ""),
		"down.json": sample(t, "input_numbers", `"Events": 0`, `"Down": true`, ""),
	})
	r := run("run", "-once", "-config", "bad.json", "-admin-address", "127.0.0.1:0")
	require.Equal(t, exitRunTime, r.code)
	require.Equal(t, "flinktail: pipeline bad: flusher_picky: wrong password for flinktail\n", r.stderr)
	require.NoFileExists(t, filepath.Join("data", "admin.addr"))

	r = run("run", "-once", "-config", "bad.json", "-admin-address", "off", "-start-timeout", "0s")
	require.Equal(t, exitOK, r.code, "nobody asked")
	require.FileExists(t, "delivered.ndjson")

	r = run("run", "-once", "-config", "down.json", "-admin-address", "off")
	require.Equal(t, exitOK, r.code)
	require.Contains(t, r.stderr, "destination cannot be reached yet; starting all the same")
}

// deaf heeds no context.
type deaf struct{}

func (deaf) Connect(context.Context) error { time.Sleep(time.Hour); return nil }

func TestConnectEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		require.ErrorContains(t, tryConnect(&picky{Hangs: true}), "no answer within 10s")
		require.Equal(t, connectTimeout, time.Since(start))
		require.ErrorContains(t, tryConnect(deaf{}), "no answer within 10s")
		time.Sleep(time.Hour) // until the deaf one has ended, too
	})
}

func TestDataDirIsWhereEverythingGoes(t *testing.T) {
	inFolder(t, map[string]string{"a.json": sample(t, "input_numbers", "", `"Refuses":["job 2"]`, "")})
	r := run("-config", "a.json", "-once", "-admin-address", "off", "-data-dir", "d/e")
	require.Equal(t, exitRunTime, r.code, r.stderr)
	require.Contains(t, r.stderr, `flinktail: 1 dead letter of 3 events; "flinktail deadletter show -data-dir d/e" prints them with the reasons`)
	require.FileExists(t, filepath.Join("d", "e", "a", "deadletter", "letters-000001.ndjson"))
	require.NoDirExists(t, "data")
}

func TestARefusedSecondProcessLeavesTheFirstItsAddress(t *testing.T) {
	inFolder(t, map[string]string{"c/a.json": sample(t, "input_idle", "", "", "")})
	p, url := startReloadable(t)
	r := run("-config", "c", "-admin-address", "127.0.0.1:0")
	require.Equal(t, exitRunTime, r.code)
	require.Contains(t, r.stderr, "one flinktail at a time may run on a data folder")
	require.Equal(t, "ok\n", get(t, url+"/readyz"))
	require.Equal(t, result{stdout: "reloaded\n"}, run("reload"))
	require.NoError(t, p.Process.Signal(syscall.SIGTERM))
	code, rest := p.end()
	require.Equal(t, exitOK, code, rest)
}

func TestAStartWithoutRoomForTheAddress(t *testing.T) {
	inFolder(t, map[string]string{"c/a.json": sample(t, "input_idle", "", "", "")})
	require.NoError(t, os.MkdirAll("data/admin.addr/x", 0o700)) // it cannot be replaced by a file
	p := startProcess(t, "-config", "c", "-admin-address", "127.0.0.1:0")
	p.waitFor("will not find this flinktail")
	p.waitFor("flinktail runs")
	require.NoError(t, p.Process.Signal(syscall.SIGTERM))
	code, rest := p.end()
	require.Equal(t, exitOK, code, rest)
}
