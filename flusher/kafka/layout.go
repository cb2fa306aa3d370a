package kafka

import (
	"errors"
	"fmt"
	"strings"

	"github.com/flinktail/flinktail/flusher/internal/pattern"
	"github.com/flinktail/flinktail/pipeline"
	"github.com/flinktail/flinktail/protocol"
	"github.com/flinktail/flinktail/protocol/flink"
)

// layout says what the records of an event look like. It is safe for concurrent use.
type layout struct {
	topic    topicName
	format   string
	key      *pattern.Pattern // nil: hashKeys, or the default
	hashKeys []string
	headers  []Header
	limit    int // bytes of a record
}

// hashKeySeparator is iLogtail's, so that its keys stay the same.
const hashKeySeparator = "###"

func newLayout(f *Flusher) (*layout, error) {
	l := &layout{format: f.Format, headers: f.Headers, limit: int(f.MaxMessageBytes) - batchOverhead}
	var errs []error
	complain := func(option string, err error) {
		if err != nil {
			errs = append(errs, &pipeline.OptionError{Option: option, Err: err})
		}
	}
	var err error
	l.topic, err = parseTopicName(f.Topic)
	complain("Topic", err)
	if f.Key != "" {
		l.key, err = pattern.Parse(f.Key)
		complain("Key", err)
		if len(f.HashKeys) > 0 {
			complain("HashKeys", errors.New("is another way to write Key; remove one of them"))
		}
	}
	for i, name := range f.HashKeys {
		if strings.Contains(name, "%{") {
			complain(fmt.Sprintf("HashKeys[%d]", i), fmt.Errorf("names a field, %q is a pattern; write job_id, say, or use Key", name))
		}
		l.hashKeys = append(l.hashKeys, pattern.FieldName(name))
	}
	if l.limit < minRecordLimit {
		complain("MaxMessageBytes", errors.New("leaves no room for a record"))
	}
	for _, h := range f.Headers {
		if h.Key == "" {
			complain("Headers", errors.New("a header has no Key"))
		}
	}
	return l, errors.Join(errs...)
}

// appendKey appends the key of an event's record.
func (l *layout) appendKey(dst []byte, g *protocol.LogGroup, log *protocol.Log) []byte {
	if l.key != nil {
		return l.key.Append(dst, g, log)
	}
	start := len(dst)
	for _, name := range l.hashKeys {
		if value := g.Field(log, name); value != "" {
			if len(dst) > start {
				dst = append(dst, hashKeySeparator...)
			}
			dst = append(dst, value...)
		}
	}
	if len(dst) > start {
		return dst
	}
	dst = flink.Key(dst, g, log)
	for i := start; i < len(dst); i++ {
		if dst[i] == 0 {
			dst[i] = '/'
		}
	}
	return dst
}
