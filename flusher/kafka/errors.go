package kafka

import (
	"errors"
	"fmt"

	"github.com/IBM/sarama"

	"github.com/flinktail/flinktail/flusher/internal/client"
	"github.com/flinktail/flinktail/pipeline"
)

// verdict is what a broker's answer means for a batch of records.
type verdict int

const (
	delivered verdict = iota
	wait              // nobody's fault: send it again later
	moved             // another broker leads, or the topic is another one: look it up
	disowned          // the producer's id or sequence is not what the broker expects: begin with a new one
	tooLarge          // the batch, or its only record
	invalid           // one or more of its records
	blocked           // a person has to do something
)

// judge says what the error code of a produce answer means. Codes that are not listed come from brokers newer than this list, or should
// not come at all: to wait loses nothing.
func judge(code sarama.KError) verdict {
	switch code {
	case sarama.ErrNoError, sarama.ErrDuplicateSequenceNumber:
		return delivered
	case sarama.ErrNotLeaderForPartition, sarama.ErrLeaderNotAvailable, sarama.ErrUnknownTopicOrPartition, sarama.ErrKafkaStorageError,
		sarama.ErrFencedLeaderEpoch, sarama.ErrUnknownLeaderEpoch, unknownTopicID, inconsistentTopicID:
		return moved
	case sarama.ErrOutOfOrderSequenceNumber, sarama.ErrUnknownProducerID, sarama.ErrInvalidProducerEpoch,
		sarama.ErrInvalidProducerIDMapping, sarama.ErrProducerFenced:
		return disowned
	case sarama.ErrMessageSizeTooLarge, sarama.ErrMessageSetSizeTooLarge:
		return tooLarge
	case sarama.ErrInvalidRecord:
		return invalid
	case sarama.ErrTopicAuthorizationFailed, sarama.ErrClusterAuthorizationFailed, sarama.ErrTransactionalIDAuthorizationFailed,
		sarama.ErrSASLAuthenticationFailed, sarama.ErrUnsupportedSASLMechanism, sarama.ErrIllegalSASLState, sarama.ErrSecurityDisabled,
		sarama.ErrUnsupportedVersion, sarama.ErrUnsupportedForMessageFormat, sarama.ErrUnsupportedCompressionType,
		sarama.ErrInvalidTopic, sarama.ErrInvalidRequiredAcks, sarama.ErrInvalidTimestamp, sarama.ErrPolicyViolation,
		sarama.ErrInvalidConfig, sarama.ErrInvalidRequest, sarama.ErrInvalidTxnState:
		return blocked
	}
	return wait
}

// Codes that sarama has no names for.
const (
	unknownTopicID      sarama.KError = 100
	inconsistentTopicID sarama.KError = 103
)

// answerError is an error that a broker answered: the connection is good.
type answerError struct{ err error }

func (e *answerError) Error() string { return e.err.Error() }
func (e *answerError) Unwrap() error { return e.err }

// refusal returns the error to report when a broker refuses the connection or a request, nil when err is something that passes.
func (c *cluster) refusal(err error) error {
	var code sarama.KError
	switch {
	case isBlocked(err):
		return err
	case errors.Is(err, sarama.ErrSASLAuthenticationFailed):
		c.tokens.forget()
		a := &c.options.Authentication
		return pipeline.Blocked(fmt.Errorf("%s is refused: %s", a.identity(), client.Conceal(err.Error(), a.PlainText.Password, a.SASL.Password)))
	case errors.Is(err, sarama.ErrIllegalSASLState):
		return pipeline.Blocked(fmt.Errorf("%w (does this listener take SASL? check the port and Authentication)", err))
	case client.Refused(err), errors.As(err, &code) && judge(code) == blocked:
		return pipeline.Blocked(client.Hint(err))
	}
	return nil
}

// explain returns the error to report for a batch that the leader of p did not take.
func (c *cluster) explain(p *partition, a *answer) error {
	var err error = a.code
	if a.message != "" {
		err = fmt.Errorf("%w: %s", err, a.message)
	}
	err = fmt.Errorf("topic %q partition %d: %w", p.topic, p.id, err)
	switch a.code {
	case sarama.ErrTopicAuthorizationFailed:
		return c.missingRight("Write", p.topic, a.code)
	case sarama.ErrClusterAuthorizationFailed:
		return c.missingIdempotentWrite(a.code)
	case sarama.ErrInvalidTimestamp:
		err = fmt.Errorf("%w (this machine's clock and the broker's differ)", err)
	}
	if judge(a.code) == blocked {
		return pipeline.Blocked(err)
	}
	return err
}

func (c *cluster) missingIdempotentWrite(err error) error {
	return pipeline.Blocked(fmt.Errorf("%s lacks the ACL IdempotentWrite on the cluster; add it, or set Idempotent to false: %w",
		c.options.Authentication.identity(), err))
}
