package listen

import (
	"bytes"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"log/slog"
	"os"
)

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
		hashes, err := parseTokens(text)
		if err != nil {
			return nil, fmt.Errorf("read tokens from %s: %w", file, err)
		}
		return hashes, nil
	}, file)
	if err != nil {
		return nil, err
	}
	return &tokens{r}, nil
}

// parseTokens returns the hashes of the tokens, one a line. An error names the line and shows nothing of it.
func parseTokens(text []byte) ([][sha256.Size]byte, error) {
	var hashes [][sha256.Size]byte
	number := 0
	for line := range bytes.Lines(text) {
		number++
		token := bytes.TrimSpace(line)
		if len(token) == 0 || token[0] == '#' {
			continue
		}
		// A header cannot carry other characters, so such a token would let nobody in.
		if bytes.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r > '~' }) {
			return nil, fmt.Errorf("line %d is no token: a token is made of visible ASCII characters, such as \"openssl rand -hex 32\" prints", number)
		}
		hashes = append(hashes, sha256.Sum256(token))
	}
	if len(hashes) == 0 {
		return nil, errors.New("it holds none; write one a line")
	}
	return hashes, nil
}

// allow reports whether it is one of the tokens, in a time that does not tell which, nor how much of it was right.
func (t *tokens) allow(token string) bool {
	given := sha256.Sum256([]byte(token))
	match := 0
	for _, hash := range t.current() {
		match |= subtle.ConstantTimeCompare(given[:], hash[:])
	}
	return match == 1
}
