package kafka

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/IBM/sarama"

	"github.com/flinktail/flinktail/pipeline"
)

// produce delivers the records of b.
func (f *Flusher) produce(b *batch) error {
	topics := b.topics[:b.used]
	if len(b.specs) > 0 {
		if err := f.cluster.resolve(f.ctx, topics); err != nil {
			return b.verdict(err)
		}
	}
	b.spread(f)
	defer b.release()
	if err := b.acquire(f.ctx); err != nil {
		for i := range b.lots[:b.usedLots] {
			b.lots[i].err = err
		}
	}
	for f.round(b) {
	}
	return b.verdict(nil)
}

// shipment is one produce request: a batch of records for each of several partitions with the same leader.
type shipment struct {
	link     *link
	lots     []*lot // sorted by topic
	answers  []answer
	err      error
	panicked any
}

// round sends the next batch of every lot, to all leaders at once. It returns false when there is nothing to send.
func (f *Flusher) round(b *batch) bool {
	if slices.ContainsFunc(b.lots[:b.usedLots], func(t lot) bool { return !t.isDone() && t.tries > 1 }) {
		select {
		case <-f.ctx.Done():
		case <-time.After(settlePause):
		}
	}
	var shipments []*shipment
	failed := map[string]error{} // leaders
	for i := range b.lots[:b.usedLots] {
		t := &b.lots[i]
		if t.isDone() {
			continue
		}
		if l := f.prepare(b, t, failed); l != nil {
			shipments = addTo(shipments, l, t)
		}
	}
	var sending sync.WaitGroup
	for i, s := range shipments {
		if i == 0 {
			continue
		}
		sending.Go(func() { f.send(b, s) })
	}
	if len(shipments) > 0 {
		f.send(b, shipments[0])
	}
	sending.Wait()
	for _, s := range shipments {
		f.receive(b, s)
	}
	f.lookAgain(b)
	for i := range b.lots[:b.usedLots] {
		if !b.lots[i].isDone() {
			return true
		}
	}
	return false
}

func addTo(shipments []*shipment, l *link, t *lot) []*shipment {
	for _, s := range shipments {
		if s.link == l {
			s.lots = append(s.lots, t)
			return shipments
		}
	}
	return append(shipments, &shipment{link: l, lots: []*lot{t}})
}

// prepare makes the lot's next batch ready to be sent over the link it returns; nil when that has to wait, or failed. What one
// partition finds out about a leader holds for the others: a round takes no longer for many of them.
func (f *Flusher) prepare(b *batch, t *lot, failed map[string]error) *link {
	l, err := f.cluster.leader(t.p)
	if err != nil {
		t.lookAgain(err, true)
		return nil
	}
	if !f.idempotent() {
		t.next(b)
		t.producer = anonymous
		return l
	}
	if err = failed[l.address]; err == nil {
		if err = t.p.identify(f.ctx, l, b, t); err == nil {
			return l
		}
		failed[l.address] = err
		if !errors.As(err, new(*answerError)) {
			f.cluster.drop(l)
		}
	}
	switch {
	case !errors.As(err, new(*answerError)):
		f.disconnected(t, err)
	case errors.Is(err, sarama.ErrClusterAuthorizationFailed):
		t.err = f.cluster.missingIdempotentWrite(err)
	default:
		t.err = cmp.Or(f.cluster.refusal(err), err)
	}
	return nil
}

func (f *Flusher) idempotent() bool { return f.Idempotent && f.RequiredAcks == acksAll }

// send makes the request and waits for its answer.
func (f *Flusher) send(b *batch, s *shipment) {
	defer func() { s.panicked = recovered(recover()) }()
	request := f.requests.Get().(*produceRequest)
	defer f.requests.Put(request)
	s.answers, s.err = s.link.produce(f.ctx, func(version int16) ([]byte, error) {
		err := request.append(f, b, s, version)
		return request.data, err
	})
}

// receive notes what became of a shipment.
func (f *Flusher) receive(b *batch, s *shipment) {
	if s.panicked != nil {
		panic(s.panicked)
	}
	if s.err != nil {
		f.cluster.drop(s.link)
	}
	for _, t := range s.lots {
		if s.err != nil {
			t.unsettle(b)
			f.disconnected(t, s.err)
			continue
		}
		a := answer{code: sarama.ErrUnknown, message: "the answer says nothing about it"}
		for i := range s.answers {
			if s.answers[i].partition == t.p.id && s.answers[i].topic == t.p.topic {
				a = s.answers[i]
			}
		}
		f.answered(b, t, &a)
	}
}

// answered notes what the leader said about a lot's batch.
func (f *Flusher) answered(b *batch, t *lot, a *answer) {
	err := f.cluster.explain(t.p, a)
	switch judge(a.code) {
	case delivered:
		t.taken()
	case moved:
		t.unsettle(b)
		t.lookAgain(err, true)
	case disowned:
		t.p.disown(t.producer)
		t.tryAgain(err, false)
	case tooLarge:
		if !t.split() && !t.halve(b) {
			t.remove(b, []int{0}, []error{err})
		}
	case invalid:
		f.removeInvalid(b, t, a, err)
	case blocked:
		t.err = err
	default:
		t.unsettle(b)
		f.cluster.outdated(t.p.topic)
		t.err = err
	}
}

// removeInvalid removes the records that the leader names, else it looks for them by halves.
func (f *Flusher) removeInvalid(b *batch, t *lot, a *answer, err error) {
	var places []int
	var errs []error
	for _, r := range a.records {
		if r.place < 0 || r.place >= t.count || slices.Contains(places, r.place) {
			continue
		}
		reason := err
		if r.message != "" {
			reason = fmt.Errorf("%w: %s", err, r.message)
		}
		places, errs = append(places, r.place), append(errs, reason)
	}
	switch {
	case len(places) > 0:
		t.remove(b, places, errs)
	case !t.split():
		t.remove(b, []int{0}, []error{err})
	}
}

// disconnected notes that a request for the lot failed as a whole. A connection that was idle may be gone without anybody's
// fault, so a second attempt follows at once, unless the first took its whole time. Another broker may lead by then.
func (f *Flusher) disconnected(t *lot, err error) {
	if refused := f.cluster.refusal(err); refused != nil {
		t.err = refused
	} else if errors.As(err, new(timeoutError)) || f.ctx.Err() != nil {
		f.cluster.outdated(t.p.topic)
		t.err = err
	} else {
		t.lookAgain(err, false)
	}
}

// lookAgain looks up the topics of the lots that are to be sent again.
func (f *Flusher) lookAgain(b *batch) {
	var uses []topicUse
	for i := range b.lots[:b.usedLots] {
		t := &b.lots[i]
		if t.stale && !slices.ContainsFunc(uses, func(u topicUse) bool { return u.name == t.p.topic }) {
			f.cluster.outdated(t.p.topic)
			uses = append(uses, topicUse{name: t.p.topic})
		}
	}
	if len(uses) == 0 {
		return
	}
	failed := f.cluster.resolve(f.ctx, uses)
	for i := range b.lots[:b.usedLots] {
		t := &b.lots[i]
		if !t.stale {
			continue
		}
		t.stale = false
		use := uses[slices.IndexFunc(uses, func(u topicUse) bool { return u.name == t.p.topic })]
		switch {
		case failed != nil:
			t.err = failed
		case use.err != nil:
			t.err = use.err
		case int(t.p.id) >= len(use.partitions) || use.partitions[t.p.id] != t.p:
			t.err = fmt.Errorf("topic %q was created again", t.p.topic)
		}
	}
}

// verdict turns what became of the records into what Flush returns; err is why none was sent.
func (b *batch) verdict(err error) error {
	if err != nil {
		for i := range b.specs {
			b.fail(b.specs[i].places, err, true)
		}
	} else {
		for i := range b.lots[:b.usedLots] {
			t := &b.lots[i]
			if t.err == nil {
				continue
			}
			for _, i := range t.specs[t.at:] {
				b.fail(b.specs[i].places, t.err, true)
			}
		}
	}
	if len(b.failures) == 0 {
		return nil
	}
	if len(b.failures) == b.total {
		if err := commonCause(b.failures); err != nil {
			return err
		}
	}
	// A copy: the batch is used again.
	return &pipeline.PartialError{Failures: append([]pipeline.Failure(nil), b.failures...)}
}

// commonCause returns an error for all of a batch that is to be sent again, the one that needs a person first; nil when some of it is not.
func commonCause(failures []pipeline.Failure) error {
	var cause error
	for _, f := range failures {
		if !f.Retryable {
			return nil
		}
		if cause == nil || !isBlocked(cause) && isBlocked(f.Err) {
			cause = f.Err
		}
	}
	return cause
}
