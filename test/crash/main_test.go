//go:build e2e

// Package crash kills the flinktail binary, damages its queue on disk and fills its file system up, and asserts that nothing it has
// acknowledged is lost.
package crash

import (
	"flag"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/flinktail/flinktail/test/servers"
)

var (
	rounds = flag.Int("rounds", 200, "how often TestKilled kills; the tests that damage files take a quarter of it")
	seed   = flag.Uint64("seed", 0, "repeats the random choices of an earlier run, but not its timing; 0 takes a new one")
)

// patience bounds every wait for a condition.
const patience = time.Minute

// scratch is the folder of what all tests share; TestMain removes it.
var scratch string

func TestMain(m *testing.M) {
	flag.Parse()
	for *seed == 0 {
		*seed = rand.Uint64()
	}
	os.Exit(run(m))
}

func run(m *testing.M) int {
	var err error
	if scratch, err = os.MkdirTemp("", "flinktail-crash-"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(scratch)
	return m.Run()
}

// executable builds flinktail once and returns its path.
func executable(t testing.TB) string {
	t.Helper()
	path, err := build()
	require.NoError(t, err)
	return path
}

var build = sync.OnceValues(func() (string, error) { return servers.BuildFlinktail(scratch) })

// choices makes the random choices of one test. It belongs to one goroutine.
func choices(t testing.TB) *rand.Rand {
	t.Helper()
	t.Logf("to make the same choices again: -seed %d", *seed)
	name := fnv.New64a()
	_, _ = name.Write([]byte(t.Name())) // a hash takes everything
	return rand.New(rand.NewPCG(*seed, name.Sum64()))
}

// await polls until the condition holds.
func await(t testing.TB, what string, condition func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !condition(); time.Sleep(5 * time.Millisecond) {
		require.True(t, time.Now().Before(deadline), "%s: not within %s", what, patience)
	}
}
