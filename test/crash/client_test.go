//go:build e2e

package crash

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"sync"
	"testing"
	"time"
)

const (
	connections = 8
	jobsEach    = 3 // jobs of a connection; a job's events are sent one post after the other
)

// client posts events to flinktail and remembers what was acknowledged.
type client struct {
	url string

	mu       sync.Mutex
	sent     [connections * jobsEach]int // events of each job
	acked    map[event]bool
	statuses map[int]int // answers by their status; 0 when there was none
	faults   []string    // answers that must not be
}

func newClient(url string) *client {
	return &client{url: url, acked: map[event]bool{}, statuses: map[int]int{}}
}

// load posts over all connections until stop is called.
func (c *client) load(t testing.TB, rnd *rand.Rand) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	for i := range connections {
		own := rand.New(rand.NewPCG(rnd.Uint64(), uint64(i)))
		running.Go(func() { c.connection(ctx, i, own) })
	}
	var once sync.Once
	stop = func() {
		once.Do(func() {
			cancel()
			running.Wait()
		})
	}
	t.Cleanup(stop)
	return stop
}

func (c *client) connection(ctx context.Context, number int, rnd *rand.Rand) {
	transport := &http.Transport{MaxConnsPerHost: 1}
	defer transport.CloseIdleConnections()
	web := &http.Client{Transport: transport, Timeout: patience / 2}
	for ctx.Err() == nil {
		events := c.next(number*jobsEach+rnd.IntN(jobsEach), 1+rnd.IntN(60))
		// What was not acknowledged is sent again, mostly: it may be in the queue already. The rest nobody waits for.
		for again := rnd.IntN(5) > 0; ; {
			status := c.post(ctx, web, events)
			if status == http.StatusOK || !again {
				break
			}
			select {
			case <-ctx.Done():
				return
			case <-time.After(10 * time.Millisecond):
			}
		}
	}
}

// next returns n new events of a job.
func (c *client) next(job, n int) (events []event) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for range n {
		events = append(events, event{job, c.sent[job]})
		c.sent[job]++
	}
	return events
}

// post sends events once and returns the status, 0 without an answer.
func (c *client) post(ctx context.Context, web *http.Client, events []event) (status int) {
	var body []byte
	for _, e := range events {
		body = e.append(body)
	}
	status, text := c.exchange(ctx, web, body)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.statuses[status]++
	switch status {
	case 0, http.StatusTooManyRequests, http.StatusServiceUnavailable:
		return status
	case http.StatusOK:
		var answer struct {
			Accepted int
			Rejected []any
		}
		if err := json.Unmarshal(text, &answer); err == nil && answer.Accepted == len(events) && len(answer.Rejected) == 0 {
			for _, e := range events {
				c.acked[e] = true
			}
			return status
		}
	}
	c.faults = append(c.faults, fmt.Sprintf("%d events were answered %d: %s", len(events), status, text))
	return status
}

func (c *client) exchange(ctx context.Context, web *http.Client, body []byte) (status int, text []byte) {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, c.url+"/v1/events", bytes.NewReader(body))
	if err != nil {
		return 0, nil
	}
	request.Header.Set("Content-Type", "application/x-ndjson")
	response, err := web.Do(request)
	if err != nil {
		return 0, nil
	}
	defer response.Body.Close()
	if text, err = io.ReadAll(response.Body); err != nil {
		return 0, nil
	}
	return response.StatusCode, text
}

// acknowledged returns how many events were.
func (c *client) acknowledged() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.acked)
}

// answers returns how many posts were answered with one of the statuses.
func (c *client) answers(statuses ...int) (n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, s := range statuses {
		n += c.statuses[s]
	}
	return n
}
