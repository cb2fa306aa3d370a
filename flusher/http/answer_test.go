package httpflusher

import (
	"errors"
	"fmt"
	"log/slog"
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

// Whatever a receiver answers: only 2xx is a delivery, and what is said of the rest fits a line of a log and holds no secret.
func FuzzAnswer(f *testing.F) {
	f.Add(200, "", "", "application/json", []byte(`{"accepted":1,"rejected":[{"line":2,"reason":"line_too_long"}]}`))
	f.Add(307, "https://other.example.com/s3cret-token?x", "", "", []byte(nil))
	f.Add(302, "//[::1", "", "text/html; charset=", []byte("<!DOCTYPE html>"))
	f.Add(429, "", "7", "", []byte("you sent s3cret-token\r\n"))
	f.Add(503, "", "Fri, 02 Jan 2026 00:00:00 GMT", "text/plain", []byte("\xff\x00é"))
	flusher, _ := started(f, "http://127.0.0.1:1/v1/events", func(f *Flusher) { f.Headers = secrets("X-Api-Key", "s3cret-token") })
	flusher.log = slog.New(slog.DiscardHandler)
	e := flusher.endpoint
	f.Fuzz(func(t *testing.T, status int, location, retryAfter, contentType string, text []byte) {
		a := answer{method: http.MethodPost, status: status, text: text, secrets: e.secrets, header: http.Header{
			"Location": {location}, "Retry-After": {retryAfter}, "Content-Type": {contentType},
		}}
		flusher.noteRejects(a)
		err := a.verdict(e)
		require.Equal(t, status >= 200 && status <= 299, err == nil)
		if err == nil {
			return
		}
		require.Less(t, len(err.Error()), 512+4*len(location))
		require.NotContains(t, err.Error(), "s3cret-token")
		require.False(t, strings.ContainsFunc(err.Error(), isControl), "%q", err)
		var throttle *pipeline.ThrottleError
		if errors.As(err, &throttle) {
			require.Positive(t, throttle.After)
		}
	})
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
