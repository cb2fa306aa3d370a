//go:build e2e

package e2e

import (
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/flinktail/flinktail/test/servers"
)

// A JobManager with both jars works on every Java there is. Without a TaskManager its job fails for want of slots,
// which both listeners report.
func TestJavaVersions(t *testing.T) {
	cache, err := servers.CacheDir()
	require.NoError(t, err)
	out, err := exec.Command(filepath.Join(servers.Tree(), "listener", "jdks.sh"), filepath.Join(cache, "jdks")).Output()
	require.NoError(t, err)
	found := strings.Split(strings.TrimSpace(string(out)), "\n")
	require.NotEmpty(t, found[0], "no JDK at all")
	const noSlots = "org.apache.flink.runtime.jobmanager.scheduler.NoResourceAvailableException"

	for _, line := range found { // "VERSION HOME"
		version, home, _ := strings.Cut(line, " ")
		major, err := strconv.Atoi(version)
		require.NoError(t, err, line)
		t.Run(version, func(t *testing.T) {
			o := servers.Cluster{JavaHome: home, JobManager: true, Config: map[string]string{"slot.request.timeout": "300 ms"}}
			var wanted []string
			if major < 11 { // Flink 2 needs 11
				o.Version = servers.Flink1Version
			} else {
				wanted = []string{"CREATED > RUNNING", "RUNNING > FAILING", "FAILING > FAILED"}
			}
			c := startCluster(t, o)
			f := startTail(t, 0, c.gate)
			job := c.submit(t, "BoundedJob", "no slots", "100")
			c.ended(t, job, "FAILED")
			await(t, "the events are at the sink", func() bool {
				events := f.events(t)
				return len(of(events, job, "job_status")) >= len(wanted) && len(of(events, job, "job_failure")) >= 1
			})
			events := f.events(t)
			require.Equal(t, wanted, statuses(events, job))
			failures := of(events, job, "job_failure")
			require.Len(t, failures, 1)
			require.Contains(t, failures[0].StackTrace, noSlots)
			requireUnique(t, events)
			f.requireLedger(t)
		})
	}
}
