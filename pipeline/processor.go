package pipeline

import (
	"time"

	"github.com/flinktail/flinktail/protocol"
)

// Processor changes, filters or makes events between the inputs and the queue. Calls are
// serialised per pipeline: a processor needs no locks of its own.
type Processor interface {
	// Init opens what the processor needs. After an error nothing may stay open and Stop is not called.
	Init(Context) error

	// Description says in one line what the processor does.
	Description() string

	// Process works on g in place: it may change fields, and remove logs by shortening g.Logs,
	// which counts them as filtered. Groups given to emit are queued together with g, atomically,
	// after it, and count as generated; they pass the processors that follow. An error passes g on
	// as it is and is counted; it never loses events.
	Process(g *protocol.LogGroup, emit func(*protocol.LogGroup)) error

	// Stop releases what Init opened. It may be called twice.
	Stop() error
}

// Ticker is implemented by a processor that must act without an event, for example at the end of a
// time window. Tick is called about once a second, serialised with Process.
type Ticker interface {
	Tick(now time.Time, emit func(*protocol.LogGroup))
}
