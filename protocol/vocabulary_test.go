package protocol_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/flinktail/flinktail/protocol"
)

func TestVocabulary(t *testing.T) {
	fields := []protocol.Field{{Name: "at", Type: protocol.TypeTimestamp}, {Name: "n", Type: protocol.TypeLong}}
	v := protocol.NewVocabulary("at", fields)
	fields[0].Name = "changed"
	require.Equal(t, "at", v.Time)
	require.Equal(t, "at", v.Fields()[0].Name)
	require.Equal(t, protocol.TypeLong, v.Field("n").Type)
	require.Nil(t, v.Field("m"))
	require.Nil(t, v.Field(""))
}

// Names of one length and first byte, and 64 fields, the most there may be.
func TestVocabularyFindsEveryField(t *testing.T) {
	var fields []protocol.Field
	for i := range 64 {
		fields = append(fields, protocol.Field{Name: fmt.Sprintf("field%02d", i), Type: protocol.TypeString})
	}
	v := protocol.NewVocabulary("field00", fields)
	b := protocol.NewBuilder()
	defer b.Release()
	g := b.BeginGroup("", "")
	line, want := `{"field64":1`, `{"field00":"1970-01-01T00:00:01.000Z","field64":1`
	for i := 1; i < 64; i++ {
		require.Equal(t, fields[i].Name, v.Field(fields[i].Name).Name)
		line += fmt.Sprintf(`,"field%02d":%d`, i, i)
		want += fmt.Sprintf(`,"field%02d":"%d"`, i, i)
	}
	require.Nil(t, v.Field("field64"))
	line += `,"field63":"last","field00":1000}`
	want = want[:len(want)-len(`"63"`)] + `"last"}`
	require.NoError(t, protocol.NewJSONDecoder(v, 2).DecodeLine(b, []byte(line), received))
	b.EndLog()
	require.Equal(t, want, string(protocol.NewJSONEncoder(v).Append(nil, g, 0)))
}

func TestVocabularyRefusesMistakes(t *testing.T) {
	field := func(names ...string) (fields []protocol.Field) {
		for _, name := range names {
			fields = append(fields, protocol.Field{Name: name, Type: protocol.TypeString})
		}
		return fields
	}
	for name, fields := range map[string][]protocol.Field{
		"twice": field("t", "a", "a"), "empty": field("t", ""), "quote": field("t", `a"`), "backslash": field("t", `a\`),
		"control": field("t", "a\x01"), "not ASCII": field("t", "é"), "no time": field("a"), "too many": make([]protocol.Field, 65),
	} {
		t.Run(name, func(t *testing.T) {
			require.Panics(t, func() { protocol.NewVocabulary("t", fields) })
		})
	}
}
