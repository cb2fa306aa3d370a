package deadletter

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// Whatever a file of letters holds, such as after a crash or an editor: every line is read, as a letter or as none; a letter is
// appended behind it and read again; and what is removed is gone, the rest as it was.
func FuzzRead(f *testing.F) {
	var line bytes.Buffer
	l := letter("1")
	require.NoError(f, appendLine(&line, &l))
	f.Add(line.Bytes())
	f.Add(append(line.Bytes(), line.Bytes()[:20]...))
	f.Add([]byte("\n\nnull\n{}\n{\"event\":{\"event_id\":\"added\"}}\n[1]\r\n{\"raw_base64\":\"?\"}\n{\"time\":\"yesterday\"}"))
	f.Fuzz(func(t *testing.T, data []byte) {
		dir := t.TempDir()
		path := filepath.Join(dir, fileName(1))
		require.NoError(t, os.WriteFile(path, data, 0o600))
		var lines [][]byte
		for line := range bytes.SplitSeq(data, []byte("\n")) {
			if len(line) > 0 {
				lines = append(lines, line)
			}
		}
		read := func() (read [][]byte) {
			require.NoError(t, Read(dir, func(r Record) error {
				if r.Err == nil {
					_, err := parseLine(r.Line)
					require.NoError(t, err)
				} else {
					require.Empty(t, r.Letter)
				}
				read = append(read, r.Line)
				return nil
			}))
			return read
		}
		require.Equal(t, lines, read())

		s, err := Open(dir, big, big)
		require.NoError(t, err)
		added := letter("added by the test")
		require.NoError(t, s.Append(t.Context(), []Letter{added}))
		require.NoError(t, s.Close())
		all := read()
		require.Len(t, all, len(lines)+1)
		require.Equal(t, lines, append([][]byte(nil), all[:len(lines)]...))
		last, err := parseLine(all[len(lines)])
		require.NoError(t, err)
		require.Equal(t, added, last)

		removed, err := Remove(dir, map[Key]struct{}{keyOf(all[0]): {}})
		require.NoError(t, err)
		var left [][]byte
		for _, line := range all {
			if !bytes.Equal(line, all[0]) {
				left = append(left, line)
			}
		}
		require.Equal(t, len(all)-len(left), removed)
		require.Equal(t, left, read())
	})
}
