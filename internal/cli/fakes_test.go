package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/flinktail/flinktail/pipeline"
	"github.com/flinktail/flinktail/protocol"
	"github.com/flinktail/flinktail/protocol/flink"
)

// TestMain is flinktail itself when a test starts this binary as a process of its own.
func TestMain(m *testing.M) {
	pipeline.Register("input_numbers", func() any { return &numbers{Events: 3} })
	pipeline.Register("input_idle", func() any { return &idle{} })
	pipeline.Register("flusher_picky", func() any { return &picky{FileName: "delivered.ndjson"} })
	if os.Getenv("FLINKTAIL_TEST_PROCESS") != "" {
		os.Exit(Run(os.Args[1:], os.Stdout, os.Stderr, os.Exit))
	}
	os.Exit(m.Run())
}

// base is a plugin that has nothing to do.
type base struct{}

func (base) Init(pipeline.Context) error { return nil }
func (base) Stop() error                 { return nil }
func (base) IsReady(string, string, int64) bool {
	return true
}
func (base) SetUrgent(bool) {}

// numbers puts events "1" to Events, then is done. Garbage is one more, which is no event.
type numbers struct {
	Events  int    `jsonschema_description:"how many"`
	Garbage string `jsonschema_description:"what is rejected"`
	NoIDs   bool
	base
	context pipeline.Context
}

func (n *numbers) Init(c pipeline.Context) error { n.context = c; return nil }
func (*numbers) Description() string             { return "counts" }
func (*numbers) Sample() []byte {
	return []byte(`{"inputs": [{"type": "input_numbers"}], "flushers": [{"type": "flusher_picky"}]}` + "\n")
}
func (*numbers) ReadOnce() {}

func (n *numbers) Run(ctx context.Context, out pipeline.Sink) error {
	if n.Garbage != "" {
		if err := n.context.Reject(ctx, []byte(n.Garbage), "malformed_json", "not JSON"); err != nil {
			return err
		}
	}
	b := protocol.NewBuilder()
	b.BeginGroup("", "")
	for i := range n.Events {
		b.BeginLog(uint32(1767600000+i), 0)
		if !n.NoIDs {
			b.Add(flink.FieldEventID, fmt.Sprint(i+1))
		}
		b.Add(flink.FieldKind, flink.KindJobStatus)
		b.Add(flink.FieldJobName, fmt.Sprint("job ", i+1))
		b.Add(flink.FieldMessage, "<é> & \"quoted\"\n")
		b.EndLog()
	}
	_, err := pipeline.PutAndWait(ctx, out, b.Groups())
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// idle runs until it is told to end, or for ever when it is Deaf.
type idle struct {
	Deaf  bool
	Fails bool   `jsonschema_description:"Init fails"`
	Lock  string // Init fails where this file exists, and creates it
	base
}

func (*idle) Description() string { return "waits" }
func (i *idle) Init(pipeline.Context) error {
	if i.Fails {
		return errors.New("listen on 127.0.0.1:1: in use")
	}
	if i.Lock != "" {
		_, err := os.OpenFile(i.Lock, os.O_CREATE|os.O_EXCL, 0o600)
		return err
	}
	return nil
}

func (i *idle) Run(ctx context.Context, _ pipeline.Sink) error {
	if i.Deaf {
		select {}
	}
	<-ctx.Done()
	return nil
}

// picky appends the ids of events to a file. Events whose job is in Refuses are permanently refused; Down refuses all, for now.
type picky struct {
	FileName string   `jsonschema_description:"where to"`
	Refuses  []string `jsonschema_description:"jobs that are refused"`
	Down     bool
	Locked   bool
	Hangs    bool
	base
}

func (*picky) Description() string { return "delivers what it likes" }
func (*picky) Sample() []byte      { return (*numbers)(nil).Sample() }

func (p *picky) Connect(ctx context.Context) error {
	switch {
	case p.Hangs:
		<-ctx.Done()
		return ctx.Err()
	case p.Down:
		return errors.New("dial 127.0.0.1:1:\nrefused")
	case p.Locked:
		return pipeline.Blocked(errors.New("wrong password for flinktail"))
	}
	return nil
}

func (p *picky) Flush(_, _, _ string, groups []*protocol.LogGroup) error {
	if p.Down {
		return errors.New("destination is down")
	}
	partial := &pipeline.PartialError{}
	var ids bytes.Buffer
	for g, group := range groups {
		for l, log := range group.Logs {
			if slices.Contains(p.Refuses, protocol.Value(log, flink.FieldJobName)) {
				partial.Failures = append(partial.Failures, pipeline.Failure{Group: g, Log: l, Err: errors.New("not this one")})
				continue
			}
			fmt.Fprintln(&ids, protocol.Value(log, flink.FieldJobName)+" "+protocol.Value(log, flink.FieldEventID)+" "+log.At().UTC().Format(time.RFC3339))
		}
	}
	f, err := os.OpenFile(p.FileName, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(ids.Bytes())
	if err := errors.Join(err, f.Close()); err != nil {
		return err
	}
	if len(partial.Failures) > 0 {
		return partial
	}
	return nil
}

// result is what a command line did.
type result struct {
	code           int
	stdout, stderr string
}

// run runs a command line in this process, in the folder of the test.
func run(args ...string) result {
	var stdout, stderr bytes.Buffer
	code := Run(args, &stdout, &stderr, func(int) { panic("no second signal was sent") })
	return result{code, stdout.String(), stderr.String()}
}

// inFolder makes a new folder the current one and writes pipelines into it.
func inFolder(t *testing.T, files map[string]string) {
	t.Helper()
	t.Chdir(t.TempDir())
	for name, text := range files {
		write(t, name, text)
	}
}

func write(t *testing.T, name, text string) {
	t.Helper()
	require.NoError(t, os.MkdirAll(filepath.Dir(name), 0o700))
	require.NoError(t, os.WriteFile(name, []byte(text), 0o600))
}

// sample is a pipeline's text with these options of its input and flusher, and flusher settings beside detail.
func sample(t *testing.T, input, inputDetail, flusherDetail, beside string) string {
	t.Helper()
	text := fmt.Sprintf(`{"inputs":[{"type":%q,"detail":{%s}}],"flushers":[{"type":"flusher_picky","detail":{%s}%s}]}`,
		input, inputDetail, flusherDetail, beside)
	require.True(t, json.Valid([]byte(text)), text)
	return text
}

func delivered(t *testing.T) []string {
	t.Helper()
	text, err := os.ReadFile("delivered.ndjson")
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	require.NoError(t, err)
	return strings.Split(strings.TrimSuffix(string(text), "\n"), "\n")
}
