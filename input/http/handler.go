package httpinput

import (
	"context"
	"errors"
	"net"
	"net/http"
	"time"

	"github.com/flinktail/flinktail/pipeline"
)

// path is where events are posted.
const path = "/v1/events"

// ServeHTTP implements [http.Handler].
func (in *Input) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f, refused := in.admit(r)
	if refused != nil {
		in.refuse(w, refused)
		return
	}
	p := in.newPost()
	defer p.release()
	if refused := p.take(r, f); refused != nil {
		in.refuse(w, refused)
		return
	}
	in.accept(w, p)
}

// admit decides by the header alone, so that what is refused is not read.
func (in *Input) admit(r *http.Request) (format, *refusal) {
	f := formatOf(r.Header.Get("Content-Type"))
	if refused := in.gate.Admit(r); refused != nil {
		return f, refuseEntry(refused)
	}
	switch {
	case r.Header.Get("Origin") != "":
		return f, &refuseBrowser
	case r.URL.Path != path:
		return f, &refusePath
	case r.Method != http.MethodPost:
		return f, &refuseMethod
	case in.stopping.Load():
		return f, &refuseStopping
	case f == formatUnknown:
		return f, &refuseType
	case !knownEncoding(r.Header.Get("Content-Encoding")):
		return f, &refuseEncoding
	case in.unsettled.oldest() > in.AckTimeout:
		return f, &refuseBehind
	}
	return f, nil
}

func knownEncoding(encoding string) bool {
	return encoding == "" || encoding == "identity" || encoding == "gzip" || encoding == "zstd"
}

// take reads the post, gives its events to the pipeline and waits until they are settled.
func (p *post) take(r *http.Request, f format) *refusal {
	if refused := p.readBody(r); refused != nil {
		return refused
	}
	p.batch.Begin(hostOf(r.RemoteAddr), r.Header.Get("Idempotency-Key"), time.Now())
	if refused := p.decode(f); refused != nil {
		return refused
	}
	if p.accepted > 0 {
		if refused := p.put(); refused != nil {
			return refused
		}
		p.timer.Reset(p.in.AckTimeout)
	}
	if refused := p.rejectAll(); refused != nil {
		return refused
	}
	if p.accepted == 0 {
		return nil
	}
	select {
	case <-p.settled:
		if p.lost != nil {
			p.in.log.Warn("events of a post were lost after it was taken; it is answered 503", "error", p.lost)
			return &refuseLost
		}
		return nil
	case <-p.timer.C:
		return &refuseUnsettled
	}
}

// put gives all events to the pipeline, or none.
func (p *post) put() *refusal {
	in := p.in
	in.putting.RLock()
	defer in.putting.RUnlock()
	if in.stopping.Load() {
		return &refuseStopping
	}
	p.users.Add(1)
	in.unsettled.add(p)
	err := in.out.Put(ended, p.batch.Groups(), p.done)
	if errors.Is(err, pipeline.ErrFull) {
		ctx, cancel := context.WithTimeout(in.running, in.FullWait)
		err = in.out.Put(ctx, p.batch.Groups(), p.done)
		cancel()
	}
	if err == nil {
		return nil
	}
	in.unsettled.remove(p)
	p.users.Add(-1)
	switch {
	case in.running.Err() != nil || errors.Is(err, pipeline.ErrStopping):
		return &refuseStopping
	case errors.Is(err, pipeline.ErrTooLarge):
		return &refuseQueueSize
	case !errors.Is(err, pipeline.ErrFull):
		in.log.Warn("a post was not taken", "error", err)
		return &refuseFailed
	}
	return &refuseFull
}

// ended is a context for a Put that does not wait, which spares most posts a timer.
var ended = func() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}()

// rejectAll makes dead letters of what cannot be events.
func (p *post) rejectAll() *refusal {
	if len(p.batch.Rejects) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(p.in.context.Context(), p.in.AckTimeout)
	defer cancel()
	for _, r := range p.batch.Rejects {
		if err := p.in.context.Reject(ctx, r.Raw, r.Reason, r.Detail); err != nil {
			p.in.log.Warn("rejected events of a post are not stored; it is answered 503", "error", err)
			return &refuseDeadLetters
		}
	}
	return nil
}

func hostOf(address string) string {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return ""
	}
	return host
}
