//go:build e2e

package kafka

import (
	"fmt"
	"testing"
	"time"

	"github.com/IBM/sarama"
	"github.com/stretchr/testify/require"

	"github.com/flinktail/flinktail/pipeline"
	"github.com/flinktail/flinktail/pipeline/flushertest"
	"github.com/flinktail/flinktail/protocol"
)

// What a consumer gets.
func TestRecords(t *testing.T) {
	k := sharedBroker(t)
	topic := k.newTopic(t, 4)
	groups := group(t,
		`{"event_id":"1","event_time":"2020-01-05T08:00:00Z","kind":"job_status","cluster":"prod","job_id":"cafe"}`,
		`{"event_id":"2","kind":"job_failure","cluster":"prod","job_id":"babe"}`,
		`{"event_id":"3","kind":"job_status","cluster":"prod","job_id":"cafe"}`)
	f := started(t, k.flusher(topic, func(f *Flusher) { f.Headers = []Header{{"origin", "flinktail"}} }))
	began := time.Now().Truncate(time.Millisecond)
	require.NoError(t, flush(f, groups))
	var events [][]byte
	partitioner := sarama.NewMurmur2Partitioner(topic)
	for _, m := range k.messages(t, topic) {
		id := header(m, "event_id")
		want := map[string]string{"1": "prod/cafe job_status", "2": "prod/babe job_failure", "3": "prod/cafe job_status"}
		require.Equal(t, want[id], string(m.Key)+" "+header(m, "kind"))
		require.Equal(t, "prod flinktail", header(m, "cluster")+" "+header(m, "origin"))
		require.False(t, m.Timestamp.Before(began), "the time of delivery, %s", m.Timestamp)
		p, err := partitioner.Partition(&sarama.ProducerMessage{Key: sarama.ByteEncoder(m.Key)}, 4)
		require.NoError(t, err)
		require.Equal(t, p, m.Partition, "where a Java producer would put it")
		events = append(events, m.Value)
	}
	want := flushertest.JSON(groups...)
	require.ElementsMatch(t, want, events)
}

// Log groups larger than a record, of several jobs, with every compression.
func TestGroupsOfRecords(t *testing.T) {
	k := sharedBroker(t)
	for compression := range codecs {
		topic := k.newTopic(t, 3)
		f := started(t, k.flusher(topic, func(f *Flusher) {
			f.Format, f.MaxMessageBytes, f.Compression = FormatLogGroup, 5*pipeline.KiB, compression
		}))
		require.NoError(t, flush(f, numbered(t, 0, 500)))
		seen := map[string]bool{}
		jobs := map[string]int{}
		for _, m := range k.messages(t, topic) {
			g, err := protocol.UnmarshalGroup(m.Value)
			require.NoError(t, err)
			for _, log := range g.Logs {
				id, job := protocol.Value(log, "event_id"), protocol.Value(log, "job_id")
				require.False(t, seen[id])
				seen[id] = true
				require.Equal(t, "prod/"+job, string(m.Key))
				var n int
				_, err := fmt.Sscan(id, &n)
				require.NoError(t, err)
				require.GreaterOrEqual(t, n, jobs[job])
				jobs[job] = n
			}
		}
		require.Len(t, seen, 500)
	}
}

// A topic that grows is noticed.
func TestNewPartitions(t *testing.T) {
	k := sharedBroker(t)
	topic := k.newTopic(t, 1)
	f := started(t, k.flusher(topic, func(f *Flusher) { f.Metadata.RefreshFrequency = time.Millisecond }))
	require.NoError(t, flush(f, numbered(t, 0, 50)))
	k.admin(t, func(a sarama.ClusterAdmin) error { return a.CreatePartitions(topic, 4, nil, false) })
	from := 50
	require.Eventually(t, func() bool {
		require.NoError(t, flush(f, numbered(t, from, 50)))
		from += 50
		partitions := map[int32]bool{}
		for _, m := range k.messages(t, topic) {
			partitions[m.Partition] = true
		}
		return len(partitions) > 1
	}, 20*time.Second, 10*time.Millisecond)
	require.Len(t, k.messages(t, topic), from)
}
