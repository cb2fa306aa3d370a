package kafka

import (
	"context"
	"encoding/binary"
	"fmt"
	"hash/maphash"
	"math"
	"time"

	"github.com/IBM/sarama"
)

// partition is a partition of a topic and its idempotent producer. Each partition has a producer of its own, so that trouble
// with one leaves the others' sequences alone.
type partition struct {
	topic  string
	id     int32
	leader int32 // guarded by the cluster's lock

	turn chan struct{} // holds one token; who took it may use what follows, and send

	producer int64 // id of the producer, noProducer: none yet
	epoch    int16
	next     int32 // sequence number of the next record

	// What was sent with the next sequence numbers and has no known fate: the same records get the same numbers again, others need
	// a new producer.
	unsettled   bool
	fingerprint fingerprint
}

// fingerprint tells batches of records apart.
type fingerprint struct {
	records int
	hash    uint64
}

const noProducer = -1

func newPartition(topic string, id int32) *partition {
	p := &partition{topic: topic, id: id, leader: -1, turn: make(chan struct{}, 1)}
	p.disown()
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

// disown forgets the producer.
func (p *partition) disown() {
	p.producer, p.epoch, p.next, p.unsettled = noProducer, noProducer, noProducer, false
}

// identify gets a producer that can number records, if need be from the leader.
func (p *partition) identify(ctx context.Context, l *link, b *batch, specs []int) error {
	if p.unsettled && p.fingerprint != b.fingerprint(specs) || p.next > math.MaxInt32-int32(len(specs)) {
		p.disown()
	}
	if p.producer != noProducer {
		return nil
	}
	answer, err := newProducer(ctx, l)
	if err != nil {
		return err
	}
	p.producer, p.epoch, p.next = answer.ProducerID, answer.ProducerEpoch, 0
	return nil
}

// newProducer asks for the id of a new producer. A broker that has just started may need a moment.
func newProducer(ctx context.Context, l *link) (answer *sarama.InitProducerIDResponse, err error) {
	for began := time.Now(); ; {
		err := l.request(ctx, func(b *sarama.Broker) (err error) {
			answer, err = b.InitProducerID(&sarama.InitProducerIDRequest{Version: 4, ProducerID: noProducer, ProducerEpoch: noProducer})
			return err
		})
		switch {
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
func (p *partition) settle(n int) {
	p.unsettled = false
	if p.producer != noProducer {
		p.next += int32(n)
	}
}

// unsettle notes that nobody knows whether records were stored.
func (p *partition) unsettle(b *batch, specs []int) {
	if p.producer != noProducer {
		p.unsettled, p.fingerprint = true, b.fingerprint(specs)
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
