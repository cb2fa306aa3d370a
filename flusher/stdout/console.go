package stdout

import (
	"context"
	"errors"
	"fmt"
	"os"
	"syscall"

	"golang.org/x/term"

	"github.com/flinktail/flinktail/pipeline"
)

// printing is held while somebody writes to the standard output: there is one for the whole process.
var printing = make(chan struct{}, 1)

// console is the standard output.
type console struct {
	out      *os.File
	terminal bool
	colour   bool
}

func openConsole(stdout *os.File) (*console, error) {
	// A write to a closed pipe kills a Go program when it goes through os.Stdout itself, and
	// with it every other flusher; through a copy it is an error.
	out, err := duplicate(stdout)
	if err != nil {
		return nil, fmt.Errorf("open standard output: %w", err)
	}
	terminal := term.IsTerminal(int(out.Fd()))
	return &console{
		out:      out,
		terminal: terminal,
		colour:   terminal && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb",
	}, nil
}

func (c *console) style() style {
	s := style{colour: c.colour}
	if c.terminal {
		if width, _, err := term.GetSize(int(c.out.Fd())); err == nil {
			s.width = width
		}
	}
	return s
}

// write leaves the write to a goroutine of its own, because nothing ends a write to a pipe that nobody reads. When
// ctx ends or stopped closes first, the goroutine keeps p.
func (c *console) write(ctx context.Context, stopped <-chan struct{}, p []byte) (kept bool, err error) {
	select {
	case printing <- struct{}{}:
	case <-ctx.Done():
		return false, fmt.Errorf("write standard output: %w", ctx.Err())
	case <-stopped:
		return false, errNotRunning
	}
	done := make(chan error, 1)
	go func() {
		defer func() { <-printing }()
		_, err := c.out.Write(p)
		done <- err
	}()
	select {
	case err = <-done:
		return false, classify(err)
	case <-ctx.Done():
		return true, fmt.Errorf("write standard output: %w", ctx.Err())
	case <-stopped:
		return true, errNotRunning
	}
}

func classify(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, syscall.EPIPE):
		return pipeline.Blocked(fmt.Errorf("nobody reads the standard output any more: %w", err))
	case errors.Is(err, syscall.EBADF):
		return pipeline.Blocked(fmt.Errorf("the standard output is closed: %w", err))
	}
	return err
}

func (c *console) close() error { return c.out.Close() }
