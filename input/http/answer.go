package httpinput

import (
	"encoding/json"
	"net/http"
	"strconv"

	"github.com/flinktail/flinktail/pipeline/listen"
)

// refusal is an answer other than 200: nothing of the post was taken, unless it says so.
type refusal struct {
	status int
	reason string // the label of the counter
	text   string
	retry  string // Retry-After, seconds
	header http.Header
	close  bool
}

var (
	refusePath   = refusal{status: http.StatusNotFound, reason: "unknown_path", text: "not found; post events to " + path}
	refuseMethod = refusal{status: http.StatusMethodNotAllowed, reason: "method", text: "post events with POST",
		header: http.Header{"Allow": {http.MethodPost}}}
	// A page in a browser is no source of events, but it could post to the loopback address of whoever looks at it.
	refuseBrowser = refusal{status: http.StatusForbidden, reason: "browser", text: "events are not taken from web pages"}
	refuseType    = refusal{status: http.StatusUnsupportedMediaType, reason: "content_type",
		text:   "Content-Type must be application/x-ndjson, application/json or application/x-protobuf",
		header: http.Header{"Accept-Post": {"application/x-ndjson, application/json, application/x-protobuf"}}}
	refuseEncoding = refusal{status: http.StatusUnsupportedMediaType, reason: "content_encoding", text: "Content-Encoding must be gzip, zstd or identity",
		header: http.Header{"Accept-Encoding": {"gzip, zstd"}}}

	refuseSlow     = refusal{status: http.StatusRequestTimeout, reason: "slow_body", text: "the body did not arrive within BodyTimeout", close: true}
	refuseBodySize = refusal{status: http.StatusRequestEntityTooLarge, reason: "body_too_large",
		text: "the body is larger than MaxBodyBytes; send smaller batches", close: true}
	refuseDecompressedSize = refusal{status: http.StatusRequestEntityTooLarge, reason: "decompressed_too_large",
		text: "the body expands to more than MaxDecompressedBytes; send smaller batches"}
	refuseExpansion = refusal{status: http.StatusRequestEntityTooLarge, reason: "expansion",
		text: "the body expands to more than MaxExpansion times its size; send smaller batches"}
	refuseOverBudget = refusal{status: http.StatusRequestEntityTooLarge, reason: "inflight_too_large",
		text: "the post needs more memory than InflightBytes; send smaller batches"}
	refuseQueueSize = refusal{status: http.StatusRequestEntityTooLarge, reason: "queue_too_small",
		text: "the post is larger than the whole queue; send smaller batches"}
	refuseRejects = refusal{status: http.StatusBadRequest, reason: "too_many_rejects",
		text: "more than 1000 lines are no events; nothing was taken"}

	refuseMemory = refusal{status: http.StatusTooManyRequests, reason: "inflight_full", text: "too much is in flight; send again later", retry: "1"}
	refuseFull   = refusal{status: http.StatusTooManyRequests, reason: "queue_full", text: "the queue is full; send again later", retry: "1"}

	refuseStopping = refusal{status: http.StatusServiceUnavailable, reason: "stopping", text: "flinktail is stopping; send again later", retry: "1", close: true}
	refuseBehind   = refusal{status: http.StatusServiceUnavailable, reason: "behind",
		text: "earlier posts are not settled yet; send again later", retry: "5"}
	refuseUnsettled = refusal{status: http.StatusServiceUnavailable, reason: "ack_timeout",
		text: "the events are queued but not settled yet; send again with the same ids", retry: "5"}
	refuseLost = refusal{status: http.StatusServiceUnavailable, reason: "custody_lost",
		text: "the events were lost on the way; send again with the same ids", retry: "1"}
	refuseFailed      = refusal{status: http.StatusServiceUnavailable, reason: "put_failed", text: "the events could not be queued; send again later", retry: "1"}
	refuseDeadLetters = refusal{status: http.StatusServiceUnavailable, reason: "dead_letters_full",
		text: "rejected events cannot be stored; send again later with the same ids", retry: "5"}
)

// refuseEntry is what the gate refuses.
func refuseEntry(r *listen.Refusal) *refusal {
	return &refusal{status: r.Status, reason: r.Reason, text: r.Text, header: r.Header}
}

// refuseBody is about a body that as a whole cannot be read.
func refuseBody(reason string, err error) *refusal {
	return &refusal{status: http.StatusBadRequest, reason: reason, text: err.Error()}
}

var (
	jsonType        = []string{"application/json"}
	connectionClose = []string{"close"}
)

func (in *Input) refuse(w http.ResponseWriter, r *refusal) {
	in.counter(r.status, r.reason).Add(1)
	header := w.Header()
	header["Content-Type"] = jsonType
	if r.retry != "" {
		header.Set("Retry-After", r.retry)
	}
	for name, values := range r.header {
		header[name] = values
	}
	if r.close {
		header["Connection"] = connectionClose
	}
	w.WriteHeader(r.status)
	text, _ := json.Marshal(map[string]string{"error": r.text})
	_, _ = w.Write(append(text, '\n')) // a client that is gone sends again
}

// accept answers 200 with what was accepted and what was rejected.
func (in *Input) accept(w http.ResponseWriter, p *post) {
	in.answered.Add(1)
	text := p.answer[:0]
	text = append(text, `{"accepted":`...)
	text = strconv.AppendInt(text, int64(p.accepted), 10)
	text = append(text, `,"rejected":[`...)
	for i, r := range p.batch.Rejects {
		if i > 0 {
			text = append(text, ',')
		}
		text = append(text, `{"line":`...)
		text = strconv.AppendInt(text, r.Number, 10)
		text = append(text, `,"reason":"`...)
		text = append(text, r.Reason...) // a constant, nothing to escape
		text = append(text, `"}`...)
	}
	text = append(text, "]}\n"...)
	p.answer = text
	w.Header()["Content-Type"] = jsonType
	_, _ = w.Write(text)
}
