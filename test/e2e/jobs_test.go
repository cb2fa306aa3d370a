//go:build e2e

package e2e

import (
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/flinktail/flinktail/test/servers"
)

// What Flink reports of the jobs, exactly and in order.
var (
	finishes  = []string{"CREATED > RUNNING", "RUNNING > FINISHED"}
	cancelled = []string{"CREATED > RUNNING", "RUNNING > CANCELLING", "CANCELLING > CANCELED"}
	recovers  = []string{"CREATED > RUNNING", "RUNNING > RESTARTING", "RESTARTING > RUNNING", "RUNNING > FINISHED"}
	fails     = []string{
		"CREATED > RUNNING", "RUNNING > RESTARTING", "RESTARTING > RUNNING", "RUNNING > RESTARTING", "RESTARTING > RUNNING",
		"RUNNING > FAILING", "FAILING > FAILED",
	}
)

func TestJobs(t *testing.T) {
	c := sharedCluster(t)
	f := startTail(t, 0, c.gate)
	begin, failedBefore := time.Now(), c.gate.failed()

	t.Run("finishes", func(t *testing.T) {
		job := c.submit(t, "BoundedJob", "finishes", "200")
		c.ended(t, job, "FINISHED")
		events := f.reported(t, job, len(finishes), 0)
		require.Equal(t, finishes, statuses(events, job))
		requireTerminal(t, of(events, job, "job_status"), true)
		requireNoLineage(t, of(events, job, "job_created"))
	})

	t.Run("fails", func(t *testing.T) {
		job := c.submit(t, "FailingJob", "fails", "3", "2", "10")
		c.ended(t, job, "FAILED")
		events := f.reported(t, job, len(fails), 3)
		require.Equal(t, fails, statuses(events, job))
		requireTerminal(t, of(events, job, "job_status"), true)
		requireFailures(t, of(events, job, "job_failure"))
		last := of(events, job, "job_status")[len(fails)-1]
		require.Equal(t, "error", last.Severity)
		require.Equal(t, "org.apache.flink.runtime.JobException", last.ExceptionClass)
		require.Equal(t, "java.lang.NumberFormatException", last.RootClass)
		require.Equal(t, `For input string: "x-7"`, last.RootMessage)
		require.Equal(t, of(events, job, "job_failure"), of(f.failures(t), job, "job_failure"), "flusher_stdout")
	})

	t.Run("recovers", func(t *testing.T) {
		job := c.submit(t, "FailingJob", "recovers", "1", "2", "10")
		c.ended(t, job, "FINISHED")
		events := f.reported(t, job, len(recovers), 1)
		require.Equal(t, recovers, statuses(events, job))
		requireTerminal(t, of(events, job, "job_status"), true)
	})

	t.Run("counted", func(t *testing.T) {
		job := c.submit(t, "FailingJob", "counted", "2", "2", "1000000")
		f.reported(t, job, 1+2*2, 2)
		await(t, "Flink's metrics have the failures", func() bool {
			count, err := c.Metric(t.Context(), job, "failureType.TASK.numJobFailure")
			return err == nil && count == "2"
		})
		require.NoError(t, c.Cancel(t.Context(), job))
		c.ended(t, job, "CANCELED")
		f.reported(t, job, 1+2*2+2, 2)
	})

	t.Run("cancelled", func(t *testing.T) {
		job := c.submit(t, "UnboundedJob", "cancelled")
		c.running(t, job)
		require.NoError(t, c.Cancel(t.Context(), job))
		c.ended(t, job, "CANCELED")
		events := f.reported(t, job, len(cancelled), 0)
		require.Equal(t, cancelled, statuses(events, job))
		requireTerminal(t, of(events, job, "job_status"), true)
	})

	t.Run("lineage", func(t *testing.T) {
		job := c.submit(t, "SqlJob", "lineage", t.TempDir())
		c.ended(t, job, "FINISHED")
		events := f.reported(t, job, len(finishes), 0)
		require.Equal(t, finishes, statuses(events, job))
		requireLineage(t, of(events, job, "job_created"))
	})

	t.Run("client", func(t *testing.T) {
		job := c.submitByClient(t, "SqlJob", "client", t.TempDir())
		c.ended(t, job, "FINISHED")
		events := f.reported(t, job, len(finishes), 0)
		require.Equal(t, finishes, statuses(events, job))
		created := of(events, job, "job_created")
		requireLineage(t, created)
		require.NotEqual(t, sender(of(events, job, "job_status")[0]), sender(created[0]), "the client itself reports the creation")
	})

	t.Run("initialization fails", func(t *testing.T) {
		// Flink tells no listener of such a job. The next job's events come after what would have come of it.
		_, err := c.Submit(t.Context(), c.jar, servers.Run{
			Class: servers.JobPackage + "BoundedJob", Args: []string{"uninitialized", "100"}, Savepoint: "file:///no/such/savepoint",
		})
		require.ErrorContains(t, err, "JobInitializationException")
		next := c.submit(t, "BoundedJob", "after", "100")
		c.ended(t, next, "FINISHED")
		for _, e := range f.reported(t, next, len(finishes), 0) {
			require.NotEqual(t, "uninitialized", e.JobName)
		}
	})

	events := f.events(t)
	requireUnique(t, events)
	f.requireLedger(t)
	for _, e := range events {
		require.Equal(t, 1, e.Schema)
		require.Equal(t, "e2e", e.Cluster)
		require.WithinRange(t, e.Time, begin.Add(-time.Second), time.Now())
	}
	require.Equal(t, failedBefore, c.gate.failed())
	requireQuick(t, events, c.gate.seen())
}

// requireQuick asserts that an event is at the sink, which the answer to its post proves, within a second.
func requireQuick(t testing.TB, events []event, posts []post) {
	t.Helper()
	settled := map[string]time.Time{}
	for _, p := range posts {
		for _, id := range p.ids {
			settled[id] = p.at
		}
	}
	var delays []time.Duration
	for _, e := range events {
		require.Contains(t, settled, e.ID)
		delays = append(delays, settled[e.ID].Sub(e.Time))
	}
	slices.Sort(delays)
	t.Logf("from the event to the sink: median %v, longest %v", delays[len(delays)/2], delays[len(delays)-1])
	require.Less(t, delays[len(delays)-1], time.Second)
}

// With the adaptive scheduler every restart is a cancelled execution graph and a new one, so CANCELED is no end.
func TestJobsAdaptive(t *testing.T) {
	c := startCluster(t, servers.Cluster{Config: map[string]string{"jobmanager.scheduler": "adaptive"}})
	f := startTail(t, 0, c.gate)

	failing := c.submit(t, "FailingJob", "fails", "3", "2", "10")
	c.ended(t, failing, "FAILED")
	restart := []string{"RUNNING > CANCELLING", "CANCELLING > CANCELED", "CREATED > RUNNING"}
	wanted := slices.Concat([]string{"CREATED > RUNNING"}, restart, restart, []string{"RUNNING > FAILING", "FAILING > FAILED"})
	events := f.reported(t, failing, len(wanted), 3)
	require.Equal(t, wanted, statuses(events, failing))
	requireFailures(t, of(events, failing, "job_failure"))
	requireTerminal(t, of(events, failing, "job_status"), true)
	require.Equal(t, "java.lang.NumberFormatException", of(events, failing, "job_status")[len(wanted)-1].RootClass)

	unbounded := c.submit(t, "UnboundedJob", "cancelled")
	c.running(t, unbounded)
	require.NoError(t, c.Cancel(t.Context(), unbounded))
	c.ended(t, unbounded, "CANCELED")
	events = f.reported(t, unbounded, len(cancelled), 0)
	require.Equal(t, cancelled, statuses(events, unbounded))
	requireTerminal(t, of(events, unbounded, "job_status"), false)

	requireUnique(t, f.events(t))
	f.requireLedger(t)
}

// Flink 1.20 has no status listeners; the enricher is the same jar.
func TestEnricherOnFlink1(t *testing.T) {
	c := startCluster(t, servers.Cluster{Version: servers.Flink1Version})
	f := startTail(t, 0, c.gate)
	job := c.submit(t, "FailingJob", "fails", "3", "2", "10")
	c.ended(t, job, "FAILED")
	await(t, "three failures are at the sink", func() bool { return len(f.events(t)) >= 3 })
	events := f.events(t)
	require.Len(t, events, 3)
	require.Equal(t, "fails", events[0].JobName)
	requireFailures(t, of(events, job, "job_failure"))
	requireUnique(t, events)
	f.requireLedger(t)
}

// reported waits until so many status changes and failures of a job, and its creation, are at flusher_file, and
// returns all that is there.
func (f *tail) reported(t testing.TB, jobID string, changes, failures int) []event {
	t.Helper()
	var events []event
	await(t, "the events of job "+jobID+" are at the sink", func() bool {
		events = f.events(t)
		return len(of(events, jobID, "job_status")) >= changes && len(of(events, jobID, "job_failure")) >= failures &&
			len(of(events, jobID, "job_created")) > 0
	})
	require.Len(t, of(events, jobID, "job_failure"), failures)
	require.Len(t, of(events, jobID, "job_created"), 1)
	return events
}

// requireTerminal asserts that no status but the last is terminal, and whether the last is.
func requireTerminal(t testing.TB, changes []event, last bool) {
	t.Helper()
	for i, e := range changes {
		require.NotNil(t, e.Terminal)
		require.Equal(t, last && i == len(changes)-1, *e.Terminal, "%s > %s", e.From, e.To)
	}
}

// requireFailures asserts what FailingJob throws, three times.
func requireFailures(t testing.TB, failures []event) {
	t.Helper()
	require.Len(t, failures, 3)
	for _, e := range failures {
		require.Equal(t, "TASK", e.Scope)
		require.Equal(t, "error", e.Severity)
		require.Equal(t, "java.lang.IllegalStateException", e.ExceptionClass)
		require.Equal(t, "order 7 cannot be read", e.ExceptionMessage)
		require.Equal(t, "java.lang.NumberFormatException", e.RootClass)
		require.Equal(t, `For input string: "x-7"`, e.RootMessage)
		require.Equal(t, []cause{
			{"java.lang.IllegalStateException", "order 7 cannot be read"},
			{"java.lang.NumberFormatException", `For input string: "x-7"`},
		}, e.Chain)
		require.Contains(t, e.StackTrace, "Caused by: java.lang.NumberFormatException")
		require.Contains(t, e.StackTrace, "FailingJob$Parse.map(FailingJob.java:")
	}
}

func requireNoLineage(t testing.TB, created []event) {
	t.Helper()
	require.NotNil(t, created[0].Lineage)
	require.Empty(t, created[0].Lineage.Sources)
	require.Empty(t, created[0].Lineage.Sinks)
}

// requireLineage asserts what SqlJob reads and writes.
func requireLineage(t testing.TB, created []event) {
	t.Helper()
	const tables = "default_catalog.default_database."
	got := created[0].Lineage
	require.NotNil(t, got)
	require.Len(t, got.Sources, 1)
	require.Equal(t, tables+"orders", got.Sources[0].Name)
	require.Equal(t, "datagen", got.Sources[0].Connector)
	require.Equal(t, "20", got.Sources[0].Options["number-of-rows"])
	sinks := map[string]string{}
	for _, sink := range got.Sinks {
		sinks[sink.Name] = sink.Connector
	}
	require.Equal(t, map[string]string{tables + "all_orders": "print", tables + "large_orders": "filesystem"}, sinks)
	var relations []string
	for _, r := range got.Relations {
		relations = append(relations, r.Source.Name+" > "+r.Sink.Name)
	}
	require.ElementsMatch(t, []string{tables + "orders > " + tables + "all_orders", tables + "orders > " + tables + "large_orders"}, relations)
}

// sender is the part of an event_id that tells which JVM sent it.
func sender(e event) string {
	return e.ID[:strings.LastIndexByte(e.ID, '-')]
}

var jobIDPattern = regexp.MustCompile(`JobID ([0-9a-f]{32})`)

// submitByClient starts a job with Flink's command line client and returns its id.
func (c *cluster) submitByClient(t testing.TB, class string, args ...string) string {
	t.Helper()
	jobs, err := servers.Jobs(t.Context())
	require.NoError(t, err)
	command := append([]string{"run", "-d", "-c", servers.JobPackage + class, jobs}, args...)
	out, err := c.Client(t.Context(), "org.apache.flink.client.cli.CliFrontend", command...)
	require.NoError(t, err)
	id := jobIDPattern.FindStringSubmatch(out)
	require.NotNil(t, id, out)
	return id[1]
}
