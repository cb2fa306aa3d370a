package kafka

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/IBM/sarama"
)

// lot is what a batch has for one partition, in order.
type lot struct {
	p     *partition
	held  bool  // it is our turn with p
	specs []int // indexes in the batch
	at    int   // specs[:at] are dealt with
	err   error // why the others are not
	stale bool  // its topic has to be looked up before it is sent again

	producer *producer // of what is on its way

	count int       // so many are on their way
	limit int       // so many may be; 0: no limit but MaxMessageBytes
	tries int       // so often they were sent in vain
	since time.Time // when that began
}

func (t *lot) reset() { *t = lot{specs: t.specs[:0]} }

func (t *lot) isDone() bool { return t.err != nil || t.at == len(t.specs) }

// sending returns what is on its way.
func (t *lot) sending() []int { return t.specs[t.at : t.at+t.count] }

// next chooses as many records to send as a batch may have, at least one.
func (t *lot) next(b *batch) {
	size := 0
	t.count = 0
	for _, i := range t.specs[t.at:] {
		if size += b.specs[i].size; t.count > 0 && (size > b.layout.limit || t.count == t.limit) {
			return
		}
		t.count++
	}
}

// unsettle notes that nobody knows what became of what was on its way.
func (t *lot) unsettle(b *batch) { t.producer.unsettle(b, t.sending()) }

// taken notes that the brokers have what was on its way.
func (t *lot) taken() {
	t.producer.settle(t.count)
	t.at += t.count
	t.tries = 0
}

// tryAgain reports whether the batch may be sent again after a failure: once, or as often as it takes for the brokers to settle. Else
// the lot fails.
func (t *lot) tryAgain(err error, settling bool) bool {
	if t.tries == 0 {
		t.since = time.Now()
	}
	if t.tries++; t.tries > 1 && (!settling || time.Since(t.since) >= settleTime) {
		t.err = err
	}
	return t.err == nil
}

// lookAgain is tryAgain after a look at who leads.
func (t *lot) lookAgain(err error, settling bool) { t.stale = t.tryAgain(err, settling) }

// split has the next batches be half of this one, unless that is a single record. So what was refused is found.
func (t *lot) split() bool {
	t.limit = t.count / 2
	return t.limit > 0
}

// halve makes two of the only record on its way, unless that holds a single event.
func (t *lot) halve(b *batch) bool {
	s := b.specs[t.specs[t.at]]
	n := s.places.size()
	if n == 1 {
		return false
	}
	// The parts of a record with several events are the events and what their group has beside them.
	events, rest := b.parts[s.parts.from:s.parts.to-1], b.parts[s.parts.to-1]
	half := func(from, to int) int {
		h := s
		h.places = span{s.places.from + from, s.places.from + to}
		h.parts.from, h.value = len(b.parts), rest.size()
		for _, event := range events[from:to] {
			h.value += event.size()
		}
		b.parts = append(append(b.parts, events[from:to]...), rest)
		h.parts.to = len(b.parts)
		h.size = b.sizeOf(&h)
		b.specs = append(b.specs, h)
		return len(b.specs) - 1
	}
	t.specs = slices.Replace(t.specs, t.at, t.at+1, half(0, n/2), half(n/2, n))
	t.limit = 1
	return true
}

// remove fails the records of these places in sending, for good: the others are sent without them.
func (t *lot) remove(b *batch, places []int, errs []error) {
	for n, place := range places {
		b.fail(b.specs[t.specs[t.at+place]].places, errs[n], false)
		t.specs[t.at+place] = -1
	}
	t.specs = slices.DeleteFunc(t.specs, func(i int) bool { return i < 0 })
	t.tries = 0
}

// spread sorts the records whose topic has partitions into lots, and fails the others.
func (b *batch) spread(f *Flusher) {
	var message sarama.ProducerMessage
	var key keyBytes
	hash := sarama.NewMurmur2Partitioner("")
	for u := range b.topics[:b.used] {
		use := &b.topics[u]
		for range use.partitions {
			use.lots = append(use.lots, -1)
		}
		use.first = -1
	}
	for i := range b.specs {
		s := &b.specs[i]
		use := &b.topics[s.topic]
		if use.err != nil {
			b.fail(s.places, use.err, true)
			continue
		}
		n := len(use.partitions)
		if use.first < 0 {
			// By chance, and the same when the batch comes again: its producer is this partition's.
			use.first = int(b.fingerprint([]int{i}).hash % uint64(n))
		}
		p := use.first
		switch {
		case f.PartitionerType == PartitionRoundRobin:
			p = (use.first + use.records) % n
			use.records++
		case f.PartitionerType == PartitionByHash && s.key.size() > 0:
			key.bytes = s.key.of(b.data)
			message.Key = &key
			chosen, _ := hash.Partition(&message, int32(n)) // keyBytes has no error
			p = int(chosen)
		}
		if use.lots[p] < 0 {
			use.lots[p] = b.addLot(use.partitions[p])
		}
		t := &b.lots[use.lots[p]]
		t.specs = append(t.specs, i)
	}
}

func (b *batch) addLot(p *partition) int {
	if b.usedLots == len(b.lots) {
		b.lots = append(b.lots, lot{})
	}
	b.lots[b.usedLots].p = p
	b.usedLots++
	return b.usedLots - 1
}

// acquire waits until it is our turn with every partition. All take their turns in the same order, so that none waits for another
// in a circle.
func (b *batch) acquire(ctx context.Context) error {
	lots := b.lots[:b.usedLots]
	slices.SortFunc(lots, func(x, y lot) int {
		return cmp.Or(cmp.Compare(x.p.topic, y.p.topic), cmp.Compare(x.p.id, y.p.id))
	})
	for i := range lots {
		if err := lots[i].p.acquire(ctx); err != nil {
			return err
		}
		lots[i].held = true
	}
	return nil
}

func (b *batch) release() {
	for i := range b.lots[:b.usedLots] {
		if b.lots[i].held {
			b.lots[i].p.release()
		}
	}
}

// keyBytes is a sarama.Encoder that needs no memory of its own for each key.
type keyBytes struct{ bytes []byte }

func (k *keyBytes) Encode() ([]byte, error) { return k.bytes, nil }
func (k *keyBytes) Length() int             { return len(k.bytes) }
