package cli

import (
	"encoding/json"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/flinktail/flinktail/pipeline/listen/listentest"
)

// startReloadable starts flinktail on the folder c, and returns it with the URL of its admin address.
func startReloadable(t *testing.T, args ...string) (p *process, url string) {
	t.Helper()
	p = startProcess(t, append([]string{"-config", "c", "-admin-address", "127.0.0.1:0"}, args...)...)
	p.waitFor("flinktail runs")
	address, err := os.ReadFile("data/admin.addr")
	require.NoError(t, err)
	return p, "http://" + strings.TrimSpace(string(address))
}

// lastReload is what /api/status says of it.
func lastReload(t *testing.T, url string) (s reloadStatus) {
	t.Helper()
	require.NoError(t, json.Unmarshal([]byte(get(t, url+"/api/status")), &struct {
		LastReload *reloadStatus `json:"last_reload"`
	}{&s}))
	return s
}

func TestReload(t *testing.T) {
	inFolder(t, map[string]string{"c/a.json": sample(t, "input_idle", "", "", "")})
	p, url := startReloadable(t)
	require.Equal(t, result{stdout: "reloaded\n"}, run("reload"))
	require.Zero(t, lastReload(t, url).Error)

	write(t, "c/b.json", sample(t, "input_idle", `"Fails": true`, "", ""))
	r := run("reload")
	require.Equal(t, exitRunTime, r.code)
	require.Equal(t, "flinktail: not reloaded, everything runs as before: pipeline b: inputs[0] (input_idle): listen on 127.0.0.1:1: in use\n", r.stderr)
	require.Contains(t, lastReload(t, url).Error, "listen on 127.0.0.1:1: in use")
	p.waitFor("the configuration was not reloaded, everything runs as before")

	write(t, "c/b.json", `{"inputs":[{"type":"input_idel"}],"flushers":[{"type":"flusher_picky","detail":{"Dwon":true}}]}`)
	r = run("reload")
	require.Equal(t, exitConfig, r.code)
	require.Equal(t, `c/b.json:1:13: inputs[0].type: unknown plugin "input_idel"; did you mean "input_idle"? "flinktail plugins" lists them
c/b.json:1:81: flushers[0].detail.Dwon: unknown field; did you mean "Down"?
`, r.stderr)
	require.Equal(t, "ok\n", get(t, url+"/readyz"))

	write(t, "c/b.json", sample(t, "input_numbers", "", "", ""))
	require.NoError(t, p.Process.Signal(syscall.SIGHUP))
	p.waitFor("the configuration is reloaded")
	require.Equal(t, reloadStatus{Time: lastReload(t, url).Time, Cause: "SIGHUP"}, lastReload(t, url))
	require.Contains(t, get(t, url+"/api/status"), `"name": "b"`)
	require.NoError(t, p.Process.Signal(syscall.SIGTERM))
	code, rest := p.end()
	require.Equal(t, exitOK, code, rest)
	require.Len(t, delivered(t), 3)
}

func TestReloadThatCannotBeUndone(t *testing.T) {
	inFolder(t, map[string]string{"c/a.json": sample(t, "input_idle", `"Lock": "lock"`, "", "")})
	p, _ := startReloadable(t)
	write(t, "c/a.json", sample(t, "input_idle", `"Fails": true`, "", ""))
	r := run("reload")
	require.Equal(t, exitRunTime, r.code)
	require.Contains(t, r.stderr, "flinktail: not reloaded: flinktail is not whole any more and stops: pipeline a: inputs[0] (input_idle): listen on 127.0.0.1:1: in use; what ran before does not start again: ")
	code, rest := p.end()
	require.Equal(t, exitRunTime, code)
	require.Contains(t, rest, "flinktail is not whole any more and stops")
	require.NotContains(t, rest, "everything runs as before")
}

func TestWatch(t *testing.T) {
	inFolder(t, map[string]string{"v1/a.json": sample(t, "input_idle", "", "", ""), "v2/a.json": sample(t, "input_numbers", "", "", "")})
	require.NoError(t, os.Symlink("v1", "c"))
	p, url := startReloadable(t, "-watch")
	require.NoError(t, os.Symlink("v2", "next")) // as Kubernetes changes a ConfigMap
	require.NoError(t, os.Rename("next", "c"))
	p.waitFor("the configuration is reloaded")
	require.Equal(t, "changed file", lastReload(t, url).Cause)
	write(t, "v2/a.json", "{")
	p.waitFor("the configuration was not reloaded")
	require.NotEmpty(t, lastReload(t, url).Error)
	require.NoError(t, p.Process.Signal(syscall.SIGTERM))
	code, rest := p.end()
	require.Equal(t, exitOK, code, rest)
	require.Len(t, delivered(t), 3)
}

func TestReloadWithoutAFlinktail(t *testing.T) {
	inFolder(t, nil)
	r := run("reload")
	require.Equal(t, exitRunTime, r.code)
	require.Equal(t, "flinktail: no flinktail with an admin address runs on -data-dir ./data; if it runs with -admin-address off, send it SIGHUP: kill -HUP PID\n", r.stderr)
}

func TestReloadOfAProtectedFlinktail(t *testing.T) {
	ca := listentest.NewAuthority(t)
	ca.Issue("server")
	ca.Issue("other")
	inFolder(t, map[string]string{"c/a.json": sample(t, "input_idle", "", "", ""), "tokens": "# rotated on Mondays\n\nfirst-token\nsecond-token\n", "wrong": "third-token\n"})
	p := startProcess(t, "-config", "c", "-admin-address", "127.0.0.1:0", "-admin-token-file", "tokens",
		"-admin-cert-file", ca.File("server.pem"), "-admin-key-file", ca.File("server.key"))
	p.waitFor("flinktail runs")
	require.Equal(t, result{stdout: "reloaded\n"}, run("reload", "-admin-token-file", "tokens", "-admin-cert-file", ca.File("server.pem")))
	for _, c := range []struct {
		args []string
		says string
	}{
		{[]string{"-admin-cert-file", ca.File("server.pem")}, "give -admin-token-file"},
		{[]string{"-admin-cert-file", ca.File("server.pem"), "-admin-token-file", "wrong"}, "a valid bearer token is required"},
		{[]string{"-admin-cert-file", ca.File("other.pem"), "-admin-token-file", "tokens"}, "x509: "},
		{[]string{"-admin-token-file", "tokens"}, "give its -admin-cert-file"},
	} {
		r := run(append([]string{"reload"}, c.args...)...)
		require.Equal(t, exitRunTime, r.code, c.args)
		require.Contains(t, r.stderr, c.says)
	}
	require.NoError(t, p.Process.Signal(syscall.SIGTERM))
	code, rest := p.end()
	require.Equal(t, exitOK, code, rest)
}
