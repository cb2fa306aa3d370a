package appendfile

import (
	"io/fs"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// birthTime returns when f was created, or last changed where the file system does not keep that.
func birthTime(f *os.File, info fs.FileInfo) time.Time {
	var s unix.Statx_t
	err := unix.Statx(int(f.Fd()), "", unix.AT_EMPTY_PATH, unix.STATX_BTIME, &s)
	if err != nil || s.Mask&unix.STATX_BTIME == 0 {
		return info.ModTime()
	}
	return time.Unix(s.Btime.Sec, int64(s.Btime.Nsec))
}
