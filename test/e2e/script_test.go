//go:build e2e

package e2e

import (
	"encoding/json"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/stretchr/testify/require"

	"github.com/flinktail/flinktail/test/servers"
)

// The scripts of testdata run the binary. Beside testscript's commands they have:
//
//	exits CODE command...    the command ends by itself with that exit code
//	occupied VARIABLE        listens on a port until the script ends
//	same file file           the files hold the same JSON objects, one a line, whatever the order of their fields
func TestScripts(t *testing.T) {
	path := filepath.Dir(binary(t))
	testscript.Run(t, testscript.Params{
		Dir: "testdata",
		Setup: func(e *testscript.Env) error {
			e.Setenv("PATH", path+string(os.PathListSeparator)+e.Getenv("PATH"))
			e.Setenv("RECORDED", filepath.Join(servers.Tree(), "test", "testdata", "recorded.ndjson"))
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits": exits, "occupied": occupied, "same": same,
		},
	})
}

func exits(ts *testscript.TestScript, _ bool, args []string) {
	wanted, err := strconv.Atoi(args[0])
	ts.Check(err)
	err = ts.Exec(args[1], args[2:]...)
	code := 0
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		code = exit.ExitCode()
	} else {
		ts.Check(err)
	}
	if code != wanted {
		ts.Fatalf("exit code %d, not %d", code, wanted)
	}
}

func occupied(ts *testscript.TestScript, _ bool, args []string) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	ts.Check(err)
	ts.Defer(func() { l.Close() })
	ts.Setenv(args[0], strconv.Itoa(l.Addr().(*net.TCPAddr).Port))
}

func same(ts *testscript.TestScript, _ bool, args []string) {
	a, b := objects(ts, args[0]), objects(ts, args[1])
	if len(a) != len(b) {
		ts.Fatalf("%s has %d events, %s has %d", args[0], len(a), args[1], len(b))
	}
	for i := range a {
		if !reflect.DeepEqual(a[i], b[i]) {
			ts.Fatalf("event %d is\n%v\nand\n%v", i+1, a[i], b[i])
		}
	}
}

func objects(ts *testscript.TestScript, file string) []map[string]any {
	var all []map[string]any
	for line := range strings.Lines(ts.ReadFile(file)) {
		var object map[string]any
		ts.Check(json.Unmarshal([]byte(line), &object))
		all = append(all, object)
	}
	return all
}

// TestUnreadableFolder runs as a user without rights, which root has to become first.
func TestUnreadableFolder(t *testing.T) {
	const nobody = 65534
	folder := filepath.Join(scratch, "denied") // not in t.TempDir, which is nobody else's altogether
	require.NoError(t, os.Mkdir(folder, 0))
	t.Cleanup(func() { _ = os.Remove(folder) })
	run := func(args ...string) (int, string) {
		cmd := exec.Command(binary(t), args...)
		cmd.Dir = "/"
		if os.Getuid() == 0 {
			cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
		}
		out, err := cmd.CombinedOutput()
		require.Error(t, err, "%s", out)
		return cmd.ProcessState.ExitCode(), string(out)
	}
	code, out := run("run", "-config", folder, "-admin-address", "off")
	require.Equal(t, 78, code)
	require.Equal(t, folder+": read folder: permission denied\n", out)

	config := filepath.Join(scratch, "allowed.json")
	require.NoError(t, os.WriteFile(config, []byte(`{
		"inputs": [{"type": "input_http", "detail": {"Address": "127.0.0.1:0"}}],
		"flushers": [{"type": "flusher_stdout"}]
	}`), 0o644))
	code, out = run("run", "-config", config, "-admin-address", "off", "-data-dir", filepath.Join(folder, "data"))
	require.Equal(t, 1, code)
	require.Equal(t, "flinktail: create data folder: mkdir "+folder+"/data: permission denied\n", out)
}
