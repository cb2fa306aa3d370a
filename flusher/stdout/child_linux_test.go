package stdout

import (
	"bufio"
	"bytes"
	"context"
	"os"
	"os/exec"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/flinktail/flinktail/pipeline"
)

type base = pipeline.Context

// childContext has what Init asks for.
type childContext struct{ base }

func (childContext) Context() context.Context { return context.Background() }

// A closed pipe must not kill the process, as it does to a Go program that writes to its standard output.
func TestReaderThatWentAway(t *testing.T) {
	r, w, err := os.Pipe()
	require.NoError(t, err)
	var stderr bytes.Buffer
	child := exec.Command(os.Args[0])
	child.Env = append(os.Environ(), childMode+"=1")
	child.Stdout, child.Stderr = w, &stderr
	require.NoError(t, child.Start())
	require.NoError(t, w.Close())
	line, err := bufio.NewReader(r).ReadString('\n')
	require.NoError(t, err)
	require.Contains(t, line, `"event_time"`)
	require.NoError(t, r.Close())
	require.NoError(t, child.Wait())
	require.Contains(t, stderr.String(), "nobody reads the standard output")
}
