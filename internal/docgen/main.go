// Docgen writes what the documentation takes from the code: docs/reference, and the table of options in each
// plugin's README. Run it in the project's root, with "make docs".
package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	_ "github.com/flinktail/flinktail/internal/all" // the plugins to document
)

func main() {
	if err := run("."); err != nil {
		fmt.Fprintln(os.Stderr, "docgen:", err)
		os.Exit(1)
	}
}

// run writes what can be rendered, also beside an error.
func run(root string) error {
	documents, err := render(root)
	errs := []error{err}
	for _, d := range documents {
		errs = append(errs, write(filepath.Join(root, filepath.FromSlash(d.path)), d.text))
	}
	return errors.Join(errs...)
}

func write(path, text string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return os.WriteFile(path, []byte(text), 0o644)
}
