package httpflusher

import (
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/flinktail/flinktail/pipeline"
	"github.com/flinktail/flinktail/protocol"
)

func withTemplate(text string) func(f *Flusher) {
	return func(f *Flusher) { f.Format, f.Template = FormatTemplate, text }
}

func TestTemplate(t *testing.T) {
	event := group(t, `{"event_id":"1","event_time":"2026-01-05T08:30:00.250Z","job_name":"orders \"x\"","severity":"error","terminal":true,
		"label.team":"payments","message":"a<b>\n订单","lineage":{"sources":[]},"schema_version":1}`)
	key, value := "namespace", "streaming"
	second := &protocol.Log_Content{Key: event.Logs[0].Contents[0].Key, Value: &value} // event_id
	event.Logs[0].Contents = append(event.Logs[0].Contents, second)
	event.LogTags = []*protocol.LogTag{{Key: &key, Value: &value}}
	for text, want := range map[string]string{
		`{"text": {{json .job_name}}}`:           `{"text": "orders \"x\""}`,
		`{{json .message}}`:                      `"a<b>\n订单"`,
		`[{{.schema_version}}, {{.terminal}}]`:   `[1, true]`,
		`{{.event_id}}`:                          `1`, // of two the first, as everywhere
		`{{.lineage}}`:                           `{"sources":[]}`,
		`"{{index . "label.team"}}"`:             `"payments"`,
		`"{{.namespace}}"`:                       `"streaming"`,
		`"{{.severity | upper}} {{lower "AB"}}"`: `"ERROR ab"`,
		`"<{{.nothing}}>"`:                       `"<>"`,
		`"{{.nothing | default "none"}}"`:        `"none"`,
		`"{{.severity | default "none"}}"`:       `"error"`,
		`"{{.event_time}}"`:                      `"2026-01-05T08:30:00.250Z"`,
		`"{{.event_time | date "02.01.06 15:04"}}{{.nothing | date "2006"}}"`: `"05.01.26 08:30"`,
		`{{.message | cut 5 | json}}`:                                         `"a<b>\n"`,
		`{{.message | cut 7 | json}}`:                                         `"a<b>\n订单"`,
		`{{if eq .terminal "true"}}1{{else}}2{{end}}`:                         `1`,
	} {
		r := newReceiver(t)
		f, _ := started(t, r.url(), withTemplate(text))
		require.NoError(t, flush(f, event), text)
		require.Equal(t, want, r.seen()[0].body, text)
		require.Equal(t, "application/json", r.seen()[0].header.Get("Content-Type"))
	}
}

func TestTemplateOfOtherTypes(t *testing.T) {
	r := newReceiver(t)
	f, _ := started(t, r.url(), withTemplate("{{.event_id}} is no JSON"), func(f *Flusher) {
		f.Headers = secrets("content-type", "text/plain", "Idempotency-Key", "%{event_id}")
		f.Method, f.Compression = http.MethodPut, CompressionGzip
	})
	require.NoError(t, flush(f, numbered(t, 1, 2)))
	for i, got := range r.seen() {
		require.Equal(t, numbers(1, 2)[i]+" is no JSON", got.body)
		require.Equal(t, http.MethodPut, got.method)
		require.Equal(t, []string{"text/plain"}, got.header["Content-Type"])
		require.Equal(t, numbers(1, 2)[i], got.header.Get("Idempotency-Key"))
	}
}

func TestTemplateFailures(t *testing.T) {
	r := newReceiver(t)
	f, _ := started(t, r.url(), withTemplate(`{{if eq .cluster "odd"}}{{else if eq .cluster "cut"}}{{slice .kind 0 3}}{{else if eq .cluster "raw"}}{"a": "{{.message}}"}{{else}}{{json .event_id}}{{end}}`))
	events := group(t, `{"event_id":"1"}`, `{"event_id":"2","cluster":"odd"}`, `{"event_id":"3","cluster":"cut"}`,
		`{"event_id":"4","cluster":"raw","message":"\""}`, `{"event_id":"5"}`)
	err := flush(f, events)
	refused, again := failed(t, err, events)
	require.Equal(t, numbers(2, 4), refused)
	require.Empty(t, again)
	var partial *pipeline.PartialError
	require.ErrorAs(t, err, &partial)
	require.ErrorContains(t, partial.Failures[0].Err, "makes nothing")
	require.ErrorContains(t, partial.Failures[1].Err, "out of range")
	require.ErrorContains(t, partial.Failures[2].Err, `makes no JSON of this event, at its byte 9: invalid character '"' after object key:value pair`)
	require.Len(t, r.seen(), 2)
	require.Equal(t, `"5"`, r.seen()[1].body)
}

// A webhook that fails in the middle gets the rest again, and nothing twice.
func TestTemplateStopsInTheMiddle(t *testing.T) {
	r := newReceiver(t)
	f, _ := started(t, r.url(), withTemplate(`[{"event_id": {{json .event_id}}}]`))
	r.answer(reply{status: 200}, reply{status: 422}, reply{status: 204}, reply{status: 429, header: map[string]string{"Retry-After": "2"}}, reply{status: 200})
	events := numbered(t, 1, 6)
	err := flush(f, events)
	refused, again := failed(t, err, events)
	require.Equal(t, []string{"2"}, refused)
	require.Equal(t, []string{"4", "5", "6"}, again)
	require.Equal(t, []string{"1", "3"}, r.ids())
	require.Len(t, r.seen(), 4, "the rest waits for the pause to be over")
	var partial *pipeline.PartialError
	require.ErrorAs(t, err, &partial)
	require.Equal(t, "throttle 2s", verdictOf(partial.Failures[1].Err))
}
