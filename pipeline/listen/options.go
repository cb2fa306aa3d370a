// Package listen is the door of everything in flinktail that accepts connections: which address, TLS, who may come in,
// how many and how often. Without options it opens on loopback only; [Options.Validate] says what another address needs.
//
// A plugin embeds [Options], calls its Validate, opens a [Gate], and asks it about every request: [Gate.Admit] over HTTP,
// [Gate.Limit] and [Gate.Authenticate] over anything else, such as in a gRPC interceptor.
package listen

import (
	"errors"
	"fmt"
	"net"
	"strings"

	"github.com/flinktail/flinktail/pipeline"
)

// Options are what a listener's configuration holds; embed them.
type Options struct {
	Address       string `jsonschema_description:"host and port to listen on; other machines can reach it only with TLS and authentication, or AllowInsecure"`
	TLS           TLS    `jsonschema_description:"serve TLS, 1.2 or newer; the files are read again when they change"`
	TokenFile     string `jsonschema_description:"file of bearer tokens, one a line, any of which a request must carry; read again when it changes"`
	HtpasswdFile  string `jsonschema_description:"file of users and bcrypt hashes, as \"htpasswd -B -C 10\" writes it, for basic authentication; read again when it changes"`
	AllowInsecure bool   `jsonschema_description:"let other machines in without TLS or without authentication; for networks that are trusted"`

	MaxConnections    int `jsonschema_description:"connections that may be open at once; more are closed as they come"`
	RequestsPerSecond int `jsonschema_description:"requests that one client address may send, twice as many at once; more are answered 429. 0: any number"`
}

// TLS are the files of a server's certificate, and what it asks of its clients'.
type TLS struct {
	CertFile        string   `jsonschema_description:"PEM file of the certificate and its chain"`
	KeyFile         string   `jsonschema_description:"PEM file of its key"`
	ClientCAFile    string   `jsonschema_description:"PEM file of the authorities that a client's certificate must come from; a request without such a certificate is refused"`
	AllowedSubjects []string `jsonschema_description:"of these certificates only those with one of these names: \"CN=…\", \"DNS=…\" or \"URI=…\"; \"*\" stands for anything within one label of a DNS name, one segment of a URI, or a CN"`
}

// Default returns the options of a listener on address, which should be on loopback.
func Default(address string) Options {
	return Options{Address: address, MaxConnections: 1000}
}

// Validate checks what can be checked without I/O. Its errors are [pipeline.OptionError].
func (o *Options) Validate() error {
	var errs []error
	option := func(name string, ok bool, text string, args ...any) {
		if !ok {
			errs = append(errs, &pipeline.OptionError{Option: name, Err: fmt.Errorf(text, args...)})
		}
	}
	_, port, err := net.SplitHostPort(o.Address)
	option("Address", err == nil && port != "", `%q is not a host and a port, such as "127.0.0.1:8686"`, o.Address)
	if missing := o.Missing(); err == nil && missing != "" {
		option("Address", o.AllowInsecure, `%q can be reached from other machines, which needs %s: `+
			`set TLS.CertFile and TLS.KeyFile, and TokenFile, HtpasswdFile or TLS.ClientCAFile; `+
			`or listen on 127.0.0.1; or set AllowInsecure: true if the network is trusted`, o.Address, missing)
	}
	option("TLS.KeyFile", o.TLS.CertFile == "" || o.TLS.KeyFile != "", "is missing: a certificate needs its key")
	option("TLS.CertFile", o.TLS.KeyFile == "" || o.TLS.CertFile != "", "is missing: a key needs its certificate")
	option("TLS.ClientCAFile", o.TLS.ClientCAFile == "" || o.TLS.CertFile != "", "needs CertFile and KeyFile: only a server with TLS sees its clients' certificates")
	option("TLS.AllowedSubjects", len(o.TLS.AllowedSubjects) == 0 || o.TLS.ClientCAFile != "", "needs ClientCAFile, which says whose certificates are trusted")
	if _, err := parseSubjects(o.TLS.AllowedSubjects); err != nil {
		option("TLS.AllowedSubjects", false, "%w", err)
	}
	option("MaxConnections", o.MaxConnections > 0, "must be at least 1")
	option("RequestsPerSecond", o.RequestsPerSecond >= 0, "must be at least 0, which is no limit")
	return errors.Join(errs...)
}

// Missing says what an address that other machines can reach should have and has not: "TLS", "authentication" or both;
// nothing on loopback.
func (o *Options) Missing() string {
	host, _, err := net.SplitHostPort(o.Address)
	if err != nil || isLoopback(host) {
		return ""
	}
	var missing []string
	if o.TLS.CertFile == "" {
		missing = append(missing, "TLS")
	}
	if !o.Authenticates() {
		missing = append(missing, "authentication")
	}
	return strings.Join(missing, " and ")
}

// Authenticates reports whether clients have to show who they are.
func (o *Options) Authenticates() bool {
	return o.TokenFile != "" || o.HtpasswdFile != "" || o.TLS.ClientCAFile != ""
}

func isLoopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}
