package kafka

import (
	"encoding/binary"
	"fmt"
	"strings"
	"testing"

	"github.com/IBM/sarama"
	"github.com/stretchr/testify/require"

	"github.com/flinktail/flinktail/pipeline"
	"github.com/flinktail/flinktail/pipeline/flushertest"
	"github.com/flinktail/flinktail/protocol"
	"github.com/flinktail/flinktail/protocol/flink"
)

// encoded makes a batch of groups as Flush does.
func encoded(t testing.TB, f *Flusher, groups ...*protocol.LogGroup) *batch {
	t.Helper()
	l, err := newLayout(f)
	require.NoError(t, err)
	b := newBatch(l)
	b.encode(groups)
	return b
}

// decoded returns the records of b as a consumer reads them.
func decoded(t testing.TB, b *batch) (records []*sarama.Record) {
	t.Helper()
	for i := range b.specs {
		records = append(records, readRecord(t, b.appendRecord(nil, &b.specs[i], i)))
	}
	return records
}

// readRecord reads one record as Kafka's documentation of the format has it.
func readRecord(t testing.TB, data []byte) *sarama.Record {
	t.Helper()
	varint := func() int64 {
		n, size := binary.Varint(data)
		require.Positive(t, size)
		data = data[size:]
		return n
	}
	text := func() []byte {
		n := varint()
		if n < 0 {
			return nil
		}
		part := data[:n]
		data = data[n:]
		return part
	}
	size := varint()
	require.EqualValues(t, len(data), size)
	r := &sarama.Record{Attributes: int8(data[0])}
	data = data[1:]
	require.Zero(t, varint(), "time")
	r.OffsetDelta, r.Key, r.Value = varint(), text(), text()
	for range varint() {
		r.Headers = append(r.Headers, &sarama.RecordHeader{Key: text(), Value: text()})
	}
	require.Empty(t, data)
	return r
}

func headersOf(r *sarama.Record) map[string]string {
	m := map[string]string{}
	for _, h := range r.Headers {
		m[string(h.Key)] = string(h.Value)
	}
	return m
}

func TestJSONRecords(t *testing.T) {
	f := newFlusher(func(f *Flusher) { f.Topic, f.Headers = "flink-%{kind}", []Header{{"origin", "flinktail"}} })
	groups := group(t,
		`{"event_id":"1","kind":"job_status","cluster":"prod","job_id":"cafe","terminal":true}`,
		`{"event_id":"2","kind":"cluster_status","cluster":"prod","namespace":"streaming","resource":"orders"}`,
		`{"event_id":"3","kind":"job_status"}`,
	)
	groups = append(groups, group(t, `{"event_id":"4","kind":"cluster_status","cluster":"prod"}`)...)
	for range 2 { // a batch is used again
		b := encoded(t, f, groups...)
		require.Empty(t, b.failures)
		require.Equal(t, 4, b.total)
		var keys, topics []string
		records := decoded(t, b)
		for i, r := range records {
			require.EqualValues(t, i, r.OffsetDelta)
			require.LessOrEqual(t, len(b.appendRecord(nil, &b.specs[i], i)), b.specs[i].size)
			keys = append(keys, string(r.Key))
			topics = append(topics, b.topics[b.specs[i].topic].name)
			require.Equal(t, string(flushertest.JSON(groups...)[i]), string(r.Value))
		}
		require.Equal(t, []string{"prod/cafe", "prod/streaming/orders", "//", "prod//"}, keys)
		require.Equal(t, []string{"flink-job_status", "flink-cluster_status", "flink-job_status", "flink-cluster_status"}, topics)
		require.Equal(t, map[string]string{"event_id": "1", "kind": "job_status", "cluster": "prod", "origin": "flinktail"}, headersOf(records[0]))
		require.Equal(t, map[string]string{"event_id": "3", "kind": "job_status", "origin": "flinktail"}, headersOf(records[2]), "no empty headers")
		require.Equal(t, place{1, 0}, b.places[b.specs[3].places.from])
		b.reset()
	}
}

func TestKeys(t *testing.T) {
	g := group(t, `{"cluster":"prod","job_id":"cafe","kind":"job_status","label.team":"payments"}`)[0]
	for want, choose := range map[string]func(*Flusher){
		"prod/cafe":              func(*Flusher) {},
		"job_status-payments":    func(f *Flusher) { f.Key = "%{kind}-%{label.team}" },
		"":                       func(f *Flusher) { f.Key = "%{task_name}" },
		"job_status###payments":  func(f *Flusher) { f.HashKeys = []string{"content.kind", "tag.label.team"} },
		"payments":               func(f *Flusher) { f.HashKeys = []string{"content.task_name", "label.team"} },
		"prod/cafe, the default": func(f *Flusher) { f.HashKeys = []string{"content.task_name"} },
	} {
		l, err := newLayout(newFlusher(choose))
		require.NoError(t, err)
		want, _, _ = strings.Cut(want, ",")
		require.Equal(t, "x"+want, string(l.appendKey([]byte("x"), g, g.Logs[0])))
	}
}

// The records of a group hold its events, each with the group's tags, in order for each key.
func TestGroupRecords(t *testing.T) {
	var lines []string
	for i := range 100 {
		lines = append(lines, fmt.Sprintf(`{"event_id":"%d","cluster":"prod","job_id":"job-%d","message":"%0200d"}`, i, i%3, i))
	}
	g := group(t, lines...)[0]
	key, value := "namespace", "streaming"
	g.LogTags = []*protocol.LogTag{{Key: &key, Value: &value}}
	for limit, most := range map[int]int{1_000_000: 3, 3000: 30, 600: 100} {
		f := newFlusher(func(f *Flusher) { f.Format, f.MaxMessageBytes = FormatLogGroup, pipeline.Size(limit) })
		b := encoded(t, f, g)
		require.Empty(t, b.failures)
		records := decoded(t, b)
		require.LessOrEqual(t, len(records), most)
		require.Greater(t, len(records), most/3, "records are filled")
		next := map[string]int{"prod/job-0": 0, "prod/job-1": 1, "prod/job-2": 2}
		for i, r := range records {
			require.LessOrEqual(t, b.specs[i].size, limit)
			require.LessOrEqual(t, len(b.appendRecord(nil, &b.specs[i], i)), b.specs[i].size)
			got, err := protocol.UnmarshalGroup(r.Value)
			require.NoError(t, err)
			require.Equal(t, "streaming", got.LogTags[0].GetValue())
			places := b.places[b.specs[i].places.from:b.specs[i].places.to]
			require.Len(t, got.Logs, len(places))
			for n, log := range got.Logs {
				number := next[string(r.Key)]
				require.Equal(t, fmt.Sprint(number), protocol.Value(log, flink.FieldEventID))
				require.Equal(t, place{0, number}, places[n])
				next[string(r.Key)] += 3
			}
		}
		require.Equal(t, map[string]int{"prod/job-0": 102, "prod/job-1": 100, "prod/job-2": 101}, next)
	}
}

// One key and one topic: the record is the group.
func TestWholeGroup(t *testing.T) {
	g := group(t, `{"event_id":"1","cluster":"prod"}`, `{"event_id":"2","cluster":"prod"}`)[0]
	b := encoded(t, newFlusher(func(f *Flusher) { f.Format = FormatLogGroup }), g)
	require.Len(t, b.specs, 1)
	want, err := protocol.AppendGroup(nil, g)
	require.NoError(t, err)
	require.Equal(t, want, decoded(t, b)[0].Value)
}

func TestTooLargeForMaxMessageBytes(t *testing.T) {
	for _, format := range []string{FormatJSON, FormatLogGroup} {
		lines := []string{`{"event_id":"0"}`, `{"event_id":"1","message":"` + strings.Repeat("x", 2000) + `"}`, `{"event_id":"2"}`}
		b := encoded(t, newFlusher(func(f *Flusher) { f.Format, f.MaxMessageBytes = format, 1000 }), group(t, lines...)...)
		require.Len(t, b.failures, 1)
		require.Equal(t, 1, b.failures[0].Log)
		require.False(t, b.failures[0].Retryable)
		require.ErrorContains(t, b.failures[0].Err, "larger than MaxMessageBytes, 1000,")
		events := 0
		for _, s := range b.specs {
			events += s.places.to - s.places.from
		}
		require.Equal(t, 2, events)
	}
}

// A log that cannot be encoded takes no other one with it.
func TestUnencodableLog(t *testing.T) {
	g := group(t, `{"event_id":"0"}`, `{"event_id":"1"}`, `{"event_id":"2"}`)[0]
	g.Logs[1] = &protocol.Log{Contents: []*protocol.Log_Content{{}}}
	b := encoded(t, newFlusher(func(f *Flusher) { f.Format = FormatLogGroup }), g)
	require.Len(t, b.failures, 1)
	require.Equal(t, 1, b.failures[0].Log)
	require.Len(t, b.specs, 1)
	got, err := protocol.UnmarshalGroup(decoded(t, b)[0].Value)
	require.NoError(t, err)
	require.Len(t, got.Logs, 2)
	require.Equal(t, []place{{0, 0}, {0, 2}}, b.places[b.specs[0].places.from:b.specs[0].places.to])
}

func TestNothing(t *testing.T) {
	for _, format := range []string{FormatJSON, FormatLogGroup} {
		f := newFlusher(func(f *Flusher) { f.Format = format })
		b := encoded(t, f, &protocol.LogGroup{})
		require.Empty(t, b.specs)
		require.NoError(t, b.verdict(nil))
	}
}

// A batch costs a few allocations, an event none.
func TestRecordsAllocateNothing(t *testing.T) {
	for _, format := range []string{FormatJSON, FormatLogGroup} {
		t.Run(format, func(t *testing.T) {
			f := newFlusher(func(f *Flusher) { f.Format = format })
			l, err := newLayout(f)
			require.NoError(t, err)
			f.compress, err = newCompressor("none", 0)
			require.NoError(t, err)
			var request produceRequest
			var data []byte
			b := newBatch(l)
			partitions := []*partition{newPartition("flink", 0), newPartition("flink", 1)}
			per := func(groups []*protocol.LogGroup) float64 {
				return testing.AllocsPerRun(20, func() {
					b.encode(groups)
					b.topics[0].partitions = partitions
					b.spread(f)
					for i := range b.lots[:b.usedLots] {
						b.lots[i].next(b)
						b.lots[i].producer = anonymous
						data, err = request.appendBatch(data[:0], f, b, &b.lots[i])
						require.NoError(t, err)
					}
					b.reset()
				})
			}
			small, large := benchmarkBatch(t, 100), benchmarkBatch(t, 1100)
			per(large)
			require.Less(t, (per(large)-per(small))/1000, 0.01)
		})
	}
}

func BenchmarkRecords(b *testing.B) {
	for _, format := range []string{FormatJSON, FormatLogGroup} {
		b.Run(format, func(b *testing.B) {
			const perBatch = 2000
			groups := benchmarkBatch(b, perBatch)
			batch := encoded(b, newFlusher(func(f *Flusher) { f.Format = format }))
			b.ReportAllocs()
			for n := 0; n < b.N; n += perBatch {
				batch.encode(groups)
				batch.reset()
			}
		})
	}
}

// A group that comes again in parts makes the same records, and events of a key never overtake one another.
func TestGroupsShareRecords(t *testing.T) {
	f := newFlusher(func(f *Flusher) { f.Format, f.Key = FormatLogGroup, "%{job_id}" })
	part := func(tag string, numbers ...int) *protocol.LogGroup {
		var lines []string
		for _, n := range numbers {
			lines = append(lines, fmt.Sprintf(`{"event_id":"%d","job_id":"%c"}`, n, 'a'+n%2))
		}
		g := group(t, lines...)[0]
		name := "namespace"
		g.LogTags = []*protocol.LogTag{{Key: &name, Value: &tag}}
		return g
	}
	ids := func(groups ...*protocol.LogGroup) (all []string) {
		b := encoded(t, f, groups...)
		for _, r := range decoded(t, b) {
			g, err := protocol.UnmarshalGroup(r.Value)
			require.NoError(t, err)
			text := string(r.Key) + "@" + g.LogTags[0].GetValue() + ":"
			for _, log := range g.Logs {
				text += " " + protocol.Value(log, flink.FieldEventID)
			}
			all = append(all, text)
		}
		return all
	}
	require.Equal(t, []string{"a@x: 0 2 4", "b@x: 1 3"}, ids(part("x", 0, 1, 2, 3, 4)))
	require.Equal(t, []string{"b@x: 1 3"}, ids(part("x", 1), part("x", 3)))
	require.Equal(t, []string{"a@x: 0", "a@y: 2 4", "a@x: 6"}, ids(part("x", 0), part("y", 2), part("y", 4), part("x", 6)))
}
