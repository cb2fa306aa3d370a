// Package listentest makes certificates for tests of what listens.
package listentest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Authority signs certificates for servers at 127.0.0.1 and for clients.
type Authority struct {
	t           testing.TB
	dir         string
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
}

// NewAuthority returns a new one, trusted by nobody.
func NewAuthority(t testing.TB) *Authority {
	a := &Authority{t: t, dir: t.TempDir()}
	a.Issue("ca")
	return a
}

// File is where the file of that name is, such as the authority's own "ca.pem".
func (a *Authority) File(name string) string { return filepath.Join(a.dir, name) }

// Pool trusts the authority.
func (a *Authority) Pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(a.certificate)
	return pool
}

// Issue writes name.pem and name.key, new ones each time, valid for an hour, for the common name and others such as "DNS=a.b",
// "URI=spiffe://a/b".
func (a *Authority) Issue(name string, others ...string) tls.Certificate {
	return a.IssueFor(time.Hour, name, others...)
}

// IssueFor issues a certificate that is valid for so long; one that has expired is so since a negative time.
func (a *Authority) IssueFor(valid time.Duration, name string, others ...string) tls.Certificate {
	a.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(a.t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-2 * time.Hour), NotAfter: time.Now().Add(valid),
		IsCA: a.certificate == nil, BasicConstraintsValid: true, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	for _, other := range others {
		if dns, ok := strings.CutPrefix(other, "DNS="); ok {
			template.DNSNames = append(template.DNSNames, dns)
			continue
		}
		uri, err := url.Parse(strings.TrimPrefix(other, "URI="))
		require.NoError(a.t, err)
		template.URIs = append(template.URIs, uri)
	}
	parent, signer := a.certificate, a.key
	if parent == nil {
		parent, signer = template, key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, signer)
	require.NoError(a.t, err)
	if a.certificate == nil {
		a.certificate, err = x509.ParseCertificate(der)
		require.NoError(a.t, err)
		a.key = key
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	require.NoError(a.t, err)
	certText := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	keyText := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret})
	require.NoError(a.t, os.WriteFile(a.File(name+".pem"), certText, 0o600))
	require.NoError(a.t, os.WriteFile(a.File(name+".key"), keyText, 0o600))
	pair, err := tls.X509KeyPair(certText, keyText)
	require.NoError(a.t, err)
	return pair
}
