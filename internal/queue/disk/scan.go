package disk

import (
	"errors"
	"io"
	"math"
)

const (
	chunkBytes = 256 << 10 // read at once, unless a record is larger
	pageBytes  = 4 << 10   // what a disk loses at once
	unknown    = math.MaxUint64
)

// Why something in a segment cannot be read.
var (
	errSegmentHeader = errors.New("the header of the segment is damaged; its events do not depend on it")

	errHeader    = errors.New("no record where one should begin")
	errPayload   = errors.New("the record does not match its checksum")
	errDecode    = errors.New("the record does not hold the events that it should")
	errMissing   = errors.New("events are missing")
	errTruncated = errors.New("the segment ends within a record")
)

// span is what of a segment counts: the events from first to before last, within the bytes before end.
type span struct {
	first, last uint64 // last may be unknown
	end         int64
}

// record is a record as it lies in a segment.
type record struct {
	recordHeader
	payload []byte // a view into the scanner's buffer
}

// gap is what a scanner skipped.
type gap struct {
	offset, bytes int64
	events        uint64 // as far as known
	why           error
}

// A scanner reads the records of a segment from the event on that it stands at, and tells what it had to skip. span.last and span.end
// may grow meanwhile.
type scanner struct {
	file   io.ReaderAt
	span   span
	event  uint64 // the next one
	offset int64  // of the next record

	buf      *buffer // holds the segment's bytes from start on; a payload is valid as long as somebody holds it
	start    int64
	patient  bool // unreadable pages are read as zeros
	headonly bool // payloads are neither read nor checked
}

// reset moves s to the start of a segment, to read it from event on.
func (s *scanner) reset(f io.ReaderAt, seg span, event uint64) {
	s.buf.release()
	*s = scanner{file: f, span: seg, event: event, offset: segmentHeaderSize}
}

// next returns the next record, or what was skipped to get on; neither at the end. After an error from the file it may be called again.
func (s *scanner) next() (*record, *gap, error) {
	for s.event < s.span.last {
		left := s.span.end - s.offset
		if left <= 0 {
			break
		}
		why := errTruncated
		if left >= recordHeaderSize {
			head, err := s.peek(s.offset, recordHeaderSize)
			if err != nil {
				return nil, nil, err
			}
			h, ok := recordHeader{}, false
			if len(head) == recordHeaderSize {
				h, ok = parseRecordHeader(head, s.offset)
			}
			if ok && h.size() <= left {
				if h.after() <= s.event {
					s.offset += h.size()
					continue
				}
				return s.take(h)
			}
			if !ok {
				why = errHeader
			}
		}
		g, err := s.resync(why)
		return nil, g, err
	}
	if s.event >= s.span.last || s.span.last == unknown {
		return nil, nil, nil
	}
	missing := s.end()
	return nil, &missing, nil
}

// end moves to the end, over all that is missing.
func (s *scanner) end() gap {
	missing := gap{s.offset, max(s.span.end-s.offset, 0), s.span.last - s.event, errMissing}
	s.event, s.offset = s.span.last, s.span.end
	return missing
}

// take returns the record that begins here.
func (s *scanner) take(h recordHeader) (*record, *gap, error) {
	if h.first > s.event {
		event := min(h.first, s.span.last) // what is from last on was written again to the next segment, and counts there
		missing := &gap{s.offset, 0, event - s.event, errMissing}
		s.event = event
		return nil, missing, nil
	}
	r := &record{recordHeader: h}
	if !s.headonly {
		data, err := s.peek(s.offset, h.size())
		if err != nil {
			return nil, nil, err
		}
		if int64(len(data)) < h.size() {
			g, err := s.resync(errTruncated)
			return nil, g, err
		}
		r.payload = data[recordHeaderSize:]
		if checksum(r.payload) != h.sum {
			bad := &gap{s.offset, h.size(), h.after() - s.event, errPayload}
			s.event, s.offset = h.after(), s.offset+h.size()
			return nil, bad, nil
		}
	}
	s.event, s.offset = h.after(), s.offset+h.size()
	return r, nil, nil
}

// resync moves to the next record that can be one, or the end.
func (s *scanner) resync(why error) (*gap, error) {
	g := &gap{offset: s.offset, why: why}
	next, event := s.span.end, s.span.last
	for at := s.offset + 1; at+recordHeaderSize <= s.span.end; {
		window, err := s.peek(at, min(chunkBytes, s.span.end-at))
		if err != nil {
			return nil, err
		}
		i := findRecord(window, at)
		if i < 0 {
			if len(window) < recordHeaderSize {
				break // the file is shorter than it was
			}
			at += int64(len(window) - recordHeaderSize + 1)
			continue
		}
		at += int64(i)
		if h, _ := parseRecordHeader(window[i:], at); h.first >= s.span.first && at+h.size() <= s.span.end {
			next, event = at, min(max(h.first, s.event), s.span.last)
			break
		}
		at++
	}
	g.bytes = next - s.offset
	s.offset = next
	if event != unknown {
		g.events = event - s.event
		s.event = event
	}
	return g, nil
}

// peek returns n bytes from offset on, fewer where the file ends.
func (s *scanner) peek(offset, n int64) ([]byte, error) {
	if at := offset - s.start; s.buf != nil && at >= 0 && at+n <= int64(len(s.buf.data)) {
		return s.buf.data[at : at+n : at+n], nil
	}
	s.buf.release() // it may be in use still
	s.buf = nil
	buf := newBuffer(int(min(max(n, chunkBytes), s.span.end-offset)))
	got, err := s.read(buf.data[:min(int64(len(buf.data)), s.span.end-offset)], offset)
	if err != nil {
		buf.release()
		return nil, err
	}
	buf.data = buf.data[:got]
	s.buf, s.start = buf, offset
	return buf.data[:min(n, int64(got)):min(n, int64(got))], nil
}

func (s *scanner) read(p []byte, offset int64) (int, error) {
	n, err := s.file.ReadAt(p, offset)
	if err == nil || err == io.EOF {
		return n, nil
	}
	if !s.patient {
		return 0, err
	}
	for n = 0; n < len(p); {
		page := p[n:min(len(p), n+pageBytes-int((offset+int64(n))%pageBytes))]
		got, err := s.file.ReadAt(page, offset+int64(n))
		if err == io.EOF {
			return n + got, nil
		}
		clear(page[got:]) // nothing that is zero passes for a record
		n += len(page)
	}
	return n, nil
}
