// Package admin serves what an operator asks of a running flinktail: health, readiness, metrics and status. It
// shows no option of any plugin, so no secret either. Where authentication is configured, strangers get health and
// readiness in one word, for probes, and nothing else.
package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"os"
	"path/filepath"
	"time"

	"github.com/flinktail/flinktail/internal/telemetry"
	"github.com/flinktail/flinktail/pipeline"
	"github.com/flinktail/flinktail/pipeline/listen"
)

// Options say where the answers come from. Their functions must be safe for concurrent use.
type Options struct {
	Ready   func() error // nil when every input runs
	Status  func() any   // rendered as JSON
	Reload  func() ReloadAnswer
	Metrics *telemetry.Metrics
	Pprof   bool
	Logger  *slog.Logger
}

// Server is a running server.
type Server struct {
	server  *http.Server
	stopped chan struct{}
}

// maxConnections is enough for probes, scrapers and people.
const maxConnections = 100

// Listen binds the address of o, for example "127.0.0.1:8687"; port 0 takes any free one. What it refuses is counted in m.
// Its errors are [pipeline.OptionError].
func Listen(o listen.Options, log *slog.Logger, m *telemetry.Metrics) (*listen.Gate, error) {
	o.MaxConnections = maxConnections
	return listen.Open(o, log, counting{m, log})
}

// counting gives the gate's metrics their names.
type counting struct {
	*telemetry.Metrics
	log *slog.Logger
}

const metricPrefix = "flinktail_admin_"

func (c counting) Counter(name, help string, labels ...pipeline.Label) pipeline.Counter {
	counter, err := c.Metrics.Counter(metricPrefix+name, help, labels...)
	c.complain(name, err)
	return counter
}

func (c counting) Gauge(name, help string, value func() float64) {
	_, err := c.Metrics.Gauge(metricPrefix+name, help, value)
	c.complain(name, err)
}

func (c counting) complain(name string, err error) {
	if err != nil {
		c.log.Error("metric is not published", "metric", metricPrefix+name, "error", err)
	}
}

// Serve answers on g until Close.
func Serve(g *listen.Gate, o Options) *Server {
	s := &Server{server: g.Server(protect(g, o.handler(g))), stopped: make(chan struct{})}
	s.server.ReadHeaderTimeout = 5 * time.Second
	s.server.ReadTimeout = 10 * time.Second
	s.server.WriteTimeout = 30 * time.Second
	s.server.IdleTimeout = 2 * time.Minute
	if o.Pprof { // a CPU profile or a trace lasts as long as its caller asks for
		s.server.WriteTimeout = 10 * time.Minute
	}
	go func() {
		defer close(s.stopped)
		if err := g.Serve(s.server); !errors.Is(err, http.ErrServerClosed) {
			o.Logger.Error("admin server ended", "error", err)
		}
	}()
	return s
}

// Close ends the server; answers under way get until ctx ends.
func (s *Server) Close(ctx context.Context) error {
	err := s.server.Shutdown(ctx)
	if err != nil {
		err = errors.Join(err, s.server.Close())
	}
	<-s.stopped
	return err
}

// handler serves the pages; those that tell more than a word are behind g.
func (o Options) handler(g *listen.Gate) http.Handler {
	private := http.NewServeMux()
	private.HandleFunc("GET /api/status", func(w http.ResponseWriter, _ *http.Request) {
		text, err := json.MarshalIndent(o.Status(), "", "  ")
		if err != nil {
			writeText(w, http.StatusInternalServerError, err.Error())
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(append(text, '\n')) // an error is the client's, which is gone
	})
	private.HandleFunc("POST "+ReloadPath, o.reloadPage)
	private.Handle("GET /metrics", o.Metrics.Handler())
	if o.Pprof {
		private.HandleFunc("/debug/pprof/", pprof.Index)
		private.HandleFunc("/debug/pprof/cmdline", pprof.Cmdline)
		private.HandleFunc("/debug/pprof/profile", pprof.Profile)
		private.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
		private.HandleFunc("/debug/pprof/trace", pprof.Trace)
	}

	public := http.NewServeMux()
	public.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		writeText(w, http.StatusOK, "ok")
	})
	public.HandleFunc("GET /readyz", func(w http.ResponseWriter, r *http.Request) {
		switch err := o.Ready(); {
		case err == nil:
			writeText(w, http.StatusOK, "ok")
		case g.Admit(r) == nil:
			writeText(w, http.StatusServiceUnavailable, err.Error())
		default:
			writeText(w, http.StatusServiceUnavailable, "not ready")
		}
	})
	for _, pages := range []string{"/api/", "/metrics", "/debug/"} {
		public.Handle(pages, g.Handler(private))
	}
	return public
}

func writeText(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	_, _ = io.WriteString(w, text+"\n") // an error is the client's, which is gone
}

// WriteAddress writes the address that l is bound to into path, so that scripts find a port that the system chose. The
// file appears whole or not at all.
func WriteAddress(path string, l net.Listener) error {
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*")
	if err != nil {
		return fmt.Errorf("write admin address: %w", err)
	}
	_, err = f.WriteString(l.Addr().String() + "\n")
	err = errors.Join(err, f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return fmt.Errorf("write admin address: %w", errors.Join(err, os.Remove(f.Name())))
	}
	return nil
}
