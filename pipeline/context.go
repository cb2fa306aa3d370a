package pipeline

import (
	"context"
	"log/slog"
)

// Context is what a plugin gets from the engine. It is safe for concurrent use and valid until
// the plugin's Stop returns.
type Context interface {
	// Context is cancelled at the stop deadline; I/O uses it.
	Context() context.Context

	// Pipeline is the name of the pipeline, unique in the process.
	Pipeline() string

	// ID is the plugin's type with its optional "/ID", unique in its pipeline: "flusher_kafka/audit".
	ID() string

	// Logger writes to flinktail's log; every line carries the pipeline and the ID.
	Logger() *slog.Logger

	// Counter returns the counter flinktail_<type>_<name>, for example
	// flinktail_flusher_kafka_retries_total; name must end in "_total". Asking again with the same name and labels returns the same counter.
	Counter(name, help string, labels ...Label) Counter

	// Gauge publishes value under flinktail_<type>_<name>, read at each scrape.
	Gauge(name, help string, value func() float64)

	// State is durable and belongs to this plugin alone.
	State() State

	// Reject takes what an input received and cannot be an event: a dead letter that holds raw,
	// counted as accepted and rejected. The reason is a short constant ("malformed_json"), the label of the
	// counter; detail says what is wrong with this one. Nil means that the dead letter is
	// stored; Reject waits while the dead letters are full, until ctx ends.
	Reject(ctx context.Context, raw []byte, reason, detail string) error
}

// Label is one constant label of a metric.
type Label struct{ Name, Value string }

// Counter only grows. It is safe for concurrent use.
type Counter interface {
	Add(n float64)
}

// State is a small durable map: positions and the like, not data.
type State interface {
	// Load returns the value last stored under key, nil if there is none.
	Load(key string) ([]byte, error)

	// Store replaces the value; when it returns nil the value survives a crash of the machine.
	Store(key string, value []byte) error
}
