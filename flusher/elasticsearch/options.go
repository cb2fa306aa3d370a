package elasticsearch

import (
	"errors"
	"fmt"
	"net/url"
	"strings"

	"github.com/flinktail/flinktail/flusher/internal/client"
	"github.com/flinktail/flinktail/flusher/internal/pattern"
	"github.com/flinktail/flinktail/pipeline"
	"github.com/flinktail/flinktail/protocol"
)

// Validate checks the options that have rules of their own, and that they fit together.
func (f *Flusher) Validate() error {
	var errs []error
	complain := func(option string, err error) {
		if err != nil {
			errs = append(errs, &pipeline.OptionError{Option: option, Err: err})
		}
	}
	auth := &f.Authentication
	switch {
	case len(f.Addresses) == 0 && auth.CloudID == "":
		complain("Addresses", errors.New("name at least one node, such as http://127.0.0.1:9200"))
	case len(f.Addresses) > 0 && auth.CloudID != "":
		complain("Authentication.CloudID", errors.New("stands for the addresses; remove Addresses or CloudID"))
	}
	for i, address := range f.Addresses {
		complain(fmt.Sprintf("Addresses[%d]", i), checkAddress(address, auth.TLS.Enabled))
	}
	complain("Index", checkIndex(f.Index))

	switch plain := auth.PlainText; {
	case plain.Username != "" && plain.Password.IsZero():
		complain("Authentication.PlainText.Password", errors.New("is missing"))
	case plain.Username == "" && !plain.Password.IsZero():
		complain("Authentication.PlainText.Username", errors.New("is missing"))
	case plain.Username != "" && !auth.APIKey.IsZero():
		complain("Authentication.APIKey", errors.New("is a second way to authenticate; remove it or PlainText"))
	case strings.ContainsAny(auth.APIKey.Reveal(), ": \t\r\n"):
		complain("Authentication.APIKey", errors.New(`is not the encoded form, the base64 of id:key; Elasticsearch calls it "encoded" when it creates a key`))
	}
	if err := auth.TLS.Validate(); err != nil {
		errs = append(errs, client.Under("Authentication.TLS", err))
	}
	if f.Timeout <= 0 {
		complain("Timeout", errors.New("must be above zero"))
	}
	if f.HTTPConfig.ResponseHeaderTimeout < 0 {
		complain("HTTPConfig.ResponseHeaderTimeout", errors.New("must not be below zero"))
	}
	if auth.CloudID != "" {
		_, err := cloudAddress(auth.CloudID)
		complain("Authentication.CloudID", err)
	}
	return errors.Join(errs...)
}

func checkAddress(address string, withTLS bool) error {
	u, err := url.Parse(address)
	switch {
	case err != nil:
		return errNoURL // the error would quote a password in it
	case u.Scheme != "http" && u.Scheme != "https", u.Host == "":
		return errors.New("is not http://host:port or https://host:port")
	case u.User != nil:
		return errors.New("holds a user; write Authentication.PlainText instead")
	case u.RawQuery != "" || u.Fragment != "":
		return errors.New("is more than scheme, host, port and path")
	case withTLS && u.Scheme != "https":
		return errors.New("is http, but Authentication.TLS.Enabled says TLS: write https or remove that")
	}
	return nil
}

func checkIndex(text string) error {
	p, err := pattern.Parse(text)
	if err != nil {
		return err
	}
	glob := p.Glob()
	switch {
	case glob == "":
		return errors.New("name the index or data stream")
	case !isLetterOrDigit(glob[0]):
		return errors.New("must begin with a lower-case letter or a digit")
	case len(glob) > maxIndexLiteral:
		return fmt.Errorf("is longer than %d bytes", maxIndexLiteral)
	}
	for _, r := range string(p.Append(nil, &protocol.LogGroup{}, &protocol.Log{})) { // the literals and the dates
		if !isIndexRune(r) {
			return fmt.Errorf("must not contain %q: there are lower-case letters, digits and -_.+=@", r)
		}
	}
	return nil
}
