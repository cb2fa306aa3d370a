package kafka

import (
	"testing"
	"time"

	"github.com/IBM/sarama"
	"github.com/stretchr/testify/require"

	"github.com/flinktail/flinktail/pipeline"
)

func newFlusher(choose ...func(*Flusher)) *Flusher {
	f := New()
	f.Brokers, f.Topic = []string{"127.0.0.1:9092"}, "flink"
	for _, c := range choose {
		c(f)
	}
	return f
}

func TestValidate(t *testing.T) {
	require.NoError(t, newFlusher().Validate())
	require.NoError(t, newFlusher(func(f *Flusher) { // as iLogtail's documentation has it
		f.Brokers = []string{"192.0.2.1:9092", "[2001:db8::1]:9092"}
		f.Topic, f.PartitionerType, f.HashKeys = "test_%{content.application}", "hash", []string{"content.application"}
		f.RequiredAcks, f.Compression, f.CompressionLevel = 1, "gzip", 4
	}).Validate())
	for message, choose := range map[string]func(f *Flusher){
		"Brokers: name at least one":                              func(f *Flusher) { f.Brokers = nil },
		`Brokers[1]: "kafka" is not host:port`:                    func(f *Flusher) { f.Brokers = append(f.Brokers, "kafka") },
		`Brokers[0]: "kafka:0" has no port`:                       func(f *Flusher) { f.Brokers[0] = "kafka:0" },
		`Brokers[0]: ":9092" is not host:port`:                    func(f *Flusher) { f.Brokers[0] = ":9092" },
		"Topic: name the topic":                                   func(f *Flusher) { f.Topic = "" },
		"Key: ":                                                   func(f *Flusher) { f.Key = "%{" },
		"HashKeys: is another way":                                func(f *Flusher) { f.Key, f.HashKeys = "%{kind}", []string{"content.kind"} },
		`HashKeys[1]: names a field, "%{job_id}"`:                 func(f *Flusher) { f.HashKeys = []string{"cluster", "%{job_id}"} },
		"Headers: a header has no Key":                            func(f *Flusher) { f.Headers = []Header{{Value: "x"}} },
		"MaxMessageBytes: leaves no room":                         func(f *Flusher) { f.MaxMessageBytes = 100 },
		"RequiredAcks: 0 means":                                   func(f *Flusher) { f.RequiredAcks = 0 },
		"RequiredAcks: 2 is neither":                              func(f *Flusher) { f.RequiredAcks = 2 },
		"Timeout: must be longer than BrokerTimeout, 30s":         func(f *Flusher) { f.BrokerTimeout = 30 * time.Second },
		"BrokerTimeout: must be at least":                         func(f *Flusher) { f.BrokerTimeout = 0 },
		"KeepAlive: must not be below zero":                       func(f *Flusher) { f.KeepAlive = -1 },
		"Metadata.RefreshFrequency: must be above zero":           func(f *Flusher) { f.Metadata.RefreshFrequency = 0 },
		"CreateTopics.ReplicationFactor: 0":                       func(f *Flusher) { f.CreateTopics.ReplicationFactor = 0 },
		"Authentication.TLS.KeyFile: is missing":                  func(f *Flusher) { f.Authentication.TLS.CertFile = "c" },
		"Authentication.PlainText.Password: is missing":           func(f *Flusher) { f.Authentication.PlainText.Username = "alice" },
		"Authentication.PlainText.Username: is missing":           func(f *Flusher) { f.Authentication.PlainText.Password = pipeline.NewSecret("secret") },
		"Authentication.PlainText: is the same as SASL":           withSASL(SASL{Username: "bob", Password: pipeline.NewSecret("p")}, PlainText{"alice", pipeline.NewSecret("p")}),
		"Authentication.SASL.Password: is missing":                withSASL(SASL{Username: "bob"}, PlainText{}),
		"Authentication.SASL.Username: is missing":                withSASL(SASL{Password: pipeline.NewSecret("p")}, PlainText{}),
		"Authentication.SASL.SaslMechanism: is missing":           withSASL(SASL{TokenFile: "t"}, PlainText{}),
		"Authentication.SASL.SaslMechanism: tokens":               withSASL(SASL{SaslMechanism: "PLAIN", Username: "bob", Password: pipeline.NewSecret("p"), TokenFile: "t"}, PlainText{}),
		"Authentication.SASL.TokenFile: OAUTHBEARER needs either": withSASL(SASL{SaslMechanism: sarama.SASLTypeOAuth}, PlainText{}),
		"Authentication.SASL.ClientID: TokenURL needs":            withSASL(SASL{SaslMechanism: sarama.SASLTypeOAuth, TokenURL: "https://sso"}, PlainText{}),
		"Authentication.SASL.TokenURL: must begin":                withSASL(SASL{SaslMechanism: sarama.SASLTypeOAuth, TokenURL: "sso", ClientID: "c", ClientSecret: pipeline.NewSecret("s")}, PlainText{}),
		"Authentication.SASL.TokenURL: holds a user":              withSASL(SASL{SaslMechanism: sarama.SASLTypeOAuth, TokenURL: "https://c:s@sso/", ClientID: "c", ClientSecret: pipeline.NewSecret("s")}, PlainText{}),
		"Authentication.SASL.TokenFile: needs no":                 withSASL(SASL{SaslMechanism: sarama.SASLTypeOAuth, TokenFile: "t", ClientID: "c"}, PlainText{}),
		"Authentication.SASL.Username: OAUTHBEARER has":           withSASL(SASL{SaslMechanism: sarama.SASLTypeOAuth, TokenFile: "t", Username: "bob"}, PlainText{}),
	} {
		require.ErrorContains(t, newFlusher(choose).Validate(), message)
	}
}

func withSASL(s SASL, p PlainText) func(*Flusher) {
	return func(f *Flusher) { f.Authentication.SASL, f.Authentication.PlainText = s, p }
}
