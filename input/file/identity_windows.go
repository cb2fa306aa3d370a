package fileinput

import (
	"fmt"
	"io/fs"
	"os"
	"syscall"
)

// identify returns what a file keeps when it is renamed.
func identify(path string, _ fs.FileInfo) (fileID, error) {
	f, err := os.Open(path)
	if err != nil {
		return fileID{}, err
	}
	defer func() { _ = f.Close() }()
	var info syscall.ByHandleFileInformation
	if err := syscall.GetFileInformationByHandle(syscall.Handle(f.Fd()), &info); err != nil {
		return fileID{}, fmt.Errorf("identify %s: %w", path, err)
	}
	return fileID{Device: uint64(info.VolumeSerialNumber), Inode: uint64(info.FileIndexHigh)<<32 | uint64(info.FileIndexLow)}, nil
}
