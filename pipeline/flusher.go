// Package pipeline is the contract between flinktail's engine and its plugins: inputs, processors
// and flushers. The comments here are the specification; the suites in flushertest, inputtest and
// processortest check it.
//
// A plugin is a struct whose exported fields are its options. Its package registers a constructor
// in init (see [Register]); the constructor returns the struct with its defaults filled in, the
// engine decodes the plugin's "detail" into it, then calls [Validator].Validate if there is one, then Init.
package pipeline

import (
	"context"

	"github.com/flinktail/flinktail/protocol"
)

// Flusher delivers log groups to one destination. The methods are iLogtail's.
//
// The engine calls Init once, then IsReady and Flush, and Stop at the end. With Workers 1 (the default)
// IsReady and Flush come from one goroutine at a time; with more, Flush runs concurrently for events of
// different keys. SetUrgent and Stop may be called at any time, beside a running Flush.
type Flusher interface {
	// Init opens what the flusher needs. It needs no network: a destination that is down
	// makes the flusher not ready, it does not stop the start. After an error nothing may
	// stay open, no goroutine may be left, and Stop is not called.
	Init(Context) error

	// Description says in one line what the flusher does.
	Description() string

	// IsReady is asked before every Flush. False means "wait and ask again", which the engine
	// does with growing pauses. It answers from local knowledge, at once, never over the network.
	IsReady(projectName, logstoreName string, logstoreKey int64) bool

	// Flush delivers every log of every group. Returning nil is the acknowledgement: the
	// destination has confirmed every log. Otherwise:
	//   - a plain error keeps the whole batch and retries it with backoff and jitter;
	//   - a *PartialError names the logs that failed, the others are delivered;
	//   - Throttle(err, d) retries the batch after d;
	//   - Permanent(err) says that these events can never be delivered: dead letters;
	//   - Blocked(err) says that the destination or our rights there need a person: the batch is
	//     kept, retried slowly, and nothing is dead-lettered.
	//
	// Groups are read-only and may not be kept, nor anything they point to, after Flush returns.
	// I/O uses the context of Init's Context; Flush returns within one second of its end.
	Flush(projectName, logstoreName, configName string, logGroupList []*protocol.LogGroup) error

	// SetUrgent comes before Stop, and before any other plugin's, and tells why the flusher ends. True: its pipeline stops,
	// as all do when flinktail exits. False: a reload replaces or removes this flusher, or its pipeline. Batches may
	// follow in either case: deliver them without waiting for more. It returns at once.
	SetUrgent(flag bool)

	// Stop closes the destination. It may be called twice and beside a Flush, which then
	// returns soon; no Flush follows.
	Stop() error
}

// Validator is implemented by a plugin that checks its options beyond their types. Validate does no
// I/O. Join the errors to report several at once; wrap one in [OptionError] to name the option.
type Validator interface {
	Validate() error
}

// Connector is implemented by a plugin that can try its destination or source. "flinktail validate --connect" calls Connect after
// Validate, without Init. At a start the engine calls it for flushers, before Init: an error that is [Blocked] (a wrong password, a certificate that is
// not trusted, a missing right) ends the start with that cause; any other, such as nobody listening, does not. So Connect makes
// one attempt and leaves nothing open. It returns soon after the end of ctx.
type Connector interface {
	Connect(ctx context.Context) error
}

// Documented is implemented by every plugin: the pipeline configuration that its README shows.
type Documented interface {
	// Sample is a whole pipeline configuration in JSON that uses the plugin and validates.
	Sample() []byte
}
