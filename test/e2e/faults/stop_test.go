//go:build e2e

package faults

import (
	"bytes"
	"fmt"
	"net/http"
	"os/exec"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

const (
	inFlight    = 200_000
	stopTimeout = 25 * time.Second
)

// TestStop stops flinktail with 200,000 events in flight to a destination that is slow, or does not answer at all.
func TestStop(t *testing.T) {
	t.Parallel()
	hold := make(chan struct{})
	t.Cleanup(func() { close(hold) })
	for name, hampered := range map[string]func(next http.Handler) http.HandlerFunc{
		"slow":      func(next http.Handler) http.HandlerFunc { return slow(next, 100*time.Millisecond) },
		"no answer": func(http.Handler) http.HandlerFunc { return func(http.ResponseWriter, *http.Request) { <-hold } },
	} {
		t.Run("disk, "+name, func(t *testing.T) { stopWithDisk(t, name, hampered) })
		t.Run("memory, "+name, func(t *testing.T) { stopWithMemory(t, name, hampered) })
	}
}

// fill starts a flinktail with so many events in flight.
func fill(t *testing.T, queue object, s *httpServer, hampered func(http.Handler) http.HandlerFunc) (f *tail, sent []string) {
	t.Helper()
	s.answer(hampered(s.next))
	f = newTail(t, setup{
		global:   object{"Queue": queue},
		http:     object{"InflightBytes": "1GiB", "AckTimeout": "5m"},
		flushers: []object{quick(s.flusher(), object{"Batch": object{"MaxEvents": 500}})},
	})
	f.args = append(f.args, "-stop-timeout", stopTimeout.String())
	f.start(t)
	t.Cleanup(f.process.Kill)
	var posting sync.WaitGroup
	t.Cleanup(posting.Wait)
	p := newPosts(f.url)
	for len(sent) < inFlight {
		var body bytes.Buffer
		for range 2000 {
			sent = append(sent, fmt.Sprintf("%s-%d", name(t), len(sent)))
			body.Write(event(sent[len(sent)-1], len(sent), "1", ordinary))
		}
		posting.Go(func() { p.try(body.Bytes()) })
	}
	await(t, "all are queued", func() bool { return f.status(t).Ledger.Appended == inFlight })
	return f, sent
}

// end stops flinktail and returns its exit code.
func (f *tail) end(t *testing.T) int {
	t.Helper()
	began := time.Now()
	require.True(t, f.process.Stop(patience))
	require.Less(t, time.Since(began), stopTimeout+3*time.Second, "it keeps its deadline, but for the end of the process")
	return f.process.ExitCode()
}

func stopWithDisk(t *testing.T, how string, hampered func(http.Handler) http.HandlerFunc) {
	s := newHTTPServer(t)
	began := time.Now()
	f, sent := fill(t, object{"Type": "disk"}, s, hampered)
	require.Zero(t, f.end(t), f.process.Tail(5))
	require.Regexp(t, `flinktail has stopped; what is queued is delivered after the next start","queued":\d{6},`, f.process.Tail(1))
	require.Empty(t, f.letters(t))
	early := len(s.ids(t))

	s.close()
	s.open(t, nil)
	s.answer(nil)
	f.start(t)
	now := f.settle(t, 0)
	require.Zero(t, now.Ledger.Accepted)
	require.GreaterOrEqual(t, now.Flushers[0].Recovered, inFlight-early)
	account{fault: "stopped, disk, " + how, destination: s, sent: sent, began: began}.require(t, f, now)
}

func stopWithMemory(t *testing.T, how string, hampered func(http.Handler) http.HandlerFunc) {
	s := newHTTPServer(t)
	began := time.Now()
	f, sent := fill(t, object{"Type": "memory", "MaxBytes": "1GiB"}, s, hampered)
	require.Equal(t, 1, f.end(t), f.process.Tail(5))
	require.Regexp(t, `flusher_http: \d{5,6} events could not be delivered in time and are in the dead letters`, f.process.Tail(1))
	letters := len(f.letters(t))
	require.Positive(t, letters)

	s.close()
	s.open(t, nil)
	s.answer(nil)
	out, err := exec.Command(binary(t), "deadletter", "replay", "-config", f.path("faults.json"), "-data-dir", f.path("data")).CombinedOutput()
	require.NoError(t, err, "%s", out)
	require.Contains(t, string(out), fmt.Sprintf("%d of %d letters delivered and removed", letters, letters))
	require.Empty(t, f.letters(t))
	account{fault: "stopped, memory, " + how, destination: s, sent: sent, began: began}.require(t, f, status{Flushers: []flusherStatus{{}}})
}
