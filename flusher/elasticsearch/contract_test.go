package elasticsearch

import (
	"encoding/json"
	"net/http"
	"strconv"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/flinktail/flinktail/pipeline"
	"github.com/flinktail/flinktail/pipeline/flushertest"
	"github.com/flinktail/flinktail/protocol/flink"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestContract(t *testing.T) {
	for name, choose := range map[string]func(f *Flusher){
		"default":     func(*Flusher) {},
		"data stream": func(f *Flusher) { f.DataStream = true },
		"index of the event": func(f *Flusher) {
			f.Index = "flink-%{kind}-%{cluster}-%{+yyyy.MM.dd}"
		},
		"gzip":        func(f *Flusher) { f.Compression = CompressionGzip },
		"no template": func(f *Flusher) { f.InstallTemplate = false },
	} {
		t.Run(name, func(t *testing.T) {
			flushertest.Run(t, flushertest.Suite{
				Start: func(t testing.TB) *flushertest.Destination { return fakeDestination(newFake(t), choose) },
				Broken: func(testing.TB) map[string]pipeline.Flusher {
					file := func(f *Flusher) {
						f.Addresses, f.Authentication.TLS.Enabled, f.Authentication.TLS.CAFile = []string{"https://127.0.0.1:1"}, true, "missing.pem"
					}
					return map[string]pipeline.Flusher{
						"no index":                 flusherFor("http://127.0.0.1:1", func(f *Flusher) { f.Index = "" }),
						"no address":               &Flusher{Index: "flink", Timeout: time.Second},
						"CAFile is gone":           flusherFor("", file),
						"wrong id of a deployment": flusherFor("", func(f *Flusher) { f.Addresses, f.Authentication.CloudID = nil, "x" }),
					}
				},
			})
		})
	}
}

func fakeDestination(s *fake, choose func(f *Flusher)) *flushertest.Destination {
	return &flushertest.Destination{
		New:    func() pipeline.Flusher { return flusherFor(s.URL, choose) },
		Events: s.events,
		Down: func() func() {
			return s.answers(func(w http.ResponseWriter, _ *http.Request, _ []byte) bool {
				connection, _, err := w.(http.Hijacker).Hijack()
				return err == nil && connection.Close() == nil
			})
		},
		Refuse: func() func() {
			return s.answers(func(w http.ResponseWriter, _ *http.Request, _ []byte) bool {
				writeFault(w, 401, "security_exception", "unable to authenticate user [flinktail]")
				return true
			})
		},
		Throttle: func(pause time.Duration) func() {
			return s.answers(func(w http.ResponseWriter, _ *http.Request, _ []byte) bool {
				w.Header().Set("Retry-After", strconv.Itoa(int(pause.Seconds())))
				writeFault(w, 429, "circuit_breaking_exception", "Data too large")
				return true
			})
		},
		Reject: func(id string) func() {
			return s.refuses(func(d stored) (int, string) {
				if d.id != id {
					return 0, ""
				}
				return 400, `{"type":"document_parsing_exception","reason":"[1:5] failed to parse field [terminal] of type [boolean]"}`
			})
		},
		Hang: func() func() {
			hanging := make(chan struct{})
			end := s.answers(func(_ http.ResponseWriter, r *http.Request, _ []byte) bool {
				select {
				case <-hanging:
				case <-r.Context().Done():
				}
				return false
			})
			return func() { end(); close(hanging) }
		},
	}
}

// ids returns the ids of the events that s holds, in order.
func (f *fake) heldIDs() (ids []string) {
	for _, text := range f.events() {
		var e map[string]any
		if err := json.Unmarshal(text, &e); err != nil {
			f.t.Errorf("no JSON: %s", text)
		}
		id, _ := e[flink.FieldEventID].(string)
		ids = append(ids, id)
	}
	return ids
}
