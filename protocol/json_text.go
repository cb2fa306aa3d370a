package protocol

import (
	"bytes"
	"encoding/json"
	"unicode/utf16"
	"unicode/utf8"
)

// unescape replaces the escape sequences of a checked JSON string in place: each is longer than what it
// stands for. Lone surrogates become U+FFFD.
func unescape(p []byte) []byte {
	w := bytes.IndexByte(p, '\\')
	if w < 0 {
		return p
	}
	for r := w; r < len(p); {
		if p[r] != '\\' {
			next := bytes.IndexByte(p[r:], '\\')
			if next < 0 {
				next = len(p) - r
			}
			w += copy(p[w:], p[r:r+next])
			r += next
			continue
		}
		switch c := p[r+1]; c {
		case 'b':
			p[w] = '\b'
		case 'f':
			p[w] = '\f'
		case 'n':
			p[w] = '\n'
		case 'r':
			p[w] = '\r'
		case 't':
			p[w] = '\t'
		case 'u':
			first, _ := hex4(p[r+2:])
			r += 6
			if utf16.IsSurrogate(first) {
				first, r = surrogate(p, first, r)
			}
			w += utf8.EncodeRune(p[w:w+utf8.UTFMax], first)
			continue
		default:
			p[w] = c
		}
		w++
		r += 2
	}
	return p[:w]
}

// surrogate joins first with the escape at p[r] if the two are a pair.
func surrogate(p []byte, first rune, r int) (rune, int) {
	if len(p)-r >= 6 && p[r] == '\\' && p[r+1] == 'u' {
		second, _ := hex4(p[r+2:])
		if joined := utf16.DecodeRune(first, second); joined != utf8.RuneError {
			return joined, r + 6
		}
	}
	return utf8.RuneError, r
}

// repair returns p with every byte that is not UTF-8 replaced by U+FFFD; p itself when there is none.
func repair(p []byte) []byte {
	if utf8.Valid(p) {
		return p
	}
	out := make([]byte, 0, len(p)+16)
	for len(p) > 0 {
		r, n := utf8.DecodeRune(p)
		out = utf8.AppendRune(out, r)
		p = p[n:]
	}
	return out
}

// compact returns checked JSON text without the white space between its tokens.
func compact(p []byte) []byte {
	var out bytes.Buffer
	if err := json.Compact(&out, p); err != nil {
		return p // cannot be: the text is checked
	}
	return out.Bytes()
}
