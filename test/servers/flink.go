package servers

import (
	"context"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// Cluster says which Flink to start.
type Cluster struct {
	Version    string            // default FlinkVersion
	JavaHome   string            // default JavaHome()
	Config     map[string]string // more of Flink's options
	Lib        []string          // jars beside Flink's own, where a JobStatusChangedListener belongs
	Plugins    []string          // jars, each in a plugin folder of its own, where a FailureEnricher belongs
	JobManager bool              // only a JobManager, no TaskManager
}

// JobPackage is the package of the jobs in test/jobs.
const JobPackage = "com.github.flinktail.jobs."

// Listening returns the options of a cluster that reports to url under the name cluster.
func Listening(url, cluster string) map[string]string {
	return map[string]string{
		"execution.job-status-changed-listeners": "com.github.flinktail.listener.status.FlinktailStatusListenerFactory",
		"jobmanager.failure-enrichers":           "com.github.flinktail.listener.enricher.FlinktailFailureEnricher",
		"flinktail.url":                          url,
		"flinktail.cluster":                      cluster,
	}
}

// Flink is a standalone session cluster: a JobManager and a TaskManager with four slots.
type Flink struct {
	REST
	dir, conf, plugins, classPath, java string
	jobManager, taskManager             *Process
}

const (
	startTimeout = 2 * time.Minute
	stopTimeout  = 10 * time.Second
)

// StartFlink starts a cluster whose files are in dir, and returns when it takes jobs.
func StartFlink(ctx context.Context, dir string, o Cluster) (*Flink, error) {
	if o.Version == "" {
		o.Version = FlinkVersion
	}
	if o.JavaHome == "" {
		home, err := JavaHome()
		if err != nil {
			return nil, err
		}
		o.JavaHome = home
	}
	jars, err := FlinkJars(ctx, o.Version)
	if err != nil {
		return nil, err
	}
	f := &Flink{
		dir: dir, conf: filepath.Join(dir, "conf"), plugins: filepath.Join(dir, "plugins"),
		classPath: strings.Join(append([]string{filepath.Join(jars, "*")}, o.Lib...), ":"),
		java:      filepath.Join(o.JavaHome, "bin", "java"),
	}
	if err := f.install(o); err != nil {
		return nil, fmt.Errorf("install Flink: %w", err)
	}
	// Another program may take a port between its choice and its use.
	for attempt := 1; ; attempt++ {
		err := f.start(ctx, o)
		if err == nil {
			return f, nil
		}
		taken := strings.Contains(f.Log(), "BindException")
		f.Stop()
		if !taken || attempt == 3 {
			return nil, fmt.Errorf("start Flink %s: %w", o.Version, err)
		}
	}
}

func (f *Flink) install(o Cluster) error {
	for _, dir := range []string{f.conf, f.plugins, filepath.Join(f.dir, "tmp")} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
	}
	for _, jar := range o.Plugins {
		text, err := os.ReadFile(jar)
		if err != nil {
			return err
		}
		name := strings.TrimSuffix(filepath.Base(jar), ".jar")
		if err := os.MkdirAll(filepath.Join(f.plugins, name), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(f.plugins, name, filepath.Base(jar)), text, 0o644); err != nil {
			return err
		}
	}
	return os.WriteFile(filepath.Join(f.conf, "log4j2.properties"), []byte(log4j), 0o644)
}

func (f *Flink) start(ctx context.Context, o Cluster) error {
	ports, err := FreePorts(2)
	if err != nil {
		return err
	}
	f.REST = REST{URL: fmt.Sprintf("http://127.0.0.1:%d", ports[0])}
	if err := f.configure(o, ports[0], ports[1]); err != nil {
		return err
	}
	f.jobManager, err = f.run("jobmanager", "512m",
		"org.apache.flink.runtime.entrypoint.StandaloneSessionClusterEntrypoint", "--configDir", f.conf, "--executionMode", "cluster")
	if err != nil {
		return err
	}
	slots := 0
	if !o.JobManager {
		slots = 1
		f.taskManager, err = f.run("taskmanager", "384m",
			"org.apache.flink.runtime.taskexecutor.TaskManagerRunner", "--configDir", f.conf, "-D", "taskmanager.resource-id=tm-1")
		if err != nil {
			return err
		}
	}
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	for {
		if n, err := f.Slots(ctx); err == nil && n >= slots {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for the REST endpoint and its task slots: %w", ctx.Err())
		case <-f.jobManager.Done():
			return fmt.Errorf("the JobManager ended:\n%s", f.jobManager.Tail(30))
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// configure writes config.yaml. A TaskManager without Flink's shell scripts needs every memory size spelled out.
func (f *Flink) configure(o Cluster, rest, rpc int) error {
	conf := map[string]string{
		"jobmanager.rpc.address": "127.0.0.1", "jobmanager.bind-host": "127.0.0.1", "jobmanager.rpc.port": fmt.Sprint(rpc),
		"rest.address": "127.0.0.1", "rest.bind-address": "127.0.0.1", "rest.port": fmt.Sprint(rest),
		"taskmanager.host": "127.0.0.1", "taskmanager.bind-host": "127.0.0.1",
		"taskmanager.numberOfTaskSlots": "4", "parallelism.default": "1", "taskmanager.cpu.cores": "2",
		"taskmanager.memory.framework.heap.size": "128m", "taskmanager.memory.task.heap.size": "256m",
		"taskmanager.memory.framework.off-heap.size": "64m", "taskmanager.memory.task.off-heap.size": "0m",
		"taskmanager.memory.managed.size": "64m", "taskmanager.memory.network.min": "64m", "taskmanager.memory.network.max": "64m",
		"taskmanager.memory.jvm-metaspace.size": "192m",
		"taskmanager.memory.jvm-overhead.min":   "64m", "taskmanager.memory.jvm-overhead.max": "64m",
		"io.tmp.dirs":                      filepath.Join(f.dir, "tmp"),
		"web.refresh-interval":             "200",    // else the details of a job lag 3 s behind
		"metrics.fetcher.update-interval":  "200",    // else its metrics lag 10 s behind
		"cluster.registration.error-delay": "200 ms", // else a TaskManager that was up first waits 10 s
		"execution.checkpointing.dir":      "file://" + filepath.Join(f.dir, "checkpoints"),
	}
	maps.Copy(conf, o.Config)
	var text strings.Builder
	for _, key := range slices.Sorted(maps.Keys(conf)) {
		fmt.Fprintf(&text, "%s: %s\n", key, conf[key])
	}
	return os.WriteFile(filepath.Join(f.conf, "config.yaml"), []byte(text.String()), 0o644)
}

// Client runs a main class, such as Flink's command line client, with the cluster's jars, to its end.
func (f *Flink) Client(ctx context.Context, class string, args ...string) (output string, err error) {
	cmd := f.command(ctx, "256m", class, args...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		return string(out), fmt.Errorf("run %s: %w: %s", class, err, out)
	}
	return string(out), nil
}

// Log returns what the JobManager has logged.
func (f *Flink) Log() string {
	if f.jobManager == nil {
		return ""
	}
	return f.jobManager.Log()
}

// JobManagerPID returns the process id of the JobManager.
func (f *Flink) JobManagerPID() int { return f.jobManager.PID() }

// Stop ends the cluster's processes. It may be called more than once.
func (f *Flink) Stop() {
	for _, p := range []*Process{f.taskManager, f.jobManager} {
		if p != nil {
			p.Stop(stopTimeout)
		}
	}
}

func (f *Flink) run(name, heap, class string, args ...string) (*Process, error) {
	return StartProcess(f.command(context.Background(), heap, class, args...), filepath.Join(f.dir, name+".log"))
}

func (f *Flink) command(ctx context.Context, heap, class string, args ...string) *exec.Cmd {
	options := []string{
		"-Xmx" + heap, "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", // what runs for seconds needs no second compiler
		"-Dlog4j.configurationFile=" + filepath.Join(f.conf, "log4j2.properties"),
	}
	if _, err := os.Stat(filepath.Join(filepath.Dir(filepath.Dir(f.java)), "lib", "modules")); err == nil { // Java 9 and later
		for _, p := range opened {
			options = append(options, "--add-opens=java.base/"+p+"=ALL-UNNAMED")
		}
	}
	cmd := exec.CommandContext(ctx, f.java, slices.Concat(options, []string{"-cp", f.classPath, class}, args)...)
	cmd.Dir = f.dir
	cmd.Env = append(os.Environ(), "FLINK_CONF_DIR="+f.conf, "FLINK_PLUGINS_DIR="+f.plugins, "FLINK_LIB_DIR="+f.dir)
	return cmd
}

// opened are the packages that Flink's own scripts open.
var opened = []string{
	"java.lang", "java.net", "java.io", "java.nio", "sun.nio.ch", "java.lang.reflect", "java.text", "java.time",
	"java.util", "java.util.concurrent", "java.util.concurrent.atomic", "java.util.concurrent.locks",
}

const log4j = `rootLogger.level = INFO
rootLogger.appenderRef.console.ref = console
appender.console.name = console
appender.console.type = CONSOLE
appender.console.layout.type = PatternLayout
appender.console.layout.pattern = %d %-5p %-60c %x - %m%n
`
