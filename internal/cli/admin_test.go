package cli

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/flinktail/flinktail/pipeline/listen/listentest"
)

func TestAdminFlags(t *testing.T) {
	inFolder(t, map[string]string{"a.json": sample(t, "input_numbers", "", "", ""), "tokens": "token\n", "none": "\n"})
	ca := listentest.NewAuthority(t)
	ca.Issue("server")
	secure := []string{"-admin-cert-file", ca.File("server.pem"), "-admin-key-file", ca.File("server.key")}
	everywhere := []string{"-admin-address", "0.0.0.0:0"}
	tests := map[string]struct {
		flags [][]string
		code  int
		says  string
	}{
		"loopback with a token":  {[][]string{{"-admin-address", "127.0.0.1:0", "-admin-token-file", "tokens"}}, exitOK, "admin=http://127.0.0.1:"},
		"everywhere":             {[][]string{everywhere}, exitUsage, "-admin-address 0.0.0.0:0 can be reached from other machines, which needs TLS and authentication: give -admin-cert-file"},
		"a token in clear text":  {[][]string{everywhere, {"-admin-token-file", "tokens"}}, exitUsage, "which needs TLS: "},
		"TLS for anybody":        {[][]string{everywhere, secure}, exitUsage, "which needs authentication: "},
		"TLS and a token":        {[][]string{everywhere, secure, {"-admin-token-file", "tokens", "-pprof"}}, exitOK, "admin=https://"},
		"mutual TLS":             {[][]string{everywhere, secure, {"-admin-client-ca-file", ca.File("ca.pem")}}, exitOK, "admin=https://"},
		"insecure":               {[][]string{everywhere, {"-admin-allow-insecure"}}, exitOK, "level=WARN msg=\"other machines can reach this address without TLS and authentication"},
		"insecure pprof":         {[][]string{everywhere, {"-admin-allow-insecure", "-pprof"}}, exitUsage, "-pprof on -admin-address 0.0.0.0:0"},
		"insecure pprof, token":  {[][]string{everywhere, {"-admin-allow-insecure", "-pprof", "-admin-token-file", "tokens"}}, exitOK, "without TLS,"},
		"no key":                 {[][]string{{"-admin-address", "127.0.0.1:0"}, secure[:2]}, exitUsage, "admin address 127.0.0.1:0: -admin-key-file: is missing"},
		"no port":                {[][]string{{"-admin-address", "localhost"}}, exitUsage, "admin address localhost: \"localhost\" is not a host and a port"},
		"no token in the file":   {[][]string{{"-admin-address", "127.0.0.1:0", "-admin-token-file", "none"}}, exitRunTime, "admin address 127.0.0.1:0: -admin-token-file: read tokens from none: it holds none"},
		"off, whatever is given": {[][]string{{"-admin-address", "off", "-admin-token-file", "none"}}, exitOK, "admin=off"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			args := []string{"-config", "a.json", "-once", "-log-format", "text"}
			for _, flags := range test.flags {
				args = append(args, flags...)
			}
			r := run(args...)
			require.Equal(t, test.code, r.code, r.stderr)
			require.Contains(t, r.stderr, test.says)
			if test.code != exitOK {
				require.Equal(t, 1, strings.Count(r.stderr, "\n"), r.stderr)
			}
			require.NoFileExists(t, "data/admin.addr")
		})
	}
}
