// Package servers starts the real servers that the tests and the demo need, on 127.0.0.1, on free ports,
// each in a folder of its own, and stops them by process id.
package servers

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Process is a child that never outlives its parent and that Ctrl-C on the terminal does not reach.
type Process struct {
	cmd  *exec.Cmd
	log  string
	done chan struct{}
}

// StartProcess starts cmd with its output in the file log, to which it appends.
func StartProcess(cmd *exec.Cmd, log string) (*Process, error) {
	out, err := os.OpenFile(log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", cmd.Path, err)
	}
	defer out.Close()
	if cmd.Stdout == nil {
		cmd.Stdout = out
	}
	cmd.Stderr = out
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = childAttributes()
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", cmd.Path, err)
	}
	p := &Process{cmd: cmd, log: log, done: make(chan struct{})}
	go func() {
		defer close(p.done)
		_ = cmd.Wait() // the state is in cmd.ProcessState
	}()
	return p, nil
}

// PID returns the process id.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Done is closed when the process has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

// ExitCode waits for the end and returns the exit code, -1 after a signal.
func (p *Process) ExitCode() int {
	<-p.done
	return p.cmd.ProcessState.ExitCode()
}

// Log returns what the process has written so far.
func (p *Process) Log() string {
	text, err := os.ReadFile(p.log)
	if err != nil {
		return err.Error()
	}
	return string(text)
}

// Tail returns the last lines of the log.
func (p *Process) Tail(lines int) string {
	all := strings.Split(strings.TrimRight(p.Log(), "\n"), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}

// Stop ends the process with SIGTERM, after grace with SIGKILL, and waits for it and its children. It returns whether
// SIGTERM was enough.
func (p *Process) Stop(grace time.Duration) bool {
	_ = p.cmd.Process.Signal(syscall.SIGTERM) // an error means that it has ended
	over := time.After(grace)
	for p.signal(0) == nil {
		select {
		case <-over:
			p.Kill()
			return false
		case <-time.After(5 * time.Millisecond):
		}
	}
	<-p.done
	return true
}

// Kill ends the process and its children with SIGKILL and waits for it.
func (p *Process) Kill() {
	_ = p.signal(syscall.SIGKILL) // an error means that it has ended
	<-p.done
}

// Pause stops the process and its children from running, and waits until none of their threads does: the signal takes a moment to
// reach them all.
func (p *Process) Pause() error {
	if err := p.signal(syscall.SIGSTOP); err != nil {
		return err
	}
	for !p.paused() {
		time.Sleep(time.Millisecond)
	}
	return nil
}

// paused reads /proc, whose stat files have the state and the process group behind the name, which is in parentheses.
func (p *Process) paused() bool {
	group := strconv.Itoa(p.PID())
	stats, _ := filepath.Glob("/proc/[0-9]*/task/[0-9]*/stat")
	for _, path := range stats {
		text, err := os.ReadFile(path)
		if err != nil {
			continue // it has ended
		}
		fields := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
		if len(fields) > 2 && fields[2] == group && !slices.Contains([]string{"T", "t", "Z", "X"}, fields[0]) {
			return false
		}
	}
	return true
}

// Resume ends Pause.
func (p *Process) Resume() error { return p.signal(syscall.SIGCONT) }

// signal reaches the children too: every process leads a group.
func (p *Process) signal(s syscall.Signal) error {
	if err := syscall.Kill(-p.PID(), s); err != nil {
		return fmt.Errorf("send %s to %s: %w", s, p.cmd.Path, err)
	}
	return nil
}

// await polls until the process is as wanted. It is an error when the process ends before.
func (p *Process) await(ctx context.Context, ready func() bool) error {
	for !ready() {
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w:\n%s", ctx.Err(), p.Tail(30))
		case <-p.done:
			return fmt.Errorf("it ended:\n%s", p.Tail(30))
		case <-time.After(50 * time.Millisecond):
		}
	}
	return nil
}

// given are the ports that FreePorts has returned.
var given sync.Map

// FreePorts returns n TCP ports of 127.0.0.1 that nobody listens on, never the same twice. They are below those that
// systems give to outgoing connections, so that a server that was stopped finds them free when it starts again.
func FreePorts(n int) ([]int, error) {
	ports := make([]int, 0, n)
	for attempt := 0; len(ports) < n; attempt++ {
		port := 10000 + rand.IntN(20000)
		if _, taken := given.LoadOrStore(port, true); taken {
			continue
		}
		// To listen would hold the port for a moment longer when another goroutine starts a process just now.
		c, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		switch {
		case errors.Is(err, syscall.ECONNREFUSED):
			ports = append(ports, port)
		case err == nil:
			_ = c.Close() // somebody listens
		case attempt >= 100:
			return nil, fmt.Errorf("find a free port: %w", err)
		}
	}
	return ports, nil
}

// awaitFree waits until nobody listens on the ports: what was killed may keep them for a moment.
func awaitFree(ctx context.Context, ports []int) error {
	for _, port := range ports {
		for {
			l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
			if err == nil {
				_ = l.Close() // nobody has connected
				break
			}
			select {
			case <-ctx.Done():
				return fmt.Errorf("wait for port %d: %w", port, err)
			case <-time.After(20 * time.Millisecond):
			}
		}
	}
	return nil
}
