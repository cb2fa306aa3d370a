// Package tally is flusher_tally: how many events of each kind there were.
package tally

import (
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/flinktail/flinktail/pipeline"
	"github.com/flinktail/flinktail/protocol"
	"github.com/flinktail/flinktail/protocol/flink"
)

//go:embed sample.json
var sample []byte

func init() { pipeline.Register("flusher_tally", func() any { return &Flusher{} }) }

// Flusher counts events. Its exported fields are the options.
type Flusher struct {
	FileName string `jsonschema:"required" jsonschema_description:"the file that holds the counts, as one JSON object"`

	mu     sync.Mutex
	counts map[string]int // nil while the flusher does not run
}

var errNotRunning = errors.New("flusher_tally is not running")

// Description says what the flusher does.
func (f *Flusher) Description() string { return "counts events by kind" }

// Sample returns a pipeline that uses the flusher.
func (f *Flusher) Sample() []byte { return sample }

// Validate checks that there is a file to write.
func (f *Flusher) Validate() error {
	if f.FileName == "" {
		return &pipeline.OptionError{Option: "FileName", Err: errors.New("is missing")}
	}
	return nil
}

// Init goes on from the counts that the file holds.
func (f *Flusher) Init(pipeline.Context) error {
	counts := map[string]int{}
	text, err := os.ReadFile(f.FileName)
	if err == nil {
		err = json.Unmarshal(text, &counts)
	}
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("read counts: %w", err)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.counts = counts
	return nil
}

// IsReady reports whether the flusher runs.
func (f *Flusher) IsReady(string, string, int64) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.counts != nil
}

// Flush counts the events; they are delivered when the new counts are on disk.
func (f *Flusher) Flush(_, _, _ string, groups []*protocol.LogGroup) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.counts == nil {
		return errNotRunning
	}
	counts := maps.Clone(f.counts)
	for _, g := range groups {
		for _, log := range g.Logs {
			counts[strings.Clone(g.Field(log, flink.FieldKind))]++ // the group's memory is not ours to keep
		}
	}
	if err := write(f.FileName, counts); err != nil {
		return fmt.Errorf("write counts: %w", err)
	}
	f.counts = counts
	return nil
}

// write replaces the file as a whole, so that a crash leaves the old counts or the new ones.
func write(name string, counts map[string]int) error {
	text, err := json.Marshal(counts)
	if err != nil {
		return err
	}
	file, err := os.CreateTemp(filepath.Dir(name), ".tally-*")
	if err != nil {
		return err
	}
	defer os.Remove(file.Name()) // gone already when the rename succeeded
	_, err = file.Write(append(text, '\n'))
	if err := errors.Join(err, file.Sync(), file.Close()); err != nil {
		return err
	}
	return os.Rename(file.Name(), name)
}

// SetUrgent changes nothing: Flush never waits for more.
func (f *Flusher) SetUrgent(bool) {}

// Stop ends the counting; the file is complete.
func (f *Flusher) Stop() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.counts = nil
	return nil
}
