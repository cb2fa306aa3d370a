package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

type loadResult struct {
	rate float64 // acknowledged events per second
	p99  float64 // of a POST, milliseconds
}

// load posts the first n events of the corpus, perPost in each request, over keep-alive connections. Requests are built before the
// clock starts, so that the client costs little.
func load(ctx context.Context, address, corpus string, n, perPost, connections int) (loadResult, error) {
	requests, err := buildRequests(address, corpus, n, perPost)
	if err != nil {
		return loadResult{}, err
	}
	if err := waitForListener(ctx, address); err != nil {
		return loadResult{}, err
	}
	var (
		next    atomic.Int64
		wait    sync.WaitGroup
		results = make([][]time.Duration, connections)
		errs    = make([]error, connections)
	)
	start := time.Now()
	for c := range connections {
		wait.Go(func() { results[c], errs[c] = post(ctx, address, requests, &next) })
	}
	wait.Wait()
	elapsed := time.Since(start)
	if err := errors.Join(errs...); err != nil {
		return loadResult{}, err
	}
	latencies := slices.Concat(results...)
	slices.Sort(latencies)
	p99 := latencies[len(latencies)*99/100]
	return loadResult{rate: float64(n) / elapsed.Seconds(), p99: float64(p99.Microseconds()) / 1000}, nil
}

func buildRequests(address, corpus string, n, perPost int) ([][]byte, error) {
	f, err := os.Open(corpus)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	lines := bufio.NewReaderSize(f, 1<<20)
	var requests [][]byte
	for done := 0; done < n; {
		var body bytes.Buffer
		for range min(perPost, n-done) {
			line, err := lines.ReadSlice('\n')
			if err != nil {
				return nil, err
			}
			body.Write(line)
			done++
		}
		head := fmt.Sprintf("POST /v1/events HTTP/1.1\r\nHost: %s\r\nContent-Type: application/x-ndjson\r\nContent-Length: %d\r\n\r\n", address, body.Len())
		requests = append(requests, append([]byte(head), body.Bytes()...))
	}
	return requests, nil
}

func waitForListener(ctx context.Context, address string) error {
	for {
		c, err := net.Dial("tcp", address)
		if err == nil {
			return c.Close()
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// post sends requests over one connection until none is left. One that is refused for now is sent again.
func post(ctx context.Context, address string, requests [][]byte, next *atomic.Int64) ([]time.Duration, error) {
	c, err := net.Dial("tcp", address)
	if err != nil {
		return nil, err
	}
	defer func() { _ = c.Close() }()
	r := bufio.NewReader(c)
	var latencies []time.Duration
	for {
		i := int(next.Add(1)) - 1
		if i >= len(requests) || ctx.Err() != nil {
			return latencies, ctx.Err()
		}
		for status := 0; status != http.StatusOK; {
			start := time.Now()
			if _, err := c.Write(requests[i]); err != nil {
				return nil, err
			}
			response, err := http.ReadResponse(r, nil)
			if err != nil {
				return nil, err
			}
			_, _ = io.Copy(io.Discard, response.Body)
			_ = response.Body.Close()
			switch status = response.StatusCode; status {
			case http.StatusOK:
				latencies = append(latencies, time.Since(start))
			case http.StatusTooManyRequests, http.StatusServiceUnavailable:
				time.Sleep(10 * time.Millisecond)
			default:
				return nil, fmt.Errorf("post: %s", response.Status)
			}
		}
	}
}
