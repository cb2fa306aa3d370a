//go:build unix

package appendfile

import (
	"errors"
	"os"
	"syscall"
)

const renameNeedsClose = false

// lock takes the advisory lock of f, which ends with f; EWOULDBLOCK says that somebody else has it.
func lock(f *os.File) error {
	for {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if !errors.Is(err, syscall.EINTR) {
			return err
		}
	}
}
