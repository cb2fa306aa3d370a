package config

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/flinktail/flinktail/pipeline"
)

// fixed is a source without a machine behind it.
func fixed(variables, files map[string]string) source {
	return source{
		variable: func(name string) (string, bool) { v, ok := variables[name]; return v, ok },
		file: func(path string) ([]byte, error) {
			if v, ok := files[path]; ok {
				return []byte(v), nil
			}
			return nil, &fs.PathError{Op: "open", Path: path, Err: fs.ErrNotExist}
		},
	}
}

func decodeText(t *testing.T, file, text string) (*Pipeline, error) {
	t.Helper()
	p, errs := decodeWith(fixed(map[string]string{
		"PORT": "8080", "EMPTY": "", "SECRET": "s3cr3t-\"value", "WORD": "word", "DEBUG": "true", "WAIT": "5s", "ROOM": "1MiB",
	}, map[string]string{"token": "from-file\n"}), "test", file, []byte(text))
	if len(errs) > 0 {
		return nil, errs
	}
	return p, nil
}

// flusher wraps a flusher's detail into a whole pipeline in YAML.
func flusher(detail string) string {
	return "inputs: [{type: input_probe}]\nflushers:\n- type: flusher_probe\n  detail: " + detail + "\n"
}

func probe(t *testing.T, detail string) *probeFlusher {
	t.Helper()
	p, err := decodeText(t, "test.yaml", flusher(detail))
	require.NoError(t, err)
	return p.Flushers[0].Instance.(*probeFlusher)
}

func TestDecodeJSON(t *testing.T) {
	p, err := decodeText(t, "dir/test.json", `{
  "global": {"Project": "p", "Queue": {"MaxBytes": "1MiB"}},
  "inputs": [{"type": "input_probe", "detail": {"Address": "[::1]:${PORT}"}}, {"type": "input_probe/second"}],
  "processors": [{"type": "processor_probe", "detail": {}}],
  "flushers": [
    {"type": "flusher_probe/audit", "Workers": 4, "WhenFull": "dead_letter", "MaxEventAge": "1h",
     "Match": {"kind": "job_*", "label.team": ["a", "b"]}, "Batch": {"MaxAge": "1s"}, "Retry": {"MaxElapsed": "10m"},
     "detail": {"Auth": {"User": "u", "TLS": {"CAFile": "ca"}}, "Verbose": true}}
  ]
}`)
	require.NoError(t, err)
	require.Equal(t, "test", p.Name)
	require.Equal(t, "dir/test.json", p.File)
	global := DefaultGlobal()
	global.Project, global.Queue.MaxBytes = "p", pipeline.MiB
	require.Equal(t, global, p.Global, "what is not given keeps its default")
	require.Equal(t, "[::1]:8080", p.Inputs[0].Instance.(*probeInput).Address)
	require.Equal(t, "127.0.0.1:1", p.Inputs[1].Instance.(*probeInput).Address)
	require.Equal(t, "input_probe/second", p.Inputs[1].Name)
	require.Equal(t, "processors[0]", p.Processors[0].Path)
	f := p.Flushers[0]
	require.Equal(t, [3]string{"flusher_probe", "flusher_probe/audit", "flushers[0]"}, [3]string{f.Type, f.Name, f.Path})
	delivery := DefaultDelivery()
	delivery.Workers, delivery.WhenFull, delivery.MaxEventAge = 4, "dead_letter", time.Hour
	delivery.Match = map[string]Patterns{"kind": {"job_*"}, "label.team": {"a", "b"}}
	delivery.Batch.MaxAge, delivery.Retry.MaxElapsed = time.Second, 10*time.Minute
	require.Equal(t, delivery, f.Delivery)
	options := f.Instance.(*probeFlusher)
	require.Equal(t, &probeAuth{User: "u", TLS: struct{ CAFile string }{"ca"}}, options.Auth)
	require.True(t, options.Verbose, "an embedded struct's field is an option")
}

func TestDecodeEveryType(t *testing.T) {
	for name, test := range map[string]struct {
		detail string
		want   func(*probeFlusher)
	}{
		"nothing":        {`{}`, func(*probeFlusher) {}},
		"null detail":    {``, func(*probeFlusher) {}},
		"null keeps":     {`{Brokers: , Auth: null, Headers: ~}`, func(*probeFlusher) {}},
		"list replaces":  {`{Brokers: ["c:3"]}`, func(p *probeFlusher) { p.Brokers = []string{"c:3"} }},
		"map replaces":   {`{Headers: {B: b}}`, func(p *probeFlusher) { p.Headers = map[string]string{"B": "b"} }},
		"enum":           {`{Mode: fast}`, func(p *probeFlusher) { p.Mode = "fast" }},
		"numbers":        {`{Ports: [1, 0x10, 65535], Ratio: 0.5, Small: -128}`, func(p *probeFlusher) { p.Ports, p.Ratio, p.Small = []uint16{1, 16, 65535}, 0.5, -128 }},
		"whole as float": {`{Ratio: 1}`, func(p *probeFlusher) { p.Ratio = 1 }},
		"durations": {`{Interval: 1m30s, Pauses: [1s, 200ms]}`, func(p *probeFlusher) {
			p.Interval, p.Pauses = 90*time.Second, []time.Duration{time.Second, 200 * time.Millisecond}
		}},
		"size":               {`{Size: 64KiB}`, func(p *probeFlusher) { p.Size = 64 * pipeline.KiB }},
		"bare size":          {`{Size: 4096}`, func(p *probeFlusher) { p.Size = 4096 }},
		"list of structs":    {`{Rules: [{Name: a, Max: 1}, {}]}`, func(p *probeFlusher) { p.Rules = []probeRule{{"a", 1}, {}} }},
		"map of structs":     {`{Routes: {x: {Max: 2}}}`, func(p *probeFlusher) { p.Routes = map[string]probeRule{"x": {Max: 2}} }},
		"a date is text":     {`{Password: 2026-01-05}`, func(p *probeFlusher) { p.Password = "2026-01-05" }},
		"number by variable": {`{Ports: ["${PORT}"], Small: "${NONE:-7}", Ratio: "0${NONE:-.5}"}`, func(p *probeFlusher) { p.Ports, p.Small, p.Ratio = []uint16{8080}, 7, 0.5 }},
		"boolean by variable": {`{Verbose: "${DEBUG}", Interval: "${WAIT}", Size: "${ROOM}"}`, func(p *probeFlusher) {
			p.Verbose, p.Interval, p.Size = true, 5*time.Second, pipeline.MiB
		}},
	} {
		t.Run(name, func(t *testing.T) {
			want := newProbe()
			test.want(want)
			require.Equal(t, want, probe(t, test.detail))
		})
	}
	require.Equal(t, map[string]string{"A": "a"}, sharedHeaders, "a default that instances share is not written to")
}

// TestDefaultsFollow checks that a default gives way to the bound that was set.
func TestDefaultsFollow(t *testing.T) {
	p, err := decodeText(t, "test.yaml", "global: {DeadLetter: {MaxBytes: 1MiB}}\ninputs: [{type: input_probe}]\nflushers: [{type: flusher_print, Retry: {Initial: 1m}}]")
	require.NoError(t, err)
	require.Equal(t, pipeline.MiB, p.Global.DeadLetter.MaxFileBytes)
	require.Equal(t, time.Minute, p.Flushers[0].Delivery.Retry.Max)
}

func TestExpand(t *testing.T) {
	for text, want := range map[string]string{
		`${WORD}`:             "word",
		`<${WORD}-${PORT}>`:   "<word-8080>",
		`${EMPTY}`:            "",
		`${EMPTY:-default}`:   "default",
		`${NONE:-}`:           "",
		`${NONE:-a:-b}`:       "a:-b",
		`${WORD:-default}`:    "word",
		`${file:token}`:       "from-file",
		`$$`:                  "$",
		`$${WORD}`:            "${WORD}",
		`$$$${WORD}$WORD`:     "$${WORD}$WORD",
		`^a$`:                 "^a$",
		`cost: 5$ or $(x) $1`: "cost: 5$ or $(x) $1",
	} {
		require.Equal(t, want, probe(t, `{Password: '`+text+`'}`).Password, text)
	}
}

func TestSystemSource(t *testing.T) {
	folder := t.TempDir()
	write(t, folder, "conf/token", "line 1\nline 2\r\n")
	write(t, folder, "big", strings.Repeat("x", maxSecretFile+1))
	t.Setenv("FLINKTAIL_TEST_WORD", "word")
	write(t, folder, "conf/a.yaml", flusher(`{Password: "${file:token}", Headers: {a: "${FLINKTAIL_TEST_WORD}"}, Brokers: ["${file:`+filepath.Join(folder, "conf/token")+`}"]}`))
	pipelines, err := Load(filepath.Join(folder, "conf", "a.yaml"))
	require.NoError(t, err)
	options := pipelines[0].Flushers[0].Instance.(*probeFlusher)
	require.Equal(t, "line 1\nline 2", options.Password, "one newline at the end is not part of it; relative to the file's folder")
	require.Equal(t, "word", options.Headers["a"])
	require.Equal(t, []string{"line 1\nline 2"}, options.Brokers)

	_, err = Decode("a", filepath.Join(folder, "a.yaml"), []byte(flusher(`{Password: "${file:big}", Headers: {a: "${file:conf}", b: "${file:none}"}}`)))
	requireErrors(t, err,
		"flushers[0].detail.Password: read ${file:big}: larger than 1048576 bytes",
		"flushers[0].detail.Headers.a: read ${file:conf}: is a directory",
		"flushers[0].detail.Headers.b: read ${file:none}: no such file or directory",
	)
}

func TestLoadFolder(t *testing.T) {
	folder := t.TempDir()
	_, err := Load(folder)
	require.EqualError(t, err, folder+": the folder holds no *.json, *.yaml or *.yml file")
	_, err = Load(filepath.Join(folder, "none.json"))
	require.EqualError(t, err, filepath.Join(folder, "none.json")+": no such file or directory")
	write(t, folder, "x.conf", "{}")
	_, err = Load(filepath.Join(folder, "x.conf"))
	require.EqualError(t, err, filepath.Join(folder, "x.conf")+`: extension ".conf" is not known; use .json, .yaml or .yml`)

	write(t, folder, "b.yaml", flusher("{}"))
	write(t, folder, "c.yml", flusher("{}"))
	write(t, folder, "a.json", `{"inputs":[{"type":"input_probe"}],"flushers":[{"type":"flusher_print"}]}`)
	write(t, folder, ".hidden.json", "{")
	write(t, folder, "folder.json/x.json", "{")
	require.NoError(t, os.Symlink("b.yaml", filepath.Join(folder, "linked.yaml"))) // as Kubernetes mounts a ConfigMap
	pipelines, err := Load(folder)
	require.NoError(t, err)
	var names []string
	for _, p := range pipelines {
		names = append(names, p.Name)
	}
	require.Equal(t, []string{"a", "b", "c", "linked"}, names)

	write(t, folder, "a.yaml", flusher("{Brokres: []}"))
	write(t, folder, "b.yaml", "inputs: []\nflushers: [{type: flusher_print}]\n")
	_, err = Load(folder)
	requireErrors(t, err,
		filepath.Join(folder, "a.yaml")+`: the pipeline's name "a" is taken by `+filepath.Join(folder, "a.json")+"; rename one of the files",
		filepath.Join(folder, "a.yaml")+`:4:12: flushers[0].detail.Brokres: unknown field; did you mean "Brokers"?`,
		filepath.Join(folder, "b.yaml")+":1:1: inputs: a pipeline needs at least one input",
		filepath.Join(folder, "linked.yaml")+":1:1: inputs: a pipeline needs at least one input",
	)
}

func TestLoadUnreadable(t *testing.T) {
	folder := t.TempDir()
	write(t, folder, "a.json", "{}")
	require.NoError(t, os.Symlink("nowhere", filepath.Join(folder, "gone.yaml")))
	_, err := Load(filepath.Join(folder, "a.json", "b.json"))
	require.EqualError(t, err, filepath.Join(folder, "a.json", "b.json")+": not a directory")
	_, err = Load(folder)
	requireErrors(t, err,
		"inputs: a pipeline needs at least one input",
		"flushers: a pipeline needs at least one flusher",
		filepath.Join(folder, "gone.yaml")+": no such file or directory",
	)
}

func write(t *testing.T, folder, name, text string) {
	t.Helper()
	path := filepath.Join(folder, name)
	require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o700))
	require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
}

// requireErrors checks that exactly these errors came, in this order; each may leave out the file and the place.
func requireErrors(t *testing.T, err error, want ...string) {
	t.Helper()
	require.Error(t, err)
	var errs Errors
	require.ErrorAs(t, err, &errs)
	var got []string
	for i, e := range errs {
		text := e.Error()
		if i < len(want) && !strings.HasPrefix(want[i], e.File) {
			text = strings.TrimPrefix(e.Path+": "+e.Message, ": ")
		}
		got = append(got, text)
	}
	require.Equal(t, want, got)
}

// What a reload compares is what the plugin gets: a reference's value, not its text.
func TestSumIsOfTheOptionsThatAPluginGets(t *testing.T) {
	dir := t.TempDir()
	secret := filepath.Join(dir, "pin")
	load := func(pin, detail string) Plugin {
		t.Helper()
		require.NoError(t, os.WriteFile(secret, []byte(pin), 0o600))
		text := `{"inputs":[{"type":"input_probe"}],"flushers":[{"type":"flusher_probe","detail":` + detail + `}]}`
		p, err := Decode("p", filepath.Join(dir, "p.json"), []byte(text))
		require.NoError(t, err)
		return p.Flushers[0]
	}
	const detail = `{"Pin": "${file:pin}", "Mode": "fast"}`
	first := load("1234", detail)
	require.Equal(t, first.Sum, load("1234", `{"Mode":"fast","Pin":"${file:pin}"}`).Sum, "the order of the keys says nothing")
	require.Equal(t, first.Sum, load("1234", `{"Mode":"fast","Pin":"1234"}`).Sum)
	next := load("5678", detail)
	require.NotEqual(t, first.Sum, next.Sum)

	again := first.Anew().Instance.(*probeFlusher)
	require.Equal(t, "1234", again.Pin.Reveal(), "as it was read then")
	require.Equal(t, first.Instance, any(again))
	require.NotSame(t, first.Instance, again)
}
