package config

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/flinktail/flinktail/pipeline"
)

// maxSecretFile is the largest file that ${file:path} reads.
const maxSecretFile = 1 << 20

var variableName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

// secretName matches the names of options whose values no message may show, whatever their type: a [pipeline.Secret] needs no such
// name, but an outside plugin may have made it a string.
var secretName = regexp.MustCompile(`(?i)password|passwd|passphrase|secret|token|credential|api[_-]?key|access[_-]?key|private[_-]?key|authorization|cookie|webhook`)

// isSecret tells whether the value at a path looks secret by its name; the name of a file is not.
func isSecret(path string) bool {
	return secretName.MatchString(path) && !strings.HasSuffix(path, "File")
}

// source is where references get their values.
type source struct {
	variable func(name string) (string, bool)
	file     func(path string) ([]byte, error)
}

// systemSource reads the process's environment, and files relative to folder.
func systemSource(folder string) source {
	return source{variable: os.LookupEnv, file: func(path string) ([]byte, error) {
		if !filepath.IsAbs(path) {
			path = filepath.Join(folder, path)
		}
		f, err := os.Open(path)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		text, err := io.ReadAll(io.LimitReader(f, maxSecretFile+1))
		if err == nil && len(text) > maxSecretFile {
			err = fmt.Errorf("larger than %d bytes", maxSecretFile)
		}
		return text, err
	}}
}

// replaced is a value that came from elsewhere, and what stands for it in messages.
type replaced struct {
	value pipeline.Secret
	shown string
}

// expand replaces ${VAR}, ${VAR:-default} and ${file:path}; "$$" is a literal "$". What was put in is returned too.
// As in a shell, the default also stands for a variable that is set and empty. There is no nesting.
func (s source) expand(text string) (string, []replaced, error) {
	var b strings.Builder
	var values []replaced
	var failures []error
	for {
		before, after, found := strings.Cut(text, "$")
		b.WriteString(before)
		if !found {
			return b.String(), values, errors.Join(failures...)
		}
		switch {
		case strings.HasPrefix(after, "$"):
			b.WriteByte('$')
			text = after[1:]
		case strings.HasPrefix(after, "{"):
			reference, rest, closed := strings.Cut(after[1:], "}")
			if !closed {
				return "", values, errors.Join(append(failures, errors.New(`"${" without "}"; write "$$" for a literal "$"`))...)
			}
			value, foreign, err := s.resolve(reference)
			if err != nil {
				failures = append(failures, err)
			}
			if foreign && value != "" {
				values = append(values, replaced{pipeline.NewSecret(value), "${" + reference + "}"})
			}
			b.WriteString(value)
			text = rest
		default:
			b.WriteByte('$')
			text = after
		}
	}
}

// resolve returns the value of one reference, and whether it stands elsewhere than in the file.
func (s source) resolve(reference string) (value string, foreign bool, err error) {
	if path, ok := strings.CutPrefix(reference, "file:"); ok {
		text, err := s.file(path)
		if err != nil {
			if pathError := (*fs.PathError)(nil); errors.As(err, &pathError) {
				err = pathError.Err
			}
			return "", true, fmt.Errorf("read ${%s}: %w", reference, err)
		}
		return strings.TrimSuffix(strings.TrimSuffix(string(text), "\n"), "\r"), true, nil
	}
	name, fallback, hasFallback := strings.Cut(reference, ":-")
	if !variableName.MatchString(name) {
		// It is not shown: it may well be a part of a password.
		return "", false, errors.New(`"${" begins no reference; write ${NAME}, ${NAME:-default} or ${file:path}, and "$$" for a literal "$"`)
	}
	value, set := s.variable(name)
	switch {
	case hasFallback && value == "":
		return fallback, false, nil
	case !set:
		return "", true, fmt.Errorf("variable %s is not set; set it, or give a default: ${%s:-default}", name, name)
	}
	return value, true, nil
}

// conceal takes values that came from elsewhere, or are secret, out of a message that a plugin wrote.
func conceal(message string, values []replaced) string {
	values = slices.Clone(values)
	slices.SortFunc(values, func(a, b replaced) int { return cmp.Compare(len(b.value.Reveal()), len(a.value.Reveal())) })
	for _, v := range values {
		message = v.value.ReplaceIn(message, v.shown)
	}
	return message
}
