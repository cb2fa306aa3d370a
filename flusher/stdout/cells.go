package stdout

import (
	"fmt"
	"unicode"
	"unicode/utf8"
)

const noLimit = -1

// appendCells appends text so that it cannot do anything to a terminal, in at most limit cells: control and format
// characters are spelt out, line breaks and tabs become spaces, and what is cut off leaves a "…". It returns how many cells
// were used.
func appendCells(dst []byte, text string, limit int) ([]byte, int) {
	used, cut, cutUsed := 0, len(dst), 0
	for _, r := range text {
		var n int
		dst, n = appendHarmless(dst, r)
		if limit == noLimit {
			used += n
			continue
		}
		if used+n > limit {
			return append(dst[:cut], "…"...), cutUsed + 1
		}
		used += n
		if used < limit { // room for the "…" behind it
			cut, cutUsed = len(dst), used
		}
	}
	return dst, used
}

// appendHarmless appends r, or what stands for it, and returns how many cells that takes.
func appendHarmless(dst []byte, r rune) ([]byte, int) {
	switch {
	case r >= ' ' && r <= '~':
		return append(dst, byte(r)), 1
	case unicode.IsSpace(r):
		return append(dst, ' '), 1
	case !unicode.IsPrint(r):
		before := len(dst)
		if r < 0x100 {
			dst = fmt.Appendf(dst, `\x%02x`, r)
		} else {
			dst = fmt.Appendf(dst, `\u%04x`, r)
		}
		return dst, len(dst) - before
	}
	return utf8.AppendRune(dst, r), cellsOf(r)
}

// cellsOf returns how many cells a terminal gives to a printable rune.
func cellsOf(r rune) int {
	if unicode.In(r, unicode.Mn, unicode.Me) {
		return 0
	}
	for _, wide := range wideRanges {
		if r < wide.from {
			return 1
		}
		if r <= wide.to {
			return 2
		}
	}
	return 1
}

// wideRanges are the scripts and signs that take two cells: East Asian Width W and F, roughly.
var wideRanges = []struct{ from, to rune }{
	{0x1100, 0x115f}, {0x2e80, 0x303e}, {0x3041, 0xa4cf}, {0xa960, 0xa97c}, {0xac00, 0xd7a3}, {0xf900, 0xfaff},
	{0xfe30, 0xfe6f}, {0xff01, 0xff60}, {0xffe0, 0xffe6}, {0x16fe0, 0x18cff}, {0x1b000, 0x1b2ff}, {0x1f300, 0x1f64f},
	{0x1f680, 0x1f6ff}, {0x1f900, 0x1faff}, {0x20000, 0x3fffd},
}
