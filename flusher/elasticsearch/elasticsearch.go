// Package elasticsearch is flusher_elasticsearch: events into Elasticsearch, one document each.
package elasticsearch

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/flinktail/flinktail/flusher/internal/client"
	"github.com/flinktail/flinktail/flusher/internal/pattern"
	"github.com/flinktail/flinktail/pipeline"
	"github.com/flinktail/flinktail/protocol"
)

//go:embed sample.json
var sample []byte

func init() { pipeline.Register("flusher_elasticsearch", func() any { return New() }) }

// Values of Compression.
const (
	CompressionNone = "none"
	CompressionGzip = "gzip"
)

// Flusher creates a document for each event, with the bulk API. Its exported fields are the options.
type Flusher struct {
	Addresses       []string       `jsonschema_description:"the nodes, such as https://es1:9200; requests go round, and from one that does not answer to the next"`
	Index           string         `jsonschema:"required" jsonschema_description:"the index or data stream; %{field} stands for a field of the event, such as %{kind} or %{label.team}, %{+yyyy.MM.dd} for its event_time in UTC"`
	DataStream      bool           `jsonschema_description:"Index is a data stream: events get a @timestamp, and the index template makes it one"`
	InstallTemplate bool           `jsonschema_description:"install the index template with the fields' types, or replace an older one, before the first event"`
	Authentication  Authentication `jsonschema_description:"how to prove who we are"`
	Compression     string         `jsonschema:"enum=none,enum=gzip" jsonschema_description:"gzip: compress requests, for a slow or metered network; it costs more CPU than everything else here"`
	Timeout         time.Duration  `jsonschema_description:"how long a request may take, with its attempts at other nodes"`
	HTTPConfig      HTTPConfig     `jsonschema_description:"details of the connections"`

	ctx     context.Context
	stop    context.CancelFunc
	context pipeline.Context
	pattern *pattern.Pattern
	batches sync.Pool
	ready   atomic.Bool

	duplicates pipeline.Counter
	accepted   atomic.Bool // a bulk request was taken since Init

	mu         sync.Mutex
	connection *connection // nil: to be made
	stopped    bool

	installing sync.Mutex
	installed  atomic.Bool // the template is there, or is none of our business
}

// Authentication is PlainText or APIKey or, with TLS, a certificate.
type Authentication struct {
	PlainText PlainText       `jsonschema_description:"a user of Elasticsearch"`
	APIKey    pipeline.Secret `jsonschema_description:"an API key in its encoded form, the base64 of id:key"`
	CloudID   string          `jsonschema_description:"the deployment in Elastic Cloud, instead of Addresses"`
	TLS       client.TLS      `jsonschema_description:"TLS of https addresses; without it the system's authorities count"`
}

// PlainText is a user and its password.
type PlainText struct {
	Username string          `jsonschema_description:"the user"`
	Password pipeline.Secret `jsonschema_description:"its password"`
}

// HTTPConfig are details of the connections to the nodes.
type HTTPConfig struct {
	MaxIdleConnsPerHost   int           `jsonschema:"minimum=1" jsonschema_description:"connections to a node that are kept open while idle; Workers of them are in use at once"`
	ResponseHeaderTimeout time.Duration `jsonschema_description:"how long a node may take to begin its answer before the next is tried; 0 is Timeout"`
}

// New returns the flusher with its defaults.
func New() *Flusher {
	return &Flusher{
		InstallTemplate: true,
		Authentication:  Authentication{TLS: client.TLS{MinVersion: "1.2"}},
		Compression:     CompressionNone,
		Timeout:         time.Minute,
		HTTPConfig:      HTTPConfig{MaxIdleConnsPerHost: 16},
	}
}

// Description says what the flusher does.
func (f *Flusher) Description() string {
	return "creates a document in Elasticsearch for each event, with every document's result checked"
}

// Sample returns a pipeline that uses the flusher.
func (f *Flusher) Sample() []byte { return sample }

// Init prepares the connections; the first request is that of the first Flush.
func (f *Flusher) Init(c pipeline.Context) error {
	if err := f.Validate(); err != nil {
		return err
	}
	connection, err := f.connect()
	if err != nil {
		return err
	}
	f.connection, f.context = connection, c
	f.pattern, _ = pattern.Parse(f.Index) // checked by Validate
	f.batches.New = func() any { return newBatch(f.pattern, f.DataStream) }
	f.duplicates = c.Counter("duplicate_events_total", "events that Elasticsearch held already, by their event_id")
	f.installed.Store(!f.InstallTemplate)
	f.ctx, f.stop = context.WithCancel(c.Context())
	f.ready.Store(true)
	return nil
}

// IsReady reports whether Init was called and Stop was not.
func (f *Flusher) IsReady(string, string, int64) bool { return f.ready.Load() }

// SetUrgent changes nothing: Flush never waits for more.
func (f *Flusher) SetUrgent(bool) {}

var errNotRunning = errors.New("flusher_elasticsearch is not running")

// Flush sends the events in one bulk request, in several when Elasticsearch finds one too large. When it returns nil
// Elasticsearch has confirmed every one of them, or held it already.
func (f *Flusher) Flush(_, _, _ string, groups []*protocol.LogGroup) error {
	if !f.ready.Load() {
		return errNotRunning
	}
	if err := f.ctx.Err(); err != nil {
		return err
	}
	b := f.batches.Get().(*batch)
	defer func() {
		if b.reset() {
			f.batches.Put(b)
		}
	}()
	b.encode(groups)
	if len(b.documents) == 0 {
		return nil
	}
	if err := f.ensureTemplate(); err != nil {
		return err
	}
	f.deliver(b, 0, len(b.documents))
	return b.result()
}

// Stop gives up the requests that are going on and closes the connections.
func (f *Flusher) Stop() error {
	if !f.ready.Swap(false) {
		return nil
	}
	f.stop()
	f.mu.Lock()
	defer f.mu.Unlock()
	f.stopped = true
	if f.connection != nil {
		f.connection.close()
		f.connection = nil
	}
	return nil
}

// current returns the connection, a new one after discard.
func (f *Flusher) current() (*connection, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case f.stopped:
		return nil, errNotRunning
	case f.connection == nil:
		c, err := f.connect()
		if err != nil {
			return nil, pipeline.Blocked(fmt.Errorf("prepare the connection to elasticsearch: %w", err))
		}
		f.connection = c
	}
	return f.connection, nil
}

// discard has the files of TLS read again for the next request: they may have been mended.
func (f *Flusher) discard(c *connection) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.connection == c {
		f.connection = nil
		c.close()
	}
}
