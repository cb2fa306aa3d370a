package disk

import (
	"bufio"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/flinktail/flinktail/internal/queue/queuetest"
	"github.com/flinktail/flinktail/protocol"
)

// childDir is the variable that makes the test binary a process that uses the queue in that folder until it is killed.
const childDir = "FLINKTAIL_TEST_QUEUE"

func TestMain(m *testing.M) {
	if dir := os.Getenv(childDir); dir != "" {
		child(dir)
	}
	goleak.VerifyTestMain(m)
}

// child appends and settles, and says so: "+id" once an event is acknowledged, "-id" before it is settled.
func child(dir string) {
	q, err := Open(dir, Options{Cursors: []string{"a"}, SegmentBytes: 20_000, Damaged: func(d Damage) { fmt.Println("!", d) }})
	if err != nil {
		fmt.Println("!", err)
		os.Exit(1)
	}
	for i := range 4 {
		go func() {
			for n := 0; ; n++ {
				id := fmt.Sprintf("%d-%d", os.Getpid(), i)
				g := []*protocol.LogGroup{queuetest.Group(id, n)}
				done := make(chan error)
				q.Append(g, queuetest.Measure(g), queuetest.Measure(nil), func(err error) { done <- err })
				if err := <-done; err != nil {
					fmt.Println("!", err)
				}
				fmt.Printf("+%s-%d\n", id, n)
			}
		}()
	}
	a, _ := q.Cursor("a")
	for n := 0; ; n++ {
		e := a.Next()
		if e == nil {
			<-a.Wake()
			continue
		}
		for _, id := range queuetest.IDs(e.Groups) {
			fmt.Printf("-%s\n", id)
		}
		e.Settle(e.Size.Events)
		if n%100 == 0 {
			time.Sleep(10 * time.Millisecond)
		}
	}
}

// The process is killed again and again: what it has acknowledged was delivered before, or is delivered after.
func TestKilledProcess(t *testing.T) {
	dir := t.TempDir()
	acknowledged, delivered := map[string]bool{}, map[string]int{}
	for range 6 {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), childDir+"="+dir)
		out, err := cmd.StdoutPipe()
		require.NoError(t, err)
		require.NoError(t, cmd.Start())
		lines := bufio.NewReader(out)
		first, err := lines.ReadString('\n')
		left := 50 + rand.IntN(500) // acknowledgements until it is killed
		for ; err == nil; first, err = lines.ReadString('\n') {
			id := strings.TrimSpace(first[1:])
			switch first[0] {
			case '+':
				acknowledged[id] = true
				if left--; left == 0 {
					require.NoError(t, cmd.Process.Kill())
				}
			case '-':
				delivered[id]++
			default:
				t.Error(first)
			}
		}
		require.Error(t, cmd.Wait())
	}
	q, _ := open(t, dir, Options{Cursors: []string{"a"}, Damaged: func(d Damage) { t.Error(d) }})
	got, corrupt := drain(t, q, cursor(t, q, "a"))
	require.Zero(t, corrupt)
	for _, id := range got {
		delivered[id]++
	}
	twice := 0
	for id := range acknowledged {
		require.Positive(t, delivered[id], "%s was acknowledged and is lost", id)
		twice += delivered[id] - 1
	}
	t.Logf("%d acknowledged, %d delivered twice", len(acknowledged), twice)
}
