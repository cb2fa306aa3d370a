package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/flinktail/flinktail/test/servers"
)

// lab runs programs in a folder of its own and measures them.
type lab struct {
	ctx    context.Context
	dir    string
	binary string
	corpus string
	events int
	queue  string // the type of flinktail's queue; in memory unless a case says otherwise, as in the programs that it is compared with

	settled func() // waits until what was posted has arrived; nil: nobody needs to

	kafka  *servers.Kafka // nil until a case needs it
	topics int
}

// close stops the servers that cases have started.
func (l *lab) close() {
	if l.kafka != nil {
		l.kafka.Stop()
	}
}

type process struct {
	command *exec.Cmd
	stderr  bytes.Buffer
	started time.Time
	peakMB  chan float64
}

func (l *lab) run(name string, args ...string) (*process, error) {
	p := &process{command: exec.CommandContext(l.ctx, name, args...)}
	p.command.Dir, p.command.Stderr = l.dir, &p.stderr
	p.started, p.peakMB = time.Now(), make(chan float64, 1)
	if err := p.command.Start(); err != nil {
		return nil, err
	}
	go p.watchMemory()
	return p, nil
}

// watchMemory follows the kernel's high-water mark of the process until it has ended. (The mark in the
// process's accounting starts with this program's own, which it was forked from.)
func (p *process) watchMemory() {
	var peak float64
	for {
		mb, err := memoryMB(p.command.Process.Pid, "VmHWM:")
		if err != nil {
			p.peakMB <- peak
			return
		}
		peak = max(peak, mb)
		time.Sleep(10 * time.Millisecond)
	}
}

// end waits for the process and returns what it used.
func (p *process) end(l *lab) (result, error) {
	if err := p.command.Wait(); err != nil {
		var exit *exec.ExitError
		if !errors.As(err, &exit) || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
			return result{}, fmt.Errorf("%w: %s", err, p.stderr.String())
		}
	}
	s := p.command.ProcessState
	return result{
		cpu:   (s.UserTime() + s.SystemTime()).Seconds() / float64(l.events) * 1e6,
		rssMB: <-p.peakMB,
	}, nil
}

func (l *lab) floorFile() (result, error) {
	self, err := os.Executable()
	if err != nil {
		return result{}, err
	}
	p, err := l.run(self, "floor", "-in", l.corpus, "-out", filepath.Join(l.dir, "out.ndjson"))
	if err != nil {
		return result{}, err
	}
	return p.end(l)
}

func (l *lab) tailFile(sync string) (result, error) {
	r, err := l.tailTo(toFile(sync))
	if err != nil {
		return r, err
	}
	return r, l.requireLines("out.ndjson")
}

// tailTo has flinktail deliver the corpus from its file, and end.
func (l *lab) tailTo(flusher map[string]any) (result, error) {
	if err := l.config(map[string]any{"type": "input_file", "detail": map[string]any{"FilePaths": []string{l.corpus}, "From": "beginning"}}, flusher); err != nil {
		return result{}, err
	}
	p, err := l.run(l.binary, "run", "-config", "bench.json", "-data-dir", "data", "--once", "--admin-address", "off")
	if err != nil {
		return result{}, err
	}
	return p.end(l)
}

// tailElasticsearch delivers the corpus to a sink that answers as Elasticsearch does.
func (l *lab) tailElasticsearch() (result, error) {
	s, err := newSink(l.events)
	if err != nil {
		return result{}, err
	}
	defer s.close()
	r, err := l.tailTo(map[string]any{
		"type": "flusher_elasticsearch", "detail": map[string]any{"Addresses": []string{"http://" + s.address}, "Index": "flink"},
	})
	if err != nil {
		return r, err
	}
	return r, s.missing()
}

// tailForward receives the corpus over HTTP and sends it on over HTTP, to a sink that stalls for so long at first, and then refuses for so long.
func tailForward(perPost int, stalled, refused time.Duration) func(*lab) (result, error) {
	return func(l *lab) (result, error) {
		s, err := newSink(l.events)
		if err != nil {
			return result{}, err
		}
		defer s.close()
		s.outage.stalled, s.outage.refused = stalled, refused
		l.settled = s.complete
		defer func() { l.settled = nil }()
		r, err := tailHTTP(perPost, toHTTP(s.address))(l)
		if err != nil {
			return r, err
		}
		return r, s.missing()
	}
}

func toHTTP(address string) map[string]any {
	return map[string]any{"type": "flusher_http", "detail": map[string]any{"RemoteURL": "http://" + address}}
}

// onDisk gives flinktail its queue on disk.
func onDisk(measure func(*lab) (result, error)) func(*lab) (result, error) {
	return func(l *lab) (result, error) {
		l.queue = "disk"
		defer func() { l.queue = "" }()
		return measure(l)
	}
}

// backlog fills the queue on disk with ten times the corpus, while the destination is down, and measures a start with that.
func (l *lab) backlog() (result, error) {
	return onDisk(func(l *lab) (result, error) {
		nowhere, err := freeAddress()
		if err != nil {
			return result{}, err
		}
		input, err := freeAddress()
		if err != nil {
			return result{}, err
		}
		if err := l.config(map[string]any{"type": "input_http", "detail": map[string]any{"Address": input}}, toHTTP(nowhere)); err != nil {
			return result{}, err
		}
		p, err := l.run(l.binary, "run", "-config", "bench.json", "-data-dir", "data", "--admin-address", "off")
		if err != nil {
			return result{}, err
		}
		for range 9 {
			if _, err := load(l.ctx, input, l.corpus, l.events, 100, 8); err != nil {
				return result{}, errors.Join(err, p.command.Process.Kill(), p.command.Wait())
			}
		}
		filled, err := l.post(p, input, 100, os.Kill)
		if err != nil {
			return filled, err
		}
		started, err := l.ready()
		started.idleMB = max(started.idleMB, filled.rssMB)
		return started, err
	})(l)
}

func toFile(sync string) map[string]any {
	return map[string]any{"type": "flusher_file", "detail": map[string]any{"FileName": "out.ndjson", "Sync": sync}}
}

// toNowhere takes no event: what is measured is the input alone.
var toNowhere = map[string]any{"type": "flusher_file", "detail": map[string]any{"FileName": "none.ndjson"}, "Match": map[string]any{"kind": "none"}}

// config writes bench.json into a folder without old state.
func (l *lab) config(input, flusher map[string]any) error {
	for _, old := range []string{"data", "out.ndjson", "none.ndjson"} {
		if err := os.RemoveAll(filepath.Join(l.dir, old)); err != nil {
			return err
		}
	}
	global := map[string]any{"Queue": map[string]any{"Type": cmp.Or(l.queue, "memory")}}
	if l.queue == "disk" {
		global["Queue"] = map[string]any{"Type": "disk", "MaxBytes": "16GiB"}
	}
	text, err := json.Marshal(map[string]any{"global": global, "inputs": []any{input}, "flushers": []any{flusher}})
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(l.dir, "bench.json"), text, 0o600)
}

func (l *lab) requireLines(name string) error {
	text, err := os.ReadFile(filepath.Join(l.dir, name))
	if err != nil {
		return err
	}
	if n := bytes.Count(text, []byte{'\n'}); n != l.events {
		return fmt.Errorf("%s holds %d events, want %d", name, n, l.events)
	}
	return nil
}

func floorHTTP(perPost int) func(*lab) (result, error) {
	return func(l *lab) (result, error) {
		address, err := freeAddress()
		if err != nil {
			return result{}, err
		}
		self, err := os.Executable()
		if err != nil {
			return result{}, err
		}
		p, err := l.run(self, "floor", "-listen", address, "-out", filepath.Join(l.dir, "out.ndjson"))
		if err != nil {
			return result{}, err
		}
		return l.post(p, address, perPost, os.Kill)
	}
}

func tailHTTP(perPost int, flusher map[string]any) func(*lab) (result, error) {
	return func(l *lab) (result, error) {
		address, err := freeAddress()
		if err != nil {
			return result{}, err
		}
		if err := l.config(map[string]any{"type": "input_http", "detail": map[string]any{"Address": address}}, flusher); err != nil {
			return result{}, err
		}
		p, err := l.run(l.binary, "run", "-config", "bench.json", "-data-dir", "data", "--admin-address", "127.0.0.1:0")
		if err != nil {
			return result{}, err
		}
		r, err := l.post(p, address, perPost, syscall.SIGTERM)
		if err == nil && flusher["type"] == "flusher_file" && flusher["Match"] == nil {
			err = l.requireLines("out.ndjson")
		}
		return r, err
	}
}

// post sends the corpus to p over 8 connections, then ends p.
func (l *lab) post(p *process, address string, perPost int, end os.Signal) (result, error) {
	loaded, err := load(l.ctx, address, l.corpus, l.events, perPost, 8)
	if err != nil {
		_ = p.command.Process.Kill()
		_ = p.command.Wait()
		return result{}, fmt.Errorf("%w: %s", err, p.stderr.String())
	}
	if l.settled != nil {
		l.settled()
	}
	syncs := 0.0
	if text, err := os.ReadFile(filepath.Join(l.dir, "data", "admin.addr")); err == nil {
		syncs = metric("http://"+strings.TrimSpace(string(text))+"/metrics", "flinktail_queue_syncs_total")
	}
	if err := p.command.Process.Signal(end); err != nil {
		return result{}, err
	}
	r, err := p.end(l)
	r.rate, r.p99, r.syncs = loaded.rate, loaded.p99, syncs/float64(l.events)*1000
	return r, err
}

// metric returns the sum of a metric, 0 when it cannot be read.
func metric(url, name string) (sum float64) {
	response, err := http.Get(url)
	if err != nil {
		return 0
	}
	defer func() { _ = response.Body.Close() }()
	text, _ := io.ReadAll(response.Body)
	for line := range strings.Lines(string(text)) {
		if fields := strings.Fields(line); len(fields) == 2 && strings.HasPrefix(line, name) {
			value, _ := strconv.ParseFloat(fields[1], 64)
			sum += value
		}
	}
	return sum
}

// start measures the time from exec to ready, and what the process then occupies.
func (l *lab) start() (result, error) {
	input, err := freeAddress()
	if err != nil {
		return result{}, err
	}
	if err := l.config(map[string]any{"type": "input_http", "detail": map[string]any{"Address": input}}, toFile("batch")); err != nil {
		return result{}, err
	}
	return l.ready()
}

// ready starts flinktail with the configuration that is there, waits until it is ready, and ends it.
func (l *lab) ready() (result, error) {
	admin, err := freeAddress()
	if err != nil {
		return result{}, err
	}
	p, err := l.run(l.binary, "run", "-config", "bench.json", "-data-dir", "data", "--admin-address", admin)
	if err != nil {
		return result{}, err
	}
	for deadline := time.Now().Add(10 * time.Second); !ready(admin); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			_ = p.command.Process.Kill()
			_ = p.command.Wait()
			return result{}, fmt.Errorf("not ready in 10 s: %s", p.stderr.String())
		}
	}
	readyMS := float64(time.Since(p.started).Microseconds()) / 1000
	idle, err := memoryMB(p.command.Process.Pid, "VmRSS:")
	if err != nil {
		return result{}, err
	}
	if err := p.command.Process.Signal(syscall.SIGTERM); err != nil {
		return result{}, err
	}
	r, err := p.end(l)
	r.readyMS, r.idleMB = readyMS, idle
	return r, err
}

func ready(address string) bool {
	response, err := http.Get("http://" + address + "/readyz")
	if err != nil {
		return false
	}
	_, _ = io.Copy(io.Discard, response.Body)
	_ = response.Body.Close()
	return response.StatusCode == http.StatusOK
}

// memoryMB reads one of the kernel's figures about a process.
func memoryMB(pid int, name string) (float64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, name); ok {
			kib, err := strconv.ParseFloat(strings.Fields(rest)[0], 64)
			return kib / 1024, err
		}
	}
	return 0, errors.New("the process has ended")
}

func freeAddress() (string, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer func() { _ = listener.Close() }()
	return listener.Addr().String(), nil
}
