package engine

import (
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
)

// fileState keeps a plugin's state: a file for each key.
type fileState struct{ dir string }

func (s fileState) path(key string) string { return filepath.Join(s.dir, "s-"+url.PathEscape(key)) }

func (s fileState) Load(key string) ([]byte, error) {
	value, err := os.ReadFile(s.path(key))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return value, err
}

// Store writes a new file, syncs it and renames it over the old one, so that a crash leaves one of the two.
func (s fileState) Store(key string, value []byte) error {
	if err := os.MkdirAll(s.dir, 0o700); err != nil {
		return err
	}
	path := s.path(key)
	if err := writeSynced(path+".tmp", value); err != nil {
		return fmt.Errorf("store state %s: %w", key, err)
	}
	if err := os.Rename(path+".tmp", path); err != nil {
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
