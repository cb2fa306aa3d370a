package kafka

import (
	"errors"
	"fmt"
	"strings"

	"github.com/flinktail/flinktail/flusher/internal/pattern"
	"github.com/flinktail/flinktail/protocol"
)

const (
	maxTopicName = 249 // Kafka's
	// maxTopicValue bounds a field's value in a name, so that other parts stay readable.
	maxTopicValue = 100
)

// topicName makes the names of topics.
type topicName struct {
	*pattern.Pattern
}

func parseTopicName(text string) (topicName, error) {
	if text == "" {
		return topicName{}, errors.New("name the topic")
	}
	p, err := pattern.Parse(text)
	if err != nil {
		return topicName{}, err
	}
	literal := strings.ReplaceAll(p.Glob(), "*", "")
	if _, ok := p.Constant(); ok && (literal == "." || literal == ".." || literal != text) {
		return topicName{}, fmt.Errorf("%q is no name for a topic", text)
	}
	for _, r := range literal {
		if r > 'z' || !isLegal(byte(r)) {
			return topicName{}, fmt.Errorf("%q is not allowed in a topic's name; letters, digits, '.', '_' and '-' are", r)
		}
	}
	if len(literal) > maxTopicName {
		return topicName{}, fmt.Errorf("is longer than %d bytes", maxTopicName)
	}
	return topicName{p}, nil
}

// append appends the name for an event; whatever the event holds, it is a legal one.
func (n topicName) append(dst []byte, g *protocol.LogGroup, log *protocol.Log) []byte {
	start := len(dst)
	dst = n.AppendFunc(dst, g, log, appendSafe)
	for i := start; i < len(dst); i++ {
		if !isLegal(dst[i]) { // the colon of a time of day
			dst[i] = '_'
		}
	}
	switch name := string(dst[start:]); {
	case name == "." || name == "..":
		dst[start] = '_'
	case len(name) > maxTopicName:
		dst = appendCut(dst[:start], name, maxTopicName)
	}
	return dst
}

// appendSafe appends value as part of a name: what is not legal becomes "_", as does an empty value; a long value is cut and ends
// in a hash.
func appendSafe(dst []byte, value string) []byte {
	if value == "" {
		return append(dst, '_')
	}
	if len(value) > maxTopicValue {
		return appendCut(dst, value, maxTopicValue)
	}
	return appendLegal(dst, value)
}

func appendCut(dst []byte, text string, limit int) []byte {
	hash := uint32(2166136261)
	for i := range len(text) {
		hash = (hash ^ uint32(text[i])) * 16777619
	}
	dst = appendLegal(dst, text[:limit-len("-01234567")])
	return fmt.Appendf(dst, "-%08x", hash)
}

func appendLegal(dst []byte, text string) []byte {
	for i := range len(text) {
		c := text[i]
		if !isLegal(c) {
			c = '_'
		}
		dst = append(dst, c)
	}
	return dst
}

func isLegal(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '.' || c == '_' || c == '-'
}
