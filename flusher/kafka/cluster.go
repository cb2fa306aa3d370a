package kafka

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/IBM/sarama"

	"github.com/flinktail/flinktail/pipeline"
)

const (
	// settleTime is how long a topic or its leaders may be missing before that counts: after a start, a creation or an election the
	// brokers learn of it one by one.
	settleTime = 2 * time.Second
	// settlePause is between two looks at it.
	settlePause = 100 * time.Millisecond
)

// cluster is what is known of the brokers, and the connections to them. It has no goroutine of its own: what is too
// old or turned out wrong is looked up by who needs it. It is safe for concurrent use.
type cluster struct {
	options *Flusher
	tokens  *tokens
	ctx     context.Context

	looking chan struct{} // holds one token; who took it may look topics up

	mu         sync.Mutex // never held while a broker is waited for
	closed     bool
	links      map[string]*link
	addresses  map[int32]string // of brokers
	controller int32
	topics     map[string]*topic // changed by who is looking
}

// topic is what is known of a topic.
type topic struct {
	partitions []*partition // replaced, never changed
	looked     time.Time
	used       time.Time
	err        error // why it cannot be used
	passing    bool  // err may pass by itself
}

// forgetAfter is when a topic that nobody uses any more is forgotten: its name may hold a date, or a job's id.
const forgetAfter = time.Hour

func newCluster(ctx context.Context, options *Flusher) *cluster {
	c := &cluster{
		options: options, ctx: ctx,
		tokens:    &tokens{ctx: ctx, options: &options.Authentication.SASL, timeout: options.Timeout},
		looking:   make(chan struct{}, 1),
		links:     map[string]*link{},
		addresses: map[int32]string{},
		topics:    map[string]*topic{},
	}
	c.looking <- struct{}{}
	return c
}

// config returns sarama's configuration, with certificates as they are now.
func (c *cluster) config() (*sarama.Config, error) {
	config := sarama.NewConfig()
	config.ClientID = c.options.ClientID
	config.Net.MaxOpenRequests = 1
	config.Net.ReadTimeout, config.Net.WriteTimeout = c.options.Timeout, c.options.Timeout
	config.Net.SASL.TokenProvider = c.tokens
	return config, c.options.Authentication.apply(config)
}

var errClosed = errors.New("the connection to Kafka is closed")

// link returns the connection to address, a new one if need be.
func (c *cluster) link(address string) (*link, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil, errClosed
	}
	if l := c.links[address]; l != nil && !l.isSevered() {
		return l, nil
	}
	config, err := c.config()
	if err != nil {
		return nil, pipeline.Blocked(err)
	}
	l, err := openLink(c.ctx, address, config, c.options.KeepAlive)
	if err == nil {
		c.links[address] = l
	}
	return l, err
}

// drop closes a link and forgets it.
func (c *cluster) drop(l *link) {
	c.mu.Lock()
	if c.links[l.address] == l {
		delete(c.links, l.address)
	}
	c.mu.Unlock()
	l.close()
}

// leader returns the connection to the leader of p.
func (c *cluster) leader(p *partition) (*link, error) {
	c.mu.Lock()
	address, ok := c.addresses[p.leader]
	c.mu.Unlock()
	if !ok {
		return nil, fmt.Errorf("partition %d of topic %q: %w", p.id, p.topic, sarama.ErrLeaderNotAvailable)
	}
	return c.link(address)
}

// outdated says that a topic has to be looked up again.
func (c *cluster) outdated(name string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if t := c.topics[name]; t != nil {
		t.looked = time.Time{}
	}
}

// resolve fills in the partitions of each topic, or why it has none. An error says that no broker could be asked.
func (c *cluster) resolve(ctx context.Context, uses []topicUse) error {
	names := c.fill(uses)
	if len(names) == 0 {
		return nil
	}
	select {
	case <-c.looking:
		defer func() { c.looking <- struct{}{} }()
	case <-ctx.Done():
		return ctx.Err()
	}
	for began := time.Now(); ; {
		if names = c.fill(uses); len(names) == 0 {
			return nil
		}
		if err := c.look(ctx, names, false); err != nil {
			return err
		}
		if c.options.CreateTopics.Partitions != 0 {
			if err := c.create(ctx, names); err != nil {
				return err
			}
		}
		if !c.isAnyPassing(names) || time.Since(began) >= settleTime {
			c.fill(uses)
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(settlePause):
		}
	}
}

// fill fills in what is known, and returns the names of the topics that have to be looked up.
func (c *cluster) fill(uses []topicUse) (unknown []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	for i := range uses {
		u := &uses[i]
		t := c.topics[u.name]
		if t == nil || t.err != nil || now.Sub(t.looked) >= c.options.Metadata.RefreshFrequency {
			unknown = append(unknown, u.name)
		}
		if t != nil {
			t.used = now
			u.partitions, u.err = t.partitions, t.err
		}
	}
	return unknown
}

func (c *cluster) isAnyPassing(names []string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.ContainsFunc(names, func(name string) bool { return c.topics[name].passing })
}

// look asks a broker for topics, the next one if it does not answer.
func (c *cluster) look(ctx context.Context, names []string, withRights bool) error {
	request := sarama.NewMetadataRequest(sarama.DefaultVersion, names)
	request.AllowAutoTopicCreation = false
	request.IncludeTopicAuthorizedOperations = withRights
	var answer *sarama.MetadataResponse
	err := c.anyBroker(ctx, func(b *sarama.Broker) (err error) {
		answer, err = b.GetMetadata(request)
		if err == nil && len(answer.Brokers) == 0 {
			err = sarama.ErrBrokerNotAvailable // it has just started and knows nobody, not even itself
		}
		return err
	})
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	clear(c.addresses)
	for _, b := range answer.Brokers {
		c.addresses[b.ID()] = b.Addr()
	}
	c.controller = answer.ControllerID
	for _, t := range answer.Topics {
		c.learn(t, withRights)
	}
	c.forget(time.Now().Add(-forgetAfter))
	for _, name := range names {
		if c.topics[name] == nil {
			return fmt.Errorf("the brokers say nothing about topic %q", name)
		}
	}
	return nil
}

// forget forgets the topics that nobody has used since then.
func (c *cluster) forget(since time.Time) {
	maps.DeleteFunc(c.topics, func(_ string, t *topic) bool {
		return t.used.Before(since) && t.looked.Before(since) &&
			!slices.ContainsFunc(t.partitions, func(p *partition) bool { return !p.isIdle() })
	})
}

// anyBroker makes a request to a broker that is connected, else to any.
func (c *cluster) anyBroker(ctx context.Context, send func(*sarama.Broker) error) error {
	var errs []error
	tried := map[string]bool{}
	for _, address := range c.known() {
		if tried[address] {
			continue
		}
		tried[address] = true
		l, err := c.link(address)
		if err == nil {
			if err = l.request(ctx, send); err == nil {
				return nil
			}
			c.drop(l)
		}
		if ctx.Err() != nil {
			return err
		}
		if err := c.refusal(err); err != nil {
			return err // nor would the others have us
		}
		errs = append(errs, err)
	}
	return &outageError{errors.Join(errs...)}
}

// known returns the brokers' addresses, those first that are connected.
func (c *cluster) known() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	addresses := slices.Collect(maps.Keys(c.links))
	for _, i := range rand.Perm(len(c.options.Brokers)) {
		addresses = append(addresses, c.options.Brokers[i])
	}
	return slices.AppendSeq(addresses, maps.Values(c.addresses))
}

// outageError says that no broker could be reached.
type outageError struct{ err error }

func (e *outageError) Error() string { return "no broker answers: " + e.err.Error() }
func (e *outageError) Unwrap() error { return e.err }

func isOutage(err error) bool {
	var outage *outageError
	return errors.As(err, &outage)
}

// learn takes over what a broker says about a topic. The caller holds the lock.
func (c *cluster) learn(m *sarama.TopicMetadata, withRights bool) {
	t := c.topics[m.Name]
	if t == nil {
		t = &topic{}
		c.topics[m.Name] = t
	}
	t.looked, t.err, t.passing = time.Now(), nil, false
	switch m.Err {
	case sarama.ErrNoError:
	case sarama.ErrUnknownTopicOrPartition:
		t.err, t.passing = pipeline.Blocked(fmt.Errorf("topic %q does not exist; create it, or set CreateTopics", m.Name)), true
		return
	case sarama.ErrTopicAuthorizationFailed:
		t.err = c.missingRight("Describe", m.Name, m.Err)
		return
	case sarama.ErrInvalidTopic:
		t.err = pipeline.Blocked(fmt.Errorf("topic %q: %w", m.Name, m.Err))
		return
	default:
		t.err, t.passing = fmt.Errorf("topic %q: %w", m.Name, m.Err), true
		return
	}
	if withRights && m.Version >= 8 && m.TopicAuthorizedOperations != noOperations && m.TopicAuthorizedOperations&(1<<sarama.AclOperationWrite) == 0 {
		t.err = c.missingRight("Write", m.Name, sarama.ErrTopicAuthorizationFailed)
		return
	}
	if len(m.Partitions) == 0 {
		t.err, t.passing = fmt.Errorf("topic %q: %w", m.Name, sarama.ErrLeaderNotAvailable), true
		return
	}
	slices.SortFunc(m.Partitions, func(x, y *sarama.PartitionMetadata) int { return cmp.Compare(x.ID, y.ID) })
	partitions := make([]*partition, len(m.Partitions))
	copy(partitions, t.partitions) // of a topic that was created again, too: a broker that does not know a producer takes its number
	for i, p := range m.Partitions {
		if int(p.ID) != i {
			t.err, t.passing = fmt.Errorf("topic %q: the brokers do not name all of its partitions", m.Name), true
			return
		}
		if partitions[i] == nil {
			partitions[i] = newPartition(m.Name, p.ID)
		}
		partitions[i].leader = p.Leader
	}
	t.partitions = partitions
}

// noOperations is what brokers answer that do not tell what we may do.
const noOperations = -1 << 31

// missingRight names the rule that a person has to add.
func (c *cluster) missingRight(operation, topic string, err error) error {
	return pipeline.Blocked(fmt.Errorf("%s lacks the ACL %s on topic %q: %w", c.options.Authentication.identity(), operation, topic, err))
}

// close cuts every connection.
func (c *cluster) close() {
	c.mu.Lock()
	c.closed = true
	links := slices.Collect(maps.Values(c.links))
	c.mu.Unlock()
	for _, l := range links {
		c.drop(l)
	}
}
