package protocol_test

import (
	"fmt"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/flinktail/flinktail/protocol"
	"github.com/flinktail/flinktail/protocol/flink"
)

// shape says what to build: groups, logs in each, fields in each log, and whether every log is preceded by a dropped one.
type shape struct {
	groups, logs, fields int
	drop                 bool
}

// build makes groups whose every text tells its place.
func build(b *protocol.Builder, s shape) {
	for g := range s.groups {
		b.BeginGroup(fmt.Sprint("topic ", g), fmt.Sprint("source ", g))
		for tag := range g % 50 {
			b.AddTag(fmt.Sprint("tag ", g, tag), fmt.Sprint("tagged ", g, tag))
		}
		for l := range s.logs {
			if s.drop {
				b.BeginLog(9, 9)
				for range l % 7 {
					b.AddTyped("dropped", "dropped", protocol.ValueType_NULL)
				}
				b.DropLog()
			}
			b.BeginLog(uint32(g), 0)
			for f := range s.fields {
				key, value := fmt.Sprint("key ", f), fmt.Sprint("value ", g, l, f)
				if f%3 == 0 {
					b.AddTyped(key, value, protocol.ValueType_JSON)
				} else {
					b.Add(key, value)
				}
			}
			b.SetTime(uint32(g), uint32(l))
			b.EndLog()
		}
	}
}

// check reports where groups differ from what build made.
func check(groups []*protocol.LogGroup, s shape) error {
	if len(groups) != s.groups {
		return fmt.Errorf("%d groups", len(groups))
	}
	for g, group := range groups {
		if group.GetTopic() != fmt.Sprint("topic ", g) || group.GetSource() != fmt.Sprint("source ", g) || len(group.LogTags) != g%50 || len(group.Logs) != s.logs {
			return fmt.Errorf("group %d: %q %q, %d tags, %d logs", g, group.GetTopic(), group.GetSource(), len(group.LogTags), len(group.Logs))
		}
		for i, tag := range group.LogTags {
			if tag.GetKey() != fmt.Sprint("tag ", g, i) || tag.GetValue() != fmt.Sprint("tagged ", g, i) {
				return fmt.Errorf("group %d: tag %d: %v", g, i, tag)
			}
		}
		for l, log := range group.Logs {
			if log.GetTime() != uint32(g) || log.GetTimeNs() != uint32(l) || len(log.Contents) != s.fields {
				return fmt.Errorf("group %d: log %d: %d %d, %d fields", g, l, log.GetTime(), log.GetTimeNs(), len(log.Contents))
			}
			for f, c := range log.Contents {
				if c.GetKey() != fmt.Sprint("key ", f) || c.GetValue() != fmt.Sprint("value ", g, l, f) || (c.Type != nil) != (f%3 == 0) {
					return fmt.Errorf("group %d: log %d: field %d: %v", g, l, f, c)
				}
			}
		}
	}
	return nil
}

func TestBuilder(t *testing.T) {
	for _, s := range []shape{
		{groups: 0}, {groups: 1}, {groups: 1, logs: 1}, {groups: 1, logs: 1, fields: 1}, {groups: 1, logs: 2, fields: 2},
		{groups: 3, logs: 5, fields: 17}, {groups: 100, logs: 3, fields: 5, drop: true},
		{groups: 1, logs: 2047, fields: 1}, {groups: 1, logs: 2049, fields: 3, drop: true}, {groups: 2, logs: 10000, fields: 1},
		{groups: 1, logs: 1, fields: 2049}, {groups: 2, logs: 2, fields: 5000},
	} {
		t.Run(fmt.Sprint(s), func(t *testing.T) {
			for range 3 { // the second and third time from pooled memory
				b := protocol.NewBuilder()
				require.Empty(t, b.Groups())
				build(b, s)
				require.NoError(t, check(b.Groups(), s))
				b.Release()
			}
		})
	}
}

func TestBuildersAreIndependent(t *testing.T) {
	var wait sync.WaitGroup
	for i := range 8 {
		wait.Go(func() {
			for round := range 20 {
				s := shape{groups: 1 + (i+round)%4, logs: 1 + (i*round)%60, fields: 1 + (i+round)%20, drop: round%2 == 0}
				b := protocol.NewBuilder()
				build(b, s)
				runtime.Gosched()
				if err := check(b.Groups(), s); err != nil {
					t.Error(err)
				}
				b.Release()
			}
		})
	}
	wait.Wait()
}

func TestBuilderForgetsAnOpenLog(t *testing.T) {
	b := protocol.NewBuilder()
	defer b.Release()
	g := b.BeginGroup("", "")
	b.BeginLog(1, 1)
	b.Add("a", "forgotten")
	b.BeginLog(2, 2)
	b.Add("b", "kept")
	b.EndLog()
	require.Len(t, g.Logs, 1)
	require.Equal(t, []field{{"b", "kept", nil}}, fieldsOf(g.Logs[0]))
}

func TestBuilderBytes(t *testing.T) {
	b := protocol.NewBuilder()
	defer b.Release()
	var all [][]byte
	for i, n := range []int{0, 1, 10, 2048, 3, 100000, 5, 1} {
		p := b.Bytes(n)
		require.Len(t, p, n)
		require.Equal(t, n, cap(p), "it must not grow into its neighbour")
		require.Equal(t, strings.Repeat("\x00", n), string(p))
		for j := range p {
			p[j] = byte('a' + i)
		}
		all = append(all, p)
	}
	for i, p := range all {
		require.Equal(t, strings.Repeat(string(rune('a'+i)), len(p)), string(p))
	}
}

func TestSlice(t *testing.T) {
	s := shape{groups: 2, logs: 5, fields: 2}
	b := protocol.NewBuilder()
	defer b.Release()
	build(b, s)
	g := b.Groups()[1]
	var part protocol.LogGroup
	g.Slice(&part, 1, 3)
	require.Equal(t, g.Logs[1:3], part.Logs)
	require.Equal(t, 2, cap(part.Logs), "appending must not reach the logs behind it")
	require.Equal(t, g.GetTopic(), part.GetTopic())
	require.Equal(t, g.LogTags, part.LogTags)
	g.Slice(&part, 0, 5)
	require.True(t, protocol.Equal(g, &part))
}

func TestFind(t *testing.T) {
	b := protocol.NewBuilder()
	defer b.Release()
	g := b.BeginGroup("", "")
	b.AddTag("cluster", "tag")
	b.AddTag("zone", "z")
	b.BeginLog(5, 7)
	b.Add("kind", "first")
	b.Add("kind", "second")
	b.Add("cluster", "")
	log := b.EndLog()
	require.Equal(t, "first", protocol.Value(log, "kind"))
	require.Same(t, log.Contents[0], protocol.Get(log, "kind"))
	require.Nil(t, protocol.Get(log, "zone"))
	require.Empty(t, protocol.Value(log, "zone"))
	require.Equal(t, "z", g.Field(log, "zone"))
	require.Empty(t, g.Field(log, "cluster"), "the log's own, though it is empty")
	require.Empty(t, g.Field(log, "none"))
	require.True(t, time.Unix(5, 7).Equal(log.At()))
}

// liveBytes is the memory that make keeps alive.
func liveBytes(make func() any) int {
	heap := func() int {
		runtime.GC() // the first empties the pools into their victims, the second the victims
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int(m.HeapAlloc)
	}
	before := heap()
	kept := make()
	after := heap()
	runtime.KeepAlive(kept)
	return after - before
}

// The queue is bounded by MemorySize: it may promise a little too much, never much too little.
func TestMemorySizeIsHonest(t *testing.T) {
	for name, event := range map[string]func(int) []byte{
		"small": smallEvent, "mixed": mixedEvent, "large": largeEvent,
		"tiny":       func(i int) []byte { return []byte(`{"a":1}`) },
		"undeclared": func(i int) []byte { return []byte(`{"a":1,"b":2,"c":3,"d":4,"e":5,"f":6,"g":7,"h":8}`) },
	} {
		for _, perBatch := range []int{1, 2, 10, 500, 3000} {
			t.Run(name+"/"+strconv.Itoa(perBatch), func(t *testing.T) {
				batches := max(1, 500/perBatch)
				estimate := 0
				decoder := protocol.NewJSONDecoder(flink.Fields, protocol.DefaultMaxDepth)
				measured := liveBytes(func() any {
					kept := make([]any, 0, 2*batches)
					for range batches {
						b, body := protocol.NewBuilder(), batch(perBatch, event)
						decodeLines(t, decoder, b, body, received)
						kept = append(kept, b, body)
						estimate += protocol.MemorySize(b.Groups()[0])
					}
					return kept
				})
				t.Logf("%d bytes measured, %.2f of them estimated", measured, float64(estimate)/float64(measured))
				require.Greater(t, estimate, measured*3/4)
				require.Less(t, estimate, measured*3)
			})
			t.Run(name+"/wire/"+strconv.Itoa(perBatch), func(t *testing.T) {
				batches := max(1, 500/perBatch)
				b := protocol.NewBuilder()
				defer b.Release()
				decodeLines(t, protocol.NewJSONDecoder(flink.Fields, protocol.DefaultMaxDepth), b, batch(perBatch, event), received)
				estimate := 0
				measured := liveBytes(func() any {
					kept := make([]*protocol.LogGroup, batches)
					for i := range kept {
						wire, err := protocol.AppendGroup(nil, b.Groups()[0])
						require.NoError(t, err)
						kept[i], err = protocol.UnmarshalGroup(wire)
						require.NoError(t, err)
						estimate += protocol.MemorySize(kept[i])
					}
					return kept
				})
				t.Logf("%d bytes measured, %.2f of them estimated", measured, float64(estimate)/float64(measured))
				require.Greater(t, estimate, measured*3/4)
				require.Less(t, estimate, measured*3)
			})
		}
	}
}
