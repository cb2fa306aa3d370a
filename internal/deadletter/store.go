package deadletter

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

const (
	filePrefix = "letters-"
	fileSuffix = ".ndjson"
	lockName   = ".lock"

	firstPause   = 50 * time.Millisecond
	longestPause = 2 * time.Second
)

// Store appends dead letters to the files of one directory. It is safe for concurrent use, and for
// use beside other processes that read, append to or remove from the same directory.
//
// Files are opened anew for every Append: Remove may have replaced them meanwhile.
type Store struct {
	dir          string
	maxBytes     int64
	maxFileBytes int64

	mu     sync.Mutex
	lock   *lockFile
	closed bool
}

// Open returns the store in dir and creates the directory, for its owner only. The files take
// maxBytes together, and a new one is begun when maxFileBytes would be exceeded.
func Open(dir string, maxBytes, maxFileBytes int64) (*Store, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("open dead letters: %w", err)
	}
	lock, err := openLock(filepath.Join(dir, lockName))
	if err != nil {
		return nil, fmt.Errorf("open dead letters: %w", err)
	}
	return &Store{dir: dir, maxBytes: maxBytes, maxFileBytes: maxFileBytes, lock: lock}, nil
}

// Append stores all letters, or none. When it returns nil they survive a crash of the machine. While
// the store is full it waits until ctx ends; it never deletes. Letters that are together larger than
// the whole store are taken when the store is empty, for they would wait for ever.
func (s *Store) Append(ctx context.Context, letters []Letter) error {
	if len(letters) == 0 {
		return nil
	}
	var text bytes.Buffer
	ends := make([]int, 0, len(letters))
	for i := range letters {
		if err := appendLine(&text, &letters[i]); err != nil {
			return fmt.Errorf("append dead letter %q: %w", letters[i].EventID, err)
		}
		ends = append(ends, text.Len())
	}
	for pause := firstPause; ; pause = min(2*pause, longestPause) {
		stored, err := s.tryAppend(text.Bytes(), ends)
		if err != nil {
			return fmt.Errorf("append dead letters: %w", err)
		}
		if stored {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("append dead letters: %s is full (%d bytes): %w", s.dir, s.maxBytes, ctx.Err())
		case <-time.After(pause):
		}
	}
}

// Close lets go of the directory. It may be called twice.
func (s *Store) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil
	}
	s.closed = true
	return s.lock.close()
}

// tryAppend stores the lines of text, which end at ends; false means that there is no room.
func (s *Store) tryAppend(text []byte, ends []int) (stored bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false, fs.ErrClosed
	}
	if err := s.lock.lock(); err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, s.lock.unlock()) }()

	files, err := listFiles(s.dir)
	if err != nil {
		return false, err
	}
	var total int64
	for _, f := range files {
		total += f.size
	}
	if total > 0 && total+int64(len(text)) > s.maxBytes {
		return false, nil
	}
	current := file{path: filepath.Join(s.dir, fileName(1))}
	if len(files) > 0 {
		current = files[len(files)-1]
	}
	return true, s.write(current, text, ends)
}

// write appends the lines to current and the files after it, all or none.
func (s *Store) write(current file, text []byte, ends []int) (err error) {
	var touched []file
	defer func() {
		if err == nil {
			return
		}
		for _, f := range touched {
			err = errors.Join(err, f.cutBack())
		}
	}()
	for start, i := 0, 0; i < len(ends); {
		if current.size > 0 && current.size+int64(ends[i]-start) > s.maxFileBytes {
			current = file{path: filepath.Join(s.dir, fileName(current.number()+1))}
		}
		first := start
		for i < len(ends) && (start == first || current.size+int64(ends[i]-first) <= s.maxFileBytes) {
			start = ends[i]
			i++
		}
		touched = append(touched, current)
		if err := appendFile(current.path, text[first:start]); err != nil {
			return err
		}
		current.size += int64(start - first)
	}
	if touched[len(touched)-1].size == 0 { // a file was created
		return syncDir(s.dir)
	}
	return nil
}

// appendFile appends whole lines and syncs them. A torn line that a crash left gets its line break
// first, so that it spoils only itself.
func appendFile(path string, lines []byte) (err error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if size := info.Size(); size > 0 {
		var last [1]byte
		if _, err := f.ReadAt(last[:], size-1); err != nil {
			return err
		}
		if last[0] != '\n' {
			lines = append([]byte{'\n'}, lines...)
		}
	}
	if _, err := f.Write(lines); err != nil {
		return err
	}
	return f.Sync()
}

// file is one file of letters as it was when the directory was listed; size 0 means that it did not exist.
type file struct {
	path string
	size int64
}

func fileName(number int) string { return fmt.Sprintf("%s%06d%s", filePrefix, number, fileSuffix) }

// number returns the file's number, 0 for a foreign name.
func (f file) number() int {
	name := strings.TrimSuffix(strings.TrimPrefix(filepath.Base(f.path), filePrefix), fileSuffix)
	n, err := strconv.Atoi(name)
	if err != nil || fileName(n) != filepath.Base(f.path) {
		return 0
	}
	return n
}

// cutBack undoes what was appended since the file was listed.
func (f file) cutBack() error {
	err := os.Truncate(f.path, f.size)
	if f.size == 0 {
		err = os.Remove(f.path)
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// listFiles returns the files of letters in dir in the order they were begun; none when there is no dir.
func listFiles(dir string) ([]file, error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var files []file
	for _, entry := range entries {
		f := file{path: filepath.Join(dir, entry.Name())}
		if f.number() == 0 || !entry.Type().IsRegular() {
			continue
		}
		info, err := entry.Info()
		if errors.Is(err, fs.ErrNotExist) {
			continue // removed meanwhile
		}
		if err != nil {
			return nil, err
		}
		f.size = info.Size()
		files = append(files, f)
	}
	slices.SortFunc(files, func(a, b file) int { return a.number() - b.number() })
	return files, nil
}
