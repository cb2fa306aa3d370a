//go:build unix

package fileinput

import (
	"fmt"
	"io/fs"
	"syscall"
)

// identify returns what a file keeps when it is renamed.
func identify(_ string, info fs.FileInfo) (fileID, error) {
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return fileID{}, fmt.Errorf("the file system tells no inode of %s", info.Name())
	}
	return fileID{Device: uint64(stat.Dev), Inode: stat.Ino}, nil //nolint:unconvert // Dev has another type on other systems
}
