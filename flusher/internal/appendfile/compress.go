package appendfile

import (
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// Compress replaces the rotated files that match pattern by their gzip form. The original goes only when the
// compressed file is complete and on disk, so that a crash at any point loses nothing and the next call goes on. The
// errors of all files are joined; ctx's end stops between two blocks.
func Compress(ctx context.Context, pattern string) error {
	paths, err := filepath.Glob(pattern)
	if err != nil {
		return fmt.Errorf("list %s: %w", pattern, err)
	}
	var errs []error
	for _, path := range paths {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if !isRotatedPlain(path) {
			continue
		}
		if err := compress(ctx, path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, fmt.Errorf("compress %s: %w", path, err))
		}
	}
	return errors.Join(errs...)
}

func compress(ctx context.Context, path string) (err error) {
	in, err := os.Open(path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, in.Close()) }()
	// Another flusher or process may be at the same file, and may have removed it since it was opened.
	if err := lock(in); errors.Is(err, syscall.EWOULDBLOCK) {
		return nil
	} else if err != nil {
		return err
	}
	info, err := in.Stat()
	if err != nil {
		return err
	}
	if now, err := os.Lstat(path); err != nil || !os.SameFile(now, info) {
		return err
	}
	partial := path + partialSuffix
	if err := writeGzip(ctx, partial, in); err != nil {
		return errors.Join(err, os.Remove(partial))
	}
	if err := os.Rename(partial, path+compressedSuffix); err != nil {
		return err
	}
	if err := syncDir(filepath.Dir(path)); err != nil {
		return err
	}
	return os.Remove(path)
}

func writeGzip(ctx context.Context, path string, in io.Reader) (err error) {
	out, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, filePerm)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	z := gzip.NewWriter(out)
	block := make([]byte, 128<<10)
	for {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		n, readErr := in.Read(block)
		if _, err := z.Write(block[:n]); err != nil {
			return err
		}
		if readErr == io.EOF {
			break
		}
		if readErr != nil {
			return readErr
		}
	}
	if err := z.Close(); err != nil {
		return err
	}
	return out.Sync()
}
