package listen

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/flinktail/flinktail/pipeline/plugintest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// served is a gate with a server on it that answers "in" to whom it lets in.
type served struct {
	*testing.T
	*Gate
	context *plugintest.Context
}

func serve(t *testing.T, change func(o *Options)) *served {
	t.Helper()
	o := Default("127.0.0.1:0")
	if change != nil {
		change(&o)
	}
	require.NoError(t, o.Validate())
	c := plugintest.NewContext(t, "input_x")
	g, err := Open(o, c.Logger(), c)
	require.NoError(t, err)
	s := g.Server(g.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, "in")
	})))
	s.ReadHeaderTimeout = time.Second
	ended := make(chan error, 1)
	go func() { ended <- g.Serve(s) }()
	t.Cleanup(func() {
		require.NoError(t, s.Close())
		require.ErrorIs(t, <-ended, http.ErrServerClosed)
		require.Eventually(t, func() bool { return c.Gauges()["connections"] == 0 }, 10*time.Second, time.Millisecond)
	})
	return &served{t, g, c}
}

// get sends one request on a connection of its own, with what change sets.
func (s *served) get(trusted *x509.CertPool, own []tls.Certificate, change func(r *http.Request)) (*answer, error) {
	s.Helper()
	transport := &http.Transport{
		TLSClientConfig:   &tls.Config{RootCAs: trusted, Certificates: own},
		DisableKeepAlives: true,
	}
	defer transport.CloseIdleConnections()
	r, err := http.NewRequestWithContext(s.Context(), http.MethodGet, s.URL(), nil)
	require.NoError(s, err)
	if change != nil {
		change(r)
	}
	response, err := transport.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	defer func() { require.NoError(s, response.Body.Close()) }()
	text, err := io.ReadAll(response.Body)
	require.NoError(s, err)
	require.Equal(s, response.StatusCode == http.StatusOK, string(text) == "in", "%d %s", response.StatusCode, text)
	return &answer{response.StatusCode, response.Header}, nil
}

// answer is one whose body has been checked.
type answer struct {
	status int
	header http.Header
}

// status is that of a request with this Authorization header.
func (s *served) status(authorization string) int {
	s.Helper()
	a, err := s.get(nil, nil, func(r *http.Request) {
		if authorization != "" {
			r.Header.Set("Authorization", authorization)
		}
	})
	require.NoError(s, err)
	return a.status
}

// raw opens a connection, writes text as it is, and returns all that comes back until the other side closes.
func (s *served) raw(text string) string {
	s.Helper()
	c, err := net.Dial("tcp", s.Addr().String())
	require.NoError(s, err)
	defer func() { _ = c.Close() }()
	require.NoError(s, c.SetDeadline(time.Now().Add(10*time.Second)))
	_, err = io.WriteString(c, text)
	require.NoError(s, err)
	answer, err := io.ReadAll(bufio.NewReader(c))
	require.NoError(s, err)
	return string(answer)
}

func (s *served) eventually(condition func() bool) {
	s.Helper()
	require.Eventually(s, condition, 10*time.Second, time.Millisecond)
}

func (s *served) refusedConnections(reason string) float64 {
	return s.context.Counters()[`connections_refused_total{reason="`+reason+`"}`]
}

func file(t testing.TB, lines ...string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "file")
	write(t, path, lines...)
	return path
}

func write(t testing.TB, path string, lines ...string) {
	t.Helper()
	require.NoError(t, os.WriteFile(path, []byte(strings.Join(lines, "\n")), 0o600))
}
