package cli

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/flinktail/flinktail/internal/deadletter"
)

// runRefusing runs pipeline a once with a flusher that refuses these jobs.
func runRefusing(t *testing.T, inputDetail string, jobs ...string) {
	t.Helper()
	refuses, err := json.Marshal(jobs)
	require.NoError(t, err)
	inFolder(t, map[string]string{"a.json": sample(t, "input_numbers", inputDetail, `"Refuses":`+string(refuses), "")})
	r := run("-config", "a.json", "-once", "-admin-address", "off")
	require.Equal(t, exitRunTime, r.code, r.stderr)
	require.Contains(t, r.stderr, "prints them with the reasons")
}

// configure rewrites pipeline a.
func configure(t *testing.T, flusherDetail, beside string) {
	t.Helper()
	write(t, "a.json", sample(t, "input_numbers", "", flusherDetail, beside))
}

func replay(args ...string) result {
	return run(append([]string{"deadletter", "replay", "-config", "a.json"}, args...)...)
}

// letters returns the ids of the dead letters that are there.
func letters(t *testing.T) []string {
	t.Helper()
	ids := []string{}
	require.NoError(t, deadletter.Read("data/a/deadletter", func(r deadletter.Record) error {
		require.NoError(t, r.Err)
		ids = append(ids, r.Letter.EventID)
		return nil
	}))
	return ids
}

func TestListAndShow(t *testing.T) {
	runRefusing(t, `"Garbage":"{broken"`, "job 1", "job 3")

	r := run("deadletter", "list")
	require.Equal(t, exitOK, r.code, r.stderr)
	var report fileReport
	require.NoError(t, json.Unmarshal([]byte(r.stdout), &report))
	require.Equal(t, "a", report.Pipeline)
	require.Equal(t, filepath.Join("data", "a", "deadletter", "letters-000001.ndjson"), report.File)
	require.Equal(t, 3, report.Letters)
	require.Equal(t, map[string]int{"flusher_picky": 2, "input_numbers": 1}, report.Plugins)
	require.Equal(t, 1, report.Reasons["malformed_json"])
	info, err := os.Stat(report.File)
	require.NoError(t, err)
	require.Equal(t, info.Size(), report.Bytes)
	require.WithinDuration(t, time.Now(), *report.Newest, time.Minute)

	for args, want := range map[string][]string{
		"":                               {"", "1", "3"},
		"--pipeline a":                   {"", "1", "3"},
		"--pipeline b":                   nil,
		"--plugin flusher_picky":         {"1", "3"},
		"--plugin input_numbers":         {""},
		"--reason malformed_json":        {""},
		"--id 3":                         {"3"},
		"--id 3 --reason malformed_json": nil,
		"--pipeline a --plugin=flusher_picky -id 1": {"1"},
	} {
		r := run(append([]string{"deadletter", "show"}, strings.Fields(args)...)...)
		require.Equal(t, exitOK, r.code, r.stderr)
		var ids []string
		for line := range strings.Lines(r.stdout) {
			var letter struct {
				EventID string `json:"event_id"`
				Event   map[string]any
				Raw     string
			}
			require.NoError(t, json.Unmarshal([]byte(line), &letter))
			require.True(t, letter.Raw == "{broken" || letter.Event["job_name"] == "job "+letter.EventID, line)
			ids = append(ids, letter.EventID)
		}
		require.Equal(t, want, ids, args)
		require.Equal(t, want == nil, strings.Contains(r.stderr, "no such dead letters in ./data"), args)
	}
}

func TestListCountsWhatIsUnreadable(t *testing.T) {
	runRefusing(t, "", "job 1", "job 3")
	file := "data/a/deadletter/letters-000001.ndjson"
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(file, text[:len(text)-9], 0o600))
	var report fileReport
	require.NoError(t, json.Unmarshal([]byte(run("deadletter", "list").stdout), &report))
	require.Equal(t, 1, report.Letters)
	require.Equal(t, 1, report.Unreadable)
	require.Contains(t, run("deadletter", "show").stderr, "1 line unreadable\n")
}

func TestNoDeadLetters(t *testing.T) {
	inFolder(t, nil)
	r := run("deadletter", "list")
	require.Equal(t, exitRunTime, r.code)
	require.Contains(t, r.stderr, "there is no folder ./data")
	require.NoError(t, os.Mkdir("data", 0o700))
	require.Equal(t, result{exitOK, "", "no dead letters in ./data\n"}, run("deadletter", "list"))
}

func TestReplayDeliversAndRemoves(t *testing.T) {
	runRefusing(t, `"Events": 1000`, "job 2", "job 500", "job 999")
	require.Equal(t, []string{"2", "500", "999"}, letters(t))
	require.NoError(t, os.Remove("delivered.ndjson"))
	configure(t, "", "")

	r := replay()
	require.Equal(t, exitOK, r.code, r.stderr)
	require.Contains(t, r.stderr, "a/flusher_picky: 3 of 3 letters delivered and removed\n")
	require.Equal(t, []string{"job 2 2 2026-01-05T08:00:01Z", "job 500 500 2026-01-05T08:08:19Z", "job 999 999 2026-01-05T08:16:38Z"}, delivered(t),
		"ids, times and order are kept")
	require.Empty(t, letters(t))
	require.Equal(t, result{exitOK, "", "no such dead letters in ./data\n"}, replay())
	temporary, err := filepath.Glob("data/.replay-*")
	require.NoError(t, err)
	require.Empty(t, temporary)
}

func TestReplayInManyPuts(t *testing.T) {
	runRefusing(t, `"Events": 3`, "job 1")
	store, err := deadletter.Open("data/a/deadletter", 1<<30, 100_000)
	require.NoError(t, err)
	defer store.Close()
	var letter deadletter.Letter
	require.NoError(t, deadletter.Read("data/a/deadletter", func(r deadletter.Record) error { letter = r.Letter; return nil }))
	const n = 5 * feedEvents
	for range n {
		require.NoError(t, store.Append(t.Context(), []deadletter.Letter{letter}))
	}
	configure(t, "", "")
	r := replay()
	require.Equal(t, exitOK, r.code, r.stderr)
	require.Contains(t, r.stderr, "1281 of 1281 letters delivered and removed\n")
	require.Len(t, delivered(t), 2+n+1)
	require.Empty(t, letters(t))
}

func TestReplayKeepsWhatComesBack(t *testing.T) {
	for _, noIDs := range []string{"false", "true"} {
		t.Run("no ids: "+noIDs, func(t *testing.T) {
			runRefusing(t, `"Events": 4, "NoIDs": `+noIDs, "job 1", "job 2", "job 3")
			before, err := os.ReadFile("data/a/deadletter/letters-000001.ndjson")
			require.NoError(t, err)
			lines := strings.SplitAfter(string(before), "\n")
			configure(t, `"Refuses": ["job 2"]`, "")

			r := replay()
			require.Equal(t, exitRunTime, r.code, r.stderr)
			require.Contains(t, r.stderr, "a/flusher_picky: 2 of 3 letters delivered and removed\n")
			require.Contains(t, r.stderr, "not this one")
			after, err := os.ReadFile("data/a/deadletter/letters-000001.ndjson")
			require.NoError(t, err)
			require.Equal(t, lines[1], string(after), "as it was")
			require.Len(t, delivered(t), 3)
		})
	}
}

func TestReplayOnlyWhatWasChosen(t *testing.T) {
	runRefusing(t, "", "job 1", "job 2", "job 3")
	configure(t, "", "")
	r := replay("--id", "2", "--plugin", "flusher_picky")
	require.Equal(t, exitOK, r.code, r.stderr)
	require.Equal(t, []string{"1", "3"}, letters(t))
	require.Len(t, delivered(t), 1)
}

func TestReplayIsNotFilteredAgain(t *testing.T) {
	runRefusing(t, "", "job 1", "job 2", "job 3")
	configure(t, "", `,"Match":{"kind":"checkpoint"},"MaxEventAge":"1s","WhenFull":"dead_letter"`)
	write(t, "a.json", strings.Replace(readFile(t, "a.json"), `{"inputs"`, `{"global":{"Queue":{"Type":"memory","MaxBytes":"1KiB","MaxEvents":1},"DeadLetter":{"MaxBytes":"1KiB","MaxFileBytes":"1KiB"}},"inputs"`, 1))
	r := replay()
	require.Equal(t, exitOK, r.code, r.stderr)
	require.Len(t, delivered(t), 3)
	require.Empty(t, letters(t))
}

func readFile(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(name)
	require.NoError(t, err)
	return string(text)
}

func TestReplaySaysWhatItCannotSend(t *testing.T) {
	runRefusing(t, `"Garbage":"{broken"`, "job 1")
	configure(t, "", "")
	r := replay()
	require.Equal(t, exitOK, r.code, r.stderr)
	require.Contains(t, r.stderr, "a/input_numbers: 1 letter kept: what was received could not be read as an event")
	require.Equal(t, []string{""}, letters(t))
	require.Equal(t, []string{"job 2 2 2026-01-05T08:00:01Z", "job 3 3 2026-01-05T08:00:02Z", "job 1 1 2026-01-05T08:00:00Z"}, delivered(t))
}

// Letters of pipelines that are not in -config are none of this replay's business.
func TestReplayOnlyWhatIsConfigured(t *testing.T) {
	runRefusing(t, "", "job 1")
	require.NoError(t, os.Rename("data/a", "data/other"))
	require.Equal(t, exitRunTime, run("-config", "a.json", "-once", "-admin-address", "off").code)
	configure(t, "", "")
	r := replay()
	require.Equal(t, exitOK, r.code, r.stderr)
	require.Contains(t, r.stderr, "other/flusher_picky: 1 letter kept: the pipeline is not in a.json\n")
	require.Contains(t, r.stderr, "a/flusher_picky: 1 of 1 letter delivered and removed\n")
	require.FileExists(t, "data/other/deadletter/letters-000001.ndjson")
}

func TestReplayNeedsTheFlusherInTheConfiguration(t *testing.T) {
	runRefusing(t, "", "job 1")
	require.NoError(t, os.Rename("a.json", "b.json"))
	r := run("deadletter", "replay", "-config", "b.json")
	require.Equal(t, exitRunTime, r.code)
	require.Equal(t, "flinktail: replay a/flusher_picky: the configuration has no such pipeline; its letters are kept\n", r.stderr)

	write(t, "a.json", strings.Replace(readFile(t, "b.json"), "flusher_picky", "flusher_picky/other", 1))
	r = replay()
	require.Equal(t, exitRunTime, r.code)
	require.Equal(t, "flinktail: replay a/flusher_picky: the pipeline has no such flusher; its letters are kept\n", r.stderr)
	require.Equal(t, []string{"1"}, letters(t))
	require.Equal(t, exitUsage, run("deadletter", "replay").code)
}

func TestAnInterruptedReplayKeepsTheLetters(t *testing.T) {
	runRefusing(t, "", "job 1", "job 2")
	configure(t, `"Down": true`, "")
	p := startProcess(t, "deadletter", "replay", "-config", "a.json", "-stop-timeout", "1s")
	p.waitFor("destination is down")
	require.NoError(t, p.Process.Signal(syscall.SIGINT))
	code, rest := p.end()
	require.Equal(t, exitRunTime, code, rest)
	require.Contains(t, rest, "0 of 2 letters delivered and removed\n")
	require.Contains(t, rest, "replay was interrupted")
	require.Equal(t, []string{"1", "2"}, letters(t))
	temporary, err := filepath.Glob("data/.replay-*")
	require.NoError(t, err)
	require.Empty(t, temporary)
}

func TestAge(t *testing.T) {
	now := time.Now()
	for d, want := range map[time.Duration]string{
		0: "0s", 59 * time.Second: "59s", time.Minute: "1m", 90 * time.Minute: "1h", 47 * time.Hour: "47h", 49 * time.Hour: "2d",
	} {
		then := now.Add(-d)
		require.Equal(t, want, age(&then, now))
	}
	require.Equal(t, "-", age(nil, now))
}

func TestReplayHasRoomForWhatComesBack(t *testing.T) {
	jobs := []string{"job 1", "job 2", "job 3", "job 4", "job 5", "job 6"}
	runRefusing(t, `"Events": 6`, jobs...)
	small := `{"global":{"DeadLetter":{"MaxBytes":"1KiB","MaxFileBytes":"1KiB"}},"inputs"`
	oneByOne := `{"type":"flusher_picky","Batch":{"MaxEvents":1}`
	write(t, "a.json", strings.NewReplacer(`{"inputs"`, small, `{"type":"flusher_picky"`, oneByOne).Replace(readFile(t, "a.json")))
	r := replay()
	require.Equal(t, exitRunTime, r.code, r.stderr)
	require.Contains(t, r.stderr, "0 of 6 letters delivered and removed\n")
	require.Len(t, letters(t), 6)
}

func TestEachFlusherGetsItsOwnLetters(t *testing.T) {
	inFolder(t, nil)
	text := `{"inputs":[{"type":"input_numbers"}],"flushers":[
		{"type":"flusher_picky/x","detail":{"FileName":"x","Refuses":["job 1"]}},
		{"type":"flusher_picky/y","detail":{"FileName":"y","Refuses":["job 1","job 2"]}}]}`
	write(t, "a.json", text)
	require.Equal(t, exitRunTime, run("-config", "a.json", "-once", "-admin-address", "off").code)
	require.NoError(t, os.Remove("x"))
	require.NoError(t, os.Remove("y"))

	write(t, "a.json", strings.NewReplacer(`"job 1"`, "", `,"job 2"`, "").Replace(text))
	r := replay()
	require.Equal(t, exitOK, r.code, r.stderr)
	require.Equal(t, "job 1 1 2026-01-05T08:00:00Z\n", readFile(t, "x"))
	require.Equal(t, "job 1 1 2026-01-05T08:00:00Z\njob 2 2 2026-01-05T08:00:01Z\n", readFile(t, "y"))
	require.Empty(t, letters(t))
}
