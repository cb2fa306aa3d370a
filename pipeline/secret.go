package pipeline

import (
	"encoding/json"
	"fmt"
	"io"
	"net/url"
	"strconv"
	"strings"
	"unique"
)

// Secret is the type of options that nobody may read in a log, a status or an error: passwords, tokens, API keys, and
// texts that may hold one, such as the value of a header. However it is printed, marshalled or reflected on, it is
// "***", and "" when it is empty; only Reveal gives the text. Two are == when their texts are. It is safe for
// concurrent use.
type Secret struct {
	// A handle is compared by its text, and is a pointer to those who print a struct without asking its methods, as fmt prints unexported fields.
	text unique.Handle[string]
}

const concealed = "***"

// NewSecret returns the text as a secret.
func NewSecret(text string) Secret {
	if text == "" {
		return Secret{}
	}
	return Secret{unique.Make(text)}
}

// Reveal returns the text, for the request that needs it.
func (s Secret) Reveal() string {
	if s.IsZero() {
		return ""
	}
	return s.text.Value()
}

// IsZero reports whether the text is empty.
func (s Secret) IsZero() bool { return s == Secret{} }

func (s Secret) String() string {
	if s.IsZero() {
		return ""
	}
	return concealed
}

// Format prints what String returns for every verb of package fmt.
func (s Secret) Format(state fmt.State, _ rune) { _, _ = io.WriteString(state, s.String()) }

// MarshalText returns what String does.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText makes text the secret.
func (s *Secret) UnmarshalText(text []byte) error {
	*s = NewSecret(string(text))
	return nil
}

// ReplaceIn returns message with every occurrence of the secret replaced, as it is, quoted, or escaped for a URL: what
// others wrote, such as a server's answer, may repeat it. One shorter than three bytes stays: it would tear words apart, and
// tells nothing.
func (s Secret) ReplaceIn(message, with string) string {
	text := s.Reveal()
	if len(text) < 3 {
		return message
	}
	inJSON, _ := json.Marshal(text) // of a string there is no error
	for _, written := range []string{text, unquoted(strconv.Quote(text)), unquoted(string(inJSON)), url.QueryEscape(text), url.PathEscape(text)} {
		message = strings.ReplaceAll(message, written, with)
	}
	return message
}

func unquoted(text string) string { return text[1 : len(text)-1] }
