// Package kafka is flusher_kafka: events as records in Apache Kafka.
package kafka

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/flinktail/flinktail/flusher/internal/client"
	"github.com/flinktail/flinktail/pipeline"
	"github.com/flinktail/flinktail/protocol"
)

//go:embed sample.json
var sample []byte

func init() { pipeline.Register("flusher_kafka", func() any { return New() }) }

// Formats of the records.
const (
	FormatJSON     = "json"
	FormatLogGroup = "loggroup"
)

// Values of PartitionerType.
const (
	PartitionByHash     = "hash"
	PartitionRandom     = "random"
	PartitionRoundRobin = "roundrobin"
)

// Values of RequiredAcks.
const (
	acksAll    = -1
	acksLeader = 1
)

// Flusher produces records. Its exported fields are the options.
type Flusher struct {
	Brokers  []string `jsonschema:"required" jsonschema_description:"brokers to ask for the others, host:port each"`
	Topic    string   `jsonschema:"required" jsonschema_description:"the topic; %{field} stands for a field of the event, made safe for a topic's name, %{+yyyy.MM.dd} for its time"`
	Format   string   `jsonschema:"enum=json,enum=loggroup" jsonschema_description:"json: a record for each event, one JSON object; loggroup: a record for the events of a group that share their topic and key, a protobuf LogGroup"`
	ClientID string   `jsonschema_description:"the name under which the brokers know this client, in their logs and quotas"`

	Key             string   `jsonschema_description:"the records' key, a pattern as in Topic; without it cluster and job id, else cluster, namespace and resource"`
	HashKeys        []string `jsonschema_description:"fields whose values make the key, instead of Key; when an event has none of them, the default key"`
	PartitionerType string   `jsonschema:"enum=hash,enum=random,enum=roundrobin" jsonschema_description:"hash: the key decides, as with Kafka's Java clients; random: each batch goes to one partition; roundrobin: each record goes to the next one. Only hash keeps the order of a job's events"`
	Headers         []Header `jsonschema_description:"headers of every record, beside those that a json record has: event_id, kind and cluster"`

	Compression      string        `jsonschema:"enum=none,enum=gzip,enum=snappy,enum=lz4,enum=zstd" jsonschema_description:"how batches of records are compressed"`
	CompressionLevel int           `jsonschema:"minimum=0,maximum=9" jsonschema_description:"for gzip and zstd, 1 is the fastest; 0 is 1 for zstd and 6 for gzip"`
	MaxMessageBytes  pipeline.Size `jsonschema:"minimum=1" jsonschema_description:"largest batch of records for a partition, before compression, and so the largest record; at most the brokers' message.max.bytes"`
	RequiredAcks     int           `jsonschema_description:"-1: a record is delivered when all in-sync replicas have it; 1: when the partition's leader has it, which may lose it"`
	Idempotent       bool          `jsonschema_description:"the brokers recognise a batch that is sent again and store it once; only with RequiredAcks -1"`

	Timeout       time.Duration `jsonschema_description:"longest wait for a connection and for an answer"`
	BrokerTimeout time.Duration `jsonschema_description:"how long a broker may wait for the replicas, less than Timeout"`
	KeepAlive     time.Duration `jsonschema_description:"pause between TCP keep-alives; 0 is the operating system's"`
	Metadata      Metadata      `jsonschema_description:"what is known of topics and brokers"`
	CreateTopics  CreateTopics  `jsonschema_description:"creates topics that are missing"`

	Authentication Authentication `jsonschema_description:"who we are, and how the connection is protected"`

	ctx      context.Context
	stop     context.CancelFunc
	cluster  *cluster
	layout   *layout
	codec    int16
	compress compressor
	batches  sync.Pool
	requests sync.Pool
	notUntil atomic.Int64 // Unix nanoseconds: no broker could be reached, the next attempt is not due yet

	mu       sync.Mutex
	running  bool
	flushing sync.WaitGroup // grows only while running
}

// Header is a header with the same value for every record.
type Header struct {
	Key   string `jsonschema:"required" jsonschema_description:"name"`
	Value string `jsonschema_description:"text"`
}

// Metadata says how old what is known of topics may become.
type Metadata struct {
	RefreshFrequency time.Duration `jsonschema_description:"topics are looked up again when this old, to find new partitions"`
}

// CreateTopics creates missing topics when Partitions is set.
type CreateTopics struct {
	Partitions        int `jsonschema:"minimum=-1" jsonschema_description:"partitions of a new topic; -1 is the brokers' default; 0: no topic is created"`
	ReplicationFactor int `jsonschema:"minimum=-1" jsonschema_description:"replicas of each partition; -1 is the brokers' default"`
}

// New returns the flusher with its defaults.
func New() *Flusher {
	return &Flusher{
		Format: FormatJSON, ClientID: "flinktail", PartitionerType: PartitionByHash,
		Compression: "zstd", MaxMessageBytes: 1_000_000, RequiredAcks: acksAll, Idempotent: true,
		Timeout: 30 * time.Second, BrokerTimeout: 10 * time.Second,
		Metadata:       Metadata{RefreshFrequency: 10 * time.Minute},
		CreateTopics:   CreateTopics{ReplicationFactor: -1},
		Authentication: Authentication{TLS: client.TLS{MinVersion: "1.2"}},
	}
}

// Description says what the flusher does.
func (f *Flusher) Description() string {
	return "produces events to Apache Kafka, confirmed record by record"
}

// Sample returns a pipeline that uses the flusher.
func (f *Flusher) Sample() []byte { return sample }

// Validate checks the options; it reads no file.
func (f *Flusher) Validate() error {
	_, err := newLayout(f)
	errs := []error{err, f.Authentication.validate()}
	complain := func(option, format string, args ...any) {
		errs = append(errs, &pipeline.OptionError{Option: option, Err: fmt.Errorf(format, args...)})
	}
	if len(f.Brokers) == 0 {
		complain("Brokers", `name at least one broker, such as "kafka:9092"`)
	}
	for i, address := range f.Brokers {
		if err := checkAddress(address); err != nil {
			complain(fmt.Sprintf("Brokers[%d]", i), "%w", err)
		}
	}
	switch f.RequiredAcks {
	case acksAll, acksLeader:
	case 0:
		complain("RequiredAcks", "0 means that no broker confirms anything; write -1 or 1")
	default:
		complain("RequiredAcks", "%d is neither -1 (all in-sync replicas) nor 1 (the leader)", f.RequiredAcks)
	}
	if f.BrokerTimeout < time.Millisecond {
		complain("BrokerTimeout", "must be at least 1ms")
	}
	if f.Timeout <= f.BrokerTimeout {
		complain("Timeout", "must be longer than BrokerTimeout, %s", f.BrokerTimeout)
	}
	if f.KeepAlive < 0 {
		complain("KeepAlive", "must not be below zero")
	}
	if f.Metadata.RefreshFrequency <= 0 {
		complain("Metadata.RefreshFrequency", "must be above zero")
	}
	if f.CreateTopics.ReplicationFactor == 0 {
		complain("CreateTopics.ReplicationFactor", "0 replicas hold nothing; write -1 for the brokers' default")
	}
	return errors.Join(errs...)
}

// Connect asks a broker for the topic and each leader of its partitions for a sign of life. A topic that depends on the event
// cannot be checked: then one broker has to answer.
func (f *Flusher) Connect(ctx context.Context) error {
	layout, err := newLayout(f)
	if err != nil {
		return err
	}
	c := newCluster(ctx, f)
	defer c.close()
	return c.check(ctx, layout)
}

// Init prepares the flusher; the first Flush connects.
func (f *Flusher) Init(c pipeline.Context) error {
	layout, err := newLayout(f)
	if err != nil {
		return err
	}
	if _, err := f.Authentication.TLS.Config(); err != nil {
		return client.Under("Authentication.TLS", err)
	}
	f.ctx, f.stop = context.WithCancel(c.Context())
	f.layout, f.cluster = layout, newCluster(f.ctx, f)
	if f.compress, err = newCompressor(f.Compression, f.CompressionLevel); err != nil {
		return &pipeline.OptionError{Option: "Compression", Err: err}
	}
	f.codec = codecs[f.Compression]
	f.requests.New = func() any { return &produceRequest{} }
	f.batches.New = func() any { return newBatch(layout) }
	f.mu.Lock()
	f.running = true
	f.mu.Unlock()
	return nil
}

// IsReady is false when no broker could be reached a moment ago.
func (f *Flusher) IsReady(string, string, int64) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.running && time.Now().UnixNano() >= f.notUntil.Load()
}

// SetUrgent changes nothing: Flush never waits for more.
func (f *Flusher) SetUrgent(bool) {}

var errNotRunning = errors.New("flusher_kafka is not running")

const (
	// reconnectPause is how long the flusher is not ready after no broker could be reached.
	reconnectPause = time.Second
	// abandonAfter is how long Flush waits, after its connections were cut, for what used them.
	abandonAfter = 500 * time.Millisecond
)

// Flush produces every event and waits until the brokers have confirmed it.
func (f *Flusher) Flush(_, _, _ string, groups []*protocol.LogGroup) error {
	if !f.begin() {
		return errNotRunning
	}
	b := f.batches.Get().(*batch)
	b.encode(groups)
	done := make(chan outcome, 1)
	go func() {
		defer f.flushing.Done()
		done <- f.attempt(b)
	}()
	select {
	case o := <-done:
		return f.settle(b, o)
	case <-f.ctx.Done():
	}
	select {
	case o := <-done:
		return f.settle(b, o)
	case <-time.After(abandonAfter): // b is still in use
		return f.ctx.Err()
	}
}

func (f *Flusher) begin() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.running {
		f.flushing.Add(1)
	}
	return f.running
}

// outcome is what became of a batch.
type outcome struct {
	err      error
	panicked any
}

// attempt is produce with its panic, which the caller of Flush has to see: in a goroutine of our own it would end the process.
func (f *Flusher) attempt(b *batch) (o outcome) {
	defer func() { o.panicked = recovered(recover()) }()
	return outcome{err: f.produce(b)}
}

// recovered adds the stack to what recover returned.
func recovered(panicked any) any {
	if panicked == nil {
		return nil
	}
	return fmt.Sprintf("%v\n%s", panicked, debug.Stack())
}

// settle makes b ready for the next Flush.
func (f *Flusher) settle(b *batch, o outcome) error {
	if o.panicked != nil {
		panic(o.panicked)
	}
	b.reset()
	f.batches.Put(b)
	if isOutage(o.err) {
		f.notUntil.Store(time.Now().Add(reconnectPause).UnixNano())
	}
	return o.err
}

// Stop cuts the connections; a Flush that is under way fails at once.
func (f *Flusher) Stop() error {
	f.mu.Lock()
	stopped := !f.running
	f.running = false
	f.mu.Unlock()
	if stopped {
		return nil
	}
	f.stop()
	closed := make(chan struct{})
	go func() {
		defer close(closed)
		f.flushing.Wait()
		f.cluster.close()
	}()
	select {
	case <-closed:
	case <-time.After(2 * abandonAfter): // a broker has throttled us; the goroutine ends with that
	}
	return nil
}
