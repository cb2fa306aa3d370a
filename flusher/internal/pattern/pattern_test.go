package pattern

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/flinktail/flinktail/protocol"
)

func event() (*protocol.LogGroup, *protocol.Log) {
	text := func(s string) *string { return &s }
	seconds := uint32(1767600000) // 2026-01-05 08:00:00 UTC
	log := &protocol.Log{Time: &seconds, Contents: []*protocol.Log_Content{
		{Key: text("kind"), Value: text("job_status")}, {Key: text("label.team"), Value: text("payments")},
	}}
	return &protocol.LogGroup{Logs: []*protocol.Log{log}, LogTags: []*protocol.LogTag{{Key: text("namespace"), Value: text("streaming")}}}, log
}

func TestAppend(t *testing.T) {
	for text, want := range map[string]string{
		"":                                  "",
		"flink":                             "flink",
		"100%":                              "100%",
		"flink-%{kind}":                     "flink-job_status",
		"%{namespace}/%{label.team}":        "streaming/payments",
		"%{content.kind}-%{tag.namespace}":  "job_status-streaming",
		"a-%{missing}-z":                    "a--z",
		"log_%{+yyyyMMdd}":                  "log_20260105",
		"%{kind}-%{+yyyy.MM.dd_HH:mm:ss}-x": "job_status-2026.01.05_08:00:00-x",
		"%{+dd_yyyy}%{+yy}":                 "05_202626",
	} {
		p, err := Parse(text)
		require.NoError(t, err, text)
		g, log := event()
		require.Equal(t, want, string(p.Append(nil, g, log)), text)
		constant, ok := p.Constant()
		require.Equal(t, !strings.Contains(text, "{"), ok, text)
		if ok {
			require.Equal(t, text, constant)
		}
	}
}

func TestAppendFunc(t *testing.T) {
	p, err := Parse("Lag-%{kind}-%{+yyyy}-%{missing}")
	require.NoError(t, err)
	g, log := event()
	require.Equal(t, "Lag-<job_status>-2026-<>", string(p.AppendFunc(nil, g, log, func(dst []byte, value string) []byte {
		return append(append(append(dst, '<'), value...), '>')
	})), "values alone are made safe")
	require.Equal(t, []string{"kind", "missing"}, p.Fields())
	require.Equal(t, "Lag-*-*-*", p.Glob())
}

func TestParseErrors(t *testing.T) {
	for text, message := range map[string]string{
		"a-%{kind":      `"a-%{kind" has a %{ without its }`,
		"%{}":           `%{} in "%{}": name a field, such as %{kind}`,
		"%{content.}":   "name a field",
		"%{event_time}": "write a date, such as %{+yyyy.MM.dd}",
		"%{+}":          "write a date",
		"%{+yyyy.ww}":   `"ww" is no part of a date; there are yyyy, yy, MM, dd, HH, mm and ss`,
		"%{+yyyyMMd}":   `"d" is no part of a date`,
		"%{+yyyy 2006}": `" " is no part of a date`,
	} {
		_, err := Parse(text)
		require.ErrorContains(t, err, message, text)
	}
}

func TestAppendAllocatesNothing(t *testing.T) {
	p, err := Parse("flink-%{kind}-%{+yyyy.MM.dd}")
	require.NoError(t, err)
	g, log := event()
	dst := make([]byte, 0, 100)
	require.Zero(t, testing.AllocsPerRun(100, func() { dst = p.Append(dst[:0], g, log) }))
}
