//go:build e2e

// Package faults breaks the destinations of flinktail's flushers in every way that is known to lose events elsewhere:
// a real Kafka, a real Elasticsearch, HTTP servers and a second flinktail. Nothing may be lost.
package faults

import (
	"context"
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/flinktail/flinktail/test/servers"
)

// patience bounds every wait for a condition.
const patience = 90 * time.Second

// scratch is the folder of what all tests share; TestMain removes it.
var scratch string

func TestMain(m *testing.M) {
	flag.Parse()
	_ = flag.Set("test.parallel", "64") // the tests wait for faults to pass, they do not compute
	os.Exit(run(m))
}

func run(m *testing.M) int {
	var err error
	if scratch, err = os.MkdirTemp("", "flinktail-faults-"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(scratch)
	code := m.Run()
	printTable()
	return code
}

// binary builds flinktail once and returns its path.
func binary(t testing.TB) string {
	t.Helper()
	path, err := build()
	require.NoError(t, err)
	return path
}

var build = sync.OnceValues(func() (string, error) { return servers.BuildFlinktail(scratch) })

// row is a line of the table that is printed at the end.
type row struct {
	fault, destination                            string
	sent, delivered, deadLetters, duplicate, lost int
	took                                          time.Duration
}

var table struct {
	sync.Mutex
	rows []row
}

func addRow(r row) {
	table.Lock()
	defer table.Unlock()
	table.rows = append(table.rows, r)
}

func printTable() {
	if len(table.rows) == 0 {
		return
	}
	slices.SortStableFunc(table.rows, func(a, b row) int {
		return strings.Compare(a.destination+a.fault, b.destination+b.fault)
	})
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "destination\tfault\tsent\tdelivered\tdead letters\tduplicates\tlost\ttook\t")
	for _, r := range table.rows {
		fmt.Fprintf(w, "%s\t%s\t%d\t%d\t%d\t%d\t%d\t%s\t\n",
			r.destination, r.fault, r.sent, r.delivered, r.deadLetters, r.duplicate, r.lost, r.took.Round(100*time.Millisecond))
	}
	_ = w.Flush() // to stdout
}

// serverContext is for servers, whose test says when they end.
func serverContext() context.Context { return context.Background() }

// await polls until the condition holds.
func await(t testing.TB, what string, condition func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !condition(); time.Sleep(20 * time.Millisecond) {
		require.True(t, time.Now().Before(deadline), "%s: not within %s", what, patience)
	}
}
