//go:build e2e

package faults

import (
	"testing"
	"time"

	"github.com/IBM/sarama"
	"github.com/stretchr/testify/require"

	"github.com/flinktail/flinktail/test/servers"
)

func TestKafka(t *testing.T) {
	t.Parallel()
	server, err := servers.StartKafka(serverContext(), t.TempDir(), servers.KafkaOptions{})
	require.NoError(t, err)
	t.Cleanup(server.Stop)
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("Kafka's log:\n%s", server.Tail(10))
		}
	})
	// Faults of one topic go side by side, faults of the broker one after the other.
	t.Run("one", func(t *testing.T) {
		t.Run("refused", func(t *testing.T) {
			t.Parallel()
			other, err := servers.NewAuthority(t.TempDir())
			require.NoError(t, err)
			d := newTopic(t, server, nil)
			d.broker = server.SASLPlaintext
			d.auth = scram("bob", "the-wrong-one")
			requireRefusal(t, d.flusher(), "bob")
			d.auth = object{"PlainText": object{"Username": "alice", "Password": "the-wrong-one"}}
			requireRefusal(t, d.flusher(), "alice")
			d.broker = server.SSL
			d.auth = object{"TLS": object{"Enabled": true, "CAFile": other.CAFile}}
			requireRefusal(t, d.flusher(), "unknown authority")
			d.broker, d.auth, d.name = server.Plaintext, nil, "no-such-topic"
			requireRefusal(t, d.flusher(), "no-such-topic")
		})
		t.Run("poisoned", func(t *testing.T) {
			t.Parallel()
			limit := "300000"
			d := newTopic(t, server, map[string]*string{"max.message.bytes": &limit})
			poisoned(t, "one event a batch too large for us, one for the topic", d, object{"MaxLineBytes": "4MiB"}, func(i int) (string, string) {
				return "1", incompressible([]int{1_500_000, 700_000}[i])
			})
		})
		t.Run("recreated", func(t *testing.T) {
			t.Parallel()
			d := newTopic(t, server, nil)
			began := time.Now()
			f := startTail(t, setup{flushers: []object{d.flusher()}})
			// What the topic holds goes with it: nothing may be on its way while it is deleted.
			early := writeFile(t, f, 2000)
			f.awaitDelivered(t, len(early))
			d.keep(t)
			admin := d.admin(t)
			require.NoError(t, admin.DeleteTopic(d.name))
			require.NoError(t, admin.Close())
			s := startFlow(t, f)
			s.prefix += "-late"
			f.awaitState(t, "blocked", d.name)
			d.create(t, nil)
			sent := s.finish(t, 500)
			end := f.settle(t, len(early)+len(sent))
			account{fault: "topic deleted and recreated", destination: d, sent: append(early, sent...), began: began}.require(t, f, end)
		})
		t.Run("crawling", func(t *testing.T) {
			t.Parallel()
			d := newTopic(t, server, nil)
			quota := func(remove bool) {
				admin := d.admin(t)
				defer admin.Close()
				require.NoError(t, admin.AlterClientQuotas(
					[]sarama.QuotaEntityComponent{{EntityType: sarama.QuotaEntityClientID, MatchType: sarama.QuotaMatchExact, Name: d.name}},
					sarama.ClientQuotasOp{Key: "producer_byte_rate", Value: 100_000, Remove: remove}, false))
			}
			crawling(t, "a quota of 100 kB/s", withDetail{d, object{"ClientID": d.name}}, func() { quota(false) }, func() { quota(true) })
		})
	})
	t.Run("killed", func(t *testing.T) {
		d := newTopic(t, server, nil)
		outage(t, "SIGKILL and restart", d, func(f *tail) {
			server.Kill()
			f.awaitState(t, "retrying", "")
			require.NoError(t, server.Start(t.Context()))
		})
	})
	t.Run("stalled", func(t *testing.T) {
		d := newTopic(t, server, nil)
		outage(t, "SIGSTOP for 15 s", withDetail{d, object{"Timeout": "10s", "BrokerTimeout": "5s"}}, func(*tail) {
			require.NoError(t, server.Pause())
			time.Sleep(stalled)
			require.NoError(t, server.Resume())
		})
	})
	t.Run("changed", func(t *testing.T) { changed(t, server) })
	t.Run("away", func(t *testing.T) {
		away, dead, givesUp := newTopic(t, server, nil, "absent"), newTopic(t, server, nil, "dead"), newTopic(t, server, nil, "gives-up")
		server.Stop()
		back := make(chan struct{})
		t.Run("absent", func(t *testing.T) {
			t.Parallel()
			defer close(back)
			absent(t, away, func() { require.NoError(t, server.Start(t.Context())) })
		})
		t.Run("one dead", func(t *testing.T) {
			t.Parallel()
			oneDead(t, newHTTPServer(t), dead, func() { <-back })
		})
		t.Run("one gives up", func(t *testing.T) {
			t.Parallel()
			oneGivesUp(t, newHTTPServer(t), givesUp, func() { <-back }, object{"Queue": object{"MaxEvents": 3000}})
		})
	})
}

// changed changes a user's password and the broker's certificate while events flow, and changes them back.
func changed(t *testing.T, server *servers.Kafka) {
	valid, err := server.Authority.Issue("valid", time.Now().Add(time.Hour))
	require.NoError(t, err)
	expired, err := server.Authority.Issue("expired", time.Now().Add(-time.Hour))
	require.NoError(t, err)
	byTLS, byPassword := newTopic(t, server, nil, "tls"), newTopic(t, server, nil, "password")
	byTLS.broker = server.SSL
	byTLS.auth = object{"TLS": object{"Enabled": true, "CAFile": server.CAFile()}}
	byPassword.broker = server.SASLPlaintext
	byPassword.auth = scram("carol", "the-right-one")
	change := func(password string, certificate servers.Certificate) {
		admin := byTLS.admin(t)
		results, err := admin.UpsertUserScramCredentials([]sarama.AlterUserScramCredentialsUpsert{{
			Name: "carol", Mechanism: sarama.SCRAM_MECHANISM_SHA_512, Iterations: 4096, Salt: []byte("salt"), Password: []byte(password),
		}})
		require.NoError(t, err)
		for _, r := range results {
			require.Equal(t, sarama.ErrNoError, r.ErrorCode)
		}
		require.NoError(t, admin.Close())
		require.NoError(t, server.UseCertificate(certificate))
		server.Stop() // connections that are open ask neither for a password nor for a certificate
		require.NoError(t, server.Start(t.Context()))
	}
	change("the-right-one", valid)

	began := time.Now()
	type delivery struct {
		fault, cause string
		to           *topic
		tail         *tail
		flow         *flow
	}
	all := []*delivery{
		{fault: "certificate expires, later renewed", cause: "expired", to: byTLS},
		{fault: "password changed, later changed back", cause: "carol", to: byPassword},
	}
	for _, d := range all {
		d.tail = startTail(t, setup{flushers: []object{d.to.flusher()}})
		d.flow = startFlow(t, d.tail)
		d.tail.awaitDelivered(t, 100)
	}
	change("another-one", expired)
	for _, d := range all {
		d.tail.awaitState(t, "blocked", d.cause)
		require.Zero(t, d.tail.status(t).Flushers[0].DeadLettered)
	}
	requireRefusal(t, byTLS.flusher(), "expired")
	change("the-right-one", valid)
	for _, d := range all {
		d.tail.awaitState(t, "ready", "")
		finish(t, d.fault, d.to, d.tail, d.flow, began)
	}
}

func scram(user, password string) object {
	return object{"SASL": object{"SaslMechanism": "SCRAM-SHA-512", "Username": user, "Password": password}}
}
