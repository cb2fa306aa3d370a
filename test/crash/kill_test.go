//go:build e2e

package crash

import (
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// The process is killed at random points, while it starts, too, and started again at once. The load goes on all the time.
func TestKilled(t *testing.T) {
	rnd := choices(t)
	sinks := []*sink{newSink(t, rnd), newSink(t, rnd)}
	f := newTail(t, t.TempDir(), small, sinks...)
	c := newClient(f.url)
	f.start(t)
	stop := c.load(t, rnd)
	starting, backlogs := 0, 0
	for round := range *rounds {
		if round > 0 {
			f.launch(t)
		}
		for _, s := range sinks {
			s.setMood([]mood{quick, quick, quick, slow, slow, silent}[rnd.IntN(6)])
		}
		if rnd.IntN(5) == 0 {
			time.Sleep(time.Duration(rnd.IntN(80)) * time.Millisecond)
			starting++
		} else {
			await(t, "flinktail is ready", func() bool {
				f.requireRunning(t)
				return f.ready() == nil
			})
			time.Sleep(time.Duration(rnd.IntN(1000)) * time.Millisecond)
			for _, a := range f.requireLedger(t).Flushers {
				require.Zero(t, a.Corrupt)
				if a.Queued > 0 {
					backlogs++
				}
			}
		}
		f.kill(t)
	}
	stop()
	for _, s := range sinks {
		s.setMood(quick)
	}
	f.start(t)
	f.requireDrained(t)
	again := 0
	for _, s := range sinks {
		s.requireAll(t, c, nil)
		again += s.snapshot().again
	}
	t.Logf("%d rounds, %d killed while starting, %d flushers with a backlog; %d posts acknowledged with %d events, %d refused, %d without an answer; %d events delivered again",
		*rounds, starting, backlogs, c.answers(http.StatusOK), c.acknowledged(), c.answers(429, 503), c.answers(0), again)
	require.Greater(t, c.acknowledged(), 100**rounds, "too few for the test to prove anything")
	require.Positive(t, again)
	require.Greater(t, backlogs, *rounds/4)
	require.Positive(t, c.answers(0))
}
