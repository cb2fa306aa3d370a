package deadletter

import (
	"bufio"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// Record is a letter where it lies.
type Record struct {
	File   string // path
	Line   []byte // its text without the line break
	Letter Letter
	Err    error // the line is no letter, for example torn by a crash; Letter is empty then
}

// Key identifies the letter by its text.
func (r *Record) Key() Key { return keyOf(r.Line) }

// Key identifies a letter for Remove.
type Key [sha256.Size]byte

func keyOf(line []byte) Key { return sha256.Sum256(line) }

// Dir returns where the dead letters of a pipeline lie.
func Dir(dataDir, pipeline string) string { return filepath.Join(dataDir, pipeline, "deadletter") }

// Pipelines returns the names of the pipelines that have a directory of dead letters under dataDir, sorted.
func Pipelines(dataDir string) ([]string, error) {
	entries, err := os.ReadDir(dataDir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("list dead letters: there is no folder %s; name the data folder with -data-dir", dataDir)
	}
	if err != nil {
		return nil, fmt.Errorf("list dead letters: %w", err)
	}
	var names []string
	for _, entry := range entries {
		if info, err := os.Stat(Dir(dataDir, entry.Name())); err == nil && info.IsDir() {
			names = append(names, entry.Name())
		}
	}
	return names, nil
}

// Read calls fn for every line in dir, oldest first, until fn returns an error, which it returns. It may run beside
// Append and Remove: what they do meanwhile is seen or not. The Record belongs to fn.
func Read(dir string, fn func(Record) error) error {
	files, err := listFiles(dir)
	if err != nil {
		return fmt.Errorf("read dead letters: %w", err)
	}
	for _, f := range files {
		err := eachLine(f.path, func(line []byte) error {
			letter, err := parseLine(line)
			return fn(Record{File: f.path, Line: line, Letter: letter, Err: err})
		})
		if errors.Is(err, fs.ErrNotExist) {
			continue // removed meanwhile
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// eachLine calls fn for every line that is not empty, without its line break. The line belongs to fn.
func eachLine(path string, fn func(line []byte) error) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	r := bufio.NewReaderSize(f, 64<<10)
	for {
		line, err := r.ReadBytes('\n')
		if n := len(line); n > 0 && line[n-1] == '\n' {
			line = line[:n-1]
		}
		if len(line) > 0 {
			if err := fn(line); err != nil {
				return err
			}
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read dead letters: %w", err)
		}
	}
}
