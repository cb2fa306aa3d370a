package httpflusher

import (
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/flinktail/flinktail/pipeline"
)

// verdictOf says what an error of Flush has the engine do.
func verdictOf(err error) string {
	var (
		partial   *pipeline.PartialError
		permanent *pipeline.PermanentError
		blocked   *pipeline.BlockedError
		throttle  *pipeline.ThrottleError
	)
	switch {
	case err == nil:
		return "delivered"
	case errors.As(err, &partial):
		for _, f := range partial.Failures {
			if f.Retryable {
				return "retry some"
			}
		}
		return "dead letter"
	case errors.As(err, &permanent):
		return "dead letter"
	case errors.As(err, &blocked):
		return "blocked"
	case errors.As(err, &throttle):
		return "throttle " + throttle.After.String()
	}
	return "retry"
}

func TestStatuses(t *testing.T) {
	want := map[int]string{
		200: "delivered", 201: "delivered", 202: "delivered", 204: "delivered", 299: "delivered",
		408: "retry", 425: "retry", 429: "retry",
		500: "retry", 501: "retry", 502: "retry", 503: "retry", 504: "retry", 507: "retry", 599: "retry",
		400: "dead letter", 413: "dead letter", 422: "dead letter",
		401: "blocked", 403: "blocked", 404: "blocked", 405: "blocked", 407: "blocked", 409: "blocked", 410: "blocked", 415: "blocked", 431: "blocked",
		300: "blocked", 301: "blocked", 302: "blocked", 303: "blocked", 304: "blocked", 307: "blocked", 308: "blocked",
	}
	r := newReceiver(t)
	f, c := started(t, r.url())
	for status, verdict := range want {
		r.answer(reply{status: status, body: "because\nof <this>"})
		err := flush(f, numbered(t, 1, 1))
		require.Equal(t, verdict, verdictOf(err), "%d: %v", status, err)
		if status >= 400 {
			var partial *pipeline.PartialError
			if errors.As(err, &partial) {
				err = partial.Failures[0].Err
			}
			require.ErrorContains(t, err, "POST to http://"+r.address+": "+strings.TrimSpace(strconv.Itoa(status)+" "+http.StatusText(status))+": ")
			require.ErrorContains(t, err, "because of <this>")
		}
		require.NotZero(t, c.Counters()[fmt.Sprintf(`requests_total{code="%d"}`, status)])
	}
}

func TestRetryAfterIsObeyed(t *testing.T) {
	r := newReceiver(t)
	f, _ := started(t, r.url())
	for _, status := range []int{408, 425, 429, 500, 503} {
		r.answer(reply{status: status, header: map[string]string{"Retry-After": "7"}})
		require.Equal(t, "throttle 7s", verdictOf(flush(f, numbered(t, 1, 2))))
	}
	r.answer(reply{status: 503, header: map[string]string{"Retry-After": time.Now().Add(time.Minute).UTC().Format(http.TimeFormat)}})
	var throttle *pipeline.ThrottleError
	require.ErrorAs(t, flush(f, numbered(t, 1, 2)), &throttle)
	require.InDelta(t, time.Minute, throttle.After, float64(2*time.Second))
	r.answer(reply{status: 403, header: map[string]string{"Retry-After": "7"}})
	require.Equal(t, "blocked", verdictOf(flush(f, numbered(t, 1, 2))))
}

// What a receiver says ends up in logs and dead letters.
func TestAnswersAreShown(t *testing.T) {
	r := newReceiver(t)
	f, _ := started(t, r.url())
	said := func(body string, header map[string]string) string {
		r.answer(reply{status: 503, body: body, header: header})
		return flush(f, numbered(t, 1, 1)).Error()
	}
	at := "POST to http://" + r.address + ": 503 Service Unavailable"
	require.Equal(t, at, said("", nil))
	require.Equal(t, at+`: { "error": "queue is full" }`, said("{\n  \"error\": \"queue is full\"\n}\n", nil))
	require.Equal(t, at+": a [31mb", said("a\x00\r\n\x1b[31mb\xff", nil))
	require.Equal(t, at+": "+strings.Repeat("x", maxSummary)+"…", said(strings.Repeat("x", 1<<20), nil))
	require.Equal(t, at, said("<!DOCTYPE html><html>", map[string]string{"Content-Type": "text/html; charset=utf-8"}))
}

func TestPlainHTTPToHTTPSIsBlocked(t *testing.T) {
	server := newAuthority(t).serve(nil)
	f, _ := started(t, strings.Replace(server.URL, "https:", "http:", 1))
	err := flush(f, numbered(t, 1, 3))
	require.Equal(t, "blocked", verdictOf(err))
	require.ErrorContains(t, err, "write https in RemoteURL")
}

// What another flinktail has put into its dead letters is delivered, and a person is told.
func TestRejectsOfTheReceiver(t *testing.T) {
	r := newReceiver(t)
	f, c := started(t, r.url())
	r.answer(reply{status: 200, body: `{"accepted":1,"rejected":[{"line":2,"reason":"line_too_long"},{"line":3,"reason":"nested_too_deep"}]}`})
	require.NoError(t, flush(f, numbered(t, 1, 3)))
	require.Equal(t, 2.0, c.Counters()["receiver_rejected_events_total"])
	require.Contains(t, c.Logs(), "line_too_long")

	for _, body := range []string{`{"accepted":3,"rejected":[]}`, `{"rejected":[{`, `{"rejected":[{}]}`, "ok"} {
		r.answer(reply{status: 200, body: body})
		require.NoError(t, flush(f, numbered(t, 1, 3)))
	}
	require.Equal(t, 2.0, c.Counters()["receiver_rejected_events_total"])
}
