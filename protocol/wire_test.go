package protocol_test

import (
	"encoding/hex"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/flinktail/flinktail/protocol"
)

// unhex reads bytes as they are written in this file: hexadecimal, with spaces and line breaks.
func unhex(tb testing.TB, text string) []byte {
	tb.Helper()
	data, err := hex.DecodeString(strings.Join(strings.Fields(text), ""))
	require.NoError(tb, err)
	return data
}

// goldens are groups and their wire form, computed by hand from the field numbers of SLS's log protocol.
var goldens = []struct {
	name  string
	build func(*protocol.Builder)
	wire  string
}{{
	name:  "empty group",
	build: func(b *protocol.Builder) { b.BeginGroup("", "") },
	wire:  `12 00 1a 00 22 00 2a 00`,
}, {
	name: "empty log",
	build: func(b *protocol.Builder) {
		b.BeginGroup("", "")
		b.BeginLog(0, 0)
		b.EndLog()
	},
	wire: `0a 07 08 00 25 00 00 00 00
		12 00 1a 00 22 00 2a 00`,
}, {
	name: "empty key and value",
	build: func(b *protocol.Builder) {
		b.BeginGroup("", "")
		b.BeginLog(0, 0)
		b.Add("", "")
		b.EndLog()
	},
	wire: `0a 0d 08 00 12 04 0a 00 12 00 25 00 00 00 00
		12 00 1a 00 22 00 2a 00`,
}, {
	name: "everything",
	build: func(b *protocol.Builder) {
		b.BeginGroup("job_status", "jm-1")
		b.AddTag("k", "v")
		b.AddTag("", "")
		b.BeginLog(1767600000, 123000000) // varint 80 df ed ca 06, fixed32 c0 d4 54 07
		b.Add("kind", "x")
		b.AddTyped("n", "1.5", protocol.ValueType_NUMBER)
		b.EndLog()
	},
	wire: `0a 23 08 80 df ed ca 06
		     12 09 0a 04 6b 69 6e 64 12 01 78
		     12 0b 0a 01 6e 12 03 31 2e 35 a0 06 01
		     25 c0 d4 54 07
		12 00
		1a 0a 6a 6f 62 5f 73 74 61 74 75 73
		22 04 6a 6d 2d 31
		2a 00
		32 06 0a 01 6b 12 01 76
		32 04 0a 00 12 00`,
}}

func TestWireGolden(t *testing.T) {
	for _, golden := range goldens {
		t.Run(golden.name, func(t *testing.T) {
			b := protocol.NewBuilder()
			defer b.Release()
			golden.build(b)
			built, wire := b.Groups()[0], unhex(t, golden.wire)

			encoded, err := protocol.AppendGroup([]byte("before"), built)
			require.NoError(t, err)
			require.Equal(t, "before", string(encoded[:6]))
			require.Equal(t, hex.EncodeToString(wire), hex.EncodeToString(encoded[6:]))

			decoded, err := protocol.UnmarshalGroup(wire)
			require.NoError(t, err)
			require.True(t, protocol.Equal(built, decoded))

			byReflection, err := proto.Marshal(built)
			require.NoError(t, err)
			require.Equal(t, wire, byReflection)
			reflected := &protocol.LogGroup{}
			require.NoError(t, proto.Unmarshal(wire, reflected))
			require.True(t, protocol.Equal(built, reflected))
		})
	}
}

// A peer need not write the optional texts; ours are there all the same.
func TestWireWritesOptionalTexts(t *testing.T) {
	for _, tc := range []struct{ in, out string }{
		{``, `12 00 1a 00 22 00 2a 00`},
		{`22 01 73`, `12 00 1a 00 22 01 73 2a 00`},
		{`12 01 63 2a 01 6d`, `12 01 63 1a 00 22 00 2a 01 6d`},
		{`0a 02 08 05`, `0a 02 08 05 12 00 1a 00 22 00 2a 00`}, // and Time_ns stays absent
	} {
		g, err := protocol.UnmarshalGroup(unhex(t, tc.in))
		require.NoError(t, err)
		out, err := protocol.AppendGroup(nil, g)
		require.NoError(t, err)
		require.Equal(t, unhex(t, tc.out), out)
	}
	out, err := protocol.AppendGroup(nil, &protocol.LogGroup{})
	require.NoError(t, err)
	require.Equal(t, unhex(t, `12 00 1a 00 22 00 2a 00`), out)
}

// What a newer peer adds is kept at every level: field 15 with "u", and a group of field 16.
func TestWireKeepsUnknownFields(t *testing.T) {
	unknown := `7a 01 75 83 01 08 01 84 01`
	wire := unhex(t, `0a 1e 08 05
		     12 0f 0a 01 6b 12 01 76 `+unknown+`
		     `+unknown+`
		12 00 1a 00 22 00 2a 00
		32 0f 0a 01 6b 12 01 76 `+unknown+`
		`+unknown)
	wire[1] = byte(2 + 17 + 9)

	g, err := protocol.UnmarshalGroup(wire)
	require.NoError(t, err)
	out, err := protocol.AppendGroup(nil, g)
	require.NoError(t, err)
	require.Equal(t, wire, out)

	want := unhex(t, unknown)
	require.Equal(t, want, []byte(g.ProtoReflect().GetUnknown()))
	require.Equal(t, want, []byte(g.LogTags[0].ProtoReflect().GetUnknown()))
	require.Equal(t, want, []byte(g.Logs[0].ProtoReflect().GetUnknown()))
	require.Equal(t, want, []byte(g.Logs[0].Contents[0].ProtoReflect().GetUnknown()))
	require.True(t, protocol.Equal(g, protocol.Clone(g)))
}

// iLogtail's readers know no Type. Such a reader steps over field 100 and finds what it knows.
func TestWireTypeIsSkippedByOldReaders(t *testing.T) {
	b := protocol.NewBuilder()
	defer b.Release()
	b.BeginGroup("", "")
	b.BeginLog(5, 0)
	b.AddTyped("k", "1", protocol.ValueType_NUMBER)
	b.EndLog()
	wire, err := protocol.AppendGroup(nil, b.Groups()[0])
	require.NoError(t, err)

	known := func(data []byte, number protowire.Number) []byte {
		var found []byte
		for len(data) > 0 {
			field, kind, n := protowire.ConsumeTag(data)
			require.Positive(t, n)
			size := protowire.ConsumeFieldValue(field, kind, data[n:])
			require.Positive(t, size)
			if field == number {
				found, _ = protowire.ConsumeBytes(data[n:])
			}
			data = data[n+size:]
		}
		return found
	}
	content := known(known(wire, 1), 2)
	require.Equal(t, "k", string(known(content, 1)))
	require.Equal(t, "1", string(known(content, 2)))
}

func TestWireRefusesMissingFields(t *testing.T) {
	for name, wire := range map[string]string{
		"log without time":      `0a 00`,
		"field without value":   `0a 07 08 05 12 03 0a 01 6b`,
		"field without key":     `0a 07 08 05 12 03 12 01 76`,
		"tag without value":     `32 03 0a 01 6b`,
		"tag without key":       `32 03 12 01 76`,
		"length beyond the end": `12 05 61`,
		"endless varint":        `0a 0c 08 ff ff ff ff ff ff ff ff ff ff 01`,
		"negative length":       `12 ff ff ff ff ff ff ff ff ff 01`,
		"no field number 0":     `00 00`,
		"wrong wire type":       `08 01`,
		"end without a start":   `84 01`,
	} {
		t.Run(name, func(t *testing.T) {
			_, err := protocol.UnmarshalGroup(unhex(t, wire))
			require.ErrorContains(t, err, "decode log group: ")
			_, err = protocol.UnmarshalGroupList(append([]byte{0x0a, byte(len(unhex(t, wire)))}, unhex(t, wire)...))
			require.ErrorContains(t, err, "decode log group list: ")
		})
	}
	text := "x"
	for name, g := range map[string]*protocol.LogGroup{
		"log without time":    {Logs: []*protocol.Log{{}}},
		"field without value": {Logs: []*protocol.Log{{Time: new(uint32), Contents: []*protocol.Log_Content{{Key: &text}}}}},
		"field without key":   {Logs: []*protocol.Log{{Time: new(uint32), Contents: []*protocol.Log_Content{{Value: &text}}}}},
		"tag without value":   {LogTags: []*protocol.LogTag{{Key: &text}}},
		"tag without key":     {LogTags: []*protocol.LogTag{{Value: &text}}},
	} {
		t.Run("encode "+name, func(t *testing.T) {
			out, err := protocol.AppendGroup([]byte("before"), g)
			require.ErrorContains(t, err, "encode log group: ")
			require.Equal(t, "before", string(out))
			out, err = protocol.AppendGroupList([]byte("before"), []*protocol.LogGroup{g})
			require.ErrorContains(t, err, "encode log group list: ")
			require.Equal(t, "before", string(out))
			require.Panics(t, func() { protocol.Clone(g) })
		})
	}
}

// Cut off anywhere but between two fields of the group, the text is an error, never a panic.
func TestWireTruncated(t *testing.T) {
	wire := unhex(t, goldens[len(goldens)-1].wire)
	whole := map[int]bool{0: true}
	for at := 0; at < len(wire); {
		_, _, n := protowire.ConsumeField(wire[at:])
		require.Positive(t, n)
		at += n
		whole[at] = true
	}
	for n := range wire {
		_, err := protocol.UnmarshalGroup(wire[:n:n])
		require.Equal(t, whole[n], err == nil, "%d bytes: %v", n, err)
	}
	list := append([]byte{0x0a, byte(len(wire))}, wire...)
	for n := 1; n < len(list); n++ {
		_, err := protocol.UnmarshalGroupList(list[:n:n])
		require.Error(t, err, "%d bytes", n)
	}
}

func TestWireRepairsUTF8(t *testing.T) {
	g, err := protocol.UnmarshalGroup([]byte("\x0a\x0c\x08\x05\x12\x08\x0a\x02k\xff\x12\x02\xe2v\x1a\x01\xff\x32\x06\x0a\x01\xfe\x12\x01\xfd"))
	require.NoError(t, err)
	require.Equal(t, "k\ufffd", g.Logs[0].Contents[0].GetKey())
	require.Equal(t, "\ufffdv", g.Logs[0].Contents[0].GetValue())
	require.Equal(t, "\ufffd", g.GetTopic())
	require.Equal(t, "\ufffd", g.LogTags[0].GetKey())
	require.Equal(t, "\ufffd", g.LogTags[0].GetValue())
}

func TestWireGroupList(t *testing.T) {
	b := protocol.NewBuilder()
	defer b.Release()
	for _, golden := range goldens {
		golden.build(b)
	}
	groups := append(b.Groups(), &protocol.LogGroup{})
	wire, err := protocol.AppendGroupList([]byte("before"), groups)
	require.NoError(t, err)
	var want []byte
	for _, g := range groups {
		group, err := protocol.AppendGroup(nil, g)
		require.NoError(t, err)
		want = protowire.AppendBytes(protowire.AppendTag(want, 1, protowire.BytesType), group)
	}
	require.Equal(t, "before"+string(want), string(wire))
	decoded, err := protocol.UnmarshalGroupList(wire[6:])
	require.NoError(t, err)
	require.Len(t, decoded, len(groups))
	for i := range b.Groups() {
		require.True(t, protocol.Equal(groups[i], decoded[i]))
	}
}

func TestCloneSharesNothing(t *testing.T) {
	body := []byte("value")
	text := func() string { return string(body) }
	b := protocol.NewBuilder()
	b.BeginGroup("topic", "source")
	b.BeginLog(1, 2)
	b.Add("key", text())
	b.EndLog()
	clone := protocol.Clone(b.Groups()[0])
	wire, err := protocol.AppendGroup(nil, b.Groups()[0])
	require.NoError(t, err)
	*b.Groups()[0].Logs[0].Contents[0].Value = "changed"
	b.Release()
	after, err := protocol.AppendGroup(nil, clone)
	require.NoError(t, err)
	require.Equal(t, wire, after)
}

// FuzzWire holds vtprotobuf's code against protobuf's reflection, and what is written against what was read.
func FuzzWire(f *testing.F) {
	for _, golden := range goldens {
		f.Add(unhex(f, golden.wire))
	}
	f.Add(unhex(f, `0a 0b 08 05 12 07 0a 00 12 00 a0 06 07 7a 01 75`))
	f.Add([]byte("\x0a\x0c\x08\x05\x12\x08\x0a\x02k\xff\x12\x02\xe2v\x1a\x01\xff"))
	f.Fuzz(func(t *testing.T, data []byte) {
		reflected := &protocol.LogGroup{}
		theirs := proto.Unmarshal(data, reflected)
		g, err := protocol.UnmarshalGroup(data)
		if theirs == nil && err != nil {
			// Reflection takes a known number of a foreign wire type for an unknown field; we refuse it.
			require.ErrorContains(t, err, "wrong wireType")
		}
		if err != nil {
			return
		}
		for _, s := range []*string{g.Category, g.Topic, g.Source, g.MachineUUID} {
			require.True(t, s == nil || utf8.ValidString(*s))
		}
		wire, err := protocol.AppendGroup(nil, g)
		require.NoError(t, err)
		again, err := protocol.UnmarshalGroup(wire)
		require.NoError(t, err)
		rewritten, err := protocol.AppendGroup(nil, again)
		require.NoError(t, err)
		require.Equal(t, wire, rewritten)
		if theirs != nil {
			return
		}
		empty := ""
		for _, s := range []**string{&reflected.Category, &reflected.Topic, &reflected.Source, &reflected.MachineUUID} {
			if *s == nil {
				*s = &empty
			}
		}
		repairTexts(reflected)
		byReflection, err := proto.Marshal(reflected)
		require.NoError(t, err)
		// Reflection rewrites unknown fields whose numbers take more bytes than they need; we keep their bytes.
		written := &protocol.LogGroup{}
		require.NoError(t, proto.Unmarshal(wire, written))
		require.True(t, proto.Equal(written, reflected))
		normal, err := proto.Marshal(written)
		require.NoError(t, err)
		require.Equal(t, normal, byReflection)
		if len(normal) == len(wire) {
			require.Equal(t, byReflection, wire)
		}
	})
}

// repairTexts replaces each byte of g's texts that is not UTF-8 with U+FFFD.
func repairTexts(g *protocol.LogGroup) {
	repair := func(texts ...*string) {
		for _, s := range texts {
			if s != nil {
				*s = string([]rune(*s))
			}
		}
	}
	repair(g.Category, g.Topic, g.Source, g.MachineUUID)
	for _, tag := range g.LogTags {
		repair(tag.Key, tag.Value)
	}
	for _, log := range g.Logs {
		for _, c := range log.Contents {
			repair(c.Key, c.Value)
		}
	}
}
