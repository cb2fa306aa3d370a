package protocol

import (
	"time"
	"unsafe"
)

// Get returns the log's first field of that name, nil when it has none.
func Get(log *Log, key string) *Log_Content {
	for _, c := range log.Contents {
		if c.GetKey() == key {
			return c
		}
	}
	return nil
}

// Value returns the text of the log's field of that name, "" when it has none.
func Value(log *Log, key string) string { return Get(log, key).GetValue() }

// Field returns the text of a field of one of g's logs: the log's own, else the group's tag.
func (g *LogGroup) Field(log *Log, key string) string {
	if c := Get(log, key); c != nil {
		return c.GetValue()
	}
	for _, tag := range g.LogTags {
		if tag.GetKey() == key {
			return tag.GetValue()
		}
	}
	return ""
}

// At returns the log's own time.
func (log *Log) At() time.Time {
	return time.Unix(int64(log.GetTime()), int64(log.GetTimeNs()))
}

// MemorySize returns about how many bytes of memory g occupies until its builder's Release: its structs and the slack of
// the slabs they may lie in, and the JSON text or wire form that its fields are views into.
func MemorySize(g *LogGroup) int {
	n := withSlack(1)*groupSize + withSlack(len(g.Logs))*logSize + len(g.unknownFields)
	for _, tag := range g.LogTags {
		n += 2*tagSize + len(tag.GetKey()) + len(tag.GetValue()) + len(tag.unknownFields)
	}
	fields := 0
	for _, log := range g.Logs {
		fields += len(log.Contents)
		n += len(log.unknownFields)
		for _, c := range log.Contents {
			n += len(c.GetKey()) + len(c.GetValue()) + len(c.unknownFields)
		}
	}
	return n + withSlack(fields)*contentSize + fields*syntaxSize
}

// withSlack returns for how many elements a slab has room that holds n.
func withSlack(n int) int { return n + min(n, largestChunk) }

const (
	pointerSize = int(unsafe.Sizeof(uintptr(0)))
	// Most groups have a builder of their own, with at least a chunk in each slab.
	groupSize = int(unsafe.Sizeof(groupSlot{})) + pointerSize + int(unsafe.Sizeof(Builder{}))/2
	logSize   = int(unsafe.Sizeof(logSlot{})) + pointerSize
	tagSize   = int(unsafe.Sizeof(tagSlot{})) + pointerSize
	// A field is its slot, a pointer to it, and its key unless that is a declared one.
	contentSize = int(unsafe.Sizeof(contentSlot{})) + pointerSize + int(unsafe.Sizeof(""))
	syntaxSize  = len(`"":"",`)
)

func bytesOf(s string) []byte { return unsafe.Slice(unsafe.StringData(s), len(s)) }
