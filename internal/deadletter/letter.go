// Package deadletter keeps what could not be delivered: files of NDJSON, one letter a line, that a
// person can read and that "flinktail deadletter" lists, shows and replays.
package deadletter

import (
	"bytes"
	"encoding/json"
	"fmt"
	"time"
	"unicode/utf8"
)

// Letter is one event that a flusher could not deliver, or what an input received that is no event.
type Letter struct {
	Time     time.Time // when it became a dead letter
	Pipeline string
	Plugin   string // who gave it up: "flusher_kafka/audit", "input_http"
	Reason   string // short constant
	Error    string // the last error, for a person
	Attempts int    // deliveries tried
	EventID  string

	Event json.RawMessage // the event as a flat JSON object, on one line
	Raw   []byte          // input that is no event; base64 in the file when it is not UTF-8 text
}

// Replayable reports whether the letter holds an event that can be sent again.
func (l *Letter) Replayable() bool { return len(l.Event) > 0 }

type letterJSON struct {
	Time      time.Time       `json:"time"`
	Pipeline  string          `json:"pipeline"`
	Plugin    string          `json:"plugin"`
	Reason    string          `json:"reason"`
	Error     string          `json:"error,omitempty"`
	Attempts  int             `json:"attempts"`
	EventID   string          `json:"event_id,omitempty"`
	Event     json.RawMessage `json:"event,omitempty"`
	Raw       string          `json:"raw,omitempty"`
	RawBase64 []byte          `json:"raw_base64,omitempty"`
}

// appendLine appends the letter as one line of JSON.
func appendLine(dst *bytes.Buffer, l *Letter) error {
	out := letterJSON{
		Time: l.Time.UTC(), Pipeline: l.Pipeline, Plugin: l.Plugin, Reason: l.Reason, Error: l.Error,
		Attempts: l.Attempts, EventID: l.EventID,
	}
	if utf8.Valid(l.Raw) {
		out.Raw = string(l.Raw)
	} else {
		out.RawBase64 = l.Raw
	}
	encoder := json.NewEncoder(dst)
	encoder.SetEscapeHTML(false) // people read it
	if err := encoder.Encode(&out); err != nil {
		return err
	}
	// The event is JSON already, and must come back byte for byte. There may be 100,000 of them, and a few seconds for that.
	dst.Truncate(dst.Len() - len("}\n"))
	if len(l.Event) > 0 {
		dst.WriteString(`,"event":`)
		dst.Write(l.Event)
	}
	dst.WriteString("}\n")
	return nil
}

// parseLine reads one line without its line break.
func parseLine(line []byte) (Letter, error) {
	var in letterJSON
	if err := json.Unmarshal(line, &in); err != nil {
		return Letter{}, fmt.Errorf("parse dead letter: %w", err)
	}
	l := Letter{
		Time: in.Time, Pipeline: in.Pipeline, Plugin: in.Plugin, Reason: in.Reason, Error: in.Error,
		Attempts: in.Attempts, EventID: in.EventID, Event: in.Event, Raw: in.RawBase64,
	}
	if in.Raw != "" {
		l.Raw = []byte(in.Raw)
	}
	return l, nil
}
