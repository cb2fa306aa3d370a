// Package admin serves what an operator asks of a running flinktail: health, readiness, metrics and status. It
// shows no option of any plugin, so no secret either.
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
)

// Options say where the answers come from. Their functions must be safe for concurrent use.
type Options struct {
	Ready   func() error // nil when every input runs
	Status  func() any   // rendered as JSON
	Metrics http.Handler
	Pprof   bool
	Logger  *slog.Logger
}

// Server is a running server.
type Server struct {
	server  *http.Server
	stopped chan struct{}
}

// Listen binds the address, for example "127.0.0.1:8687"; port 0 takes any free one.
func Listen(address string) (net.Listener, error) {
	l, err := net.Listen("tcp", address)
	if err != nil {
		return nil, fmt.Errorf("admin address %s: %w; choose another with -admin-address, or \"off\"", address, err)
	}
	return l, nil
}

// Serve answers on l until Close.
func Serve(l net.Listener, o Options) *Server {
	s := &Server{
		server: &http.Server{
			Handler:           o.handler(),
			ReadHeaderTimeout: 5 * time.Second,
			ReadTimeout:       10 * time.Second,
			WriteTimeout:      30 * time.Second,
			IdleTimeout:       2 * time.Minute,
			MaxHeaderBytes:    16 << 10,
			ErrorLog:          slog.NewLogLogger(o.Logger.Handler(), slog.LevelDebug),
		},
		stopped: make(chan struct{}),
	}
	if o.Pprof { // a CPU profile or a trace lasts as long as its caller asks for
		s.server.WriteTimeout = 10 * time.Minute
	}
	go func() {
		defer close(s.stopped)
		if err := s.server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
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

func (o Options) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		writeText(w, http.StatusOK, "ok")
	})
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		if err := o.Ready(); err != nil {
			writeText(w, http.StatusServiceUnavailable, err.Error())
			return
		}
		writeText(w, http.StatusOK, "ok")
	})
	mux.HandleFunc("GET /api/status", func(w http.ResponseWriter, _ *http.Request) {
		text, err := json.MarshalIndent(o.Status(), "", "  ")
		if err != nil {
			writeText(w, http.StatusInternalServerError, err.Error())
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(append(text, '\n')) // an error is the client's, which is gone
	})
	mux.Handle("GET /metrics", o.Metrics)
	if o.Pprof {
		mux.HandleFunc("/debug/pprof/", pprof.Index)
		mux.HandleFunc("/debug/pprof/cmdline", pprof.Cmdline)
		mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
		mux.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
		mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
	}
	return mux
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
