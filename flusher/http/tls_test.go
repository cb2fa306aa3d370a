package httpflusher

import (
	"crypto/tls"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/flinktail/flinktail/pipeline"
	"github.com/flinktail/flinktail/pipeline/listen/listentest"
)

// authority signs the certificates of servers, and of flushers.
type authority struct {
	*listentest.Authority
	t testing.TB
}

func newAuthority(t testing.TB) *authority { return &authority{listentest.NewAuthority(t), t} }

// serve starts a server, with HTTP/2 too, that takes everything.
func (a *authority) serve(change func(c *tls.Config)) *httptest.Server {
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
	}))
	server.EnableHTTP2 = true
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.TLS = &tls.Config{Certificates: []tls.Certificate{a.Issue("server")}, MinVersion: tls.VersionTLS12}
	if change != nil {
		change(server.TLS)
	}
	server.StartTLS()
	a.t.Cleanup(server.Close)
	return server
}

func trusting(file string) func(f *Flusher) {
	return func(f *Flusher) {
		f.Authentication.TLS.Enabled = true
		f.Authentication.TLS.CAFile = file
	}
}

func TestTLS(t *testing.T) {
	a, other := newAuthority(t), newAuthority(t)
	server := a.serve(nil)
	expired := a.serve(func(c *tls.Config) { c.Certificates = []tls.Certificate{a.IssueFor(-time.Hour, "expired")} })

	f, _ := started(t, server.URL, trusting(a.File("ca.pem")))
	require.NoError(t, flush(f, numbered(t, 1, 3)))
	require.NoError(t, f.Connect(t.Context()))

	for cause, f := range map[string]*Flusher{
		"unknown authority":               mustStart(t, server.URL, trusting(other.File("ca.pem"))),
		"failed to verify":                mustStart(t, server.URL), // the system's authorities do not know ours
		"has expired":                     mustStart(t, expired.URL, trusting(a.File("ca.pem"))),
		"wanted to match broker.internal": mustStart(t, server.URL, trusting(a.File("ca.pem")), func(f *Flusher) { f.Authentication.TLS.ServerName = "broker.internal" }),
		"HTTP response to HTTPS":          mustStart(t, "https://"+newReceiver(t).address),
	} {
		for _, err := range []error{flush(f, numbered(t, 1, 3)), f.Connect(t.Context())} {
			require.Equal(t, "blocked", verdictOf(err), "%s: %v", cause, err)
			require.ErrorContains(t, err, cause)
		}
	}
}

func mustStart(t testing.TB, url string, choose ...func(*Flusher)) *Flusher {
	f, _ := started(t, url, choose...)
	return f
}

// A file that is mended heals the flusher, without a restart.
func TestTLSHeals(t *testing.T) {
	a, other := newAuthority(t), newAuthority(t)
	server := a.serve(nil)
	f, _ := started(t, server.URL, trusting(other.File("ca.pem")))
	require.Equal(t, "blocked", verdictOf(flush(f, numbered(t, 1, 3))))
	right, err := os.ReadFile(a.File("ca.pem"))
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(other.File("ca.pem"), right, 0o600))
	require.Equal(t, "blocked", verdictOf(flush(f, numbered(t, 1, 3))), "the files are read after a refusal")
	require.NoError(t, flush(f, numbered(t, 1, 3)))
}

func TestMutualTLS(t *testing.T) {
	a := newAuthority(t)
	known := a.Pool()
	for name, version := range map[string]uint16{"1.2": tls.VersionTLS12, "1.3": tls.VersionTLS13} {
		server := a.serve(func(c *tls.Config) {
			c.ClientAuth, c.ClientCAs, c.MaxVersion = tls.RequireAndVerifyClientCert, known, version
		})
		a.Issue("client")
		with := func(name string) func(f *Flusher) {
			return func(f *Flusher) {
				f.Authentication.TLS.CertFile, f.Authentication.TLS.KeyFile = a.File(name+".pem"), a.File(name+".key")
			}
		}
		f, _ := started(t, server.URL, trusting(a.File("ca.pem")), with("client"))
		require.NoError(t, flush(f, numbered(t, 1, 3)), name)

		a.IssueFor(-time.Hour, "client")
		for what, f := range map[string]*Flusher{
			"no certificate":      mustStart(t, server.URL, trusting(a.File("ca.pem"))),
			"expired certificate": mustStart(t, server.URL, trusting(a.File("ca.pem")), with("client")),
		} {
			for _, err := range []error{flush(f, benchmarkGroup(t, 2000)), f.Connect(t.Context())} {
				require.Equal(t, "blocked", verdictOf(err), "%s, TLS %s: %v", what, name, err)
			}
		}
	}
}

// Our certificate says who we are: it is shown to the host of RemoteURL only.
func TestCertificateIsForOneHost(t *testing.T) {
	a := newAuthority(t)
	a.Issue("client")
	other, reached := a.serve(nil), false
	other.Config.Handler = http.HandlerFunc(func(http.ResponseWriter, *http.Request) { reached = true })
	server := a.serve(nil)
	server.Config.Handler = http.RedirectHandler(other.URL, http.StatusTemporaryRedirect)
	f, _ := started(t, server.URL, trusting(a.File("ca.pem")), func(f *Flusher) {
		f.FollowRedirects = true
		f.Authentication.TLS.CertFile, f.Authentication.TLS.KeyFile = a.File("client.pem"), a.File("client.key")
	})
	require.Equal(t, "blocked", verdictOf(flush(f, numbered(t, 1, 1))))
	require.False(t, reached)
}

func TestTLSFilesAreRead(t *testing.T) {
	f := New()
	f.RemoteURL = pipeline.NewSecret("https://127.0.0.1:1")
	f.Authentication.TLS.Enabled = true
	f.Authentication.TLS.CAFile = "testdata/none.pem"
	require.NoError(t, f.Validate(), "no I/O")
	var option *pipeline.OptionError
	require.ErrorAs(t, f.Init(nil), &option)
	require.Equal(t, "Authentication.TLS.CAFile", option.Option)
	require.Equal(t, "blocked", verdictOf(f.Connect(t.Context())))
}
