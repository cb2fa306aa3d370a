package stdout

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

func shrinkPipe(t testing.TB, w *os.File) {
	_, err := unix.FcntlInt(w.Fd(), unix.F_SETPIPE_SZ, 4096)
	require.NoError(t, err)
}

// terminal opens a pseudo terminal: what is written to tty can be read from screen.
func terminal(t *testing.T, columns uint16) (tty, screen *os.File) {
	screen, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	require.NoError(t, err)
	t.Cleanup(func() { _ = screen.Close() })
	conn, err := screen.SyscallConn()
	require.NoError(t, err)
	var n int
	var ptyErr error
	require.NoError(t, conn.Control(func(fd uintptr) {
		if ptyErr = unix.IoctlSetPointerInt(int(fd), unix.TIOCSPTLCK, 0); ptyErr == nil {
			n, ptyErr = unix.IoctlGetInt(int(fd), unix.TIOCGPTN)
		}
	}))
	require.NoError(t, ptyErr)
	tty, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	require.NoError(t, err)
	t.Cleanup(func() { _ = tty.Close() })
	require.NoError(t, unix.IoctlSetWinsize(int(tty.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: 24, Col: columns}))
	return tty, screen
}

func show(t *testing.T, columns uint16, env map[string]string, choose ...func(*Flusher)) string {
	t.Helper()
	for _, name := range []string{"NO_COLOR", "TERM"} {
		t.Setenv(name, env[name])
	}
	tty, screen := terminal(t, columns)
	f, _ := started(t, tty, choose...)
	require.NoError(t, flush(f, group(t,
		`{"event_time":"2026-01-05T08:00:00.123Z","kind":"job_status","cluster":"prod","job_name":"orders","status_from":"RUNNING","status_to":"FAILED","root_class":"a.B","root_message":"`+strings.Repeat("x", 300)+`"}`)))
	require.NoError(t, screen.SetReadDeadline(time.Now().Add(10*time.Second)))
	var text []byte
	buf := make([]byte, 4096)
	for !strings.HasSuffix(string(text), "\n") {
		n, err := screen.Read(buf)
		require.NoError(t, err)
		text = append(text, buf[:n]...)
	}
	return string(text)
}

func TestTerminal(t *testing.T) {
	colour := map[string]string{"TERM": "xterm-256color"}
	line := show(t, 80, colour)
	require.Contains(t, line, "\x1b[31mRUNNING -> FAILED  B: xxx")
	require.Contains(t, line, "xxx…\x1b[0m")

	for _, plain := range []map[string]string{{"TERM": "dumb"}, {"TERM": "xterm", "NO_COLOR": "1"}} {
		line = show(t, 80, plain)
		require.NotContains(t, line, "\x1b")
		require.Equal(t, 80, len([]rune(strings.TrimRight(line, "\r\n"))), line)
	}
	line = show(t, 120, map[string]string{"TERM": "dumb"})
	require.Equal(t, 120, len([]rune(strings.TrimRight(line, "\r\n"))))

	line = show(t, 80, colour, func(f *Flusher) { f.Format = FormatJSON })
	require.True(t, strings.HasPrefix(line, `{"event_time"`), line)
}
