package admin

import (
	"bufio"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/flinktail/flinktail/internal/telemetry"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// start serves with o's gaps filled and returns the base URL.
func start(t *testing.T, o Options) string {
	t.Helper()
	l, err := Listen("127.0.0.1:0")
	require.NoError(t, err)
	o.Logger = slog.New(slog.DiscardHandler)
	if o.Metrics == nil {
		o.Metrics = telemetry.New().Handler()
	}
	s := Serve(l, o)
	t.Cleanup(func() {
		http.DefaultClient.CloseIdleConnections()
		require.NoError(t, s.Close(context.Background()))
	})
	return "http://" + l.Addr().String()
}

func get(t *testing.T, url string) (int, http.Header, string) {
	t.Helper()
	response, err := http.Get(url)
	require.NoError(t, err)
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	return response.StatusCode, response.Header, string(body)
}

func TestPages(t *testing.T) {
	var ready atomic.Bool
	url := start(t, Options{
		Ready: func() error {
			if ready.Load() {
				return nil
			}
			return errors.New("pipeline a: input_http is starting")
		},
		Status: func() any { return map[string]any{"pipelines": []string{"a"}} },
	})

	status, _, body := get(t, url+"/healthz")
	require.Equal(t, http.StatusOK, status)
	require.Equal(t, "ok\n", body)

	status, _, body = get(t, url+"/readyz")
	require.Equal(t, http.StatusServiceUnavailable, status)
	require.Equal(t, "pipeline a: input_http is starting\n", body)
	ready.Store(true)
	status, _, _ = get(t, url+"/readyz")
	require.Equal(t, http.StatusOK, status)

	status, header, body := get(t, url+"/api/status")
	require.Equal(t, http.StatusOK, status)
	require.Equal(t, "application/json", header.Get("Content-Type"))
	require.JSONEq(t, `{"pipelines":["a"]}`, body)

	status, _, body = get(t, url+"/metrics")
	require.Equal(t, http.StatusOK, status)
	require.Contains(t, body, "go_goroutines ")

	status, _, _ = get(t, url+"/debug/pprof/")
	require.Equal(t, http.StatusNotFound, status, "off by default")
	status, _, _ = get(t, url+"/nothing")
	require.Equal(t, http.StatusNotFound, status)
}

func TestOnlyReading(t *testing.T) {
	url := start(t, Options{Ready: func() error { return nil }, Status: func() any { return nil }})
	for _, page := range []string{"/healthz", "/readyz", "/api/status", "/metrics"} {
		response, err := http.Post(url+page, "text/plain", strings.NewReader("x"))
		require.NoError(t, err)
		require.NoError(t, response.Body.Close())
		require.Equal(t, http.StatusMethodNotAllowed, response.StatusCode, page)
	}
}

func TestPprof(t *testing.T) {
	url := start(t, Options{Pprof: true})
	status, _, body := get(t, url+"/debug/pprof/")
	require.Equal(t, http.StatusOK, status)
	require.Contains(t, body, "goroutine")
	status, _, _ = get(t, url+"/debug/pprof/heap?debug=1")
	require.Equal(t, http.StatusOK, status)
}

func TestAHugeHeaderIsRefused(t *testing.T) {
	url := start(t, Options{Ready: func() error { return nil }})
	c, err := net.Dial("tcp", strings.TrimPrefix(url, "http://"))
	require.NoError(t, err)
	defer c.Close()
	_, err = io.WriteString(c, "GET /healthz HTTP/1.1\r\nHost: x\r\nX: "+strings.Repeat("x", 64<<10)+"\r\n\r\n")
	require.NoError(t, err)
	line, err := bufio.NewReader(c).ReadString('\n')
	require.NoError(t, err)
	require.Contains(t, line, "431")
}

func TestAPortInUseIsOneClearLine(t *testing.T) {
	l, err := Listen("127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	_, err = Listen(l.Addr().String())
	require.ErrorContains(t, err, "admin address "+l.Addr().String()+": ")
	require.ErrorContains(t, err, "address already in use")
	require.NotContains(t, err.Error(), "\n")
}

func TestWriteAddress(t *testing.T) {
	l, err := Listen("127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	path := filepath.Join(t.TempDir(), "admin.addr")
	require.NoError(t, os.WriteFile(path, []byte("old"), 0o600))
	require.NoError(t, WriteAddress(path, l))
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, l.Addr().String()+"\n", string(text))
	entries, err := os.ReadDir(filepath.Dir(path))
	require.NoError(t, err)
	require.Len(t, entries, 1)
	require.ErrorContains(t, WriteAddress(filepath.Join(path, "x"), l), "write admin address: ")
}
