// Package client holds what flushers to remote services share.
package client

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"

	"github.com/flinktail/flinktail/pipeline"
)

// TLS are the options of a connection with TLS; the names are iLogtail's.
type TLS struct {
	Enabled            bool   `jsonschema_description:"connect with TLS"`
	CAFile             string `jsonschema_description:"PEM file with the authorities that the server's certificate may come from; without it the system's"`
	CertFile           string `jsonschema_description:"PEM file with our own certificate, for mutual TLS; read again at every handshake"`
	KeyFile            string `jsonschema_description:"PEM file with the key of CertFile"`
	ServerName         string `jsonschema_description:"the name that the server's certificate must have, when it is not the host of the address"`
	MinVersion         string `jsonschema:"enum=1.2,enum=1.3" jsonschema_description:"the oldest version of TLS to speak"`
	InsecureSkipVerify bool   `jsonschema_description:"do not check the server's certificate: anybody may read along; for tests only"`
}

var versions = map[string]uint16{"": tls.VersionTLS12, "1.2": tls.VersionTLS12, "1.3": tls.VersionTLS13}

// Validate checks what can be checked without I/O. Its OptionErrors have names like "CertFile": see [Under].
func (t TLS) Validate() error {
	var errs []error
	complain := func(option, text string) {
		errs = append(errs, &pipeline.OptionError{Option: option, Err: errors.New(text)})
	}
	switch {
	case t.CertFile != "" && t.KeyFile == "":
		complain("KeyFile", "is missing: a certificate needs its key")
	case t.CertFile == "" && t.KeyFile != "":
		complain("CertFile", "is missing: a key needs its certificate")
	}
	if _, ok := versions[t.MinVersion]; !ok {
		complain("MinVersion", fmt.Sprintf(`%q is none of "1.2", "1.3"`, t.MinVersion))
	}
	if t.InsecureSkipVerify && t.CAFile != "" {
		complain("CAFile", "has no effect with InsecureSkipVerify; remove one of them")
	}
	if !t.Enabled && t != (TLS{MinVersion: t.MinVersion}) {
		complain("Enabled", "is not set, but other options of TLS are: set it to true, or remove them")
	}
	return errors.Join(errs...)
}

// Config reads the files and returns what tls.Dial needs, nil without TLS. After an error for which [Refused] is true call it
// again: the authorities may be others by now.
func (t TLS) Config() (*tls.Config, error) {
	if !t.Enabled {
		return nil, nil
	}
	c := &tls.Config{MinVersion: versions[t.MinVersion], ServerName: t.ServerName, InsecureSkipVerify: t.InsecureSkipVerify}
	if t.CAFile != "" {
		text, err := os.ReadFile(t.CAFile)
		if err != nil {
			return nil, &pipeline.OptionError{Option: "CAFile", Err: err}
		}
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM(text) {
			return nil, &pipeline.OptionError{Option: "CAFile", Err: fmt.Errorf("%s holds no certificate in PEM form", t.CAFile)}
		}
	}
	if t.CertFile != "" {
		if _, err := t.certificate(); err != nil {
			return nil, err
		}
		c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return t.certificate() }
	}
	return c, nil
}

func (t TLS) certificate() (*tls.Certificate, error) {
	pair, err := tls.LoadX509KeyPair(t.CertFile, t.KeyFile)
	if err != nil {
		return nil, &pipeline.OptionError{Option: "CertFile", Err: err}
	}
	return &pair, nil
}

// Refused reports whether err is about certificates or TLS itself, on either side: nothing that passes by itself.
func Refused(err error) bool {
	var (
		verification *tls.CertificateVerificationError
		authority    x509.UnknownAuthorityError
		hostname     x509.HostnameError
		invalid      x509.CertificateInvalidError
		header       tls.RecordHeaderError
		option       *pipeline.OptionError
		operation    *net.OpError
	)
	switch {
	case errors.As(err, &verification), errors.As(err, &authority), errors.As(err, &hostname), errors.As(err, &invalid),
		errors.As(err, &header), errors.As(err, &option), errors.Is(err, http.ErrSchemeMismatch):
		return true
	case errors.As(err, &operation) && operation.Op == "remote error":
		return operation.Err.Error() != "tls: internal error" // the one alert that may be a passing trouble of the server's
	case errors.As(err, &operation) && operation.Op == "local error":
		return true
	}
	return false
}

// Hint adds to an error what a person can do about it, if it is one of TLS that the options can mend.
func Hint(err error) error {
	switch {
	case errors.As(err, new(x509.UnknownAuthorityError)):
		return fmt.Errorf("%w (name its authority with Authentication.TLS.CAFile)", err)
	case errors.As(err, new(tls.RecordHeaderError)), errors.Is(err, http.ErrSchemeMismatch):
		return fmt.Errorf("%w (the server speaks no TLS at this port)", err)
	}
	return err
}

// Under puts prefix before the option that each OptionError in err names: "CertFile" under "Authentication.TLS" becomes
// "Authentication.TLS.CertFile".
func Under(prefix string, err error) error {
	var joined interface{ Unwrap() []error }
	if errors.As(err, &joined) {
		var errs []error
		for _, e := range joined.Unwrap() {
			errs = append(errs, Under(prefix, e))
		}
		return errors.Join(errs...)
	}
	var option *pipeline.OptionError
	if errors.As(err, &option) {
		return &pipeline.OptionError{Option: prefix + "." + option.Option, Err: option.Err}
	}
	return err
}
