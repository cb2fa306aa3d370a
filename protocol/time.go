package protocol

import (
	"math"
	"time"
)

// AppendTime appends a log's time as RFC 3339 in UTC, to the millisecond or, if it has more, to the nanosecond.
func AppendTime(dst []byte, seconds, nanos uint32) []byte {
	at := time.Unix(int64(seconds), int64(nanos)).UTC() // a peer's nanos may be more than a second
	dst = at.AppendFormat(dst, time.RFC3339)
	dst[len(dst)-1] = '.' // was the Z
	digits, n := 9, at.Nanosecond()
	if n%1e6 == 0 {
		digits, n = 3, n/1e6
	}
	dst = append(dst, "000000000"[:digits]...)
	for i := len(dst) - 1; n > 0; i-- {
		dst[i] = byte('0' + n%10)
		n /= 10
	}
	return append(dst, 'Z')
}

// parseTime reads an RFC 3339 time. The seconds count from 1970 and may be negative; what is finer than a
// nanosecond is cut off. A leap second is the first second of the day that follows, as in Unix time.
func parseTime(p []byte) (seconds int64, nanos uint32, ok bool) {
	const shape = "2006-01-02T15:04:05"
	if len(p) <= len(shape) || p[4] != '-' || p[7] != '-' || p[10]|0x20 != 't' || p[13] != ':' || p[16] != ':' {
		return 0, 0, false
	}
	year, month, day := number(p[:4]), number(p[5:7]), number(p[8:10])
	hour, minute, second := number(p[11:13]), number(p[14:16]), number(p[17:19])
	if uint(year) > 9999 || uint(month-1) > 11 || uint(hour) > 23 || uint(minute) > 59 || uint(second) > 60 {
		return 0, 0, false
	}
	at := time.Date(year, time.Month(month), day, hour, minute, min(second, 59), 0, time.UTC)
	if at.Day() != day { // the month is not that long
		return 0, 0, false
	}
	nanos, p, ok = fraction(p[len(shape):])
	if !ok {
		return 0, 0, false
	}
	offset, ok := zone(p)
	seconds = at.Unix() - int64(offset)
	if second == 60 {
		seconds++
		ok = ok && seconds%(24*60*60) == 0
	}
	return seconds, nanos, ok
}

// fraction reads an optional fraction of a second and returns what follows it.
func fraction(p []byte) (nanos uint32, rest []byte, ok bool) {
	if len(p) == 0 || p[0] != '.' {
		return 0, p, true
	}
	end := digits(p, 1)
	unit := uint32(1e8)
	for _, c := range p[1:end] {
		nanos += uint32(c-'0') * unit
		unit /= 10
	}
	return nanos, p[end:], end > 1
}

// zone reads Z or an offset from UTC, in seconds.
func zone(p []byte) (offset int, ok bool) {
	if len(p) == 1 {
		return 0, p[0]|0x20 == 'z'
	}
	if len(p) != len("+00:00") || p[3] != ':' {
		return 0, false
	}
	hours, minutes := number(p[1:3]), number(p[4:6])
	offset = (hours*60 + minutes) * 60
	if p[0] == '-' {
		offset = -offset
	}
	return offset, (p[0] == '-' || p[0] == '+') && uint(hours) <= 23 && uint(minutes) <= 59
}

// number reads decimal digits; anything else makes it more than any part of a time.
func number(p []byte) (n int) {
	for _, c := range p {
		if c-'0' > 9 {
			return math.MaxInt32
		}
		n = 10*n + int(c-'0')
	}
	return n
}
