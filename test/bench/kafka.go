package main

import (
	"errors"
	"fmt"
	"path/filepath"

	"github.com/IBM/sarama"

	"github.com/flinktail/flinktail/protocol"
	"github.com/flinktail/flinktail/test/servers"
)

const (
	topicPartitions = 3
	maxFetch        = 16 << 20
)

// tailKafka delivers the corpus to a real broker, which is started at the first call.
func tailKafka(format string) func(*lab) (result, error) {
	return func(l *lab) (result, error) {
		if l.kafka == nil {
			k, err := servers.StartKafka(l.ctx, filepath.Join(l.dir, "kafka"), servers.KafkaOptions{})
			if err != nil {
				return result{}, err
			}
			l.kafka = k
		}
		l.topics++
		topic := fmt.Sprintf("bench-%d", l.topics)
		if err := createTopic(l.kafka.Plaintext, topic); err != nil {
			return result{}, err
		}
		r, err := l.tailTo(map[string]any{
			"type": "flusher_kafka", "detail": map[string]any{"Brokers": []string{l.kafka.Plaintext}, "Topic": topic, "Format": format},
		})
		if err != nil {
			return r, err
		}
		events, err := countEvents(l.kafka.Plaintext, topic, format)
		if err == nil && events != l.events {
			err = fmt.Errorf("topic %s holds %d events, want %d", topic, events, l.events)
		}
		return r, err
	}
}

func createTopic(broker, topic string) error {
	admin, err := sarama.NewClusterAdmin([]string{broker}, sarama.NewConfig())
	if err != nil {
		return fmt.Errorf("create topic %s: %w", topic, err)
	}
	err = admin.CreateTopic(topic, &sarama.TopicDetail{NumPartitions: topicPartitions, ReplicationFactor: 1}, false)
	return errors.Join(err, admin.Close())
}

// countEvents counts what a topic holds: records, or the logs in them.
func countEvents(broker, topic, format string) (events int, err error) {
	config := sarama.NewConfig()
	config.Consumer.Fetch.Default = maxFetch
	client, err := sarama.NewClient([]string{broker}, config)
	if err != nil {
		return 0, fmt.Errorf("read topic %s: %w", topic, err)
	}
	defer func() { err = errors.Join(err, client.Close()) }()
	consumer, err := sarama.NewConsumerFromClient(client)
	if err != nil {
		return 0, fmt.Errorf("read topic %s: %w", topic, err)
	}
	for partition := range int32(topicPartitions) {
		end, err := client.GetOffset(topic, partition, sarama.OffsetNewest)
		if err != nil {
			return events, fmt.Errorf("read topic %s: %w", topic, err)
		}
		if format == "json" {
			events += int(end)
			continue
		}
		n, err := countLogs(consumer, topic, partition, end)
		if err != nil {
			return events, fmt.Errorf("read topic %s: %w", topic, err)
		}
		events += n
	}
	return events, nil
}

func countLogs(consumer sarama.Consumer, topic string, partition int32, end int64) (logs int, err error) {
	if end == 0 {
		return 0, nil
	}
	records, err := consumer.ConsumePartition(topic, partition, sarama.OffsetOldest)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, records.Close()) }()
	for record := range records.Messages() {
		group, err := protocol.UnmarshalGroup(record.Value)
		if err != nil {
			return logs, err
		}
		logs += len(group.Logs)
		if record.Offset == end-1 {
			break
		}
	}
	return logs, nil
}
