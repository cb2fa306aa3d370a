package elasticsearch

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/flinktail/flinktail/flusher/internal/client"
	"github.com/flinktail/flinktail/pipeline"
)

// undelivered returns what an error of the transport means: nothing is known of the request then.
func (f *Flusher) undelivered(c *connection, err error) error {
	switch {
	case client.Refused(err):
		f.discard(c)
		return pipeline.Blocked(fmt.Errorf("connect to elasticsearch: %w", client.Hint(err)))
	case errors.As(err, new(*productError)):
		return pipeline.Blocked(err)
	}
	return fmt.Errorf("send to elasticsearch: %w", err)
}

// refused returns what an answer to a whole request means that is no success.
func refused(a *answer) error {
	status, after := a.status, client.RetryAfter(a.header, time.Now())
	err := errors.New(a.String())
	switch {
	case status == http.StatusRequestTimeout, status == http.StatusTooManyRequests, status >= 500:
		if after > 0 {
			return pipeline.Throttle(err, after)
		}
		return err
	}
	if status == http.StatusUnauthorized {
		err = fmt.Errorf("%w; check Authentication", err)
	}
	return pipeline.Blocked(err)
}

// String says what an answer to a whole request is that is no success. Elasticsearch leaves out its header when it does not know us, so its form
// of an error counts too.
func (a *answer) String() string { return client.Conceal(a.text(), a.secrets...) }

func (a *answer) text() string {
	status, fault := a.status, a.fault()
	if !isElasticsearch(a.header) && fault.Type == "" {
		text := fmt.Sprintf("not Elasticsearch but a server on the way answers %d %s", status, http.StatusText(status))
		if server := a.header.Get("Server"); server != "" {
			text += " (" + server + ")"
		}
		if location := a.header.Get("Location"); location != "" {
			text += " to " + location
		}
		return text
	}
	if fault.String() == "" {
		return fmt.Sprintf("elasticsearch answers %d %s", status, http.StatusText(status))
	}
	return fmt.Sprintf("elasticsearch answers %d %s", status, fault)
}

// fault reads the error in the body; without one it is empty.
func (a *answer) fault() *fault {
	var whole struct{ Error fault }
	_ = json.Unmarshal(a.body, &whole)
	return &whole.Error
}

// verdict is what the result of one document means.
type verdict int

const (
	delivered verdict = iota
	again             // it may succeed later
	blocked           // it will succeed once a person has done something
	faulty            // it can never succeed
)

// judge returns what a document's status and error mean.
func judge(status int, f *fault) verdict {
	switch {
	case status/100 == 2:
		return delivered
	case status == http.StatusConflict && f.Type == "version_conflict_engine_exception":
		return delivered // created by an earlier attempt
	case status == http.StatusConflict, status == http.StatusRequestTimeout, status == http.StatusTooManyRequests, status >= 500:
		return again
	case status == http.StatusUnauthorized, status == http.StatusForbidden, status == http.StatusNotFound, isOfIndex(f):
		return blocked
	case status/100 == 4:
		return faulty
	}
	return again // no status that Elasticsearch gives a document
}

// isOfIndex tells the errors with status 400 that are about the index, alias, pipeline or cluster settings: another event would
// meet them too. Elasticsearch gives several of them the type that it has for faulty documents as well.
func isOfIndex(f *fault) bool {
	switch f.Type {
	case "index_closed_exception", "validation_exception": // closed; no more shards allowed, say
		return true
	case "illegal_argument_exception", "document_parsing_exception", "mapper_parsing_exception":
		for _, part := range []string{
			"no write index is defined for alias",
			"pipeline with id [",
			"data stream timestamp field [@timestamp] is missing",
			"Failed to parse mapping",
			"composable template [",
		} {
			if strings.Contains(f.Reason, part) && !strings.Contains(f.Reason, "Preview of field's value") {
				return true
			}
		}
	}
	return false
}
