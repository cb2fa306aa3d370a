//go:build e2e

package e2e

import (
	"net/http"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// restarting is how often the jobs of this file fail before they finish: enough to go on through a restart of flinktail.
const restarting = 40

// Flinktail is stopped while events stream in, and started again: what it answered 200 is at the sink, and what it
// did not answer comes again.
func TestStopped(t *testing.T) {
	t.Run("SIGTERM", func(t *testing.T) {
		all, posts := streamThrough(t, func(t *testing.T, f *tail) {
			require.True(t, f.process.Stop(patience), "stops by itself")
			require.Zero(t, f.process.ExitCode(), f.process.Tail(20))
		})
		requireUnique(t, all) // what was taken was also answered
		requireCarried(t, all, posts)
	})
	t.Run("SIGKILL", func(t *testing.T) {
		all, posts := streamThrough(t, func(_ *testing.T, f *tail) { f.process.Kill() })
		// An event may be at the sink and the answer not yet sent: then it is sent again. Or the sink's answer was not yet written down: then
		// each kill may deliver it once more.
		const kills = 2
		times := map[string]int{}
		for _, p := range posts {
			for _, id := range p.ids {
				times[id]++
			}
		}
		seen := map[string]int{}
		for _, e := range all {
			seen[e.ID]++
			require.LessOrEqual(t, seen[e.ID], times[e.ID]+kills, "%s is at the sink more often than it was sent and can have been read again", e.ID)
		}
		requireCarried(t, all, posts)
	})
}

// streamThrough runs jobs that fail all the time, ends flinktail twice in between, starts it again, and returns what
// is at the sink and what was posted.
func streamThrough(t *testing.T, end func(*testing.T, *tail)) ([]event, []post) {
	c := sharedCluster(t)
	// There is nearly always an event that flinktail has and the sink has not, which a kill must not lose.
	f := startTail(t, 100*time.Millisecond, c.gate)
	await(t, "earlier posts have ended", c.gate.idle)
	before := len(c.gate.seen())
	posts := func() []post { return c.gate.seen()[before:] }

	var jobs []string
	for _, name := range []string{"one", "two", "three"} {
		jobs = append(jobs, c.submit(t, "FailingJob", name, strconv.Itoa(restarting), strconv.Itoa(restarting), "10"))
	}
	for range 2 {
		mark := len(posts())
		await(t, "events stream in", func() bool { return answered(posts()[mark:]) >= 2 })
		end(t, f)
		mark = len(posts())
		await(t, "events come in vain", func() bool { return len(posts()) > mark })
		require.Zero(t, answered(posts()[mark:]))
		f.start(t)
	}
	wanted := []string{"CREATED > RUNNING"}
	for range restarting {
		wanted = append(wanted, "RUNNING > RESTARTING", "RESTARTING > RUNNING")
	}
	wanted = append(wanted, "RUNNING > FINISHED")
	for _, job := range jobs {
		c.ended(t, job, "FINISHED")
		await(t, "the job's events are at the sink", func() bool {
			events := once(f.events(t))
			return len(of(events, job, "job_status")) == len(wanted) && len(of(events, job, "job_failure")) == restarting
		})
		require.Equal(t, wanted, statuses(once(f.events(t)), job), "in order")
	}
	f.requireLedger(t)
	return f.events(t), posts()
}

// requireCarried asserts that the sink has every event that was posted, and that some had to be posted again.
func requireCarried(t *testing.T, all []event, posts []post) {
	t.Helper()
	seen := map[string]bool{}
	for _, e := range all {
		seen[e.ID] = true
	}
	refused := map[string]bool{}
	again := 0
	for _, p := range posts {
		for _, id := range p.ids {
			if p.status == http.StatusOK {
				require.True(t, seen[id], "%s was answered 200 and is not at the sink", id)
				if refused[id] {
					again++
				}
			} else {
				refused[id] = true
			}
		}
	}
	for id := range refused {
		require.True(t, seen[id], "%s did not come again", id)
	}
	require.Positive(t, again, "nothing was refused: the test proves nothing")
}

// answered counts the posts that were answered 200.
func answered(posts []post) int {
	n := 0
	for _, p := range posts {
		if p.status == http.StatusOK {
			n++
		}
	}
	return n
}

// once drops the repeated events.
func once(events []event) []event {
	seen := map[string]bool{}
	return slices.DeleteFunc(slices.Clone(events), func(e event) bool {
		repeated := seen[e.ID]
		seen[e.ID] = true
		return repeated
	})
}
