// Package fileinput is input_file: it follows files of NDJSON events, or replays them.
package fileinput

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"

	"github.com/bmatcuk/doublestar/v4"

	"github.com/flinktail/flinktail/pipeline"
)

func init() { pipeline.Register("input_file", func() any { return New() }) }

// Input is input_file; its exported fields are its options.
type Input struct {
	FilePaths    []string      `jsonschema_description:"files to read; *, ?, [a-z], {a,b} and ** (any folders) are wildcards"`
	From         string        `jsonschema:"enum=beginning,enum=end" jsonschema_description:"where to begin in files that are there at the first start; later ones are read from their beginning"`
	Replay       string        `jsonschema:"enum=,enum=recorded,enum=at_once" jsonschema_description:"read every file once at each start, without following it or remembering a position: recorded keeps the pace of the events' times, at_once does not wait"`
	Speed        float64       `jsonschema_description:"with Replay recorded: how many times faster than recorded"`
	MaxLineBytes pipeline.Size `jsonschema_description:"largest event; a larger line is rejected"`
	PollInterval time.Duration `jsonschema_description:"how often to look for new, grown and rotated files beside the notifications of the file system"`

	context pipeline.Context
	log     *slog.Logger
	grace   time.Duration // how long a rotated file is watched for late writes
	once    bool

	complained map[string]string // what was last said about a path, to say it once
	ignored    map[fileID]bool   // compressed files
	watch      *watcher

	saving  sync.Mutex    // held while positions are stored, so that the newest are stored last
	wake    chan struct{} // a file changed
	freed   chan struct{} // a chunk was settled
	unsaved chan struct{} // positions changed

	mu        sync.Mutex          // guards what follows, and the same of every tail
	positions map[fileID]position // where the last run stopped, for files that are not open
	tails     []*tail             // open files, in the order they were found; only Run changes the list
	inflight  int                 // bytes of the chunks that are not settled
	dirty     bool                // positions changed since they were stored
	free      []*chunk
}

// New returns an input with its defaults.
func New() *Input {
	return &Input{
		From:         "beginning",
		Speed:        1,
		MaxLineBytes: pipeline.MiB,
		PollInterval: time.Second,
		grace:        10 * time.Second,
	}
}

// Description implements [pipeline.Input].
func (in *Input) Description() string {
	return "follows or replays files of NDJSON events, across rotation and restarts"
}

//go:embed sample.json
var sample []byte

// Sample implements [pipeline.Documented].
func (in *Input) Sample() []byte { return sample }

// ReadOnce implements [pipeline.Finite]: Run returns when what the files hold is settled.
func (in *Input) ReadOnce() { in.once = true }

// Validate implements [pipeline.Validator].
func (in *Input) Validate() error {
	var errs []error
	option := func(name string, ok bool, text string, args ...any) {
		if !ok {
			errs = append(errs, &pipeline.OptionError{Option: name, Err: fmt.Errorf(text, args...)})
		}
	}
	option("FilePaths", len(in.FilePaths) > 0, "name at least one file")
	for i, pattern := range in.FilePaths {
		option(fmt.Sprintf("FilePaths[%d]", i), pattern != "" && doublestar.ValidatePathPattern(pattern), "%q is not a path or a valid pattern", pattern)
	}
	option("From", in.From == "beginning" || in.From == "end", `%q is neither "beginning" nor "end"`, in.From)
	option("Replay", in.Replay == "" || in.Replay == replayRecorded || in.Replay == replayAtOnce, `%q is neither "recorded" nor "at_once"`, in.Replay)
	option("Speed", in.Speed > 0, "must be more than 0")
	option("MaxLineBytes", in.MaxLineBytes > 0 && in.MaxLineBytes <= 64*pipeline.MiB, "must be between 1B and 64MiB")
	option("PollInterval", in.PollInterval >= 10*time.Millisecond, "must be at least 10ms")
	return errors.Join(errs...)
}

const (
	replayRecorded = "recorded"
	replayAtOnce   = "at_once"
)

// Init implements [pipeline.Input]. A path without wildcards must exist and be readable.
func (in *Input) Init(c pipeline.Context) error {
	in.context, in.log = c, c.Logger()
	in.complained = map[string]string{}
	in.ignored = map[fileID]bool{}
	in.wake, in.freed, in.unsaved = make(chan struct{}, 1), make(chan struct{}, 1), make(chan struct{}, 1)
	for i, path := range in.FilePaths {
		if hasWildcard(path) {
			continue
		}
		f, err := openRegular(path)
		if err != nil {
			return &pipeline.OptionError{Option: fmt.Sprintf("FilePaths[%d]", i), Err: err}
		}
		_ = f.Close()
	}
	if err := in.loadPositions(); err != nil {
		return err
	}
	c.Gauge("inflight_bytes", "Bytes that were read and are not settled.", func() float64 {
		in.mu.Lock()
		defer in.mu.Unlock()
		return float64(in.inflight)
	})
	c.Gauge("open_files", "Files that are followed.", func() float64 {
		in.mu.Lock()
		defer in.mu.Unlock()
		return float64(len(in.tails))
	})
	return nil
}

// Waiting implements [pipeline.Waiter]: nothing more is read until something is settled.
func (in *Input) Waiting() bool {
	in.mu.Lock()
	defer in.mu.Unlock()
	return in.inflight+chunkSize > maxInflight
}

// openRegular opens a regular file for reading.
func openRegular(path string) (*os.File, error) {
	info, err := os.Stat(path) // first: opening a pipe would wait for its writer
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", path, errors.Unwrap(err))
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("open %s: not a regular file", path)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", path, errors.Unwrap(err))
	}
	return f, nil
}

// Run implements [pipeline.Input].
func (in *Input) Run(ctx context.Context, out pipeline.Sink) error {
	in.watch = newWatcher(in.log, in.wake)
	defer in.watch.close()
	stopSaving := in.startSaving()
	defer stopSaving()

	poll := time.NewTicker(in.PollInterval)
	defer poll.Stop()
	err := in.discover(true)
	for ctx.Err() == nil {
		if in.once && err != nil {
			return err
		}
		var progress bool
		if progress, err = in.advanceAll(ctx, out); progress {
			continue
		}
		if in.once && err == nil && in.finished() {
			return in.save()
		}
		select {
		case <-ctx.Done():
		case <-poll.C:
			err = errors.Join(err, in.discover(false))
		case <-in.freed:
		case <-in.wake:
			if in.watch.changed() {
				err = errors.Join(err, in.discover(false))
			}
		}
	}
	return nil
}

// advanceAll reads a chunk of every file that has one. The error is about files that cannot be read; it is logged.
func (in *Input) advanceAll(ctx context.Context, out pipeline.Sink) (progress bool, err error) {
	for i := range in.tails {
		more, fault := in.advance(ctx, i, out)
		progress = progress || more
		if fault != nil {
			err = errors.Join(err, in.complain(in.tails[i].path, fault))
		}
	}
	in.closeEnded()
	return progress, err
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// finished reports whether every file is read to its end and everything is settled.
func (in *Input) finished() bool {
	in.mu.Lock()
	defer in.mu.Unlock()
	for _, t := range in.tails {
		if !t.atEnd || len(t.flight) > 0 || t.lost {
			return false
		}
	}
	return true
}

// complain logs a problem of a path, and again only when it changes. It returns the error.
func (in *Input) complain(path string, err error) error {
	if in.complained[path] != err.Error() {
		in.complained[path] = err.Error()
		in.log.Warn("file is not read", "path", path, "error", err)
	}
	return err
}

// Stop implements [pipeline.Input]: it saves the positions and closes the files.
func (in *Input) Stop() error {
	if in.context == nil {
		return nil
	}
	err := in.save()
	in.mu.Lock()
	defer in.mu.Unlock()
	for _, t := range in.tails {
		_ = t.file.Close()
	}
	in.tails, in.free = nil, nil
	return err
}

var _ interface {
	pipeline.Finite
	pipeline.Validator
	pipeline.Documented
} = (*Input)(nil)
