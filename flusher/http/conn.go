package httpflusher

import (
	"context"
	"crypto/tls"
	"net"
	"sync"
	"time"

	"github.com/flinktail/flinktail/flusher/internal/client"
)

// conn lets the receiver's last words be heard. One that refuses a request before it has read all of it, or refuses our certificate,
// says so and hangs up; what is still being sent then fails, and net/http would report that failure instead of the reason.
type conn struct {
	net.Conn
	over   chan struct{} // closed when nothing more will be read
	once   sync.Once
	reason error // valid once over: why not
}

// lastWords is how long a failed write waits for the receiver's answer to be read.
const lastWords = time.Second

func newConn(c net.Conn) *conn { return &conn{Conn: c, over: make(chan struct{})} }

func (c *conn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if err != nil {
		c.end(err)
	}
	return n, err
}

func (c *conn) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	if err == nil {
		return n, nil
	}
	timer := time.NewTimer(lastWords)
	defer timer.Stop()
	select {
	case <-c.over:
		if client.Refused(c.reason) {
			err = c.reason
		}
	case <-timer.C:
	}
	return n, err
}

func (c *conn) Close() error {
	c.end(net.ErrClosed)
	return c.Conn.Close()
}

func (c *conn) end(reason error) {
	c.once.Do(func() {
		c.reason = reason
		close(c.over)
	})
}

// handshakeTimeout bounds the handshake of TLS.
const handshakeTimeout = 10 * time.Second

// dialTLS returns what makes connections with TLS; net/http would put the TLS outside of conn.
func dialTLS(dialer *net.Dialer, config *tls.Config) func(ctx context.Context, network, address string) (net.Conn, error) {
	d := &tls.Dialer{NetDialer: dialer, Config: config}
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		ctx, cancel := context.WithTimeout(ctx, dialer.Timeout+handshakeTimeout)
		defer cancel()
		c, err := d.DialContext(ctx, network, address)
		if err != nil {
			return nil, err
		}
		return newConn(c), nil
	}
}
