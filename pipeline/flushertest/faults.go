package flushertest

import (
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/flinktail/flinktail/pipeline"
	"github.com/flinktail/flinktail/protocol"
)

// checkHang ends the context while the destination does not answer.
func checkHang(t testing.TB, s Suite) {
	x := startDestination(t, s)
	if x.dest.Hang == nil {
		return
	}
	x.startFlusher()
	first, second := newBatch(1, 1, 3), newBatch(2, 1, 3)
	x.deliver(first)
	resume := x.dest.Hang()
	ended := false
	defer func() {
		if !ended {
			resume()
		}
	}()
	result := make(chan error, 1)
	go func() { result <- x.flusher.Flush("project", "logstore", "config", second.groups) }()
	select {
	case err := <-result:
		require.Error(t, err, "Flush returned nil though the destination did not answer")
		temporary(t, err)
	case <-time.After(200 * time.Millisecond):
		x.ready()
		x.context.Cancel()
		select {
		case err := <-result:
			require.Error(t, err, "Flush returned nil though the destination did not answer")
			temporary(t, err)
		case <-time.After(onTime + slack):
			t.Fatalf("Flush did not return within %s of its context's end", onTime+slack)
		}
	}
	resume()
	ended = true
}

// checkDown starts the flusher in an outage, and has another one later.
func checkDown(t testing.TB, s Suite) {
	x := startDestination(t, s)
	if x.dest.Down == nil {
		return
	}
	up := x.dest.Down()
	x.startFlusher()
	first, second := newBatch(1, 2, 5), newBatch(2, 2, 5)
	x.failsFor(first)
	up()
	x.deliver(first)
	x.arrived(perhaps, first)

	up = x.dest.Down()
	x.failsFor(second)
	up()
	x.deliver(second)
	x.arrived(perhaps, first, second)
}

// failsFor checks that the destination's outage neither acknowledges nor condemns b.
func (x *session) failsFor(b *batch) {
	x.t.Helper()
	for range 3 {
		if !x.ready() {
			continue
		}
		err := x.flush(b.groups)
		require.Error(x.t, err, "Flush returned nil while the destination was down")
		temporary(x.t, err)
	}
}

// temporary checks that err has the engine try again, without calling for a person.
func temporary(t testing.TB, err error) {
	t.Helper()
	keeps(t, err)
	var blocked *pipeline.BlockedError
	if errors.As(err, &blocked) {
		t.Errorf("an outage passes by itself, but Flush calls for a person with Blocked: %v", err)
	}
}

// keeps checks that err costs no event.
func keeps(t testing.TB, err error) {
	t.Helper()
	var permanent *pipeline.PermanentError
	var partial *pipeline.PartialError
	switch {
	case errors.As(err, &permanent):
		t.Errorf("nothing is wrong with the events, but Flush gives them up as Permanent: %v", err)
	case errors.As(err, &partial):
		for _, f := range partial.Failures {
			if !f.Retryable {
				t.Errorf("nothing is wrong with the events, but Flush gives one up: %v", f.Err)
				return
			}
		}
	}
}

func checkRefused(t testing.TB, s Suite) {
	x := startDestination(t, s)
	if x.dest.Refuse == nil {
		return
	}
	allow := x.dest.Refuse()
	x.startFlusher()
	b := newBatch(1, 2, 5)
	var err error
	for deadline := time.Now().Add(patience); ; time.Sleep(5 * time.Millisecond) {
		if x.ready() {
			err = x.flush(b.groups)
			break
		}
		if time.Now().After(deadline) {
			break
		}
	}
	var blocked *pipeline.BlockedError
	if !errors.As(err, &blocked) {
		t.Errorf("the destination refuses us; Flush should say so with Blocked, not: %v", err)
	}
	keeps(t, err)
	require.Empty(t, x.dest.Events(), "the destination refuses us and yet holds events")
	allow()
	x.deliver(b)
	x.arrived(once, b)
}

func checkThrottled(t testing.TB, s Suite) {
	x := startDestination(t, s)
	if x.dest.Throttle == nil {
		return
	}
	x.startFlusher()
	x.awaitReady()
	const pause = 3 * time.Second
	end := x.dest.Throttle(pause)
	b := newBatch(1, 2, 5)
	err := x.flush(b.groups)
	var throttle *pipeline.ThrottleError
	if !errors.As(err, &throttle) {
		t.Errorf("the destination asks for a pause; Flush should pass that on with Throttle, not: %v", err)
	} else if throttle.After < pause-time.Second || throttle.After > pause+time.Second {
		t.Errorf("the destination asks for a pause of %s, Throttle says %s", pause, throttle.After)
	}
	keeps(t, err)
	end()
	x.deliver(b)
	x.arrived(perhaps, b)
}

// checkRejected has one event among others rejected, and then alone.
func checkRejected(t testing.TB, s Suite) {
	x := startDestination(t, s)
	if x.dest.Reject == nil {
		return
	}
	x.startFlusher()
	x.awaitReady()
	b := newBatch(1, 3, 4)
	const group, log = 1, 2
	bad := b.want[group*4+log]
	end := x.dest.Reject(bad.id)
	defer end()

	var good []event
	for _, e := range b.want {
		if e.id != bad.id {
			good = append(good, e)
		}
	}
	err := x.flush(b.groups)
	var partial *pipeline.PartialError
	if !errors.As(err, &partial) {
		t.Fatalf("the destination rejects one event of several; Flush should list it in a PartialError, not: %v", err)
	}
	for _, f := range partial.Failures {
		if f.Group != group || f.Log != log {
			t.Errorf("Flush lists group %d log %d, the destination rejects group %d log %d", f.Group, f.Log, group, log)
		}
		if f.Retryable {
			t.Error("Flush would send again what the destination will never take")
		}
		if f.Err == nil {
			t.Error("Flush does not say what the destination finds wrong")
		}
	}
	require.Len(t, partial.Failures, 1, "Flush lists another number of events than the destination rejects")
	x.arrivedEvents(perhaps, good)

	alone := &protocol.LogGroup{Topic: b.groups[group].Topic, LogTags: b.groups[group].LogTags, Logs: b.groups[group].Logs[log : log+1]}
	err = x.flush([]*protocol.LogGroup{alone})
	var permanent *pipeline.PermanentError
	switch {
	case errors.As(err, &permanent):
	case errors.As(err, &partial):
		require.False(t, len(partial.Failures) != 1 || partial.Failures[0].Retryable, "Flush would send again what the destination will never take")
	default:
		t.Errorf("the destination rejects the only event; Flush should return Permanent or a PartialError, not: %v", err)
	}
}
