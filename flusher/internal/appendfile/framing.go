package appendfile

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"io"
	"os"
)

// Framing is how records follow each other in a file.
type Framing int

// The framings.
const (
	// Lines are JSON objects, each ended by a line feed.
	Lines Framing = iota
	// Messages are protobuf log groups, each behind its length as an unsigned varint.
	Messages
)

// intact is what repair found: how much of the file it left, or that the file holds something else.
type intact struct {
	size    int64
	foreign bool
}

// repair makes the end of f, which has size bytes, a place to append at. What a crash tore was never
// acknowledged, so it is cut off; anything else is kept.
func (k Framing) repair(f *os.File, size int64) (intact, error) {
	if k == Messages {
		return repairMessages(f, size)
	}
	return repairLines(f, size)
}

// ownLine is how every line begins that the JSON encoder writes.
var ownLine = []byte(`{"event_time":"`)

// maxTornLine bounds what is read to tell a torn line from a whole one.
const maxTornLine = 64 << 20

func repairLines(f *os.File, size int64) (intact, error) {
	start, err := lastLine(f, size)
	if err != nil || start == size {
		return intact{size: size}, err
	}
	if size-start <= maxTornLine {
		tail := make([]byte, size-start)
		if _, err := f.ReadAt(tail, start); err != nil {
			return intact{}, err
		}
		// A crash of the machine may leave zeros where data was to come.
		written := bytes.TrimRight(tail, "\x00")
		torn := bytes.HasPrefix(written, ownLine) || bytes.HasPrefix(ownLine, written)
		if torn && !json.Valid(tail) {
			return intact{size: start}, f.Truncate(start)
		}
	}
	_, err = f.Write([]byte{'\n'})
	return intact{size: size + 1}, err
}

// lastLine returns where the text behind the last line feed begins.
func lastLine(f *os.File, size int64) (int64, error) {
	block := make([]byte, 64<<10)
	for end := size; end > 0; {
		n := min(int64(len(block)), end)
		if _, err := f.ReadAt(block[:n], end-n); err != nil {
			return 0, err
		}
		if i := bytes.LastIndexByte(block[:n], '\n'); i >= 0 {
			return end - n + int64(i) + 1, nil
		}
		end -= n
	}
	return 0, nil
}

func repairMessages(f *os.File, size int64) (intact, error) {
	r := bufio.NewReaderSize(io.NewSectionReader(f, 0, size), 256<<10)
	for at := int64(0); at < size; {
		length, err := binary.ReadUvarint(r)
		if errors.Is(err, io.ErrUnexpectedEOF) {
			return intact{size: at}, f.Truncate(at)
		}
		first, peekErr := r.Peek(1)
		switch {
		case err == nil && errors.Is(peekErr, io.EOF):
			return intact{size: at}, f.Truncate(at)
		case length == 0 && err == nil && onlyZeros(r):
			return intact{size: at}, f.Truncate(at)
		case err != nil || peekErr != nil || length == 0 || first[0] != fieldLogs && first[0] != fieldCategory:
			return intact{foreign: true}, nil
		}
		next := at + int64(uvarintLen(length)) + int64(length)
		if length > uint64(size) || next > size {
			return intact{size: at}, f.Truncate(at)
		}
		if _, err := r.Discard(int(length)); err != nil {
			return intact{}, err
		}
		at = next
	}
	return intact{size: size}, nil
}

// A log group begins with its logs or, without any, with its category: field number << 3 | 2.
const (
	fieldLogs     = 1<<3 | 2
	fieldCategory = 2<<3 | 2
)

func onlyZeros(r *bufio.Reader) bool {
	for {
		c, err := r.ReadByte()
		if err != nil {
			return err == io.EOF
		}
		if c != 0 {
			return false
		}
	}
}

func uvarintLen(n uint64) int {
	var buf [binary.MaxVarintLen64]byte
	return binary.PutUvarint(buf[:], n)
}
