package httpflusher

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/flinktail/flinktail/pipeline"
)

// authority signs certificates for 127.0.0.1 and has itself and them as files.
type authority struct {
	t    testing.TB
	dir  string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t testing.TB) *authority {
	a := &authority{t: t, dir: t.TempDir()}
	a.sign("ca", time.Hour)
	return a
}

func (a *authority) file(name string) string { return filepath.Join(a.dir, name) }

// sign writes name.pem and name.key, valid for so long; the first is the authority itself.
func (a *authority) sign(name string, valid time.Duration) tls.Certificate {
	a.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(a.t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-2 * time.Hour), NotAfter: time.Now().Add(valid),
		IsCA: a.cert == nil, BasicConstraintsValid: true, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	parent, signer := a.cert, a.key
	if parent == nil {
		parent, signer = template, key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, signer)
	require.NoError(a.t, err)
	if a.cert == nil {
		a.cert, err = x509.ParseCertificate(der)
		require.NoError(a.t, err)
		a.key = key
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	require.NoError(a.t, err)
	certText := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	keyText := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret})
	require.NoError(a.t, os.WriteFile(a.file(name+".pem"), certText, 0o600))
	require.NoError(a.t, os.WriteFile(a.file(name+".key"), keyText, 0o600))
	pair, err := tls.X509KeyPair(certText, keyText)
	require.NoError(a.t, err)
	return pair
}

// serve starts a server, with HTTP/2 too, that takes everything.
func (a *authority) serve(change func(c *tls.Config)) *httptest.Server {
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
	}))
	server.EnableHTTP2 = true
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.TLS = &tls.Config{Certificates: []tls.Certificate{a.sign("server", time.Hour)}, MinVersion: tls.VersionTLS12}
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
	expired := a.serve(func(c *tls.Config) { c.Certificates = []tls.Certificate{a.sign("expired", -time.Hour)} })

	f, _ := started(t, server.URL, trusting(a.file("ca.pem")))
	require.NoError(t, flush(f, numbered(t, 1, 3)))
	require.NoError(t, f.Connect(t.Context()))

	for cause, f := range map[string]*Flusher{
		"unknown authority":               mustStart(t, server.URL, trusting(other.file("ca.pem"))),
		"failed to verify":                mustStart(t, server.URL), // the system's authorities do not know ours
		"has expired":                     mustStart(t, expired.URL, trusting(a.file("ca.pem"))),
		"wanted to match broker.internal": mustStart(t, server.URL, trusting(a.file("ca.pem")), func(f *Flusher) { f.Authentication.TLS.ServerName = "broker.internal" }),
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
	f, _ := started(t, server.URL, trusting(other.file("ca.pem")))
	require.Equal(t, "blocked", verdictOf(flush(f, numbered(t, 1, 3))))
	right, err := os.ReadFile(a.file("ca.pem"))
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(other.file("ca.pem"), right, 0o600))
	require.Equal(t, "blocked", verdictOf(flush(f, numbered(t, 1, 3))), "the files are read after a refusal")
	require.NoError(t, flush(f, numbered(t, 1, 3)))
}

func TestMutualTLS(t *testing.T) {
	a := newAuthority(t)
	known := x509.NewCertPool()
	known.AddCert(a.cert)
	for name, version := range map[string]uint16{"1.2": tls.VersionTLS12, "1.3": tls.VersionTLS13} {
		server := a.serve(func(c *tls.Config) {
			c.ClientAuth, c.ClientCAs, c.MaxVersion = tls.RequireAndVerifyClientCert, known, version
		})
		a.sign("client", time.Hour)
		with := func(name string) func(f *Flusher) {
			return func(f *Flusher) {
				f.Authentication.TLS.CertFile, f.Authentication.TLS.KeyFile = a.file(name+".pem"), a.file(name+".key")
			}
		}
		f, _ := started(t, server.URL, trusting(a.file("ca.pem")), with("client"))
		require.NoError(t, flush(f, numbered(t, 1, 3)), name)

		a.sign("client", -time.Hour)
		for what, f := range map[string]*Flusher{
			"no certificate":      mustStart(t, server.URL, trusting(a.file("ca.pem"))),
			"expired certificate": mustStart(t, server.URL, trusting(a.file("ca.pem")), with("client")),
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
	a.sign("client", time.Hour)
	other, reached := a.serve(nil), false
	other.Config.Handler = http.HandlerFunc(func(http.ResponseWriter, *http.Request) { reached = true })
	server := a.serve(nil)
	server.Config.Handler = http.RedirectHandler(other.URL, http.StatusTemporaryRedirect)
	f, _ := started(t, server.URL, trusting(a.file("ca.pem")), func(f *Flusher) {
		f.FollowRedirects = true
		f.Authentication.TLS.CertFile, f.Authentication.TLS.KeyFile = a.file("client.pem"), a.file("client.key")
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
