package appendfile

import (
	"errors"
	"io/fs"
	"os"
	"strings"
	"time"
)

// A rotated file is called as before, with the time of its rotation (UTC) behind the name.
const rotatedLayout = ".20060102T150405.000Z"

// Suffixes of the compressed form of a rotated file, when it is complete and before.
const (
	compressedSuffix = ".gz"
	partialSuffix    = ".gz.tmp"
)

// RotatedGlob matches what follows a file's name in its rotated name.
const RotatedGlob = ".????????T??????.???Z"

// IsRotated reports whether path is the name of a rotated file, compressed or not.
func IsRotated(path string) bool {
	path = strings.TrimSuffix(strings.TrimSuffix(path, partialSuffix), compressedSuffix)
	return isRotatedPlain(path)
}

func isRotatedPlain(path string) bool {
	at := len(path) - len(rotatedLayout)
	if at < 0 || path[at] != '.' || path[len(path)-1] != 'Z' {
		return false
	}
	_, err := time.Parse(rotatedLayout, path[at:])
	return err == nil
}

// freeName returns the name for path rotated at now, or as little later as makes it new.
func freeName(path string, now time.Time) (string, error) {
	for at := now.UTC(); ; at = at.Add(time.Millisecond) {
		name := path + at.Format(rotatedLayout)
		taken := false
		for _, suffix := range []string{"", compressedSuffix, partialSuffix} {
			_, err := os.Lstat(name + suffix)
			if err != nil && !errors.Is(err, fs.ErrNotExist) {
				return "", err
			}
			taken = taken || err == nil
		}
		if !taken {
			return name, nil
		}
	}
}
