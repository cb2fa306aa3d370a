//go:build e2e

package faults

import (
	"bytes"
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// The lengths of the outages, which are the faults. Everything else waits for conditions.
const (
	absence = 20 * time.Second
	failing = 20 * time.Second
	stalled = 15 * time.Second
)

// absent starts flinktail while the destination is not there; appear starts that.
func absent(t *testing.T, d destination, appear func()) {
	began := time.Now()
	f := startTail(t, setup{flushers: []object{d.flusher()}})
	s := startFlow(t, f)
	time.Sleep(time.Until(began.Add(absence)))
	now := f.status(t)
	require.Positive(t, now.Flushers[0].Queued, "%+v", now)
	require.NotEqual(t, "ready", now.Flushers[0].State, "%+v", now)
	appear()
	finish(t, "absent for the first 20 s", d, f, s, began)
}

// outage breaks a destination while events flow to it.
func outage(t *testing.T, fault string, d destination, happen func(f *tail)) {
	began := time.Now()
	f := startTail(t, setup{flushers: []object{d.flusher()}})
	s := startFlow(t, f)
	f.awaitDelivered(t, 100)
	happen(f)
	finish(t, fault, d, f, s, began)
}

// finish lets some more events flow and asserts that everything has arrived.
func finish(t *testing.T, fault string, d destination, f *tail, s *flow, began time.Time) {
	t.Helper()
	sent := s.finish(t, 500)
	end := f.settle(t, len(sent))
	account{fault: fault, destination: d, sent: sent, began: began}.require(t, f, end)
}

// blockedLater breaks something that only a person can mend, while events flow, and mends it.
func blockedLater(t *testing.T, fault string, d destination, cause string, spoil, mend func()) {
	outage(t, fault, d, func(f *tail) {
		spoil()
		f.awaitState(t, "blocked", cause)
		require.Zero(t, f.status(t).Flushers[0].DeadLettered)
		mend()
		f.awaitState(t, "ready", "")
	})
}

// poisoned sends posts with two events each that the destination must refuse, whatever it does with the others.
func poisoned(t *testing.T, fault string, d destination, limits object, bad func(i int) (attempt, message string)) {
	const batches, size = 20, 100
	began := time.Now()
	f := startTail(t, setup{
		http:     limits,
		flushers: []object{quick(d.flusher(), object{"Batch": object{"MaxBytes": "16MiB"}})},
	})
	var sent, dead []string
	p := newPosts(f.url)
	for b := range batches {
		var body bytes.Buffer
		var ids []string
		for i := range size {
			id := fmt.Sprintf("%s-%d-%d", name(t), b, i)
			attempt, message := "1", ordinary
			if i == 30 || i == 60 {
				attempt, message = bad(i / 60)
				dead = append(dead, id)
			}
			body.Write(event(id, i, attempt, message))
			ids = append(ids, id)
		}
		require.True(t, p.post(body.Bytes(), ids))
		sent = append(sent, ids...)
	}
	end := f.settle(t, len(sent))
	account{fault: fault, destination: d, sent: sent, dead: dead, began: began}.require(t, f, end)
	for _, l := range f.letters(t) {
		require.Equal(t, "permanent_error", l.Reason)
		require.NotEmpty(t, l.Error)
	}
}

// crawling posts as fast as input_http allows to a flinktail whose destination is hampered, and later relieved.
func crawling(t *testing.T, fault string, d destination, hamper, relieve func()) {
	const (
		posters, size = 40, 500
		maxMemory     = 100 << 20
	)
	began := time.Now()
	f := startTail(t, setup{
		global: object{"Queue": object{"MaxEvents": 16000}}, // four seconds' worth
		http:   object{}, flushers: []object{d.flusher()},
	})
	hamper()
	p := newPosts(f.url)
	stop := p.pour(t, posters, size)
	await(t, "input_http refuses posts, and many events crawl through", func() bool {
		return p.answered(http.StatusTooManyRequests) > 100 && f.status(t).Flushers[0].Delivered > 20000
	})
	relieve()
	stop()
	peak := f.peakMemory(t)
	now := f.settle(t, len(p.ids))
	account{fault: fmt.Sprintf("%s, %d x 429, peak %d MB", fault, p.answered(429), peak>>20), destination: d, sent: p.ids, began: began}.require(t, f, now)
	require.Less(t, peak, maxMemory)
}

// second makes a flusher the second of its type in a pipeline.
func second(d destination) object {
	f := d.flusher()
	f["type"] = f["type"].(string) + "/second"
	return f
}

// twoASecond crawls behind a gate that lets two requests a second through.
func twoASecond(t *testing.T, d destination, g *gate) {
	crawling(t, "2 requests/s", d, func() { g.answer(slow(g.next, 500*time.Millisecond)) }, func() { g.answer(nil) })
}

// oneDead feeds two flushers from a file. The dead one holds up the other only when the queue is full.
func oneDead(t *testing.T, alive, dead destination, appear func()) {
	const queue, events = 3000, 10000
	began := time.Now()
	f := startTail(t, setup{
		global:   object{"Queue": object{"MaxEvents": queue}},
		flushers: []object{alive.flusher(), second(dead)},
	})
	sent := writeFile(t, f, events)
	// The queue takes what no flusher holds up: all that fits into it is delivered to the one that is alive.
	await(t, "the queue is full", func() bool {
		s := f.status(t)
		return s.Flushers[1].Queued > queue*3/4 && s.Flushers[0].Queued == 0 // the next chunk of the file does not fit
	})
	s := f.status(t)
	require.LessOrEqual(t, s.Queue.Events, queue)
	require.Equal(t, s.Flushers[1].Queued, s.Queue.Events, "what the dead one has to get fills the queue: %+v", s)
	require.Equal(t, s.Flushers[1].Queued, s.Flushers[0].Delivered)
	require.Zero(t, s.Flushers[1].Delivered)
	require.Contains(t, []string{"retrying", "not_ready"}, s.Flushers[1].State)
	require.NotEmpty(t, s.Flushers[1].LastError)
	appear()
	end := f.settle(t, len(sent))
	account{fault: "beside a dead " + dead.String(), destination: alive, sent: sent, began: began}.require(t, f, end)
	account{fault: "dead until the queue is full", destination: dead, flusher: 1, sent: sent, began: began}.require(t, f, end)
}

// oneGivesUp feeds two flushers from a file. The dead one gives up events rather than hold up the other.
func oneGivesUp(t *testing.T, alive, dead destination, appear func(), global object) {
	const events = 30000
	began := time.Now()
	f := startTail(t, setup{
		global:   global,
		flushers: []object{alive.flusher(), quick(second(dead), object{"WhenFull": "dead_letter"})},
	})
	written := time.Now()
	sent := writeFile(t, f, events)
	f.awaitDelivered(t, events)
	t.Logf("the living one has %d events after %s", events, time.Since(written))
	s := f.status(t)
	require.Zero(t, s.Flushers[1].Delivered)
	require.Positive(t, s.Flushers[1].DeadLettered)
	appear()
	end := f.settle(t, len(sent))
	account{fault: "beside a dead " + dead.String() + ", WhenFull dead_letter", destination: alive, sent: sent, began: began}.require(t, f, end)
	account{fault: "dead, WhenFull dead_letter", destination: dead, flusher: 1, sent: sent, anyDead: true, began: began}.require(t, f, end)
	for _, l := range f.letters(t) {
		require.Equal(t, "queue_full", l.Reason)
	}
}
