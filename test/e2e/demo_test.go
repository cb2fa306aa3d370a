//go:build e2e

package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/flinktail/flinktail/test/servers"
)

// The demo shows what it promises, and Ctrl-C leaves no process and no file behind.
func TestDemo(t *testing.T) {
	demo, flinktail := filepath.Join(scratch, "demo"), binary(t)
	build := exec.Command("go", "build", "-o", demo, "./test/demo")
	build.Dir = servers.Tree()
	out, err := build.CombinedOutput()
	require.NoError(t, err, "%s", out)

	temp, logs := t.TempDir(), t.TempDir()
	stdout, err := os.Create(filepath.Join(logs, "events.ndjson"))
	require.NoError(t, err)
	defer stdout.Close()
	cmd := exec.Command(demo, flinktail)
	cmd.Env = append(os.Environ(), "TMPDIR="+temp)
	cmd.Stdout = stdout
	process, err := servers.StartProcess(cmd, filepath.Join(logs, "demo.log"))
	require.NoError(t, err)
	t.Cleanup(func() { process.Stop(patience) })

	ends := []string{"orders-import FINISHED", "orders-report FINISHED", "orders-enrichment FINISHED", "orders-parser FAILED", "orders-stream CANCELED"}
	var seen []string
	await(t, "all jobs have ended on the terminal", func() bool {
		seen = nil
		for _, e := range decode(t, lines(t, stdout.Name())) {
			if e.Terminal != nil && *e.Terminal {
				seen = append(seen, e.JobName+" "+e.To)
			}
		}
		select {
		case <-process.Done():
			require.FailNow(t, "the demo ended", process.Log())
		default:
		}
		return len(seen) >= len(ends)
	})
	require.ElementsMatch(t, ends, seen)
	require.Len(t, processesIn(t, temp), 3, "JobManager, TaskManager, flinktail")

	require.NoError(t, syscall.Kill(process.PID(), syscall.SIGINT))
	require.Zero(t, process.ExitCode(), process.Log())
	require.True(t, strings.HasSuffix(process.Log(), "nothing is left running\n"), process.Log())
	require.Empty(t, processesIn(t, temp))
	left, err := os.ReadDir(temp)
	require.NoError(t, err)
	require.Empty(t, left)
}

// processesIn returns the command lines of the processes that were started with files of a folder.
func processesIn(t testing.TB, folder string) []string {
	t.Helper()
	files, err := filepath.Glob("/proc/[0-9]*/cmdline")
	require.NoError(t, err)
	var found []string
	for _, file := range files {
		line, err := os.ReadFile(file)
		if err == nil && strings.Contains(string(line), folder) { // an error means that it has ended
			found = append(found, string(line))
		}
	}
	return found
}
