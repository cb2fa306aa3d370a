package cli

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/flinktail/flinktail/internal/deadletter"
)

type deadletterCommand struct {
	List   listCommand   `cmd:"" help:"What there is, file by file: a table on a terminal, else NDJSON."`
	Show   showCommand   `cmd:"" help:"Print letters: indented on a terminal, else NDJSON."`
	Replay replayCommand `cmd:"" help:"Send letters to their flushers again and remove those that are delivered."`
}

// filters choose letters; an empty one chooses all.
type filters struct {
	Pipeline string `placeholder:"NAME" help:"Only letters of this pipeline."`
	Plugin   string `placeholder:"NAME" help:"Only letters of this plugin, such as flusher_kafka or flusher_kafka/audit."`
	Reason   string `placeholder:"REASON" help:"Only letters with this reason."`
	ID       string `name:"id" placeholder:"EVENT_ID" help:"Only the event with this id."`
}

func (f *filters) match(l *deadletter.Letter) bool {
	return (f.Pipeline == "" || f.Pipeline == l.Pipeline) &&
		(f.Plugin == "" || f.Plugin == l.Plugin) &&
		(f.Reason == "" || f.Reason == l.Reason) &&
		(f.ID == "" || f.ID == l.EventID)
}

type listCommand struct{}

// fileReport is one file of letters.
type fileReport struct {
	Pipeline   string         `json:"pipeline"`
	File       string         `json:"file"`
	Letters    int            `json:"letters"`
	Unreadable int            `json:"unreadable"` // lines that are no letter, such as one that a crash tore
	Bytes      int64          `json:"bytes"`
	Reasons    map[string]int `json:"reasons"`
	Plugins    map[string]int `json:"plugins"`
	Oldest     *time.Time     `json:"oldest,omitempty"`
	Newest     *time.Time     `json:"newest,omitempty"`
}

func (r *fileReport) add(record *deadletter.Record) {
	r.Bytes += int64(len(record.Line)) + 1
	if record.Err != nil {
		r.Unreadable++
		return
	}
	l := &record.Letter
	r.Letters++
	r.Reasons[l.Reason]++
	r.Plugins[l.Plugin]++
	if r.Oldest == nil || l.Time.Before(*r.Oldest) {
		r.Oldest = &l.Time
	}
	if r.Newest == nil || l.Time.After(*r.Newest) {
		r.Newest = &l.Time
	}
}

func (*listCommand) Run(a *app) error {
	reports, err := fileReports(a.DataDir)
	if err != nil {
		return err
	}
	if len(reports) == 0 {
		fmt.Fprintf(a.stderr, "no dead letters in %s\n", a.DataDir)
		return nil
	}
	if !isTerminal(a.stdout) {
		encoder := json.NewEncoder(a.stdout)
		encoder.SetEscapeHTML(false)
		for _, r := range reports {
			if err := encoder.Encode(r); err != nil {
				return err
			}
		}
		return nil
	}
	var rows [][]string
	for _, r := range reports {
		rows = append(rows, r.row(time.Now()))
	}
	return printTable(a.stdout, []string{"PIPELINE", "FILE", "LETTERS", "BYTES", "REASONS", "PLUGINS", "OLDEST", "NEWEST"}, rows)
}

func fileReports(dataDir string) ([]*fileReport, error) {
	var reports []*fileReport
	err := eachRecord(dataDir, "", func(pipeline string, record deadletter.Record) error {
		if n := len(reports); n == 0 || reports[n-1].File != record.File {
			reports = append(reports, &fileReport{
				Pipeline: pipeline, File: record.File, Reasons: map[string]int{}, Plugins: map[string]int{},
			})
		}
		reports[len(reports)-1].add(&record)
		return nil
	})
	return reports, err
}

func (r *fileReport) row(now time.Time) []string {
	letters := strconv.Itoa(r.Letters)
	if r.Unreadable > 0 {
		letters += fmt.Sprintf(" + %d unreadable", r.Unreadable)
	}
	return []string{
		r.Pipeline, filepath.Base(r.File), letters, strconv.FormatInt(r.Bytes, 10), tally(r.Reasons), tally(r.Plugins),
		age(r.Oldest, now), age(r.Newest, now),
	}
}

// tally is "permanent 3, too_old 1".
func tally(counts map[string]int) string {
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(counts)) {
		parts = append(parts, fmt.Sprintf("%s %d", name, counts[name]))
	}
	return strings.Join(parts, ", ")
}

// age is "12s", "5m", "3h", "9d" ago.
func age(t *time.Time, now time.Time) string {
	if t == nil {
		return "-"
	}
	d := now.Sub(*t)
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%ds", int(d.Seconds()))
	case d < time.Hour:
		return fmt.Sprintf("%dm", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh", int(d.Hours()))
	}
	return fmt.Sprintf("%dd", int(d.Hours()/24))
}

type showCommand struct{ filters }

func (c *showCommand) Run(a *app) error {
	shown, unreadable := 0, 0
	err := eachRecord(a.DataDir, c.Pipeline, func(_ string, record deadletter.Record) error {
		if record.Err != nil {
			unreadable++
			return nil
		}
		if !c.match(&record.Letter) {
			return nil
		}
		shown++
		return printLetter(a.stdout, record.Line)
	})
	if err != nil {
		return err
	}
	if shown == 0 {
		fmt.Fprintf(a.stderr, "no such dead letters in %s\n", a.DataDir)
	}
	if unreadable > 0 {
		fmt.Fprintf(a.stderr, "%s unreadable\n", count(unreadable, "line"))
	}
	return nil
}

func printLetter(w io.Writer, line []byte) error {
	var text bytes.Buffer
	if !isTerminal(w) {
		text.Write(line)
	} else if err := json.Indent(&text, line, "", "  "); err != nil {
		return err
	}
	text.WriteByte('\n')
	_, err := w.Write(text.Bytes())
	return err
}

// eachRecord calls fn for the letters of one pipeline, or of all.
func eachRecord(dataDir, only string, fn func(pipeline string, record deadletter.Record) error) error {
	pipelines, err := deadletter.Pipelines(dataDir)
	if err != nil {
		return err
	}
	for _, name := range pipelines {
		if only != "" && name != only {
			continue
		}
		err := deadletter.Read(deadletter.Dir(dataDir, name), func(r deadletter.Record) error { return fn(name, r) })
		if err != nil {
			return err
		}
	}
	return nil
}
