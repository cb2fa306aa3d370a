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
	"github.com/flinktail/flinktail/flusher/internal/pattern"
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

// fileName is a parsed FileName.
type fileName struct {
	parts []namePart
}

type namePart struct {
	pattern.Part
	maxBytes int // of the field's value
}

// parseFileName reads a FileName such as "/data/%{cluster}/%{kind}-%{+yyyy-MM-dd}.ndjson".
func parseFileName(text string) (*fileName, error) {
	if text == "" {
		return nil, errors.New("name the file to write to")
	}
	if strings.HasSuffix(text, "/") || strings.HasSuffix(text, string(filepath.Separator)) {
		return nil, fmt.Errorf("%q is a folder; add the name of a file", text)
	}
	p, err := pattern.Parse(text)
	if err != nil {
		return nil, err
	}
	n := &fileName{}
	for _, part := range p.Parts() {
		if part.Field == flink.FieldEventID {
			return nil, fmt.Errorf("%%{%s} would make a file of every event", part.Field)
		}
		n.parts = append(n.parts, namePart{Part: part})
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
		if p.Field != "" {
			fields = append(fields, p)
			continue
		}
		text := p.Literal + p.Layout
		before, _, ends := strings.Cut(text, "/")
		literal += len(before)
		if ends {
			if err := endElement(); err != nil {
				return err
			}
			literal = len(text) - 1 - strings.LastIndexByte(text, '/')
		}
	}
	return endElement()
}

// constant returns the path when it has no fields.
func (n *fileName) constant() (string, bool) {
	if len(n.parts) == 1 && n.parts[0].Literal != "" {
		return n.parts[0].Literal, true
	}
	return "", false
}

// fixedPart returns the path, or as many of its first folders as have no fields.
func (n *fileName) fixedPart() string {
	if path, ok := n.constant(); ok {
		return path
	}
	return filepath.Dir(n.parts[0].Literal + "x")
}

// append appends the path for an event. Nothing in the event can lead it out of the folders that FileName names, nor
// to the name of a rotated file.
func (n *fileName) append(dst []byte, g *protocol.LogGroup, log *protocol.Log) []byte {
	start := len(dst)
	for i := range n.parts {
		switch p := &n.parts[i]; {
		case p.Field != "":
			dst = appendSafe(dst, g.Field(log, p.Field), p.maxBytes)
		case p.Layout != "":
			dst = log.At().UTC().AppendFormat(dst, p.Layout)
		default:
			dst = append(dst, p.Literal...)
		}
	}
	if last := dst[len(dst)-1]; last == 'Z' || last == 'z' || last == 'p' {
		if n.parts[len(n.parts)-1].Field != "" && appendfile.IsRotated(string(dst[start:])) {
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
		if p.Literal == "" {
			b.WriteByte('*')
			continue
		}
		for i := range len(p.Literal) {
			if c := p.Literal[i]; strings.IndexByte(`*?[\`, c) >= 0 && os.PathSeparator != '\\' {
				b.WriteByte('\\')
			}
			b.WriteByte(p.Literal[i])
		}
	}
	return b.String()
}
