//go:build e2e

// Package e2e runs the flinktail binary against real Flink clusters, and with bad input.
package e2e

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/flinktail/flinktail/test/servers"
)

// scratch is the folder of what all tests share; TestMain removes it.
var scratch string

func TestMain(m *testing.M) {
	os.Exit(run(m))
}

func run(m *testing.M) int {
	var err error
	if scratch, err = os.MkdirTemp("", "flinktail-e2e-"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(scratch)
	if err := os.Chmod(scratch, 0o755); err != nil { // some tests run the binary as another user
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer stopShared()
	return m.Run()
}

// binary builds flinktail once and returns its path.
func binary(t testing.TB) string {
	t.Helper()
	path, err := build()
	require.NoError(t, err)
	return path
}

var build = sync.OnceValues(func() (string, error) { return servers.BuildFlinktail(scratch) })

// cluster is a Flink with the listeners installed, which post to its gate.
type cluster struct {
	*servers.Flink
	gate *gate
	jar  string
}

// startCluster starts a Flink for one test.
func startCluster(t testing.TB, o servers.Cluster) *cluster {
	t.Helper()
	c, err := newCluster(t, t.TempDir(), o)
	require.NoError(t, err)
	t.Cleanup(c.stop)
	return c
}

func newCluster(t testing.TB, dir string, o servers.Cluster) (*cluster, error) {
	status, enricher, err := servers.ListenerJars()
	if err != nil {
		return nil, err
	}
	jobs, err := servers.Jobs(t.Context())
	if err != nil {
		return nil, err
	}
	c := &cluster{gate: newGate(t)}
	config := servers.Listening(c.gate.url(), "e2e")
	for key, value := range o.Config {
		config[key] = value
	}
	o.Config, o.Lib, o.Plugins = config, []string{status}, []string{enricher}
	// A shared cluster outlives the test that needs it first.
	if c.Flink, err = servers.StartFlink(context.Background(), dir, o); err != nil {
		c.gate.die()
		return nil, err
	}
	if c.jar, err = c.Upload(t.Context(), jobs); err != nil {
		c.stop()
		return nil, err
	}
	return c, nil
}

func (c *cluster) stop() {
	c.Stop()
	c.gate.die()
}

// shared is the default cluster, started by the first test that needs it.
var shared struct {
	once sync.Once
	*cluster
	err error
}

func sharedCluster(t testing.TB) *cluster {
	t.Helper()
	shared.once.Do(func() {
		shared.cluster, shared.err = newCluster(t, filepath.Join(scratch, "flink"), servers.Cluster{})
	})
	require.NoError(t, shared.err)
	return shared.cluster
}

func stopShared() {
	if shared.cluster != nil {
		shared.stop()
	}
}

// submit starts a job and returns its id.
func (c *cluster) submit(t testing.TB, class string, args ...string) string {
	t.Helper()
	id, err := c.Submit(t.Context(), c.jar, servers.Run{Class: servers.JobPackage + class, Args: args})
	require.NoError(t, err)
	return id
}

// ended waits until a job is in this state.
func (c *cluster) ended(t testing.TB, jobID, state string) servers.Job {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	job, err := c.Await(ctx, jobID, servers.Job.Ended)
	require.NoError(t, err)
	require.Equal(t, state, job.State, "job %s", job.Name)
	return job
}

// running waits until a job runs.
func (c *cluster) running(t testing.TB, jobID string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	_, err := c.Await(ctx, jobID, func(j servers.Job) bool { return j.State == "RUNNING" })
	require.NoError(t, err)
}
