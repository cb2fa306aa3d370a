package cli

import (
	"errors"
	"fmt"

	"github.com/flinktail/flinktail/pipeline"
	"github.com/flinktail/flinktail/pipeline/listen"
)

// adminFlags are where the admin server listens and who may ask it.
type adminFlags struct {
	AdminAddress       string `placeholder:"HOST:PORT" default:"127.0.0.1:8687" help:"Health, metrics and status; \"off\" for none. With port 0 the chosen one is logged and in DIR/admin.addr. Default: ${default}."`
	AdminTokenFile     string `placeholder:"FILE" help:"Bearer tokens, one a line, any of which lets in; /healthz and /readyz stay open."`
	AdminCertFile      string `placeholder:"FILE" help:"Serve the admin address with TLS: the certificate and its chain, PEM."`
	AdminKeyFile       string `placeholder:"FILE" help:"The key of the certificate."`
	AdminClientCAFile  string `name:"admin-client-ca-file" placeholder:"FILE" help:"Only those with a certificate of these authorities are let in; /healthz and /readyz stay open."`
	AdminAllowInsecure bool   `help:"Let other machines reach the admin address without TLS or without a token."`

	Pprof bool `help:"Serve /debug/pprof on the admin address."`
}

// adminOff reports whether no admin server is wanted.
func (f *adminFlags) adminOff() bool { return f.AdminAddress == "" || f.AdminAddress == "off" }

// listenOptions checks the flags.
func (f *adminFlags) listenOptions() (listen.Options, error) {
	o := listen.Default(f.AdminAddress)
	o.TokenFile, o.AllowInsecure = f.AdminTokenFile, f.AdminAllowInsecure
	o.TLS = listen.TLS{CertFile: f.AdminCertFile, KeyFile: f.AdminKeyFile, ClientCAFile: f.AdminClientCAFile}
	missing := o.Missing()
	switch {
	case missing != "" && !f.AdminAllowInsecure:
		return o, usageError{fmt.Errorf("-admin-address %s can be reached from other machines, which needs %s: give -admin-cert-file and -admin-key-file, "+
			"and -admin-token-file or -admin-client-ca-file; or listen on 127.0.0.1; or give -admin-allow-insecure if the network is trusted", f.AdminAddress, missing)}
	case missing != "" && f.Pprof && !o.Authenticates():
		return o, usageError{fmt.Errorf("-pprof on -admin-address %s, which can be reached from other machines, needs -admin-token-file or -admin-client-ca-file: "+
			"it shows what is in memory", f.AdminAddress)}
	}
	if err := o.Validate(); err != nil {
		return o, usageError{f.explain(err)}
	}
	return o, nil
}

var flagOf = map[string]string{
	"TokenFile":        "-admin-token-file: ",
	"TLS.CertFile":     "-admin-cert-file: ",
	"TLS.KeyFile":      "-admin-key-file: ",
	"TLS.ClientCAFile": "-admin-client-ca-file: ",
}

// explain names the flag instead of the option.
func (f *adminFlags) explain(err error) error {
	var option *pipeline.OptionError
	if !errors.As(err, &option) {
		return err
	}
	return fmt.Errorf("admin address %s: %s%w", f.AdminAddress, flagOf[option.Option], option.Err)
}
