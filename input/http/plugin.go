// Package httpinput is input_http: it takes the events that our listeners and others push over HTTP, and answers when
// they are settled.
package httpinput

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/flinktail/flinktail/pipeline"
	"github.com/flinktail/flinktail/pipeline/listen"
	"github.com/flinktail/flinktail/protocol"
)

func init() { pipeline.Register("input_http", func() any { return New() }) }

// Input is input_http; its exported fields are its options.
type Input struct {
	listen.Options

	MaxBodyBytes         pipeline.Size `jsonschema_description:"largest body, as it is sent"`
	MaxDecompressedBytes pipeline.Size `jsonschema_description:"largest body after decompression"`
	MaxExpansion         int           `jsonschema_description:"how many times its size a compressed body may expand to, if that is more than 1MiB"`
	MaxLineBytes         pipeline.Size `jsonschema_description:"largest event; a larger one is rejected, the rest of its post is taken"`
	MaxDepth             int           `jsonschema_description:"how deep arrays and objects may nest in an event"`
	InflightBytes        pipeline.Size `jsonschema_description:"memory for all posts from the moment they are read until their events are settled; used up means 429"`

	HeaderTimeout time.Duration `jsonschema_description:"time a client has to send a request's header"`
	BodyTimeout   time.Duration `jsonschema_description:"time a client has to send a whole request"`
	IdleTimeout   time.Duration `jsonschema_description:"how long a connection may stay open between requests"`
	FullWait      time.Duration `jsonschema_description:"how long a post waits for room in a full queue before it is answered 429"`
	AckTimeout    time.Duration `jsonschema_description:"how long a post waits for its events to be settled before it is answered 503; they stay queued. Keep it below the sender's own timeout"`

	context pipeline.Context
	log     *slog.Logger
	gate    *listen.Gate
	server  *http.Server

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

// New returns an input with its defaults.
func New() *Input {
	return &Input{
		Options:              listen.Default("127.0.0.1:8686"),
		MaxBodyBytes:         8 * pipeline.MiB,
		MaxDecompressedBytes: 16 * pipeline.MiB,
		MaxExpansion:         100,
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
	errs := []error{in.Options.Validate()}
	option := func(name string, ok bool, text string, args ...any) {
		if !ok {
			errs = append(errs, &pipeline.OptionError{Option: name, Err: fmt.Errorf(text, args...)})
		}
	}
	for name, size := range map[string]pipeline.Size{
		"MaxBodyBytes": in.MaxBodyBytes, "MaxDecompressedBytes": in.MaxDecompressedBytes,
		"MaxLineBytes": in.MaxLineBytes, "InflightBytes": in.InflightBytes,
	} {
		option(name, size > 0 && size <= pipeline.GiB, "must be between 1B and 1GiB")
	}
	option("MaxExpansion", in.MaxExpansion > 0 && in.MaxExpansion <= 1_000_000, "must be between 1 and 1000000")
	option("MaxDepth", in.MaxDepth > 0 && in.MaxDepth <= 1000, "must be between 1 and 1000")
	for name, d := range map[string]time.Duration{
		"HeaderTimeout": in.HeaderTimeout, "BodyTimeout": in.BodyTimeout, "IdleTimeout": in.IdleTimeout,
		"FullWait": in.FullWait, "AckTimeout": in.AckTimeout,
	} {
		option(name, d > 0, "must be more than 0s")
	}
	return errors.Join(errs...)
}

// Init implements [pipeline.Input]: it reads the files and binds the port.
func (in *Input) Init(c pipeline.Context) error {
	in.context, in.log = c, c.Logger()
	gate, err := listen.Open(in.Options, in.log, c)
	if err != nil {
		return err
	}
	in.gate = gate

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
	s := in.gate.Server(in)
	s.ReadHeaderTimeout = in.HeaderTimeout
	s.ReadTimeout = in.HeaderTimeout + in.BodyTimeout
	s.WriteTimeout = in.HeaderTimeout + in.BodyTimeout + in.FullWait + 2*in.AckTimeout + in.BodyTimeout
	s.IdleTimeout = in.IdleTimeout
	return s
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
		err := in.gate.Serve(in.server)
		if ctx.Err() == nil {
			failure = fmt.Errorf("accept connections on %s: %w", in.Address, err)
		}
	}()
	in.log.Info("listening", "address", in.gate.Addr().String())
	select {
	case <-ctx.Done():
	case <-served:
	}
	in.stopping.Store(true)
	_ = in.gate.Close()
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
	_ = in.gate.Close() // the server knows it only once it serves
	return nil
}
