package httpflusher

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/flinktail/flinktail/pipeline"
	"github.com/flinktail/flinktail/pipeline/flushertest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestContract(t *testing.T) {
	variants := map[string]func(f *Flusher){
		"ndjson":             func(*Flusher) {},
		"json_array, gzip":   func(f *Flusher) { f.Format, f.Compression = FormatJSONArray, CompressionGzip },
		"loggroup, zstd":     func(f *Flusher) { f.Format, f.Compression = FormatLogGroup, CompressionZstd },
		"a request a job":    func(f *Flusher) { f.Headers = secrets("X-Job", "%{job_id}") },
		"a request an event": func(f *Flusher) { f.Query = secrets("id", "%{event_id}") },
	}
	for name, choose := range variants {
		t.Run(name, func(t *testing.T) {
			flushertest.Run(t, flushertest.Suite{
				Start: func(t testing.TB) *flushertest.Destination {
					r := newReceiver(t)
					return r.destination(func() pipeline.Flusher {
						f := New()
						f.RemoteURL = pipeline.NewSecret(r.url())
						choose(f)
						return f
					})
				},
				Broken: func(testing.TB) map[string]pipeline.Flusher {
					noURL, noToken, noCA := New(), New(), New()
					noToken.RemoteURL, noToken.Authentication.BearerTokenFile = pipeline.NewSecret("http://127.0.0.1:1"), "testdata/none"
					noCA.RemoteURL, noCA.Authentication.TLS.Enabled, noCA.Authentication.TLS.CAFile = pipeline.NewSecret("https://127.0.0.1:1"), true, "testdata/none"
					return map[string]pipeline.Flusher{"no RemoteURL": noURL, "no token": noToken, "no CA": noCA}
				},
			})
		})
	}
}

// destination shows the receiver to the suite with every fault.
func (r *receiver) destination(create func() pipeline.Flusher) *flushertest.Destination {
	fault := func(f func(received) *reply) func() {
		r.set(func() { r.faults = f })
		return func() { r.set(func() { r.faults = nil }) }
	}
	return &flushertest.Destination{
		New:    create,
		Events: r.all,
		Down: func() func() {
			r.down()
			return r.up
		},
		Refuse: func() func() {
			return fault(func(received) *reply { return &reply{status: http.StatusForbidden} })
		},
		Throttle: func(pause time.Duration) func() {
			after := map[string]string{"Retry-After": fmt.Sprint(int(pause / time.Second))}
			return fault(func(received) *reply { return &reply{status: http.StatusTooManyRequests, header: after} })
		},
		Reject: func(id string) func() {
			return fault(func(got received) *reply {
				if containsID(got.events, id) {
					return &reply{status: http.StatusUnprocessableEntity, body: "one of these does not fit"}
				}
				return nil
			})
		},
		Hang: func() func() {
			hang := make(chan struct{})
			r.set(func() { r.hang = hang })
			return func() { r.set(func() { r.hang = nil }); close(hang) }
		},
	}
}
