// Package httpinput is input_http: it takes the events that our listeners and others push over HTTP, and answers when
// they are settled.
package httpinput

import (
	"context"
	"crypto/tls"
	_ "embed"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/flinktail/flinktail/pipeline"
	"github.com/flinktail/flinktail/protocol"
)

func init() { pipeline.Register("input_http", func() any { return New() }) }

// Input is input_http; its exported fields are its options.
type Input struct {
	Address        string `jsonschema_description:"host and port to listen on"`
	TokenFile      string `jsonschema_description:"file of bearer tokens, one a line, any of which a post must carry; read again when it changes"`
	AllowAnonymous bool   `jsonschema_description:"take posts from other machines without a token"`
	TLS            TLS    `jsonschema_description:"serve HTTPS; the files are read again when they change"`

	MaxBodyBytes         pipeline.Size `jsonschema_description:"largest body, as it is sent"`
	MaxDecompressedBytes pipeline.Size `jsonschema_description:"largest body after decompression"`
	MaxLineBytes         pipeline.Size `jsonschema_description:"largest event; a larger one is rejected, the rest of its post is taken"`
	MaxDepth             int           `jsonschema_description:"how deep arrays and objects may nest in an event"`
	InflightBytes        pipeline.Size `jsonschema_description:"memory for all posts from the moment they are read until their events are settled; used up means 429"`

	HeaderTimeout time.Duration `jsonschema_description:"time a client has to send a request's header"`
	BodyTimeout   time.Duration `jsonschema_description:"time a client has to send a whole request"`
	IdleTimeout   time.Duration `jsonschema_description:"how long a connection may stay open between requests"`
	FullWait      time.Duration `jsonschema_description:"how long a post waits for room in a full queue before it is answered 429"`
	AckTimeout    time.Duration `jsonschema_description:"how long a post waits for its events to be settled before it is answered 503; they stay queued. Keep it below the sender's own timeout"`

	context  pipeline.Context
	log      *slog.Logger
	listener net.Listener
	server   *http.Server
	tokens   *tokens // nil: none are asked for

	budget    budget
	unsettled unsettledPosts
	posts     sync.Pool
	unzipping chan struct{} // one place for each decompression at a time

	// Set by Run before it serves.
	out     pipeline.Sink
	running context.Context

	stopping atomic.Bool
	putting  sync.RWMutex // held for reading during a Put
	answered pipeline.Counter
}

// TLS names the files of the server's certificate.
type TLS struct {
	CertFile string `jsonschema_description:"PEM file of the certificate and its chain"`
	KeyFile  string `jsonschema_description:"PEM file of its key"`
}

// New returns an input with its defaults.
func New() *Input {
	return &Input{
		Address:              "127.0.0.1:8686",
		MaxBodyBytes:         8 * pipeline.MiB,
		MaxDecompressedBytes: 16 * pipeline.MiB,
		MaxLineBytes:         pipeline.MiB,
		MaxDepth:             protocol.DefaultMaxDepth,
		InflightBytes:        32 * pipeline.MiB,
		HeaderTimeout:        10 * time.Second,
		BodyTimeout:          30 * time.Second,
		IdleTimeout:          2 * time.Minute,
		FullWait:             time.Second,
		AckTimeout:           10 * time.Second,
	}
}

// Description implements [pipeline.Input].
func (in *Input) Description() string {
	return "receives events over HTTP: POST /v1/events with NDJSON, JSON or a protobuf LogGroup"
}

//go:embed sample.json
var sample []byte

// Sample implements [pipeline.Documented].
func (in *Input) Sample() []byte { return sample }

// Validate implements [pipeline.Validator].
func (in *Input) Validate() error {
	var errs []error
	option := func(name string, ok bool, text string, args ...any) {
		if !ok {
			errs = append(errs, &pipeline.OptionError{Option: name, Err: fmt.Errorf(text, args...)})
		}
	}
	host, port, err := net.SplitHostPort(in.Address)
	option("Address", err == nil && port != "", `%q is not a host and a port, such as "127.0.0.1:8686"`, in.Address)
	if err == nil && in.TokenFile == "" && !in.AllowAnonymous {
		option("Address", isLoopback(host), "%q can be reached from other machines: set TokenFile, or AllowAnonymous: true if anybody may post, or listen on 127.0.0.1", in.Address)
	}
	option("TLS", (in.TLS.CertFile == "") == (in.TLS.KeyFile == ""), "CertFile and KeyFile go together")
	for name, size := range map[string]pipeline.Size{
		"MaxBodyBytes": in.MaxBodyBytes, "MaxDecompressedBytes": in.MaxDecompressedBytes,
		"MaxLineBytes": in.MaxLineBytes, "InflightBytes": in.InflightBytes,
	} {
		option(name, size > 0 && size <= pipeline.GiB, "must be between 1B and 1GiB")
	}
	option("MaxDepth", in.MaxDepth > 0 && in.MaxDepth <= 1000, "must be between 1 and 1000")
	for name, d := range map[string]time.Duration{
		"HeaderTimeout": in.HeaderTimeout, "BodyTimeout": in.BodyTimeout, "IdleTimeout": in.IdleTimeout,
		"FullWait": in.FullWait, "AckTimeout": in.AckTimeout,
	} {
		option(name, d > 0, "must be more than 0s")
	}
	return errors.Join(errs...)
}

func isLoopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// Init implements [pipeline.Input]: it reads the tokens and the certificate and binds the port.
func (in *Input) Init(c pipeline.Context) error {
	in.context, in.log = c, c.Logger()
	if in.TokenFile != "" {
		tokens, err := readTokens(in.TokenFile, in.log)
		if err != nil {
			return &pipeline.OptionError{Option: "TokenFile", Err: err}
		}
		in.tokens = tokens
	}
	var tlsConfig *tls.Config
	if in.TLS.CertFile != "" {
		cert, err := readCertificate(in.TLS.CertFile, in.TLS.KeyFile, in.log)
		if err != nil {
			return &pipeline.OptionError{Option: "TLS", Err: err}
		}
		tlsConfig = &tls.Config{GetCertificate: cert.get, MinVersion: tls.VersionTLS12}
	}
	listener, err := net.Listen("tcp", in.Address)
	if err != nil {
		return &pipeline.OptionError{Option: "Address", Err: explainListen(in.Address, err)}
	}
	in.listener = listener
	if tlsConfig != nil {
		in.listener = tls.NewListener(listener, tlsConfig)
	}

	in.budget.limit = int64(in.InflightBytes)
	in.unzipping = make(chan struct{}, runtime.GOMAXPROCS(0))
	in.posts.New = func() any { return newPost(in) }
	in.answered = in.counter(http.StatusOK, "")
	c.Gauge("inflight_bytes", "Memory drawn by posts that are not settled.", func() float64 { return float64(in.budget.used.Load()) })
	c.Gauge("oldest_unsettled_seconds", "How long the oldest unsettled post has been waiting.", func() float64 { return in.unsettled.oldest().Seconds() })
	in.server = in.newServer()
	return nil
}

// Waiting implements [pipeline.Waiter]: before a post is answered 503 for want of settlement, or 429 for want of memory.
func (in *Input) Waiting() bool {
	return in.unsettled.oldest() > in.AckTimeout/2 || in.budget.used.Load() > in.budget.limit/2
}

func (in *Input) newServer() *http.Server {
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	return &http.Server{
		Handler:           in,
		Protocols:         protocols,
		ReadHeaderTimeout: in.HeaderTimeout,
		ReadTimeout:       in.HeaderTimeout + in.BodyTimeout,
		WriteTimeout:      in.HeaderTimeout + in.BodyTimeout + in.FullWait + 2*in.AckTimeout + 10*time.Second,
		IdleTimeout:       in.IdleTimeout,
		MaxHeaderBytes:    16 << 10,
		ErrorLog:          slog.NewLogLogger(in.log.Handler(), slog.LevelDebug),
	}
}

func explainListen(address string, err error) error {
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return fmt.Errorf("listen on %s: another process has that address; stop it (\"ss -ltnp\" names it) or choose another Address", address)
	case errors.Is(err, syscall.EACCES):
		return fmt.Errorf("listen on %s: not permitted; choose a port above 1023", address)
	}
	return fmt.Errorf("listen on %s: %w", address, err)
}

// counter counts requests by the status and the reason they were answered with.
func (in *Input) counter(status int, reason string) pipeline.Counter {
	return in.context.Counter("requests_total", "Requests by the status code and the reason they were answered with.",
		pipeline.Label{Name: "code", Value: strconv.Itoa(status)}, pipeline.Label{Name: "reason", Value: reason})
}

// Run implements [pipeline.Input]. After it has returned nothing is put any more, and the posts that were taken are
// still answered as they are settled.
func (in *Input) Run(ctx context.Context, out pipeline.Sink) error {
	in.out, in.running = out, ctx
	served := make(chan struct{})
	var failure error
	go func() {
		defer close(served)
		err := in.server.Serve(in.listener)
		if ctx.Err() == nil {
			failure = fmt.Errorf("accept connections on %s: %w", in.Address, err)
		}
	}()
	in.log.Info("listening", "address", in.listener.Addr().String())
	select {
	case <-ctx.Done():
	case <-served:
	}
	in.stopping.Store(true)
	_ = in.listener.Close()
	<-served
	in.putting.Lock()   // waits for the Puts under way
	in.putting.Unlock() //nolint:staticcheck // nothing to do inside: those that follow see stopping
	return failure
}

// stopGrace is what clients get to take their answers and finish their requests.
const stopGrace = time.Second

// Stop implements [pipeline.Input]: it waits until every request is answered, for a second at most, and closes.
func (in *Input) Stop() error {
	if in.server == nil {
		return nil
	}
	in.stopping.Store(true)
	ctx, cancel := context.WithTimeout(in.context.Context(), stopGrace)
	defer cancel()
	if in.server.Shutdown(ctx) != nil { // a client that does not finish
		_ = in.server.Close()
	}
	_ = in.listener.Close() // the server knows it only once it serves
	return nil
}
