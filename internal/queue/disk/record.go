package disk

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"strconv"
	"strings"
	"time"
)

// A segment is its header and then records, one for each Append. All numbers are little endian.
//
// Everything has its place by the events' indexes: the first event ever appended is 0. A record says the index of its first event, and
// a segment is named after its first event. So what is missing is known exactly whatever was damaged, and no file has to be read to tell
// how much is queued. A segment holds the events before the next one's first; bytes that follow these do not count.
const (
	segmentMagic  = "ftqueue\n"
	segmentSuffix = ".segment"
	// formatVersion stands at the same place in every version, and so does the header's checksum.
	formatVersion     = 1
	segmentHeaderSize = 32

	recordMarker     = "\xf7ft\x1e" // a reader that lost its way looks for it
	recordHeaderSize = 36
	maxPayload       = 1 << 30 // bytes
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// recordHeader stands before each payload: the marker, these fields, and a sum of all that and of the place where it stands, so that
// only a header that was written to that place counts.
type recordHeader struct {
	length   int    // of the payload, bytes
	events   uint32 // in the payload
	sum      uint32 // CRC-32C of the payload
	first    uint64 // index of its first event
	appended int64  // Unix milliseconds
}

func (h recordHeader) after() uint64 { return h.first + uint64(h.events) }
func (h recordHeader) size() int64   { return recordHeaderSize + int64(h.length) }

// append appends the header to dst; it stands at offset in its segment.
func (h recordHeader) append(dst []byte, offset int64) []byte {
	start := len(dst)
	dst = append(dst, recordMarker...)
	dst = binary.LittleEndian.AppendUint32(dst, uint32(h.length))
	dst = binary.LittleEndian.AppendUint32(dst, h.events)
	dst = binary.LittleEndian.AppendUint32(dst, h.sum)
	dst = binary.LittleEndian.AppendUint64(dst, h.first)
	dst = binary.LittleEndian.AppendUint64(dst, uint64(h.appended))
	return binary.LittleEndian.AppendUint32(dst, headerSum(dst[start:], offset))
}

// parseRecordHeader reads the header that starts src, which has at least recordHeaderSize bytes and stands at offset.
func parseRecordHeader(src []byte, offset int64) (h recordHeader, ok bool) {
	if string(src[:4]) != recordMarker || binary.LittleEndian.Uint32(src[32:]) != headerSum(src, offset) {
		return h, false
	}
	h = recordHeader{
		length:   int(binary.LittleEndian.Uint32(src[4:])),
		events:   binary.LittleEndian.Uint32(src[8:]),
		sum:      binary.LittleEndian.Uint32(src[12:]),
		first:    binary.LittleEndian.Uint64(src[16:]),
		appended: int64(binary.LittleEndian.Uint64(src[24:])),
	}
	return h, h.length <= maxPayload && h.events > 0 && h.after() > h.first
}

func headerSum(header []byte, offset int64) uint32 {
	var place [8]byte
	binary.LittleEndian.PutUint64(place[:], uint64(offset))
	return crc32.Update(checksum(header[:32]), castagnoli, place[:])
}

func checksum(data []byte) uint32 { return crc32.Checksum(data, castagnoli) }

// findRecord returns the first place in window, which stands at offset, where a record header lies; -1 without one.
func findRecord(window []byte, offset int64) int {
	for at := 0; ; at++ {
		i := bytes.Index(window[at:], []byte(recordMarker))
		if i < 0 || at+i+recordHeaderSize > len(window) {
			return -1
		}
		at += i
		if _, ok := parseRecordHeader(window[at:], offset+int64(at)); ok {
			return at
		}
	}
}

// segmentHeader returns magic, version, first event and creation time, and their sum.
func segmentHeader(dst []byte, first uint64, now time.Time) []byte {
	start := len(dst)
	dst = append(dst, segmentMagic...)
	dst = binary.LittleEndian.AppendUint32(dst, formatVersion)
	dst = binary.LittleEndian.AppendUint64(dst, first)
	dst = binary.LittleEndian.AppendUint64(dst, uint64(now.UnixMilli()))
	return binary.LittleEndian.AppendUint32(dst, checksum(dst[start:]))
}

// parseSegmentHeader returns the version of the format that the header was written in, and when.
func parseSegmentHeader(h []byte) (version uint32, created time.Time, ok bool) {
	if len(h) < segmentHeaderSize || string(h[:8]) != segmentMagic || binary.LittleEndian.Uint32(h[28:]) != checksum(h[:28]) {
		return 0, time.Time{}, false
	}
	return binary.LittleEndian.Uint32(h[8:]), time.UnixMilli(int64(binary.LittleEndian.Uint64(h[20:]))), true
}

func segmentName(first uint64) string { return fmt.Sprintf("%020d%s", first, segmentSuffix) }

// parseSegmentName returns the index of a segment's first event.
func parseSegmentName(name string) (first uint64, ok bool) {
	digits, ok := strings.CutSuffix(name, segmentSuffix)
	first, err := strconv.ParseUint(digits, 10, 64)
	return first, ok && err == nil && segmentName(first) == name
}
