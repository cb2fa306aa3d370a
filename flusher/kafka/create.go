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
		if !c.isMissing(name) {
			continue
		}
		if err := c.createOne(ctx, name, false); err != nil {
			return err
		}
	}
	return nil
}

// isMissing reports whether the brokers say that a topic does not exist.
func (c *cluster) isMissing(name string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	t := c.topics[name]
	return t.passing && isBlocked(t.err)
}

func (c *cluster) controllerAddress() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.addresses[c.controller]
}

// createOne creates a topic, or only asks whether that is possible.
func (c *cluster) createOne(ctx context.Context, name string, onlyAsk bool) error {
	address := c.controllerAddress()
	if address == "" {
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
	c.mu.Lock()
	defer c.mu.Unlock()
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
		err := fmt.Errorf("create topic %q: %w", name, result)
		if isOfSettings(result.Err) {
			err = pipeline.Blocked(err)
		}
		t.err, t.passing = err, false
	}
	return nil
}

// isOfSettings tells the errors that a person has to mend from those that pass.
func isOfSettings(code sarama.KError) bool {
	switch code {
	case sarama.ErrInvalidPartitions, sarama.ErrInvalidReplicationFactor, sarama.ErrInvalidReplicaAssignment:
		return true
	}
	return judge(code) == blocked
}

func isBlocked(err error) bool {
	var blocked *pipeline.BlockedError
	return errors.As(err, &blocked)
}
