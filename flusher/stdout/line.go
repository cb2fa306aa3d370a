package stdout

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/flinktail/flinktail/protocol"
	"github.com/flinktail/flinktail/protocol/flink"
)

// style is how text lines look.
type style struct {
	colour bool
	width  int // in cells; 0 is no limit
}

// What a line's parts may take, in cells.
const (
	maxCluster = 24
	maxJob     = 40
	// minWhat is left for what happened, even if the line then wraps.
	minWhat = 20
)

// Escape sequences of the colours.
const (
	dim    = "\x1b[2m"
	bold   = "\x1b[1m"
	red    = "\x1b[31m"
	yellow = "\x1b[33m"
	reset  = "\x1b[0m"
)

// appendLines appends a line for each event: time, cluster, job and what happened.
func (e *encoder) appendLines(groups []*protocol.LogGroup, s style, now time.Time) {
	for _, g := range groups {
		for i, log := range g.Logs {
			e.what = e.appendWhat(e.what[:0], g, i)
			e.buf = appendLine(e.buf, event{g, log}, e.what, s, now)
		}
	}
}

// event is one log, with its group for the tags.
type event struct {
	g   *protocol.LogGroup
	log *protocol.Log
}

func (ev event) field(name string) string { return ev.g.Field(ev.log, name) }

func appendLine(dst []byte, ev event, what []byte, s style, now time.Time) []byte {
	at := ev.log.At().In(now.Location())
	layout := "15:04:05.000"
	if at.YearDay() != now.YearDay() || at.Year() != now.Year() {
		layout = "2006-01-02 " + layout
	}
	dst = s.begin(dst, dim)
	dst = at.AppendFormat(dst, layout)
	dst = s.end(dst)
	used := len(layout)

	for _, part := range []struct {
		text, colour string
		limit        int
	}{{ev.field(flink.FieldCluster), "", maxCluster}, {ev.job(), bold, maxJob}} {
		if part.text == "" {
			continue
		}
		dst = append(dst, "  "...)
		dst = s.begin(dst, part.colour)
		var n int
		dst, n = appendCells(dst, part.text, part.limit)
		dst = s.end(dst)
		used += 2 + n
	}

	limit := noLimit
	if s.width > 0 {
		limit = max(s.width-used-2, minWhat)
	}
	dst = append(dst, "  "...)
	dst = s.begin(dst, ev.colour())
	dst, _ = appendCells(dst, string(what), limit)
	dst = s.end(dst)
	return append(dst, '\n')
}

func (s style) begin(dst []byte, sequence string) []byte {
	if s.colour {
		dst = append(dst, sequence...)
	}
	return dst
}

func (s style) end(dst []byte) []byte { return s.begin(dst, reset) }

// job names the job, else the resource.
func (ev event) job() string {
	if name := ev.field(flink.FieldJobName); name != "" {
		return name
	}
	if resource := ev.field(flink.FieldResource); resource != "" {
		if namespace := ev.field(flink.FieldNamespace); namespace != "" {
			return namespace + "/" + resource
		}
		return resource
	}
	return ev.field(flink.FieldJobID)
}

func (ev event) colour() string {
	switch ev.severity() {
	case flink.SeverityError:
		return red
	case flink.SeverityWarn:
		return yellow
	}
	return ""
}

// severity is the event's own, else what its kind and status suggest.
func (ev event) severity() string {
	if s := ev.field(flink.FieldSeverity); s != "" {
		return s
	}
	switch ev.field(flink.FieldStatusTo) {
	case "FAILING", "FAILED":
		return flink.SeverityError
	case "RESTARTING", "SUSPENDED":
		return flink.SeverityWarn
	}
	if ev.field(flink.FieldKind) == flink.KindJobFailure {
		return flink.SeverityError
	}
	return flink.SeverityInfo
}

// appendWhat appends what happened, as the event's text has it: nothing is made harmless yet.
func (e *encoder) appendWhat(dst []byte, g *protocol.LogGroup, i int) []byte {
	ev := event{g, g.Logs[i]}
	start := len(dst)
	add := func(parts ...string) {
		if len(dst) > start {
			dst = append(dst, ' ')
		}
		for _, p := range parts {
			dst = append(dst, p...)
		}
	}

	switch kind := ev.field(flink.FieldKind); kind {
	case "":
		return e.json.Append(dst, g, i)
	case flink.KindJobStatus:
	case flink.KindJobCreated:
		add("created")
		if mode := ev.field("execution_mode"); mode != "" {
			add("(", mode, ")")
		}
	case flink.KindJobFailure:
		if ev.field("failure_scope") == "GLOBAL" {
			add("global failure")
		} else {
			add("failure")
		}
	default:
		add(strings.ReplaceAll(kind, "_", " "))
	}
	if to := ev.field(flink.FieldStatusTo); to != "" {
		if from := ev.field(flink.FieldStatusFrom); from != "" {
			add(from)
		}
		add("-> ", to)
	}
	if state := ev.field("lifecycle_state"); state != "" {
		add(state)
	}
	if reason := ev.field(flink.FieldReason); reason != "" {
		add(reason)
	}
	if task := ev.field(flink.FieldTaskName); task != "" {
		add("in ", task)
	}

	class, text := ev.field(flink.FieldRootClass), ev.field(flink.FieldRootMessage)
	if class == "" {
		class, text = ev.field(flink.FieldExceptionName), ev.field(flink.FieldExceptionText)
	}
	if class != "" {
		add(" ", class[strings.LastIndexByte(class, '.')+1:])
		if text != "" {
			dst = append(append(dst, ": "...), text...)
		}
	}
	if flow := lineage(ev.field(flink.FieldLineage)); flow != "" {
		add(" ", flow)
	}
	if message := ev.field(flink.FieldMessage); message != "" && (class == "" || message != text) {
		add(" ", message)
	}
	if dropped := ev.field("source_dropped"); dropped != "" && dropped != "0" {
		add(" (the source had to drop ", dropped, " events before this one)")
	}
	return dst
}

// lineage says what a job reads and writes: "reads orders, users; writes enriched".
func lineage(text string) string {
	if text == "" {
		return ""
	}
	type dataset struct{ Namespace, Name string }
	var l struct{ Sources, Sinks []dataset }
	if json.Unmarshal([]byte(text), &l) != nil {
		return ""
	}
	var parts []string
	for _, side := range []struct {
		verb string
		sets []dataset
	}{{"reads ", l.Sources}, {"writes ", l.Sinks}} {
		if len(side.sets) == 0 {
			continue
		}
		var names []string
		for i, d := range side.sets {
			if i == 3 && len(side.sets) > 4 {
				names = append(names, fmt.Sprintf("%d more", len(side.sets)-i))
				break
			}
			if d.Name == "" {
				d.Name = d.Namespace
			}
			names = append(names, d.Name)
		}
		parts = append(parts, side.verb+strings.Join(names, ", "))
	}
	return strings.Join(parts, "; ")
}
