package listen

import (
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"syscall"

	"github.com/flinktail/flinktail/pipeline"
)

// Metrics is the part of [pipeline.Context] that a gate counts with.
type Metrics interface {
	Counter(name, help string, labels ...pipeline.Label) pipeline.Counter
	Gauge(name, help string, value func() float64)
}

// Gate is an open listener. As a [net.Listener] it accepts connections without TLS, up to MaxConnections; [Gate.TLS] is to be
// put on top of it. All its methods are safe for concurrent use.
type Gate struct {
	net.Listener
	options  Options
	subjects []subject
	files    *reloader[*material] // nil without TLS
	tokens   *tokens              // nil without
	users    *users               // nil without
	rates    *rates
	log      *slog.Logger
	metrics  Metrics
	open     atomic.Int64
}

// Open reads the files and binds the address; port 0 takes any free one. It expects valid options. Its errors are
// [pipeline.OptionError].
func Open(o Options, log *slog.Logger, metrics Metrics) (*Gate, error) {
	g := &Gate{options: o, log: log, metrics: metrics, rates: newRates(o.RequestsPerSecond)}
	var err error
	if g.subjects, err = parseSubjects(o.TLS.AllowedSubjects); err != nil {
		return nil, &pipeline.OptionError{Option: "TLS.AllowedSubjects", Err: err}
	}
	if o.TLS.CertFile != "" {
		if g.files, err = readMaterial(o.TLS, log); err != nil {
			return nil, err
		}
	}
	if o.TokenFile != "" {
		if g.tokens, err = readTokens(o.TokenFile, log); err != nil {
			return nil, &pipeline.OptionError{Option: "TokenFile", Err: err}
		}
	}
	if o.HtpasswdFile != "" {
		if g.users, err = readUsers(o.HtpasswdFile, log); err != nil {
			return nil, &pipeline.OptionError{Option: "HtpasswdFile", Err: err}
		}
	}
	if g.Listener, err = net.Listen("tcp", o.Address); err != nil {
		return nil, &pipeline.OptionError{Option: "Address", Err: explain(o.Address, err)}
	}
	if missing := o.Missing(); missing != "" {
		log.Warn("other machines can reach this address without "+missing+", which AllowInsecure permits", "address", g.Addr().String())
	}
	metrics.Gauge("connections", "Open connections.", func() float64 { return float64(g.open.Load()) })
	return g, nil
}

func explain(address string, err error) error {
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return fmt.Errorf("listen on %s: another process has that address; stop it (\"ss -ltnp\" names it) or choose another: %w", address, syscall.EADDRINUSE)
	case errors.Is(err, syscall.EACCES):
		return fmt.Errorf("listen on %s: not permitted; choose a port above 1023", address)
	}
	return fmt.Errorf("listen on %s: %w", address, err)
}

// Accept implements [net.Listener]. Connections beyond MaxConnections are closed at once.
func (g *Gate) Accept() (net.Conn, error) {
	for {
		accepted, err := g.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if g.open.Add(1) <= int64(g.options.MaxConnections) {
			return &conn{TCPConn: accepted.(*net.TCPConn), gate: g}, nil
		}
		g.open.Add(-1)
		g.refuseConnection("too_many")
		_ = accepted.Close() // it is not wanted in any case
	}
}

// refuseConnection counts a connection that is ended before a request of its reaches a handler.
func (g *Gate) refuseConnection(reason string) {
	g.metrics.Counter("connections_refused_total", "Connections that were closed before a request was handled, by reason.",
		pipeline.Label{Name: "reason", Value: reason}).Add(1)
}

// conn is an accepted connection.
type conn struct {
	*net.TCPConn
	gate     *Gate
	spoke    atomic.Bool // the client has sent something
	shaken   atomic.Bool // the TLS handshake succeeded, as far as it depends on us
	unserved bool        // a request began and has not reached the handler; of the server's goroutine alone
	closing  sync.Once
}

func (c *conn) Read(p []byte) (int, error) {
	n, err := c.TCPConn.Read(p)
	if n > 0 && !c.spoke.Load() {
		c.spoke.Store(true)
	}
	return n, err
}

func (c *conn) Close() error {
	c.closing.Do(func() {
		c.gate.open.Add(-1)
		if c.gate.files != nil && c.spoke.Load() && !c.shaken.Load() {
			c.gate.refuseConnection("tls_handshake")
		}
	})
	return c.TCPConn.Close()
}

// TLS returns the configuration of a server that is to be put on top of the gate, for these protocols of ALPN, nil without TLS.
// Certificates and authorities are those that the files hold at each handshake. A client may come without a certificate:
// that is [Gate.Authenticate]'s to refuse, with an answer that says so.
func (g *Gate) TLS(protocols ...string) *tls.Config {
	if g.files == nil {
		return nil
	}
	return &tls.Config{
		MinVersion: tls.VersionTLS12, NextProtos: protocols,
		GetConfigForClient: func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
			files := g.files.current()
			config := &tls.Config{MinVersion: tls.VersionTLS12, NextProtos: protocols, Certificates: []tls.Certificate{files.certificate}}
			if files.clientCAs != nil {
				config.ClientAuth, config.ClientCAs = tls.VerifyClientCertIfGiven, files.clientCAs
			}
			if c, ok := hello.Conn.(*conn); ok {
				config.VerifyConnection = func(tls.ConnectionState) error {
					c.shaken.Store(true)
					return nil
				}
			}
			return config, nil
		},
	}
}
