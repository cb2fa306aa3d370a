package kafka

import (
	"context"
	"fmt"

	"github.com/IBM/sarama"
)

// check is one attempt to reach what the flusher needs, without producing.
func (c *cluster) check(ctx context.Context, l *layout) error {
	name, ok := l.topic.Constant()
	if !ok {
		return c.anyBroker(ctx, ping)
	}
	if err := c.look(ctx, []string{name}, true); err != nil {
		return err
	}
	if c.options.CreateTopics.Partitions != 0 && c.isMissing(name) {
		if err := c.createOne(ctx, name, true); err != nil {
			return err
		}
	}
	t := c.topics[name]
	if t.err != nil {
		return t.err
	}
	asked := map[string]bool{}
	for _, p := range t.partitions {
		address, ok := c.addresses[p.leader]
		if !ok {
			return fmt.Errorf("partition %d of topic %q: %w", p.id, name, sarama.ErrLeaderNotAvailable)
		}
		if asked[address] {
			continue
		}
		asked[address] = true
		if err := c.ping(ctx, address); err != nil {
			return fmt.Errorf("the brokers name themselves by advertised.listeners: %w", err)
		}
	}
	return nil
}

func (c *cluster) ping(ctx context.Context, address string) error {
	l, err := c.link(address)
	if err != nil {
		return err
	}
	if err := l.request(ctx, ping); err != nil {
		if refused := c.refusal(err); refused != nil {
			return refused
		}
		return err
	}
	return nil
}

// ping asks for what needs no right but to be connected.
func ping(b *sarama.Broker) error {
	_, err := b.ApiVersions(&sarama.ApiVersionsRequest{Version: 0})
	return err
}
