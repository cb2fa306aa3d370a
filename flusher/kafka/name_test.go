package kafka

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestTopicName(t *testing.T) {
	for _, test := range []struct{ pattern, event, want string }{
		{"flink", `{}`, "flink"},
		{"flink-%{kind}", `{"kind":"job_status"}`, "flink-job_status"},
		{"flink-%{kind}", `{}`, "flink-_"},
		{"test_%{content.label.team}", `{"label.team":"payments"}`, "test_payments"},
		{"%{job_name}", `{"job_name":"orders \"x\"/订单"}`, "orders__x________"},
		{"%{job_name}", `{"job_name":"."}`, "_"},
		{"%{job_name}", `{"job_name":".."}`, "_."},
		{"a-%{+yyyy.MM.dd_HH:mm}", `{"event_time":"2026-01-05T08:09:00Z"}`, "a-2026.01.05_08_09"},
	} {
		name, err := parseTopicName(test.pattern)
		require.NoError(t, err)
		g := group(t, test.event)[0]
		got := string(name.append([]byte("before"), g, g.Logs[0]))
		require.Equal(t, "before"+test.want, got)
	}

	// Long values, that differ in their ends only.
	long := strings.Repeat("x", 300)
	name, err := parseTopicName("flink.%{cluster}.%{namespace}.%{job_name}")
	require.NoError(t, err)
	seen := map[string]bool{}
	for _, end := range []string{"a", "b"} {
		g := group(t, `{"cluster":"`+long+`","namespace":"`+long+`","job_name":"`+long+end+`"}`)[0]
		text := string(name.append(nil, g, g.Logs[0]))
		require.LessOrEqual(t, len(text), maxTopicName)
		seen[text] = true
	}
	require.Len(t, seen, 2)
}

func TestTopicNameErrors(t *testing.T) {
	for pattern, message := range map[string]string{
		"":                       "name the topic",
		".":                      "no name for a topic",
		"..":                     "no name for a topic",
		"a*b":                    "no name for a topic",
		"*":                      `no name for a topic`,
		"flink events":           `' ' is not allowed`,
		"ereignisse-für-%{kind}": `'ü' is not allowed`,
		"%{kind":                 "without its }",
		strings.Repeat("x", 250): "longer than 249",
	} {
		_, err := parseTopicName(pattern)
		require.ErrorContains(t, err, message, pattern)
	}
}
