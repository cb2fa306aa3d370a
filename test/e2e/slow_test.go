//go:build e2e

package e2e

import (
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/flinktail/flinktail/test/servers"
)

// A receiver that hangs, and then is gone, costs Flink's jobs no time and, as far as the buffer reaches, no event.
func TestSlowEndpoint(t *testing.T) {
	const rounds = 5
	watched := sharedCluster(t)
	f := startTail(t, 0, watched.gate)
	plain := startCluster(t, servers.Cluster{Config: map[string]string{"flinktail.enabled": "false"}})
	t.Cleanup(func() { // also when an assertion fails
		watched.gate.slow(0)
	})

	var jobs []string
	measure := func(c *cluster) time.Duration {
		begin := time.Now()
		job := c.submit(t, "BoundedJob", "short", "1000")
		end := c.ended(t, job, "FINISHED").End
		if c == watched {
			jobs = append(jobs, job)
		}
		return time.UnixMilli(end).Sub(begin)
	}
	compare := func(t *testing.T) {
		var with, without []time.Duration
		for range rounds { // in turns, so that a busy machine slows both
			with = append(with, measure(watched))
			without = append(without, measure(plain))
		}
		slices.Sort(with)
		slices.Sort(without)
		ratio := float64(with[rounds/2]) / float64(without[rounds/2])
		t.Logf("with %v, without %v, ratio of medians %.3f", with, without, ratio)
		require.Less(t, ratio, 1.2)
	}
	measure(watched) // the first job of a cluster loads classes
	measure(plain)

	t.Run("hangs", func(t *testing.T) {
		watched.gate.slow(3 * time.Second)
		compare(t)
	})
	t.Run("dead", func(t *testing.T) {
		watched.gate.die()
		t.Cleanup(func() { watched.gate.revive(t) })
		compare(t)
	})
	watched.gate.slow(0)

	for _, job := range jobs {
		events := f.reported(t, job, len(finishes), 0)
		require.Equal(t, finishes, statuses(events, job))
	}
	requireUnique(t, f.events(t))
	f.requireLedger(t)
}
