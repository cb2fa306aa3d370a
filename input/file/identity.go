package fileinput

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"strconv"

	"github.com/flinktail/flinktail/protocol/flink"
)

// fileID names a file on this machine, whatever its path is. Inodes are used again after a file was deleted, so a
// position also holds the file's head.
type fileID struct {
	Device uint64 `json:"device"`
	Inode  uint64 `json:"inode"`
}

// head is how a file begins: the hash of its first line, or of what there is of that, up to maxHead bytes.
type head struct {
	Length int    `json:"length"`
	Hash   string `json:"hash"`
}

const maxHead = 1024

// headOf returns the head of a file that begins with text.
func headOf(text []byte) head {
	text = text[:min(len(text), maxHead)]
	if end := bytes.IndexByte(text, '\n'); end >= 0 {
		text = text[:end+1]
	}
	sum := sha256.Sum256(text)
	return head{Length: len(text), Hash: hex.EncodeToString(sum[:8])}
}

// matches reports whether the file still begins with h.
func (h head) matches(file io.ReaderAt) bool {
	if h.Length == 0 {
		return true
	}
	text := make([]byte, h.Length)
	if _, err := file.ReadAt(text, 0); err != nil && !isEOF(err) {
		return false
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:8]) == h.Hash
}

// idBase returns what the ids of a file's events are made of, with the offset of each. It changes when a file is written anew
// under the same inode.
func idBase(id fileID, generation int, h head) string {
	return flink.EventID("file", strconv.FormatUint(id.Device, 10), strconv.FormatUint(id.Inode, 10), strconv.Itoa(generation), h.Hash)
}

// compressed reports whether a file begins as gzip or zstd does.
func compressed(text []byte) bool {
	return bytes.HasPrefix(text, []byte("\x1f\x8b")) || bytes.HasPrefix(text, []byte("\x28\xb5\x2f\xfd"))
}
