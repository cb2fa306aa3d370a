// Package treecopy gives a test a copy of the source tree, to build in and to change.
package treecopy

import (
	"bytes"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

// built is what is not copied: it was built, or belongs to the original alone.
var built = []string{".git", ".cache", "bin", "data", "target"}

// Tree is the copy.
type Tree struct{ Dir string }

// New copies the source tree, found from the test's folder, into one that goes with the test.
func New(t testing.TB) Tree {
	t.Helper()
	root, err := os.Getwd()
	require.NoError(t, err)
	for !exists(filepath.Join(root, "plugins.yml")) {
		require.NotEqual(t, filepath.Dir(root), root, "the test does not run in the source tree")
		root = filepath.Dir(root)
	}
	tree := Tree{filepath.Join(t.TempDir(), "flinktail")}
	require.NoError(t, filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		relative, err := filepath.Rel(root, path)
		switch {
		case err != nil:
			return err
		case entry.IsDir() && slices.Contains(built, entry.Name()):
			return filepath.SkipDir
		case entry.IsDir():
			return os.MkdirAll(tree.path(relative), 0o755)
		case !entry.Type().IsRegular():
			return nil
		}
		return copyFile(tree.path(relative), path)
	}))
	return tree
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

func copyFile(to, from string) error {
	info, err := os.Stat(from)
	if err != nil {
		return err
	}
	text, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return os.WriteFile(to, text, info.Mode().Perm())
}

func (tree Tree) path(relative string) string {
	return filepath.Join(tree.Dir, filepath.FromSlash(relative))
}

// Run runs a line of shell in the copy's root and returns its standard output. A line that fails ends the test.
func (tree Tree) Run(t testing.TB, line string) string {
	t.Helper()
	command := exec.Command("bash", "-euo", "pipefail", "-c", line)
	command.Dir = tree.Dir
	command.Env = append(os.Environ(), "PLUGINS_CONFIG_FILE=")
	var messages bytes.Buffer
	command.Stderr = &messages
	output, err := command.Output()
	require.NoError(t, err, "%s\n%s%s", line, output, messages.String())
	return string(output)
}

// Write writes a file, and the folders above it.
func (tree Tree) Write(t testing.TB, name, text string) {
	t.Helper()
	require.NoError(t, os.MkdirAll(filepath.Dir(tree.path(name)), 0o755))
	require.NoError(t, os.WriteFile(tree.path(name), []byte(text), 0o644))
}

// Read returns a file's text.
func (tree Tree) Read(t testing.TB, name string) string {
	t.Helper()
	text, err := os.ReadFile(tree.path(name))
	require.NoError(t, err)
	return string(text)
}
