package cli

import (
	"os"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestQueuesOnATerminal(t *testing.T) {
	inFolder(t, nil)
	fillQueue(t)
	require.NoError(t, os.Mkdir("data/a/queue/damaged", 0o700))
	write(t, "data/a/queue/damaged/00000000000000000000.segment-32", "?")
	require.Regexp(t, `^PIPELINE +FLUSHER +BACKLOG +OLDEST\n`+
		`a +flusher_x +0 +-\n`+
		`a +flusher_y +15 +\d+s\n\n`+
		`PIPELINE +SEGMENT +FIRST +EVENTS +BYTES +CREATED\n`+
		`(a +\d{20}\.segment +\d+ +\d+ +\d+ +\d+s\n){3}`+
		`damaged bytes are kept in data/a/queue/damaged/00000000000000000000\.segment-32\n$`, onTerminal(t, "queue", "inspect"))
}
