//go:build e2e

package faults

import (
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/flinktail/flinktail/test/servers"
)

func TestHTTP(t *testing.T) {
	t.Parallel()
	t.Run("absent", func(t *testing.T) {
		t.Parallel()
		s := newHTTPServer(t)
		s.close()
		absent(t, s, func() { s.open(t, nil) })
	})
	t.Run("503", func(t *testing.T) {
		t.Parallel()
		s := newHTTPServer(t)
		outage(t, "20 s of 503", s, func(*tail) {
			s.answer(refusing(http.StatusServiceUnavailable))
			time.Sleep(failing)
			s.answer(nil)
		})
	})
	t.Run("429", func(t *testing.T) {
		t.Parallel()
		s := newHTTPServer(t)
		outage(t, "429 with Retry-After", s, func(f *tail) {
			s.answer(refusing(http.StatusTooManyRequests, "Retry-After", "1"))
			f.awaitState(t, "retrying", "429")
			mark := s.seen()
			began := time.Now()
			await(t, "it tries again", func() bool { return s.seen() >= mark+3 })
			require.Greater(t, time.Since(began), 1900*time.Millisecond, "Retry-After is obeyed")
			s.answer(nil)
		})
	})
	t.Run("killed", func(t *testing.T) {
		t.Parallel()
		s := newSecondTail(t)
		outage(t, "SIGKILL and restart", s, func(f *tail) {
			s.process.Kill()
			f.awaitState(t, "retrying", "")
			s.start(t)
		})
	})
	t.Run("stalled", func(t *testing.T) {
		t.Parallel()
		s := newSecondTail(t)
		outage(t, "SIGSTOP for 15 s", s, func(*tail) {
			require.NoError(t, s.process.Pause())
			time.Sleep(stalled)
			require.NoError(t, s.process.Resume())
		})
	})
	t.Run("poisoned", func(t *testing.T) {
		t.Parallel()
		poisoned(t, "one oversized and one invalid event a batch", newHTTPServer(t), object{"MaxLineBytes": "2MiB"}, func(i int) (string, string) {
			if i == 0 {
				return "1", incompressible(maxBody * 5 / 4)
			}
			return `{"of":"another type"}`, ordinary
		})
	})
	t.Run("crawling", func(t *testing.T) {
		t.Parallel()
		s := newHTTPServer(t)
		twoASecond(t, s, s.gate)
	})
	t.Run("token", func(t *testing.T) {
		t.Parallel()
		s := newHTTPServer(t)
		only := func(token string) http.HandlerFunc {
			return func(w http.ResponseWriter, r *http.Request) {
				if r.Header.Get("Authorization") != "Bearer "+token {
					_, _ = io.Copy(io.Discard, r.Body)
					w.WriteHeader(http.StatusUnauthorized)
					return
				}
				s.next.ServeHTTP(w, r)
			}
		}
		s.answer(only("another"))
		d := withDetail{s, object{"Authentication": object{"BearerToken": "mine"}}}
		requireRefusal(t, d.flusher(), "401")
		s.answer(only("mine"))
		blockedLater(t, "token refused, later accepted", d, "401", func() { s.answer(only("another")) }, func() { s.answer(only("mine")) })
	})
	t.Run("certificate", func(t *testing.T) {
		t.Parallel()
		certificates(t, func(ca string, g *gate) destination {
			return withDetail{&httpServer{g, g.next.(*recorder)}, object{
				"RemoteURL":      "https://" + g.address + "/",
				"Authentication": object{"TLS": object{"Enabled": true, "CAFile": ca}},
			}}
		}, &recorder{})
	})
	t.Run("one dead", func(t *testing.T) {
		t.Parallel()
		dead := newHTTPServer(t)
		dead.close()
		oneDead(t, newHTTPServer(t), dead, func() { dead.open(t, nil) })
	})
	t.Run("one gives up", func(t *testing.T) {
		t.Parallel()
		dead := newHTTPServer(t)
		dead.close()
		oneGivesUp(t, newHTTPServer(t), dead, func() { dead.open(t, nil) }, object{"Queue": object{"MaxEvents": 3000}})
	})
	t.Run("one gives up, large queue", func(t *testing.T) {
		t.Parallel()
		dead := newHTTPServer(t)
		dead.close()
		oneGivesUp(t, newHTTPServer(t), dead, func() { dead.open(t, nil) }, object{"Queue": object{"Type": "memory"}})
	})
}

// certificates shows flinktail certificates that it must not trust: of another authority, and an expired one, at the
// start and later.
func certificates(t *testing.T, connect func(ca string, g *gate) destination, next http.Handler) {
	authority, err := servers.NewAuthority(t.TempDir())
	require.NoError(t, err)
	other, err := servers.NewAuthority(t.TempDir())
	require.NoError(t, err)
	good, err := authority.Issue("good", time.Now().Add(time.Hour))
	require.NoError(t, err)
	expired, err := authority.Issue("expired", time.Now().Add(-time.Hour))
	require.NoError(t, err)
	g := newGate(t, next)
	d := connect(authority.CAFile, g)

	g.open(t, &good)
	requireRefusal(t, connect(other.CAFile, g).flusher(), "unknown authority")
	g.open(t, &expired)
	requireRefusal(t, d.flusher(), "expired")
	g.open(t, &good)
	blockedLater(t, "certificate expires, later renewed", d, "expired", func() { g.open(t, &expired) }, func() { g.open(t, &good) })
}

// withDetail is a destination with more options for its flusher.
type withDetail struct {
	destination
	detail object
}

func (d withDetail) flusher() object {
	f := d.destination.flusher()
	detail := f["detail"].(object)
	for k, v := range d.detail {
		detail[k] = v
	}
	return f
}
