// Package appendfile appends batches to files so that a batch is in its file whole, or not at all.
package appendfile

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/flinktail/flinktail/pipeline"
)

const (
	filePerm = 0o640
	dirPerm  = 0o750
)

// ErrMoved says that the path no longer names the open file: somebody renamed or removed it. Nothing was written;
// open the path again.
var ErrMoved = errors.New("file was moved or removed")

// Options say how a file is opened.
type Options struct {
	Framing Framing
	Sync    bool // fsync what is written, and the folders of new names, before success is reported
	Logger  *slog.Logger
}

// File is a file opened for appending, locked against other writers that lock it too. It is not safe for
// concurrent use.
type File struct {
	path string
	sync bool
	f    *os.File
	info fs.FileInfo // tells whether path still names f
	born time.Time

	known  int64     // the size when we last looked, and what was written since
	looked time.Time // when that was
}

// Open opens the file, creating it and its missing folders, and repairs what a crash left at its end. An error
// that a person must deal with (no permission, not a regular file, in use) is a Blocked one.
func Open(path string, o Options) (*File, error) {
	if err := makeDir(filepath.Dir(path), o.Sync); err != nil {
		return nil, classify(err)
	}
	for range 10 {
		a, err := open(path, o)
		if !errors.Is(err, ErrMoved) {
			return a, classify(err)
		}
	}
	return nil, fmt.Errorf("open %s: %w", path, ErrMoved)
}

func open(path string, o Options) (*File, error) {
	// Opening a pipe waits for its reader, and fsync and truncate mean nothing there.
	if info, err := os.Stat(path); err == nil && !info.Mode().IsRegular() {
		return nil, pipeline.Blocked(fmt.Errorf("open %s: not a regular file", path))
	}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_APPEND|os.O_CREATE, filePerm)
	if err != nil {
		return nil, err
	}
	a := &File{path: path, sync: o.Sync, f: f}
	if err := a.prepare(o); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return a, nil
}

func (a *File) prepare(o Options) (err error) {
	if err := lock(a.f); errors.Is(err, syscall.EWOULDBLOCK) {
		return pipeline.Blocked(fmt.Errorf("open %s: another flusher or process writes to it", a.path))
	} else if err != nil {
		return fmt.Errorf("lock %s: %w", a.path, err)
	}
	if a.info, err = a.f.Stat(); err != nil {
		return err
	}
	// Whoever held the lock before may have rotated the file away.
	if _, err := a.size(); err != nil {
		return err
	}
	a.born = birthTime(a.f, a.info)
	if a.info.Size() == 0 {
		if a.sync {
			return syncDir(filepath.Dir(a.path))
		}
		return nil
	}
	intact, err := o.Framing.repair(a.f, a.info.Size())
	if err != nil {
		return fmt.Errorf("repair %s: %w", a.path, err)
	}
	switch {
	case intact.foreign:
		rotated, err := a.rename(time.Now())
		if err != nil {
			return err
		}
		o.Logger.Warn("the file does not hold what is to be appended; it was put aside", "file", a.path, "as", rotated)
		return ErrMoved
	case intact.size != a.info.Size():
		o.Logger.Warn("repaired the end of the file after a crash", "file", a.path, "size", a.info.Size(), "repaired_size", intact.size)
	}
	return nil
}

// Path returns the path that Open was given.
func (a *File) Path() string { return a.path }

// Born returns when the file was created, as well as the file system knows.
func (a *File) Born() time.Time { return a.born }

// Size returns the file's size in bytes, or ErrMoved.
func (a *File) Size() (int64, error) {
	if !a.sync && time.Since(a.looked) < lookEvery {
		return a.known, nil
	}
	size, err := a.size()
	a.known, a.looked = size, time.Now()
	return size, err
}

// lookEvery is how often a file that is not synced is looked for under its name: for a small batch that costs as much as its
// write, and who asked for no sync does not ask for more than this.
const lookEvery = 100 * time.Millisecond

func (a *File) size() (int64, error) {
	info, err := os.Stat(a.path)
	if errors.Is(err, fs.ErrNotExist) || err == nil && !os.SameFile(info, a.info) {
		return 0, ErrMoved
	}
	if err != nil {
		return 0, classify(err)
	}
	return info.Size(), nil
}

// Append writes p with one write behind the first size bytes, which is all there is. After an error the file ends
// where it ended before, as far as the file system still allows that; close the file then, opening it again
// repairs the rest.
func (a *File) Append(p []byte, size int64) error {
	_, err := a.f.Write(p)
	if err == nil && a.sync {
		// A sync that failed may have dropped the written pages: only writing them again helps.
		err = a.f.Sync()
	}
	if err != nil {
		return errors.Join(classify(err), a.f.Truncate(size))
	}
	a.known = size + int64(len(p))
	return nil
}

// Rotate renames the file to a name that sorts by time and is still free, and closes it.
func (a *File) Rotate(now time.Time) (rotated string, err error) {
	if renameNeedsClose {
		if err := a.f.Close(); err != nil {
			return "", err
		}
	}
	rotated, err = a.rename(now)
	if !renameNeedsClose {
		err = errors.Join(err, a.f.Close())
	}
	return rotated, classify(err)
}

func (a *File) rename(now time.Time) (string, error) {
	rotated, err := freeName(a.path, now)
	if err != nil {
		return "", err
	}
	if err := os.Rename(a.path, rotated); err != nil {
		return "", err
	}
	if a.sync {
		return rotated, syncDir(filepath.Dir(rotated))
	}
	return rotated, nil
}

// Close closes the file and gives its lock back.
func (a *File) Close() error { return a.f.Close() }

// makeDir creates dir and what is missing above it.
func makeDir(dir string, sync bool) error {
	info, err := os.Stat(dir)
	switch {
	case err == nil && info.IsDir():
		return nil
	case err == nil:
		return &fs.PathError{Op: "mkdir", Path: dir, Err: syscall.ENOTDIR}
	case !errors.Is(err, fs.ErrNotExist):
		return err
	}
	parent := filepath.Dir(dir)
	if parent != dir {
		if err := makeDir(parent, sync); err != nil {
			return err
		}
	}
	if err := os.Mkdir(dir, dirPerm); err != nil {
		if info, statErr := os.Stat(dir); statErr == nil && info.IsDir() {
			return nil // somebody else made it
		}
		return err
	}
	if sync {
		return syncDir(parent)
	}
	return nil
}

// syncDir makes created and renamed names in dir survive a crash of the machine.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	if err := d.Sync(); err != nil && !errors.Is(err, errors.ErrUnsupported) && !errors.Is(err, syscall.EINVAL) {
		return errors.Join(err, d.Close())
	}
	return d.Close()
}

// classify marks what a person must deal with as Blocked. A full disk is not: space comes back by itself often enough.
func classify(err error) error {
	var blocked *pipeline.BlockedError
	if err == nil || errors.As(err, &blocked) {
		return err
	}
	for _, e := range []syscall.Errno{
		syscall.EACCES, syscall.EPERM, syscall.EROFS, syscall.ENOTDIR, syscall.EISDIR, syscall.ENAMETOOLONG, syscall.ELOOP, syscall.EEXIST,
	} {
		if errors.Is(err, e) {
			return pipeline.Blocked(err)
		}
	}
	return err
}
