package httpflusher

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"sync"

	"github.com/flinktail/flinktail/flusher/internal/client"
	"github.com/flinktail/flinktail/pipeline"
)

// faultError says that something is wrong with the events of a request.
type faultError struct{ err error }

func (e *faultError) Error() string { return e.err.Error() }
func (e *faultError) Unwrap() error { return e.err }

// send sends the events from from up to but not including to in one request.
func (f *Flusher) send(b *batch, from, to int) error {
	if err := f.ctx.Err(); err != nil {
		return err
	}
	body, err := b.body(from, to)
	if err != nil {
		return &faultError{err}
	}
	first := b.events[from]
	g := b.groups[first.group]
	r := request{endpoint: f.endpoint, token: f.token, method: f.endpoint.method, body: body, text: b.answer[:0]}
	r.url, r.header = f.endpoint.target(g, g.Logs[first.log])

	ctx, cancel := context.WithTimeout(f.ctx, f.Timeout)
	defer cancel()
	c := f.currentClient()
	answer, err := r.do(ctx, c)
	b.answer = answer.text
	code := "none"
	if err == nil {
		code = strconv.Itoa(answer.status)
		err = answer.verdict(f.endpoint)
	} else if client.Refused(err) {
		f.renewClient(c)
	}
	f.context.Counter("requests_total", "Requests by the status code of their answer.", pipeline.Label{Name: "code", Value: code}).Add(1)
	if err == nil {
		f.noteRejects(answer)
	}
	return err
}

// noteRejects tells of events that another flinktail's input_http has taken as dead letters: they are safe there, but a person should know.
func (f *Flusher) noteRejects(a answer) {
	if !bytes.Contains(a.text, []byte(`"rejected":[{`)) {
		return
	}
	var said struct {
		Accepted *int
		Rejected []struct {
			Line   int
			Reason string
		}
	}
	if json.Unmarshal(a.text, &said) != nil || said.Accepted == nil || len(said.Rejected) == 0 {
		return
	}
	f.context.Counter("receiver_rejected_events_total", "Events that the receiving flinktail put into its dead letters.").Add(float64(len(said.Rejected)))
	f.log.Warn("the receiver put events into its dead letters", "events", len(said.Rejected), "reason", a.conceal(said.Rejected[0].Reason))
}

// request is one request before it is sent.
type request struct {
	endpoint *endpoint
	token    *tokenFile
	method   string
	url      *url.URL
	header   http.Header
	body     []byte
	text     []byte // memory for the answer's
}

// do sends the request and reads the answer. When it returns nobody has the body any more.
func (r *request) do(ctx context.Context, c *http.Client) (answer, error) {
	a := answer{text: r.text, secrets: r.endpoint.secrets}
	if err := r.authorize(); err != nil {
		return a, pipeline.Blocked(err)
	}
	if r.token != nil {
		a.secrets = append(slices.Clip(a.secrets), client.InHeader(r.header.Get("Authorization"))...)
	}
	request := (&http.Request{Method: r.method, URL: r.url, Header: r.header}).WithContext(ctx)
	if len(r.body) > 0 {
		p := &payload{data: r.body}
		defer p.end()
		request.ContentLength = int64(len(r.body))
		request.GetBody = p.reader
		request.Body, _ = p.reader()
	}
	response, err := c.Do(request)
	if err != nil {
		return a, r.explain(ctx, err)
	}
	defer response.Body.Close()
	a.method, a.status, a.header = r.method, response.StatusCode, response.Header
	a.text = readText(r.text, response.Body)
	return a, nil
}

// authorize sets the Authorization header.
func (r *request) authorize() error {
	if r.token == nil {
		return nil
	}
	token, err := r.token.current()
	if err != nil {
		return err
	}
	r.header.Set("Authorization", "Bearer "+token)
	return nil
}

// explain makes an error of the client's fit for people and for the engine.
func (r *request) explain(ctx context.Context, err error) error {
	var wrapped *url.Error
	if errors.As(err, &wrapped) {
		err = wrapped.Err // without the URL, which may hold secrets
	}
	if errors.Is(err, context.DeadlineExceeded) && errors.Is(ctx.Err(), context.DeadlineExceeded) {
		err = errors.New("no answer in time")
	}
	err = fmt.Errorf("%s to %s: %w", r.method, r.endpoint.name, client.Hint(err))
	var address *addressError
	var proxy *proxyError
	if client.Refused(err) || errors.As(err, &address) || errors.As(err, &proxy) && !proxy.temporary() {
		return pipeline.Blocked(err)
	}
	return err
}

// payload is the body of a request. net/http may go on sending after it has returned an answer or an error, and then must not
// find the next request's body in the same memory.
type payload struct {
	mu   sync.Mutex
	data []byte // nil once the request is over
}

var errOver = errors.New("the request is over")

func (p *payload) end() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.data = nil
}

// reader returns the body from its beginning, for one attempt.
func (p *payload) reader() (io.ReadCloser, error) { return &reader{payload: p}, nil }

type reader struct {
	*payload
	at int
}

func (r *reader) Read(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.data == nil {
		return 0, errOver
	}
	if r.at == len(r.data) {
		return 0, io.EOF
	}
	n := copy(p, r.data[r.at:])
	r.at += n
	return n, nil
}

func (r *reader) Close() error { return nil }
