package httpflusher

import (
	"errors"
	"fmt"
	"maps"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"text/template"

	"github.com/flinktail/flinktail/flusher/internal/client"
	"github.com/flinktail/flinktail/flusher/internal/pattern"
	"github.com/flinktail/flinktail/pipeline"
	"github.com/flinktail/flinktail/protocol"
)

// endpoint is what the options come to. It is immutable.
type endpoint struct {
	method      string
	url         *url.URL
	name        string // for people; the path and the query may hold secrets
	header      http.Header
	varying     []varying // sorted by name
	format      string
	compression string
	template    *template.Template
	wantsJSON   bool              // of the template
	secrets     []pipeline.Secret // that a server may repeat
}

// varying is a header or a query parameter that depends on the event.
type varying struct {
	name    string
	query   bool
	pattern *pattern.Pattern
}

var contentTypes = map[string]string{
	FormatNDJSON:    "application/x-ndjson",
	FormatJSONArray: "application/json",
	FormatLogGroup:  "application/x-protobuf",
	FormatTemplate:  "application/json",
}

// ownHeaders are those that Headers may not set, with what to do instead.
var ownHeaders = map[string]string{
	"Content-Encoding": "set Compression", "Content-Length": "it is always sent", "Transfer-Encoding": "bodies are sent whole",
	"Connection": "connections are kept open", "Host": "it is that of RemoteURL",
}

// newEndpoint reads the options and says all that is wrong with them.
func (f *Flusher) newEndpoint() (*endpoint, error) {
	var errs []error
	complain := func(option, text string, args ...any) {
		errs = append(errs, &pipeline.OptionError{Option: option, Err: fmt.Errorf(text, args...)})
	}
	e := &endpoint{method: f.Method, format: f.Format, compression: f.Compression, header: http.Header{}}
	contentType, known := contentTypes[f.Format]
	if !known {
		complain("Format", `%q is none of "ndjson", "json_array", "loggroup", "template"`, f.Format)
	}
	if f.Timeout <= 0 {
		complain("Timeout", "must be more than 0s")
	}

	remote, err := parseURL(f.RemoteURL.Reveal())
	if err != nil {
		complain("RemoteURL", "%w", err)
		remote = &url.URL{}
	}
	e.name = remote.Scheme + "://" + remote.Host

	e.header.Set("Content-Type", contentType)
	e.header.Set("User-Agent", "flinktail")
	if f.Compression != CompressionNone {
		e.header.Set("Content-Encoding", f.Compression)
	}
	for _, name := range slices.Sorted(maps.Keys(f.Headers)) {
		option, value := "Headers."+name, f.Headers[name].Reveal()
		instead, own := ownHeaders[http.CanonicalHeaderKey(name)]
		switch {
		case !isToken(name):
			complain(option, "is no name of a header")
		case own:
			complain(option, "may not be set here: %s", instead)
		case strings.ContainsFunc(value, isControl):
			complain(option, "holds a line feed or another control character")
		default:
			p, err := pattern.Parse(value)
			if err != nil {
				complain(option, "%w", err)
			} else if text, constant := p.Constant(); constant {
				e.header.Set(name, text)
			} else {
				e.varying = append(e.varying, varying{name: name, pattern: p})
			}
		}
	}
	query := remote.Query()
	for _, name := range slices.Sorted(maps.Keys(f.Query)) {
		p, err := pattern.Parse(f.Query[name].Reveal())
		if err != nil {
			complain("Query."+name, "%w", err)
		} else if text, constant := p.Constant(); constant {
			query.Set(name, text)
		} else {
			e.varying = append(e.varying, varying{name: name, query: true, pattern: p})
		}
	}
	if len(f.Query) > 0 {
		remote.RawQuery = query.Encode()
	}
	e.url = remote

	errs = append(errs, f.checkAuthentication(remote)...)
	if authorization := f.Authentication.authorization(); authorization != "" {
		e.header.Set("Authorization", authorization)
	}
	switch {
	case f.Format == FormatTemplate && f.Template == "":
		complain("Template", "is missing: it makes the bodies of Format template")
	case f.Format == FormatTemplate:
		if e.template, err = parseTemplate(f.Template); err != nil {
			complain("Template", "%w", err)
		}
		e.wantsJSON = isJSON(e.header.Get("Content-Type"))
	case f.Template != "":
		complain("Template", "has no effect with Format %s; remove it, or set Format to template", f.Format)
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	e.secrets = append(e.constantSecrets(), f.Authentication.PlainText.Password)
	return e, nil
}

// constantSecrets returns what of every request may be one: the path, the parameters and the headers' values.
func (e *endpoint) constantSecrets() []pipeline.Secret {
	secrets := []pipeline.Secret{pipeline.NewSecret(strings.TrimLeft(e.url.Path, "/")), pipeline.NewSecret(e.url.RawQuery)}
	for segment := range strings.SplitSeq(e.url.Path, "/") {
		if len(segment) >= 16 { // no word for people
			secrets = append(secrets, pipeline.NewSecret(segment))
		}
	}
	for _, values := range e.url.Query() {
		for _, value := range values {
			secrets = append(secrets, pipeline.NewSecret(value))
		}
	}
	for name, values := range e.header {
		if name != "Content-Type" && name != "Content-Encoding" && name != "User-Agent" {
			secrets = append(secrets, client.InHeader(values[0])...)
		}
	}
	return secrets
}

func (f *Flusher) checkAuthentication(remote *url.URL) (errs []error) {
	complain := func(option, text string) {
		errs = append(errs, &pipeline.OptionError{Option: option, Err: errors.New(text)})
	}
	a := &f.Authentication
	ways := 0
	for _, given := range []bool{a.PlainText != PlainText{}, !a.BearerToken.IsZero(), a.BearerTokenFile != ""} {
		if given {
			ways++
		}
	}
	for name := range f.Headers {
		if ways == 1 && strings.EqualFold(name, "Authorization") {
			complain("Headers."+name, "and Authentication both say who we are; remove one of them")
		}
	}
	switch {
	case ways > 1:
		complain("Authentication", "choose one of PlainText, BearerToken and BearerTokenFile")
	case strings.Contains(a.PlainText.Username, ":"):
		complain("Authentication.PlainText.Username", "holds a colon, which basic authentication cannot express")
	case strings.ContainsFunc(a.BearerToken.Reveal(), isControl):
		complain("Authentication.BearerToken", "holds a line feed or another control character")
	}
	if err := client.Under("Authentication.TLS", a.TLS.Validate()); err != nil {
		errs = append(errs, err)
	} else if a.TLS.Enabled && remote.Scheme == "http" {
		complain("Authentication.TLS.Enabled", "has no effect with http; write https in RemoteURL")
	}
	return errs
}

func parseURL(text string) (*url.URL, error) {
	if text == "" {
		return nil, errors.New("is missing: where shall events go?")
	}
	u, err := url.Parse(text)
	switch {
	case err != nil: // the error quotes the URL, and that may hold a secret
		return nil, errors.New(`is no URL, such as "https://collector.example.com/v1/events"`)
	case u.Scheme != "http" && u.Scheme != "https":
		return nil, errors.New("must begin with http:// or https://")
	case u.Hostname() == "":
		return nil, errors.New("names no host")
	case u.User != nil:
		return nil, errors.New("holds a user; write it in Authentication.PlainText, which is kept out of logs")
	}
	u.Fragment = ""
	return u, nil
}

// isToken reports whether name can be the name of a header (RFC 9110, section 5.6.2).
func isToken(name string) bool {
	return name != "" && !strings.ContainsFunc(name, func(r rune) bool {
		return r <= ' ' || r >= 0x7f || strings.ContainsRune(`"(),/:;<=>?@[\]{}`, r)
	})
}

func isControl(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }

func isJSON(contentType string) bool {
	plain, _, err := mime.ParseMediaType(contentType)
	return err == nil && (plain == "application/json" || strings.HasSuffix(plain, "+json"))
}

// maxHeaderValue bounds what an event can put into a header, as receivers bound their length.
const maxHeaderValue = 1 << 10

// appendTo appends the value for an event, for use in a header or, before it is escaped, in a query.
func (v *varying) appendTo(dst []byte, g *protocol.LogGroup, log *protocol.Log) []byte {
	start := len(dst)
	dst = v.pattern.Append(dst, g, log)
	if v.query {
		return dst
	}
	dst = dst[:min(len(dst), start+maxHeaderValue)]
	for i := start; i < len(dst); i++ {
		if isControl(rune(dst[i])) {
			dst[i] = ' '
		}
	}
	return dst
}

// target returns where an event's request goes and its headers.
func (e *endpoint) target(g *protocol.LogGroup, log *protocol.Log) (*url.URL, http.Header) {
	header := e.header.Clone()
	if len(e.varying) == 0 {
		return e.url, header
	}
	var query url.Values
	for i := range e.varying {
		v := &e.varying[i]
		value := string(v.appendTo(nil, g, log))
		if !v.query {
			header.Set(v.name, value)
			continue
		}
		if query == nil {
			query = e.url.Query()
		}
		query.Set(v.name, value)
	}
	if query == nil {
		return e.url, header
	}
	u := *e.url
	u.RawQuery = query.Encode()
	return &u, header
}
