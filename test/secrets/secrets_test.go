// Package secrets checks what flinktail lets out: no secret in anything it prints, serves or writes, and no file that
// others may read.
package secrets

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/IBM/sarama"
	"github.com/stretchr/testify/require"

	_ "github.com/flinktail/flinktail/internal/all" // the plugins to look at
	"github.com/flinktail/flinktail/pipeline"
	"github.com/flinktail/flinktail/test/servers"
)

// Every secret option of every plugin is set, one at a time, to a marked text, written into the file or taken from the
// environment, towards servers that refuse us in every way and repeat what they got. Nothing that comes out holds it.
func TestNothingShowsASecret(t *testing.T) {
	flinktail := build(t)
	hostile := newServers(t)
	for _, test := range []struct{ format, secret string }{{"text", marked}, {"json", "${MARKED}"}} {
		t.Run(test.format, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			file := filepath.Join(dir, "secrets.json")
			text := strings.ReplaceAll(configuration(t, hostile, filepath.Join(dir, "events.ndjson")), marked, test.secret)
			require.NoError(t, os.WriteFile(file, []byte(text), 0o600))
			require.NoError(t, os.WriteFile(filepath.Join(dir, "events.ndjson"), []byte(`{"event_id":"1","kind":"job_status","cluster":"prod"}`+"\n"), 0o600))
			data := filepath.Join(dir, "data")
			common := []string{"-config", file, "-data-dir", data, "-log-level", "debug", "-log-format", test.format}

			code, out := run(t, flinktail, append([]string{"validate"}, common...)...)
			require.Zero(t, code, "%s", out)
			requireNoSecret(t, "validate", out)
			code, out = run(t, flinktail, append([]string{"validate", "--connect"}, common...)...)
			require.NotZero(t, code)
			requireNoSecret(t, "validate --connect", out)
			code, out = run(t, flinktail, append([]string{"run", "-admin-address", "off"}, common...)...)
			require.NotZero(t, code, "the start ends when a destination refuses us")
			requireNoSecret(t, "a start that is refused", out)

			p := start(t, flinktail, append([]string{"run", "-admin-address", "127.0.0.1:0", "-start-timeout", "0s", "-stop-timeout", "7s"}, common...)...)
			p.untilAllHaveFailed(t, data)
			for _, path := range []string{"/api/status", "/metrics", "/healthz", "/readyz"} {
				requireNoSecret(t, path, p.get(t, data, path))
			}
			requireNoSecret(t, "the log", p.stop(t))
			for _, command := range []string{"list", "show"} {
				_, out = run(t, flinktail, "deadletter", command, "-data-dir", data)
				require.Contains(t, string(out), "flusher_http", "there are dead letters of a receiver that repeats everything")
				requireNoSecret(t, "deadletter "+command, out)
			}
			requireNoSecretIn(t, data)
		})
	}
}

// Whatever is wrong with a secret, or where it stands, the message does not show it.
func TestNoMistakeShowsASecret(t *testing.T) {
	flinktail := build(t)
	dir := t.TempDir()
	for i, u := range uses(t) {
		var mistakes []object // of the plugin's entry in the list
		for _, value := range []any{[]any{marked}, []any{[]any{marked}}, object{"a": object{"b": marked}}, "weak " + marked, "\n" + marked, "%{" + marked, "!" + marked, "${" + marked + " x}", marked + "://a"} {
			wrong := u
			wrong.value = value
			mistakes = append(mistakes, object{"type": u.plugin, "detail": wrong.detail(t, "127.0.0.1:1", false)})
		}
		first, _, _ := strings.Cut(u.option, ".")
		mistakes = append(mistakes, object{"type": u.plugin, "detail": marked}, object{"type": u.plugin, "detail": object{first: marked}}, object{"type": u.plugin, first: u.value})
		for j, mistake := range mistakes {
			file := filepath.Join(dir, fmt.Sprintf("%d-%d.json", i, j))
			plugins := map[pipeline.Category][]any{u.category: {mistake}}
			require.NoError(t, os.WriteFile(file, []byte(pipelineFile(t, plugins, "none")), 0o600))
		}
	}
	code, out := run(t, flinktail, "validate", "-config", dir)
	require.Equal(t, 78, code, "%s", out)
	requireNoSecret(t, "validate", out)
	for i, text := range []string{"{Key: *" + marked + "}", "{Key: !" + marked + " x}", "{Key: &" + marked + " [*" + marked + "]}", "{Key: \"" + marked} {
		file := filepath.Join(t.TempDir(), fmt.Sprintf("%d.yaml", i))
		require.NoError(t, os.WriteFile(file, []byte("inputs:\n- type: input_file\n  detail: "+text+"\n"), 0o600))
		code, out := run(t, flinktail, "validate", "-config", file)
		require.Equal(t, 78, code, "%s", out)
		requireNoSecret(t, "validate "+text, out)
	}
}

// What is generated from the options does not depend on the environment, nor on anything a secret could come from.
func TestGeneratedTextsKnowSecrets(t *testing.T) {
	flinktail := build(t)
	_, schema := run(t, flinktail, "schema")
	requireNoSecret(t, "schema", schema)
	for _, u := range uses(t) {
		_, out := run(t, flinktail, "plugins", u.plugin)
		requireNoSecret(t, "plugins "+u.plugin, out)
		require.Regexp(t, u.option+`\t.*secret`, string(out))
	}
	require.Contains(t, string(schema), `"writeOnly": true`)
}

// configuration returns a pipeline's file in which each use of a secret meets each server.
func configuration(t *testing.T, hostile []server, events string) string {
	plugins := map[pipeline.Category][]any{}
	for _, u := range uses(t) {
		for _, s := range hostile {
			if isKafka := u.plugin == "flusher_kafka"; isKafka && s.speaks == "http" || !isKafka && s.speaks == "kafka" {
				continue
			}
			entry := object{
				"type":   fmt.Sprintf("%s/%s.%s", u.plugin, strings.ReplaceAll(u.option, ".", "-"), s.name),
				"detail": u.detail(t, s.address, s.tls),
			}
			if u.category == pipeline.CategoryFlusher {
				entry["Retry"] = object{"Initial": "10ms", "Max": "100ms"}
			}
			plugins[u.category] = append(plugins[u.category], entry)
			if aim[u.plugin] == nil {
				break // it goes where its sample says
			}
		}
	}
	return strings.ReplaceAll(pipelineFile(t, plugins, events), tokenServer, hostile[0].address)
}

func pipelineFile(t *testing.T, plugins map[pipeline.Category][]any, events string) string {
	t.Helper()
	file := object{
		"inputs":     append([]any{object{"type": "input_file", "detail": object{"FilePaths": []any{events}, "From": "beginning"}}}, plugins[pipeline.CategoryInput]...),
		"processors": plugins[pipeline.CategoryProcessor],
		"flushers":   append([]any{object{"type": "flusher_stdout/marked", "detail": object{"OnlyStdout": true}}}, plugins[pipeline.CategoryFlusher]...),
	}
	text, err := json.MarshalIndent(file, "", "  ")
	require.NoError(t, err)
	return string(text)
}

// server refuses us.
type server struct {
	name, address string
	tls           bool   // speak TLS with it
	speaks        string // "http" or "kafka"; "" when it is for all, whatever they speak
}

// newServers starts servers that refuse us in many ways; the HTTP ones repeat the request in their answer. The first answers 401.
func newServers(t *testing.T) []server {
	var all []server
	for _, status := range []int{401, 302, 400, 403, 404, 413, 422, 429, 500, 503} {
		s := httptest.NewServer(repeat(status))
		t.Cleanup(s.Close)
		all = append(all, server{name: fmt.Sprint(status), address: s.Listener.Addr().String(), speaks: "http"})
	}
	all = append(all, server{name: "tls-to-plain", address: all[0].address, tls: true})

	s := httptest.NewUnstartedServer(repeat(401))
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.StartTLS()
	t.Cleanup(s.Close)
	secure := s.Listener.Addr().String()
	all = append(all, server{name: "unknown-authority", address: secure, tls: true}, server{name: "plain-to-tls", address: secure})

	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, l.Close())
	all = append(all, server{name: "nobody", address: l.Addr().String()})

	broker := sarama.NewMockBroker(t, 1)
	t.Cleanup(broker.Close)
	broker.SetHandlerByMap(map[string]sarama.MockResponse{
		"ApiVersionsRequest": sarama.NewMockApiVersionsResponse(t).SetApiKeys([]sarama.ApiVersionsResponseKey{
			{ApiKey: 3, MaxVersion: 7}, {ApiKey: 17, MaxVersion: 1}, {ApiKey: 18, MaxVersion: 3}, {ApiKey: 36, MaxVersion: 1},
		}),
		"SaslHandshakeRequest":    sarama.NewMockSaslHandshakeResponse(t).SetEnabledMechanisms([]string{"PLAIN", "SCRAM-SHA-512", "OAUTHBEARER"}),
		"SaslAuthenticateRequest": sarama.NewMockSaslAuthenticateResponse(t).SetError(sarama.ErrSASLAuthenticationFailed),
	})
	return append(all, server{name: "broker", address: broker.Addr(), speaks: "kafka"})
}

// repeat answers with the status, and everything that came.
func repeat(status int) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		_, password, _ := r.BasicAuth()
		said := fmt.Sprintf("%s with %v, parameters %v, password %s", r.RequestURI, r.Header, r.URL.Query(), password)
		w.Header().Set("Location", "/login"+r.RequestURI)
		if strings.HasPrefix(r.Header.Get("User-Agent"), "flinktail") && strings.Contains(r.URL.Path, "_") { // Elasticsearch's, which has an error of its own form
			w.Header().Set("Content-Type", "application/json")
			w.Header().Set("X-Elastic-Product", "Elasticsearch")
			text, _ := json.Marshal(object{"error": object{"type": "security_exception", "reason": said}})
			said = string(text)
		}
		w.WriteHeader(status)
		_, _ = io.WriteString(w, said)
	}
}

// traces are the forms in which a secret may show.
func traces() []string {
	list := []string{marked, hex.EncodeToString([]byte(marked))}
	for shift := range 3 {
		text := base64.StdEncoding.EncodeToString([]byte(strings.Repeat(" ", shift) + marked))
		list = append(list, text[4:len(text)-4]) // what does not depend on its neighbours
	}
	return list
}

func requireNoSecret(t *testing.T, what string, text []byte) {
	t.Helper()
	for _, trace := range traces() {
		if at := bytes.Index(text, []byte(trace)); at >= 0 {
			t.Fatalf("%s shows a secret: …%s…", what, text[max(0, at-500):min(len(text), at+100)])
		}
	}
}

// requireNoSecretIn looks into every file under dir.
func requireNoSecretIn(t *testing.T, dir string) {
	t.Helper()
	files := 0
	require.NoError(t, filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() {
			return err
		}
		text, err := os.ReadFile(path)
		requireNoSecret(t, path, text)
		files++
		return err
	}))
	require.NotZero(t, files)
}

// build compiles flinktail once.
func build(t *testing.T) string {
	t.Helper()
	path, err := built()
	require.NoError(t, err)
	return path
}

var built = sync.OnceValues(func() (string, error) { return servers.BuildFlinktail(folder) })

var folder string

func TestMain(m *testing.M) {
	var err error
	if folder, err = os.MkdirTemp("", "flinktail-secrets-"); err != nil {
		panic(err)
	}
	code := m.Run()
	_ = os.RemoveAll(folder)
	os.Exit(code)
}

// run returns the exit code and all that was printed.
func run(t *testing.T, flinktail string, args ...string) (code int, out []byte) {
	t.Helper()
	cmd := exec.Command(flinktail, args...)
	cmd.Env = append(os.Environ(), "MARKED="+marked)
	out, err := cmd.CombinedOutput()
	if err != nil {
		require.ErrorAs(t, err, new(*exec.ExitError), "%s", out)
	}
	return cmd.ProcessState.ExitCode(), out
}

// process is a flinktail that runs.
type process struct {
	*exec.Cmd
	out string // file of all that it prints
}

func start(t *testing.T, flinktail string, args ...string) *process {
	t.Helper()
	p := &process{exec.Command(flinktail, args...), filepath.Join(t.TempDir(), "out")}
	out, err := os.Create(p.out)
	require.NoError(t, err)
	defer out.Close()
	p.Env = append(os.Environ(), "MARKED="+marked)
	p.Stdout, p.Stderr = out, out
	require.NoError(t, p.Start())
	t.Cleanup(func() { _ = p.Process.Kill() })
	return p
}

// get asks the admin server.
func (p *process) get(t *testing.T, data, path string) []byte {
	t.Helper()
	address, err := os.ReadFile(filepath.Join(data, "admin.addr"))
	if err != nil {
		return nil
	}
	answer, err := http.Get("http://" + strings.TrimSpace(string(address)) + path)
	require.NoError(t, err)
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	require.NoError(t, err)
	require.NotEmpty(t, text)
	return text
}

// untilAllHaveFailed waits until every flusher that has a secret has an error to tell.
func (p *process) untilAllHaveFailed(t *testing.T, data string) {
	t.Helper()
	var missing []string
	defer func() {
		if t.Failed() {
			t.Log("nothing went wrong with ", missing)
		}
	}()
	require.Eventually(t, func() bool {
		var status struct {
			Pipelines []struct {
				Flushers []struct {
					Name         string
					Failures     int
					DeadLettered int `json:"dead_lettered"`
				}
			}
		}
		if json.Unmarshal(p.get(t, data, "/api/status"), &status) != nil || len(status.Pipelines) == 0 {
			return false
		}
		missing = nil
		for _, f := range status.Pipelines[0].Flushers {
			if f.Failures == 0 && f.DeadLettered == 0 && !strings.HasPrefix(f.Name, "flusher_stdout") {
				missing = append(missing, f.Name)
			}
		}
		return len(missing) == 0
	}, time.Minute, 50*time.Millisecond)
}

// stop ends the process with SIGTERM and returns all that it printed.
func (p *process) stop(t *testing.T) []byte {
	t.Helper()
	require.NoError(t, p.Process.Signal(syscall.SIGTERM))
	_ = p.Wait() // the exit code is not looked at
	text, err := os.ReadFile(p.out)
	require.NoError(t, err)
	return text
}
