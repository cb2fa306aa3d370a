package httpflusher

import (
	"bytes"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/flinktail/flinktail/pipeline"
)

// tokenFile is a bearer token in a file that somebody else may replace. It is safe for concurrent use.
type tokenFile struct {
	path string

	mu    sync.Mutex
	token string
	err   error
	read  time.Time
}

// checkEvery bounds how often the file is read.
const checkEvery = time.Second

// readToken returns the token of BearerTokenFile, nil without one.
func (f *Flusher) readToken() (*tokenFile, error) {
	if f.Authentication.BearerTokenFile == "" {
		return nil, nil
	}
	t := &tokenFile{path: f.Authentication.BearerTokenFile}
	if _, err := t.current(); err != nil {
		return nil, &pipeline.OptionError{Option: "Authentication.BearerTokenFile", Err: err}
	}
	return t, nil
}

// current returns what the file holds now, or did a second ago.
func (t *tokenFile) current() (string, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if now := time.Now(); now.Sub(t.read) >= checkEvery {
		t.token, t.err = readTokenFile(t.path)
		t.read = now
	}
	return t.token, t.err
}

func readTokenFile(path string) (string, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return "", fmt.Errorf("read bearer token: %w", err)
	}
	token := string(bytes.TrimSpace(text))
	if token == "" || strings.ContainsFunc(token, isControl) {
		return "", fmt.Errorf("read bearer token: %s does not hold one token", path)
	}
	return token, nil
}
