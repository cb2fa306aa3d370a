package engine

import (
	"log/slog"
	"sync"
	"time"
)

// letterLogPause is between two lines of the log about dead letters of a plugin for the same reason.
const letterLogPause = time.Minute

// letters tells people about dead letters: at once at the first, and how many there were once a minute. It is safe
// for concurrent use.
type letters struct {
	log *slog.Logger

	mu      sync.Mutex
	last    *LastDeadLetter
	reasons map[string]*letterCount
}

type letterCount struct {
	events int64 // since the last line of the log
	logged time.Time
}

// LastDeadLetter is why and when a plugin gave up an event most recently.
type LastDeadLetter struct {
	Time   time.Time `json:"time"`
	Reason string    `json:"reason"`
	Error  string    `json:"error"`
}

func newLetters(log *slog.Logger) *letters {
	return &letters{log: log, reasons: map[string]*letterCount{}}
}

func (l *letters) add(reason, cause string, events int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.last = &LastDeadLetter{Time: time.Now(), Reason: reason, Error: cause}
	c := l.reasons[reason]
	if c == nil {
		c = &letterCount{}
		l.reasons[reason] = c
	}
	c.events += events
	if time.Since(c.logged) < letterLogPause {
		return
	}
	l.log.Warn("events became dead letters", "events", c.events, "reason", reason, "error", cause)
	*c = letterCount{logged: time.Now()}
}

func (l *letters) status() *LastDeadLetter {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.last
}
