package cli

import (
	"encoding/json"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestHelp(t *testing.T) {
	for _, args := range [][]string{{"--help"}, {"-h"}, {"-help"}} {
		r := run(args...)
		require.Equal(t, exitOK, r.code, args)
		require.Empty(t, r.stderr)
		for _, text := range []string{
			"run ", "validate ", "plugins new ", "schema ", "deadletter list ", "deadletter show ", "deadletter replay ", "version ",
			"--config=FILE|DIR", "Default: ./data.", "Default: 25s.", "Examples:", "Exit codes:", "    64  ", "    78  ",
		} {
			require.Contains(t, r.stdout, text, args)
		}
	}
	r := run("run", "--help")
	require.Equal(t, exitOK, r.code)
	for _, text := range []string{"--once", "127.0.0.1:8687", "--pprof", "--plugin=FILE|DIR"} {
		require.Contains(t, r.stdout, text)
	}
}

func TestExitCodes(t *testing.T) {
	inFolder(t, map[string]string{
		"good.json": sample(t, "input_numbers", "", "", ""),
		"bad.json":  `{"inputs":[{"type":"input_numbers","detail":{"Evnts":3}}],"flushers":[{"type":"flusher_pikcy"}]}`,
		"empty/x":   "",
		"file":      "",
	})
	for _, test := range []struct {
		name, args string
		code       int
		stderr     []string // one line each
	}{
		{"no configuration", "", 64, []string{"flinktail: missing -config FILE|DIR; see flinktail --help"}},
		{"unknown flag", "--nope", 64, []string{"unknown flag --nope"}},
		{"unknown command", "nope", 64, []string{"unexpected argument nope"}},
		{"unknown plugin's options", "plugins flusher_nope", 64, []string{`no plugin "flusher_nope"`}},
		{"sample of nothing", "plugins --sample", 64, []string{"--sample needs the name"}},
		{"no time to stop", "-config good.json -stop-timeout 0s", 64, []string{"--stop-timeout must be longer"}},
		{"log level", "-config good.json --log-level loud", 64, []string{"--log-level must be one of"}},
		{"every error, run", "-config bad.json", 78, []string{`did you mean "Events"?`, "flusher_pikcy"}},
		{"every error, validate", "validate -config bad.json", 78, []string{`did you mean "Events"?`, "flusher_pikcy"}},
		{"every error, replay", "deadletter replay -config bad.json", 78, []string{`did you mean "Events"?`, "flusher_pikcy"}},
		{"missing file", "-config none.json", 78, []string{"none.json: no such file or directory"}},
		{"empty folder", "-config empty", 78, []string{"empty: "}},
		{"data folder is a file", "-config good.json -data-dir file", 1, []string{"flinktail: create data folder: mkdir file: not a directory"}},
		{"admin address", "-config good.json -admin-address nope", 64, []string{"flinktail: admin address nope: "}},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := run(strings.Fields(test.args)...)
			require.Equal(t, test.code, r.code, r.stderr)
			require.Empty(t, r.stdout)
			lines := strings.Split(strings.TrimSuffix(r.stderr, "\n"), "\n")
			require.Len(t, lines, len(test.stderr), r.stderr)
			for i, want := range test.stderr {
				require.Contains(t, lines[i], want)
			}
		})
	}
}

func TestSpellingsOfFlags(t *testing.T) {
	inFolder(t, map[string]string{"a.json": sample(t, "input_numbers", "", "", "")})
	for _, args := range []string{
		"validate -config a.json", "validate --config a.json", "validate -config=a.json", "-config a.json validate",
		"validate -plugin a.json", "validate --plugin=a.json",
	} {
		r := run(strings.Fields(args)...)
		require.Equal(t, exitOK, r.code, args+": "+r.stderr)
		require.Equal(t, "a.json: ok (pipeline a: input_numbers -> flusher_picky)\n", r.stdout, args)
	}
	require.Equal(t, []string{"--a", "-h", "-x=1", "-", "b", "--", "-c"}, longFlags([]string{"-a"[:1] + "-a", "-h", "-x=1", "-", "b", "--", "-c"}))
}

func TestValidateAFolder(t *testing.T) {
	inFolder(t, map[string]string{
		"c/a.json": sample(t, "input_numbers", "", "", ""),
		"c/b.yaml": "inputs: [{type: input_idle}]\nflushers: [{type: flusher_picky}]\n",
	})
	r := run("validate", "-config", "c")
	require.Equal(t, exitOK, r.code, r.stderr)
	require.Equal(t, "c/a.json: ok (pipeline a: input_numbers -> flusher_picky)\nc/b.yaml: ok (pipeline b: input_idle -> flusher_picky)\n", r.stdout)
}

func TestSchema(t *testing.T) {
	r := run("schema")
	require.Equal(t, exitOK, r.code, r.stderr)
	require.True(t, json.Valid([]byte(r.stdout)))
	require.Contains(t, r.stdout, `"flusher_picky"`)
}

func TestVersion(t *testing.T) {
	r := run("version")
	require.Equal(t, exitOK, r.code, r.stderr)
	require.Regexp(t, `^flinktail \S+ \(go\S+ \w+/\w+\)\n$`, r.stdout)
}

func TestPlugins(t *testing.T) {
	r := run("plugins")
	require.Equal(t, exitOK, r.code, r.stderr)
	require.Equal(t, "flusher_picky\tdelivers what it likes\ninput_idle\twaits\ninput_numbers\tcounts\n", r.stdout)

	r = run("plugins", "input_numbers")
	require.Equal(t, exitOK, r.code, r.stderr)
	require.Contains(t, r.stdout, "Events\twhole number\t3\thow many\n")

	inFolder(t, nil)
	r = run("plugins", "input_numbers", "--sample")
	require.Equal(t, exitOK, r.code, r.stderr)
	require.NoError(t, os.WriteFile("sample.json", []byte(r.stdout), 0o600))
	require.Equal(t, exitOK, run("validate", "-config", "sample.json").code)
}

func TestPluginsNewWritesOnlyIntoTheSourceTree(t *testing.T) {
	inFolder(t, nil)
	r := run("plugins", "new", "flusher_x")
	require.Equal(t, exitRunTime, r.code)
	require.Contains(t, r.stderr, "is not flinktail's source tree")
	entries, err := os.ReadDir(".")
	require.NoError(t, err)
	require.Empty(t, entries)
}
