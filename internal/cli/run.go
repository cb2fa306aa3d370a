package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/flinktail/flinktail/internal/admin"
	"github.com/flinktail/flinktail/internal/config"
	"github.com/flinktail/flinktail/internal/engine"
	"github.com/flinktail/flinktail/internal/queue/disk"
	"github.com/flinktail/flinktail/internal/telemetry"
	"github.com/flinktail/flinktail/pipeline/listen"
)

type runCommand struct {
	configAlias
	adminFlags

	Once         bool          `help:"Deliver what the inputs that have an end hold, such as files, then exit."`
	Watch        bool          `help:"Reload the configuration when its content has changed, as SIGHUP and \"flinktail reload\" do."`
	StartTimeout time.Duration `placeholder:"DURATION" default:"5s" help:"How long the start waits for destinations to refuse us: a wrong password ends it, an outage does not. 0s: not at all. Default: ${default}."`
}

func (c *runCommand) Run(a *app) error {
	path := cmp.Or(a.Config, c.Plugin)
	loaded := sumOf(path)
	pipelines, err := a.pipelines(path)
	if err != nil {
		return err
	}
	logger := a.logger()
	setMemoryLimit(pipelines)
	if err := os.MkdirAll(a.DataDir, 0o700); err != nil {
		return fmt.Errorf("create data folder: %w", err)
	}
	lock, err := lockDataDir(a.DataDir)
	if err != nil {
		return err
	}
	defer func() { _ = lock.Close() }() // the end of the process would do
	ctx, stop := a.untilSignal(logger)
	defer stop()

	metrics := telemetry.New()
	gate, err := c.listen(logger, metrics) // first: nothing is to be undone when the port is in use
	if err != nil {
		return err
	}
	if err := c.connect(ctx, pipelines, logger); err != nil {
		return errors.Join(err, closeGate(gate))
	}
	e, err := engine.New(pipelines, engine.Options{
		DataDir: a.DataDir, StopTimeout: a.StopTimeout, ConnectTimeout: c.StartTimeout, Once: c.Once,
		Version: version(), Logger: logger, Metrics: metrics,
	})
	if err != nil {
		return errors.Join(err, closeGate(gate))
	}
	reloads := &reloader{path: path, engine: e, logger: logger, loaded: loaded}
	defer reloads.onHangup()()
	if c.Watch {
		go reloads.watch(ctx)
	}
	address := "off"
	if gate != nil {
		address = gate.URL()
		defer c.serve(a.DataDir, gate, admin.Options{
			Ready: e.Ready, Status: reloads.status, Reload: reloads.answer, Metrics: metrics, Pprof: c.Pprof, Logger: logger,
		})()
	}
	logger.Info("flinktail runs", "version", version(), "pipelines", summaries(pipelines), "admin", address, "data_dir", a.DataDir, "recovered", e.Totals().Recovered)
	err = e.Run(ctx)
	return c.report(a, logger, e.Totals(), err)
}

// lockDataDir makes sure that no other flinktail works in the folder: positions, addresses and dead letters would be mixed up. Its name cannot be
// a pipeline's.
func lockDataDir(dir string) (*os.File, error) {
	lock, err := disk.Lock(filepath.Join(dir, ".lock"))
	if errors.Is(err, disk.ErrInUse) {
		return nil, fmt.Errorf("data folder %s: %w; one flinktail at a time may run on a data folder: stop the other, or choose another -data-dir", dir, err)
	}
	if err != nil {
		return nil, fmt.Errorf("lock data folder: %w", err)
	}
	return lock, nil
}

// report says in the last line of the log what became of the events; err is how the run ended.
func (c *runCommand) report(a *app, logger *slog.Logger, total engine.Totals, err error) error {
	sums := []any{"accepted", total.Accepted, "recovered", total.Recovered, "dead_letters", total.DeadLetters, "corrupt", total.Corrupt}
	switch {
	case total.Queued > 0:
		logger.Info("flinktail has stopped; what is queued is delivered after the next start", append([]any{"queued", total.Queued}, sums...)...)
	case err == nil:
		logger.Info("flinktail has stopped, everything is settled", sums...)
	}
	if err == nil && c.Once && total.DeadLetters > 0 {
		return fmt.Errorf("%s of %s; \"flinktail deadletter show -data-dir %s\" prints them with the reasons",
			count(int(total.DeadLetters), "dead letter"), count(int(total.Accepted), "event"), a.DataDir)
	}
	return err
}

// connect ends the start when a destination refuses us.
func (c *runCommand) connect(ctx context.Context, pipelines []*config.Pipeline, logger *slog.Logger) error {
	if c.StartTimeout <= 0 {
		return nil
	}
	return engine.Connect(ctx, pipelines, c.StartTimeout, logger)
}

// listen binds the admin address; nil when it is off.
func (c *runCommand) listen(logger *slog.Logger, metrics *telemetry.Metrics) (*listen.Gate, error) {
	if c.adminOff() {
		return nil, nil //nolint:nilnil // off is no error
	}
	options, err := c.listenOptions()
	if err != nil {
		return nil, err
	}
	gate, err := admin.Listen(options, logger, metrics)
	if err != nil {
		return nil, c.explain(err)
	}
	return gate, nil
}

func closeGate(gate *listen.Gate) error {
	if gate == nil {
		return nil
	}
	return gate.Close()
}

// serve answers on the admin address, and writes down which one it is: only now, when no other flinktail has the data folder, whose address that
// would be. Without the file, on a full disk, flinktail runs all the same: it may have to run for the disk to become less full.
func (c *runCommand) serve(dataDir string, gate *listen.Gate, o admin.Options) (stop func()) {
	if err := admin.WriteAddress(addressFile(dataDir), gate); err != nil {
		o.Logger.Warn("\"flinktail reload\" will not find this flinktail", "error", err)
	}
	server := admin.Serve(gate, o)
	return func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		if err := errors.Join(server.Close(ctx), removeAddress(dataDir)); err != nil {
			o.Logger.Warn("admin server did not close cleanly", "error", err)
		}
	}
}

func addressFile(dataDir string) string { return filepath.Join(dataDir, "admin.addr") }

func removeAddress(dataDir string) error {
	if err := os.Remove(addressFile(dataDir)); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// untilSignal returns a context that ends at the first SIGINT or SIGTERM. The second ends the process.
func (a *app) untilSignal(logger *slog.Logger) (ctx context.Context, stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM)
	stopped := make(chan struct{})
	go func() {
		for count := 0; ; count++ {
			select {
			case s := <-signals:
				if count > 0 {
					fmt.Fprintf(a.stderr, "flinktail: second signal (%s), exiting at once; what is not settled was not acknowledged\n", s)
					a.exit(exitRunTime)
					return
				}
				logger.Info("stopping; a second signal exits at once", "signal", s.String(), "within", a.StopTimeout.String())
				cancel()
			case <-stopped:
				return
			}
		}
	}()
	return ctx, func() {
		signal.Stop(signals)
		close(stopped)
		cancel()
	}
}

// summaries says in a few words what each pipeline is made of.
func summaries(pipelines []*config.Pipeline) []string {
	lines := make([]string, len(pipelines))
	for i, p := range pipelines {
		lines[i] = p.Name + ": " + summary(p)
	}
	return lines
}

func summary(p *config.Pipeline) string {
	var steps []string
	for _, plugins := range [][]config.Plugin{p.Inputs, p.Processors, p.Flushers} {
		if len(plugins) > 0 {
			steps = append(steps, names(plugins))
		}
	}
	return strings.Join(steps, " -> ")
}

func names(plugins []config.Plugin) string {
	list := make([]string, len(plugins))
	for i, plugin := range plugins {
		list[i] = plugin.Name
	}
	return strings.Join(list, ", ")
}
