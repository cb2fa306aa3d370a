// Package stdout is flusher_stdout: events for a person at a terminal, or as JSON into a pipe or a file.
package stdout

import (
	"context"
	_ "embed"
	"errors"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/flinktail/flinktail/flusher/internal/appendfile"
	"github.com/flinktail/flinktail/pipeline"
	"github.com/flinktail/flinktail/protocol"
	"github.com/flinktail/flinktail/protocol/flink"
)

//go:embed sample.json
var sample []byte

func init() { pipeline.Register("flusher_stdout", func() any { return New() }) }

// Formats of the output.
const (
	FormatAuto = "auto"
	FormatText = "text"
	FormatJSON = "json"
)

// Flusher prints events. Its exported fields are the options.
type Flusher struct {
	OnlyStdout bool   `jsonschema_description:"print to the standard output even if FileName is set"`
	FileName   string `jsonschema_description:"append to this file instead of the standard output; flusher_file can also rotate"`
	Format     string `jsonschema:"enum=auto,enum=text,enum=json" jsonschema_description:"text: a line for a person; json: a JSON object a line; auto: text on a terminal, else json"`

	stdout   *os.File
	ctx      context.Context
	dest     destination
	text     bool
	encoders sync.Pool
	ready    atomic.Bool
	stopped  chan struct{}
}

// destination is where the lines go.
type destination interface {
	// style says how text lines look there now.
	style() style
	// write writes p, whole, or returns an error. When it returns before p is free to be used again, kept is true.
	write(ctx context.Context, stopped <-chan struct{}, p []byte) (kept bool, err error)
	close() error
}

// New returns the flusher with its defaults.
func New() *Flusher { return &Flusher{Format: FormatAuto, stdout: os.Stdout} }

// Description says what the flusher does.
func (f *Flusher) Description() string { return "prints events to the standard output or a file" }

// Sample returns a pipeline that uses the flusher.
func (f *Flusher) Sample() []byte { return sample }

// Init looks at what the standard output is. A file is opened at the first event.
func (f *Flusher) Init(c pipeline.Context) error {
	if f.FileName != "" && !f.OnlyStdout {
		f.dest = &fileDestination{path: f.FileName, options: appendfile.Options{Sync: true, Logger: c.Logger()}}
		f.text = f.Format == FormatText
	} else {
		out, err := openConsole(f.stdout)
		if err != nil {
			return err
		}
		f.dest = out
		f.text = f.Format == FormatText || f.Format == FormatAuto && out.terminal
	}
	f.ctx = c.Context()
	f.stopped = make(chan struct{})
	f.encoders.New = func() any { return &encoder{json: protocol.NewJSONEncoder(flink.Fields)} }
	f.ready.Store(true)
	return nil
}

// IsReady reports whether Init was called and Stop was not.
func (f *Flusher) IsReady(string, string, int64) bool { return f.ready.Load() }

// SetUrgent changes nothing: Flush never waits for more.
func (f *Flusher) SetUrgent(bool) {}

var errNotRunning = errors.New("flusher_stdout is not running")

// Flush prints the events with one write. Nil says that whoever is behind the standard output has them, or, for a
// file, that they are on disk. A standard output that nobody reads any more is a Blocked error.
func (f *Flusher) Flush(_, _, _ string, groups []*protocol.LogGroup) error {
	if !f.ready.Load() {
		return errNotRunning
	}
	e := f.encoders.Get().(*encoder)
	e.buf = e.buf[:0]
	if f.text {
		e.appendLines(groups, f.dest.style(), time.Now())
	} else {
		e.appendJSON(groups)
	}
	if len(e.buf) == 0 {
		f.encoders.Put(e)
		return nil
	}
	kept, err := f.dest.write(f.ctx, f.stopped, e.buf)
	if !kept && cap(e.buf) <= maxKept {
		f.encoders.Put(e)
	}
	return err
}

// Stop lets a Flush that waits for a reader return, and closes the file.
func (f *Flusher) Stop() error {
	if !f.ready.Swap(false) {
		return nil
	}
	close(f.stopped)
	return f.dest.close()
}

// maxKept bounds the buffer that is kept for the next batch.
const maxKept = 8 << 20

// encoder renders batches. It belongs to one goroutine at a time.
type encoder struct {
	json *protocol.JSONEncoder
	buf  []byte
	what []byte // scratch of a text line
}

func (e *encoder) appendJSON(groups []*protocol.LogGroup) {
	for _, g := range groups {
		for i := range g.Logs {
			e.buf = append(e.json.Append(e.buf, g, i), '\n')
		}
	}
}
