package httpflusher

import (
	"errors"
	"fmt"
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/flinktail/flinktail/pipeline"
	"github.com/flinktail/flinktail/protocol"
	"github.com/flinktail/flinktail/protocol/flink"
)

// failed lists the ids of what an error of Flush names: those given up and those to be sent again.
func failed(t testing.TB, err error, groups ...*protocol.LogGroup) (refused, again []string) {
	t.Helper()
	var partial *pipeline.PartialError
	require.ErrorAs(t, err, &partial)
	for _, f := range partial.Failures {
		id := protocol.Value(groups[f.Group].Logs[f.Log], flink.FieldEventID)
		require.Error(t, f.Err)
		if f.Retryable {
			again = append(again, id)
		} else {
			refused = append(refused, id)
		}
	}
	return refused, again
}

var splitting = []string{FormatNDJSON, FormatJSONArray, FormatLogGroup}

func TestTooLargeRequestsAreSplit(t *testing.T) {
	for _, format := range splitting {
		t.Run(format, func(t *testing.T) {
			r := newReceiver(t)
			f, _ := started(t, r.url(), func(f *Flusher) { f.Format = format })
			r.faults = func(got received) *reply {
				if len(got.events) > 3 {
					return &reply{status: http.StatusRequestEntityTooLarge}
				}
				return nil
			}
			require.NoError(t, flush(f, numbered(t, 1, 7), numbered(t, 8, 13)))
			require.Equal(t, numbers(1, 20), r.ids(), "all, once, in order")

			r.answer(reply{status: http.StatusRequestEntityTooLarge, body: "at most 3 bytes"})
			group := numbered(t, 1, 2)
			err := flush(f, group)
			refused, again := failed(t, err, group)
			require.Equal(t, numbers(1, 2), refused)
			require.Empty(t, again)
		})
	}
}

func TestBadEventsAreFound(t *testing.T) {
	for _, format := range splitting {
		for _, status := range []int{http.StatusBadRequest, http.StatusUnprocessableEntity} {
			t.Run(fmt.Sprintf("%s %d", format, status), func(t *testing.T) {
				r := newReceiver(t)
				f, _ := started(t, r.url(), func(f *Flusher) { f.Format = format })
				bad := []string{"1", "77", "78", "100"}
				r.faults = func(got received) *reply {
					for _, id := range bad {
						if containsID(got.events, id) {
							return &reply{status: status, body: "event " + id + " does not fit"}
						}
					}
					return nil
				}
				groups := []*protocol.LogGroup{numbered(t, 1, 70), numbered(t, 71, 30)}
				err := flush(f, groups...)
				refused, again := failed(t, err, groups...)
				require.Equal(t, bad, refused)
				require.Empty(t, again)
				require.ErrorContains(t, err, "event 1 does not fit")
				good := append(numbers(2, 76), numbers(79, 99)...)
				require.Equal(t, good, r.ids(), "the others, once, in order")
				require.Less(t, len(r.seen()), 50, "requests")
			})
		}
	}
}

func TestAllBadIsBounded(t *testing.T) {
	r := newReceiver(t)
	f, _ := started(t, r.url())
	r.answer(reply{status: http.StatusBadRequest})
	group := numbered(t, 1, 100)
	refused, _ := failed(t, flush(f, group), group)
	require.Equal(t, numbers(1, 100), refused)
	require.Len(t, r.seen(), 199)
}

// An outage in the middle of the search keeps what is not settled, and says what the engine must know.
func TestOutageWhileSplitting(t *testing.T) {
	for _, outage := range []struct {
		reply
		verdict func(error) bool
	}{
		{reply{status: 503, header: map[string]string{"Retry-After": "9"}}, func(err error) bool {
			var throttle *pipeline.ThrottleError
			return errors.As(err, &throttle) && throttle.After.Seconds() == 9
		}},
		{reply{status: 403}, func(err error) bool { var blocked *pipeline.BlockedError; return errors.As(err, &blocked) }},
		{reply{status: 500}, func(err error) bool { return verdictOf(err) == "retry" }},
	} {
		r := newReceiver(t)
		f, _ := started(t, r.url())
		r.faults = func(got received) *reply {
			switch {
			case len(r.events) >= 4:
				return &outage.reply
			case containsID(got.events, "2"):
				return &reply{status: http.StatusBadRequest}
			}
			return nil
		}
		group := numbered(t, 1, 16)
		err := flush(f, group)
		refused, again := failed(t, err, group)
		require.Equal(t, []string{"2"}, refused)
		require.Equal(t, []string{"1", "3", "4", "5", "6", "7", "8"}, r.ids())
		require.Equal(t, numbers(9, 16), again)
		var partial *pipeline.PartialError
		require.ErrorAs(t, err, &partial)
		for _, failure := range partial.Failures {
			if failure.Retryable {
				require.True(t, outage.verdict(failure.Err), "%v", failure.Err)
				require.ErrorContains(t, failure.Err, "after 8 of 16 events")
			}
		}
		r.set(func() { r.events, r.faults = nil, nil })
		require.NoError(t, flush(f, group), "nothing of the failed Flush is left")
		require.Equal(t, numbers(1, 16), r.ids())
	}
}

// What a peer sent may be without a value: it cannot be a LogGroup again.
func TestEventsThatCannotBeEncoded(t *testing.T) {
	r := newReceiver(t)
	f, _ := started(t, r.url(), func(f *Flusher) { f.Format = FormatLogGroup })
	group := numbered(t, 1, 5)
	group.Logs[2].Contents[1].Value = nil
	refused, again := failed(t, flush(f, group), group)
	require.Equal(t, []string{"3"}, refused)
	require.Empty(t, again)
	require.Equal(t, []string{"1", "2", "4", "5"}, r.ids())
}
