//go:build linux

package stdout

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/flinktail/flinktail/pipeline"
	"github.com/flinktail/flinktail/pipeline/flushertest"
	"github.com/flinktail/flinktail/pipeline/plugintest"
	"github.com/flinktail/flinktail/protocol"
)

func TestMain(m *testing.M) {
	if os.Getenv(childMode) != "" {
		os.Exit(runChild())
	}
	goleak.VerifyTestMain(m)
}

func TestContractOfRedirectedStdout(t *testing.T) {
	flushertest.Run(t, flushertest.Suite{
		Start: func(t testing.TB) *flushertest.Destination {
			path := filepath.Join(t.TempDir(), "out")
			out, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY, 0o600)
			require.NoError(t, err)
			t.Cleanup(func() { _ = out.Close() })
			return &flushertest.Destination{
				New:    func() pipeline.Flusher { f := New(); f.stdout = out; return f },
				Events: func() [][]byte { return linesOf(t, path) },
			}
		},
		Broken: func(t testing.TB) map[string]pipeline.Flusher {
			closed, err := os.Open(os.DevNull)
			require.NoError(t, err)
			require.NoError(t, closed.Close())
			f := New()
			f.stdout = closed
			return map[string]pipeline.Flusher{"the standard output is closed": f}
		},
	})
}

func TestContractOfFile(t *testing.T) {
	flushertest.Run(t, flushertest.Suite{Start: func(t testing.TB) *flushertest.Destination {
		dir := filepath.Join(t.TempDir(), "logs")
		path := filepath.Join(dir, "out.json")
		return &flushertest.Destination{
			New:    func() pipeline.Flusher { f := New(); f.FileName = path; return f },
			Events: func() [][]byte { return linesOf(t, path) },
			Refuse: func() func() {
				require.NoError(t, os.WriteFile(dir, nil, 0o600))
				return func() { require.NoError(t, os.Remove(dir)) }
			},
		}
	}})
}

func TestContractOfPipe(t *testing.T) {
	flushertest.Run(t, flushertest.Suite{Start: func(t testing.TB) *flushertest.Destination {
		r := newReader(t)
		return &flushertest.Destination{
			New:    func() pipeline.Flusher { f := New(); f.stdout = r.w; return f },
			Events: func() [][]byte { return flushertest.Lines(r.text()) },
			Hang:   r.pause,
		}
	}})
}

func linesOf(t testing.TB, path string) [][]byte {
	text, err := os.ReadFile(path)
	if !errors.Is(err, os.ErrNotExist) && !errors.Is(err, syscall.ENOTDIR) {
		require.NoError(t, err)
	}
	return flushertest.Lines(text)
}

// reader reads what is written to w, a small pipe whose writes block as those of a shell's pipe do.
type reader struct {
	w, r *os.File

	mu     sync.Mutex // held while reading
	all    bytes.Buffer
	paused bool
}

func newReader(t testing.TB) *reader {
	var fds [2]int
	require.NoError(t, syscall.Pipe2(fds[:], syscall.O_CLOEXEC))
	require.NoError(t, syscall.SetNonblock(fds[0], true)) // for deadlines; the other end keeps blocking
	p := &reader{r: os.NewFile(uintptr(fds[0]), "r"), w: os.NewFile(uintptr(fds[1]), "w")}
	shrinkPipe(t, p.w)
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for {
			select {
			case <-stop:
				return
			case <-time.After(time.Millisecond):
				p.mu.Lock()
				if !p.paused {
					p.read()
				}
				p.mu.Unlock()
			}
		}
	}()
	t.Cleanup(func() {
		close(stop)
		<-stopped
		_, _ = p.r.Close(), p.w.Close()
	})
	return p
}

// read reads what is there.
func (p *reader) read() {
	buf := make([]byte, 64<<10)
	for {
		_ = p.r.SetReadDeadline(time.Now().Add(2 * time.Millisecond))
		n, err := p.r.Read(buf)
		p.all.Write(buf[:n])
		if err != nil {
			return
		}
	}
}

func (p *reader) text() []byte {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.read()
	return bytes.Clone(p.all.Bytes())
}

func (p *reader) pause() (resume func()) {
	set := func(paused bool) {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.paused = paused
	}
	set(true)
	return func() { set(false) }
}

// started returns a running flusher that writes to out.
func started(t testing.TB, out *os.File, choose ...func(*Flusher)) (*Flusher, *plugintest.Context) {
	t.Helper()
	f := New()
	f.stdout = out
	for _, c := range choose {
		c(f)
	}
	c := plugintest.NewContext(t, "flusher_stdout")
	require.NoError(t, f.Init(c))
	t.Cleanup(func() { require.NoError(t, f.Stop()) })
	return f, c
}

func flush(f *Flusher, groups []*protocol.LogGroup) error {
	return f.Flush("project", "logstore", "config", groups)
}

// group makes a group of events from JSON lines.
var group = flushertest.Groups

const event1 = `{"event_time":"2026-01-05T08:00:00.123Z","event_id":"1","kind":"job_status","cluster":"prod","job_name":"orders","status_from":"RUNNING","status_to":"FINISHED"}`

func TestWhereItGoes(t *testing.T) {
	for _, test := range []struct {
		only, file   bool
		stdout, text string
	}{
		{false, false, event1 + "\n", ""},
		{true, false, event1 + "\n", ""},
		{false, true, "", event1 + "\n"},
		{true, true, event1 + "\n", ""},
	} {
		r := newReader(t)
		path := filepath.Join(t.TempDir(), "f")
		f, _ := started(t, r.w, func(f *Flusher) {
			f.OnlyStdout = test.only
			if test.file {
				f.FileName = path
			}
		})
		require.NoError(t, flush(f, group(t, event1)))
		require.Equal(t, test.stdout, string(r.text()))
		text, _ := os.ReadFile(path)
		require.Equal(t, test.text, string(text))
	}
}

func TestTextInAPipeIsPlain(t *testing.T) {
	r := newReader(t)
	f, _ := started(t, r.w, func(f *Flusher) { f.Format = FormatText })
	require.NoError(t, flush(f, group(t, event1)))
	require.Regexp(t, `^2026-01-05 \d\d:00:00\.123  prod  orders  RUNNING -> FINISHED\n$`, string(r.text()))
}

// The memory of a write that Flush had to leave alone must not be used for the next batch.
func TestAbandonedWriteKeepsItsBytes(t *testing.T) {
	r := newReader(t)
	resume := r.pause()
	f, c := started(t, r.w)
	large := func(id string) []*protocol.LogGroup {
		lines := make([]string, 200)
		for i := range lines {
			lines[i] = fmt.Sprintf(`{"event_id":"%s%d","message":"%0100d"}`, id, i, i)
		}
		return group(t, lines...)
	}
	result := make(chan error, 1)
	go func() { result <- flush(f, large("a")) }()
	writing(t)
	c.Cancel()
	require.Error(t, <-result)

	again, _ := started(t, r.w)
	again.encoders = sync.Pool{New: f.encoders.New}
	go func() { result <- flush(again, group(t, `{"event_id":"b"}`)) }()
	for range 20 {
		require.Error(t, flush(f, large("never")))
	}
	resume()
	require.NoError(t, <-result)
	events := flushertest.Lines(r.text())
	require.Len(t, events, 201)
	for i, e := range events[:200] {
		require.Contains(t, string(e), fmt.Sprintf(`"a%d"`, i))
	}
}

// writing waits until a write is going on.
func writing(t *testing.T) {
	t.Helper()
	require.Eventually(t, func() bool { return len(printing) == 1 }, 10*time.Second, time.Millisecond)
}

func TestStopDoesNotWaitForAReader(t *testing.T) {
	r := newReader(t)
	resume := r.pause()
	f, _ := started(t, r.w)
	other, _ := started(t, r.w)
	result := make(chan error, 2)
	long := strings.Repeat("x", 10_000)
	go func() { result <- flush(f, group(t, `{"message":"`+long+`"}`)) }()
	writing(t)
	go func() { result <- flush(other, group(t, `{"message":"after it"}`)) }()

	began := time.Now()
	require.NoError(t, other.Stop())
	require.NoError(t, f.Stop())
	require.Error(t, <-result)
	require.Error(t, <-result)
	require.Less(t, time.Since(began), 5*time.Second)
	resume()
	require.Eventually(t, func() bool { return len(printing) == 0 }, 10*time.Second, time.Millisecond)
	require.NotContains(t, string(r.text()), "after it")
}

const childMode = "FLINKTAIL_TEST_CHILD"

// runChild is a process that prints until nobody reads, and then goes on: it exits with 0 if it was blocked, not killed.
func runChild() int {
	f := New()
	if err := f.Init(childContext{}); err != nil {
		return 2
	}
	line := &protocol.Log{}
	groups := []*protocol.LogGroup{{Logs: []*protocol.Log{line, line, line}}}
	for range 1000 {
		err := f.Flush("", "", "", groups)
		var blocked *pipeline.BlockedError
		if errors.As(err, &blocked) {
			fmt.Fprintln(os.Stderr, err)
			if f.Stop() != nil {
				return 3
			}
			return 0
		}
		if err != nil {
			return 4
		}
		time.Sleep(time.Millisecond)
	}
	return 5
}

func devNull(t testing.TB) *os.File {
	null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	require.NoError(t, err)
	t.Cleanup(func() { _ = null.Close() })
	return null
}

func TestJSONAllocatesNothingPerEvent(t *testing.T) {
	f, _ := started(t, devNull(t))
	batch := func(n int) []*protocol.LogGroup {
		lines := make([]string, n)
		for i := range lines {
			lines[i] = event1
		}
		return group(t, lines...)
	}
	small, large := batch(100), batch(1100)
	require.NoError(t, flush(f, large))
	per := func(groups []*protocol.LogGroup) float64 {
		return testing.AllocsPerRun(20, func() { require.NoError(t, flush(f, groups)) })
	}
	require.Less(t, (per(large)-per(small))/1000, 0.1, "allocations per event; the race detector makes pools forget now and then")
}
