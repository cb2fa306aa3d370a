package listen

import (
	"context"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
)

// Refusal is why a request is not let in.
type Refusal struct {
	Status int    // of HTTP
	Reason string // a short constant, for the label of a counter
	Text   string // for the client
	Header http.Header
}

var (
	refuseRate = Refusal{http.StatusTooManyRequests, "rate", "more requests than RequestsPerSecond; send again later", http.Header{"Retry-After": {"1"}}}
	refuseBusy = Refusal{http.StatusTooManyRequests, "logins", "too many logins at once; send again later", http.Header{"Retry-After": {"1"}}}

	refuseCertificate = Refusal{http.StatusUnauthorized, "certificate", "a client certificate is required", nil}
	refuseSubject     = Refusal{http.StatusForbidden, "subject", "the client certificate has no name that is allowed", nil}
)

const bearerChallenge, basicChallenge = `Bearer realm="flinktail"`, `Basic realm="flinktail", charset="UTF-8"`

// Admit decides by the header alone whether the request is let in: nil lets it in.
func (g *Gate) Admit(r *http.Request) *Refusal {
	if refused := g.Limit(r.RemoteAddr); refused != nil {
		return refused
	}
	return g.Authenticate(r.Context(), r.Header.Get("Authorization"), r.TLS)
}

// Limit counts a request of the client at remote, an address with a port, against RequestsPerSecond; nil lets it in.
func (g *Gate) Limit(remote string) *Refusal {
	if !g.rates.allow(remote) {
		return &refuseRate
	}
	return nil
}

// Authenticates reports whether Authenticate asks for anything.
func (g *Gate) Authenticates() bool { return g.options.Authenticates() }

// Authenticate checks a request's Authorization header and the state of its TLS connection, nil without TLS; nil lets it in.
// A certificate is asked for if ClientCAFile is set, and beside it a token or a password if one of their files is. It may
// wait, for a second at most, for its turn to check a password.
func (g *Gate) Authenticate(ctx context.Context, authorization string, state *tls.ConnectionState) *Refusal {
	if g.options.TLS.ClientCAFile != "" {
		switch {
		case state == nil || len(state.VerifiedChains) == 0:
			return &refuseCertificate
		case !allowed(g.subjects, state.PeerCertificates[0]):
			return &refuseSubject
		}
	}
	if g.tokens == nil && g.users == nil {
		return nil
	}
	scheme, credentials, _ := strings.Cut(authorization, " ")
	credentials = strings.TrimSpace(credentials)
	switch {
	case g.tokens != nil && strings.EqualFold(scheme, "Bearer"):
		if g.tokens.allow(credentials) {
			return nil
		}
	case g.users != nil && strings.EqualFold(scheme, "Basic"):
		name, password, _ := strings.Cut(decode(credentials), ":")
		switch ok, err := g.users.allow(ctx, name, password); {
		case ok:
			return nil
		case errors.Is(err, errBusy):
			return &refuseBusy
		}
	}
	return g.challenge()
}

func decode(credentials string) string {
	text, err := base64.StdEncoding.DecodeString(credentials)
	if err != nil {
		return ""
	}
	return string(text)
}

func (g *Gate) challenge() *Refusal {
	refused := &Refusal{Status: http.StatusUnauthorized, Reason: "credentials"}
	switch {
	case g.users == nil:
		refused.Text, refused.Header = "a valid bearer token is required", http.Header{"Www-Authenticate": {bearerChallenge}}
	case g.tokens == nil:
		refused.Text, refused.Header = "a valid user and password are required", http.Header{"Www-Authenticate": {basicChallenge}}
	default:
		refused.Text, refused.Header = "a valid bearer token, or user and password, is required",
			http.Header{"Www-Authenticate": {bearerChallenge, basicChallenge}}
	}
	return refused
}

// ServeHTTP answers with the refusal, as {"error": "…"}.
func (r *Refusal) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	header := w.Header()
	for name, values := range r.Header {
		header[name] = values
	}
	header.Set("Content-Type", "application/json")
	w.WriteHeader(r.Status)
	text, _ := json.Marshal(map[string]string{"error": r.Text})
	_, _ = w.Write(append(text, '\n')) // an error is the client's, which is gone
}
