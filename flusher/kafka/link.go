package kafka

import (
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/IBM/sarama"
	"github.com/rcrowley/go-metrics"
)

func init() {
	// sarama's own metrics cost time, and a goroutine that never ends; nobody reads them.
	metrics.UseNilMetrics = true
}

// link is the connection to one broker. sarama logs in and makes all requests but those to produce, in turn with these.
// Its calls have no context; here they end when the connection is severed.
type link struct {
	address string
	broker  *sarama.Broker
	timeout time.Duration
	dialer  net.Dialer
	tls     *tls.Config     // nil: none
	ctx     context.Context // of dialling
	cancel  context.CancelFunc

	turn     chan struct{} // holds one token; who took it may make a request and use what follows
	answered bool          // at least once
	version  int16         // of produce requests, 0: not asked yet
	lastID   uint32        // of produce requests
	quiet    time.Time     // until when the broker wants no records
	answer   []byte

	mu      sync.Mutex
	conn    net.Conn
	severed bool
}

// openLink begins to connect; the first request waits for it.
func openLink(ctx context.Context, address string, config *sarama.Config, keepAlive time.Duration) (*link, error) {
	l := &link{
		address: address, broker: sarama.NewBroker(address), timeout: config.Net.ReadTimeout,
		dialer: net.Dialer{KeepAlive: keepAlive}, turn: make(chan struct{}, 1),
	}
	l.turn <- struct{}{}
	if config.Net.TLS.Enable { // the connection is for both of us, so TLS is ours
		l.tls = config.Net.TLS.Config.Clone()
		config.Net.TLS.Enable = false
		if host, _, err := net.SplitHostPort(address); err == nil && l.tls.ServerName == "" {
			l.tls.ServerName = host
		}
	}
	l.ctx, l.cancel = context.WithCancel(ctx)
	config.Net.Proxy.Enable, config.Net.Proxy.Dialer = true, l
	if err := l.broker.Open(config); err != nil {
		l.cancel()
		return nil, fmt.Errorf("connect to %s: %w", address, err)
	}
	return l, nil
}

// Dial is called by sarama.
func (l *link) Dial(network, address string) (net.Conn, error) {
	conn, err := l.dialer.DialContext(l.ctx, network, address)
	if err != nil {
		return nil, err
	}
	if l.tls != nil {
		secured := tls.Client(conn, l.tls)
		if err := secured.HandshakeContext(l.ctx); err != nil {
			_ = conn.Close()
			return nil, err
		}
		conn = secured
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.severed {
		_ = conn.Close()
		return nil, net.ErrClosed
	}
	l.conn = conn
	return conn, nil
}

// request has sarama make one request, and cuts it off at the timeout or when ctx ends. After an error the link is of no use
// any more.
func (l *link) request(ctx context.Context, send func(*sarama.Broker) error) error {
	if err := l.acquire(ctx); err != nil {
		return err
	}
	defer l.release()
	return l.limited(ctx, func() error { return send(l.broker) })
}

// acquire waits for its turn no longer than a request may take.
func (l *link) acquire(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, l.timeout, timeoutError{l.timeout})
	defer cancel()
	select {
	case <-l.turn:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("broker %s is busy: %w", l.address, context.Cause(ctx))
	}
}

func (l *link) release() { l.turn <- struct{}{} }

// acquireToProduce waits, in addition, until the broker wants records again; others may use the link meanwhile.
func (l *link) acquireToProduce(ctx context.Context) error {
	for {
		if err := l.acquire(ctx); err != nil {
			return err
		}
		pause := time.Until(l.quiet)
		if pause <= 0 {
			return nil
		}
		l.release()
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (l *link) limited(ctx context.Context, send func() error) error {
	ctx, cancel := context.WithTimeoutCause(ctx, l.timeout, timeoutError{l.timeout})
	defer cancel()
	stop := context.AfterFunc(ctx, l.sever)
	defer stop()
	err := send()
	switch {
	case err == nil:
		l.answered = true
		return nil
	case ctx.Err() != nil:
		err = context.Cause(ctx)
	case !l.answered && (errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)):
		err = fmt.Errorf("it hung up (is this a listener of Kafka's, with the same TLS and SASL settings?): %w", err)
	}
	return fmt.Errorf("broker %s: %w", l.address, err)
}

// produce makes one produce request, which build writes.
func (l *link) produce(ctx context.Context, build func(version int16) ([]byte, error)) (answers []answer, err error) {
	if err := l.acquireToProduce(ctx); err != nil {
		return nil, err
	}
	defer l.release()
	if l.version == 0 {
		if err := l.limited(ctx, l.negotiate); err != nil {
			return nil, err
		}
	}
	request, err := build(l.version)
	if err != nil {
		return nil, err
	}
	if err := l.limited(ctx, func() error { return l.exchange(request) }); err != nil {
		return nil, err
	}
	answers, throttle, err := readAnswers(l.answer, l.version)
	l.quiet = time.Now().Add(throttle)
	if cap(l.answer) > maxKept {
		l.answer = nil
	}
	return answers, err
}

// negotiate finds out which version of produce requests the broker understands. sarama has logged in before it asks.
func (l *link) negotiate() error {
	known, err := l.broker.ApiVersions(&sarama.ApiVersionsRequest{Version: 0})
	if err != nil {
		return err
	}
	for _, api := range known.ApiKeys {
		if api.ApiKey == apiProduce && api.MinVersion <= maxProduceVersion && api.MaxVersion >= minProduceVersion {
			l.version = min(api.MaxVersion, maxProduceVersion)
			return nil
		}
	}
	return fmt.Errorf("produce requests: %w", sarama.ErrUnsupportedVersion)
}

// exchange sends a request, with its size in front, and reads the answer's body.
func (l *link) exchange(request []byte) error {
	l.mu.Lock()
	conn := l.conn
	l.mu.Unlock()
	if err := conn.SetDeadline(time.Time{}); err != nil { // sarama's
		return err
	}
	if _, err := conn.Write(request); err != nil {
		return err
	}
	var head [8]byte
	if _, err := io.ReadFull(conn, head[:]); err != nil {
		return err
	}
	size, id := binary.BigEndian.Uint32(head[:]), binary.BigEndian.Uint32(head[4:])
	if size < 4 || size > maxAnswer || id != l.lastID {
		return errMalformed
	}
	l.answer = slices.Grow(l.answer[:0], int(size)-4)[:size-4]
	_, err := io.ReadFull(conn, l.answer)
	return err
}

// maxAnswer bounds what an answer to a produce request may need: some bytes for each partition and for each invalid record.
const maxAnswer = 16 << 20

func (l *link) nextID() uint32 {
	l.lastID++
	return l.lastID
}

// sever cuts the connection: what waits for it fails at once.
func (l *link) sever() {
	l.cancel()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.severed = true
	if l.conn != nil {
		_ = l.conn.Close()
	}
}

func (l *link) isSevered() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.severed
}

// close severs the link and waits for its requests.
func (l *link) close() {
	l.sever()
	_ = l.broker.Close() // it is closed already, or was never open
}

// timeoutError says that a broker did not answer: what was sent may have arrived.
type timeoutError struct{ after time.Duration }

func (e timeoutError) Error() string { return fmt.Sprintf("no answer within %s", e.after) }
