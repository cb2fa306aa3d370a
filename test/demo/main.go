// Command demo runs the flinktail binary that its argument names beside a real Flink cluster whose jobs finish, fail,
// restart and are cancelled, until it is interrupted. Its own words go to standard error, the events to standard output.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/flinktail/flinktail/test/servers"
)

func main() {
	if len(os.Args) != 2 {
		say("usage: demo FLINKTAIL")
		os.Exit(64)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1])
	interrupted := ctx.Err() != nil
	stop()
	if interrupted {
		say("stopped, nothing is left running")
		return
	}
	if err != nil {
		say("%v", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, binary string) error {
	dir, err := os.MkdirTemp("", "flinktail-demo-")
	if err != nil {
		return fmt.Errorf("make a folder: %w", err)
	}
	defer os.RemoveAll(dir)

	if err := waiting(ctx, "fetching Flink "+servers.FlinkVersion+" from Maven Central (160 MB, once)", func() error {
		_, err := servers.FlinkJars(ctx, servers.FlinkVersion)
		return err
	}); err != nil {
		return err
	}
	var jar string
	if err := waiting(ctx, "building the jobs", func() (err error) {
		jar, err = servers.Jobs(ctx)
		return err
	}); err != nil {
		return err
	}

	url, tail, err := startTail(dir, binary)
	if err != nil {
		return err
	}
	defer func() {
		say("stopping flinktail")
		tail.Stop(30 * time.Second)
	}()
	var flink *servers.Flink
	if err := waiting(ctx, "starting Flink", func() (err error) {
		flink, err = startFlink(ctx, filepath.Join(dir, "flink"), url)
		return err
	}); err != nil {
		return err
	}
	defer func() {
		say("stopping Flink")
		flink.Stop()
	}()

	say("Flink is at %s, flinktail takes its events at %s", flink.URL, url)
	if err := jobs(ctx, flink, jar, filepath.Join(dir, "large_orders")); err != nil {
		return err
	}
	say("that was all; submit a job of your own at %s, or end with Ctrl-C", flink.URL)
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-tail.Done():
		return fmt.Errorf("flinktail ended:\n%s", tail.Tail(20))
	}
}

// startTail starts flinktail with standard output as its sink, and returns where Flink is to send its events.
func startTail(dir, binary string) (url string, _ *servers.Process, err error) {
	ports, err := servers.FreePorts(1)
	if err != nil {
		return "", nil, err
	}
	address := fmt.Sprintf("127.0.0.1:%d", ports[0])
	config, err := json.Marshal(map[string]any{
		"inputs":   []any{map[string]any{"type": "input_http", "detail": map[string]any{"Address": address}}},
		"flushers": []any{map[string]any{"type": "flusher_stdout", "detail": map[string]any{"OnlyStdout": true}}},
	})
	if err != nil {
		return "", nil, fmt.Errorf("write the configuration: %w", err)
	}
	file := filepath.Join(dir, "demo.json")
	if err := os.WriteFile(file, config, 0o600); err != nil {
		return "", nil, fmt.Errorf("write the configuration: %w", err)
	}
	cmd := exec.Command(binary, "run",
		"-config", file, "-data-dir", filepath.Join(dir, "data"), "-admin-address", "127.0.0.1:0")
	cmd.Stdout = os.Stdout
	p, err := servers.StartProcess(cmd, filepath.Join(dir, "flinktail.log"))
	return "http://" + address, p, err
}

func startFlink(ctx context.Context, dir, url string) (*servers.Flink, error) {
	status, enricher, err := servers.ListenerJars()
	if err != nil {
		return nil, err
	}
	return servers.StartFlink(ctx, dir, servers.Cluster{
		Lib: []string{status}, Plugins: []string{enricher}, Config: servers.Listening(url, "demo"),
	})
}

// jobs submits one job after the other and waits for its end.
func jobs(ctx context.Context, flink *servers.Flink, jar, folder string) error {
	id, err := flink.Upload(ctx, jar)
	if err != nil {
		return err
	}
	for _, j := range []struct {
		what, class string
		args        []string
		cancel      bool
	}{
		{"a job that finishes", "BoundedJob", []string{"orders-import", "2000"}, false},
		{"a SQL job, with lineage", "SqlJob", []string{"orders-report", folder}, false},
		{"a job that fails once and recovers", "FailingJob", []string{"orders-enrichment", "1", "3", "10"}, false},
		{"a job that fails for good", "FailingJob", []string{"orders-parser", "9", "2", "10"}, false},
		{"a job that is cancelled", "UnboundedJob", []string{"orders-stream"}, true},
	} {
		say("%s: %s", j.what, j.args[0])
		job, err := flink.Submit(ctx, id, servers.Run{Class: servers.JobPackage + j.class, Args: j.args})
		if err != nil {
			return err
		}
		if j.cancel {
			if _, err := flink.Await(ctx, job, func(j servers.Job) bool { return j.State == "RUNNING" }); err != nil {
				return err
			}
			if err := flink.Cancel(ctx, job); err != nil {
				return err
			}
		}
		if _, err := flink.Await(ctx, job, servers.Job.Ended); err != nil {
			return err
		}
	}
	return nil
}

// waiting does what may take a while, and says so every few seconds.
func waiting(ctx context.Context, what string, do func() error) error {
	done := make(chan error, 1)
	begin := time.Now()
	go func() { done <- do() }()
	say("%s", what)
	tick := time.NewTicker(5 * time.Second)
	defer tick.Stop()
	for {
		select {
		case err := <-done: // do ends soon after ctx, and must not be left behind
			return err
		case <-tick.C:
			if ctx.Err() == nil {
				say("%s: %.0f s", what, time.Since(begin).Seconds())
			}
		}
	}
}

func say(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "demo: "+format+"\n", args...)
}
