package fileinput

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// position is where reading goes on in one file: everything before Offset is settled.
type position struct {
	fileID
	Path       string `json:"path"`
	Offset     int64  `json:"offset"`
	Generation int    `json:"generation,omitempty"` // how often the file was found written anew
	Head       head   `json:"head"`
}

const positionsKey = "positions"

// loadPositions reads what the last run stored; positions stays nil at the first start.
func (in *Input) loadPositions() error {
	text, err := in.context.State().Load(positionsKey)
	if err != nil {
		return fmt.Errorf("load positions: %w", err)
	}
	if text == nil || in.Replay != "" {
		return nil
	}
	var stored []position
	if err := json.Unmarshal(text, &stored); err != nil {
		return fmt.Errorf("load positions: %w", err)
	}
	in.positions = make(map[fileID]position, len(stored))
	for _, p := range stored {
		in.positions[p.fileID] = p
	}
	return nil
}

// save stores the positions if they changed.
func (in *Input) save() error {
	in.saving.Lock()
	defer in.saving.Unlock()
	in.mu.Lock()
	if !in.dirty || in.Replay != "" {
		in.mu.Unlock()
		return nil
	}
	in.dirty = false
	all := make([]position, 0, len(in.tails)+len(in.positions))
	for _, t := range in.tails {
		all = append(all, position{fileID: t.id, Path: t.path, Offset: t.settled, Generation: t.generation, Head: t.head})
	}
	for _, p := range in.positions {
		all = append(all, p)
	}
	in.mu.Unlock()

	text, err := json.Marshal(all)
	if err == nil {
		err = in.context.State().Store(positionsKey, text)
	}
	if err != nil {
		in.mu.Lock()
		in.dirty = true
		in.mu.Unlock()
		return fmt.Errorf("store positions: %w", err)
	}
	return nil
}

// touch notes that positions changed. The caller holds mu.
func (in *Input) touch() {
	in.dirty = true
	signal(in.unsaved)
}

// Positions are stored soon after they change, but not more often than that, nor than the other after an error: each
// time waits for the disk.
const (
	savePause  = 100 * time.Millisecond
	retryPause = time.Second
)

// startSaving stores positions as they change, until the returned function is called.
func (in *Input) startSaving() (stop func()) {
	stopped, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		for {
			select {
			case <-stopped:
				return
			case <-in.unsaved:
			}
			pause := savePause
			if err := in.save(); err != nil {
				in.log.Error("events will come again after a restart", "error", err)
				signal(in.unsaved)
				pause = retryPause
			}
			select {
			case <-stopped:
				return
			case <-time.After(pause):
			}
		}
	}()
	return func() {
		close(stopped)
		<-ended
	}
}

// findRotated looks for the files that the last run was reading and that no pattern matches any more: they were renamed in the
// meantime. What they still hold is read; the positions of files that are gone are forgotten.
func (in *Input) findRotated() {
	in.mu.Lock()
	wanted := make(map[string][]position)
	for _, p := range in.positions {
		dir := filepath.Dir(p.Path)
		wanted[dir] = append(wanted[dir], p)
	}
	in.mu.Unlock()
	for dir, positions := range wanted {
		entries, err := os.ReadDir(dir)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			continue // perhaps it can be read the next time
		}
		paths := map[fileID]string{}
		for _, entry := range entries {
			info, err := entry.Info()
			if err != nil || !info.Mode().IsRegular() {
				continue
			}
			path := filepath.Join(dir, entry.Name())
			if id, err := identify(path, info); err == nil {
				paths[id] = path
			}
		}
		for _, p := range positions {
			if path, ok := paths[p.fileID]; ok {
				in.openRotated(path, p)
			}
			in.mu.Lock()
			delete(in.positions, p.fileID)
			in.touch()
			in.mu.Unlock()
		}
	}
}
