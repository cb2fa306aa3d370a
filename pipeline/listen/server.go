package listen

import (
	"context"
	"crypto/tls"
	"log/slog"
	"net"
	"net/http"
	"strconv"

	"github.com/flinktail/flinktail/pipeline"
)

// maxHeader is what a request's header may take; net/http adds 4 KiB of slack.
const maxHeader = 16 << 10

// connKey is the key of a request's *conn.
type connKey struct{}

// Server returns a server of HTTP/1.1 for [Gate.Serve]; the caller sets its timeouts. A request whose header is malformed, too
// large or too slow does not reach h and is counted.
func (g *Gate) Server(h http.Handler) *http.Server {
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	return &http.Server{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if c, ok := r.Context().Value(connKey{}).(*conn); ok {
				c.unserved = false
			}
			h.ServeHTTP(w, r)
		}),
		Protocols:      protocols,
		MaxHeaderBytes: maxHeader,
		ErrorLog:       slog.NewLogLogger(g.log.Handler(), slog.LevelDebug),
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			return context.WithValue(ctx, connKey{}, below(c))
		},
		ConnState: func(c net.Conn, state http.ConnState) {
			accepted := below(c)
			switch {
			case accepted == nil:
			case state == http.StateActive:
				accepted.unserved = true
			case state == http.StateClosed && accepted.unserved:
				g.refuseConnection("header")
			}
		},
	}
}

// below returns the gate's connection under TLS, if there is any; nil if it is not the gate's.
func below(c net.Conn) *conn {
	if secure, ok := c.(*tls.Conn); ok {
		c = secure.NetConn()
	}
	accepted, _ := c.(*conn)
	return accepted
}

// Serve runs the server, which is [Gate.Server]'s, on the gate, with TLS if that is configured.
func (g *Gate) Serve(s *http.Server) error {
	if config := g.TLS("http/1.1"); config != nil {
		return s.Serve(tls.NewListener(g, config))
	}
	return s.Serve(g)
}

// URL is where the gate is reached over HTTP.
func (g *Gate) URL() string {
	if g.files != nil {
		return "https://" + g.Addr().String()
	}
	return "http://" + g.Addr().String()
}

// Handler lets those requests through to next that [Gate.Admit] admits, and answers and counts the others.
func (g *Gate) Handler(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if refused := g.Admit(r); refused != nil {
			g.metrics.Counter("requests_refused_total", "Requests that were refused, by status code and reason.",
				pipeline.Label{Name: "code", Value: strconv.Itoa(refused.Status)}, pipeline.Label{Name: "reason", Value: refused.Reason}).Add(1)
			refused.ServeHTTP(w, r)
			return
		}
		next.ServeHTTP(w, r)
	})
}
