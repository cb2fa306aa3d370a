package elasticsearch

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/klauspost/compress/gzip"

	"github.com/flinktail/flinktail/flusher/internal/pattern"
	"github.com/flinktail/flinktail/pipeline"
	"github.com/flinktail/flinktail/protocol"
	"github.com/flinktail/flinktail/protocol/flink"
)

// maxKept bounds the buffers that a batch keeps for the next one.
const maxKept = 8 << 20

// batch is the events of one Flush as the lines of a bulk request, and what became of them. It belongs to one goroutine
// at a time; its memory is used again.
type batch struct {
	pattern    *pattern.Pattern
	dataStream bool
	json       *protocol.JSONEncoder
	create     []byte // of every event, when the index is constant: the action line up to the id

	lines     []byte
	documents []document
	failures  []pipeline.Failure

	packed  []byte // a request compressed
	answer  bytes.Buffer
	results results
	reading atomic.Int32 // request bodies that the HTTP client has not closed yet
}

// document is where the two lines of an event begin, and which event it is.
type document struct{ start, group, log int }

func newBatch(p *pattern.Pattern, dataStream bool) *batch {
	b := &batch{pattern: p, dataStream: dataStream, json: protocol.NewJSONEncoder(flink.Fields)}
	if _, ok := p.Constant(); ok {
		b.create = b.appendAction(nil, nil, nil)
	}
	return b
}

// reset makes b empty again. It returns false when b must not be used again, because the HTTP client still reads from it:
// after a request that ended early.
func (b *batch) reset() bool {
	if b.reading.Load() != 0 {
		return false
	}
	if cap(b.lines)+cap(b.packed)+b.answer.Cap() > maxKept {
		b.lines, b.packed, b.answer = nil, nil, bytes.Buffer{}
	}
	clear(b.failures)
	b.lines, b.documents, b.failures = b.lines[:0], b.documents[:0], b.failures[:0]
	return true
}

// encode writes the two lines of every event.
func (b *batch) encode(groups []*protocol.LogGroup) {
	for gi, g := range groups {
		for i, log := range g.Logs {
			b.documents = append(b.documents, document{len(b.lines), gi, i})
			if b.create != nil {
				b.lines = append(b.lines, b.create...)
			} else {
				b.lines = b.appendAction(b.lines, g, log)
			}
			b.lines = appendID(b.lines, protocol.Value(log, flink.FieldEventID))
			b.lines = b.appendDocument(b.lines, g, i)
		}
	}
}

// appendAction appends the action line up to the index: {"create":{"_index":"flink"
func (b *batch) appendAction(dst []byte, g *protocol.LogGroup, log *protocol.Log) []byte {
	dst = append(dst, `{"create":{"_index":"`...)
	return append(appendIndex(dst, b.pattern, g, log), '"')
}

// maxID is Elasticsearch's limit of an _id, in bytes.
const maxID = 512

// appendID appends the rest of the action line. An event without an id gets one from Elasticsearch, another one with
// every attempt.
func appendID(dst []byte, id string) []byte {
	if id == "" {
		return append(dst, "}}\n"...)
	}
	dst = append(dst, `,"_id":`...)
	plain := len(id) <= maxID
	for i := 0; i < len(id) && plain; i++ {
		plain = id[i] >= ' ' && id[i] <= '~' && id[i] != '"' && id[i] != '\\'
	}
	if plain {
		dst = append(dst, '"')
		dst = append(dst, id...)
		return append(dst, "\"}}\n"...)
	}
	if id = strings.ToValidUTF8(id, "\uFFFD"); len(id) > maxID {
		id = flink.EventID(id)
	}
	quoted, _ := json.Marshal(id) // a string always can be
	dst = append(dst, quoted...)
	return append(dst, "}}\n"...)
}

// timestamp is the field that every document of a data stream has.
const timestamp = "@timestamp"

func (b *batch) appendDocument(dst []byte, g *protocol.LogGroup, i int) []byte {
	log := g.Logs[i]
	if !b.dataStream || g.Field(log, timestamp) != "" {
		return append(b.json.Append(dst, g, i), '\n')
	}
	dst = append(dst, `{"`+timestamp+`":"`...)
	dst = protocol.AppendTime(dst, log.GetTime(), log.GetTimeNs())
	dst = append(dst, '"')
	brace := len(dst)
	dst = b.json.Append(dst, g, i)
	dst[brace] = ',' // there is always a field: the time
	return append(dst, '\n')
}

// body returns the request for some of the documents.
func (b *batch) body(from, to int, compression string) ([]byte, error) {
	end := len(b.lines)
	if to < len(b.documents) {
		end = b.documents[to].start
	}
	lines := b.lines[b.documents[from].start:end]
	if compression != CompressionGzip {
		return lines, nil
	}
	if b.reading.Load() != 0 { // the part before, of a request that was too large
		b.packed = nil
	}
	packed, err := appendGzip(b.packed[:0], lines)
	b.packed = packed
	return packed, err
}

var compressors = sync.Pool{New: func() any {
	z, err := gzip.NewWriterLevel(io.Discard, gzip.BestSpeed)
	if err != nil {
		panic(err) // the level is constant
	}
	return z
}}

func appendGzip(dst, lines []byte) ([]byte, error) {
	z := compressors.Get().(*gzip.Writer)
	defer compressors.Put(z)
	buffer := bytes.NewBuffer(dst)
	z.Reset(buffer)
	_, err := z.Write(lines)
	err = errors.Join(err, z.Close())
	return buffer.Bytes(), err
}

// reader counts as reading until the HTTP client closes it, which it may do long after it has returned.
func (b *batch) reader(body []byte) io.ReadCloser {
	b.reading.Add(1)
	return &bodyReader{Reader: bytes.NewReader(body), batch: b}
}

type bodyReader struct {
	*bytes.Reader
	batch  *batch
	closed atomic.Bool
}

func (r *bodyReader) Close() error {
	if !r.closed.Swap(true) {
		r.batch.reading.Add(-1)
	}
	return nil
}

// fail notes that the documents from from to to were not delivered, for a reason that all of them share and that passes.
func (b *batch) fail(from, to int, err error) {
	for _, d := range b.documents[from:to] {
		b.failures = append(b.failures, pipeline.Failure{Group: d.group, Log: d.log, Err: err, Retryable: true})
	}
}

// failOne notes what became of one document.
func (b *batch) failOne(i int, err error, retryable bool) {
	d := b.documents[i]
	b.failures = append(b.failures, pipeline.Failure{Group: d.group, Log: d.log, Err: err, Retryable: retryable})
}

// result returns what Flush has to say. When every document failed and may succeed later, that is the most telling of their
// errors, else the list.
func (b *batch) result() error {
	if len(b.failures) == 0 {
		return nil
	}
	var worst error
	for _, f := range b.failures {
		if !f.Retryable || len(b.failures) < len(b.documents) {
			return &pipeline.PartialError{Failures: append([]pipeline.Failure(nil), b.failures...)}
		}
		if worst == nil || urgency(f.Err) > urgency(worst) {
			worst = f.Err
		}
	}
	return worst
}

// urgency orders errors by how much they ask for.
func urgency(err error) int {
	var (
		blocked  *pipeline.BlockedError
		throttle *pipeline.ThrottleError
	)
	switch {
	case errors.As(err, &blocked):
		return 2
	case errors.As(err, &throttle):
		return 1
	}
	return 0
}
