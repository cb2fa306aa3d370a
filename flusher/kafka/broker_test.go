//go:build e2e

package kafka

import (
	"context"
	"fmt"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/IBM/sarama"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/flinktail/flinktail/pipeline/flushertest"
	"github.com/flinktail/flinktail/protocol"
	"github.com/flinktail/flinktail/test/servers"
)

func TestMain(m *testing.M) {
	code := m.Run()
	if shared.kafka != nil {
		shared.kafka.Stop()
		_ = os.RemoveAll(shared.dir)
	}
	if code == 0 {
		if err := goleak.Find(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	os.Exit(code)
}

// shared is the broker of every test that does not break it.
var shared struct {
	once  sync.Once
	dir   string
	kafka *servers.Kafka
	err   error
}

func sharedBroker(t testing.TB) *broker {
	t.Helper()
	shared.once.Do(func() {
		if shared.dir, shared.err = os.MkdirTemp("", "flinktail-kafka-"); shared.err == nil { //nolint:usetesting // it outlives the test
			shared.kafka, shared.err = servers.StartKafka(context.Background(), shared.dir, servers.KafkaOptions{})
		}
	})
	require.NoError(t, shared.err)
	return &broker{Kafka: shared.kafka, through: shared.kafka.Plaintext}
}

func ownBroker(t testing.TB, o servers.KafkaOptions) *broker {
	t.Helper()
	k, err := servers.StartKafka(t.Context(), t.TempDir(), o)
	require.NoError(t, err)
	t.Cleanup(k.Stop)
	return &broker{Kafka: k, through: k.Plaintext}
}

// broker is a Kafka, with what a test asks it as somebody else.
type broker struct {
	*servers.Kafka
	through string // what flushers connect to
}

var topics atomic.Int64

// topicName returns a name that no topic has.
func newTopicName() string { return fmt.Sprintf("topic-%d-%d", os.Getpid(), topics.Add(1)) }

func (k *broker) admin(t testing.TB, do func(a sarama.ClusterAdmin) error) {
	t.Helper()
	config := sarama.NewConfig()
	a, err := sarama.NewClusterAdmin([]string{k.through}, config)
	require.NoError(t, err)
	defer a.Close()
	require.NoError(t, do(a))
}

// newTopic creates a topic, with "name=value" settings.
func (k *broker) newTopic(t testing.TB, partitions int, settings ...string) string {
	name := newTopicName()
	k.create(t, name, partitions, settings...)
	return name
}

func (k *broker) create(t testing.TB, name string, partitions int, settings ...string) {
	t.Helper()
	detail := &sarama.TopicDetail{NumPartitions: int32(partitions), ReplicationFactor: 1, ConfigEntries: map[string]*string{}}
	for _, s := range settings {
		key, value, _ := strings.Cut(s, "=")
		detail.ConfigEntries[key] = &value
	}
	k.admin(t, func(a sarama.ClusterAdmin) error { return a.CreateTopic(name, detail, false) })
	k.await(t, name, true)
}

func (k *broker) remove(t testing.TB, name string) {
	t.Helper()
	k.admin(t, func(a sarama.ClusterAdmin) error { return a.DeleteTopic(name) })
	k.await(t, name, false)
}

// await waits until the broker has learned of a topic, or that it is gone.
func (k *broker) await(t testing.TB, name string, there bool) {
	t.Helper()
	require.Eventually(t, func() bool {
		for _, n := range k.names(t, name) {
			if n == name {
				return there
			}
		}
		return !there
	}, 20*time.Second, 20*time.Millisecond)
}

// names returns the topics that begin with prefix.
func (k *broker) names(t testing.TB, prefix string) (names []string) {
	k.admin(t, func(a sarama.ClusterAdmin) error {
		all, err := a.ListTopics()
		for name := range all {
			if strings.HasPrefix(name, prefix) {
				names = append(names, name)
			}
		}
		return err
	})
	return names
}

// messages reads the topics that begin with prefix, each partition from its beginning.
func (k *broker) messages(t testing.TB, prefix string) (messages []*sarama.ConsumerMessage) {
	t.Helper()
	config := sarama.NewConfig()
	config.Consumer.MaxWaitTime = 20 * time.Millisecond
	c, err := sarama.NewClient([]string{k.through}, config)
	require.NoError(t, err)
	defer c.Close()
	consumer, err := sarama.NewConsumerFromClient(c)
	require.NoError(t, err)
	defer consumer.Close()
	for _, name := range k.names(t, prefix) {
		partitions, err := c.Partitions(name)
		require.NoError(t, err)
		for _, p := range partitions {
			end, err := c.GetOffset(name, p, sarama.OffsetNewest)
			require.NoError(t, err)
			if end == 0 {
				continue
			}
			reader, err := consumer.ConsumePartition(name, p, sarama.OffsetOldest)
			require.NoError(t, err)
			for m := range reader.Messages() {
				messages = append(messages, m)
				if m.Offset >= end-1 {
					break
				}
			}
			reader.AsyncClose()
			for range reader.Messages() {
			}
		}
	}
	return messages
}

// events returns the events of these topics as flat JSON objects.
func (k *broker) events(t testing.TB, prefix string) (events [][]byte) {
	t.Helper()
	for _, m := range k.messages(t, prefix) {
		if len(m.Value) > 0 && m.Value[0] == '{' {
			events = append(events, m.Value)
			continue
		}
		g, err := protocol.UnmarshalGroup(m.Value)
		require.NoError(t, err)
		events = append(events, flushertest.JSON(g)...)
	}
	return events
}

// flusher returns one for a topic of k.
func (k *broker) flusher(topic string, choose ...func(*Flusher)) *Flusher {
	f := New()
	f.Brokers, f.Topic = []string{k.through}, topic
	for _, c := range choose {
		c(f)
	}
	return f
}
