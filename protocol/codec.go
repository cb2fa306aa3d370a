package protocol

import (
	"errors"
	"fmt"
	"slices"
	"unicode/utf8"

	//nolint:staticcheck // deprecated, but the API that iLogtail's plugins know; it is google.golang.org/protobuf underneath
	"github.com/golang/protobuf/proto"
)

// The wire format is SLS's: see loggroup.proto. vtprotobuf's generated code does the work; proto is here for
// its reflection-based path, which everything else must agree with.

var _ proto.Message = (*LogGroup)(nil)

// AppendGroup appends the wire form of g to dst. Category, Topic, Source and MachineUUID are always written, because
// iLogtail's readers expect them. The error is a log without a Time, or a field or tag without a key or value; dst is
// returned as it was then. What it allocates is room in dst, if g comes from a [Builder].
func AppendGroup(dst []byte, g *LogGroup) ([]byte, error) {
	dst, err := appendMessage(dst, complete(g))
	if err != nil {
		return dst, fmt.Errorf("encode log group: %w", err)
	}
	return dst, nil
}

// AppendGroupList appends the wire form of a LogGroupList, under the conditions of [AppendGroup].
func AppendGroupList(dst []byte, groups []*LogGroup) ([]byte, error) {
	list := &LogGroupList{LogGroupList: make([]*LogGroup, len(groups))}
	for i, g := range groups {
		list.LogGroupList[i] = complete(g)
	}
	dst, err := appendMessage(dst, list)
	if err != nil {
		return dst, fmt.Errorf("encode log group list: %w", err)
	}
	return dst, nil
}

func appendMessage(dst []byte, m interface {
	SizeVT() int
	MarshalToSizedBufferVT(buf []byte) (int, error)
}) ([]byte, error) {
	size := m.SizeVT()
	at := len(dst)
	dst = slices.Grow(dst, size)
	n, err := m.MarshalToSizedBufferVT(dst[at : at+size])
	if err == nil && n != size {
		err = errors.New("it changed meanwhile")
	}
	if err != nil {
		return dst, err
	}
	return dst[:at+size], nil
}

// complete returns g, or a shallow copy of it, with every optional text field set.
func complete(g *LogGroup) *LogGroup {
	if g.Category != nil && g.Topic != nil && g.Source != nil && g.MachineUUID != nil {
		return g
	}
	full := &LogGroup{Logs: g.Logs, LogTags: g.LogTags, unknownFields: g.unknownFields}
	full.Category, full.Topic = orEmpty(g.Category), orEmpty(g.Topic)
	full.Source, full.MachineUUID = orEmpty(g.Source), orEmpty(g.MachineUUID)
	return full
}

func orEmpty(s *string) *string {
	if s == nil {
		return new(string)
	}
	return s
}

// UnmarshalGroup reads the wire form of a group. The group's texts are views into data, which must stay
// unchanged as long as the group lives. Invalid UTF-8 is repaired. A log without a Time, or a field without a key or value, is an error.
func UnmarshalGroup(data []byte) (*LogGroup, error) {
	g := &LogGroup{}
	if err := g.UnmarshalVTUnsafe(data); err != nil {
		return nil, fmt.Errorf("decode log group: %w", err)
	}
	repairGroup(g)
	return g, nil
}

// UnmarshalGroupList reads the wire form of a LogGroupList, under the conditions of [UnmarshalGroup].
func UnmarshalGroupList(data []byte) ([]*LogGroup, error) {
	list := &LogGroupList{}
	if err := list.UnmarshalVTUnsafe(data); err != nil {
		return nil, fmt.Errorf("decode log group list: %w", err)
	}
	for _, g := range list.LogGroupList {
		repairGroup(g)
	}
	return list.LogGroupList, nil
}

// repairGroup makes every text of g valid UTF-8.
func repairGroup(g *LogGroup) {
	repairText(g.Category, g.Topic, g.Source, g.MachineUUID)
	for _, tag := range g.LogTags {
		repairText(tag.Key, tag.Value)
	}
	for _, log := range g.Logs {
		for _, c := range log.Contents {
			repairText(c.Key, c.Value)
		}
	}
}

func repairText(texts ...*string) {
	for _, s := range texts {
		if s != nil && !utf8.ValidString(*s) {
			*s = view(repair(bytesOf(*s)))
		}
	}
}

// Clone returns a copy of g that shares no memory with it, with invalid UTF-8 repaired. It panics on a group that
// [AppendGroup] refuses.
func Clone(g *LogGroup) *LogGroup {
	data, err := AppendGroup(nil, g)
	if err == nil {
		var clone *LogGroup
		if clone, err = UnmarshalGroup(data); err == nil {
			return clone
		}
	}
	panic(err)
}

// Equal reports whether two groups are equal, field by field.
func Equal(a, b *LogGroup) bool { return proto.Equal(a, b) }
