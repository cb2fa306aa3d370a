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
	dead, err := openLink(t.Context(), "127.0.0.1:1", sarama.NewConfig(), 0)
	require.NoError(t, err)
	defer dead.close()
	const id, next = 7, 100
	var p *partition
	owned := func() {
		p = newPartition("flink", 0)
		p.producers = []*producer{{id: id, next: next}}
	}
	// send has records sent as far as to their number.
	send := func(values ...string) (*batch, *lot) {
		b, all := records(values...)
		b.layout = &layout{limit: 1 << 20}
		lot := &lot{p: p, specs: all}
		if err := p.identify(t.Context(), dead, b, lot); err != nil {
			return b, nil // it needs another producer, and nobody is there to give it one
		}
		return b, lot
	}

	owned()
	_, lot := send("a", "b")
	lot.taken()
	require.EqualValues(t, next+2, p.producers[0].next)

	b, lot := send("c", "d")
	lot.unsettle(b)
	_, lot = send("c", "d")
	require.EqualValues(t, next+2, lot.producer.next, "the same records get the same numbers")
	lot.taken()
	_, lot = send("e")
	require.NotNil(t, lot, "the fate is known")

	for name, others := range map[string][]string{
		"others": {"c", "x"}, "fewer": {"c"}, "shifted": {"cd", ""}, "none": nil,
	} {
		owned()
		b, lot := send("c", "d")
		lot.unsettle(b)
		_, lot = send(others...)
		require.Nil(t, lot, "%s need a new producer", name)
	}

	owned()
	b, lot = send("c", "d")
	lot.unsettle(b)
	_, lot = send("c", "d", "e")
	require.Equal(t, 2, lot.count, "more are sent in the batches that they were in")
	lot.taken()
	require.Equal(t, []int{2}, lot.specs[lot.at:])

	// Two lanes share the partition: what one left unsettled is not forgotten when the other one sends.
	owned()
	b, lot = send("c", "d")
	lot.unsettle(b)
	p.producers = append(p.producers, &producer{id: id + 1})
	_, lot = send("x")
	require.EqualValues(t, id+1, lot.producer.id)
	lot.taken()
	_, lot = send("c", "d")
	require.EqualValues(t, id, lot.producer.id)
	require.EqualValues(t, next, lot.producer.next)

	owned()
	p.producers[0].next = math.MaxInt32 - 1
	_, lot = send("a")
	require.NotNil(t, lot)
	_, lot = send("a", "b")
	require.Nil(t, lot, "the numbers are used up")

	owned()
	require.True(t, p.isIdle())
	b, lot = send("a")
	lot.unsettle(b)
	require.False(t, p.isIdle(), "it is remembered")
	p.disown(lot.producer)
	require.Empty(t, p.producers)
}
