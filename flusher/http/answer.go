package httpflusher

import (
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strings"
	"time"
	"unicode"

	"github.com/flinktail/flinktail/flusher/internal/client"
	"github.com/flinktail/flinktail/pipeline"
)

// answer is what the receiver said.
type answer struct {
	method string // of the request
	status int
	header http.Header
	text   []byte // the beginning of the body

	secrets []pipeline.Secret // of the request, which the receiver may repeat
}

// maxText is how much of an answer is read: another flinktail may list 1000 events.
const maxText = 64 << 10

// readText reads r to its end or to maxText, into memory that is used again. What goes wrong is no matter: the status has come.
func readText(dst []byte, r io.Reader) []byte {
	for len(dst) < maxText {
		if len(dst) == cap(dst) {
			dst = append(dst, make([]byte, max(len(dst), 512))...)[:len(dst)]
		}
		n, err := r.Read(dst[len(dst):min(cap(dst), maxText)])
		dst = dst[:len(dst)+n]
		if err != nil {
			break
		}
	}
	return dst
}

// temporary reports whether the status says to try again later.
func (a answer) temporary() bool {
	switch a.status {
	case http.StatusRequestTimeout, http.StatusTooEarly, http.StatusTooManyRequests:
		return true
	}
	return a.status >= http.StatusInternalServerError
}

// hints say what to look at after a refusal that is no matter of the events.
var hints = map[int]string{
	http.StatusUnauthorized:         "check Authentication",
	http.StatusForbidden:            "we may not do this; check Authentication and our rights there",
	http.StatusNotFound:             "check the path of RemoteURL",
	http.StatusMethodNotAllowed:     "check Method and the path of RemoteURL",
	http.StatusProxyAuthRequired:    "check the proxy of the environment (HTTPS_PROXY)",
	http.StatusUnsupportedMediaType: "check Format and Compression",
}

// verdict turns the answer into what it means for the events: nil when they are delivered.
func (a answer) verdict(e *endpoint) error {
	if a.status >= 200 && a.status <= 299 {
		return nil
	}
	text := fmt.Sprintf("%s to %s: %d", a.method, e.name, a.status)
	if name := http.StatusText(a.status); name != "" {
		text += " " + name
	}
	if a.status >= 300 && a.status <= 399 {
		return pipeline.Blocked(errors.New(text + a.redirect(e)))
	}
	if said := a.summary(); said != "" {
		text += ": " + said
	}
	switch {
	case a.temporary():
		err := errors.New(text)
		if pause := client.RetryAfter(a.header, time.Now()); pause > 0 {
			return pipeline.Throttle(err, pause)
		}
		return err
	case a.status == http.StatusBadRequest && e.url.Scheme == "http" && strings.Contains(text, "HTTPS"):
		return pipeline.Blocked(errors.New(text + " (write https in RemoteURL)"))
	case a.status == http.StatusBadRequest, a.status == http.StatusRequestEntityTooLarge, a.status == http.StatusUnprocessableEntity:
		return &faultError{errors.New(text)}
	}
	if hint := hints[a.status]; hint != "" {
		text += " (" + hint + ")"
	}
	return pipeline.Blocked(errors.New(text))
}

// redirect says where an answer that was not followed leads. It leaves out the query, and our own path, which may be secrets.
func (a answer) redirect(e *endpoint) string {
	const hint = "; write that in RemoteURL, or set FollowRedirects, which follows 307 and 308"
	to, err := url.Parse(a.header.Get("Location"))
	if err != nil || a.header.Get("Location") == "" {
		return ", not followed"
	}
	to = e.url.ResolveReference(to)
	place := a.conceal(to.Scheme + "://" + to.Host)
	if to.Path == e.url.Path {
		return " to the same path at " + place + hint
	}
	return " to " + place + a.conceal(to.EscapedPath()) + hint
}

func (a answer) conceal(said string) string { return client.Conceal(said, a.secrets...) }

// maxSummary is how much of an answer stands in an error.
const maxSummary = 256

// summary returns the beginning of the answer on one line, nothing of a web page.
func (a answer) summary() string {
	if kind, _, _ := mime.ParseMediaType(a.header.Get("Content-Type")); kind == "text/html" {
		return ""
	}
	text := a.conceal(strings.ToValidUTF8(string(a.text[:min(len(a.text), 4*maxSummary)]), ""))
	text = strings.Join(strings.FieldsFunc(text, func(r rune) bool { return unicode.IsSpace(r) || unicode.IsControl(r) }), " ")
	if len(text) > maxSummary {
		text = strings.ToValidUTF8(text[:maxSummary], "") + "…"
	}
	return text
}
