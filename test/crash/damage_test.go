//go:build e2e

package crash

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// What a power cut leaves of writes that were not acknowledged is cut, told once, and takes nothing else with it.
func TestTornWrites(t *testing.T) {
	rnd := choices(t)
	r := killed(t, rnd)
	tail := r.last()
	for range *rounds / 4 {
		// Of what was being written, a part is there. Behind it, where the file is longer, are zeros or what was there before.
		at := r.tailEnd + rnd.Int64N(int64(len(tail.data))-r.tailEnd+1)
		left := slices.Clone(tail.data[:at])
		what := "nothing"
		switch behind := make([]byte, 1+rnd.IntN(5000)); rnd.IntN(4) {
		case 0:
			left, what = append(left, behind...), "zeros"
		case 1:
			for i := range behind {
				behind[i] = byte(rnd.Uint32())
			}
			left, what = append(left, behind...), "garbage"
		case 2:
			older := r.segments[0].data
			left, what = append(left, older[min(len(older), segmentHeader+rnd.IntN(len(older)/2)):]...), "older records"
		}
		t.Run(fmt.Sprintf("%d of %d bytes, then %s", at-r.tailEnd, int64(len(tail.data))-r.tailEnd, what), func(t *testing.T) {
			torn, lost := r.cut(tail, left)
			f, c := r.again(t, func(dir string) { require.NoError(t, os.WriteFile(filepath.Join(dir, tail.name), left, 0o600)) })
			r.requireTold(t, f, tail.name, torn, left)
			r.requireRecovered(t, f, c, rnd, lost, 0)
		})
	}
}

// A file that has become shorter loses what is behind the cut, which is told as far as something of it is left, and nothing else.
func TestTruncated(t *testing.T) {
	rnd := choices(t)
	r := killed(t, rnd)
	tail := r.last()
	for range *rounds / 4 {
		left := tail.data[:rnd.IntN(len(tail.data)+1)]
		t.Run(fmt.Sprintf("to %d of %d bytes", len(left), len(tail.data)), func(t *testing.T) {
			torn, lost := r.cut(tail, left)
			f, c := r.again(t, func(dir string) { require.NoError(t, os.WriteFile(filepath.Join(dir, tail.name), left, 0o600)) })
			r.requireTold(t, f, tail.name, torn, left)
			r.requireRecovered(t, f, c, rnd, lost, 0)
		})
	}
}

// cut returns where in what is left of the last segment the last whole record ends, and which events are gone.
func (r *remains) cut(tail *segment, left []byte) (torn int64, lost map[event]bool) {
	torn = min(segmentHeader, int64(len(left)))
	whole := func(record record) bool {
		return record.to <= int64(len(left)) && string(left[:record.to]) == string(tail.data[:record.to])
	}
	for _, record := range tail.records {
		if whole(record) {
			torn = record.to
		}
	}
	return torn, r.events(r.settled, func(s *segment, record record) bool { return s.name == tail.name && !whole(record) })
}

// requireTold starts f twice, silent as the sink is, and asserts that the bytes from torn on are told the first time only, kept, and cut.
func (r *remains) requireTold(t testing.TB, f *tail, name string, torn int64, left []byte) {
	t.Helper()
	r.sink.setMood(silent)
	for range 2 {
		f.start(t)
		f.kill(t)
	}
	told := f.told(t, name, torn)
	kept, err := os.ReadFile(filepath.Join(f.queue(), "damaged", fmt.Sprintf("%s-%d", name, torn)))
	switch rest := left[torn:]; {
	case len(rest) == 0:
		require.Empty(t, told)
		require.ErrorIs(t, err, os.ErrNotExist)
	case strings.Trim(string(rest), "\x00") == "": // nothing was written there
		require.Len(t, told, 1)
		require.ErrorIs(t, err, os.ErrNotExist)
	default:
		require.Len(t, told, 1)
		require.NoError(t, err)
		require.Equal(t, string(rest), string(kept))
	}
	r.sink.setMood(quick)
	f.start(t)
}

// told returns the lines of the log that are about this place.
func (f *tail) told(t testing.TB, name string, offset int64) (lines []string) {
	t.Helper()
	for line := range strings.Lines(f.process.Log()) {
		if strings.Contains(line, name) && strings.Contains(line, fmt.Sprintf(`"offset":%d,`, offset)) {
			lines = append(lines, line)
		}
	}
	return lines
}

// Bits flip in segments that are written no more: only the records that are hit are gone, each is told, counted and kept.
func TestFlippedBits(t *testing.T) {
	rnd := choices(t)
	r := killed(t, rnd)
	corrupt := 0
	for range *rounds / 4 {
		flips := 1 + rnd.IntN(6)
		t.Run(fmt.Sprintf("%d bits", flips), func(t *testing.T) { corrupt += r.flip(t, rnd, flips) })
	}
	require.Positive(t, corrupt)
}

// flip returns how many events were hit.
func (r *remains) flip(t *testing.T, rnd *rand.Rand, flips int) (corrupt int) {
	type place struct{ segment, at int }
	var places []place
	damaged := map[string][]byte{}
	for range flips {
		i := rnd.IntN(len(r.segments) - 1)
		s := &r.segments[i]
		at := rnd.IntN(len(s.data))
		if rnd.IntN(2) == 0 { // headers are small, and matter more
			at = int(s.records[rnd.IntN(len(s.records))].from) + rnd.IntN(recordHeader)
		}
		if damaged[s.name] == nil {
			damaged[s.name] = slices.Clone(s.data)
		}
		bit := byte(1) << rnd.IntN(8)
		if damaged[s.name][at]&bit != s.data[at]&bit {
			continue // flipped before
		}
		damaged[s.name][at] ^= bit
		places = append(places, place{i, at})
	}
	hit := func(s *segment, record record) bool {
		return slices.ContainsFunc(places, func(p place) bool {
			return r.segments[p.segment].name == s.name && int64(p.at) >= record.from && int64(p.at) < record.to
		})
	}
	f, c := r.again(t, func(dir string) {
		for name, data := range damaged {
			require.NoError(t, os.WriteFile(filepath.Join(dir, name), data, 0o600))
		}
	})
	r.sink.setMood(quick)
	f.start(t)
	for i := range r.segments {
		for _, record := range r.segments[i].records {
			if record.first >= r.settled && hit(&r.segments[i], record) {
				corrupt += len(record.events)
			}
		}
	}
	r.requireRecovered(t, f, c, rnd, r.events(r.settled, hit), corrupt)

	for i := range r.segments {
		s := &r.segments[i]
		data := s.data
		if changed, ok := damaged[s.name]; ok {
			data = changed
		}
		kept := f.kept(t, s.name, data)
		for _, record := range s.records {
			if record.first < r.settled {
				continue // delivered: it is read over, and may be told of
			}
			want := hit(s, record)
			require.Equal(t, -1, slices.Index(kept[record.from:record.to], !want), "the record at %d of %s; was it hit: %t", record.from, s.name, want)
		}
		header := slices.ContainsFunc(places, func(p place) bool { return p.segment == i && p.at < segmentHeader })
		require.Equal(t, header, len(f.told(t, s.name, 0)) == 1)
	}
	return corrupt
}

// kept returns which bytes of a segment lie in the folder for damaged ones. Each of its files must have been told of.
func (f *tail) kept(t testing.TB, name string, data []byte) []bool {
	t.Helper()
	kept := make([]bool, len(data))
	files, err := filepath.Glob(filepath.Join(f.queue(), "damaged", name+"-*"))
	require.NoError(t, err)
	for _, path := range files {
		var offset int64
		_, err := fmt.Sscanf(filepath.Base(path), name+"-%d", &offset)
		require.NoError(t, err)
		text, err := os.ReadFile(path)
		require.NoError(t, err)
		require.Equal(t, string(data[offset:offset+int64(len(text))]), string(text))
		require.Len(t, f.told(t, name, offset), 1)
		for i := range text {
			kept[int(offset)+i] = true
		}
	}
	return kept
}
