package cli

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// onTerminal runs a command line whose standard output is a terminal and returns what it shows.
func onTerminal(t *testing.T, args ...string) string {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	require.NoError(t, err)
	defer master.Close()
	number, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
	require.NoError(t, err)
	require.NoError(t, unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0))
	terminal, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|unix.O_NOCTTY, 0)
	require.NoError(t, err)

	shown := make(chan string)
	go func() {
		var text bytes.Buffer
		_, _ = io.Copy(&text, master) // ends with an error when the other side is closed
		shown <- text.String()
	}()
	var stderr bytes.Buffer
	code := Run(args, terminal, &stderr, nil)
	require.NoError(t, terminal.Close())
	text := strings.ReplaceAll(<-shown, "\r\n", "\n")
	require.Equal(t, exitOK, code, stderr.String())
	return text
}

func TestTablesOnATerminal(t *testing.T) {
	runRefusing(t, "", "job 1", "job 3")

	require.Equal(t, "PLUGIN         WHAT IT DOES\n"+
		"flusher_picky  delivers what it likes\n"+
		"input_idle     waits\n"+
		"input_numbers  counts\n", onTerminal(t, "plugins"))

	text := onTerminal(t, "plugins", "flusher_picky")
	for _, want := range []string{
		"flusher_picky: delivers what it likes\n", "OPTION    TYPE", "FileName  ", "where to", "beside \"detail\"", "Retry.Initial", "Sample:\n{",
	} {
		require.Contains(t, text, want)
	}

	text = onTerminal(t, "deadletter", "list")
	require.Regexp(t, `^PIPELINE +FILE +LETTERS +BYTES +REASONS +PLUGINS +OLDEST +NEWEST\n`+
		`a +letters-000001\.ndjson +2 +\d+ +\w+ 2 +flusher_picky 2 +\d+s +\d+s\n$`, text)

	text = onTerminal(t, "deadletter", "show", "--id", "3")
	require.Contains(t, text, "\n  \"event\": {\n    \"event_time\": ")
}

func TestLogFormats(t *testing.T) {
	a := &app{commandLine: &commandLine{LogLevel: "warn", LogFormat: "auto"}}
	var text bytes.Buffer
	a.stderr = &text
	a.logger().Info("not shown")
	a.logger().Warn("shown")
	require.Regexp(t, `^\{.*"msg":"shown"\}\n$`, text.String())

	text.Reset()
	a.LogFormat = "text"
	a.logger().Warn("shown")
	require.Regexp(t, `^time=.* msg=shown\n$`, text.String())
}
