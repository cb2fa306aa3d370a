//go:build e2e

package crash

import (
	"encoding/binary"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/flinktail/flinktail/internal/queue/disk"
	"github.com/flinktail/flinktail/protocol"
	"github.com/flinktail/flinktail/protocol/flink"
)

// remains are what a killed flinktail has left. Copies of them are damaged, each in another way, and started again.
type remains struct {
	tail   *tail
	client *client  // with what it knew then
	sink   *sink    // silent by then
	before arrivals // what the sink had
	dir    string   // the queue's folder

	segments []segment
	settled  uint64 // events that the flusher had delivered, as far as the folder knows
	tailEnd  int64  // what stands behind this in the last segment was not acknowledged
}

// segment is a file of the queue.
type segment struct {
	name    string
	data    []byte
	records []record
}

// record is what lies in data[from:to].
type record struct {
	from, to int64
	first    uint64 // index of its first event
	events   []event
}

// killed runs a flinktail under load until its queue has several segments, some delivered in part, and kills it at a moment when it has
// written something that it has not acknowledged.
func killed(t testing.TB, rnd *rand.Rand) *remains {
	t.Helper()
	s := newSink(t, rnd)
	f := newTail(t, t.TempDir(), small, s)
	r := &remains{tail: f, client: newClient(f.url), sink: s, dir: f.queue()}
	for attempt := 0; ; attempt++ {
		require.Less(t, attempt, 100, "flinktail acknowledges at once what it writes")
		s.setMood(slow)
		f.start(t)
		stop := r.client.load(t, rnd)
		least := r.client.acknowledged() + 300
		await(t, "some events are delivered", func() bool { return r.client.acknowledged() > least && len(s.snapshot().lines) > 0 })
		s.setMood(silent)
		await(t, "the queue fills", func() bool {
			f.requireRunning(t)
			segments, err := filepath.Glob(filepath.Join(r.dir, "*.segment"))
			require.NoError(t, err)
			return len(segments) >= 6
		})
		f.kill(t)
		stop()
		r.read(t)
		if r.tailEnd < int64(len(r.last().data)) {
			break
		}
		s.setMood(quick)
		f.start(t)
		f.awaitEmpty(t, 0)
		f.stop(t)
	}
	r.before = s.snapshot()
	s.requireAll(t, r.client, r.events(r.settled, nil))
	return r
}

func (r *remains) last() *segment { return &r.segments[len(r.segments)-1] }

// read finds out what the folder holds.
func (r *remains) read(t testing.TB) {
	t.Helper()
	report, err := disk.Inspect(r.dir)
	require.NoError(t, err)
	require.Len(t, report.Cursors, 1)
	r.segments = nil
	events := uint64(0)
	for _, s := range report.Segments {
		data, err := os.ReadFile(filepath.Join(r.dir, s.Name))
		require.NoError(t, err)
		seg := segment{s.Name, data, readRecords(t, data)}
		r.segments = append(r.segments, seg)
		for _, record := range seg.records {
			require.Equal(t, max(events, s.First), record.first)
			events = record.first + uint64(len(record.events))
		}
	}
	r.settled = events - uint64(report.Cursors[0].Backlog)
	r.tailEnd = segmentHeader
	for _, record := range r.last().records {
		for _, e := range record.events {
			if r.client.acked[e] {
				r.tailEnd = record.to
			}
		}
	}
}

const (
	segmentHeader = 32
	recordHeader  = 36
)

// readRecords reads the records of a segment, as internal/queue/disk describes them, up to what a kill has torn.
func readRecords(t testing.TB, data []byte) (records []record) {
	t.Helper()
	for at := int64(segmentHeader); at+recordHeader <= int64(len(data)); {
		head := data[at:]
		require.Equal(t, "\xf7ft\x1e", string(head[:4]))
		r := record{from: at, to: at + recordHeader + int64(binary.LittleEndian.Uint32(head[4:])), first: binary.LittleEndian.Uint64(head[16:])}
		if r.to > int64(len(data)) {
			break
		}
		groups, err := protocol.UnmarshalGroupList(data[at+recordHeader : r.to])
		require.NoError(t, err)
		for _, g := range groups {
			for _, log := range g.Logs {
				e, ok := parseEvent(g.Field(log, flink.FieldEventID))
				require.True(t, ok)
				r.events = append(r.events, e)
			}
		}
		require.Len(t, r.events, int(binary.LittleEndian.Uint32(head[8:])))
		records = append(records, r)
		at = r.to
	}
	return records
}

// events returns the events from the index on that lie only in records that were hit; nil stands for all records.
func (r *remains) events(from uint64, hit func(s *segment, r record) bool) map[event]bool {
	intact, lost := map[event]bool{}, map[event]bool{}
	for i := range r.segments {
		s := &r.segments[i]
		for _, record := range s.records {
			if record.first < from {
				continue
			}
			into := intact
			if hit == nil || hit(s, record) {
				into = lost
			}
			for _, e := range record.events {
				into[e] = true
			}
		}
	}
	maps.DeleteFunc(lost, func(e event, _ bool) bool { return intact[e] })
	return lost
}

// again copies the remains for another start. change may alter the copy, which lies in dir.
func (r *remains) again(t testing.TB, change func(dir string)) (f *tail, c *client) {
	t.Helper()
	dir := t.TempDir()
	f = &tail{config: r.tail.config, data: filepath.Join(dir, "data"), log: filepath.Join(dir, "flinktail.log"), url: r.tail.url}
	require.NoError(t, os.CopyFS(f.queue(), os.DirFS(r.dir)))
	change(f.queue())
	r.sink.restore(r.before)
	f.cleanUp(t)
	r.client.mu.Lock()
	defer r.client.mu.Unlock()
	c = newClient(f.url)
	c.sent, c.acked = r.client.sent, maps.Clone(r.client.acked)
	return f, c
}

// requireRecovered delivers what is left and some more, and asserts that all is there but for what is lost.
func (r *remains) requireRecovered(t testing.TB, f *tail, c *client, rnd *rand.Rand, lost map[event]bool, corrupt int) {
	t.Helper()
	stop := c.load(t, rnd)
	least := c.acknowledged() + 300
	await(t, "new events are taken", func() bool { f.requireRunning(t); return c.acknowledged() > least })
	stop()
	f.awaitEmpty(t, corrupt)
	f.stop(t)
	r.sink.requireAll(t, c, lost)
}
