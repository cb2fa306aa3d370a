package kafka

import (
	"fmt"
	"testing"

	"github.com/IBM/sarama"
	"github.com/stretchr/testify/require"

	"github.com/flinktail/flinktail/pipeline"
	"github.com/flinktail/flinktail/protocol"
)

// scripted is a leader that answers as told, without a connection.
type scripted struct {
	flusher *Flusher
	batch   *batch
	sent    [][]string // values, of each batch
}

// script has the lots of n numbered events of one partition delivered, with reply for each batch.
func script(t *testing.T, n int, choose func(*Flusher), reply func(values []string) *answer) *scripted {
	t.Helper()
	f := newFlusher(func(f *Flusher) { f.Key = "%{event_id}" }, choose)
	f.cluster = newCluster(t.Context(), f)
	var lines []string
	for i := range n {
		lines = append(lines, fmt.Sprintf(`{"event_id":"%d"}`, i))
	}
	s := &scripted{flusher: f, batch: encoded(t, f, group(t, lines...)...)}
	b := s.batch
	b.topics[0].partitions = []*partition{newPartition("flink", 0)}
	b.spread(f)
	lot := &b.lots[0]
	for !lot.isDone() {
		require.Less(t, len(s.sent), 1000, "it does not end")
		lot.next(b)
		lot.producer = anonymous
		var values []string
		for _, i := range lot.sending() {
			values = append(values, string(b.specs[i].key.of(b.data)))
		}
		s.sent = append(s.sent, values)
		f.answered(b, lot, reply(values))
	}
	return s
}

func (s *scripted) failures() map[int]bool {
	failed := map[int]bool{}
	for _, f := range s.batch.failures {
		failed[f.Log] = f.Retryable
	}
	return failed
}

func answered(code sarama.KError) *answer {
	return &answer{code: code}
}

func TestTooLargeBatchIsSplit(t *testing.T) {
	var taken []string
	s := script(t, 100, func(*Flusher) {}, func(values []string) *answer {
		size := 0
		for _, v := range values {
			if size++; v == "42" || v == "99" {
				size += 1000
			}
		}
		if size > 60 {
			return answered(sarama.ErrMessageSizeTooLarge)
		}
		taken = append(taken, values...)
		return answered(sarama.ErrNoError)
	})
	require.Equal(t, map[int]bool{42: false, 99: false}, s.failures())
	var want []string
	for i := range 100 {
		if i != 42 && i != 99 {
			want = append(want, fmt.Sprint(i))
		}
	}
	require.Equal(t, want, taken, "each of the others once, in order")
	require.Less(t, len(s.sent), 45)
	require.IsType(t, &pipeline.PartialError{}, s.batch.verdict(nil))
}

func TestInvalidRecords(t *testing.T) {
	bad := map[string]bool{"0": true, "7": true, "8": true, "19": true}
	for _, named := range []bool{true, false} { // brokers before 2.4 do not say which
		var taken []string
		s := script(t, 20, func(*Flusher) {}, func(values []string) *answer {
			a := answered(sarama.ErrInvalidRecord)
			for i, v := range values {
				if bad[v] {
					record := recordError{i, "no key in " + v}
					a.records = append(a.records, record, record, recordError{place: 99}, recordError{place: -1})
				}
			}
			if len(a.records) == 0 {
				taken = append(taken, values...)
				return answered(sarama.ErrNoError)
			}
			if !named {
				a.records = nil
			}
			return a
		})
		require.Equal(t, map[int]bool{0: false, 7: false, 8: false, 19: false}, s.failures())
		require.Equal(t, []string{"1", "2", "3", "4", "5", "6", "9", "10", "11", "12", "13", "14", "15", "16", "17", "18"}, taken)
		if named {
			require.Len(t, s.sent, 2)
			require.ErrorContains(t, s.batch.failures[1].Err, "no key in 7")
		}
	}
}

func TestBatchesKeepToMaxMessageBytes(t *testing.T) {
	s := script(t, 100, func(f *Flusher) { f.MaxMessageBytes = 1000 }, func([]string) *answer { return answered(0) })
	size := s.batch.specs[99].size
	for _, values := range s.sent {
		require.LessOrEqual(t, len(values)*(size-1)+batchOverhead, 1000)
	}
	require.Less(t, len(s.sent), 100)
}

// What follows a batch that failed is not sent: it would overtake it.
func TestNothingFollowsAFailure(t *testing.T) {
	for code, wantBlocked := range map[sarama.KError]bool{
		sarama.ErrNotEnoughReplicas: false, sarama.ErrRequestTimedOut: false, sarama.ErrTopicAuthorizationFailed: true, sarama.ErrUnknown: false,
	} {
		s := script(t, 30, func(f *Flusher) { f.MaxMessageBytes = 1000 }, func(values []string) *answer {
			if values[0] == "0" {
				return answered(0)
			}
			return answered(code)
		})
		require.Len(t, s.sent, 2)
		err := s.batch.verdict(nil)
		first := len(s.sent[0])
		require.Len(t, s.failures(), 30-first)
		for i := first; i < 30; i++ {
			require.True(t, s.failures()[i], "to be sent again")
		}
		require.IsType(t, &pipeline.PartialError{}, err)
		require.Equal(t, wantBlocked, isBlocked(s.batch.failures[0].Err))
	}
}

// When all fails, the error says what the engine has to know of it.
func TestCommonCause(t *testing.T) {
	all := func(code sarama.KError) error {
		return script(t, 3, func(*Flusher) {}, func([]string) *answer { return answered(code) }).batch.verdict(nil)
	}
	requireIsBlocked(t, all(sarama.ErrTopicAuthorizationFailed))
	require.False(t, isBlocked(all(sarama.ErrNotEnoughReplicas)))
	require.ErrorIs(t, all(sarama.ErrNotEnoughReplicas), sarama.ErrNotEnoughReplicas)
	require.IsType(t, &pipeline.PartialError{}, all(sarama.ErrMessageSizeTooLarge))
}

// A producer that the broker does not know any more is replaced once.
func TestDisowned(t *testing.T) {
	n := 0
	s := script(t, 3, func(*Flusher) {}, func([]string) *answer {
		if n++; n == 1 {
			return answered(sarama.ErrOutOfOrderSequenceNumber)
		}
		return answered(0)
	})
	require.Len(t, s.sent, 2)
	require.Empty(t, s.failures())

	s = script(t, 3, func(*Flusher) {}, func([]string) *answer { return answered(sarama.ErrUnknownProducerID) })
	require.Len(t, s.sent, 2)
	require.ErrorIs(t, s.batch.verdict(nil), sarama.ErrUnknownProducerID)
}

// Keys go where Kafka's Java clients put them; the hashes are from its tests.
func TestPartitionOfKey(t *testing.T) {
	f := newFlusher(func(f *Flusher) { f.Key = "%{message}" })
	for key, hash := range map[string]int32{"21": -973932308, "foobar": -790332482, "a-little-bit-long-string": -985981536} {
		b := encoded(t, f, group(t, fmt.Sprintf(`{"message":%q}`, key))...)
		for n := range 12 {
			b.topics[0].partitions = append(b.topics[0].partitions, newPartition("flink", int32(n)))
		}
		b.spread(f)
		require.Equal(t, (hash&0x7fffffff)%12, b.lots[0].p.id, key)
	}
}

func TestPartitioners(t *testing.T) {
	for partitioner, lots := range map[string]int{PartitionRandom: 1, PartitionRoundRobin: 3} {
		f := newFlusher(func(f *Flusher) { f.PartitionerType = partitioner })
		b := encoded(t, f, benchmarkBatch(t, 30)...)
		for n := range 3 {
			b.topics[0].partitions = append(b.topics[0].partitions, newPartition("flink", int32(n)))
		}
		b.spread(f)
		require.Equal(t, lots, b.usedLots)
		for i := range b.lots[:lots] {
			require.Len(t, b.lots[i].specs, 30/lots)
		}
	}
}

// A batch without keys that comes again goes to the same partition: the producer there knows whether it has it.
func TestSamePartitionAgain(t *testing.T) {
	for _, partitioner := range []string{PartitionRandom, PartitionRoundRobin, PartitionByHash} {
		f := newFlusher(func(f *Flusher) { f.PartitionerType, f.Key = partitioner, "%{task_name}" })
		used := map[int32]bool{}
		for n := range 50 {
			var first int32
			for again := range 3 {
				b := encoded(t, f, group(t, fmt.Sprintf(`{"event_id":"%d"}`, n))...)
				for p := range 6 {
					b.topics[0].partitions = append(b.topics[0].partitions, newPartition("flink", int32(p)))
				}
				b.spread(f)
				if again == 0 {
					first = b.lots[0].p.id
				}
				require.Equal(t, first, b.lots[0].p.id, partitioner)
			}
			used[first] = true
		}
		require.Len(t, used, 6, "all partitions are used")
	}
}

// A record of many events that is too large for the broker is made two, until the event is alone that is too large.
func TestTooLargeGroupIsHalved(t *testing.T) {
	var lines []string
	for i := range 100 {
		size := 200
		if i == 42 {
			size = 5000
		}
		lines = append(lines, fmt.Sprintf(`{"event_id":"%d","job_id":"a","message":"%0*d"}`, i, size, i))
	}
	f := newFlusher(func(f *Flusher) { f.Format = FormatLogGroup })
	f.cluster = newCluster(t.Context(), f)
	b := encoded(t, f, group(t, lines...)...)
	require.Len(t, b.specs, 1)
	b.topics[0].partitions = []*partition{newPartition("flink", 0)}
	b.spread(f)
	lot := &b.lots[0]
	var taken []string
	for sent := 0; !lot.isDone(); sent++ {
		require.Less(t, sent, 200, "it does not end")
		lot.next(b)
		lot.producer = anonymous
		size := 0
		var ids []string
		for _, i := range lot.sending() {
			r := readRecord(t, b.appendRecord(nil, &b.specs[i], 0))
			require.LessOrEqual(t, len(b.appendRecord(nil, &b.specs[i], 0)), b.specs[i].size)
			g, err := protocol.UnmarshalGroup(r.Value)
			require.NoError(t, err)
			for _, log := range g.Logs {
				ids = append(ids, protocol.Value(log, "event_id"))
			}
			size += len(r.Value)
		}
		if size > 3000 {
			f.answered(b, lot, answered(sarama.ErrMessageSizeTooLarge))
			continue
		}
		taken = append(taken, ids...)
		f.answered(b, lot, answered(sarama.ErrNoError))
	}
	require.Len(t, b.failures, 1)
	require.Equal(t, 42, b.failures[0].Log)
	require.False(t, b.failures[0].Retryable)
	var want []string
	for i := range 100 {
		if i != 42 {
			want = append(want, fmt.Sprint(i))
		}
	}
	require.Equal(t, want, taken, "each of the others once, in order")
}
