package kafka

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"strconv"

	"github.com/IBM/sarama"
	"github.com/xdg-go/scram"

	"github.com/flinktail/flinktail/flusher/internal/client"
	"github.com/flinktail/flinktail/pipeline"
)

// Authentication says who we are. Without any of it the connection is plain and anonymous.
type Authentication struct {
	PlainText PlainText  `jsonschema_description:"user and password with SASL's mechanism PLAIN; short for SASL"`
	SASL      SASL       `jsonschema_description:"user and password, or a token"`
	TLS       client.TLS `jsonschema_description:"encryption, and with a certificate of our own mutual TLS"`
}

// PlainText is SASL with the mechanism PLAIN.
type PlainText struct {
	Username string          `jsonschema_description:"user"`
	Password pipeline.Secret `jsonschema_description:"password"`
}

// SASL is Kafka's authentication.
type SASL struct {
	SaslMechanism string          `jsonschema:"enum=PLAIN,enum=SCRAM-SHA-256,enum=SCRAM-SHA-512,enum=OAUTHBEARER" jsonschema_description:"the mechanism; PLAIN when only a user is given"`
	Username      string          `jsonschema_description:"user, for PLAIN and SCRAM"`
	Password      pipeline.Secret `jsonschema_description:"password, for PLAIN and SCRAM"`
	TokenFile     string          `jsonschema_description:"OAUTHBEARER: file with the token, read for every connection"`
	TokenURL      string          `jsonschema_description:"OAUTHBEARER: where to get tokens, with the grant client_credentials of OAuth 2.0"`
	ClientID      string          `jsonschema_description:"OAUTHBEARER: client id for TokenURL"`
	ClientSecret  pipeline.Secret `jsonschema_description:"OAUTHBEARER: client secret for TokenURL"`
	Scopes        []string        `jsonschema_description:"OAUTHBEARER: scopes to ask TokenURL for"`
}

func (a *Authentication) validate() error {
	errs := []error{client.Under("Authentication.TLS", a.TLS.Validate())}
	complain := func(option, text string) {
		errs = append(errs, &pipeline.OptionError{Option: "Authentication." + option, Err: errors.New(text)})
	}
	plain, sasl := a.PlainText, a.SASL
	switch {
	case plain.Username != "" && plain.Password.IsZero():
		complain("PlainText.Password", "is missing")
	case plain.Username == "" && !plain.Password.IsZero():
		complain("PlainText.Username", "is missing")
	case plain.Username != "" && sasl.mechanism() != "":
		complain("PlainText", "is the same as SASL with the mechanism PLAIN; remove one of them")
	}
	oauth := sasl.TokenFile != "" || sasl.TokenURL != "" || sasl.ClientID != "" || !sasl.ClientSecret.IsZero() || len(sasl.Scopes) > 0
	switch sasl.mechanism() {
	case sarama.SASLTypeOAuth:
		switch {
		case (sasl.TokenFile == "") == (sasl.TokenURL == ""):
			complain("SASL.TokenFile", "OAUTHBEARER needs either TokenFile or TokenURL")
		case sasl.TokenURL != "" && (sasl.ClientID == "" || sasl.ClientSecret.IsZero()):
			complain("SASL.ClientID", "TokenURL needs ClientID and ClientSecret")
		case sasl.TokenURL != "" && checkTokenURL(sasl.TokenURL) != "":
			complain("SASL.TokenURL", checkTokenURL(sasl.TokenURL))
		case sasl.TokenFile != "" && (sasl.ClientID != "" || !sasl.ClientSecret.IsZero() || len(sasl.Scopes) > 0):
			complain("SASL.TokenFile", "needs no ClientID, ClientSecret and Scopes")
		}
		if sasl.Username != "" || !sasl.Password.IsZero() {
			complain("SASL.Username", "OAUTHBEARER has neither user nor password")
		}
	case "":
		if !sasl.Password.IsZero() {
			complain("SASL.Username", "is missing")
		}
		if oauth {
			complain("SASL.SaslMechanism", "is missing: OAUTHBEARER")
		}
	default:
		if sasl.Username == "" {
			complain("SASL.Username", "is missing")
		}
		if sasl.Password.IsZero() {
			complain("SASL.Password", "is missing")
		}
		if oauth {
			complain("SASL.SaslMechanism", "tokens and client ids are for OAUTHBEARER")
		}
	}
	return errors.Join(errs...)
}

// checkTokenURL says what is wrong with a TokenURL, and does not quote it: it may hold a password.
func checkTokenURL(text string) string {
	u, err := url.Parse(text)
	switch {
	case err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http":
		return "must begin with https:// or http://, and name a host"
	case u.User != nil:
		return "holds a user; write ClientID and ClientSecret, which are kept out of logs"
	}
	return ""
}

func (s *SASL) mechanism() string {
	if s.SaslMechanism == "" && s.Username != "" {
		return sarama.SASLTypePlaintext
	}
	return s.SaslMechanism
}

// identity names us in messages: `user "alice"`.
func (a *Authentication) identity() string {
	switch {
	case a.PlainText.Username != "":
		return fmt.Sprintf("user %q", a.PlainText.Username)
	case a.SASL.Username != "":
		return fmt.Sprintf("user %q", a.SASL.Username)
	case a.SASL.mechanism() == sarama.SASLTypeOAuth:
		return "our token's owner"
	case a.TLS.CertFile != "":
		return "our certificate's owner"
	}
	return "the anonymous user"
}

// apply sets up config, with files as they are now.
func (a *Authentication) apply(config *sarama.Config) error {
	tls, err := a.TLS.Config()
	if err != nil {
		return client.Under("Authentication.TLS", err)
	}
	config.Net.TLS.Enable, config.Net.TLS.Config = tls != nil, tls

	s := a.SASL
	if a.PlainText.Username != "" {
		s = SASL{Username: a.PlainText.Username, Password: a.PlainText.Password}
	}
	mechanism := s.mechanism()
	if mechanism == "" {
		return nil
	}
	sasl := &config.Net.SASL
	sasl.Enable, sasl.Mechanism = true, sarama.SASLMechanism(mechanism)
	sasl.User, sasl.Password = s.Username, s.Password.Reveal()
	switch mechanism {
	case sarama.SASLTypeSCRAMSHA256:
		sasl.SCRAMClientGeneratorFunc = func() sarama.SCRAMClient { return &conversation{hash: scram.SHA256} }
	case sarama.SASLTypeSCRAMSHA512:
		sasl.SCRAMClientGeneratorFunc = func() sarama.SCRAMClient { return &conversation{hash: scram.SHA512} }
	}
	return nil
}

// conversation is one SCRAM exchange.
type conversation struct {
	hash scram.HashGeneratorFcn
	*scram.ClientConversation
}

// Begin starts the exchange.
func (c *conversation) Begin(user, password, authzID string) error {
	client, err := c.hash.NewClient(user, password, authzID)
	if err == nil {
		c.ClientConversation = client.NewConversation()
	}
	return err
}

func checkAddress(address string) error {
	host, port, err := net.SplitHostPort(address)
	if err != nil || host == "" {
		return fmt.Errorf(`%q is not host:port, such as "kafka:9092"`, address)
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return fmt.Errorf("%q has no port between 1 and 65535", address)
	}
	return nil
}
