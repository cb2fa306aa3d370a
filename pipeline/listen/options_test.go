package listen

import (
	"errors"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/flinktail/flinktail/pipeline"
	"github.com/flinktail/flinktail/pipeline/plugintest"
)

func TestOptions(t *testing.T) {
	secure := TLS{CertFile: "c", KeyFile: "k"}
	mutual := TLS{CertFile: "c", KeyFile: "k", ClientCAFile: "ca"}
	tests := map[string]struct {
		set    func(o *Options)
		option string // "" is valid
		says   string
	}{
		"defaults":                 {func(*Options) {}, "", ""},
		"no port":                  {func(o *Options) { o.Address = "localhost" }, "Address", "host and a port"},
		"localhost":                {func(o *Options) { o.Address = "localhost:0" }, "", ""},
		"IPv6 loopback":            {func(o *Options) { o.Address = "[::1]:8686" }, "", ""},
		"another loopback":         {func(o *Options) { o.Address = "127.8.0.1:8686" }, "", ""},
		"all interfaces":           {func(o *Options) { o.Address = ":8686" }, "Address", "needs TLS and authentication"},
		"any IPv4 address":         {func(o *Options) { o.Address = "0.0.0.0:8686" }, "Address", "needs TLS and authentication"},
		"any IPv6 address":         {func(o *Options) { o.Address = "[::]:8686" }, "Address", "needs TLS and authentication"},
		"a name":                   {func(o *Options) { o.Address = "localhost.example.com:8686" }, "Address", "other machines"},
		"token in clear text":      {func(o *Options) { o.Address, o.TokenFile = ":8686", "t" }, "Address", "needs TLS:"},
		"TLS for anybody":          {func(o *Options) { o.Address, o.TLS = ":8686", secure }, "Address", "needs authentication:"},
		"TLS and tokens":           {func(o *Options) { o.Address, o.TLS, o.TokenFile = ":8686", secure, "t" }, "", ""},
		"TLS and users":            {func(o *Options) { o.Address, o.TLS, o.HtpasswdFile = ":8686", secure, "u" }, "", ""},
		"mutual TLS":               {func(o *Options) { o.Address, o.TLS = ":8686", mutual }, "", ""},
		"insecure":                 {func(o *Options) { o.Address, o.AllowInsecure = ":8686", true }, "", ""},
		"no key":                   {func(o *Options) { o.TLS.CertFile = "c" }, "TLS.KeyFile", "is missing"},
		"no certificate":           {func(o *Options) { o.TLS.KeyFile = "k" }, "TLS.CertFile", "is missing"},
		"authorities alone":        {func(o *Options) { o.TLS.ClientCAFile = "ca" }, "TLS.ClientCAFile", "needs CertFile"},
		"subjects without":         {func(o *Options) { o.TLS.AllowedSubjects = []string{"CN=a"} }, "TLS.AllowedSubjects", "needs ClientCAFile"},
		"a subject of no kind":     {func(o *Options) { o.TLS = mutual; o.TLS.AllowedSubjects = []string{"a.b"} }, "TLS.AllowedSubjects", `"a.b" is none of "CN=NAME"`},
		"a subject without a name": {func(o *Options) { o.TLS = mutual; o.TLS.AllowedSubjects = []string{"CN="} }, "TLS.AllowedSubjects", "is none of"},
		"no connections":           {func(o *Options) { o.MaxConnections = 0 }, "MaxConnections", "at least 1"},
		"negative rate":            {func(o *Options) { o.RequestsPerSecond = -1 }, "RequestsPerSecond", "at least 0"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			o := Default("127.0.0.1:8686")
			test.set(&o)
			err := o.Validate()
			if test.option == "" {
				require.NoError(t, err)
				return
			}
			var option *pipeline.OptionError
			require.ErrorAs(t, err, &option)
			require.Equal(t, test.option, option.Option)
			require.ErrorContains(t, err, test.says)
			require.NotContains(t, err.Error(), "\n", "one error")
		})
	}
}

func TestAllowInsecureIsLogged(t *testing.T) {
	open := func(change func(o *Options)) string {
		o := Default("0.0.0.0:0")
		o.AllowInsecure = true
		change(&o)
		c := plugintest.NewContext(t, "input_x")
		g, err := Open(o, c.Logger(), c)
		require.NoError(t, err)
		require.NoError(t, g.Close())
		return c.Logs()
	}
	require.Contains(t, open(func(*Options) {}), "level=WARN msg=\"other machines can reach this address without TLS and authentication")
	require.Contains(t, open(func(o *Options) { o.TokenFile = file(t, "token") }), "without TLS,")
	require.Empty(t, open(func(o *Options) { o.Address = "127.0.0.1:0" }), "on loopback there is nothing to warn of")
}

func TestFilesThatCannotBeUsed(t *testing.T) {
	for option, set := range map[string]func(o *Options){
		"TokenFile":           func(o *Options) { o.TokenFile = "none" },
		"HtpasswdFile":        func(o *Options) { o.HtpasswdFile = "none" },
		"TLS.CertFile":        func(o *Options) { o.TLS = TLS{CertFile: "none", KeyFile: "none"} },
		"TLS.AllowedSubjects": func(o *Options) { o.TLS.AllowedSubjects = []string{"x"} },
		"Address":             func(o *Options) { o.Address = "127.0.0.1:x" },
	} {
		o := Default("127.0.0.1:0")
		set(&o)
		c := plugintest.NewContext(t, "input_x")
		_, err := Open(o, c.Logger(), c)
		var named *pipeline.OptionError
		require.True(t, errors.As(err, &named), "%v", err)
		require.Equal(t, option, named.Option)
	}
}
