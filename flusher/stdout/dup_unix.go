//go:build unix

package stdout

import (
	"os"

	"golang.org/x/sys/unix"
)

// duplicate returns a second descriptor of f, which children do not inherit.
func duplicate(f *os.File) (*os.File, error) {
	fd, err := unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, 3)
	if err != nil {
		return nil, os.NewSyscallError("dup", err)
	}
	return os.NewFile(uintptr(fd), f.Name()), nil
}
