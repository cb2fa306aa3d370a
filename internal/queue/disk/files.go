package disk

import (
	"io"
	"os"
)

// file is an open file of the queue.
type file interface {
	io.ReaderAt
	io.WriterAt
	io.Closer
	Sync() error
	Truncate(size int64) error
}

// files is what the queue needs of the operating system; a test puts faults into it.
type files interface {
	Create(path string) (file, error) // empty, whatever was there before
	Open(path string) (file, error)   // to read and write; it must exist
	Remove(path string) error
	SyncDir(dir string) error // makes names that were created or removed survive a crash of the machine
	Free(dir string) (bytes int64, err error)
}

type osFiles struct{}

func (osFiles) Create(path string) (file, error) {
	return os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
}
func (osFiles) Open(path string) (file, error)           { return os.OpenFile(path, os.O_RDWR, 0) }
func (osFiles) Remove(path string) error                 { return os.Remove(path) }
func (osFiles) SyncDir(dir string) error                 { return syncDir(dir) }
func (osFiles) Free(dir string) (bytes int64, err error) { return freeSpace(dir) }
