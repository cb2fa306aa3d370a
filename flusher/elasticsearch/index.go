package elasticsearch

import (
	"fmt"
	"hash/fnv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/flinktail/flinktail/flusher/internal/pattern"
	"github.com/flinktail/flinktail/protocol"
)

// Limits of index names, in bytes. Elasticsearch's is 255; a data stream's indices have a date and a number around its name.
const (
	maxIndex        = 200
	maxIndexLiteral = 150
)

// appendIndex appends the name of the event's index. Whatever the event holds, it is a name that Elasticsearch allows and
// that JSON needs no escaping for, provided that checkIndex liked the pattern.
func appendIndex(dst []byte, p *pattern.Pattern, g *protocol.LogGroup, log *protocol.Log) []byte {
	start := len(dst)
	dst = p.AppendFunc(dst, g, log, appendIndexValue)
	name := dst[start:]
	if len(name) <= maxIndex {
		return dst
	}
	hash := fnv.New32a()
	_, _ = hash.Write(name)
	cut := maxIndex - len("-01234567")
	for !utf8.RuneStart(name[cut]) {
		cut--
	}
	return fmt.Appendf(dst[:start+cut], "-%08x", hash.Sum32())
}

// appendIndexValue appends a value in lower case, with "_" for what an index name must not contain.
func appendIndexValue(dst []byte, value string) []byte {
	for _, r := range value {
		switch {
		case r >= 'A' && r <= 'Z':
			r += 'a' - 'A'
		case r >= utf8.RuneSelf:
			r = unicode.ToLower(r)
		}
		if !isIndexRune(r) {
			r = '_'
		}
		dst = utf8.AppendRune(dst, r)
	}
	return dst
}

// isIndexRune tells whether an index name may contain r: Elasticsearch allows some signs more, which are special elsewhere in it.
func isIndexRune(r rune) bool {
	switch {
	case r >= 'a' && r <= 'z', r >= '0' && r <= '9':
		return true
	case r < utf8.RuneSelf:
		return strings.ContainsRune("-_.+=@", r)
	}
	return r != utf8.RuneError && (unicode.IsLetter(r) || unicode.IsDigit(r)) && unicode.ToLower(r) == r
}

func isLetterOrDigit(c byte) bool { return c >= 'a' && c <= 'z' || c >= '0' && c <= '9' }
