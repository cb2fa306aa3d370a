//go:build unix

package deadletter

import (
	"errors"
	"os"
	"syscall"
)

// lockFile is an advisory lock between processes. The kernel drops it when the process dies.
type lockFile struct{ f *os.File }

func openLock(path string) (*lockFile, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	return &lockFile{f}, nil
}

func (l *lockFile) lock() error   { return l.flock(syscall.LOCK_EX) }
func (l *lockFile) unlock() error { return l.flock(syscall.LOCK_UN) }
func (l *lockFile) close() error  { return l.f.Close() }

func (l *lockFile) flock(how int) error {
	for {
		err := syscall.Flock(int(l.f.Fd()), how)
		if !errors.Is(err, syscall.EINTR) {
			return os.NewSyscallError("flock", err)
		}
	}
}

// syncDir makes created, renamed and removed names in dir survive a crash of the machine.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
