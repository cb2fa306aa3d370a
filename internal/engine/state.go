package engine

import (
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"sync"
)

// fileState keeps a plugin's state: a file for each key. It is safe for concurrent use.
type fileState struct {
	dir string
	mu  sync.Mutex // one Store at a time
}

func (s *fileState) path(key string) string { return filepath.Join(s.dir, "s-"+url.PathEscape(key)) }

func (s *fileState) Load(key string) ([]byte, error) {
	value, err := os.ReadFile(s.path(key))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return value, err
}

// Store writes a new file, syncs it and renames it over the old one, so that a crash leaves one of the two.
func (s *fileState) Store(key string, value []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := os.MkdirAll(s.dir, 0o700); err != nil {
		return err
	}
	temporary := filepath.Join(s.dir, "temporary") // no key's name
	if err := writeSynced(temporary, value); err != nil {
		return fmt.Errorf("store state %s: %w", key, err)
	}
	if err := os.Rename(temporary, s.path(key)); err != nil {
		return fmt.Errorf("store state %s: %w", key, err)
	}
	return syncDir(s.dir)
}

func writeSynced(path string, value []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(value)
	return errors.Join(err, f.Sync(), f.Close())
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
