package kafka

import (
	"math"
	"testing"

	"github.com/IBM/sarama"
	"github.com/stretchr/testify/require"
)

// records makes a batch with records of these values.
func records(values ...string) (b *batch, all []int) {
	b = &batch{}
	for i, v := range values {
		from := len(b.data)
		b.data = append(b.data, "key"+v...)
		b.parts = append(b.parts, span{from + 3, len(b.data)})
		b.specs = append(b.specs, spec{key: span{from, from + 3}, value: len(v), parts: span{i, i + 1}})
		all = append(all, i)
	}
	return b, all
}

func TestSequence(t *testing.T) {
	owned := func() *partition {
		p := newPartition("flink", 0)
		p.producer, p.epoch, p.next = 7, 0, 0
		return p
	}
	dead, err := openLink(t.Context(), "127.0.0.1:1", sarama.NewConfig(), 0)
	require.NoError(t, err)
	defer dead.close()
	keeps := func(p *partition, values ...string) bool {
		b, all := records(values...)
		err := p.identify(t.Context(), dead, b, all)
		require.Equal(t, err == nil, p.producer != noProducer)
		return err == nil
	}

	p := owned()
	require.True(t, keeps(p, "a", "b"))
	p.settle(2)
	require.EqualValues(t, 2, p.next)

	p.unsettle(records("c", "d"))
	require.True(t, keeps(p, "c", "d"), "the same records get the same numbers")
	require.EqualValues(t, 2, p.next)
	p.settle(2)
	require.True(t, keeps(p, "e"), "the fate is known")

	for name, others := range map[string][]string{
		"others": {"c", "x"}, "fewer": {"c"}, "more": {"c", "d", "e"}, "shifted": {"cd", ""}, "none": nil,
	} {
		p := owned()
		p.unsettle(records("c", "d"))
		require.False(t, keeps(p, others...), "%s need a new producer", name)
	}

	p = owned()
	p.next = math.MaxInt32 - 1
	require.True(t, keeps(p, "a"))
	require.False(t, keeps(p, "a", "b"), "the numbers are used up")
}
