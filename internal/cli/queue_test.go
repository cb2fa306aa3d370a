package cli

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/flinktail/flinktail/internal/queue/disk"
	"github.com/flinktail/flinktail/internal/queue/queuetest"
)

// fillQueue gives pipeline a a queue with 20 events in several segments, of which flusher_x has delivered all and flusher_y five.
func fillQueue(t *testing.T) {
	t.Helper()
	q := openQueue(t)
	for n := range 20 {
		require.NoError(t, <-queuetest.Append(t, q, queuetest.Group("event", n)))
	}
	for name, events := range map[string]int{"flusher_x": 20, "flusher_y": 5} {
		c, err := q.Cursor(name)
		require.NoError(t, err)
		for range events {
			queuetest.Next(t, c).Settle(1)
		}
	}
	require.NoError(t, q.Stop())
}

func openQueue(t *testing.T) *disk.Queue {
	t.Helper()
	q, err := disk.Open("data/a/queue", disk.Options{SegmentBytes: 1000, Cursors: []string{"flusher_x", "flusher_y"}})
	require.NoError(t, err)
	return q
}

func TestQueueInspect(t *testing.T) {
	inFolder(t, nil)
	fillQueue(t)
	require.NoError(t, os.MkdirAll("data/memory/deadletter", 0o700)) // a pipeline without a queue on disk

	r := run("queue", "inspect")
	require.Equal(t, exitOK, r.code, r.stderr)
	require.Empty(t, r.stderr)
	require.Equal(t, 1, strings.Count(r.stdout, "\n"))
	var report struct {
		Pipeline, Dir string
		Segments      []struct {
			Name       string
			FirstEvent int `json:"first_event"`
			Events     int
			Bytes      int64
			Created    time.Time
		}
		Cursors []map[string]any
		Damaged []string
	}
	require.NoError(t, json.Unmarshal([]byte(r.stdout), &report))
	require.Equal(t, "a", report.Pipeline)
	require.Greater(t, len(report.Segments), 2)
	next := 20
	for i := len(report.Segments) - 1; i >= 0; i-- {
		s := report.Segments[i]
		info, err := os.Stat(filepath.Join(report.Dir, s.Name))
		require.NoError(t, err)
		require.Equal(t, info.Size(), s.Bytes)
		require.Equal(t, next, s.FirstEvent+s.Events)
		require.WithinDuration(t, time.Now(), s.Created, time.Minute)
		next = s.FirstEvent
	}
	require.LessOrEqual(t, next, 5)
	require.Len(t, report.Cursors, 2)
	require.Equal(t, map[string]any{"name": "flusher_x", "backlog": 0.0}, report.Cursors[0])
	require.Equal(t, "flusher_y", report.Cursors[1]["name"])
	require.Equal(t, 15.0, report.Cursors[1]["backlog"])
	oldest, err := time.Parse(time.RFC3339, report.Cursors[1]["oldest"].(string))
	require.NoError(t, err)
	require.WithinDuration(t, time.Now(), oldest, time.Minute)
	require.Empty(t, report.Damaged)
	require.Equal(t, r, run("queue", "inspect", "--pipeline", "a"))

	open := openQueue(t)
	defer func() { require.NoError(t, open.Stop()) }()
	running := run("queue", "inspect")
	require.Equal(t, exitOK, running.code, running.stderr)
	require.Contains(t, running.stdout, `{"name":"flusher_y","backlog":15,`)
}

func TestNoQueues(t *testing.T) {
	inFolder(t, nil)
	for _, command := range []string{"inspect", "verify"} {
		require.NoError(t, os.RemoveAll("data"))
		require.Equal(t, result{exitRunTime, "", "flinktail: list queues: there is no folder ./data; name the data folder with -data-dir\n"},
			run("queue", command))
		require.NoError(t, os.Mkdir("data", 0o700))
		require.Equal(t, result{exitOK, "", "no queues in ./data\n"}, run("queue", command))
		require.Equal(t, result{exitRunTime, "", "flinktail: pipeline b has no queue in ./data; no pipeline has\n"},
			run("queue", command, "--pipeline", "b"))
		fillQueue(t)
		require.Equal(t, result{exitRunTime, "", "flinktail: pipeline b has no queue in ./data; these have: a\n"},
			run("queue", command, "--pipeline", "b"))
	}
}

func TestQueueVerify(t *testing.T) {
	inFolder(t, nil)
	fillQueue(t)
	segments, err := filepath.Glob("data/a/queue/*.segment")
	require.NoError(t, err)
	var first int
	_, err = fmt.Sscanf(filepath.Base(segments[0]), "%d.segment", &first)
	require.NoError(t, err)
	intact := fmt.Sprintf("a: %d events in %d segments can be read\n", 20-first, len(segments))
	require.Equal(t, result{exitOK, "", intact}, run("queue", "verify"))

	text := []byte(readFile(t, segments[1]))
	text[100] ^= 1
	require.NoError(t, os.WriteFile(segments[1], text, 0o600))
	r := run("queue", "verify", "--pipeline", "a")
	require.Equal(t, exitRunTime, r.code)
	require.Contains(t, r.stderr, fmt.Sprintf("a: %d events in %d segments can be read\nflinktail: 1 place damaged, with 1 event in them; ", 20-first-1, len(segments)))
	var damage damageReport
	require.NoError(t, json.Unmarshal([]byte(r.stdout), &damage))
	require.Equal(t, segments[1], damage.File)
	require.Equal(t, int64(32), damage.Offset)
	require.Positive(t, damage.Bytes)
	require.Equal(t, 1, damage.Events)
	require.Contains(t, damage.Error, "checksum")
	require.Equal(t, string(text), readFile(t, segments[1]))
	require.NoDirExists(t, "data/a/queue/damaged")

	require.NoError(t, os.Remove(segments[0]))
	r = run("queue", "verify")
	require.Equal(t, exitRunTime, r.code)
	require.Contains(t, r.stdout, "events are missing that flusher_y has not settled")
}

func TestQueueForget(t *testing.T) {
	inFolder(t, nil)
	fillQueue(t)
	forget := func(pipeline, plugin string) result {
		return run("queue", "forget", "--pipeline", pipeline, "--plugin", plugin)
	}
	for _, args := range [][]string{{}, {"--plugin", "flusher_y"}, {"--pipeline", "a"}} {
		require.Equal(t, exitUsage, run(append([]string{"queue", "forget"}, args...)...).code)
	}
	require.Equal(t, result{exitRunTime, "", "flinktail: pipeline b has no queue in ./data; these have: a\n"}, forget("b", "flusher_y"))
	require.NoDirExists(t, "data/b")

	open := openQueue(t)
	require.Equal(t, result{exitRunTime, "", fmt.Sprintf("flinktail: open queue data/a/queue: another process uses it: process %d; stop it first\n", os.Getpid())},
		forget("a", "flusher_y"))
	require.NoError(t, open.Stop())

	require.Equal(t, result{exitRunTime, "", "flinktail: forget a/flusher: nothing is kept for a flusher of this name; there is for flusher_x, flusher_y\n"},
		forget("a", "flusher"))
	before := run("queue", "inspect").stdout
	require.Contains(t, before, `"name":"flusher_y"`)

	require.Equal(t, result{exitOK, "", "a/flusher_y: forgotten; 15 events not delivered to it\n"}, forget("a", "flusher_y"))
	after := run("queue", "inspect").stdout
	require.NotContains(t, after, "flusher_y")
	require.Contains(t, after, `{"name":"flusher_x","backlog":0}`)
	segments, err := filepath.Glob("data/a/queue/*.segment")
	require.NoError(t, err)
	require.Empty(t, segments, "flusher_x has delivered everything")

	require.Equal(t, exitOK, forget("a", "flusher_x").code)
	require.Equal(t, result{exitRunTime, "", "flinktail: forget a/flusher_x: nothing is kept for any flusher of this pipeline\n"}, forget("a", "flusher_x"))
}

// What opening the queue finds damaged is not kept from whoever forgets a flusher.
func TestQueueForgetTellsOfDamage(t *testing.T) {
	inFolder(t, nil)
	fillQueue(t)
	segments, err := filepath.Glob("data/a/queue/*.segment")
	require.NoError(t, err)
	last := segments[len(segments)-1]
	write(t, last, readFile(t, last)+"torn")
	r := run("queue", "forget", "--pipeline", "a", "--plugin", "flusher_x")
	require.Equal(t, exitOK, r.code, r.stderr)
	require.Contains(t, r.stderr, "a: damaged: "+filepath.Base(last)+": 4 bytes from ")
}
