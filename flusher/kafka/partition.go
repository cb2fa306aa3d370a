package kafka

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/maphash"
	"math"
	"slices"
	"time"

	"github.com/IBM/sarama"
)

// partition is a partition of a topic.
type partition struct {
	topic  string
	id     int32
	leader int32 // guarded by the cluster's lock

	turn chan struct{} // holds one token; who took it may use what follows, and send

	producers []*producer // of this partition alone, so that trouble with one leaves the others' sequences alone
}

// producer is an idempotent producer: brokers store what it sends under the same sequence numbers once.
type producer struct {
	id    int64
	epoch int16
	next  int32 // sequence number of the next record

	// What was sent with the next sequence numbers and has no known fate. When the same records come again they get the same
	// numbers; others must not have them.
	unsettled   bool
	fingerprint fingerprint
}

// fingerprint tells batches of records apart.
type fingerprint struct {
	records int
	hash    uint64
}

// noProducer is the id of none.
const noProducer = -1

// anonymous is for records that are not numbered. It never changes.
var anonymous = &producer{id: noProducer, epoch: noProducer, next: noProducer}

// maxProducers bounds how many batches of unknown fate a partition remembers.
const maxProducers = 8

func newPartition(topic string, id int32) *partition {
	p := &partition{topic: topic, id: id, leader: -1, turn: make(chan struct{}, 1)}
	p.turn <- struct{}{}
	return p
}

// acquire waits for p's turn.
func (p *partition) acquire(ctx context.Context) error {
	select {
	case <-p.turn:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (p *partition) release() { p.turn <- struct{}{} }

// isIdle reports whether nobody uses p and nothing of unknown fate is remembered.
func (p *partition) isIdle() bool {
	select {
	case <-p.turn:
		defer p.release()
		return !slices.ContainsFunc(p.producers, func(d *producer) bool { return d.unsettled })
	default:
		return false
	}
}

// identify chooses the lot's next batch and its producer. It is the batch and the producer of an earlier attempt, if nobody
// knows what became of that, else a producer whose batches are all settled, if need be a new one from the leader.
func (p *partition) identify(ctx context.Context, l *link, b *batch, t *lot) error {
	rest := t.specs[t.at:]
	for _, d := range p.producers {
		if n := d.fingerprint.records; d.unsettled && n <= len(rest) && b.fingerprint(rest[:n]) == d.fingerprint {
			t.count, t.producer = n, d
			return nil
		}
	}
	t.next(b)
	for _, d := range p.producers {
		if !d.unsettled && d.next <= math.MaxInt32-int32(t.count) {
			t.producer = d
			return nil
		}
	}
	answer, err := newProducer(ctx, l)
	if err != nil {
		return err
	}
	t.producer = &producer{id: answer.ProducerID, epoch: answer.ProducerEpoch}
	p.producers = append(p.producers, t.producer)
	if len(p.producers) > maxProducers {
		p.producers = slices.Delete(p.producers, 0, 1)
	}
	return nil
}

// disown forgets a producer.
func (p *partition) disown(d *producer) {
	p.producers = slices.DeleteFunc(p.producers, func(other *producer) bool { return other == d })
}

// newProducer asks for the id of a new producer. A broker that has just started may need a moment.
func newProducer(ctx context.Context, l *link) (answer *sarama.InitProducerIDResponse, err error) {
	for began := time.Now(); ; {
		err := l.request(ctx, func(b *sarama.Broker) (err error) {
			answer, err = b.InitProducerID(&sarama.InitProducerIDRequest{Version: 4, ProducerID: noProducer, ProducerEpoch: noProducer})
			return err
		})
		switch {
		case errors.Is(err, sarama.ErrUnsupportedVersion):
			return nil, fmt.Errorf("it knows no idempotent producers; set Idempotent to false: %w", err)
		case err != nil:
			return nil, err
		case answer.Err == sarama.ErrNoError:
			return answer, nil
		case judge(answer.Err) == blocked || time.Since(began) >= settleTime:
			return nil, &answerError{fmt.Errorf("broker %s: get a producer id: %w", l.address, answer.Err)}
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(settlePause):
		}
	}
}

// settle notes that n records were stored.
func (d *producer) settle(n int) {
	if d.id != noProducer {
		d.unsettled = false
		d.next += int32(n)
	}
}

// unsettle notes that nobody knows whether records were stored.
func (d *producer) unsettle(b *batch, specs []int) {
	if d.id != noProducer {
		d.unsettled, d.fingerprint = true, b.fingerprint(specs)
	}
}

var hashSeed = maphash.MakeSeed()

func (b *batch) fingerprint(specs []int) fingerprint {
	var h maphash.Hash
	h.SetSeed(hashSeed)
	var length [8]byte
	for _, i := range specs {
		s := &b.specs[i]
		binary.LittleEndian.PutUint32(length[:], uint32(s.key.size()))
		binary.LittleEndian.PutUint32(length[4:], uint32(s.value))
		_, _ = h.Write(length[:])
		_, _ = h.Write(s.key.of(b.data))
		for _, part := range b.parts[s.parts.from:s.parts.to] {
			_, _ = h.Write(part.of(b.data))
		}
	}
	return fingerprint{len(specs), h.Sum64()}
}
