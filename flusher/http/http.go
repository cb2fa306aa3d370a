// Package httpflusher is flusher_http: events to any HTTP endpoint.
package httpflusher

import (
	"context"
	_ "embed"
	"errors"
	"log/slog"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/flinktail/flinktail/flusher/internal/client"
	"github.com/flinktail/flinktail/pipeline"
	"github.com/flinktail/flinktail/protocol"
)

//go:embed sample.json
var sample []byte

func init() { pipeline.Register("flusher_http", func() any { return New() }) }

// Formats of the bodies.
const (
	FormatNDJSON    = "ndjson"
	FormatJSONArray = "json_array"
	FormatLogGroup  = "loggroup"
	FormatTemplate  = "template"
)

// Values of Compression.
const (
	CompressionNone = "none"
	CompressionGzip = "gzip"
	CompressionZstd = "zstd"
)

// Flusher sends events in the bodies of HTTP requests. Its exported fields are the options; the names are iLogtail's where it has them.
type Flusher struct {
	RemoteURL      pipeline.Secret            `jsonschema:"required" jsonschema_description:"where to send events: http or https, without user and password; messages name its host alone, as the path of a webhook is a secret"`
	Method         string                     `jsonschema:"enum=POST,enum=PUT,enum=PATCH" jsonschema_description:"method of the requests"`
	Headers        map[string]pipeline.Secret `jsonschema_description:"headers of the requests; %{field} stands for a field of the event or a tag of its group, %{+yyyy.MM.dd} for its day: a request holds the events for which they are equal"`
	Query          map[string]pipeline.Secret `jsonschema_description:"parameters to add to RemoteURL; with %{field} as in Headers"`
	Format         string                     `jsonschema:"enum=ndjson,enum=json_array,enum=loggroup,enum=template" jsonschema_description:"ndjson: one JSON object a line; json_array: an array of them; loggroup: a protobuf LogGroup, keeps all that another flinktail needs; template: one request an event, with what Template makes of it"`
	Template       string                     `jsonschema_description:"with Format template: the body, in the language of Go's text/template; {{.job_name}} is a field, {{json .message}} a field as JSON text"`
	Compression    string                     `jsonschema:"enum=none,enum=gzip,enum=zstd" jsonschema_description:"how bodies are compressed"`
	Timeout        time.Duration              `jsonschema_description:"how long a request may take, answer included; with another flinktail more than its AckTimeout"`
	Authentication Authentication             `jsonschema_description:"who we are; at most one of PlainText, BearerToken and BearerTokenFile"`

	FollowRedirects       bool `jsonschema_description:"follow 307 and 308; no header of Headers and no credential goes to another host"`
	ForbidPrivateNetworks bool `jsonschema_description:"connect to public addresses only, not to loopback, private or link-local ones, whatever names resolve to; no proxy is used then"`

	log      *slog.Logger
	context  pipeline.Context
	ctx      context.Context // ends with Stop too
	cancel   context.CancelFunc
	endpoint *endpoint
	token    *tokenFile // nil: there is none
	batches  sync.Pool
	running  atomic.Bool

	mu     sync.Mutex
	client *http.Client
}

// Authentication says who we are.
type Authentication struct {
	PlainText       PlainText       `jsonschema_description:"basic authentication"`
	BearerToken     pipeline.Secret `jsonschema_description:"bearer token"`
	BearerTokenFile string          `jsonschema_description:"file with the bearer token; read again when it changes"`
	TLS             client.TLS      `jsonschema_description:"for https: own authorities, and a certificate for mutual TLS; not needed when the system's authorities will do"`
}

// PlainText is a name and a password.
type PlainText struct {
	Username string          `jsonschema_description:"name"`
	Password pipeline.Secret `jsonschema_description:"password"`
}

// New returns the flusher with its defaults.
func New() *Flusher {
	return &Flusher{
		Method: http.MethodPost, Format: FormatNDJSON, Compression: CompressionNone, Timeout: 15 * time.Second,
		Authentication: Authentication{TLS: client.TLS{MinVersion: "1.2"}},
	}
}

// Description says what the flusher does.
func (f *Flusher) Description() string { return "sends events to an HTTP endpoint" }

// Sample returns a pipeline that uses the flusher.
func (f *Flusher) Sample() []byte { return sample }

// Validate checks what the types of the options cannot.
func (f *Flusher) Validate() error {
	_, err := f.newEndpoint()
	return err
}

// Init reads the files that Authentication names. It needs no network.
func (f *Flusher) Init(c pipeline.Context) error {
	e, err := f.newEndpoint()
	if err != nil {
		return err
	}
	token, err := f.readToken()
	if err != nil {
		return err
	}
	httpClient, err := f.newClient()
	if err != nil {
		return err
	}
	f.context, f.log, f.endpoint, f.token, f.client = c, c.Logger(), e, token, httpClient
	f.ctx, f.cancel = context.WithCancel(c.Context())
	f.batches.New = func() any { return newBatch(e) }
	f.running.Store(true)
	return nil
}

// IsReady reports whether Init was called and Stop was not.
func (f *Flusher) IsReady(string, string, int64) bool { return f.running.Load() }

// SetUrgent changes nothing: Flush never waits for more.
func (f *Flusher) SetUrgent(bool) {}

var errNotRunning = errors.New("flusher_http is not running")

// Flush sends the events: in one request, or in as many as the format, the values of Headers and Query and the receiver's
// refusals make necessary, one after the other. A request is delivered when it is answered 2xx.
func (f *Flusher) Flush(_, _, _ string, groups []*protocol.LogGroup) error {
	if !f.running.Load() {
		return errNotRunning
	}
	b := f.batches.Get().(*batch)
	defer f.batches.Put(b)
	defer b.reset()
	b.fill(groups)
	for from := 0; from < len(b.events); {
		to := b.requestEnd(from)
		if err := f.deliver(b, from, to); err != nil {
			return b.result(err)
		}
		from = to
	}
	return b.result(nil)
}

// deliver settles the events from from up to but not including to: they are delivered or among b's failures. After an
// error those from b.settled on are not.
//
// A receiver that finds fault with a request of several events does not say which. Halves are sent until the fault is with single events, so
// that the others arrive: for k bad events of n, about 2k log(n/k) requests more, and never more than 2n in all.
func (f *Flusher) deliver(b *batch, from, to int) error {
	err := f.send(b, from, to)
	var fault *faultError
	switch {
	case err == nil:
		b.settled = to
		return nil
	case !errors.As(err, &fault):
		return err
	case to-from == 1:
		b.refuse(from, fault.err)
		return nil
	}
	middle := from + (to-from)/2
	if err := f.deliver(b, from, middle); err != nil {
		return err
	}
	return f.deliver(b, middle, to)
}

// Stop gives up a request that is going on and closes the connections.
func (f *Flusher) Stop() error {
	if !f.running.Swap(false) {
		return nil
	}
	f.cancel()
	f.currentClient().CloseIdleConnections()
	return nil
}

// Connect tries the endpoint with one request: an empty batch, or, as no template makes one, HEAD. Nothing of Authentication is wrong when
// that is not refused for it.
func (f *Flusher) Connect(ctx context.Context) error {
	e, err := f.newEndpoint()
	if err != nil {
		return err
	}
	token, err := f.readToken()
	if err != nil {
		return pipeline.Blocked(err)
	}
	c, err := f.newClient()
	if err != nil {
		return pipeline.Blocked(err)
	}
	defer c.CloseIdleConnections()
	r := request{endpoint: e, token: token, method: e.method, url: e.url, header: e.header.Clone(), body: newBatch(e).empty()}
	if e.format == FormatTemplate {
		r.method, r.body = http.MethodHead, nil
	}
	ctx, cancel := context.WithTimeout(ctx, f.Timeout)
	defer cancel()
	answer, err := r.do(ctx, c)
	if err != nil {
		return err
	}
	err = answer.verdict(e)
	var fault *faultError
	switch {
	case errors.As(err, &fault):
		return nil // with an empty batch, which is no event
	case len(e.varying) > 0 && err != nil && !answer.temporary():
		return nil // for want of a header or parameter, perhaps
	case r.method == http.MethodHead && answer.status == http.StatusNotImplemented,
		r.method == http.MethodHead && !answer.temporary() && answer.status != http.StatusUnauthorized && answer.status != http.StatusProxyAuthRequired:
		return nil // an endpoint for posts need not know HEAD
	}
	return err
}

func (f *Flusher) currentClient() *http.Client {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.client
}

// renewClient replaces a client whose TLS was refused: the files it was made from may be others by now.
func (f *Flusher) renewClient(old *http.Client) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.client != old {
		return
	}
	if renewed, err := f.newClient(); err == nil {
		f.client = renewed
		old.CloseIdleConnections()
	}
}
