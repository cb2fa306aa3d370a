package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/flinktail/flinktail/internal/engine"
	"github.com/flinktail/flinktail/internal/queue/disk"
)

type queueCommand struct {
	Inspect inspectCommand `cmd:"" help:"What the queues on disk hold, and how much of it is left to each flusher: tables on a terminal, else NDJSON, a line for each pipeline. A flinktail may run meanwhile."`
	Verify  verifyCommand  `cmd:"" help:"Read everything that the queues on disk hold and list what is damaged: a table on a terminal, else NDJSON. The exit code is 1 when something is. A flinktail may run meanwhile."`
	Forget  forgetCommand  `cmd:"" help:"Give up what is left to a flusher that was removed from the configuration. No flinktail may run meanwhile."`
}

// pipelineFilter chooses a queue; an empty one chooses all.
type pipelineFilter struct {
	Pipeline string `placeholder:"NAME" help:"Only the queue of this pipeline."`
}

// queues returns the names of the pipelines under dataDir that have a queue on disk, sorted: all, or the one named only, which must exist.
func queues(dataDir, only string) ([]string, error) {
	entries, err := os.ReadDir(dataDir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("list queues: there is no folder %s; name the data folder with -data-dir", dataDir)
	}
	if err != nil {
		return nil, fmt.Errorf("list queues: %w", err)
	}
	var names []string
	for _, entry := range entries {
		if info, err := os.Stat(engine.QueueDir(dataDir, entry.Name())); err == nil && info.IsDir() {
			names = append(names, entry.Name())
		}
	}
	switch {
	case only == "":
		return names, nil
	case slices.Contains(names, only):
		return []string{only}, nil
	case len(names) == 0:
		return nil, fmt.Errorf("pipeline %s has no queue in %s; no pipeline has", only, dataDir)
	}
	return nil, fmt.Errorf("pipeline %s has no queue in %s; these have: %s", only, dataDir, strings.Join(names, ", "))
}

type inspectCommand struct{ pipelineFilter }

// queueReport is the queue of one pipeline.
type queueReport struct {
	Pipeline string `json:"pipeline"`
	Dir      string `json:"dir"`
	*disk.Report
}

func (c *inspectCommand) Run(a *app) error {
	pipelines, err := queues(a.DataDir, c.Pipeline)
	if err != nil {
		return err
	}
	if len(pipelines) == 0 {
		fmt.Fprintf(a.stderr, "no queues in %s\n", a.DataDir)
		return nil
	}
	reports := make([]queueReport, len(pipelines))
	for i, pipeline := range pipelines {
		dir := engine.QueueDir(a.DataDir, pipeline)
		report, err := disk.Inspect(dir)
		if err != nil {
			return fmt.Errorf("%s: %w", dir, err)
		}
		reports[i] = queueReport{pipeline, dir, report}
	}
	if isTerminal(a.stdout) {
		return printQueues(a.stdout, reports)
	}
	return printLines(a.stdout, reports)
}

// printQueues prints what is left to each flusher, the segments that hold it, and where damaged bytes are kept.
func printQueues(w io.Writer, reports []queueReport) error {
	var cursors, segments [][]string
	var damaged strings.Builder
	now := time.Now()
	for _, r := range reports {
		for _, c := range r.Cursors {
			cursors = append(cursors, []string{r.Pipeline, c.Name, strconv.Itoa(c.Backlog), ageOf(c.Oldest, now)})
		}
		for _, s := range r.Segments {
			segments = append(segments, []string{
				r.Pipeline, s.Name, strconv.FormatUint(s.First, 10), strconv.Itoa(s.Events), strconv.FormatInt(s.Bytes, 10), ageOf(s.Created, now),
			})
		}
		for _, name := range r.Damaged {
			fmt.Fprintf(&damaged, "damaged bytes are kept in %s\n", filepath.Join(r.Dir, name))
		}
	}
	if err := printTable(w, []string{"PIPELINE", "FLUSHER", "BACKLOG", "OLDEST"}, cursors); err != nil {
		return err
	}
	fmt.Fprintln(w) // errors come with what follows
	if err := printTable(w, []string{"PIPELINE", "SEGMENT", "FIRST", "EVENTS", "BYTES", "CREATED"}, segments); err != nil {
		return err
	}
	_, err := io.WriteString(w, damaged.String())
	return err
}

// printLines writes NDJSON.
func printLines[T any](w io.Writer, values []T) error {
	encoder := json.NewEncoder(w)
	encoder.SetEscapeHTML(false)
	for _, v := range values {
		if err := encoder.Encode(v); err != nil {
			return err
		}
	}
	return nil
}

// ageOf is age for a time that may be zero.
func ageOf(t, now time.Time) string {
	if t.IsZero() {
		return age(nil, now)
	}
	return age(&t, now)
}

type verifyCommand struct{ pipelineFilter }

// damageReport is one place that cannot be read.
type damageReport struct {
	Pipeline string `json:"pipeline"`
	File     string `json:"file"`
	Offset   int64  `json:"offset"`
	Bytes    int64  `json:"bytes"`
	Events   int    `json:"events"` // that it held, 0 when that is unknown
	Error    string `json:"error"`
}

func (c *verifyCommand) Run(a *app) error {
	pipelines, err := queues(a.DataDir, c.Pipeline)
	if err != nil {
		return err
	}
	if len(pipelines) == 0 {
		fmt.Fprintf(a.stderr, "no queues in %s\n", a.DataDir)
		return nil
	}
	var damages []damageReport
	for _, pipeline := range pipelines {
		found, err := verifyQueue(a, pipeline)
		if err != nil {
			return err
		}
		damages = append(damages, found...)
	}
	if len(damages) == 0 {
		return nil
	}
	if err := printDamages(a.stdout, damages); err != nil {
		return err
	}
	events := 0
	for _, d := range damages {
		events += d.Events
	}
	return fmt.Errorf("%s damaged, with %s in them; flinktail skips them, counts them as corrupt and keeps their bytes in the folder \"damaged\" of the queue",
		count(len(damages), "place"), count(events, "event"))
}

func verifyQueue(a *app, pipeline string) (damages []damageReport, err error) {
	dir := engine.QueueDir(a.DataDir, pipeline)
	told := time.Now()
	v, err := disk.Verify(dir, func(d disk.Damage) {
		damages = append(damages, damageReport{pipeline, filepath.Join(dir, d.File), d.Offset, d.Bytes, d.Events, d.Err.Error()})
	}, func(read, total int64) {
		if time.Since(told) >= 2*time.Second {
			told = time.Now()
			fmt.Fprintf(a.stderr, "%s: %d of %d MB\n", pipeline, read/1e6, total/1e6)
		}
	})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", dir, err)
	}
	fmt.Fprintf(a.stderr, "%s: %s in %s can be read\n", pipeline, count(v.Events, "event"), count(v.Segments, "segment"))
	return damages, nil
}

func printDamages(w io.Writer, damages []damageReport) error {
	if !isTerminal(w) {
		return printLines(w, damages)
	}
	var rows [][]string
	for _, d := range damages {
		rows = append(rows, []string{
			d.Pipeline, d.File, strconv.FormatInt(d.Offset, 10), strconv.FormatInt(d.Bytes, 10), strconv.Itoa(d.Events), d.Error,
		})
	}
	return printTable(w, []string{"PIPELINE", "FILE", "OFFSET", "BYTES", "EVENTS", "DAMAGE"}, rows)
}

type forgetCommand struct {
	Pipeline string `required:"" placeholder:"NAME" help:"The pipeline."`
	Plugin   string `required:"" placeholder:"NAME" help:"The flusher as \"queue inspect\" shows it, such as flusher_kafka or flusher_kafka/audit."`
}

func (c *forgetCommand) Run(a *app) error {
	if _, err := queues(a.DataDir, c.Pipeline); err != nil {
		return err
	}
	q, err := disk.Open(engine.QueueDir(a.DataDir, c.Pipeline), disk.Options{
		Damaged: func(d disk.Damage) { fmt.Fprintf(a.stderr, "%s: damaged: %s\n", c.Pipeline, d) },
	})
	if errors.Is(err, disk.ErrInUse) {
		return fmt.Errorf("%w; stop it first", err)
	}
	if err != nil {
		return err
	}
	backlogs := q.Unused() // all: nobody reads
	backlog, ok := backlogs[c.Plugin]
	switch {
	case ok:
		err = q.Forget(c.Plugin)
	case len(backlogs) == 0:
		err = fmt.Errorf("forget %s/%s: nothing is kept for any flusher of this pipeline", c.Pipeline, c.Plugin)
	default:
		err = fmt.Errorf("forget %s/%s: nothing is kept for a flusher of this name; there is for %s",
			c.Pipeline, c.Plugin, strings.Join(slices.Sorted(maps.Keys(backlogs)), ", "))
	}
	if err := errors.Join(err, q.Stop()); err != nil {
		return err
	}
	fmt.Fprintf(a.stderr, "%s/%s: forgotten; %s not delivered to it\n", c.Pipeline, c.Plugin, count(backlog, "event"))
	return nil
}
