package pipeline

import (
	"errors"
	"fmt"
	"time"
)

// ErrFull is returned by Sink.Put when its context ended while the queue was full.
var ErrFull = errors.New("queue is full")

// ErrStopping is returned by Sink.Put once the pipeline takes no more events.
var ErrStopping = errors.New("pipeline is stopping")

// ErrTooLarge is returned by Sink.Put for groups larger than the whole queue.
var ErrTooLarge = errors.New("larger than the whole queue")

// PartialError is returned by Flush when some logs of the batch failed; the logs it does not list are
// delivered. An empty list, or an index that is out of range, fails the whole batch.
type PartialError struct {
	Failures []Failure
}

// Failure is one log that was not delivered. Group indexes the list that was passed to Flush, Log the
// group's Logs. Retryable ones are sent again, the others become dead letters with Err as the reason. The Err of a retryable one may be
// [Blocked] or [Throttle]; what is sent again is then treated as a whole batch with that error is.
type Failure struct {
	Group, Log int
	Err        error
	Retryable  bool
}

func (e *PartialError) Error() string {
	if len(e.Failures) == 0 {
		return "partial failure that lists no log"
	}
	return fmt.Sprintf("%d logs failed, the first: %v", len(e.Failures), e.Failures[0].Err)
}

// ThrottleError carries the pause that the destination asked for.
type ThrottleError struct {
	Err   error
	After time.Duration
}

func (e *ThrottleError) Error() string { return e.Err.Error() }
func (e *ThrottleError) Unwrap() error { return e.Err }

// PermanentError marks events that can never be delivered.
type PermanentError struct{ Err error }

func (e *PermanentError) Error() string { return e.Err.Error() }
func (e *PermanentError) Unwrap() error { return e.Err }

// BlockedError marks a destination that needs a person.
type BlockedError struct{ Err error }

func (e *BlockedError) Error() string { return e.Err.Error() }
func (e *BlockedError) Unwrap() error { return e.Err }

// OptionError names the option that an error of Validate or Init is about, as it is written in the
// configuration: "Authentication.TLS.CAFile".
type OptionError struct {
	Option string
	Err    error
}

func (e *OptionError) Error() string { return e.Option + ": " + e.Err.Error() }
func (e *OptionError) Unwrap() error { return e.Err }

// Throttle wraps err so that the batch is retried after d, which the destination asked for.
func Throttle(err error, d time.Duration) error { return &ThrottleError{Err: err, After: d} }

// Permanent wraps err so that the batch becomes dead letters: something is wrong with these events
// (malformed, too large), not with the destination.
func Permanent(err error) error { return &PermanentError{Err: err} }

// Blocked wraps err so that the batch is kept and retried slowly: something is wrong with the
// destination or with our rights there (401, 403, 404, an expired credential, TLS, ACL).
func Blocked(err error) error { return &BlockedError{Err: err} }
