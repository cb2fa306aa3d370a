package admin

import (
	"bufio"
	"context"
	"crypto/tls"
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
	"github.com/flinktail/flinktail/pipeline/listen"
	"github.com/flinktail/flinktail/pipeline/listen/listentest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// start serves with o's gaps filled, on 127.0.0.1 unless where says otherwise, and returns the base URL.
func start(t *testing.T, o Options, where ...func(l *listen.Options)) string {
	t.Helper()
	address := listen.Default("127.0.0.1:0")
	for _, change := range where {
		change(&address)
	}
	o.Logger = slog.New(slog.DiscardHandler)
	if o.Metrics == nil {
		o.Metrics = telemetry.New()
	}
	g, err := Listen(address, o.Logger, o.Metrics)
	require.NoError(t, err)
	s := Serve(g, o)
	t.Cleanup(func() {
		http.DefaultClient.CloseIdleConnections()
		require.NoError(t, s.Close(context.Background()))
	})
	return g.URL()
}

func get(t *testing.T, url string, header ...string) (int, http.Header, string) {
	t.Helper()
	return ask(t, http.DefaultClient, http.MethodGet, url, header...)
}

func ask(t *testing.T, client *http.Client, method, url string, header ...string) (int, http.Header, string) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, url, nil)
	require.NoError(t, err)
	for i := 0; i+1 < len(header); i += 2 {
		request.Header.Set(header[i], header[i+1])
		if header[i] == "Host" {
			request.Host = header[i+1]
		}
	}
	response, err := client.Do(request)
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

func writeToken(t *testing.T) (file string) {
	t.Helper()
	file = filepath.Join(t.TempDir(), "tokens")
	require.NoError(t, os.WriteFile(file, []byte("token\n"), 0o600))
	return file
}

func TestStrangersLearnOnlyWhetherItIsReady(t *testing.T) {
	var ready atomic.Bool
	url := start(t, Options{
		Ready: func() error {
			if ready.Load() {
				return nil
			}
			return errors.New("pipeline a: input_http is starting")
		},
		Status: func() any { return "status" },
		Pprof:  true,
	}, func(l *listen.Options) { l.TokenFile = writeToken(t) })
	pages := []string{"/api/status", "/metrics", "/debug/pprof/", "/debug/pprof/heap", "/debug/pprof/symbol", "/api/anything"}
	for _, wrong := range []string{"", "Bearer other"} {
		for _, page := range pages {
			status, header, body := get(t, url+page, "Authorization", wrong)
			require.Equal(t, http.StatusUnauthorized, status, page)
			require.NotEmpty(t, header.Get("WWW-Authenticate"))
			require.Equal(t, `{"error":"a valid bearer token is required"}`+"\n", body)
		}
		status, _, body := get(t, url+"/healthz", "Authorization", wrong)
		require.Equal(t, http.StatusOK, status)
		require.Equal(t, "ok\n", body)
		status, _, body = get(t, url+"/readyz", "Authorization", wrong)
		require.Equal(t, http.StatusServiceUnavailable, status)
		require.Equal(t, "not ready\n", body)
	}

	const right = "Bearer token"
	for _, page := range pages[:len(pages)-1] {
		status, _, _ := get(t, url+page, "Authorization", right)
		require.Equal(t, http.StatusOK, status, page)
	}
	_, _, body := get(t, url+"/readyz", "Authorization", right)
	require.Equal(t, "pipeline a: input_http is starting\n", body)
	ready.Store(true)
	status, _, _ := get(t, url+"/readyz")
	require.Equal(t, http.StatusOK, status)
	_, _, body = get(t, url+"/metrics", "Authorization", right)
	require.Contains(t, body, `flinktail_admin_requests_refused_total{code="401",reason="credentials"} 12`)
	require.Contains(t, body, "flinktail_admin_connections 1\n")
}

// A probe has no certificate.
func TestMutualTLS(t *testing.T) {
	ca := listentest.NewAuthority(t)
	ca.Issue("server")
	url := start(t, Options{Ready: func() error { return nil }, Status: func() any { return nil }}, func(l *listen.Options) {
		l.TLS = listen.TLS{CertFile: ca.File("server.pem"), KeyFile: ca.File("server.key"), ClientCAFile: ca.File("ca.pem")}
	})
	require.True(t, strings.HasPrefix(url, "https://"))
	client := func(own ...tls.Certificate) *http.Client {
		return &http.Client{Transport: &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{RootCAs: ca.Pool(), Certificates: own}}}
	}
	status, _, _ := ask(t, client(), http.MethodGet, url+"/readyz")
	require.Equal(t, http.StatusOK, status)
	status, _, _ = ask(t, client(), http.MethodGet, url+"/api/status")
	require.Equal(t, http.StatusUnauthorized, status)
	status, _, _ = ask(t, client(ca.Issue("prometheus")), http.MethodGet, url+"/api/status")
	require.Equal(t, http.StatusOK, status)
}

// A name of an attacker's that points to loopback would make our pages theirs in a browser's eyes.
func TestNamesThatPointToLoopback(t *testing.T) {
	o := Options{Ready: func() error { return nil }, Status: func() any { return nil }}
	url := start(t, o)
	for _, host := range []string{"localhost", "LOCALHOST:8687", "127.0.0.1:1", "[::1]:8687", "[::1]", "10.0.0.1"} {
		status, _, _ := get(t, url+"/api/status", "Host", host)
		require.Equal(t, http.StatusOK, status, host)
	}
	for _, host := range []string{"example.com", "example.com:8687", "localhost.example.com", "127.0.0.1.example.com:80"} {
		for _, page := range []string{"/api/status", "/metrics", "/healthz", "/"} {
			status, _, body := get(t, url+page, "Host", host)
			require.Equal(t, http.StatusMisdirectedRequest, status, host)
			require.Contains(t, body, "ask for localhost")
		}
	}
	everywhere := start(t, o, func(l *listen.Options) { l.Address, l.AllowInsecure = "0.0.0.0:0", true })
	status, _, _ := get(t, strings.Replace(everywhere, "[::]", "127.0.0.1", 1)+"/api/status", "Host", "flinktail.example.com")
	require.Equal(t, http.StatusOK, status, "other machines ask for any name")
}

func TestOtherSitesCannotChangeAnything(t *testing.T) {
	url := start(t, Options{Ready: func() error { return nil }, Status: func() any { return nil }})
	for _, header := range [][]string{{"Sec-Fetch-Site", "cross-site"}, {"Sec-Fetch-Site", "same-site"}, {"Origin", "https://example.com"}} {
		status, _, _ := ask(t, http.DefaultClient, http.MethodPost, url+"/api/status", header...)
		require.Equal(t, http.StatusForbidden, status, header)
	}
	status, _, _ := ask(t, http.DefaultClient, http.MethodPost, url+"/api/status")
	require.Equal(t, http.StatusMethodNotAllowed, status, "a program's request gets as far as the page")
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

func TestWriteAddress(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
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
