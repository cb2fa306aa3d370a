package config

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/flinktail/flinktail/pipeline"
)

// TestWrongOptions has one detail of flusher_probe a case, and all errors that must come of it.
func TestWrongOptions(t *testing.T) {
	const detail = "flushers[0].detail"
	for given, want := range map[string][]string{
		`{Brokres: [x]}`:                      {`.Brokres: unknown field; did you mean "Brokers"?`},
		`{brokers: [x]}`:                      {`.brokers: unknown field; upper and lower case count, write "Brokers"`},
		`{verbose: true}`:                     {`.verbose: unknown field; upper and lower case count, write "Verbose"`},
		`{Xyzzy: 1}`:                          {`.Xyzzy: unknown field`},
		`{Hook: 1}`:                           {`.Hook: unknown field`},
		`{Auth: {User: u, Z: 1}}`:             {`.Auth.Z: unknown field; known here: User, Token, TLS`},
		`{Auth: {User: u, TLS: {cafile: x}}}`: {`.Auth.TLS.cafile: unknown field; upper and lower case count, write "CAFile"`},
		`{Rules: [{}, {Nam: x}]}`:             {`.Rules[1].Nam: unknown field; did you mean "Name"?`},
		`{Routes: {"a b": {Nam: x}}}`:         {`.Routes["a b"].Nam: unknown field; did you mean "Name"?`},
		`{Batch: {MaxEvents: 1}}`:             {`.Batch: this is no option of the plugin; write it beside "detail"`},

		`{Brokers: a}`: {`.Brokers: expected a list of text, found the text "a"; write [ ] around it`},
		`{Brokers: [1, [], {}, true, null]}`: {
			`.Brokers[0]: expected text, found the number 1; put it in quotes`,
			`.Brokers[1]: expected text, found a list`,
			`.Brokers[2]: expected text, found an object`,
			`.Brokers[3]: expected text, found true; put it in quotes`,
			`.Brokers[4]: has no value; remove it to keep the default`,
		},
		`{Headers: [a]}`:         {`.Headers: expected an object of text, found a list`},
		`{Headers: {a: 1}}`:      {`.Headers.a: expected text, found the number 1; put it in quotes`},
		`{Auth: yes}`:            {`.Auth: expected an object, found the text "yes"`},
		`{Rules: {}}`:            {`.Rules: expected a list of objects, found an object`},
		`{Verbose: "true"}`:      {`.Verbose: expected true or false, found the text "true"; remove the quotes`},
		`{Verbose: yes}`:         {`.Verbose: expected true or false, found the text "yes"`},
		`{Verbose: 1}`:           {`.Verbose: expected true or false, found the number 1`},
		`{Verbose: "${WORD}"}`:   {`.Verbose: "${WORD}" is not true or false`},
		`{Verbose: }`:            {`.Verbose: has no value; remove it to keep the default`},
		`{Small: "5"}`:           {`.Small: expected a whole number, found the text "5"; remove the quotes`},
		`{Small: 128}`:           {`.Small: 128 is out of range; expected a whole number`},
		`{Small: 1.5}`:           {`.Small: 1.5 is not a whole number`},
		`{Small: "${WORD}"}`:     {`.Small: "${WORD}" is not a whole number`},
		`{Small: "${PORT}"}`:     {`.Small: "${PORT}" is out of range; expected a whole number`},
		`{Ports: [-1]}`:          {`.Ports[0]: -1 is out of range; expected a whole number`},
		`{Ratio: 1.01}`:          {`.Ratio: must be at most 1`},
		`{Ratio: -1}`:            {`.Ratio: must be at least 0`},
		`{Ratio: .nan}`:          {`.Ratio: .nan is not a number`},
		`{Ratio: "0.${EMPTY}x"}`: {`.Ratio: "0.${EMPTY}x" is not a number`},
		`{Mode: fsat}`:           {`.Mode: "fsat" is not accepted; expected "fast" or "safe"; did you mean "fast"?`},
		`{Mode: "${WORD}"}`:      {`.Mode: "${WORD}" is not accepted; expected "fast" or "safe"`},
		`{Mode: 1}`:              {`.Mode: expected "fast" or "safe", found the number 1`},
		`{Interval: 5}`:          {`.Interval: write a duration with a unit, such as "5s"; a bare number is not accepted (iLogtail would read nanoseconds)`},
		`{Interval: "5"}`:        {`.Interval: "5" is not a duration; write a number and a unit, such as "5s" or "1h30m"`},
		`{Interval: -5s}`:        {`.Interval: a duration must not be negative`},
		`{Interval: [5s]}`:       {`.Interval: expected a duration, such as "5s", found a list`},
		`{Pauses: [1s, 2]}`:      {`.Pauses[1]: write a duration with a unit, such as "5s"; a bare number is not accepted (iLogtail would read nanoseconds)`},
		`{Size: 5 parsecs}`:      {`.Size: "5 parsecs" is not a size; write a number and a unit, such as "64MiB"`},
		`{Size: "${WORD}"}`:      {`.Size: "${WORD}" is not accepted; expected a size`},
		`{Size: true}`:           {`.Size: expected a size, found true`},
		`{Pin: 1234}`:            {`.Pin: expected text, found a number; put it in quotes`},
		`{Pin: [x]}`:             {`.Pin: expected text, found a list`},
		`{Pin: }`:                {`.Pin: has no value; remove it to keep the default`},
		`{Pin: weak one}`:        {`.Pin: too weak: ***`},
		`{Pins: weak}`:           {`.Pins: expected a list of secrets, found text; write [ ] around it`},
		`{Pins: [1]}`:            {`.Pins[0]: expected text, found a number; put it in quotes`},
		`{Safes: weak}`:          {`.Safes: expected an object of secrets, found text`},
		`{Safes: {a: weak 1}}`:   {`.Safes: too weak: ***`},

		`{Password: "${NONE}"}`:                 {`.Password: variable NONE is not set; set it, or give a default: ${NONE:-default}`},
		`{Password: "${A}${B}"}`:                {`.Password: variable A is not set; set it, or give a default: ${A:-default}`, `.Password: variable B is not set; set it, or give a default: ${B:-default}`},
		`{Password: "${file:none}"}`:            {`.Password: read ${file:none}: file does not exist`},
		`{Password: "${WORD"}`:                  {`.Password: "${" without "}"; write "$$" for a literal "$"`},
		`{Password: "${a b}"}`:                  {`.Password: "${" begins no reference; write ${NAME}, ${NAME:-default} or ${file:path}, and "$$" for a literal "$"`},
		`{Xyzzy: ["${NONE}"]}`:                  {`.Xyzzy: unknown field`, `.Xyzzy[0]: variable NONE is not set; set it, or give a default: ${NONE:-default}`},
		`{Small: 1, Small: 2}`:                  {`.Small: the key is here twice; remove one`},
		`{Brokers: *a}`:                         nil, // a syntax error: the anchor is unknown
		`{Headers: &a {x: y}, Routes: {r: *a}}`: {`.Routes.r: aliases are not supported; write the value out, or use ${VARIABLE}`},
		`{Headers: {<<: {x: y}}}`:               {`.Headers["<<"]: merge keys are not supported; write the values out`},
		`{Headers: {[a]: b}}`:                   {`.Headers[""]: a key must be text`},
		`{Password: !mine x}`:                   {`.Password: unknown tag; put a text that begins with "!" in quotes`},

		`{Brokers: []}`:               {`.Brokers: name at least one`},
		`{Brokers: ["bad"]}`:          {`.Brokers[0]: no port in bad`},
		`{Auth: {}}`:                  {`.Auth.User: is missing`, `.Auth: is incomplete`},
		`{Verbose: true, Mode: fast}`: {`: verbose and fast exclude each other`},
		// What Validate finds because of an error that is already reported is left out, the rest is not.
		`{Brokers: [], brokers: [a]}`:           {`.brokers: unknown field; upper and lower case count, write "Brokers"`},
		`{Brokers: [], Small: x}`:               {`.Brokers: name at least one`, `.Small: expected a whole number, found the text "x"`},
		`{Verbose: true, Mode: fast, Small: x}`: {`.Small: expected a whole number, found the text "x"`},
		`{Auth: {User: "${NONE}"}}`:             {`.Auth.User: variable NONE is not set; set it, or give a default: ${NONE:-default}`},
	} {
		t.Run(given, func(t *testing.T) {
			_, err := decodeText(t, "test.yaml", flusher(given))
			if want == nil {
				require.EqualError(t, err, `test.yaml: aliases are not supported; put a text that begins with "*" in quotes`)
				return
			}
			prefixed := make([]string, len(want))
			for i, w := range want {
				prefixed[i] = detail + w
			}
			requireErrors(t, err, prefixed...)
		})
	}
}

// TestWrongPipeline has one whole file a case.
func TestWrongPipeline(t *testing.T) {
	const inputs, flushers = "inputs: [{type: input_probe}]\n", "flushers: [{type: flusher_print}]\n"
	for given, want := range map[string][]string{
		"[]":                      {"expected an object with inputs and flushers, found a list"},
		"x":                       {`expected an object with inputs and flushers, found the text "x"`},
		"{}":                      {"inputs: a pipeline needs at least one input", "flushers: a pipeline needs at least one flusher"},
		"inputs: []\nflushers:\n": {"inputs: a pipeline needs at least one input", "flushers: a pipeline needs at least one flusher"},
		"inputs: {type: input_probe}\n" + flushers: {"inputs: expected a list of inputs, found an object"},
		"inputs: [input_probe]\n" + flushers:       {`inputs[0]: expected an object with "type" and "detail", found the text "input_probe"`},
		inputs + flushers + "processor: []":        {`processor: unknown field; did you mean "processors"?`},
		inputs + flushers + "Global: {}":           {`Global: unknown field; upper and lower case count, write "global"`},
		inputs + flushers + "enable: true":         {`enable: unknown field; known here: global, inputs, processors, flushers`},
		inputs + flushers + "aggregators: [{type: aggregator_default}]": {
			`aggregators: flinktail has no aggregators: it batches by itself; remove this, and set "Batch" beside a flusher's "detail" if its defaults do not fit`},
		inputs + flushers + "extensions: []": {
			`extensions: flinktail has no extensions: what they do is an option of the plugin that would use them; remove this and see "flinktail plugins NAME"`},
		inputs + flushers + inputs: {`inputs: the key is here twice; remove one`},

		inputs + "flushers: [{detail: {}}]":               {`flushers[0].type: is missing; name the plugin, such as "flusher_…"; "flinktail plugins" lists them`},
		inputs + "flushers: [{Type: flusher_print}]":      {`flushers[0].Type: unknown field; upper and lower case count, write "type"`},
		inputs + "flushers: [{type: 1}]":                  {`flushers[0].type: expected text, found the number 1; put it in quotes`},
		inputs + "flushers: [{type: flusher_prbe}]":       {`flushers[0].type: unknown plugin "flusher_prbe"; did you mean "flusher_probe"? "flinktail plugins" lists them`},
		inputs + "flushers: [{type: probe}]":              {`flushers[0].type: unknown plugin "probe"; did you mean "flusher_probe"? "flinktail plugins" lists them`},
		inputs + "flushers: [{type: flusher_sls}]":        {`flushers[0].type: unknown plugin "flusher_sls"; "flinktail plugins" lists them`},
		inputs + "flushers: [{type: '${WORD}'}]":          {`flushers[0].type: unknown plugin "${WORD}"; "flinktail plugins" lists them`},
		inputs + "flushers: [{type: input_probe}]":        {`flushers[0].type: "input_probe" is of category input; write it under "inputs"`},
		"inputs: [{type: flusher_none}]\n" + flushers:     {`inputs[0].type: "flusher_none" is of category flusher; write it under "flushers"`},
		inputs + "flushers: [{type: flusher_print/}]":     {`flushers[0].type: the id after "/" may hold letters, digits, ".", "_" and "-"`},
		inputs + "flushers: [{type: flusher_print/../x}]": {`flushers[0].type: the id after "/" may hold letters, digits, ".", "_" and "-"`},
		inputs + "flushers: [{type: flusher_print}, {type: flusher_print/a}, {type: flusher_print}]": {
			`flushers[2].type: "flusher_print" is here twice; tell them apart by an id of your choice, such as "flusher_print/3"`},
		inputs + "flushers: [{type: flusher_probe, Brokers: []}]": {`flushers[0].Brokers: this is an option of flusher_probe; write it inside "detail"`},
		inputs + "flushers: [{Type: flusher_probe, Brokers: []}]": {
			`flushers[0].Type: unknown field; upper and lower case count, write "type"`,
			`flushers[0].Brokers: this is an option of flusher_probe; write it inside "detail"`},
		inputs + "flushers: [{type: flusher_print, detail: {A: 1}}]":       {`flushers[0].detail.A: unknown field; flusher_print has no options`},
		inputs + "flushers: [{type: flusher_print, detail: []}]":           {`flushers[0].detail: expected an object, found a list`},
		inputs + "flushers: [{type: flusher_print, details: {}}]":          {`flushers[0].details: unknown field; did you mean "detail"?`},
		inputs + "flushers: [{type: flusher_print, Batch: {MaxEvent: 1}}]": {`flushers[0].Batch.MaxEvent: unknown field; did you mean "MaxEvents"?`},
		"inputs: [{type: input_probe, Workers: 1}]\n" + flushers:           {`inputs[0].Workers: only flushers have this`},

		inputs + "flushers: [{type: flusher_print, Workers: 0, WhenFull: drop, Batch: {MaxEvents: 0, MaxBytes: 0}}]": {
			`flushers[0].Workers: must be at least 1`,
			`flushers[0].WhenFull: "drop" is not accepted; expected "block" or "dead_letter"`,
			`flushers[0].Batch.MaxEvents: must be at least 1`,
			`flushers[0].Batch.MaxBytes: must be at least 1B`,
		},
		inputs + "flushers: [{type: flusher_print, Retry: {Initial: 5}}]": {
			`flushers[0].Retry.Initial: write a duration with a unit, such as "5s"; a bare number is not accepted (iLogtail would read nanoseconds)`},
		inputs + "flushers: [{type: flusher_print, Retry: {Initial: 0s}}]": {`flushers[0].Retry.Initial: must be longer than 0s`},
		inputs + "flushers: [{type: flusher_print, Retry: {Max: 1ms}}]":    {`flushers[0].Retry.Max: must not be shorter than Initial`},
		inputs + "flushers: [{type: flusher_print, Match: {kind: [], a.b: 1, c: [1]}}]": {
			`flushers[0].Match.kind: matches nothing; give at least one pattern`,
			`flushers[0].Match["a.b"]: expected text or list of text, found the number 1; put it in quotes`,
			`flushers[0].Match.c[0]: expected text, found the number 1; put it in quotes`,
		},

		inputs + flushers + "global: {Queue: {Type: disk, MaxBytes: 1000KiB}}":    {"global.Queue.MaxBytes: must be at least 1MiB for a queue on disk"},
		inputs + flushers + "global: {Queue: {Type: memory, MinFreeBytes: 1MiB}}": {"global.Queue.MinFreeBytes: only a queue on disk has this"},
		inputs + flushers + "global: {Queue: {Type: ram, MaxEvents: -1, MaxBytes: 0}}": {
			`global.Queue.Type: "ram" is not accepted; expected "disk" or "memory"`,
			`global.Queue.MaxEvents: must be at least 0`,
			`global.Queue.MaxBytes: must be at least 1MiB for a queue on disk`,
		},
		inputs + flushers + "global: {DeadLetter: {MaxBytes: 1MiB, MaxFileBytes: 2MiB}}": {`global.DeadLetter.MaxFileBytes: must not be larger than MaxBytes`},
		inputs + flushers + "global: {DeadLetter: {MaxBytes: 0}}":                        {`global.DeadLetter.MaxBytes: must be at least 1B`},
		inputs + flushers + "global: []":                                                 {`global: expected an object, found a list`},
	} {
		t.Run(given, func(t *testing.T) {
			_, err := decodeText(t, "test.yaml", given)
			requireErrors(t, err, want...)
		})
	}
}

// TestPlaces checks that JSON and YAML errors point at the line and column.
func TestPlaces(t *testing.T) {
	_, err := decodeText(t, "test.json", "\ufeff{\n  \"inputs\": [{\"type\": \"input_probe\", \"detail\": {\"Addresx\": \"ü\", \"MaxLines\":\n    \"x\"}}],\n"+
		"  \"flushers\": [\n    {\"type\": \"flusher_probe\",\n     \"detail\": {\"Brokers\": [\"a\",\n 7], \"Mode\": \"fast\", \"Mode\": \"fast\"}}\n  ]\n}")
	requireErrors(t, err,
		`test.json:2:49: inputs[0].detail.Addresx: unknown field; did you mean "Address"?`,
		`test.json:2:65: inputs[0].detail.MaxLines: expected a whole number, found the text "x"`,
		`test.json:7:2: flushers[0].detail.Brokers[1]: expected text, found the number 7; put it in quotes`,
		`test.json:7:22: flushers[0].detail.Mode: the key is here twice; remove one`,
	)
	for text, want := range map[string]string{
		"":                        "test.json:1:1: unexpected end of JSON input",
		"{\n  \"inputs\": [],\n}": "test.json:3:1: invalid character '}' looking for beginning of object key string",
		"{\"a\": 1} x":            "test.json:1:10: invalid character 'x' after top-level value",
		"{\n\"a\": tru}":          "test.json:2:9: invalid character '}' in literal true (expecting 'e')",
		"// x\n{}":                "test.json:1:1: invalid character '/' looking for beginning of value",
		strings.Repeat("[", 70) + strings.Repeat("]", 70): "test.json:1:65: nested deeper than 64 levels",
	} {
		_, err := decodeText(t, "test.json", text)
		require.EqualError(t, err, want)
	}
	for text, want := range map[string]string{
		"":                        "test.yaml: the file is empty",
		"# nothing\n":             "test.yaml: the file is empty",
		"a: 1\nb: 2\nc 2\nd: 3\n": "test.yaml:3: could not find expected ':'",
		"a: {}\n---\nb: {}\n":     "test.yaml:2:1: a second document begins here; write one pipeline a file",
	} {
		_, err := decodeText(t, "test.yaml", text)
		require.EqualError(t, err, want)
	}
	_, err = decodeText(t, "test.yaml", "inputs: "+strings.Repeat("[", 70)+strings.Repeat("]", 70))
	require.ErrorContains(t, err, "nested deeper than 64 levels")
}

func TestNames(t *testing.T) {
	for _, name := range []string{"", ".", "..", "a/b", `a\b`} {
		_, errs := decodeWith(fixed(nil, nil), name, "x.yaml", []byte(flusher("{}")))
		require.ErrorContains(t, errs, "cannot be a pipeline's name", name)
	}
}

// TestSecretsStaySecret decodes secrets wrongly in every way and looks for them in the errors.
func TestSecretsStaySecret(t *testing.T) {
	const secret = `s3cr3t-"value`
	for _, detail := range []string{
		`{Size: "${SECRET}"}`,
		`{Small: "${SECRET}"}`,
		`{Verbose: "${SECRET}"}`,
		`{Interval: "${SECRET}"}`,
		`{Mode: "${SECRET}"}`,
		`{Ratio: "1${SECRET}"}`,
		`{Brokers: "${SECRET}"}`,
		`{Auth: "${SECRET}"}`,
		`{"${SECRET}": 1}`,
		`{Brokers: ["bad ${SECRET}"]}`,
		`{Password: "weak ${SECRET}"}`,
		`{Password: 'weak s3cr3t-"value'}`,
		`{Password: ['s3cr3t-"value']}`,
		`{Headers: {Authorization: {x: 's3cr3t-"value'}}}`,
		`{Tokens: 's3cr3t-"value'}`,
		`{Pin: ['s3cr3t-"value']}`,
		`{Pin: 'weak s3cr3t-"value'}`,
		`{Pin: "weak ${SECRET}"}`,
		`{Pin: 'x${s3cr3t x}'}`,
		`{Pin: !s3cr3t x}`,
		`{Pin: *s3cr3t}`,
		`{Pin: &s3cr3t [*s3cr3t]}`,
		`{Pins: 's3cr3t-"value'}`,
		`{Safes: 's3cr3t-"value'}`,
		`{Safes: {a: ['s3cr3t-"value']}}`,
		`Pin:s3cr3t-value`,
		`{Auth: {Token: ['s3cr3t-"value']}}`,
		`{Interval: 'http://user:s3cr3t-"value@host/'}`,
		`{Size: 'http://user:s3cr3t-"value@host/'}`,
	} {
		_, err := decodeText(t, "test.yaml", flusher(detail))
		require.Error(t, err, detail)
		require.NotContains(t, err.Error(), "s3cr3t", detail)
	}
	_, err := decodeText(t, "test.yaml", flusher(`{Brokers: ["bad${SECRET}"], Password: weak-one}`))
	requireErrors(t, err, "flushers[0].detail.Brokers[0]: no port in bad${SECRET}", "flushers[0].detail.Password: too weak: ***")

	message := conceal(`parse "s3cr3t-\"value": s3cr3t-%22value s3cr3t-"value`, []replaced{
		{pipeline.NewSecret("s3cr"), "${A}"}, {pipeline.NewSecret(secret), "${B}"}, {pipeline.NewSecret("a"), "${C}"},
	})
	require.Equal(t, `parse "${B}": ${B} ${B}`, message)
}

func FuzzDecode(f *testing.F) {
	f.Add("a.json", `{"inputs":[{"type":"input_probe"}],"flushers":[{"type":"flusher_probe/x","detail":{"Ports":["${PORT}"],"Auth":{"User":"$$"}}}]}`)
	f.Add("a.yaml", flusher(`{Brokers: [a], Rules: [{Name: x}], Routes: {x: {Max: 1}}, Interval: 5s, Size: 1MiB}`))
	f.Add("a.yaml", flusher(`{Small: 1, Small: 2, Headers: {<<: {x: y}}, "": ~, Password: !x y, Ratio: .nan}`))
	f.Add("a.json", `{"global":{"Queue":{"Type":"disk"}},"inputs":[{}],"aggregators":[],"flushers":[{"type":"flusher_none/..","Match":{"a":[]}}]}`)
	f.Fuzz(func(t *testing.T, file, text string) {
		p, errs := decodeWith(fixed(map[string]string{"PORT": "1"}, nil), "fuzz", file, []byte(text))
		if len(errs) == 0 {
			require.NotEmpty(t, p.Inputs)
			require.NotEmpty(t, p.Flushers)
			for _, plugin := range append(p.Inputs, p.Flushers...) {
				require.NotNil(t, plugin.Instance)
			}
		}
		for _, e := range errs {
			require.NotEmpty(t, e.Message)
		}
	})
}
