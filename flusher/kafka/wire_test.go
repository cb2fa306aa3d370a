package kafka

import (
	"encoding/binary"
	"encoding/hex"
	"hash/crc32"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/IBM/sarama"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/s2"
	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
	"github.com/stretchr/testify/require"
)

// A batch byte by byte, as Kafka's documentation of the format has it.
func TestBatchFormat(t *testing.T) {
	f := newFlusher(func(f *Flusher) { f.Key, f.Headers = "%{job_id}", []Header{{"origin", "x"}} })
	b := encoded(t, f, group(t, `{"event_id":"1","job_id":"cafe"}`, `{"event_id":"2"}`)...)
	p := newPartition("flink", 7)
	lot := &lot{p: p, specs: []int{0, 1}, producer: &producer{id: 0x0102030405060708, epoch: 3, next: 41}}
	lot.next(b)
	f.codec = codecs["none"]
	var err error
	f.compress, err = newCompressor("none", 0)
	require.NoError(t, err)
	var request produceRequest
	data, err := request.appendBatch(nil, f, b, lot)
	require.NoError(t, err)

	r := reader{data: data}
	uint64 := func() uint64 { return binary.BigEndian.Uint64(r.take(8)) }
	require.EqualValues(t, 7, r.uint32(), "partition")
	require.EqualValues(t, len(r.data)-4, r.uint32(), "size of the records")
	require.Zero(t, uint64(), "first offset")
	require.EqualValues(t, len(r.data)-4, r.uint32(), "size of the batch")
	require.EqualValues(t, 0xffffffff, r.uint32(), "leader epoch")
	require.Equal(t, []byte{2}, r.take(1), "version")
	require.Equal(t, crc32.Checksum(r.data[4:], castagnoli), r.uint32(), "checksum")
	require.Zero(t, r.uint16(), "attributes")
	require.EqualValues(t, 1, r.uint32(), "last offset")
	first, last := uint64(), uint64()
	require.Equal(t, first, last)
	require.WithinDuration(t, time.Now(), time.UnixMilli(int64(first)), time.Minute)
	require.EqualValues(t, 0x0102030405060708, uint64(), "producer")
	require.EqualValues(t, 3, r.uint16(), "epoch")
	require.EqualValues(t, 41, r.uint32(), "first sequence number")
	require.EqualValues(t, 2, r.uint32(), "records")
	size, n := binary.Varint(r.data)
	one := readRecord(t, r.data[:int(size)+n])
	two := readRecord(t, r.data[int(size)+n:])
	require.Equal(t, "cafe", string(one.Key))
	require.Nil(t, two.Key, "no key is null, not empty")
	require.EqualValues(t, 1, two.OffsetDelta)
	require.Equal(t, map[string]string{"event_id": "2", "origin": "x"}, headersOf(two))
}

// soundAnswers is the answer to a produce request of version 8: two topics, three partitions, two records at fault.
func soundAnswers(t testing.TB) []byte {
	data, err := hex.DecodeString(strings.Join(strings.Fields(`
		00000002
			0001 61  00000002
				00000000 0000 0000000000000005 ffffffffffffffff 0000000000000000  00000000  ffff
				00000003 0057 ffffffffffffffff ffffffffffffffff 0000000000000000
					00000002  00000001 0003 626164  00000004 ffff
					0004 6d6f7265
			0001 62  00000001
				00000001 0007 ffffffffffffffff ffffffffffffffff 0000000000000000  00000000  ffff
		000005dc`), ""))
	require.NoError(t, err)
	return data
}

func TestAnswers(t *testing.T) {
	data := soundAnswers(t)
	answers, throttle, err := readAnswers(data, 8)
	require.NoError(t, err)
	require.Equal(t, 1500*time.Millisecond, throttle)
	require.Equal(t, []answer{
		{topic: "a"},
		{topic: "a", partition: 3, code: sarama.ErrInvalidRecord, message: "more", records: []recordError{{1, "bad"}, {4, ""}}},
		{topic: "b", partition: 1, code: sarama.ErrRequestTimedOut},
	}, answers)
	for n := range data {
		_, _, err := readAnswers(data[:n], 8)
		require.ErrorIs(t, err, errMalformed, "%d bytes", n)
	}

	old, err := hex.DecodeString("00000001" + "000161" + "00000001" + "00000002" + "0006" + "ffffffffffffffff" + "ffffffffffffffff" + "00000000")
	require.NoError(t, err)
	answers, _, err = readAnswers(old, 3)
	require.NoError(t, err)
	require.Equal(t, []answer{{topic: "a", partition: 2, code: sarama.ErrNotLeaderForPartition}}, answers)
}

func FuzzAnswers(f *testing.F) {
	f.Add([]byte("\x7f\xff\xff\xff\x00\x01a\x7f\xff\xff\xff"), int16(8))
	f.Add(soundAnswers(f), int16(8))
	f.Add(soundAnswers(f), int16(3))
	f.Fuzz(func(t *testing.T, data []byte, version int16) {
		answers, _, err := readAnswers(data, version)
		if err != nil {
			require.ErrorIs(t, err, errMalformed)
		}
		require.LessOrEqual(t, len(answers), len(data))
	})
}

func TestCompression(t *testing.T) {
	read := map[string]func(data []byte) ([]byte, error){
		"none":   func(data []byte) ([]byte, error) { return data, nil },
		"snappy": func(data []byte) ([]byte, error) { return s2.Decode(nil, data) },
		"lz4":    func(data []byte) ([]byte, error) { return io.ReadAll(lz4.NewReader(strings.NewReader(string(data)))) },
		"gzip": func(data []byte) ([]byte, error) {
			r, err := gzip.NewReader(strings.NewReader(string(data)))
			if err != nil {
				return nil, err
			}
			return io.ReadAll(r)
		},
		"zstd": func(data []byte) ([]byte, error) {
			r, err := zstd.NewReader(nil)
			if err != nil {
				return nil, err
			}
			defer r.Close()
			return r.DecodeAll(data, nil)
		},
	}
	require.Len(t, read, len(codecs))
	text := []byte(strings.Repeat(`{"event_id":"4f6c2e9e","kind":"job_status"}`, 50_000)) // more than a window
	for codec := range codecs {
		for _, level := range []int{0, 1, 9} {
			compress, err := newCompressor(codec, level)
			require.NoError(t, err)
			for range 2 { // encoders are used again
				data, err := compress([]byte("before"), text)
				require.NoError(t, err)
				require.Equal(t, "before", string(data[:6]))
				got, err := read[codec](data[6:])
				require.NoError(t, err, codec)
				require.True(t, string(text) == string(got), codec)
				require.True(t, codec == "none" || len(data) < len(text)/5, codec)
			}
		}
	}
	_, err := newCompressor("brotli", 0)
	require.Error(t, err)
}
