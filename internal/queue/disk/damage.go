package disk

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// damagedDir holds the bytes of what could not be read, one file for each place.
const damagedDir = "damaged"

// Damage is something in the queue's folder that cannot be read.
type Damage struct {
	File          string // in the folder
	Offset, Bytes int64  // in the file
	Events        int    // that it held, 0 when that is unknown
	Kept          string // the file to which the bytes were copied; empty when there was nothing to copy
	Err           error
}

func (d Damage) String() string {
	return fmt.Sprintf("%s: %d bytes from %d on, %d events: %v", d.File, d.Bytes, d.Offset, d.Events, d.Err)
}

// lostPositions is the damage that a queue with events and no cursors has.
func lostPositions() Damage {
	return Damage{File: storeName(0), Err: errors.New("the cursors' positions are lost: everything is delivered again")}
}

// lostEvents is the damage that the oldest segments are gone before the cursor, which stands at event, has settled them.
func lostEvents(cursor string, event, oldest uint64) Damage {
	return Damage{File: segmentName(event), Events: int(oldest - event), Err: fmt.Errorf("%w that %s has not settled", errMissing, cursor)}
}

type damageKey struct {
	segment uint64
	offset  int64
}

// damaged reports lost, once for all cursors, and keeps its bytes. f may be nil.
func (q *Queue) damaged(segment uint64, f io.ReaderAt, lost gap) {
	key := damageKey{segment, lost.offset}
	q.mu.Lock()
	known := q.damages[key]
	q.damages[key] = true
	q.mu.Unlock()
	if known {
		return
	}
	d := Damage{File: segmentName(segment), Offset: lost.offset, Bytes: lost.bytes, Events: int(lost.events), Err: lost.why}
	if f != nil && lost.bytes > 0 {
		d.Kept = keepAside(q.dir, d.File, io.NewSectionReader(f, lost.offset, lost.bytes), lost.offset)
	}
	q.options.Damaged(d)
}

// keepAside copies what cannot be read, as far as that is possible, and returns the copy's path. Zeros are not worth it: a file system
// leaves them where a crash came before the data.
func keepAside(dir, name string, from *io.SectionReader, offset int64) (path string) {
	if allZero(from) {
		return ""
	}
	if os.MkdirAll(filepath.Join(dir, damagedDir), 0o700) != nil {
		return ""
	}
	path = filepath.Join(dir, damagedDir, fmt.Sprintf("%s-%d", name, offset))
	to, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return ""
	}
	_, err = io.Copy(to, from)
	if closeErr := to.Close(); err != nil || closeErr != nil {
		_ = os.Remove(path)
		return ""
	}
	return path
}

// allZero leaves r at its beginning.
func allZero(r *io.SectionReader) bool {
	defer func() { _, _ = r.Seek(0, io.SeekStart) }()
	var block [4 << 10]byte
	for {
		n, err := r.Read(block[:])
		if len(bytes.Trim(block[:n], "\x00")) > 0 {
			return false
		}
		if err != nil {
			return true
		}
	}
}
