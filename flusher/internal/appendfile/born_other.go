//go:build !linux

package appendfile

import (
	"io/fs"
	"os"
	"time"
)

// birthTime returns when f was last changed.
func birthTime(_ *os.File, info fs.FileInfo) time.Time { return info.ModTime() }
