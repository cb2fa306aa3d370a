package listen

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log/slog"
	"os"

	"github.com/flinktail/flinktail/pipeline"
)

// material is what the files of TLS hold.
type material struct {
	certificate tls.Certificate
	clientCAs   *x509.CertPool // nil without ClientCAFile
}

func readMaterial(t TLS, log *slog.Logger) (*reloader[*material], error) {
	files := []string{t.CertFile, t.KeyFile}
	if t.ClientCAFile != "" {
		files = append(files, t.ClientCAFile)
	}
	return newReloader(log, func() (*material, error) {
		pair, err := tls.LoadX509KeyPair(t.CertFile, t.KeyFile)
		if err != nil {
			return nil, &pipeline.OptionError{Option: "TLS.CertFile", Err: fmt.Errorf("read certificate: %w", err)}
		}
		if t.ClientCAFile == "" {
			return &material{certificate: pair}, nil
		}
		text, err := os.ReadFile(t.ClientCAFile)
		if err != nil {
			return nil, &pipeline.OptionError{Option: "TLS.ClientCAFile", Err: fmt.Errorf("read authorities: %w", err)}
		}
		pool := x509.NewCertPool()
		if !pool.AppendCertsFromPEM(text) {
			return nil, &pipeline.OptionError{Option: "TLS.ClientCAFile", Err: fmt.Errorf("%s holds no certificate in PEM form", t.ClientCAFile)}
		}
		return &material{pair, pool}, nil
	}, files...)
}
