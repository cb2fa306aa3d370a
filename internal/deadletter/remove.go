package deadletter

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// Remove deletes the letters with these keys from the files in dir and returns how many there were. A file that
// holds others is replaced as a whole, so that a crash leaves the old or the new one. Appends wait meanwhile.
func Remove(dir string, keys map[Key]struct{}) (removed int, err error) {
	if len(keys) == 0 {
		return 0, nil
	}
	lock, err := openLock(filepath.Join(dir, lockName))
	if err != nil {
		return 0, fmt.Errorf("remove dead letters: %w", err)
	}
	defer func() { err = errors.Join(err, lock.close()) }()
	if err := lock.lock(); err != nil {
		return 0, fmt.Errorf("remove dead letters: %w", err)
	}
	files, err := listFiles(dir)
	if err != nil {
		return 0, fmt.Errorf("remove dead letters: %w", err)
	}
	for _, f := range files {
		n, err := removeFrom(f.path, keys)
		removed += n
		if err != nil {
			return removed, fmt.Errorf("remove dead letters: %w", err)
		}
	}
	return removed, syncDir(dir)
}

func removeFrom(path string, keys map[Key]struct{}) (removed int, err error) {
	temporary := path + ".tmp" // no name of a file of letters
	out, err := os.OpenFile(temporary, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return 0, err
	}
	defer func() {
		if temporary != "" {
			err = errors.Join(err, out.Close(), os.Remove(temporary))
		}
	}()
	kept := 0
	w := bufio.NewWriter(out)
	err = eachLine(path, func(line []byte) error {
		if _, ok := keys[keyOf(line)]; ok {
			removed++
			return nil
		}
		kept++
		_, err := w.Write(append(line, '\n'))
		return err
	})
	if err != nil {
		return 0, err
	}
	if removed == 0 {
		return 0, nil
	}
	if kept == 0 {
		return removed, os.Remove(path)
	}
	if err := errors.Join(w.Flush(), out.Sync(), out.Close()); err != nil {
		return 0, err
	}
	if err := os.Rename(temporary, path); err != nil {
		return 0, err
	}
	temporary = ""
	return removed, nil
}
