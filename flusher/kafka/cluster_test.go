package kafka

import (
	"errors"
	"fmt"
	"net"
	"slices"
	"testing"
	"time"

	"github.com/IBM/sarama"
	"github.com/stretchr/testify/require"

	"github.com/flinktail/flinktail/pipeline/plugintest"
	"github.com/flinktail/flinktail/protocol"
)

// replies are what a mock broker answers.
type replies = map[string]sarama.MockResponse

// mocked starts a flusher whose only broker answers as told.
func mocked(t *testing.T, say func(b *sarama.MockBroker) replies, choose ...func(*Flusher)) *Flusher {
	t.Helper()
	b := sarama.NewMockBroker(t, 1)
	t.Cleanup(b.Close)
	all := replies{
		"ApiVersionsRequest": sarama.NewMockApiVersionsResponse(t).SetApiKeys([]sarama.ApiVersionsResponseKey{
			{ApiKey: 0, MinVersion: 3, MaxVersion: 7}, {ApiKey: 3, MaxVersion: 8}, {ApiKey: 18, MaxVersion: 3}, {ApiKey: 22, MaxVersion: 1},
		}),
		"InitProducerIDRequest": sarama.NewMockInitProducerIDResponse(t).SetProducerID(7),
		"ProduceRequest":        sarama.NewMockProduceResponse(t).SetVersion(7),
	}
	for name, reply := range say(b) {
		all[name] = reply
	}
	b.SetHandlerByMap(all)
	f := newFlusher(append([]func(*Flusher){func(f *Flusher) {
		f.Brokers, f.Compression, f.Key = []string{b.Addr()}, "none", "%{event_id}"
		f.Timeout, f.BrokerTimeout = 300*time.Millisecond, 200*time.Millisecond
	}}, choose...)...)
	require.NoError(t, f.Init(plugintest.NewContext(t, "flusher_kafka")))
	t.Cleanup(func() { require.NoError(t, f.Stop()) })
	return f
}

// led is the metadata of a topic with so many partitions, all led by the same broker.
func led(t *testing.T, b *sarama.MockBroker, topic string, partitions int, leader int32) *sarama.MockMetadataResponse {
	m := sarama.NewMockMetadataResponse(t).SetBroker(b.Addr(), 1).SetController(1)
	for p := range partitions {
		m.SetLeader(topic, int32(p), leader)
	}
	return m
}

// silent listens and never says a word.
func silent(t *testing.T) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, l.Close()) })
	return l.Addr().String()
}

// many makes events that go to all partitions.
func many(t *testing.T) []*protocol.LogGroup {
	lines := make([]string, 200)
	for i := range lines {
		lines[i] = fmt.Sprintf(`{"event_id":"%d"}`, i)
	}
	return group(t, lines...)
}

// The leader's host is gone without a word. What the cluster elects instead is found by the next attempt.
func TestLeaderGoneSilently(t *testing.T) {
	gone := silent(t)
	f := mocked(t, func(b *sarama.MockBroker) replies {
		return replies{"MetadataRequest": sarama.NewMockSequence(led(t, b, "flink", 1, 3).SetBroker(gone, 3), led(t, b, "flink", 1, 1))}
	})
	require.ErrorContains(t, f.Flush("", "", "", many(t)), "no answer within 300ms")
	require.NoError(t, f.Flush("", "", "", many(t)))
}

// A leader that does not answer costs one timeout, however many partitions it leads.
func TestSilentLeaderOfManyPartitions(t *testing.T) {
	gone := silent(t)
	f := mocked(t, func(b *sarama.MockBroker) replies {
		return replies{"MetadataRequest": led(t, b, "flink", 20, 3).SetBroker(gone, 3)}
	})
	began := time.Now()
	require.ErrorContains(t, f.Flush("", "", "", many(t)), "no answer within 300ms")
	require.Less(t, time.Since(began), 10*f.Timeout)
}

// A topic that vanishes is looked up once for all of its partitions.
func TestTopicGone(t *testing.T) {
	const partitions = 5
	f := mocked(t, func(b *sarama.MockBroker) replies {
		produce := sarama.NewMockProduceResponse(t).SetVersion(7)
		for p := range partitions {
			produce.SetError("flink", int32(p), sarama.ErrUnknownTopicOrPartition)
		}
		none := sarama.NewMockMetadataResponse(t).SetBroker(b.Addr(), 1).SetController(1).SetError("flink", sarama.ErrUnknownTopicOrPartition)
		return replies{"MetadataRequest": sarama.NewMockSequence(led(t, b, "flink", partitions, 1), none), "ProduceRequest": produce}
	})
	began := time.Now()
	requireIsBlocked(t, f.Flush("", "", "", many(t)))
	require.Less(t, time.Since(began), 2*settleTime)
}

// While one lane waits for a topic to appear, others deliver to theirs.
func TestMissingTopicHoldsUpNobody(t *testing.T) {
	f := mocked(t, func(b *sarama.MockBroker) replies {
		return replies{"MetadataRequest": led(t, b, "there", 1, 1).SetError("missing", sarama.ErrUnknownTopicOrPartition)}
	}, func(f *Flusher) { f.Topic = "%{kind}" })
	there := func() []*protocol.LogGroup { return group(t, `{"event_id":"1","kind":"there"}`) }
	require.NoError(t, f.Flush("", "", "", there()))
	missing := make(chan error, 1)
	go func() { missing <- f.Flush("", "", "", group(t, `{"event_id":"2","kind":"missing"}`)) }()
	for range 20 {
		require.NoError(t, f.Flush("", "", "", there()))
	}
	select {
	case err := <-missing:
		require.FailNow(t, "it has not waited", "%v", err)
	default:
	}
	requireIsBlocked(t, <-missing)
}

// A broker that wants no records for a while can be asked other things.
func TestThrottled(t *testing.T) {
	f := mocked(t, func(b *sarama.MockBroker) replies {
		return replies{
			"MetadataRequest": led(t, b, "flink", 1, 1),
			"ProduceRequest": sarama.NewMockWrapper(&sarama.ProduceResponse{
				Version: 7, ThrottleTime: time.Hour, Blocks: map[string]map[int32]*sarama.ProduceResponseBlock{"flink": {0: {}}},
			}),
		}
	})
	require.NoError(t, f.Flush("", "", "", many(t)))
	second := make(chan error, 1)
	go func() { second <- f.Flush("", "", "", many(t)) }()
	for range 5 {
		f.cluster.outdated("flink")
		require.NoError(t, f.cluster.resolve(t.Context(), []topicUse{{name: "flink"}}))
	}
	select {
	case err := <-second:
		require.FailNow(t, "it has not waited", "%v", err)
	default:
	}
	began := time.Now()
	require.NoError(t, f.Stop())
	require.Error(t, <-second)
	require.Less(t, time.Since(began), time.Second)
}

func metadata(ids ...int32) *sarama.TopicMetadata {
	m := &sarama.TopicMetadata{Version: 8, Name: "flink", TopicAuthorizedOperations: noOperations}
	for _, id := range ids {
		m.Partitions = append(m.Partitions, &sarama.PartitionMetadata{ID: id, Leader: 1})
	}
	return m
}

func TestStrangePartitions(t *testing.T) {
	for _, ids := range [][]int32{{0, -1}, {0, 0}, {1}, {0, 2}, {}} {
		c := newCluster(t.Context(), New())
		c.learn(metadata(ids...), false)
		require.Error(t, c.topics["flink"].err, "%v", ids)
		require.True(t, c.topics["flink"].passing)
	}
	c := newCluster(t.Context(), New())
	c.learn(metadata(2, 0, 1), false)
	require.NoError(t, c.topics["flink"].err)
	require.Len(t, c.topics["flink"].partitions, 3)
}

// Brokers before 2.3 do not tell what we may do.
func TestRightsOfOldBrokers(t *testing.T) {
	c := newCluster(t.Context(), New())
	m := metadata(0)
	m.TopicAuthorizedOperations = 0
	c.learn(m, true)
	requireIsBlocked(t, c.topics["flink"].err)
	m.Version = 7
	c.learn(m, true)
	require.NoError(t, c.topics["flink"].err)
}

// Topics that nobody uses any more are forgotten, unless a batch of theirs may come again.
func TestTopicsAreForgotten(t *testing.T) {
	c := newCluster(t.Context(), New())
	for _, name := range []string{"idle", "missing", "sending", "unsettled", "used"} {
		m := metadata(0)
		m.Name = name
		if name == "missing" {
			m.Err = sarama.ErrUnknownTopicOrPartition
		}
		c.learn(m, false)
	}
	require.NoError(t, c.topics["sending"].partitions[0].acquire(t.Context()))
	c.topics["unsettled"].partitions[0].producers = []*producer{{unsettled: true}}
	since := time.Now().Add(time.Minute)
	c.topics["used"].used = since.Add(time.Second)
	c.forget(since)
	var names []string
	for name := range c.topics {
		names = append(names, name)
	}
	slices.Sort(names)
	require.Equal(t, []string{"sending", "unsettled", "used"}, names)
}

// A panic is the caller's, in whatever goroutine it happens.
func TestPanic(t *testing.T) {
	f := mocked(t, func(b *sarama.MockBroker) replies { return replies{"MetadataRequest": led(t, b, "flink", 1, 1)} })
	f.compress = func([]byte, []byte) ([]byte, error) { panic(errors.New("a fault in a compressor")) }
	require.PanicsWithValue(t, "", func() {
		defer func() {
			text, _ := recover().(string)
			require.Contains(t, text, "a fault in a compressor")
			require.Contains(t, text, "appendBatch", "where it was")
			panic("")
		}()
		_ = f.Flush("", "", "", many(t))
	})
	f.compress = func(dst, src []byte) ([]byte, error) { return append(dst, src...), nil }
	require.NoError(t, f.Flush("", "", "", many(t)), "nothing is left behind")
}
