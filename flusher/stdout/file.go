package stdout

import (
	"context"
	"errors"
	"sync"

	"github.com/flinktail/flinktail/flusher/internal/appendfile"
)

// fileDestination is a file that is opened when there is something to write.
type fileDestination struct {
	path    string
	options appendfile.Options

	mu     sync.Mutex
	file   *appendfile.File
	closed bool
}

func (d *fileDestination) style() style { return style{} }

func (d *fileDestination) write(ctx context.Context, _ <-chan struct{}, p []byte) (kept bool, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for {
		switch {
		case d.closed:
			return false, errNotRunning
		case ctx.Err() != nil:
			return false, ctx.Err()
		}
		err := d.append(p)
		if err == nil {
			return false, nil
		}
		if err = errors.Join(err, d.closeFile()); !errors.Is(err, appendfile.ErrMoved) {
			return false, err
		}
	}
}

func (d *fileDestination) append(p []byte) (err error) {
	if d.file == nil {
		if d.file, err = appendfile.Open(d.path, d.options); err != nil {
			return err
		}
	}
	size, err := d.file.Size()
	if err != nil {
		return err
	}
	return d.file.Append(p, size)
}

func (d *fileDestination) close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.closed = true
	return d.closeFile()
}

func (d *fileDestination) closeFile() error {
	if d.file == nil {
		return nil
	}
	file := d.file
	d.file = nil
	return file.Close()
}
