package deadletter

import (
	"os"

	"golang.org/x/sys/windows"
)

// lockFile is an advisory lock between processes. The system drops it when the process dies.
type lockFile struct{ f *os.File }

func openLock(path string) (*lockFile, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	return &lockFile{f}, nil
}

func (l *lockFile) lock() error {
	err := windows.LockFileEx(windows.Handle(l.f.Fd()), windows.LOCKFILE_EXCLUSIVE_LOCK, 0, 1, 0, &windows.Overlapped{})
	return os.NewSyscallError("LockFileEx", err)
}

func (l *lockFile) unlock() error {
	err := windows.UnlockFileEx(windows.Handle(l.f.Fd()), 0, 1, 0, &windows.Overlapped{})
	return os.NewSyscallError("UnlockFileEx", err)
}

func (l *lockFile) close() error { return l.f.Close() }

// syncDir does nothing: Windows has no such call, NTFS journals its names.
func syncDir(string) error { return nil }
