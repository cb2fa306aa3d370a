//go:build linux

package stdout

import (
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/stretchr/testify/require"

	"github.com/flinktail/flinktail/protocol"
	"github.com/flinktail/flinktail/protocol/flink"
)

var now = time.Date(2026, 1, 5, 18, 0, 0, 0, time.UTC)

func render(t testing.TB, s style, line string) string {
	t.Helper()
	e := &encoder{json: protocol.NewJSONEncoder(flink.Fields)}
	e.appendLines(group(t, line), s, now)
	return string(e.buf)
}

func TestLines(t *testing.T) {
	for line, want := range map[string]string{
		event1: "08:00:00.123  prod  orders  RUNNING -> FINISHED",
		`{"event_time":"2026-01-04T23:59:59.999Z","kind":"job_status","status_to":"RUNNING","job_id":"ab"}`: "2026-01-04 23:59:59.999  ab  -> RUNNING",
		`{"event_time":"2025-01-05T08:00:00Z","kind":"job_status","status_to":"RUNNING"}`:                   "2025-01-05 08:00:00.000  -> RUNNING",
		`{"kind":"job_status","job_name":"orders","status_from":"RUNNING","status_to":"FAILED","exception_class":"org.apache.flink.runtime.JobException","exception_message":"Recovery is suppressed","root_class":"lab.jobs.Failing$OrderParseException","root_message":"cannot parse\n\torder"}`: "08:00:00.000  orders  RUNNING -> FAILED  Failing$OrderParseException: cannot parse  order",
		`{"kind":"job_failure","job_name":"orders","failure_scope":"TASK","task_name":"Map (1/4)","exception_class":"a.IOException"}`:                                                                                                                                                              "08:00:00.000  orders  failure in Map (1/4)  IOException",
		`{"kind":"job_failure","failure_scope":"GLOBAL","exception_class":"E","exception_message":"m","message":"m"}`:                                                                                                                                                                              "08:00:00.000  global failure  E: m",
		`{"kind":"job_created","job_name":"j","execution_mode":"STREAMING","lineage":{"sources":[{"namespace":"kafka://b","name":"a"},{"name":"b"}],"sinks":[{"namespace":"s3://bucket"}],"relations":[]}}`:                                                                                        "08:00:00.000  j  created (STREAMING)  reads a, b; writes s3://bucket",
		`{"kind":"job_created","job_name":"j","lineage":{"sources":[],"sinks":[]}}`:                                                                                                                                                                                                                "08:00:00.000  j  created",
		`{"kind":"job_created","job_name":"j","lineage":{"sources":[{"name":"a"},{"name":"b"},{"name":"c"},{"name":"d"},{"name":"e"}]}}`:                                                                                                                                                           "08:00:00.000  j  created  reads a, b, c, 2 more",
		`{"kind":"job_created","job_name":"j","lineage":"no lineage"}`:                                                                                                                                                                                                                             "08:00:00.000  j  created",
		`{"kind":"checkpoint","job_name":"j","status_to":"COMPLETED","message":"checkpoint 12, 3.4 MB"}`:                                                                                                                                                                                           "08:00:00.000  j  checkpoint -> COMPLETED  checkpoint 12, 3.4 MB",
		`{"kind":"resource_status","namespace":"ns","resource":"orders","lifecycle_state":"STABLE","message":"ok"}`:                                                                                                                                                                                "08:00:00.000  ns/orders  resource status STABLE  ok",
		`{"kind":"resource_event","resource":"orders","reason":"SpecChanged","message":"Upgrading"}`:                                                                                                                                                                                               "08:00:00.000  orders  resource event SpecChanged  Upgrading",
		`{"kind":"cluster_status","cluster":"prod","status_from":"REACHABLE","status_to":"UNREACHABLE"}`:                                                                                                                                                                                           "08:00:00.000  prod  cluster status REACHABLE -> UNREACHABLE",
		`{"kind":"incident","job_name":"j","message":"3 failures"}`:                                                                                                                                                                                                                                "08:00:00.000  j  incident  3 failures",
		`{"kind":"job_status","status_to":"RUNNING","source_dropped":3}`:                                                                                                                                                                                                                           "08:00:00.000  -> RUNNING  (the source had to drop 3 events before this one)",
		`{"kind":"something_new","job_name":"j"}`: "08:00:00.000  j  something new",
		`{"hello":"world"}`:                       `08:00:00.000  {"event_time":"2026-01-05T08:00:00.000Z","hello":"world"}`,
		`{"kind":"job_status","status_to":"RUNNING","cluster":"` + strings.Repeat("c", 30) + `","job_name":"` + strings.Repeat("订", 30) + `"}`: "08:00:00.000  " + strings.Repeat("c", 23) + "…  " + strings.Repeat("订", 19) + "…  -> RUNNING",
		`{"kind":"job_failure","root_class":"E","root_message":"\u001b]0;owned\u0007\u001b[2J\u009b31m\u202e\u200b\u0000\u2028"}`:              `08:00:00.000  failure  E: \x1b]0;owned\x07\x1b[2J\x9b31m\u202e\u200b\x00 `,
		`{"kind":"\u001b[31mx","cluster":"\u001bc","job_name":"\r\n08:00 prod fake","status_to":"\u001b[0m"}`:                                  `08:00:00.000  \x1bc    08:00 prod fake  \x1b[31mx -> \x1b[0m`,
	} {
		line = strings.Replace(line, `{"`, `{"event_time":"2026-01-05T08:00:00Z","`, 1)
		require.Equal(t, want+"\n", render(t, style{}, line), line)
	}
}

func TestColours(t *testing.T) {
	for line, colour := range map[string]string{
		`{"kind":"job_status","status_to":"FAILED"}`:                       red,
		`{"kind":"job_status","status_to":"FAILED","severity":"info"}`:     "",
		`{"kind":"job_status","status_to":"RESTARTING"}`:                   yellow,
		`{"kind":"job_status","status_to":"RUNNING"}`:                      "",
		`{"kind":"job_failure"}`:                                           red,
		`{"kind":"resource_event","reason":"x","severity":"warn"}`:         yellow,
		`{"kind":"cluster_status","status_to":"LOST","severity":"error"}`:  red,
		`{"kind":"resource_event","reason":"x","severity":"what is this"}`: "",
	} {
		text := render(t, style{colour: true}, line)
		for _, c := range []string{red, yellow} {
			require.Equal(t, c == colour, strings.Contains(text, c), line)
		}
		require.True(t, strings.HasSuffix(text, reset+"\n"), line)
		require.NotContains(t, render(t, style{}, line), "\x1b", line)
	}
}

func TestCells(t *testing.T) {
	for _, test := range []struct {
		text  string
		limit int
		want  string
		cells int
	}{
		{"", 3, "", 0}, {"abc", 3, "abc", 3}, {"abcd", 3, "ab…", 3}, {"abc", 1, "…", 1}, {"a", 1, "a", 1},
		{"订单", 4, "订单", 4}, {"订单号", 4, "订…", 3}, {"订单号", 5, "订单…", 5}, {"订", 1, "…", 1},
		{"e\u0301e\u0301e\u0301", 3, "e\u0301e\u0301e\u0301", 3}, {"e\u0301e\u0301e\u0301", 2, "e\u0301…", 2},
		{"\x1b\x1b", 7, `\x1b…`, 5}, {"🦑🦑", 3, "🦑…", 3}, {"a\tb\nc", 10, "a b c", 5}, {"\xff", 10, "\ufffd", 1},
		{strings.Repeat("x", 1000), noLimit, strings.Repeat("x", 1000), 1000},
	} {
		got, cells := appendCells(nil, test.text, test.limit)
		require.Equal(t, test.want, string(got), "%q in %d", test.text, test.limit)
		require.Equal(t, test.cells, cells, "%q in %d", test.text, test.limit)
	}
}

func TestNarrowTerminal(t *testing.T) {
	for _, width := range []int{1, 20, 40, 60} {
		text := []rune(strings.TrimSuffix(render(t, style{width: width}, `{"event_time":"2026-01-05T08:00:00Z","kind":"job_status","cluster":"prod","job_name":"orders","message":"`+strings.Repeat("m", 99)+`"}`), "\n"))
		require.Equal(t, max(width, len("08:00:00.000  prod  orders  ")+minWhat), len(text))
		require.Equal(t, '…', text[len(text)-1])
	}
}

// Whatever an event says, a line is one line and says nothing to a terminal but what it is to say.
func FuzzLine(f *testing.F) {
	f.Add("\x1b[31m", "\u202e", `{"sources":[{"name":"\u001b"}]}`, 20)
	f.Add("", "\n\n", "{", 0)
	f.Fuzz(func(t *testing.T, a, b, lineage string, width int) {
		add := func(log *protocol.Log, key, value string) {
			log.Contents = append(log.Contents, &protocol.Log_Content{Key: &key, Value: &value})
		}
		log := &protocol.Log{}
		for _, field := range []string{"cluster", "status_from", "root_class", "reason", a} {
			add(log, field, a)
		}
		for _, field := range []string{"kind", "job_name", "root_message", "message", "task_name", "severity", b} {
			add(log, field, b)
		}
		add(log, "lineage", lineage)
		e := &encoder{json: protocol.NewJSONEncoder(flink.Fields)}
		e.appendLines([]*protocol.LogGroup{{Logs: []*protocol.Log{log}}}, style{width: width}, now)
		text, ended := strings.CutSuffix(string(e.buf), "\n")
		require.True(t, ended)
		for _, r := range text {
			require.True(t, unicode.IsPrint(r), "%q in %q", r, text)
		}
	})
}

func BenchmarkFlush(b *testing.B) {
	for name, format := range map[string]string{"json": FormatJSON, "text": FormatText} {
		b.Run(name, func(b *testing.B) {
			null := devNull(b)
			f, _ := started(b, null, func(f *Flusher) { f.Format = format })
			var lines []string
			for range 1000 {
				lines = append(lines, event1)
			}
			groups := group(b, lines...)
			b.ReportAllocs()
			b.ResetTimer()
			for n := 0; n < b.N; n += 1000 {
				if err := flush(f, groups); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
