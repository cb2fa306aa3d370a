package client

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
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

func TestRetryAfter(t *testing.T) {
	now := time.Date(2026, 1, 5, 8, 0, 0, 0, time.UTC)
	for text, want := range map[string]time.Duration{
		"": 0, "3": 3 * time.Second, "0": 0, "-3": 0, "soon": 0, "1.5": 0, "99999999999": 0,
		"86400":                         maxRetryAfter,
		"Mon, 05 Jan 2026 08:00:07 GMT": 7 * time.Second,
		"Mon, 05 Jan 2026 07:00:07 GMT": 0,
		"Tue, 06 Jan 2026 08:00:07 GMT": maxRetryAfter,
	} {
		require.Equal(t, want, RetryAfter(http.Header{"Retry-After": {text}}, now), text)
	}
}

func TestValidate(t *testing.T) {
	require.NoError(t, TLS{}.Validate())
	require.NoError(t, TLS{MinVersion: "1.2"}.Validate(), "a default is no sign that TLS was meant")
	require.NoError(t, TLS{Enabled: true, MinVersion: "1.3", CertFile: "c", KeyFile: "k", CAFile: "a"}.Validate())
	err := Under("Authentication.TLS", TLS{MinVersion: "1.1", CertFile: "c", CAFile: "a", InsecureSkipVerify: true}.Validate())
	require.EqualError(t, err, `Authentication.TLS.KeyFile: is missing: a certificate needs its key
Authentication.TLS.MinVersion: "1.1" is none of "1.2", "1.3"
Authentication.TLS.CAFile: has no effect with InsecureSkipVerify; remove one of them
Authentication.TLS.Enabled: is not set, but other options of TLS are: set it to true, or remove them`)
	var option *pipeline.OptionError
	require.ErrorAs(t, err, &option)
	require.ErrorContains(t, TLS{Enabled: true, KeyFile: "k"}.Validate(), "CertFile: is missing")
}

// pki is an authority and what it has signed, as files.
type pki struct {
	dir  string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newPKI(t *testing.T) *pki {
	p := &pki{dir: t.TempDir()}
	p.cert, p.key = sign(t, p, "ca", time.Now().Add(time.Hour))
	return p
}

func (p *pki) file(name string) string { return filepath.Join(p.dir, name) }

func sign(t *testing.T, p *pki, name string, until time.Time) (*x509.Certificate, *ecdsa.PrivateKey) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: until,
		IsCA: p.cert == nil, BasicConstraintsValid: true, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	parent, signer := p.cert, p.key
	if parent == nil {
		parent, signer = template, key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, signer)
	require.NoError(t, err)
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(p.file(name+".pem"), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600))
	require.NoError(t, os.WriteFile(p.file(name+".key"), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}), 0o600))
	cert, err := x509.ParseCertificate(der)
	require.NoError(t, err)
	return cert, key
}

// server speaks TLS with the certificate name.
func (p *pki) server(t *testing.T, name string, auth tls.ClientAuthType) *httptest.Server {
	t.Helper()
	pair, err := tls.LoadX509KeyPair(p.file(name+".pem"), p.file(name+".key"))
	require.NoError(t, err)
	pool := x509.NewCertPool()
	pool.AddCert(p.cert)
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.TLS = &tls.Config{Certificates: []tls.Certificate{pair}, ClientAuth: auth, ClientCAs: pool}
	s.StartTLS()
	t.Cleanup(s.Close)
	return s
}

func get(t *testing.T, url string, o TLS) error {
	t.Helper()
	config, err := o.Config()
	require.NoError(t, err)
	transport := &http.Transport{TLSClientConfig: config}
	defer transport.CloseIdleConnections()
	response, err := (&http.Client{Transport: transport}).Get(url)
	if err == nil {
		err = response.Body.Close()
	}
	return err
}

func TestConnections(t *testing.T) {
	good, other := newPKI(t), newPKI(t)
	sign(t, good, "server", time.Now().Add(time.Hour))
	sign(t, good, "expired", time.Now().Add(-time.Minute))
	sign(t, good, "me", time.Now().Add(time.Hour))
	sign(t, other, "stranger", time.Now().Add(time.Hour))
	plain := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(plain.Close)
	server, mutual := good.server(t, "server", tls.NoClientCert), good.server(t, "server", tls.RequireAndVerifyClientCert)
	ca := TLS{Enabled: true, CAFile: good.file("ca.pem")}
	with := func(change func(o *TLS)) TLS {
		o := ca
		change(&o)
		return o
	}

	require.NoError(t, get(t, server.URL, ca))
	require.NoError(t, get(t, server.URL, TLS{Enabled: true, InsecureSkipVerify: true}))
	require.NoError(t, get(t, mutual.URL, with(func(o *TLS) { o.CertFile, o.KeyFile = good.file("me.pem"), good.file("me.key") })))
	for name, c := range map[string]struct {
		url     string
		options TLS
	}{
		"wrong authority":        {server.URL, with(func(o *TLS) { o.CAFile = other.file("ca.pem") })},
		"the system's authority": {server.URL, TLS{Enabled: true}},
		"wrong name":             {server.URL, with(func(o *TLS) { o.ServerName = "flink.example" })},
		"expired":                {good.server(t, "expired", tls.NoClientCert).URL, ca},
		"no TLS at the server":   {"https" + plain.URL[len("http"):], ca},
		"no certificate of ours": {mutual.URL, ca},
		"a stranger's certificate": {mutual.URL, with(func(o *TLS) {
			o.CertFile, o.KeyFile = other.file("stranger.pem"), other.file("stranger.key")
		})},
	} {
		err := get(t, c.url, c.options)
		require.Error(t, err, name)
		require.True(t, Refused(err), "%s: %v", name, err)
		require.True(t, Refused(fmt.Errorf("send: %w", err)), name)
	}

	require.ErrorContains(t, Hint(get(t, server.URL, TLS{Enabled: true})), "Authentication.TLS.CAFile")
	require.ErrorContains(t, Hint(get(t, "https"+plain.URL[len("http"):], ca)), "speaks no TLS")
	require.Equal(t, io.EOF, Hint(io.EOF))

	closed := httptest.NewServer(http.NotFoundHandler())
	closed.Close()
	require.False(t, Refused(get(t, closed.URL, TLS{})), "nobody listens")
	require.False(t, Refused(nil))
	require.False(t, Refused(io.ErrUnexpectedEOF))
}

// A certificate of ours that was renewed counts at the next handshake; other authorities with the next Config.
func TestRenewedFiles(t *testing.T) {
	good := newPKI(t)
	sign(t, good, "server", time.Now().Add(time.Hour))
	sign(t, good, "me", time.Now().Add(-time.Minute))
	s := good.server(t, "server", tls.RequireAndVerifyClientCert)
	o := TLS{Enabled: true, CAFile: good.file("ca.pem"), CertFile: good.file("me.pem"), KeyFile: good.file("me.key")}
	config, err := o.Config()
	require.NoError(t, err)
	transport := &http.Transport{TLSClientConfig: config}
	t.Cleanup(transport.CloseIdleConnections)
	get := func() error {
		response, err := (&http.Client{Transport: transport}).Get(s.URL)
		if err == nil {
			err = response.Body.Close()
		}
		return err
	}
	require.True(t, Refused(get()), "expired")
	sign(t, good, "me", time.Now().Add(time.Hour))
	require.NoError(t, get())
	require.NoError(t, os.Remove(o.CertFile))
	transport.CloseIdleConnections()
	err = get()
	require.ErrorContains(t, err, "me.pem")
	require.True(t, Refused(err))

	for file, option := range map[string]TLS{
		"CAFile":   {Enabled: true, CAFile: good.file("none.pem")},
		"CertFile": {Enabled: true, CertFile: good.file("none.pem"), KeyFile: good.file("none.key")},
	} {
		_, err := option.Config()
		var wrong *pipeline.OptionError
		require.ErrorAs(t, err, &wrong)
		require.Equal(t, file, wrong.Option)
		require.ErrorIs(t, err, os.ErrNotExist)
	}
	require.NoError(t, os.WriteFile(good.file("empty.pem"), []byte("none"), 0o600))
	_, err = TLS{Enabled: true, CAFile: good.file("empty.pem")}.Config()
	require.ErrorContains(t, err, "holds no certificate in PEM form")
}
