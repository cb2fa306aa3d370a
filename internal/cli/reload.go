package cli

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/flinktail/flinktail/internal/admin"
	"github.com/flinktail/flinktail/internal/config"
	"github.com/flinktail/flinktail/internal/engine"
)

// reloader reads the configuration again and has the engine follow it. It is safe for concurrent use.
type reloader struct {
	path   string
	engine *engine.Engine
	logger *slog.Logger

	one    sync.Mutex // held during a reload
	mu     sync.Mutex
	loaded configSum // of the configuration that was tried last
	last   *reloadStatus
}

type configSum [sha256.Size]byte

// reloadStatus is what /api/status shows of the last reload.
type reloadStatus struct {
	Time  time.Time `json:"time"`
	Cause string    `json:"cause"` // "SIGHUP", "flinktail reload" or "changed file"
	Error string    `json:"error,omitempty"`
}

// reload returns why nothing was changed: config.Errors when the configuration is wrong.
func (r *reloader) reload(cause string) error {
	r.one.Lock()
	defer r.one.Unlock()
	r.logger.Info("reloading the configuration", "cause", cause, "config", r.path)
	loaded := sumOf(r.path) // before it is read: what changes meanwhile is seen by watch
	pipelines, err := config.Load(r.path)
	if err == nil {
		err = r.engine.Reload(pipelines)
	}
	status := &reloadStatus{Time: time.Now(), Cause: cause}
	if err != nil {
		status.Error = err.Error()
	}
	r.mu.Lock()
	r.last, r.loaded = status, loaded
	r.mu.Unlock()
	switch {
	case errors.Is(err, engine.ErrNotWhole):
		r.logger.Error("the configuration was not reloaded", "cause", cause, "error", err)
		return err
	case err != nil:
		r.logger.Error("the configuration was not reloaded, everything runs as before", "cause", cause, "error", err)
		return err
	}
	setMemoryLimit(pipelines)
	r.logger.Info("the configuration is reloaded", "cause", cause, "pipelines", summaries(pipelines))
	return nil
}

// answer is a reload that a person has asked for over HTTP.
func (r *reloader) answer() admin.ReloadAnswer {
	err := r.reload("flinktail reload")
	if err == nil {
		return admin.ReloadAnswer{}
	}
	var wrong config.Errors
	if errors.As(err, &wrong) {
		return admin.ReloadAnswer{Error: err.Error(), Configuration: true}
	}
	if errors.Is(err, engine.ErrNotWhole) {
		return admin.ReloadAnswer{Error: "not reloaded: " + err.Error()}
	}
	return admin.ReloadAnswer{Error: "not reloaded, everything runs as before: " + err.Error()}
}

// onHangup reloads at every SIGHUP until stop.
func (r *reloader) onHangup() (stop func()) {
	signals, quit := make(chan os.Signal, 1), make(chan struct{})
	signal.Notify(signals, syscall.SIGHUP)
	go func() {
		for {
			select {
			case <-signals:
				_ = r.reload("SIGHUP") // it is logged
			case <-quit:
				return
			}
		}
	}()
	return func() {
		signal.Stop(signals)
		close(quit)
	}
}

// status is the engine's, with the last reload.
func (r *reloader) status() any {
	r.mu.Lock()
	defer r.mu.Unlock()
	return struct {
		engine.Status
		LastReload *reloadStatus `json:"last_reload,omitempty"`
	}{r.engine.Status(), r.last}
}

// watchEvery is how often watch looks. It looks rather than listens: that works the same for links that are switched, as Kubernetes does
// with a ConfigMap, and for file systems over a network.
const watchEvery = time.Second

// watch reloads when the content of the configuration has changed and then not changed again for a moment.
func (r *reloader) watch(ctx context.Context) {
	for seen := (configSum{}); ; {
		select {
		case <-time.After(watchEvery):
		case <-ctx.Done():
			return
		}
		now := sumOf(r.path)
		r.mu.Lock()
		changed := now != r.loaded
		r.mu.Unlock()
		if changed && now == seen {
			_ = r.reload("changed file") // it is logged
		}
		seen = now
	}
}

// sumOf returns a hash of the configuration's files.
func sumOf(path string) configSum {
	h := sha256.New()
	files, err := config.Files(path)
	if err != nil {
		fmt.Fprintln(h, err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		fmt.Fprintf(h, "%q %v %d\n", file, err, len(text))
		h.Write(text)
	}
	return configSum(h.Sum(nil))
}

type reloadCommand struct {
	AdminTokenFile string `placeholder:"FILE" help:"That of the running flinktail; its first token is sent."`
	AdminCertFile  string `placeholder:"FILE" help:"That of the running flinktail: the certificate that it must show."`
}

// reloadGrace is what a reload may take longer than -stop-timeout, which bounds it.
const reloadGrace = 10 * time.Second

func (c *reloadCommand) Run(a *app) error {
	if a.Config != "" {
		return usageError{errors.New("reload reads the configuration that the running flinktail was started with; leave out -config")}
	}
	address, err := os.ReadFile(addressFile(a.DataDir))
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("no flinktail with an admin address runs on -data-dir %s; if it runs with -admin-address off, send it SIGHUP: kill -HUP PID", a.DataDir)
	}
	if err != nil {
		return fmt.Errorf("find the running flinktail: %w", err)
	}
	client, scheme, err := c.client()
	if err != nil {
		return err
	}
	defer client.CloseIdleConnections()
	ctx, cancel := context.WithTimeout(context.Background(), a.StopTimeout+reloadGrace)
	defer cancel()
	url := scheme + "://" + dialable(strings.TrimSpace(string(address))) + admin.ReloadPath
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, url, nil)
	if err != nil {
		return err
	}
	if c.AdminTokenFile != "" {
		token, err := firstToken(c.AdminTokenFile)
		if err != nil {
			return err
		}
		request.Header.Set("Authorization", "Bearer "+token)
	}
	response, err := client.Do(request)
	if err != nil {
		return fmt.Errorf("ask the running flinktail: %w", err)
	}
	defer func() { _ = response.Body.Close() }()
	return a.reportReload(response)
}

// firstToken returns the first token of a file that may have comments.
func firstToken(file string) (string, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return "", fmt.Errorf("read token: %w", err)
	}
	for line := range strings.Lines(string(text)) {
		if line = strings.TrimSpace(line); line != "" && line[0] != '#' {
			return line, nil
		}
	}
	return "", fmt.Errorf("read token: %s holds none", file)
}

// client trusts nothing but the certificate that the running flinktail was given.
func (c *reloadCommand) client() (client *http.Client, scheme string, err error) {
	if c.AdminCertFile == "" {
		return &http.Client{Transport: &http.Transport{}}, "http", nil
	}
	pem, err := os.ReadFile(c.AdminCertFile)
	if err != nil {
		return nil, "", fmt.Errorf("read certificate: %w", err)
	}
	wanted := x509.NewCertPool()
	if !wanted.AppendCertsFromPEM(pem) {
		return nil, "", fmt.Errorf("read certificate: %s holds none", c.AdminCertFile)
	}
	pinned := &tls.Config{
		InsecureSkipVerify: true, //nolint:gosec // the name is not the address; VerifyConnection checks the certificate itself
		VerifyConnection: func(state tls.ConnectionState) error {
			_, err := state.PeerCertificates[0].Verify(x509.VerifyOptions{Roots: wanted, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}})
			return err
		},
	}
	return &http.Client{Transport: &http.Transport{TLSClientConfig: pinned}}, "https", nil
}

// dialable turns the address that a server is bound to into one that can be reached from here.
func dialable(address string) string {
	host, port, err := net.SplitHostPort(address)
	if ip := net.ParseIP(host); err == nil && ip != nil && ip.IsUnspecified() {
		return net.JoinHostPort("localhost", port)
	}
	return address
}

// configurationError is what the running flinktail found in its configuration: as many lines as mistakes.
type configurationError struct{ error }

func (a *app) reportReload(response *http.Response) error {
	text, err := io.ReadAll(io.LimitReader(response.Body, 1<<20))
	if err != nil {
		return fmt.Errorf("ask the running flinktail: %w", err)
	}
	if response.StatusCode == http.StatusOK {
		fmt.Fprintln(a.stdout, "reloaded")
		return nil
	}
	var answer admin.ReloadAnswer
	switch err := json.Unmarshal(text, &answer); {
	case response.StatusCode == http.StatusBadRequest && bytes.Contains(text, []byte("HTTPS server")):
		return errors.New("the running flinktail serves its admin address with TLS; give its -admin-cert-file")
	case err != nil || answer.Error == "":
		return fmt.Errorf("the running flinktail answered %s: %s", response.Status, bytes.TrimSpace(text))
	case response.StatusCode == http.StatusUnauthorized && strings.Contains(answer.Error, "certificate"):
		return fmt.Errorf("the running flinktail answered: %s; send it SIGHUP instead: kill -HUP PID", answer.Error)
	case response.StatusCode == http.StatusUnauthorized:
		return fmt.Errorf("the running flinktail answered: %s; give -admin-token-file", answer.Error)
	case answer.Configuration:
		return configurationError{errors.New(answer.Error)}
	}
	return errors.New(answer.Error)
}
