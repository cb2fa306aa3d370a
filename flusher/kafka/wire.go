package kafka

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"time"

	"github.com/IBM/sarama"
)

// Produce requests are written here and not by sarama, whose producers cost two to three times as much and repeat
// batches under numbers of their own. The format is that of Kafka's protocol guide: Produce versions 3 to 8, record batches version 2.

const (
	apiProduce = 0
	// Version 8 names the records that are invalid, 7 knows zstd, 3 has record batches.
	minProduceVersion = 3
	maxProduceVersion = 8

	batchVersion  = 2
	noLeaderEpoch = -1
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// appendRecord appends a record of the event's batch.
func (b *batch) appendRecord(dst []byte, s *spec, offset int) []byte {
	key := s.key.of(b.data)
	size := 2 + varintSize(offset) + bytesSize(key) + varintSize(s.value) + s.value // 2: attributes and time, both zero
	headers := len(b.layout.headers)
	for h, v := range s.headers {
		if v.size() > 0 {
			headers++
			size += bytesSize(headerFields[h].key) + bytesSize(v.of(b.data))
		}
	}
	for _, h := range b.layout.headers {
		size += bytesSize([]byte(h.Key)) + bytesSize([]byte(h.Value))
	}
	size += varintSize(headers)
	if len(key) == 0 {
		size += varintSize(-1) - varintSize(0)
	}

	dst = binary.AppendVarint(dst, int64(size))
	dst = append(dst, 0, 0)
	dst = binary.AppendVarint(dst, int64(offset))
	if len(key) == 0 {
		dst = binary.AppendVarint(dst, -1) // null
	} else {
		dst = appendBytes(dst, key)
	}
	dst = binary.AppendVarint(dst, int64(s.value))
	for _, part := range b.parts[s.parts.from:s.parts.to] {
		dst = append(dst, part.of(b.data)...)
	}
	dst = binary.AppendVarint(dst, int64(headers))
	for h, v := range s.headers {
		if v.size() > 0 {
			dst = appendBytes(appendBytes(dst, headerFields[h].key), v.of(b.data))
		}
	}
	for _, h := range b.layout.headers {
		dst = appendBytes(appendBytes(dst, h.Key), h.Value)
	}
	return dst
}

func appendBytes[T string | []byte](dst []byte, text T) []byte {
	dst = binary.AppendVarint(dst, int64(len(text)))
	return append(dst, text...)
}

func bytesSize(text []byte) int { return varintSize(len(text)) + len(text) }

// varintSize is the size of a signed (zigzag) varint.
func varintSize(n int) int {
	return varintLen(uint64(n)<<1 ^ uint64(n>>63))
}

func varintLen(n uint64) (size int) {
	for size = 1; n >= 1<<7; size++ {
		n >>= 7
	}
	return size
}

// produceRequest is a request under construction; its memory is used again.
type produceRequest struct {
	data    []byte
	records []byte // of the batch at hand, not compressed yet
}

// append writes the request for the lots of a shipment, which are sorted by topic.
func (r *produceRequest) append(f *Flusher, b *batch, s *shipment, version int16) error {
	d := r.data[:0]
	d = append(d, 0, 0, 0, 0) // the size, in the end
	d = binary.BigEndian.AppendUint16(d, apiProduce)
	d = binary.BigEndian.AppendUint16(d, uint16(version))
	d = binary.BigEndian.AppendUint32(d, s.link.nextID())
	d = appendString(d, f.ClientID)
	d = binary.BigEndian.AppendUint16(d, 0xffff) // no transaction
	d = binary.BigEndian.AppendUint16(d, uint16(int16(f.RequiredAcks)))
	d = binary.BigEndian.AppendUint32(d, uint32(f.BrokerTimeout.Milliseconds()))
	topics := 0
	for i, t := range s.lots {
		if i == 0 || t.p.topic != s.lots[i-1].p.topic {
			topics++
		}
	}
	d = binary.BigEndian.AppendUint32(d, uint32(topics))
	for i := 0; i < len(s.lots); {
		topic, n := s.lots[i].p.topic, 0
		for i+n < len(s.lots) && s.lots[i+n].p.topic == topic {
			n++
		}
		d = appendString(d, topic)
		d = binary.BigEndian.AppendUint32(d, uint32(n))
		for range n {
			var err error
			if d, err = r.appendBatch(d, f, b, s.lots[i]); err != nil {
				return err
			}
			i++
		}
	}
	binary.BigEndian.PutUint32(d, uint32(len(d)-4))
	r.data = d
	return nil
}

func appendString(dst []byte, s string) []byte {
	dst = binary.BigEndian.AppendUint16(dst, uint16(len(s)))
	return append(dst, s...)
}

// appendBatch appends a partition and the batch that the lot has for it.
func (r *produceRequest) appendBatch(d []byte, f *Flusher, b *batch, t *lot) ([]byte, error) {
	r.records = r.records[:0]
	for n, i := range t.sending() {
		r.records = b.appendRecord(r.records, &b.specs[i], n)
	}
	d = binary.BigEndian.AppendUint32(d, uint32(t.p.id))
	sizeAt := len(d)
	d = append(d, make([]byte, 4+8+4)...) // size of what follows; first offset; size of what follows
	d = binary.BigEndian.AppendUint32(d, noLeaderEpoch&0xffffffff)
	d = append(d, batchVersion, 0, 0, 0, 0) // the checksum
	from := len(d)
	// The time is when the records are sent, not the events': brokers delete by it, and refuse what lies in the future.
	now := uint64(time.Now().UnixMilli())
	d = binary.BigEndian.AppendUint16(d, uint16(f.codec))
	d = binary.BigEndian.AppendUint32(d, uint32(t.count-1))
	d = binary.BigEndian.AppendUint64(d, now)
	d = binary.BigEndian.AppendUint64(d, now)
	d = binary.BigEndian.AppendUint64(d, uint64(t.producer.id))
	d = binary.BigEndian.AppendUint16(d, uint16(t.producer.epoch))
	d = binary.BigEndian.AppendUint32(d, uint32(t.producer.next))
	d = binary.BigEndian.AppendUint32(d, uint32(t.count))
	d, err := f.compress(d, r.records)
	if err != nil {
		return d, fmt.Errorf("compress records: %w", err)
	}
	binary.BigEndian.PutUint32(d[from-4:], crc32.Checksum(d[from:], castagnoli))
	binary.BigEndian.PutUint32(d[sizeAt:], uint32(len(d)-sizeAt-4))
	binary.BigEndian.PutUint32(d[sizeAt+4+8:], uint32(len(d)-sizeAt-4-8-4))
	return d, nil
}

// answer is what a broker says about the batch of one partition.
type answer struct {
	topic     string
	partition int32
	code      sarama.KError
	message   string
	records   []recordError
}

// recordError is a record that made the broker refuse its batch.
type recordError struct {
	place   int // in the batch
	message string
}

var errMalformed = errors.New("malformed answer")

// readAnswers reads the body of a produce answer, and how long the broker wants to be left alone.
func readAnswers(data []byte, version int16) (answers []answer, throttle time.Duration, err error) {
	r := reader{data: data}
	for range r.count(4 + 2) {
		topic := r.text()
		for range r.count(4 + 2 + 8) {
			a := answer{topic: topic, partition: int32(r.uint32()), code: sarama.KError(int16(r.uint16()))}
			r.skip(8 + 8) // offset and time
			if version >= 5 {
				r.skip(8) // first offset of the partition
			}
			if version >= 8 {
				for range r.count(4 + 2) {
					a.records = append(a.records, recordError{place: int(int32(r.uint32())), message: r.text()})
				}
				a.message = r.text()
			}
			answers = append(answers, a)
		}
	}
	throttle = time.Duration(max(int32(r.uint32()), 0)) * time.Millisecond
	if r.failed {
		return nil, 0, errMalformed
	}
	return answers, throttle, nil
}

// reader reads big-endian fields; after the end of the data it returns zeros and has failed.
type reader struct {
	data   []byte
	failed bool
}

func (r *reader) take(n int) []byte {
	if n > len(r.data) {
		r.failed, r.data = true, nil
		return make([]byte, n)
	}
	taken := r.data[:n]
	r.data = r.data[n:]
	return taken
}

func (r *reader) skip(n int)     { _ = r.take(n) }
func (r *reader) uint16() uint16 { return binary.BigEndian.Uint16(r.take(2)) }
func (r *reader) uint32() uint32 { return binary.BigEndian.Uint32(r.take(4)) }

// count reads the length of a list whose elements have at least that size.
func (r *reader) count(least int) int {
	n := int(int32(r.uint32()))
	if n > len(r.data)/least {
		r.failed, r.data = true, nil
		return 0
	}
	return max(n, 0)
}

// text reads a string; null is "".
func (r *reader) text() string {
	n := int(int16(r.uint16()))
	return string(r.take(max(n, 0)))
}
