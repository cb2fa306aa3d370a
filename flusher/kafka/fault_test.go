//go:build e2e

package kafka

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/IBM/sarama"
	"github.com/stretchr/testify/require"

	"github.com/flinktail/flinktail/pipeline"
	"github.com/flinktail/flinktail/pipeline/plugintest"
	"github.com/flinktail/flinktail/protocol"
	"github.com/flinktail/flinktail/protocol/flink"
	"github.com/flinktail/flinktail/test/servers"
)

func started(t testing.TB, f *Flusher) *Flusher {
	t.Helper()
	require.NoError(t, f.Validate())
	require.NoError(t, f.Init(plugintest.NewContext(t, "flusher_kafka")))
	t.Cleanup(func() { require.NoError(t, f.Stop()) })
	return f
}

func flush(f *Flusher, groups []*protocol.LogGroup) error { return f.Flush("", "", "", groups) }

// deliver flushes as the engine does, until nothing is left; what is refused for good is an error.
func deliver(t testing.TB, f *Flusher, groups []*protocol.LogGroup) {
	t.Helper()
	for deadline := time.Now().Add(60 * time.Second); len(groups) > 0; {
		require.True(t, time.Now().Before(deadline), "not delivered")
		if !f.IsReady("", "", 0) {
			time.Sleep(5 * time.Millisecond)
			continue
		}
		err := flush(f, groups)
		groups = rest(t, groups, err)
	}
}

// rest returns what is to be sent again after err.
func rest(t testing.TB, groups []*protocol.LogGroup, err error) []*protocol.LogGroup {
	t.Helper()
	partial, ok := err.(*pipeline.PartialError) //nolint:errorlint // Flush returns it as it is
	switch {
	case err == nil:
		return nil
	case !ok:
		return groups
	}
	again := make([]*protocol.LogGroup, len(groups))
	for i, g := range groups {
		again[i] = subgroup(g, nil)
	}
	for _, f := range partial.Failures {
		require.True(t, f.Retryable, "%v", f.Err)
		again[f.Group].Logs = append(again[f.Group].Logs, groups[f.Group].Logs[f.Log])
	}
	return again
}

// numbered makes n events with the ids from, from+1, …, of several jobs.
func numbered(t testing.TB, from, n int) []*protocol.LogGroup {
	t.Helper()
	lines := make([]string, n)
	for i := range lines {
		lines[i] = fmt.Sprintf(`{"event_id":"%d","kind":"job_status","cluster":"prod","job_id":"job-%d","message":"%032d"}`, from+i, (from+i)%7, i)
	}
	return group(t, lines...)
}

// ids counts the events of a topic by their ids.
func (k *broker) ids(t testing.TB, topic string) map[string]int {
	t.Helper()
	counts := map[string]int{}
	last := map[string]int{}
	for _, m := range k.messages(t, topic) {
		id := header(m, flink.FieldEventID)
		counts[id]++
		number, err := strconv.Atoi(id)
		require.NoError(t, err)
		require.LessOrEqual(t, last[string(m.Key)], number, "order within the job %s", m.Key)
		last[string(m.Key)] = number
	}
	return counts
}

func header(m *sarama.ConsumerMessage, name string) string {
	for _, h := range m.Headers {
		if string(h.Key) == name {
			return string(h.Value)
		}
	}
	return ""
}

func onceEach(n int) map[string]int {
	counts := map[string]int{}
	for i := range n {
		counts[strconv.Itoa(i)] = 1
	}
	return counts
}

func requireBlocked(t testing.TB, err error, text string) {
	t.Helper()
	var blocked *pipeline.BlockedError
	require.ErrorAs(t, err, &blocked)
	require.ErrorContains(t, err, text)
}

func TestMissingTopicIsBlocked(t *testing.T) {
	k := sharedBroker(t)
	topic := newTopicName()
	f := started(t, k.flusher(topic))
	requireBlocked(t, f.Connect(t.Context()), fmt.Sprintf("topic %q does not exist", topic))
	requireBlocked(t, flush(f, numbered(t, 0, 10)), fmt.Sprintf("topic %q does not exist", topic))
	require.Empty(t, k.names(t, topic), "the topic was created")
	k.create(t, topic, 2)
	require.NoError(t, f.Connect(t.Context()))
	require.NoError(t, flush(f, numbered(t, 0, 10)))
	require.Equal(t, onceEach(10), k.ids(t, topic))
}

// One of two topics is missing: only its events stay.
func TestOneMissingTopicOfTwo(t *testing.T) {
	k := sharedBroker(t)
	prefix := newTopicName()
	k.create(t, prefix+"-job_status", 1)
	f := started(t, k.flusher(prefix+"-%{kind}"))
	groups := group(t, `{"event_id":"0","kind":"checkpoint"}`, `{"event_id":"1","kind":"job_status"}`)
	var partial *pipeline.PartialError
	require.ErrorAs(t, flush(f, groups), &partial)
	require.Len(t, partial.Failures, 1)
	failure := partial.Failures[0]
	require.Equal(t, [2]int{0, 0}, [2]int{failure.Group, failure.Log})
	require.True(t, failure.Retryable)
	requireBlocked(t, failure.Err, prefix+"-checkpoint")
	require.Equal(t, map[string]int{"1": 1}, k.ids(t, prefix))
}

func TestCreateTopics(t *testing.T) {
	k := sharedBroker(t)
	topic := newTopicName()
	f := started(t, k.flusher(topic, func(f *Flusher) { f.CreateTopics = CreateTopics{Partitions: 5, ReplicationFactor: 1} }))
	require.NoError(t, f.Connect(t.Context()))
	require.Empty(t, k.names(t, topic), "Connect created the topic")
	require.NoError(t, flush(f, numbered(t, 0, 100)))
	require.Equal(t, onceEach(100), k.ids(t, topic))
	k.admin(t, func(a sarama.ClusterAdmin) error {
		details, err := a.DescribeTopics([]string{topic})
		require.Len(t, details[0].Partitions, 5)
		return err
	})

	other := newTopicName()
	f = started(t, k.flusher(other, func(f *Flusher) { f.CreateTopics = CreateTopics{Partitions: 1, ReplicationFactor: 3} }))
	requireBlocked(t, f.Connect(t.Context()), other)
	requireBlocked(t, flush(f, numbered(t, 0, 1)), "eplication")
}

// A record that is too large for the broker, among others in the same batch.
func TestTooLargeForTheBroker(t *testing.T) {
	k := sharedBroker(t)
	for _, limit := range []string{"2000", "20000"} { // less, and more, than most of the others together
		topic := k.newTopic(t, 2, "max.message.bytes="+limit)
		f := started(t, k.flusher(topic, func(f *Flusher) { f.Compression = "none" }))
		groups := numbered(t, 0, 100)
		large := strings.Repeat("x", 30_000)
		protocol.Get(groups[0].Logs[42], flink.FieldMessage).Value = &large
		var partial *pipeline.PartialError
		require.ErrorAs(t, flush(f, groups), &partial)
		require.Len(t, partial.Failures, 1)
		failure := partial.Failures[0]
		require.Equal(t, [2]int{0, 42}, [2]int{failure.Group, failure.Log})
		require.False(t, failure.Retryable)
		require.ErrorIs(t, failure.Err, sarama.ErrMessageSizeTooLarge)
		want := onceEach(100)
		delete(want, "42")
		require.Equal(t, want, k.ids(t, topic))
	}
}

// A topic that is compacted takes no record without a key.
func TestInvalidForTheBroker(t *testing.T) {
	k := sharedBroker(t)
	topic := k.newTopic(t, 1, "cleanup.policy=compact")
	f := started(t, k.flusher(topic, func(f *Flusher) { f.Key = "%{job_name}" }))
	groups := group(t,
		`{"event_id":"0","job_name":"a"}`, `{"event_id":"1"}`, `{"event_id":"2","job_name":"b"}`, `{"event_id":"3"}`, `{"event_id":"4","job_name":"c"}`)
	var partial *pipeline.PartialError
	require.ErrorAs(t, flush(f, groups), &partial)
	places := map[int]bool{}
	for _, failure := range partial.Failures {
		places[failure.Log] = true
		require.False(t, failure.Retryable)
		require.ErrorIs(t, failure.Err, sarama.ErrInvalidRecord)
		require.ErrorContains(t, failure.Err, topic)
	}
	require.Equal(t, map[int]bool{1: true, 3: true}, places)
	require.Equal(t, map[string]int{"0": 1, "2": 1, "4": 1}, k.ids(t, topic))
	require.NoError(t, flush(f, group(t, `{"event_id":"5","job_name":"d"}`)), "the sequence goes on")
}

func TestTopicCreatedAgain(t *testing.T) {
	k := sharedBroker(t)
	topic := k.newTopic(t, 3)
	f := started(t, k.flusher(topic))
	require.NoError(t, flush(f, numbered(t, 0, 50)))
	require.NoError(t, flush(f, numbered(t, 50, 50)))
	k.remove(t, topic)
	k.create(t, topic, 3)
	deliver(t, f, numbered(t, 0, 100))
	deliver(t, f, numbered(t, 100, 100))
	require.Equal(t, onceEach(200), k.ids(t, topic))
}

// The connections are gone when they are needed next, as after a night without events.
func TestLostConnections(t *testing.T) {
	k, p := proxiedBroker(t)
	topic := k.newTopic(t, 3)
	f := started(t, k.flusher(topic))
	for i := range 3 {
		p.cut()
		require.NoError(t, flush(f, numbered(t, 10*i, 10)))
	}
	require.Equal(t, onceEach(30), k.ids(t, topic))

	// The broker stores a batch and its answer is lost: the second attempt adds nothing.
	unmute := p.mute()
	result := make(chan error, 1)
	go func() { result <- flush(f, numbered(t, 30, 70)) }()
	direct := &broker{Kafka: k.Kafka, through: k.Plaintext}
	require.Eventually(t, func() bool { return direct.size(t, topic, 3) == 100 }, 20*time.Second, 10*time.Millisecond)
	unmute()
	p.cut()
	require.NoError(t, <-result)
	require.Equal(t, onceEach(100), k.ids(t, topic))
}

// size counts the records of a topic without a connection to the address that the broker names.
func (k *broker) size(t testing.TB, topic string, partitions int32) (n int64) {
	b := sarama.NewBroker(k.through)
	require.NoError(t, b.Open(nil))
	defer b.Close()
	request := &sarama.OffsetRequest{Version: 1}
	for p := range partitions {
		request.AddBlock(topic, p, sarama.OffsetNewest, 1)
	}
	answer, err := b.GetAvailableOffsets(request)
	require.NoError(t, err)
	for p := range partitions {
		n += answer.GetBlock(topic, p).Offset
	}
	return n
}

// The same, with the flusher's second attempt failing too, so that the batch comes again with another Flush.
func TestAnswerLostAndFlushedAgain(t *testing.T) {
	k, p := proxiedBroker(t)
	direct := &broker{Kafka: k.Kafka, through: k.Plaintext}
	for _, idempotent := range []bool{true, false} {
		topic := k.newTopic(t, 2)
		f := started(t, k.flusher(topic, func(f *Flusher) { f.Idempotent = idempotent }))
		require.NoError(t, flush(f, numbered(t, 0, 10)))
		unmute := p.mute()
		groups := numbered(t, 10, 10)
		result := make(chan error, 1)
		go func() { result <- flush(f, groups) }()
		require.Eventually(t, func() bool { return direct.size(t, topic, 2) == 20 }, 20*time.Second, 10*time.Millisecond)
		up := p.down()
		require.Error(t, <-result)
		unmute()
		up()
		deliver(t, f, groups)
		if idempotent {
			require.Equal(t, onceEach(20), k.ids(t, topic))
		} else {
			require.Len(t, k.messages(t, topic), 30, "the test shows nothing")
		}
		require.NoError(t, flush(f, numbered(t, 20, 10)), "the sequence goes on")
	}
}

// After an unknown fate comes another batch: it must not get the numbers of the lost one, or the broker would take it for that.
func TestAnswerLostAndAnotherBatch(t *testing.T) {
	k, p := proxiedBroker(t)
	direct := &broker{Kafka: k.Kafka, through: k.Plaintext}
	topic := k.newTopic(t, 1)
	f := started(t, k.flusher(topic))
	require.NoError(t, flush(f, numbered(t, 0, 10)))
	unmute := p.mute()
	result := make(chan error, 1)
	go func() { result <- flush(f, numbered(t, 10, 10)) }()
	require.Eventually(t, func() bool { return direct.size(t, topic, 1) == 20 }, 20*time.Second, 10*time.Millisecond)
	up := p.down()
	require.Error(t, <-result)
	unmute()
	up()
	deliver(t, f, numbered(t, 20, 10))
	require.Equal(t, onceEach(30), k.ids(t, topic))
}

// The broker is killed and comes back with its data while events flow.
func TestBrokerKilled(t *testing.T) {
	k := ownBroker(t, servers.KafkaOptions{})
	topic := k.newTopic(t, 3)
	f := started(t, k.flusher(topic))
	const batches, each = 60, 50
	done := make(chan struct{})
	half := make(chan struct{})
	go func() {
		defer close(done)
		for i := range batches {
			if i == batches/2 {
				close(half)
			}
			deliver(t, f, numbered(t, i*each, each))
		}
	}()
	<-half
	k.Kill()
	require.Eventually(t, func() bool { return !f.IsReady("", "", 0) }, 20*time.Second, time.Millisecond, "it is ready without a broker")
	require.NoError(t, k.Start(t.Context()))
	<-done
	require.Equal(t, onceEach(batches*each), k.ids(t, topic))
}

// The broker does not run for a while, and its connections stay open.
func TestBrokerPaused(t *testing.T) {
	k := ownBroker(t, servers.KafkaOptions{})
	topic := k.newTopic(t, 3)
	f := started(t, k.flusher(topic, func(f *Flusher) { f.Timeout, f.BrokerTimeout = time.Second, 500*time.Millisecond }))
	deliver(t, f, numbered(t, 0, 10)) // a broker that has only just started may take longer than Timeout
	require.NoError(t, k.Pause())
	began := time.Now()
	err := flush(f, numbered(t, 10, 10))
	require.Less(t, time.Since(began), 10*time.Second)
	require.ErrorContains(t, err, "no answer within 1s")
	require.False(t, isBlocked(err))
	require.NoError(t, k.Resume())
	deliver(t, f, numbered(t, 10, 10))
	require.Equal(t, onceEach(20), k.ids(t, topic))
}
