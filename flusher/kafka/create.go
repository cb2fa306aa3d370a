package kafka

import (
	"context"
	"errors"
	"fmt"

	"github.com/IBM/sarama"

	"github.com/flinktail/flinktail/pipeline"
)

// create creates those of the topics that do not exist. What is wrong with one is its err; resolve looks at the others again.
func (c *cluster) create(ctx context.Context, names []string) error {
	for _, name := range names {
		if t := c.topics[name]; !t.passing || !isBlocked(t.err) {
			continue
		}
		if err := c.createOne(ctx, name, false); err != nil {
			return err
		}
	}
	return nil
}

// createOne creates a topic, or only asks whether that is possible.
func (c *cluster) createOne(ctx context.Context, name string, onlyAsk bool) error {
	address, ok := c.addresses[c.controller]
	if !ok {
		return nil // an election; the topic is still missing
	}
	detail := &sarama.TopicDetail{
		NumPartitions: int32(c.options.CreateTopics.Partitions), ReplicationFactor: int16(c.options.CreateTopics.ReplicationFactor),
	}
	request := sarama.NewCreateTopicsRequest(sarama.DefaultVersion, map[string]*sarama.TopicDetail{name: detail}, c.options.BrokerTimeout, onlyAsk)
	l, err := c.link(address)
	if err != nil {
		return err
	}
	var answer *sarama.CreateTopicsResponse
	err = l.request(ctx, func(b *sarama.Broker) (err error) {
		answer, err = b.CreateTopics(request)
		return err
	})
	if err != nil {
		c.drop(l)
		if refused := c.refusal(err); refused != nil {
			return refused
		}
		return fmt.Errorf("create topic %q: %w", name, err)
	}
	t, result := c.topics[name], answer.TopicErrors[name]
	if result == nil {
		result = &sarama.TopicError{Err: sarama.ErrUnknown}
	}
	switch result.Err {
	case sarama.ErrNoError, sarama.ErrTopicAlreadyExists, sarama.ErrNotController, sarama.ErrRequestTimedOut, sarama.ErrThrottlingQuotaExceeded:
		if onlyAsk {
			t.err, t.passing = nil, false
		}
	case sarama.ErrTopicAuthorizationFailed, sarama.ErrClusterAuthorizationFailed:
		t.err, t.passing = c.missingRight("Create", name, result.Err), false
	default:
		t.err, t.passing = pipeline.Blocked(fmt.Errorf("create topic %q: %w", name, result)), false
	}
	return nil
}

func isBlocked(err error) bool {
	var blocked *pipeline.BlockedError
	return errors.As(err, &blocked)
}
