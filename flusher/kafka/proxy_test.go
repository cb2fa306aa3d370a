//go:build e2e

package kafka

import (
	"fmt"
	"io"
	"net"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/flinktail/flinktail/test/servers"
)

// proxy stands between a flusher and a broker.
type proxy struct {
	t       testing.TB
	address string
	target  string

	mu       sync.Mutex
	listener net.Listener
	conns    map[net.Conn]bool
	away     bool
	muted    bool
	answered *sync.Cond // not muted
	copying  sync.WaitGroup
}

// proxiedBroker returns a broker that tells its clients to talk to the proxy; flushers from k.flusher do so anyway.
func proxiedBroker(t testing.TB) (*broker, *proxy) {
	t.Helper()
	k := ownBroker(t, servers.KafkaOptions{})
	p := &proxy{t: t, target: k.Plaintext, conns: map[net.Conn]bool{}}
	p.answered = sync.NewCond(&p.mu)
	p.listen()
	t.Cleanup(p.close)
	names := fmt.Sprintf("PLAINTEXT://%s,SASL_PLAINTEXT://%s,SASL_SSL://%s,SSL://%s", p.address, k.SASLPlaintext, k.SASLSSL, k.SSL)
	require.NoError(t, k.Configure(map[string]string{"advertised.listeners": names}))
	k.Stop()
	require.NoError(t, k.Start(t.Context()))
	return &broker{Kafka: k.Kafka, through: p.address}, p
}

func (p *proxy) listen() {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(p.t, err)
	p.listener, p.address = l, l.Addr().String()
	p.copying.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			p.serve(conn)
		}
	})
}

func (p *proxy) serve(conn net.Conn) {
	target, err := net.Dial("tcp", p.target)
	if err != nil {
		_ = conn.Close()
		return
	}
	p.mu.Lock()
	if p.away {
		_, _ = conn.Close(), target.Close()
	}
	p.conns[conn], p.conns[target] = true, true
	p.mu.Unlock()
	p.copying.Go(func() {
		_, _ = io.Copy(target, conn)
		_ = target.Close()
	})
	p.copying.Go(func() {
		_, _ = io.Copy(answers{p, conn}, target)
		_ = conn.Close()
	})
}

// answers writes to the client, unless the proxy is muted.
type answers struct {
	p    *proxy
	conn net.Conn
}

func (a answers) Write(data []byte) (int, error) {
	a.p.mu.Lock()
	for a.p.muted && a.p.conns[a.conn] {
		a.p.answered.Wait()
	}
	a.p.mu.Unlock()
	return a.conn.Write(data)
}

// mute keeps answers back until the function that it returns is called.
func (p *proxy) mute() (unmute func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.muted = true
	return func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.muted = false
		p.answered.Broadcast()
	}
}

// cut closes every connection.
func (p *proxy) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for conn := range p.conns {
		_ = conn.Close()
	}
	clear(p.conns)
	p.answered.Broadcast()
}

// down hangs up on everybody until the function that it returns is called.
func (p *proxy) down() (up func()) {
	p.setAway(true)
	p.cut()
	return func() { p.setAway(false) }
}

func (p *proxy) setAway(away bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.away = away
}

func (p *proxy) close() {
	_ = p.listener.Close()
	p.cut()
	p.copying.Wait()
}
