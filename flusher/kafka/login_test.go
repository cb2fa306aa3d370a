//go:build e2e

package kafka

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/IBM/sarama"
	"github.com/stretchr/testify/require"

	"github.com/flinktail/flinktail/flusher/internal/client"
	"github.com/flinktail/flinktail/pipeline"
	"github.com/flinktail/flinktail/test/servers"
)

// securedBroker wants a certificate on SSL, knows tokens, and lets nobody write but the anonymous user of its plain listener.
func securedBroker(t *testing.T) *broker {
	return ownBroker(t, servers.KafkaOptions{Config: map[string]string{
		"authorizer.class.name":                                     "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
		"super.users":                                               "User:ANONYMOUS",
		"listener.name.ssl.ssl.client.auth":                         "required",
		"listener.name.sasl_plaintext.sasl.enabled.mechanisms":      "PLAIN,SCRAM-SHA-256,SCRAM-SHA-512,OAUTHBEARER",
		"listener.name.sasl_plaintext.oauthbearer.sasl.jaas.config": `org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule required unsecuredLoginStringClaim_sub="broker";`,
	}})
}

func (k *broker) allow(t testing.TB, topic, user string, operation sarama.AclOperation) {
	k.admin(t, func(a sarama.ClusterAdmin) error {
		return a.CreateACLs([]*sarama.ResourceAcls{{
			Resource: sarama.Resource{ResourceType: sarama.AclResourceTopic, ResourceName: topic, ResourcePatternType: sarama.AclPatternLiteral},
			Acls:     []*sarama.Acl{{Principal: "User:" + user, Host: "*", Operation: operation, PermissionType: sarama.AclPermissionAllow}},
		}})
	})
}

// token is one that a broker without a key to check it with accepts.
func token(life time.Duration) string {
	now := time.Now()
	part := base64.RawURLEncoding.EncodeToString
	return part([]byte(`{"alg":"none"}`)) + "." +
		part(fmt.Appendf(nil, `{"sub":"carol","iat":%d,"exp":%d}`, now.Unix()-10, now.Add(life).Unix())) + "."
}

func TestLogin(t *testing.T) {
	k := securedBroker(t)
	topic := k.newTopic(t, 1)
	k.allow(t, topic, "*", sarama.AclOperationWrite)
	other, err := servers.NewAuthority(filepath.Join(t.TempDir(), "other"))
	require.NoError(t, err)
	tokenFile := filepath.Join(t.TempDir(), "token")
	require.NoError(t, os.WriteFile(tokenFile, []byte(token(time.Hour)+"\n"), 0o600))
	oldToken := filepath.Join(t.TempDir(), "old")
	require.NoError(t, os.WriteFile(oldToken, []byte(token(-time.Hour)), 0o600))
	issuer := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		user, secret, _ := r.BasicAuth()
		if user != "carol" || secret != "carol-secret" || r.FormValue("grant_type") != "client_credentials" || r.FormValue("scope") != "kafka write" {
			http.Error(w, `{"error":"invalid_client"}`, http.StatusUnauthorized)
			return
		}
		fmt.Fprintf(w, `{"access_token":%q,"token_type":"Bearer","expires_in":3600}`, token(time.Hour))
	}))
	t.Cleanup(issuer.Close)

	tls := client.TLS{Enabled: true, CAFile: k.CAFile(), MinVersion: "1.2"}
	sasl := func(mechanism, user, password string) func(*Flusher) {
		return func(f *Flusher) {
			f.Brokers = []string{k.SASLPlaintext}
			f.Authentication.SASL = SASL{SaslMechanism: mechanism, Username: user, Password: pipeline.NewSecret(password)}
		}
	}
	oauth := func(change func(s *SASL)) func(*Flusher) {
		return func(f *Flusher) {
			f.Brokers = []string{k.SASLPlaintext}
			f.Authentication.SASL.SaslMechanism = sarama.SASLTypeOAuth
			change(&f.Authentication.SASL)
		}
	}
	tokenURL := func(secret string) func(s *SASL) {
		return func(s *SASL) {
			s.TokenURL, s.ClientID, s.ClientSecret, s.Scopes = issuer.URL, "carol", pipeline.NewSecret(secret), []string{"kafka", "write"}
		}
	}
	for name, test := range map[string]struct {
		choose  func(*Flusher)
		refusal string
	}{
		"anonymous":     {choose: func(*Flusher) {}},
		"PLAIN":         {choose: sasl("PLAIN", "alice", "alice-secret")},
		"SCRAM-SHA-256": {choose: sasl("SCRAM-SHA-256", "bob", "bob-secret")},
		"SCRAM-SHA-512": {choose: sasl("SCRAM-SHA-512", "bob", "bob-secret")},
		"PlainText": {choose: func(f *Flusher) {
			f.Brokers = []string{k.SASLPlaintext}
			f.Authentication.PlainText = PlainText{"alice", pipeline.NewSecret("alice-secret")}
		}},
		"token in a file":        {choose: oauth(func(s *SASL) { s.TokenFile = tokenFile })},
		"token from a server":    {choose: oauth(tokenURL("carol-secret"))},
		"wrong password, PLAIN":  {sasl("PLAIN", "alice", "wrong"), `user "alice" is refused`},
		"wrong password, SCRAM":  {sasl("SCRAM-SHA-512", "bob", "wrong"), `user "bob" is refused`},
		"no token":               {oauth(func(s *SASL) { s.TokenFile = tokenFile + ".none" }), "token.none"},
		"expired token":          {oauth(func(s *SASL) { s.TokenFile = oldToken }), "our token's owner is refused"},
		"wrong client secret":    {oauth(tokenURL("wrong")), "401"},
		"no certificate of ours": {func(f *Flusher) { f.Brokers, f.Authentication.TLS = []string{k.SSL}, tls }, "certificate"},
		"SASL and TLS": {choose: func(f *Flusher) {
			sasl("SCRAM-SHA-256", "bob", "bob-secret")(f)
			f.Brokers, f.Authentication.TLS = []string{k.SASLSSL}, tls
		}},
		"mutual TLS": {choose: func(f *Flusher) {
			f.Brokers, f.Authentication.TLS = []string{k.SSL}, tls
			f.Authentication.TLS.CertFile, f.Authentication.TLS.KeyFile = k.Client.CertFile, k.Client.KeyFile
		}},
		"wrong authority": {func(f *Flusher) {
			sasl("PLAIN", "alice", "alice-secret")(f)
			f.Brokers, f.Authentication.TLS = []string{k.SASLSSL}, tls
			f.Authentication.TLS.CAFile = other.CAFile
		}, "unknown authority"},
		"mechanism not enabled": {func(f *Flusher) {
			f.Authentication.TLS = tls
			f.Brokers, f.Authentication.SASL = []string{k.SASLSSL}, SASL{SaslMechanism: sarama.SASLTypeOAuth, TokenFile: tokenFile}
		}, "mechanism"},
	} {
		t.Run(name, func(t *testing.T) {
			f := started(t, k.flusher(topic, test.choose))
			began := time.Now()
			err := f.Connect(t.Context())
			require.Less(t, time.Since(began), 5*time.Second)
			before := len(k.messages(t, topic))
			flushed := flush(f, numbered(t, 0, 3))
			if test.refusal == "" {
				require.NoError(t, err)
				require.NoError(t, flushed)
				require.Len(t, k.messages(t, topic), before+3)
				return
			}
			requireBlocked(t, err, test.refusal)
			requireBlocked(t, flushed, test.refusal)
			require.NotContains(t, flushed.Error(), "wrong")
			require.True(t, f.IsReady("", "", 0), "what a person must mend is no outage")
		})
	}
}

// A broker that is spoken to in the wrong way hangs up; so does one that stops.
func TestWrongListener(t *testing.T) {
	k := sharedBroker(t)
	f := started(t, k.flusher(k.newTopic(t, 1), func(f *Flusher) { f.Brokers = []string{k.SASLPlaintext} }))
	for _, err := range []error{f.Connect(t.Context()), flush(f, numbered(t, 0, 1))} {
		require.ErrorContains(t, err, "with the same TLS and SASL settings?")
		require.False(t, isBlocked(err))
	}
}

func TestMissingRights(t *testing.T) {
	k := securedBroker(t)
	topic := k.newTopic(t, 1)
	f := started(t, k.flusher(topic, func(f *Flusher) {
		f.Brokers = []string{k.SASLPlaintext}
		f.Authentication.PlainText = PlainText{"alice", pipeline.NewSecret("alice-secret")}
	}))
	groups := numbered(t, 0, 5)
	lacks := func(operation string) string {
		return fmt.Sprintf(`user "alice" lacks the ACL %s on topic %q`, operation, topic)
	}
	requireBlocked(t, f.Connect(t.Context()), lacks("Describe"))
	requireBlocked(t, flush(f, groups), lacks("Describe"))
	k.allow(t, topic, "alice", sarama.AclOperationDescribe)
	require.Eventually(t, func() bool { return !strings.Contains(f.Connect(t.Context()).Error(), "Describe") }, 10*time.Second, 10*time.Millisecond)
	requireBlocked(t, f.Connect(t.Context()), lacks("Write"))
	requireBlocked(t, flush(f, groups), `user "alice" lacks the ACL IdempotentWrite on the cluster`)
	f.Idempotent = false
	requireBlocked(t, flush(f, groups), lacks("Write"))
	f.Idempotent = true
	k.allow(t, topic, "alice", sarama.AclOperationWrite)
	require.Eventually(t, func() bool { return f.Connect(t.Context()) == nil }, 10*time.Second, 10*time.Millisecond)
	require.NoError(t, flush(f, groups))
	require.Equal(t, onceEach(5), k.ids(t, topic))

	// May it create a topic?
	other := started(t, k.flusher(newTopicName(), func(f *Flusher) {
		f.Brokers = []string{k.SASLPlaintext}
		f.Authentication.PlainText = PlainText{"alice", pipeline.NewSecret("alice-secret")}
		f.CreateTopics.Partitions = 1
	}))
	requireBlocked(t, other.Connect(t.Context()), `user "alice" lacks the ACL`)
}

// A refusal ends when it is mended, without a restart of the flusher.
func TestMendedAuthority(t *testing.T) {
	k := sharedBroker(t)
	topic := k.newTopic(t, 1)
	other, err := servers.NewAuthority(filepath.Join(t.TempDir(), "other"))
	require.NoError(t, err)
	file := filepath.Join(t.TempDir(), "ca.pem")
	copyFile(t, other.CAFile, file)
	f := started(t, k.flusher(topic, func(f *Flusher) {
		f.Brokers = []string{k.SSL}
		f.Authentication.TLS = client.TLS{Enabled: true, CAFile: file, MinVersion: "1.3"}
	}))
	requireBlocked(t, flush(f, numbered(t, 0, 5)), "unknown authority")
	copyFile(t, k.CAFile(), file)
	require.NoError(t, flush(f, numbered(t, 0, 5)))
	require.Equal(t, onceEach(5), k.ids(t, topic))
}

func copyFile(t testing.TB, from, to string) {
	t.Helper()
	text, err := os.ReadFile(from)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(to, text, 0o600))
}
