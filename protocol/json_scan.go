package protocol

import (
	"encoding/binary"
	"math/bits"
)

// The scanner checks JSON text (RFC 8259) and finds where values end. It is our own because
// json-iterator's Iterator tells neither a value's position nor hands out a key without allocating it.

// text is what a scan found out about the bytes it passed.
type text struct {
	escaped bool // there is a backslash
	high    bool // there may be a byte above 0x7f
	spaced  bool // there is white space between tokens
}

const (
	ones  = 0x0101010101010101
	highs = 0x8080808080808080
)

// scanString returns the index of the closing quote of the string whose first byte is p[i]. At a fault, the
// index of the fault and false.
func scanString(p []byte, i int, t *text) (int, bool) {
	var high uint64
	for {
		for i+8 <= len(p) {
			x := binary.LittleEndian.Uint64(p[i:])
			high |= x
			if stop := specials(x); stop != 0 {
				i += bits.TrailingZeros64(stop) / 8
				break
			}
			i += 8
		}
		if i >= len(p) {
			return i, false
		}
		switch c := p[i]; {
		case c == '"':
			t.high = t.high || high&highs != 0
			return i, true
		case c == '\\':
			t.escaped = true
			n := escapeLength(p[i:])
			if n == 0 {
				return i, false
			}
			i += n
		case c < 0x20:
			return i, false
		default:
			high |= uint64(c)
			i++
		}
	}
}

// scanPlain returns how many of p's first bytes can stand in a JSON string as they are, and whether one of them may be
// above 0x7f.
func scanPlain(p []byte) (end int, high bool) {
	var all uint64
	for len(p) >= 8 && end < len(p) {
		end = min(end, len(p)-8) // the last eight may overlap what was passed: that is plain
		x := binary.LittleEndian.Uint64(p[end:])
		all |= x
		if stop := specials(x); stop != 0 {
			return end + bits.TrailingZeros64(stop)/8, all&highs != 0
		}
		end += 8
	}
	for end < len(p) && p[end] >= 0x20 && p[end] != '"' && p[end] != '\\' {
		all |= uint64(p[end])
		end++
	}
	return end, all&highs != 0
}

// specials has the high bit set of the first byte of x that cannot stand in a JSON string as it is, and perhaps
// of some after it; it is 0 if there is none.
func specials(x uint64) uint64 {
	low, slash := x^ones*2, x^ones*'\\' // in low a quote comes right after the control characters
	return ((low-ones*0x21)&^low | (slash-ones)&^slash) & highs
}

// escapeLength returns the length of the escape sequence p starts with, 0 if it is none.
func escapeLength(p []byte) int {
	if len(p) < 2 {
		return 0
	}
	switch p[1] {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		return 2
	case 'u':
		if _, ok := hex4(p[2:]); ok {
			return 6
		}
	}
	return 0
}

// hex4 reads four hexadecimal digits.
func hex4(p []byte) (r rune, ok bool) {
	if len(p) < 4 {
		return 0, false
	}
	for _, c := range p[:4] {
		switch {
		case '0' <= c && c <= '9':
			c -= '0'
		case 'a' <= c && c <= 'f':
			c -= 'a' - 10
		case 'A' <= c && c <= 'F':
			c -= 'A' - 10
		default:
			return 0, false
		}
		r = r<<4 | rune(c)
	}
	return r, true
}

// scanNumber returns the index after the number that starts at p[i], and false when it is malformed.
func scanNumber(p []byte, i int) (int, bool) {
	if i < len(p) && p[i] == '-' {
		i++
	}
	start := i
	i = digits(p, i)
	if i == start || (p[start] == '0' && i > start+1) {
		return i, false
	}
	if i < len(p) && p[i] == '.' {
		fraction := i + 1
		if i = digits(p, fraction); i == fraction {
			return i, false
		}
	}
	if i < len(p) && (p[i] == 'e' || p[i] == 'E') {
		i++
		if i < len(p) && (p[i] == '+' || p[i] == '-') {
			i++
		}
		exponent := i
		if i = digits(p, exponent); i == exponent {
			return i, false
		}
	}
	return i, true
}

func isNumber(s string) bool {
	end, ok := scanNumber(bytesOf(s), 0)
	return ok && end == len(s)
}

func digits(p []byte, i int) int {
	for i < len(p) && p[i]-'0' <= 9 {
		i++
	}
	return i
}

// scanLiteral returns the index after true, false or null, and false for anything else.
func scanLiteral(p []byte, i int) (int, bool) {
	for _, literal := range [...]string{"true", "false", "null"} {
		if p[i] == literal[0] {
			if len(p)-i >= len(literal) && string(p[i:i+len(literal)]) == literal {
				return i + len(literal), true
			}
			break
		}
	}
	return i, false
}

func skipSpace(p []byte, i int) int {
	for i < len(p) && (p[i] == ' ' || p[i] == '\n' || p[i] == '\t' || p[i] == '\r') {
		i++
	}
	return i
}

// scanValue returns the index after the value that starts at p[i]. Arrays and objects may nest depth deep.
func scanValue(p []byte, i, depth int, t *text) (int, Reason) {
	if i >= len(p) {
		return i, ReasonMalformed
	}
	var ok bool
	switch c := p[i]; c {
	case '"':
		if i, ok = scanString(p, i+1, t); ok {
			i++
		}
	case '{', '[':
		return scanNested(p, i, depth, t)
	case 't', 'f', 'n':
		i, ok = scanLiteral(p, i)
	default:
		i, ok = scanNumber(p, i)
	}
	if !ok {
		return i, ReasonMalformed
	}
	return i, ""
}

func scanNested(p []byte, i, depth int, t *text) (int, Reason) {
	if depth == 0 {
		return i, ReasonTooDeep
	}
	end := p[i] + 2 // '}' is '{' + 2, ']' is '[' + 2
	object := end == '}'
	space := func(i int) int {
		j := skipSpace(p, i)
		t.spaced = t.spaced || j != i
		return j
	}
	if i = space(i + 1); i < len(p) && p[i] == end {
		return i + 1, ""
	}
	for {
		if object {
			var ok bool
			if i >= len(p) || p[i] != '"' {
				return i, ReasonMalformed
			}
			if i, ok = scanString(p, i+1, t); !ok {
				return i, ReasonMalformed
			}
			if i = space(i + 1); i >= len(p) || p[i] != ':' {
				return i, ReasonMalformed
			}
			i = space(i + 1)
		}
		var reason Reason
		if i, reason = scanValue(p, i, depth-1, t); reason != "" {
			return i, reason
		}
		if i = space(i); i >= len(p) {
			return i, ReasonMalformed
		}
		switch p[i] {
		case end:
			return i + 1, ""
		case ',':
			i = space(i + 1)
		default:
			return i, ReasonMalformed
		}
	}
}
