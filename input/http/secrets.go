package httpinput

import (
	"bytes"
	"crypto/sha256"
	"crypto/subtle"
	"crypto/tls"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"time"
)

// reloader keeps a value that is read from files, and reads it again when one of them changes. What cannot be read
// any more stays as it was.
type reloader[T any] struct {
	files []string
	read  func() (T, error)
	log   *slog.Logger

	mu      sync.Mutex
	value   T
	stamp   string
	checked time.Time
}

// checkEvery bounds how often the files are looked at.
const checkEvery = time.Second

func newReloader[T any](log *slog.Logger, read func() (T, error), files ...string) (*reloader[T], error) {
	r := &reloader[T]{files: files, read: read, log: log, checked: time.Now()}
	r.stamp = r.look()
	value, err := read()
	if err != nil {
		return nil, err
	}
	r.value = value
	return r, nil
}

// current returns the value, read again if the files changed.
func (r *reloader[T]) current() T {
	r.mu.Lock()
	defer r.mu.Unlock()
	if now := time.Now(); now.Sub(r.checked) >= checkEvery {
		r.checked = now
		if stamp := r.look(); stamp != r.stamp {
			r.reload(stamp)
		}
	}
	return r.value
}

func (r *reloader[T]) reload(stamp string) {
	value, err := r.read()
	if err != nil {
		r.log.Warn("the file changed and cannot be used; what it held before stays valid", "error", err)
	} else {
		r.value = value
		r.log.Info("read again", "files", r.files)
	}
	r.stamp = stamp
}

// look returns what changes with the files.
func (r *reloader[T]) look() string {
	var stamp strings.Builder
	for _, file := range r.files {
		if info, err := os.Stat(file); err == nil {
			fmt.Fprintf(&stamp, "%d %d;", info.Size(), info.ModTime().UnixNano())
		}
	}
	return stamp.String()
}

// tokens are the bearer tokens that are accepted; only their hashes stay in memory.
type tokens struct {
	*reloader[[][sha256.Size]byte]
}

func readTokens(file string, log *slog.Logger) (*tokens, error) {
	r, err := newReloader(log, func() ([][sha256.Size]byte, error) {
		text, err := os.ReadFile(file)
		if err != nil {
			return nil, fmt.Errorf("read tokens: %w", err)
		}
		var hashes [][sha256.Size]byte
		for line := range bytes.Lines(text) {
			if token := bytes.TrimSpace(line); len(token) > 0 {
				hashes = append(hashes, sha256.Sum256(token))
			}
		}
		if len(hashes) == 0 {
			return nil, fmt.Errorf("read tokens: %s holds none; write one a line", file)
		}
		return hashes, nil
	}, file)
	if err != nil {
		return nil, err
	}
	return &tokens{r}, nil
}

// allow reports whether an Authorization header carries one of the tokens, in a time that does not tell which, nor how
// much of it was right.
func (t *tokens) allow(authorization string) bool {
	const scheme = "Bearer "
	if len(authorization) < len(scheme) || !strings.EqualFold(authorization[:len(scheme)], scheme) {
		return false
	}
	given := sha256.Sum256([]byte(strings.TrimSpace(authorization[len(scheme):])))
	match := 0
	for _, hash := range t.current() {
		match |= subtle.ConstantTimeCompare(given[:], hash[:])
	}
	return match == 1
}

// certificate is the server's certificate.
type certificate struct {
	*reloader[*tls.Certificate]
}

func readCertificate(certFile, keyFile string, log *slog.Logger) (*certificate, error) {
	r, err := newReloader(log, func() (*tls.Certificate, error) {
		pair, err := tls.LoadX509KeyPair(certFile, keyFile)
		if err != nil {
			return nil, fmt.Errorf("read certificate: %w", err)
		}
		return &pair, nil
	}, certFile, keyFile)
	if err != nil {
		return nil, err
	}
	return &certificate{r}, nil
}

func (c *certificate) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	return c.current(), nil
}
