package file

import (
	"bufio"
	"compress/gzip"
	"encoding/binary"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/flinktail/flinktail/flusher/internal/appendfile"
	"github.com/flinktail/flinktail/pipeline"
	"github.com/flinktail/flinktail/pipeline/flushertest"
	"github.com/flinktail/flinktail/protocol"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestContract(t *testing.T) {
	variants := map[string]func(f *Flusher){
		"default":    func(*Flusher) {},
		"not synced": func(f *Flusher) { f.Sync = SyncNone },
		"protobuf":   func(f *Flusher) { f.Format = FormatProtobuf },
		"rotated":    func(f *Flusher) { f.Rotate.MaxBytes = 20_000 },
		"compressed": func(f *Flusher) { f.Rotate.MaxBytes, f.Compress = 20_000, "gzip" },
		"file of a job": func(f *Flusher) {
			f.FileName = filepath.Dir(f.FileName) + "/%{cluster}/%{job_id}.log"
			f.MaxOpenFiles = 2
		},
		"protobuf by status": func(f *Flusher) {
			f.FileName = filepath.Dir(f.FileName) + "/%{status_to}/%{job_id}"
			f.Format = FormatProtobuf
		},
	}
	for name, choose := range variants {
		t.Run(name, func(t *testing.T) {
			flushertest.Run(t, flushertest.Suite{
				Start: func(t testing.TB) *flushertest.Destination {
					dir := t.TempDir()
					return &flushertest.Destination{
						New: func() pipeline.Flusher {
							f := New()
							f.FileName = filepath.Join(dir, "logs", "flink", "events.log")
							choose(f)
							return f
						},
						Events: func() [][]byte { return eventsUnder(t, dir) },
						Refuse: func() func() {
							// A file where the folder should be.
							logs := filepath.Join(dir, "logs")
							require.NoError(t, os.WriteFile(logs, nil, 0o600))
							return func() { require.NoError(t, os.Remove(logs)) }
						},
					}
				},
				Broken: func(testing.TB) map[string]pipeline.Flusher {
					f := New()
					f.FileName = "%{cluster"
					return map[string]pipeline.Flusher{"FileName is not closed": f}
				},
			})
		})
	}
}

// eventsUnder reads every file below dir, rotated ones first.
func eventsUnder(t testing.TB, dir string) (events [][]byte) {
	t.Helper()
	var paths []string
	require.NoError(t, filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		// Compression may be going on: every rotated file is there in one of its forms.
		path = strings.TrimSuffix(strings.TrimSuffix(path, ".tmp"), ".gz")
		if err == nil && !d.IsDir() && !slices.Contains(paths, path) {
			paths = append(paths, path)
		}
		return err
	}))
	slices.SortFunc(paths, func(a, b string) int {
		if ra, rb := appendfile.IsRotated(a), appendfile.IsRotated(b); ra != rb {
			if ra {
				return -1
			}
			return 1
		}
		return strings.Compare(a, b)
	})
	for _, path := range paths {
		text, err := read(path)
		if errors.Is(err, os.ErrNotExist) {
			text, err = read(path + ".gz")
		}
		require.NoError(t, err)
		events = append(events, decode(t, text)...)
	}
	return events
}

func read(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if !strings.HasSuffix(path, ".gz") {
		return io.ReadAll(f)
	}
	z, err := gzip.NewReader(f)
	if err != nil {
		return nil, err
	}
	return io.ReadAll(z)
}

// decode reads the text of a file in either format.
func decode(t testing.TB, text []byte) [][]byte {
	if len(text) == 0 || text[0] == '{' && text[len(text)-1] == '\n' && text[len(text)-2] == '}' {
		return flushertest.Lines(text)
	}
	return flushertest.JSON(decodeGroups(t, text)...)
}

func decodeGroups(t testing.TB, text []byte) (groups []*protocol.LogGroup) {
	t.Helper()
	r := bufio.NewReader(strings.NewReader(string(text)))
	for {
		n, err := binary.ReadUvarint(r)
		if errors.Is(err, io.EOF) {
			return groups
		}
		require.NoError(t, err)
		message := make([]byte, n)
		_, err = io.ReadFull(r, message)
		require.NoError(t, err)
		g, err := protocol.UnmarshalGroup(message)
		require.NoError(t, err)
		groups = append(groups, g)
	}
}
