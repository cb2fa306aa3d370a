// Package cli is flinktail's command line.
package cli

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/alecthomas/kong"

	"github.com/flinktail/flinktail/internal/config"
)

// Exit codes.
const (
	exitOK      = 0
	exitRunTime = 1  // something failed while it ran
	exitUsage   = 64 // EX_USAGE: the command line is wrong
	exitConfig  = 78 // EX_CONFIG: the configuration is wrong
)

const description = `flinktail takes Apache Flink's events and carries them, without losing any, to flushers.

Examples:

    flinktail -config example.json             run one pipeline
    flinktail -config /etc/flinktail/          run every pipeline of a folder
    flinktail run --once -config replay.json   deliver what is in files, then exit
    flinktail validate --connect -config x.json
    flinktail reload                           follow a changed configuration, or say why not
    flinktail queue inspect                    what is queued, and for whom
    flinktail plugins flusher_file             options of a plugin
    flinktail deadletter list                  what could not be delivered
    flinktail deadletter replay -config x.json
    flinktail queue inspect                    what the queues on disk hold

Flags may be written with one dash or two.

Exit codes:

    0   done, or stopped with everything delivered or kept in a queue on disk
    1   something failed while it ran
    64  the command line is wrong
    78  the configuration is wrong; all its errors are on stderr, one a line`

// commandLine is the grammar. Flags that several commands share stand here.
type commandLine struct {
	Config      string        `placeholder:"FILE|DIR" help:"A pipeline's file, or a folder of *.json, *.yaml, *.yml."`
	DataDir     string        `placeholder:"DIR" default:"./data" help:"Queues, positions and dead letters, a folder for each pipeline. Default: ${default}."`
	StopTimeout time.Duration `placeholder:"DURATION" default:"25s" help:"What a stop or a reload may take; what a queue on disk holds stays there, what one in memory holds becomes dead letters. Default: ${default}."`
	LogLevel    string        `placeholder:"LEVEL" enum:"debug,info,warn,error" default:"info" help:"${enum}. Default: ${default}."`
	LogFormat   string        `placeholder:"FORMAT" enum:"auto,text,json" default:"auto" help:"${enum}; auto is text on a terminal, else json. Logs go to stderr. Default: ${default}."`

	Run        runCommand        `cmd:"" default:"withargs" help:"Run the pipelines until SIGINT or SIGTERM; a second signal exits at once. This is the default command."`
	Reload     reloadCommand     `cmd:"" help:"Have the flinktail that runs on -data-dir read its configuration again; the exit code tells whether it could."`
	Validate   validateCommand   `cmd:"" help:"Check a configuration."`
	Plugins    pluginsCommand    `cmd:"" help:"List plugins, show one's options, or begin a new one."`
	Schema     schemaCommand     `cmd:"" help:"Print the JSON Schema of a pipeline's file, for editors."`
	Deadletter deadletterCommand `cmd:"" help:"List, show or replay what could not be delivered."`
	Queue      queueCommand      `cmd:"" help:"Look into the queues on disk, or forget a removed flusher."`
	Version    versionCommand    `cmd:"" help:"Print the version."`
}

// app is what every command gets.
type app struct {
	*commandLine
	stdout, stderr io.Writer
	exit           func(code int) // ends the process at once
}

// Run executes the command line args, without the program's name, and returns the exit code. exit is
// called, from another goroutine, when a second signal asks to end at once.
func Run(args []string, stdout, stderr io.Writer, exit func(code int)) int {
	var line commandLine
	helped := false
	parser, err := kong.New(&line,
		kong.Name("flinktail"), kong.Description(description), kong.Writers(stdout, stderr),
		kong.Exit(func(int) { helped = true }),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true, NoAppDescFormat: true, WrapUpperBound: 110}),
	)
	if err != nil {
		return report(stderr, err)
	}
	command, err := parser.Parse(longFlags(args))
	if helped {
		return exitOK
	}
	if err != nil {
		return report(stderr, usageError{err})
	}
	if line.StopTimeout <= 0 {
		return report(stderr, usageError{errors.New("--stop-timeout must be longer than 0s")})
	}
	return report(stderr, command.Run(&app{commandLine: &line, stdout: stdout, stderr: stderr, exit: exit}))
}

// usageError is a wrong command line.
type usageError struct{ error }

// report prints err and returns the exit code for it.
func report(stderr io.Writer, err error) int {
	var usage usageError
	var configuration config.Errors
	var elsewhere configurationError
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, &usage):
		fmt.Fprintf(stderr, "flinktail: %v; see flinktail --help\n", err)
		return exitUsage
	case errors.As(err, &configuration):
		fmt.Fprintln(stderr, configuration)
		return exitConfig
	case errors.As(err, &elsewhere):
		fmt.Fprintln(stderr, elsewhere)
		return exitConfig
	}
	for line := range strings.Lines(err.Error()) {
		fmt.Fprintf(stderr, "flinktail: %s\n", strings.TrimSuffix(line, "\n"))
	}
	return exitRunTime
}

// longFlags turns Go's and iLogtail's -config into --config. flinktail has no one-letter flag but -h.
func longFlags(args []string) []string {
	out := make([]string, len(args))
	for i, arg := range args {
		if arg == "--" {
			copy(out[i:], args[i:])
			break
		}
		if len(arg) > 2 && arg[0] == '-' && arg[1] != '-' && arg[2] != '=' {
			arg = "-" + arg
		}
		out[i] = arg
	}
	return out
}

// pipelines reads the configuration at path.
func (a *app) pipelines(path string) ([]*config.Pipeline, error) {
	if path == "" {
		return nil, usageError{errors.New("missing -config FILE|DIR")}
	}
	return config.Load(path)
}

// configAlias is for those who come from iLogtail.
type configAlias struct {
	Plugin string `placeholder:"FILE|DIR" help:"iLogtail's name for --config."`
}
