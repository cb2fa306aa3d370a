// Package file is flusher_file: events into files on this machine.
package file

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/flinktail/flinktail/flusher/internal/appendfile"
	"github.com/flinktail/flinktail/pipeline"
	"github.com/flinktail/flinktail/protocol"
)

//go:embed sample.json
var sample []byte

func init() { pipeline.Register("flusher_file", func() any { return New() }) }

// Formats of the files.
const (
	FormatNDJSON   = "ndjson"
	FormatProtobuf = "protobuf"
)

// Values of Sync.
const (
	SyncBatch = "batch"
	SyncNone  = "none"
)

// Flusher appends events to files. Its exported fields are the options.
type Flusher struct {
	FileName     string `jsonschema:"required" jsonschema_description:"the file to append to; %{field} stands for a field of the event, such as %{cluster} or %{label.team}, made safe for a file name, %{+yyyy-MM-dd} for its day in UTC"`
	Format       string `jsonschema:"enum=ndjson,enum=protobuf" jsonschema_description:"ndjson: one JSON object a line; protobuf: log groups, each behind its length as an unsigned varint"`
	Rotate       Rotate `jsonschema_description:"when to begin a new file"`
	Compress     string `jsonschema:"enum=none,enum=gzip" jsonschema_description:"gzip: compress rotated files, in the background"`
	Sync         string `jsonschema:"enum=batch,enum=none" jsonschema_description:"batch: an acknowledged batch survives a crash of the machine; none: it survives a crash of flinktail only"`
	MaxOpenFiles int    `jsonschema:"minimum=1" jsonschema_description:"files kept open at once, the least recently used is closed first"`

	ctx     context.Context
	name    *fileName
	files   *table
	batches sync.Pool
	ready   atomic.Bool

	rotated     chan struct{} // a file was rotated
	stopWorking context.CancelFunc
	working     sync.WaitGroup
}

// Rotate says when a file is renamed and the next one begun. It is looked at when a batch is about to be written; 0 is never.
type Rotate struct {
	MaxBytes pipeline.Size `jsonschema_description:"no file grows beyond this, unless one batch is larger; 0 is no limit"`
	MaxAge   time.Duration `jsonschema_description:"a file older than this gets no more events; 0 is no limit"`
}

// New returns the flusher with its defaults.
func New() *Flusher {
	return &Flusher{Format: FormatNDJSON, Compress: "none", Sync: SyncBatch, MaxOpenFiles: 64}
}

// Description says what the flusher does.
func (f *Flusher) Description() string { return "appends events to files, with rotation" }

// Sample returns a pipeline that uses the flusher.
func (f *Flusher) Sample() []byte { return sample }

// Validate checks FileName, and Rotate for values below zero.
func (f *Flusher) Validate() error {
	var errs []error
	if _, err := parseFileName(f.FileName); err != nil {
		errs = append(errs, &pipeline.OptionError{Option: "FileName", Err: err})
	}
	if f.Rotate.MaxAge < 0 {
		errs = append(errs, &pipeline.OptionError{Option: "Rotate.MaxAge", Err: errors.New("must not be below zero")})
	}
	return errors.Join(errs...)
}

// Connect checks, without leaving anything behind, that the file or the first of its missing folders can be created.
func (f *Flusher) Connect(context.Context) error {
	name, err := parseFileName(f.FileName)
	if err != nil {
		return err
	}
	path := name.fixedPart()
	for {
		info, err := os.Stat(path)
		switch {
		case errors.Is(err, os.ErrNotExist):
			path = filepath.Dir(path)
			continue
		case err != nil:
			return err
		case info.IsDir() && (path != f.FileName):
			probe, err := os.CreateTemp(path, ".flinktail-*")
			if err != nil {
				return fmt.Errorf("create a file in %s: %w", path, errors.Unwrap(err))
			}
			return errors.Join(probe.Close(), os.Remove(probe.Name()))
		case !info.Mode().IsRegular() || path != f.FileName:
			return fmt.Errorf("%s is in the way: not a folder or regular file", path)
		}
		file, err := os.OpenFile(path, os.O_RDWR|os.O_APPEND, 0)
		if err != nil {
			return err
		}
		return file.Close()
	}
}

// Init starts the compression; files are opened when their first event comes.
func (f *Flusher) Init(c pipeline.Context) error {
	name, err := parseFileName(f.FileName)
	if err != nil {
		return &pipeline.OptionError{Option: "FileName", Err: err}
	}
	f.ctx, f.name = c.Context(), name
	options := appendfile.Options{Sync: f.Sync != SyncNone, Logger: c.Logger()}
	if f.Format == FormatProtobuf {
		options.Framing = appendfile.Messages
	}
	f.files = newTable(options, f.MaxOpenFiles)
	f.batches.New = func() any { return newBatch(name, f.Format) }
	f.rotated = make(chan struct{}, 1)

	ctx, stop := context.WithCancel(f.ctx)
	f.stopWorking = stop
	if f.Compress == "gzip" {
		f.rotated <- struct{}{} // what an earlier run left
		f.working.Go(func() { f.compress(ctx, c) })
	}
	f.ready.Store(true)
	return nil
}

// compress compresses rotated files until ctx ends. What fails is tried again after the next rotation.
func (f *Flusher) compress(ctx context.Context, c pipeline.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-f.rotated:
		}
		if err := appendfile.Compress(ctx, f.name.glob()+appendfile.RotatedGlob); err != nil && ctx.Err() == nil {
			c.Logger().Error("rotated files stay uncompressed until the next rotation", "error", err)
		}
	}
}

// IsReady reports whether Init was called and Stop was not.
func (f *Flusher) IsReady(string, string, int64) bool { return f.ready.Load() }

// SetUrgent changes nothing: Flush never waits for more.
func (f *Flusher) SetUrgent(bool) {}

var errNotRunning = errors.New("flusher_file is not running")

// Flush appends each file's events with one write. When it returns nil they are on disk (Sync: batch) or with the
// operating system (Sync: none).
func (f *Flusher) Flush(_, _, _ string, groups []*protocol.LogGroup) error {
	if !f.ready.Load() {
		return errNotRunning
	}
	b := f.batches.Get().(*batch)
	defer f.batches.Put(b)
	defer b.reset()
	failures := b.encode(groups)

	var firstErr error
	parts, failed := b.parts(), 0
	for i := range parts {
		p := &parts[i]
		if len(p.data) == 0 {
			continue // none of its events could be encoded
		}
		err := f.ctx.Err()
		if err == nil {
			err = f.write(p)
		}
		if err == nil {
			continue
		}
		if failed++; firstErr == nil {
			firstErr = err
		}
		failures = b.appendFailures(failures, groups, p.path, err)
	}
	switch {
	case failed > 0 && failed == len(parts) && len(failures) == countLogs(groups):
		return firstErr // it says more than a list: whether it is blocked
	case len(failures) > 0:
		return &pipeline.PartialError{Failures: failures}
	}
	return nil
}

func (f *Flusher) write(p *part) error {
	e, err := f.files.acquire(p.path)
	if err != nil {
		return err
	}
	defer f.files.release(e)
	e.mu.Lock()
	defer e.mu.Unlock()
	for {
		file, size, err := e.open(f.files.options)
		if err != nil {
			return err
		}
		if f.rotationDue(file, size, len(p.data), time.Now()) {
			if err := e.rotate(time.Now()); err != nil {
				return err
			}
			select {
			case f.rotated <- struct{}{}:
			default:
			}
			continue
		}
		return e.append(p.data, size)
	}
}

func (f *Flusher) rotationDue(file *appendfile.File, size int64, more int, now time.Time) bool {
	if size == 0 {
		return false
	}
	return f.Rotate.MaxBytes > 0 && size+int64(more) > int64(f.Rotate.MaxBytes) ||
		f.Rotate.MaxAge > 0 && now.Sub(file.Born()) >= f.Rotate.MaxAge
}

// Stop closes the files, after the writes that are going on, and gives up a compression, which the next start takes up.
func (f *Flusher) Stop() error {
	if !f.ready.Swap(false) {
		return nil
	}
	f.stopWorking()
	err := f.files.close()
	f.working.Wait()
	return err
}

func countLogs(groups []*protocol.LogGroup) (n int) {
	for _, g := range groups {
		n += len(g.Logs)
	}
	return n
}
