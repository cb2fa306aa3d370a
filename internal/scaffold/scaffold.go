// Package scaffold writes the skeleton of a new flusher into flinktail's source tree.
package scaffold

import (
	"bytes"
	"embed"
	"errors"
	"fmt"
	"go/token"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"text/template"

	"github.com/flinktail/flinktail/pipeline"
)

const ownModule = "github.com/flinktail/flinktail"

//go:embed templates
var files embed.FS

var templates = template.Must(template.ParseFS(files, "templates/*.tmpl"))

// skeleton is what the templates are filled with.
type skeleton struct {
	Plugin  string // flusher_example
	Package string // example
	Sample  string // for the README, without the line break at its end
}

// New writes flusher/<name> (code, test, README.md, sample.json) into the source tree at dir, lists it in plugins.yml and
// prints what to do next to out. The skeleton is a working flusher that passes its test. After an error nothing is changed.
func New(dir, name string, out io.Writer) error {
	pkg, err := packageOf(name)
	if err != nil {
		return err
	}
	if mod, err := os.ReadFile(filepath.Join(dir, "go.mod")); err != nil || !bytes.HasPrefix(mod, []byte("module "+ownModule+"\n")) {
		return fmt.Errorf("%s is not flinktail's source tree; run this in the root of a clone", dir)
	}
	folder := filepath.Join(dir, "flusher", pkg)
	if _, err := os.Lstat(folder); !os.IsNotExist(err) {
		return fmt.Errorf("%s is there already; choose another name, or remove it first", folder)
	}
	if _, taken := pipeline.New(name); taken {
		return fmt.Errorf("a plugin %s is there already; choose another name", name)
	}
	list := filepath.Join(dir, "plugins.yml")
	text, err := os.ReadFile(list)
	if err != nil {
		return err
	}
	extended, err := addImport(string(text), ownModule+"/flusher/"+pkg)
	if err != nil {
		return fmt.Errorf("%s: %w", list, err)
	}
	contents, err := render(skeleton{Plugin: name, Package: pkg})
	if err != nil {
		return err
	}

	if err := write(folder, contents); err != nil {
		return errors.Join(err, os.RemoveAll(folder))
	}
	if err := os.WriteFile(list, []byte(extended), 0o644); err != nil {
		return errors.Join(err, os.RemoveAll(folder), os.WriteFile(list, text, 0o644))
	}
	_, err = fmt.Fprintf(out, `flusher/%[2]s and a line in plugins.yml are written. Next:

  go test ./flusher/%[2]s/   # its contract; it passes before you change anything
  make plugins build   # compile it in
  ./bin/flinktail plugins %[1]s
  ./bin/flinktail run --once --admin-address off -config flusher/%[2]s/sample.json
  make docs   # the table of options in its README

docs/write-a-flusher.md says what each method has to do.
`, name, pkg)
	return err
}

var flusherName = regexp.MustCompile(`^flusher_([a-z][a-z0-9]*)$`)

// packageOf returns the name of the package, which is the plugin's without "flusher_".
func packageOf(name string) (string, error) {
	match := flusherName.FindStringSubmatch(name)
	switch {
	case match == nil && !strings.HasPrefix(name, "flusher_"):
		return "", fmt.Errorf(`%q is not a flusher's name; write "flusher_" and a word, such as flusher_pulsar`, name)
	case match == nil:
		return "", fmt.Errorf(`%q: only small letters and digits, a letter first, may follow "flusher_", such as flusher_pulsar`, name)
	case token.IsKeyword(match[1]), match[1] == "internal", match[1] == "vendor", match[1] == "testdata", match[1] == "main":
		return "", fmt.Errorf("%q: Go has another use for %q; choose another name", name, match[1])
	}
	return match[1], nil
}

// render returns the files of the skeleton by their names.
func render(s skeleton) (map[string]string, error) {
	contents := map[string]string{}
	for _, f := range []struct{ name, template string }{
		{"sample.json", "sample.json.tmpl"}, // first: the README shows it
		{"README.md", "README.md.tmpl"},
		{s.Package + ".go", "flusher.go.tmpl"},
		{s.Package + "_test.go", "flusher_test.go.tmpl"},
	} {
		s.Sample = strings.TrimSpace(contents["sample.json"])
		var b strings.Builder
		if err := templates.ExecuteTemplate(&b, f.template, s); err != nil {
			return nil, fmt.Errorf("render %s: %w", f.name, err)
		}
		contents[f.name] = b.String()
	}
	return contents, nil
}

func write(folder string, contents map[string]string) error {
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return err
	}
	for name, text := range contents {
		if err := os.WriteFile(filepath.Join(folder, name), []byte(text), 0o644); err != nil {
			return err
		}
	}
	return nil
}
