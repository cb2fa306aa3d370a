package httpflusher

import (
	"context"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	httpinput "github.com/flinktail/flinktail/input/http"
	"github.com/flinktail/flinktail/pipeline"
	"github.com/flinktail/flinktail/pipeline/flushertest"
	"github.com/flinktail/flinktail/pipeline/plugintest"
	"github.com/flinktail/flinktail/protocol"
)

// peer is another flinktail: its real input_http, and a pipeline that settles everything at once.
type peer struct {
	url string
	in  *plugintest.Context

	mu     sync.Mutex
	full   bool
	groups []*protocol.LogGroup
}

func newPeer(t testing.TB, choose ...func(in *httpinput.Input)) *peer {
	in := httpinput.New()
	in.Address = "127.0.0.1:0"
	for _, c := range choose {
		c(in)
	}
	require.NoError(t, in.Validate())
	p := &peer{in: plugintest.NewContext(t, "input_http")}
	require.NoError(t, in.Init(p.in))
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error)
	go func() { ended <- in.Run(ctx, p) }()
	t.Cleanup(func() {
		cancel()
		require.NoError(t, <-ended)
		require.NoError(t, in.Stop())
	})
	require.Eventually(t, func() bool {
		found := regexp.MustCompile(`msg=listening address=(\S+)`).FindStringSubmatch(p.in.Logs())
		if found != nil {
			p.url = "http://" + found[1] + "/v1/events"
		}
		return found != nil
	}, 10*time.Second, time.Millisecond)
	return p
}

// Put implements [pipeline.Sink].
func (p *peer) Put(_ context.Context, groups []*protocol.LogGroup, done func(error)) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.full {
		return pipeline.ErrFull
	}
	for _, g := range groups {
		p.groups = append(p.groups, protocol.Clone(g))
	}
	done(nil)
	return nil
}

func (p *peer) set(change func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	change()
}

func (p *peer) all() [][]byte {
	p.mu.Lock()
	defer p.mu.Unlock()
	return flushertest.JSON(p.groups...)
}

var toFlinktail = map[string]func(f *Flusher){
	"loggroup, zstd":   func(f *Flusher) { f.Format, f.Compression = FormatLogGroup, CompressionZstd },
	"loggroup":         func(f *Flusher) { f.Format = FormatLogGroup },
	"ndjson, gzip":     func(f *Flusher) { f.Compression = CompressionGzip },
	"json_array, zstd": func(f *Flusher) { f.Format, f.Compression = FormatJSONArray, CompressionZstd },
}

// Every event arrives at another flinktail as it was, with its id.
func TestContractWithFlinktail(t *testing.T) {
	for name, choose := range toFlinktail {
		t.Run(name, func(t *testing.T) {
			flushertest.Run(t, flushertest.Suite{Start: func(t testing.TB) *flushertest.Destination {
				p := newPeer(t)
				return &flushertest.Destination{
					Events: p.all,
					New: func() pipeline.Flusher {
						f := New()
						f.RemoteURL = pipeline.NewSecret(p.url)
						choose(f)
						return f
					},
				}
			}})
		})
	}
}

func TestFlinktailToFlinktail(t *testing.T) {
	for name, choose := range toFlinktail {
		t.Run(name, func(t *testing.T) {
			p := newPeer(t, func(in *httpinput.Input) { in.MaxBodyBytes = 2000; in.MaxDecompressedBytes = 2000 })
			f, _ := started(t, p.url, choose)
			events := numbered(t, 1, 200)
			for range 2 { // the answer to the first was lost
				p.set(func() { p.groups = nil })
				require.NoError(t, flush(f, events))
				require.Equal(t, numbers(1, 200), idsOf(t, p.all()), "split at the peer's MaxBodyBytes, each once, in order")
			}
			p.set(func() { p.full = true })
			require.Equal(t, "throttle 1s", verdictOf(flush(f, events)))
		})
	}
}

func TestFlinktailRefusesTheToken(t *testing.T) {
	file := filepath.Join(t.TempDir(), "tokens")
	require.NoError(t, os.WriteFile(file, []byte("right\n"), 0o600))
	p := newPeer(t, func(in *httpinput.Input) { in.TokenFile = file })
	for token, verdict := range map[string]string{"right": "delivered", "wrong": "blocked", "": "blocked"} {
		f, _ := started(t, p.url, func(f *Flusher) { f.Authentication.BearerToken = pipeline.NewSecret(token) })
		require.Equal(t, verdict, verdictOf(f.Connect(t.Context())))
		require.Empty(t, p.all(), "Connect sends no event")
		require.Equal(t, verdict, verdictOf(flush(f, numbered(t, 1, 1))))
		p.set(func() { p.groups = nil })
	}
}

// What the peer cannot take is in its dead letters: nothing is lost, and nothing sent again.
func TestFlinktailRejectsAnEvent(t *testing.T) {
	for name, choose := range toFlinktail {
		t.Run(name, func(t *testing.T) {
			p := newPeer(t, func(in *httpinput.Input) { in.MaxLineBytes = 300 })
			f, c := started(t, p.url, choose)
			long := group(t, `{"event_id":"1"}`, `{"event_id":"2","message":"`+strings.Repeat("x", 300)+`"}`, `{"event_id":"3"}`)
			require.NoError(t, flush(f, long))
			require.Equal(t, []string{"1", "3"}, idsOf(t, p.all()))
			require.Len(t, p.in.Rejected(), 1)
			require.Equal(t, 1.0, c.Counters()["receiver_rejected_events_total"])
			require.Contains(t, c.Logs(), "line_too_long")
		})
	}
}
