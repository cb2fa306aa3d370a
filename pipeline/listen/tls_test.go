package listen

import (
	"crypto/tls"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/flinktail/flinktail/pipeline/listen/listentest"
	"github.com/flinktail/flinktail/pipeline/plugintest"
)

func TestTLS(t *testing.T) {
	a := listentest.NewAuthority(t)
	a.Issue("server")
	s := serve(t, func(o *Options) { o.TLS = TLS{CertFile: a.File("server.pem"), KeyFile: a.File("server.key")} })
	got, err := s.get(a.Pool(), nil, nil)
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, got.status)
	require.Zero(t, s.refusedConnections("tls_handshake"))

	for name, config := range map[string]*tls.Config{
		"TLS 1.1": {RootCAs: a.Pool(), MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11},
		"TLS 1.2": {RootCAs: a.Pool(), MaxVersion: tls.VersionTLS12},
		"TLS 1.3": {RootCAs: a.Pool(), MinVersion: tls.VersionTLS13},
	} {
		c, err := tls.Dial("tcp", s.Addr().String(), config)
		if name == "TLS 1.1" {
			require.ErrorContains(t, err, "protocol version")
			continue
		}
		require.NoError(t, err, name)
		require.NoError(t, c.Close())
	}
	s.eventually(func() bool { return s.refusedConnections("tls_handshake") == 1 })
	require.Contains(t, s.raw("GET / HTTP/1.1\r\nHost: x\r\n\r\n"), "400", "no answer in clear text but that")
	s.eventually(func() bool { return s.refusedConnections("tls_handshake") == 2 })
}

// What does not speak HTTP puts its own server on the gate and asks it about every call.
func TestOtherProtocols(t *testing.T) {
	a := listentest.NewAuthority(t)
	a.Issue("server")
	o := Default("127.0.0.1:0")
	o.TLS = TLS{CertFile: a.File("server.pem"), KeyFile: a.File("server.key"), ClientCAFile: a.File("ca.pem")}
	o.TokenFile, o.RequestsPerSecond = file(t, "token"), 1
	c := plugintest.NewContext(t, "input_x")
	g, err := Open(o, c.Logger(), c)
	require.NoError(t, err)
	defer func() { require.NoError(t, g.Close()) }()
	dialed, own := make(chan error, 1), a.Issue("client")
	go func() {
		client, err := tls.Dial("tcp", g.Addr().String(), &tls.Config{
			RootCAs: a.Pool(), Certificates: []tls.Certificate{own}, NextProtos: []string{"h2", "http/1.1"},
		})
		if err == nil {
			_, err = client.Read(make([]byte, 1)) // ends with the other side
			_ = client.Close()
		}
		dialed <- err
	}()
	accepted, err := g.Accept()
	require.NoError(t, err)
	server := tls.Server(accepted, g.TLS("h2"))
	require.NoError(t, server.HandshakeContext(t.Context()))
	state := server.ConnectionState()
	require.Equal(t, "h2", state.NegotiatedProtocol)

	require.Nil(t, g.Authenticate(t.Context(), "Bearer token", &state))
	require.Equal(t, "credentials", g.Authenticate(t.Context(), "", &state).Reason)
	require.Equal(t, "certificate", g.Authenticate(t.Context(), "Bearer token", nil).Reason)
	require.Nil(t, g.Limit(accepted.RemoteAddr().String()))
	require.Nil(t, g.Limit(accepted.RemoteAddr().String()))
	require.Equal(t, "rate", g.Limit(accepted.RemoteAddr().String()).Reason)
	require.NoError(t, server.Close())
	require.ErrorIs(t, <-dialed, io.EOF)
	require.Zero(t, c.Counters()[`connections_refused_total{reason="tls_handshake"}`])
}

func TestCertificatesAreReadAgain(t *testing.T) {
	a, other := listentest.NewAuthority(t), listentest.NewAuthority(t)
	a.Issue("server")
	other.Issue("server")
	client, stranger := a.Issue("client"), other.Issue("client")
	cert, key, ca := a.File("server.pem"), a.File("server.key"), a.File("authorities.pem")
	replace := func(from, to string) {
		text, err := os.ReadFile(from)
		require.NoError(t, err)
		write(t, to, string(text))
	}
	replace(a.File("ca.pem"), ca)
	s := serve(t, func(o *Options) { o.TLS = TLS{CertFile: cert, KeyFile: key, ClientCAFile: ca} })
	_, err := s.get(a.Pool(), []tls.Certificate{client}, nil)
	require.NoError(t, err)

	// Half of a pair is no pair: the old one stays.
	replace(other.File("server.pem"), cert)
	s.eventually(func() bool {
		_, err := s.get(a.Pool(), []tls.Certificate{client}, nil)
		require.NoError(t, err)
		return strings.Contains(s.context.Logs(), "stays valid")
	})
	replace(other.File("server.key"), key)
	replace(other.File("ca.pem"), ca)
	s.eventually(func() bool {
		got, err := s.get(other.Pool(), []tls.Certificate{stranger}, nil)
		return err == nil && got.status == http.StatusOK
	})
	_, err = s.get(a.Pool(), []tls.Certificate{stranger}, nil)
	require.ErrorContains(t, err, "certificate", "the server shows the new certificate")
	_, err = s.get(other.Pool(), []tls.Certificate{client}, nil)
	require.Error(t, err, "the old authority is trusted no more")
}

func TestClientCertificates(t *testing.T) {
	a, other := listentest.NewAuthority(t), listentest.NewAuthority(t)
	a.Issue("server")
	s := serve(t, func(o *Options) {
		o.TokenFile = file(t, "token")
		o.TLS = TLS{
			CertFile: a.File("server.pem"), KeyFile: a.File("server.key"), ClientCAFile: a.File("ca.pem"),
			AllowedSubjects: []string{"CN=flink-*", "DNS=*.flink.svc", "URI=spiffe://prod/ns/*/sa/flink"},
		}
	})
	status := func(token string, own ...tls.Certificate) int {
		got, err := s.get(a.Pool(), own, func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+token) })
		require.NoError(t, err)
		return got.status
	}
	require.Equal(t, http.StatusOK, status("token", a.Issue("flink-1")))
	require.Equal(t, http.StatusOK, status("token", a.Issue("x", "DNS=other", "DNS=Jobs.Flink.svc")))
	require.Equal(t, http.StatusOK, status("token", a.Issue("x", "URI=spiffe://prod/ns/streaming/sa/flink")))
	for _, own := range []tls.Certificate{
		a.Issue("not-flink-1"), a.Issue("x", "DNS=a.b.flink.svc"), a.Issue("x", "DNS=a.flink.svc.example.com"), a.Issue("*.flink.svc"),
		a.Issue("x", "URI=spiffe://prod/ns/a/b/sa/flink"), a.Issue("x", "URI=spiffe://test/ns/a/sa/flink"), a.Issue("x", "DNS=flink-1"),
	} {
		require.Equal(t, http.StatusForbidden, status("token", own))
	}
	require.EqualValues(t, 7, s.context.Counters()[`requests_refused_total{code="403",reason="subject"}`])

	require.Equal(t, http.StatusUnauthorized, status("other", a.Issue("flink-1")), "the token is asked for, too")
	require.Equal(t, http.StatusUnauthorized, status("token"), "and no token stands for a certificate")
	require.EqualValues(t, 1, s.context.Counters()[`requests_refused_total{code="401",reason="certificate"}`])

	foreign := other.Issue("flink-1")
	_, err := s.get(a.Pool(), nil, func(r *http.Request) { r.Header.Set("Authorization", "Bearer token") })
	require.NoError(t, err)
	transport := &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{
		RootCAs: a.Pool(),
		// Sent though the server names other authorities.
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &foreign, nil },
	}}
	_, err = (&http.Client{Transport: transport}).Get(s.URL()) //nolint:bodyclose // there is no answer
	require.ErrorContains(t, err, "unknown certificate authority")
	s.eventually(func() bool { return s.refusedConnections("tls_handshake") == 1 })
}
