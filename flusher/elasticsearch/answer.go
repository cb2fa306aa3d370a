package elasticsearch

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
)

// fault is an error as Elasticsearch writes it in its answers.
type fault struct {
	Type     string `json:"type"`
	Reason   string `json:"reason"`
	CausedBy *fault `json:"caused_by"`
}

// UnmarshalJSON reads an object, or a text alone, as some of its answers have it. It takes no offence at anything else: the
// status that comes with it says enough.
func (f *fault) UnmarshalJSON(p []byte) error {
	if p[0] == '"' {
		return json.Unmarshal(p, &f.Reason)
	}
	type plain fault
	_ = json.Unmarshal(p, (*plain)(f))
	return nil
}

// String returns the type, the reason and the reasons behind it.
func (f *fault) String() string {
	text := f.Type
	for depth := 0; f != nil && depth < 5; f, depth = f.CausedBy, depth+1 {
		if f.Reason == "" {
			continue
		}
		if text != "" {
			text += ": "
		}
		text += f.Reason
	}
	if len(text) > maxFault {
		text = strings.ToValidUTF8(text[:maxFault], "") + "…"
	}
	return text
}

// maxFault bounds the text of an error, in bytes: it may quote the event.
const maxFault = 2000

var errMalformed = errors.New("malformed answer to a bulk request")

// results are what became of the documents of a bulk request, in order. The memory is used again.
type results struct {
	Items []struct {
		Create struct {
			Status int    `json:"status"`
			Error  *fault `json:"error"`
		} `json:"create"`
	} `json:"items"`
}

// read reads the answer to a bulk request of n documents. An error means that the answer cannot be trusted: it is no such
// answer, or has another number of results.
func (r *results) read(answer []byte, n int) error {
	clear(r.Items[:cap(r.Items)]) // a null leaves what was there
	r.Items = r.Items[:0]
	if err := json.Unmarshal(answer, r); err != nil {
		return fmt.Errorf("%w of %d bytes: %w", errMalformed, len(answer), err)
	}
	if len(r.Items) != n {
		return fmt.Errorf("%w: it has %d results for %d documents", errMalformed, len(r.Items), n)
	}
	for i := range r.Items {
		if status := r.Items[i].Create.Status; status < 100 || status > 999 {
			return fmt.Errorf("%w: result %d has the status %d", errMalformed, i, status)
		}
	}
	return nil
}
