package secrets

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/flinktail/flinktail/internal/config"
	"github.com/flinktail/flinktail/pipeline"
)

type object = map[string]any

// marked is the secret of every option: "%s" is where a URL holds it.
const marked = "s3cr3tMarkedText"

// aim gives the detail of a plugin that reaches a server at host:port, with TLS or without. A plugin that is not here is started as its
// sample has it.
var aim = map[string]func(address string, tls bool) object{
	"flusher_http": func(address string, tls bool) object {
		return object{"RemoteURL": url(address, tls) + "/" + marked + "?key=" + marked, "Timeout": "5s"}
	},
	"flusher_elasticsearch": func(address string, tls bool) object {
		return object{"Addresses": []any{url(address, tls)}, "Index": "flink", "Timeout": "5s"}
	},
	"flusher_kafka": func(address string, tls bool) object {
		return object{
			"Brokers": []any{address}, "Topic": "flink", "Timeout": "1s", "BrokerTimeout": "500ms",
			"Authentication": object{"TLS": object{"Enabled": tls}},
		}
	},
}

func url(address string, tls bool) string {
	if tls {
		return "https://" + address
	}
	return "http://" + address
}

// beside is what an option needs to be valid; "" as a value stands for the address of the server.
var beside = map[string]object{
	"flusher_elasticsearch Authentication.PlainText.Password": {"Authentication": object{"PlainText": object{"Username": "flinktail"}}},
	"flusher_http Authentication.PlainText.Password":          {"Authentication": object{"PlainText": object{"Username": "flinktail"}}},
	"flusher_kafka Authentication.PlainText.Password":         {"Authentication": object{"PlainText": object{"Username": "flinktail"}}},
	"flusher_kafka Authentication.SASL.Password":              {"Authentication": object{"SASL": object{"Username": "flinktail", "SaslMechanism": "SCRAM-SHA-512"}}},
	"flusher_kafka Authentication.SASL.ClientSecret": {"Authentication": object{"SASL": object{
		"SaslMechanism": "OAUTHBEARER", "ClientID": "flinktail", "TokenURL": "http://" + tokenServer + "/?key=" + marked,
	}}},
}

// tokenServer is replaced with the address of a server that refuses everybody.
const tokenServer = "token.invalid"

// use is a plugin with one of its secret options set.
type use struct {
	plugin, option string
	category       pipeline.Category
	value          any // of the option: the secret, or a list or an object with it
}

// uses finds the secret options of all plugins.
func uses(t *testing.T) (all []use) {
	for _, name := range pipeline.Names() {
		plugin, _ := pipeline.New(name)
		category, _ := pipeline.CategoryOf(name)
		for _, o := range config.Options(plugin) {
			switch value := any(marked); o.Type {
			case "secret":
				if name == "flusher_http" && o.Path == "RemoteURL" {
					continue // every use of it has one
				}
				all = append(all, use{name, o.Path, category, value})
			case "list of secrets":
				all = append(all, use{name, o.Path, category, []any{value}})
			case "object of secrets":
				all = append(all, use{name, o.Path, category, object{"X-Marked": "Key " + marked}})
			default:
				require.NotContains(t, o.Type, "secret", "%s %s: this test does not know the type", name, o.Path)
			}
		}
	}
	return all
}

// detail returns the plugin's options, for a server at host:port.
func (u use) detail(t *testing.T, address string, tls bool) object {
	t.Helper()
	var d object
	if make, ok := aim[u.plugin]; ok {
		d = make(address, tls)
	} else {
		d = sample(t, u.plugin)
	}
	d = merged(d, beside[u.plugin+" "+u.option])
	require.NotContains(t, u.option, "[]", "%s: this test does not know how to set %s", u.plugin, u.option)
	path := strings.Split(u.option, ".")
	nested := object{path[len(path)-1]: u.value}
	for _, key := range slices.Backward(path[:len(path)-1]) {
		nested = object{key: nested}
	}
	return merged(d, nested)
}

// sample returns the detail that a plugin has in its own sample.
func sample(t *testing.T, name string) object {
	t.Helper()
	plugin, _ := pipeline.New(name)
	var file struct {
		Inputs, Processors, Flushers []struct {
			Type   string
			Detail object
		}
	}
	require.NoError(t, json.Unmarshal(plugin.(pipeline.Documented).Sample(), &file), name)
	for _, entry := range slices.Concat(file.Inputs, file.Processors, file.Flushers) {
		if entry.Type == name {
			return entry.Detail
		}
	}
	return object{}
}

// merged returns a with what b has, objects in objects too.
func merged(a, b object) object {
	result := maps.Clone(a)
	if result == nil {
		result = object{}
	}
	for key, value := range b {
		inner, isObject := value.(object)
		outer, wasObject := result[key].(object)
		if isObject && wasObject {
			value = merged(outer, inner)
		}
		result[key] = value
	}
	return result
}
