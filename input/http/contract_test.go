package httpinput

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/flinktail/flinktail/pipeline"
	"github.com/flinktail/flinktail/pipeline/inputtest"
	"github.com/flinktail/flinktail/pipeline/listen"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestContract(t *testing.T) {
	inputtest.Run(t, inputtest.Suite{
		Start: func(t testing.TB) *inputtest.Source {
			in := New()
			in.Address = "127.0.0.1:0"
			in.FullWait = 50 * time.Millisecond
			return &inputtest.Source{
				New:  func() pipeline.Input { return in },
				Feed: func(ids []string) func() bool { return feed(t, in, ids) },
			}
		},
		Broken: func(t testing.TB) map[string]pipeline.Input {
			taken, err := net.Listen("tcp", "127.0.0.1:0")
			require.NoError(t, err)
			t.Cleanup(func() { _ = taken.Close() })
			busy := New()
			busy.Address = taken.Addr().String()
			noTokens := New()
			noTokens.Address, noTokens.TokenFile = "127.0.0.1:0", filepath.Join(t.TempDir(), "none")
			emptyTokens := New()
			emptyTokens.Address, emptyTokens.TokenFile = "127.0.0.1:0", filepath.Join(t.TempDir(), "empty")
			require.NoError(t, os.WriteFile(emptyTokens.TokenFile, []byte("\n \n"), 0o600))
			noCert := New()
			noCert.Address, noCert.TLS = "127.0.0.1:0", listen.TLS{CertFile: "none.pem", KeyFile: "none.key"}
			return map[string]pipeline.Input{"port in use": busy, "no token file": noTokens, "no token in it": emptyTokens, "no certificate": noCert}
		},
	})
}

// feed posts the events until they are answered 200, as a sender does.
func feed(t testing.TB, in *Input, ids []string) (acknowledged func() bool) {
	var body strings.Builder
	for _, id := range ids {
		fmt.Fprintf(&body, `{"event_id":%q,"event_time":"2026-01-05T08:00:00.123Z","kind":"job_status","job_id":"j"}`+"\n", id)
	}
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	var done atomic.Bool
	go func() {
		for t.Context().Err() == nil && !done.Load() {
			r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url(in), strings.NewReader(body.String()))
			if err != nil {
				t.Errorf("make request: %v", err)
				return
			}
			r.Header.Set("Content-Type", "application/x-ndjson")
			answer, err := transport.RoundTrip(r)
			if err == nil {
				_ = answer.Body.Close()
				done.Store(answer.StatusCode == http.StatusOK)
			}
			if !done.Load() {
				time.Sleep(time.Millisecond)
			}
		}
	}()
	return done.Load
}

func url(in *Input) string { return "http://" + in.gate.Addr().String() + path }
