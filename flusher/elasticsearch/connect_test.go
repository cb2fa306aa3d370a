package elasticsearch

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"io"
	"log"
	"math/big"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestConnect(t *testing.T) {
	const asked = `{"cluster":["manage_index_templates"],"index":[{"names":["flink-events"],"privileges":["create_doc"]}]}`
	for name, c := range map[string]struct {
		root, rights int // statuses; 0: as without security
		answer, want string
		text         string
	}{
		"no security":                 {want: "delivered"},
		"all rights":                  {rights: 200, answer: `{"username":"me","has_all_requested":true}`, want: "delivered"},
		"may not ask who it is":       {root: 403, rights: 200, answer: `{"has_all_requested":true}`, want: "delivered"},
		"wrong password":              {root: 401, want: "blocked", text: "elasticsearch answers 401 security_exception: y"},
		"password expires in between": {rights: 401, want: "delivered"},
		"overloaded":                  {root: 429, want: "again", text: "429"},
		"no rights": {
			rights: 200, want: "blocked",
			answer: `{"username":"me","has_all_requested":false,"cluster":{"manage_index_templates":false},"index":{"flink-events":{"create_doc":false}}}`,
			text:   `elasticsearch's user "me" lacks the privilege create_doc on flink-events and manage_index_templates (or set InstallTemplate to false)`,
		},
		"no right to create": {
			rights: 200, want: "blocked", text: `lacks the privilege create_doc on flink-events`,
			answer: `{"username":"me","has_all_requested":false,"cluster":{"manage_index_templates":true},"index":{"flink-events":{"create_doc":false}}}`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newFake(t)
			s.answers(func(w http.ResponseWriter, r *http.Request, body []byte) bool {
				if r.URL.Path == "/" && c.root != 0 {
					writeFault(w, c.root, "security_exception", "y")
					return true
				}
				if r.URL.Path == "/_security/user/_has_privileges" && c.rights != 0 {
					if string(body) != asked {
						t.Errorf("asked for %s", body)
					}
					w.WriteHeader(c.rights)
					_, _ = io.WriteString(w, c.answer)
					return true
				}
				return false
			})
			err := flusherFor(s.URL).Connect(t.Context())
			require.Equal(t, c.want, kindOf(err), "%v", err)
			if c.text != "" {
				require.ErrorContains(t, err, c.text)
			}
			require.Zero(t, s.bulkRequests())
			require.Empty(t, s.templates)
		})
	}
}

func TestConnectOutages(t *testing.T) {
	require.Equal(t, "again", kindOf(flusherFor(deadAddress(t)).Connect(t.Context())))

	s := newFake(t)
	s.answers(func(_ http.ResponseWriter, r *http.Request, _ []byte) bool { <-r.Context().Done(); return true })
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	require.Equal(t, "again", kindOf(flusherFor(s.URL).Connect(ctx)))
}

func TestExampleIndex(t *testing.T) {
	for text, want := range map[string]string{
		"flink": "^flink$", "flink-%{+yyyy}": `^flink-20\d\d$`, "flink-%{kind}": "^$",
	} {
		f := flusherFor("http://es1:9200", func(f *Flusher) { f.Index = text })
		name, err := f.exampleIndex()
		require.NoError(t, err)
		require.Regexp(t, want, name)
	}
}

// A certificate that we do not trust blocks, and heals when the file with the authorities is mended.
func TestAuthorityIsMended(t *testing.T) {
	s := newFake(t)
	server := httptest.NewUnstartedServer(s)
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.StartTLS()
	t.Cleanup(server.Close)
	write := func(path string, der []byte) {
		require.NoError(t, os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600))
	}
	ca := filepath.Join(t.TempDir(), "ca.pem")
	write(ca, otherCertificate(t))
	f, _ := started(t, flusherFor(server.URL, func(f *Flusher) {
		f.Authentication.TLS.Enabled, f.Authentication.TLS.CAFile = true, ca
	}))
	for range 2 {
		require.Equal(t, "blocked", kindOf(f.Connect(t.Context())))
		err := flush(f, numbered(t, 1))
		require.Equal(t, "blocked", kindOf(err))
		require.ErrorContains(t, err, "certificate signed by unknown authority")
	}
	require.NoError(t, os.Remove(ca))
	err := flush(f, numbered(t, 1))
	require.Equal(t, "blocked", kindOf(err))
	require.ErrorContains(t, err, "Authentication.TLS.CAFile")

	write(ca, server.Certificate().Raw)
	require.NoError(t, f.Connect(t.Context()))
	require.NoError(t, flush(f, numbered(t, 1)))
	require.Equal(t, []string{"e0"}, s.heldIDs())
}

func TestCloudID(t *testing.T) {
	f := flusherFor("", func(f *Flusher) { f.Addresses, f.Authentication.CloudID = nil, "prod:ZXhhbXBsZS5jb20kYWJjJGRlZg==" })
	require.NoError(t, f.Validate())
	nodes, err := f.nodes(nil)
	require.NoError(t, err)
	require.Equal(t, "https://abc.example.com", nodes.URLs()[0].String())
	for _, id := range []string{"prod", "prod:", "prod:!", "prod:ZXhhbXBsZS5jb20=", ":JGFiYw=="} {
		f.Authentication.CloudID = id
		require.ErrorContains(t, f.Validate(), "Authentication.CloudID: is no id of a deployment", id)
	}
}

// otherCertificate is one that signed nothing here.
func otherCertificate(t *testing.T) []byte {
	public, private, err := ed25519.GenerateKey(nil)
	require.NoError(t, err)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, public, private)
	require.NoError(t, err)
	return der
}
