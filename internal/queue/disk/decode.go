package disk

import (
	"encoding/binary"
	"unsafe"

	"github.com/flinktail/flinktail/protocol"
)

// decode reads what [protocol.AppendGroupList] wrote into b's slabs: it allocates nothing, and every text is a view into payload. It
// returns false on anything that AppendGroupList does not write; b is of no use then.
func decode(b *protocol.Builder, payload []byte) bool {
	return fields(payload, func(f field) bool { return f.number == 1 && f.kind == kindBytes && decodeGroup(b, f.bytes) })
}

func decodeGroup(b *protocol.Builder, data []byte) bool {
	g := b.BeginGroup("", "")
	texts := [...]*string{2: g.Category, 3: g.Topic, 4: g.Source, 5: g.MachineUUID}
	return fields(data, func(f field) bool {
		if f.kind != kindBytes {
			return false
		}
		switch f.number {
		case 1:
			return decodeLog(b, f.bytes)
		case 2, 3, 4, 5:
			*texts[f.number] = view(f.bytes)
			return true
		case 6:
			return decodeTag(b, f.bytes)
		}
		return false
	})
}

func decodeLog(b *protocol.Builder, data []byte) bool {
	b.BeginLog(0, 0)
	var seconds, nanos uint32
	var hasSeconds, hasNanos bool
	ok := fields(data, func(f field) bool {
		switch {
		case f.number == 1 && f.kind == kindVarint:
			seconds, hasSeconds = uint32(f.value), true
		case f.number == 2 && f.kind == kindBytes:
			return decodeContent(b, f.bytes)
		case f.number == 4 && f.kind == kindFixed32:
			nanos, hasNanos = uint32(f.value), true
		default:
			return false
		}
		return true
	})
	b.SetTime(seconds, nanos)
	if log := b.EndLog(); !hasNanos {
		log.TimeNs = nil
	}
	return ok && hasSeconds
}

func decodeContent(b *protocol.Builder, data []byte) bool {
	var key, value []byte
	kind := int64(-1)
	ok := fields(data, func(f field) bool {
		switch {
		case f.number == 1 && f.kind == kindBytes:
			key = f.bytes
		case f.number == 2 && f.kind == kindBytes:
			value = f.bytes
		case f.number == 100 && f.kind == kindVarint && f.value <= uint64(protocol.ValueType_JSON):
			kind = int64(f.value)
		default:
			return false
		}
		return true
	})
	switch {
	case !ok || key == nil || value == nil:
		return false
	case kind >= 0:
		b.AddTyped(view(key), view(value), protocol.ValueType(kind))
	default:
		b.Add(view(key), view(value))
	}
	return true
}

func decodeTag(b *protocol.Builder, data []byte) bool {
	var key, value []byte
	ok := fields(data, func(f field) bool {
		switch {
		case f.number == 1 && f.kind == kindBytes:
			key = f.bytes
		case f.number == 2 && f.kind == kindBytes:
			value = f.bytes
		default:
			return false
		}
		return true
	})
	if !ok || key == nil || value == nil {
		return false
	}
	b.AddTag(view(key), view(value))
	return true
}

// Wire types of protobuf.
const (
	kindVarint  = 0
	kindBytes   = 2
	kindFixed32 = 5
)

type field struct {
	number int
	kind   int
	value  uint64
	bytes  []byte // not nil for kindBytes
}

// fields calls each for the fields of a message until it returns false. It returns false then, and where data is no message.
func fields(data []byte, each func(field) bool) bool {
	for len(data) > 0 {
		key, n := binary.Uvarint(data)
		if n <= 0 || key>>3 > 1<<29 {
			return false
		}
		data = data[n:]
		f := field{number: int(key >> 3), kind: int(key & 7)}
		switch f.kind {
		case kindVarint:
			if f.value, n = binary.Uvarint(data); n <= 0 {
				return false
			}
		case kindFixed32:
			if n = 4; len(data) < n {
				return false
			}
			f.value = uint64(binary.LittleEndian.Uint32(data))
		case kindBytes:
			length, m := binary.Uvarint(data)
			if m <= 0 || length > uint64(len(data)-m) {
				return false
			}
			n = m + int(length)
			f.bytes = data[m:n:n]
		default:
			return false
		}
		if !each(f) {
			return false
		}
		data = data[n:]
	}
	return true
}

func view(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }
