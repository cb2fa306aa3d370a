//go:build e2e

package faults

import (
	"crypto/tls"
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/flinktail/flinktail/test/servers"
)

// maxContent is the largest request that the shared Elasticsearch takes.
const maxContent = 2 << 20

func TestElasticsearch(t *testing.T) {
	t.Parallel()
	server, err := servers.StartElasticsearch(serverContext(), t.TempDir(), servers.ElasticsearchOptions{
		Config: map[string]string{"http.max_content_length": fmt.Sprintf("%db", maxContent)},
	})
	require.NoError(t, err)
	t.Cleanup(server.Stop)
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("Elasticsearch's log:\n%s", server.Tail(10))
		}
	})
	// Faults of one index, or of what stands in front, go side by side; faults of the server one after the other.
	t.Run("one", func(t *testing.T) {
		t.Run("503", func(t *testing.T) {
			t.Parallel()
			d, g := throughGate(t, server)
			outage(t, "20 s of 503", d, func(*tail) {
				g.answer(refusing(http.StatusServiceUnavailable))
				time.Sleep(failing)
				g.answer(nil)
			})
		})
		t.Run("item 429", func(t *testing.T) {
			t.Parallel()
			d := newIndices(t, server)
			d.detail["Index"] = d.name + "-%{kind}" // one of the two is blocked
			outage(t, "200 with 429 for half of the items", d, func(f *tail) {
				block := func(value string) {
					d.call(t, http.MethodPut, "/"+d.name+"-job_failure/_settings", `{"index.blocks.read_only_allow_delete":`+value+`}`, nil)
				}
				block("true")
				f.awaitState(t, "retrying", "429")
				mark := f.status(t).Flushers[0].Delivered
				f.awaitDelivered(t, mark+1) // the other items
				block("null")
			})
		})
		t.Run("poisoned", func(t *testing.T) {
			t.Parallel()
			d := newIndices(t, server)
			poisoned(t, "one oversized and one unmappable event a batch", d, object{"MaxLineBytes": "4MiB"}, func(i int) (string, string) {
				if i == 0 {
					return "1", incompressible(maxContent * 5 / 4)
				}
				return `{"of":"another type"}`, ordinary
			})
		})
		t.Run("crawling", func(t *testing.T) {
			t.Parallel()
			d, g := throughGate(t, server)
			twoASecond(t, d, g)
		})
		t.Run("one dead", func(t *testing.T) {
			t.Parallel()
			dead, g := throughGate(t, server)
			g.close()
			oneDead(t, newHTTPServer(t), dead, func() { g.open(t, nil) })
		})
		t.Run("one gives up", func(t *testing.T) {
			t.Parallel()
			dead, g := throughGate(t, server)
			g.close()
			oneGivesUp(t, newHTTPServer(t), dead, func() { g.open(t, nil) }, object{"Queue": object{"MaxEvents": 3000}})
		})
		t.Run("certificate", func(t *testing.T) {
			t.Parallel()
			certificates(t, func(ca string, g *gate) destination {
				d := newIndices(t, server)
				d.address = "https://" + g.address
				d.detail["Authentication"] = object{"TLS": object{"Enabled": true, "CAFile": ca}}
				return d
			}, forward(t, server.URL))
		})
	})
	t.Run("429", func(t *testing.T) {
		d := newIndices(t, server)
		limit := func(value string) {
			d.call(t, http.MethodPut, "/_cluster/settings", `{"persistent":{"network.breaker.inflight_requests.limit":`+value+`}}`, nil)
		}
		outage(t, "429 for whole requests", d, func(f *tail) {
			limit(`"1kb"`)
			f.awaitState(t, "retrying", "429")
			limit("null")
		})
	})
	t.Run("killed", func(t *testing.T) {
		d := newIndices(t, server)
		outage(t, "SIGKILL and restart", d, func(f *tail) {
			server.Kill()
			f.awaitState(t, "retrying", "")
			require.NoError(t, server.Start(t.Context()))
		})
	})
	t.Run("stalled", func(t *testing.T) {
		d := newIndices(t, server)
		d.detail["Timeout"] = "10s" // less than the stall: what becomes of the request is unknown
		outage(t, "SIGSTOP for 15 s", d, func(*tail) {
			require.NoError(t, server.Pause())
			time.Sleep(stalled)
			require.NoError(t, server.Resume())
		})
	})
	t.Run("absent", func(t *testing.T) {
		server.Stop()
		absent(t, newIndices(t, server), func() { require.NoError(t, server.Start(t.Context())) })
	})
}

// throughGate puts a gate in front of the server.
func throughGate(t *testing.T, server *servers.Elasticsearch) (*indices, *gate) {
	g := newGate(t, forward(t, server.URL))
	g.open(t, nil)
	d := newIndices(t, server)
	d.address = "http://" + g.address
	return d, g
}

// Security and TLS of Elasticsearch itself.
func TestSecureElasticsearch(t *testing.T) {
	t.Parallel()
	const password = "a-secret-of-elastic"
	server, err := servers.StartElasticsearch(serverContext(), t.TempDir(), servers.ElasticsearchOptions{Password: password, TLS: true})
	require.NoError(t, err)
	t.Cleanup(server.Stop)
	other, err := servers.NewAuthority(t.TempDir())
	require.NoError(t, err)

	d := newIndices(t, server)
	d.auth = func(r *http.Request) { r.SetBasicAuth("elastic", password) }
	user := func(password string) {
		d.call(t, http.MethodPut, "/_security/user/flinktail", fmt.Sprintf(`{"password":%q,"roles":["superuser"]}`, password), nil)
	}
	user("the-right-one")
	as := func(password, ca string) destination {
		return withDetail{d, object{"Authentication": object{
			"PlainText": object{"Username": "flinktail", "Password": password},
			"TLS":       object{"Enabled": true, "CAFile": ca},
		}}}
	}
	requireRefusal(t, as("the-wrong-one", server.CAFile()).flusher(), "401")
	requireRefusal(t, as("the-right-one", other.CAFile).flusher(), "unknown authority")
	blockedLater(t, "password changed, later changed back", as("the-right-one", server.CAFile()), "401",
		func() { user("another-one") }, func() { user("the-right-one") })
}

// trusting is for servers whose certificate is the test's matter.
var trusting = &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}
