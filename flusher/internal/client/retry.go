package client

import (
	"net/http"
	"strconv"
	"time"
)

// maxRetryAfter bounds what a server may ask for: a wrong date must not silence us for a day.
const maxRetryAfter = 5 * time.Minute

// RetryAfter returns the pause that an HTTP answer asks for in its Retry-After, at most five minutes; 0 when it asks for none. The
// header holds seconds or a date (RFC 9110, section 10.2.3).
func RetryAfter(h http.Header, now time.Time) time.Duration {
	text := h.Get("Retry-After")
	if seconds, err := strconv.ParseUint(text, 10, 32); err == nil {
		return min(time.Duration(seconds)*time.Second, maxRetryAfter)
	}
	if at, err := http.ParseTime(text); err == nil {
		return min(max(at.Sub(now), 0), maxRetryAfter)
	}
	return 0
}
