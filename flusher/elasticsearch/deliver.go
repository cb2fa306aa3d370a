package elasticsearch

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"syscall"
	"time"

	"github.com/elastic/go-elasticsearch/v8/esapi"

	"github.com/flinktail/flinktail/flusher/internal/client"
	"github.com/flinktail/flinktail/pipeline"
)

// ofAnswers is what we want of answers: each document's status, and why.
var ofAnswers = []string{"items.*.status", "items.*.error"}

// Room for an answer, in bytes.
const (
	answerRoom   = 1 << 20
	documentRoom = 4 << 10
)

// deliver sends the documents from from to to and notes in b those that were not delivered.
func (f *Flusher) deliver(b *batch, from, to int) {
	connection, err := f.current()
	if err != nil {
		b.fail(from, to, err)
		return
	}
	body, err := b.body(from, to, f.Compression)
	if err != nil {
		b.fail(from, to, fmt.Errorf("compress a request: %w", err))
		return
	}
	header := http.Header{"Content-Type": {"application/x-ndjson"}}
	if f.Compression == CompressionGzip {
		header.Set("Content-Encoding", "gzip")
	}
	q := request{
		Request: esapi.BulkRequest{FilterPath: ofAnswers, Header: header},
		size:    int64(len(body)), body: func() io.ReadCloser { return b.reader(body) },
	}
	ctx, cancel := context.WithTimeout(f.ctx, f.Timeout)
	defer cancel()
	limit := int64(answerRoom + documentRoom*(to-from))
	answer, err := connection.send(ctx, q, &b.answer, limit)
	if errors.Is(err, syscall.EPIPE) || errors.Is(err, syscall.ECONNRESET) {
		// The node is gone, or something on the way refused the request before it had it all, and we could not see its answer.
		q.ask = true
		answer, err = connection.send(ctx, q, &b.answer, limit)
	}
	switch {
	case err != nil:
		b.fail(from, to, f.undelivered(connection, err))
	case answer.status == http.StatusOK:
		f.accepted.Store(true)
		f.settle(b, from, to, answer)
	case answer.status == http.StatusRequestEntityTooLarge, answer.status == http.StatusBadRequest && isElasticsearch(answer.header):
		f.divide(b, from, to, answer)
	default:
		b.fail(from, to, refused(answer))
	}
}

// divide sends in two parts what was too large as a whole, or refused as a whole for one of its documents, until
// that one is alone.
func (f *Flusher) divide(b *batch, from, to int, answer *answer) {
	if to-from == 1 {
		err := fmt.Errorf("%s for this event alone", answer)
		// As long as nothing was taken it may be our requests that Elasticsearch refuses, whatever is in them.
		if answer.status == http.StatusBadRequest && !f.accepted.Load() {
			b.failOne(from, pipeline.Blocked(err), true)
			return
		}
		b.failOne(from, err, false)
		return
	}
	middle := from + (to-from)/2
	f.deliver(b, from, middle)
	f.deliver(b, middle, to)
}

// settle reads every document's result.
func (f *Flusher) settle(b *batch, from, to int, answer *answer) {
	pause := client.RetryAfter(answer.header, time.Now())
	if err := b.results.read(answer.body, to-from); err != nil {
		b.fail(from, to, err)
		return
	}
	duplicates := 0
	for i := range b.results.Items {
		result := &b.results.Items[i].Create
		if result.Status/100 == 2 {
			continue
		}
		e := cmp.Or(result.Error, &fault{})
		err := fmt.Errorf("elasticsearch answers %d %s", result.Status, e)
		switch judge(result.Status, e) {
		case delivered:
			duplicates++
		case again:
			if pause > 0 {
				err = pipeline.Throttle(err, pause)
			}
			b.failOne(from+i, err, true)
		case blocked:
			b.failOne(from+i, pipeline.Blocked(err), true)
		case faulty:
			b.failOne(from+i, err, false)
		}
	}
	f.duplicates.Add(float64(duplicates))
}
