package fileinput

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/bmatcuk/doublestar/v4"
)

func hasWildcard(path string) bool { return strings.ContainsAny(path, `*?[{\`) }

// discover opens the files that are new and notes those that no longer have a path of ours. Files that are there at the first call
// of the first start are read as From says. The error is about files that cannot be read; it is logged.
func (in *Input) discover(atStart bool) error {
	if !atStart && (in.once || in.Replay != "") {
		return nil
	}
	var errs []error
	seen := map[fileID]bool{}
	for _, pattern := range in.FilePaths {
		paths, err := in.expand(pattern)
		if err != nil {
			errs = append(errs, in.complain(pattern, err))
		}
		for _, path := range paths {
			id, err := in.find(path, atStart, hasWildcard(pattern))
			if err != nil {
				errs = append(errs, in.complain(path, err))
				continue
			}
			seen[id] = true
		}
	}
	if atStart {
		in.findRotated()
		in.mu.Lock()
		in.touch() // so that the next start is not the first
		in.mu.Unlock()
	}
	for _, t := range in.tails {
		switch {
		case seen[t.id]:
			t.rotated = time.Time{}
		case t.rotated.IsZero():
			t.rotated = time.Now()
		}
	}
	return errors.Join(errs...)
}

// expand returns the paths that a pattern matches, sorted, and has their folders watched.
func (in *Input) expand(pattern string) ([]string, error) {
	if !hasWildcard(pattern) {
		in.watchDir(filepath.Dir(pattern))
		return []string{pattern}, nil
	}
	base, _ := doublestar.SplitPattern(filepath.ToSlash(pattern))
	in.watchDir(filepath.FromSlash(base))
	paths, err := doublestar.FilepathGlob(pattern, doublestar.WithFilesOnly())
	if err != nil {
		return nil, fmt.Errorf("match %s: %w", pattern, err)
	}
	if len(paths) == 0 && in.complained[pattern] == "" {
		in.complained[pattern] = "nothing"
		in.log.Warn("no file matches yet", "pattern", pattern)
	}
	slices.Sort(paths)
	return paths, nil
}

func (in *Input) watchDir(dir string) {
	if !in.once && in.Replay == "" {
		in.watch.add(dir)
	}
}

// find returns the identity of the file at path and opens it if it is new.
func (in *Input) find(path string, atStart, matched bool) (fileID, error) {
	info, err := os.Stat(path)
	if err != nil {
		return fileID{}, fmt.Errorf("look at %s: %w", path, errors.Unwrap(err))
	}
	id, err := identify(path, info)
	if err != nil || matched && !info.Mode().IsRegular() {
		return id, err
	}
	if in.ignored[id] {
		return id, nil
	}
	for _, t := range in.tails {
		if t.id == id {
			if t.path != path {
				in.mu.Lock()
				t.path = path
				in.mu.Unlock()
			}
			return id, nil
		}
	}
	t, err := openTail(path)
	if err != nil {
		return id, err
	}
	if err := in.place(t, atStart); err != nil {
		_ = t.file.Close()
		return id, err
	}
	return t.id, nil
}

// place decides where reading begins in a file that was just opened, and follows it.
func (in *Input) place(t *tail, atStart bool) error {
	beginning := make([]byte, maxHead)
	n, err := t.file.ReadAt(beginning, 0)
	if n == 0 && err != nil && !isEOF(err) {
		return fmt.Errorf("read %s: %w", t.path, err)
	}
	if compressed(beginning[:n]) {
		in.ignored[t.id] = true
		in.log.Warn("compressed files are not read", "path", t.path)
		return t.file.Close()
	}
	info, err := t.file.Stat()
	if err != nil {
		return fmt.Errorf("look at %s: %w", t.path, err)
	}
	in.mu.Lock()
	defer in.mu.Unlock()
	firstStart := in.positions == nil && in.Replay == ""
	p, known := in.positions[t.id]
	delete(in.positions, t.id)
	switch {
	case known: // look finds out whether it is still the same file
		t.resume(p)
	case firstStart && atStart && in.From == "end":
		start, err := lastLineStart(t.file, info.Size())
		if err != nil {
			return fmt.Errorf("read %s: %w", t.path, err)
		}
		if start > 0 {
			t.read, t.settled, t.head = start, start, headOf(beginning[:n])
		}
	}
	t.idBase = idBase(t.id, t.generation, t.head)
	in.tails = append(in.tails, t)
	in.touch()
	delete(in.complained, t.path)
	return nil
}

// lastLineStart returns where the line begins that the first size bytes end in: size itself after a newline.
func lastLineStart(file io.ReaderAt, size int64) (int64, error) {
	block := make([]byte, 64<<10)
	for end := size; end > 0; {
		start := max(0, end-int64(len(block)))
		text := block[:end-start]
		if _, err := file.ReadAt(text, start); err != nil && !isEOF(err) {
			return 0, err
		}
		if i := bytes.LastIndexByte(text, '\n'); i >= 0 {
			return start + int64(i) + 1, nil
		}
		end = start
	}
	return 0, nil
}

// openRotated goes on with a file that was renamed while flinktail was down.
func (in *Input) openRotated(path string, p position) {
	t, err := openTail(path)
	if err != nil {
		_ = in.complain(path, err)
		return
	}
	info, err := t.file.Stat()
	if err != nil || t.id != p.fileID || p.Offset >= info.Size() || !p.Head.matches(t.file) {
		_ = t.file.Close()
		return
	}
	t.resume(p)
	t.idBase = idBase(t.id, t.generation, t.head)
	in.mu.Lock()
	in.tails = append(in.tails, t)
	in.mu.Unlock()
}
