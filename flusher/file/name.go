package file

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/flinktail/flinktail/flusher/internal/appendfile"
	"github.com/flinktail/flinktail/protocol"
	"github.com/flinktail/flinktail/protocol/flink"
)

const (
	// maxElement bounds an element of a path: most file systems take 255 bytes, and rotation adds some.
	maxElement = 200
	// A field's value gets at most maxValue bytes of it, and must get minValue.
	maxValue = 100
	minValue = 24
)

// fileName is a parsed FileName: literal text and fields in turn.
type fileName struct {
	parts []namePart
}

type namePart struct {
	literal  string
	field    string // instead of literal
	maxBytes int    // of the field's value
}

// parseFileName reads a FileName such as "/data/%{cluster}/%{kind}.ndjson".
func parseFileName(text string) (*fileName, error) {
	if text == "" {
		return nil, errors.New("name the file to write to")
	}
	if strings.HasSuffix(text, "/") || strings.HasSuffix(text, string(filepath.Separator)) {
		return nil, fmt.Errorf("%q is a folder; add the name of a file", text)
	}
	n := &fileName{}
	for rest := text; rest != ""; {
		literal, after, found := strings.Cut(rest, "%{")
		if literal != "" {
			n.parts = append(n.parts, namePart{literal: literal})
		}
		if !found {
			break
		}
		field, after, closed := strings.Cut(after, "}")
		switch {
		case !closed:
			return nil, fmt.Errorf("%q has a %%{ without its }", text)
		case field == "":
			return nil, fmt.Errorf("%q has a %%{} without a field", text)
		case field == flink.FieldEventTime || field == flink.FieldEventID:
			return nil, fmt.Errorf("%%{%s} would make a file of every event", field)
		}
		n.parts = append(n.parts, namePart{field: field})
		rest = after
	}
	return n, n.limitValues()
}

// limitValues shares what each element of the path has room for between its fields.
func (n *fileName) limitValues() error {
	var fields []*namePart
	literal := 0
	endElement := func() error {
		for _, p := range fields {
			p.maxBytes = min((maxElement-literal)/len(fields), maxValue)
			if p.maxBytes < minValue {
				return fmt.Errorf("an element of the path has %d bytes of text and %d fields: there is no room for their values", literal, len(fields))
			}
		}
		fields = fields[:0]
		return nil
	}
	for i := range n.parts {
		p := &n.parts[i]
		if p.field != "" {
			fields = append(fields, p)
			continue
		}
		before, _, ends := strings.Cut(p.literal, "/")
		literal += len(before)
		if ends {
			if err := endElement(); err != nil {
				return err
			}
			literal = len(p.literal) - 1 - strings.LastIndexByte(p.literal, '/')
		}
	}
	return endElement()
}

// constant returns the path when it has no fields.
func (n *fileName) constant() (string, bool) {
	if len(n.parts) == 1 && n.parts[0].field == "" {
		return n.parts[0].literal, true
	}
	return "", false
}

// fixedPart returns the path, or as many of its first folders as have no fields.
func (n *fileName) fixedPart() string {
	if path, ok := n.constant(); ok {
		return path
	}
	return filepath.Dir(n.parts[0].literal + "x")
}

// append appends the path for an event. Nothing in the event can lead it out of the folders that FileName names, nor
// to the name of a rotated file.
func (n *fileName) append(dst []byte, g *protocol.LogGroup, log *protocol.Log) []byte {
	start := len(dst)
	for i := range n.parts {
		p := &n.parts[i]
		if p.field == "" {
			dst = append(dst, p.literal...)
		} else {
			dst = appendSafe(dst, g.Field(log, p.field), p.maxBytes)
		}
	}
	if last := dst[len(dst)-1]; last == 'Z' || last == 'z' || last == 'p' {
		if n.parts[len(n.parts)-1].field != "" && appendfile.IsRotated(string(dst[start:])) {
			dst = append(dst, '_')
		}
	}
	return dst
}

// appendSafe appends value as a part of a file name, with at most limit bytes: letters and digits of any script
// and a few signs stay, the rest becomes "_", as do a leading dot and an empty value. A value that is too long
// ends in a hash instead.
func appendSafe(dst []byte, value string, limit int) []byte {
	const hashLen = len("-01234567")
	start, cut := len(dst), len(dst)
	for i, r := range value {
		if !isSafe(r) || i == 0 && r == '.' {
			r = '_'
		}
		if len(dst)-start <= limit-hashLen {
			cut = len(dst)
		}
		dst = utf8.AppendRune(dst, r)
		if len(dst)-start > limit {
			return fmt.Appendf(dst[:cut], "-%08x", fnv32(value))
		}
	}
	if len(dst) == start {
		dst = append(dst, '_')
	}
	return dst
}

func isSafe(r rune) bool {
	switch {
	case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9':
		return true
	case r < utf8.RuneSelf:
		return strings.IndexByte("-_.=+@,", byte(r)) >= 0
	}
	return r != utf8.RuneError && (unicode.IsLetter(r) || unicode.IsDigit(r))
}

func fnv32(s string) uint32 {
	h := uint32(2166136261)
	for i := range len(s) {
		h = (h ^ uint32(s[i])) * 16777619
	}
	return h
}

// glob returns the pattern of filepath.Match for every path there can be.
func (n *fileName) glob() string {
	var b strings.Builder
	for _, p := range n.parts {
		if p.field != "" {
			b.WriteByte('*')
			continue
		}
		for i := range len(p.literal) {
			if c := p.literal[i]; strings.IndexByte(`*?[\`, c) >= 0 && os.PathSeparator != '\\' {
				b.WriteByte('\\')
			}
			b.WriteByte(p.literal[i])
		}
	}
	return b.String()
}
