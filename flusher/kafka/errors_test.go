package kafka

import (
	"errors"
	"io"
	"testing"

	"github.com/IBM/sarama"
	"github.com/stretchr/testify/require"

	"github.com/flinktail/flinktail/pipeline"
)

func TestJudge(t *testing.T) {
	want := map[sarama.KError]verdict{}
	list := func(v verdict, codes ...sarama.KError) {
		for _, code := range codes {
			want[code] = v
		}
	}
	list(delivered, 0, 46)
	list(moved, 3, 5, 6, 56, 74, 75, 100, 103)
	list(disowned, 45, 47, 49, 59, 90)
	list(tooLarge, 10, 18)
	list(invalid, 87)
	list(blocked, 17, 21, 29, 31, 32, 33, 34, 35, 40, 42, 43, 44, 48, 53, 54, 58, 76)
	for code := sarama.KError(-1); code < 200; code++ {
		v, ok := want[code]
		if !ok {
			v = wait // REQUEST_TIMED_OUT, NOT_ENOUGH_REPLICAS, …, and whatever comes with later brokers
		}
		require.Equal(t, v, judge(code), "code %d", code)
	}
}

func TestExplain(t *testing.T) {
	c := newCluster(t.Context(), New())
	c.options.Authentication.PlainText.Username = "alice"
	for _, test := range []struct {
		answer  answer
		blocked bool
		text    string
	}{
		{answer{code: sarama.ErrTopicAuthorizationFailed}, true, `user "alice" lacks the ACL Write on topic "flink"`},
		{answer{code: sarama.ErrClusterAuthorizationFailed}, true, "ACL IdempotentWrite on the cluster"},
		{answer{code: sarama.ErrInvalidTimestamp}, true, "clock"},
		{answer{code: sarama.ErrUnsupportedCompressionType}, true, `topic "flink" partition 3`},
		{answer{code: sarama.ErrInvalidRecord, message: "no key"}, false, "no key"},
		{answer{code: sarama.ErrNotEnoughReplicas}, false, `topic "flink" partition 3`},
	} {
		err := c.explain(newPartition("flink", 3), &test.answer)
		require.Equal(t, test.blocked, isBlocked(err), "%v", err)
		require.ErrorContains(t, err, test.text)
		require.ErrorIs(t, err, test.answer.code)
	}
}

func TestRefusal(t *testing.T) {
	c := newCluster(t.Context(), New())
	c.options.Authentication.SASL.Username = "bob"
	for _, err := range []error{io.EOF, sarama.ErrRequestTimedOut, sarama.ErrNotLeaderForPartition, timeoutError{1}, errors.New("dial tcp: connection refused")} {
		require.NoError(t, c.refusal(err), "%v passes by itself", err)
	}
	for _, err := range []error{
		sarama.ErrUnsupportedSASLMechanism, sarama.ErrIllegalSASLState, sarama.ErrUnsupportedVersion, pipeline.Blocked(io.EOF),
	} {
		requireIsBlocked(t, c.refusal(err))
	}
	err := c.refusal(sarama.Wrap(sarama.ErrSASLAuthenticationFailed, errors.New("no such user")))
	requireIsBlocked(t, err)
	require.ErrorContains(t, err, `user "bob" is refused`)
	require.ErrorContains(t, err, "no such user")

	c.options.Authentication.SASL.Password = pipeline.NewSecret("s3cret")
	err = c.refusal(sarama.Wrap(sarama.ErrSASLAuthenticationFailed, errors.New("bob with s3cret: no such user")))
	require.ErrorContains(t, err, "bob with ***: no such user")
}

func requireIsBlocked(t *testing.T, err error) {
	t.Helper()
	require.True(t, isBlocked(err), "%v", err)
}
