package elasticsearch

import (
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"github.com/flinktail/flinktail/flusher/internal/client"
	"github.com/flinktail/flinktail/flusher/internal/pattern"
	"github.com/flinktail/flinktail/pipeline"
	"github.com/flinktail/flinktail/protocol"
	"github.com/flinktail/flinktail/protocol/flink"
)

func TestOptionErrors(t *testing.T) {
	for message, choose := range map[string]func(f *Flusher){
		"Addresses: name at least one node":                func(f *Flusher) { f.Addresses = nil },
		"Addresses[1]: is not http://host:port":            func(f *Flusher) { f.Addresses = append(f.Addresses, "es1:9200") },
		"Addresses[0]: is no URL":                          func(f *Flusher) { f.Addresses[0] = "http://user:secret@[::1" },
		"Addresses[0]: holds a user":                       func(f *Flusher) { f.Addresses[0] = "http://user:secret@es1:9200" },
		"Addresses[0]: is more than scheme, host, port":    func(f *Flusher) { f.Addresses[0] += "/?pretty" },
		"Addresses[0]: is http, but Authentication.TLS":    func(f *Flusher) { f.Authentication.TLS.Enabled = true },
		"Authentication.CloudID: stands for the addresses": func(f *Flusher) { f.Authentication.CloudID = "x:ZXhhbXBsZSRhJGI=" },
		"Authentication.CloudID: is no id of a deployment": func(f *Flusher) { f.Addresses, f.Authentication.CloudID = nil, "nonsense" },
		"Authentication.PlainText.Password: is missing":    func(f *Flusher) { f.Authentication.PlainText.Username = "me" },
		"Authentication.PlainText.Username: is missing":    func(f *Flusher) { f.Authentication.PlainText.Password = pipeline.NewSecret("secret") },
		"Authentication.APIKey: is a second way": func(f *Flusher) {
			f.Authentication = Authentication{PlainText: PlainText{"me", pipeline.NewSecret("secret")}, APIKey: pipeline.NewSecret("abc")}
		},
		"Authentication.APIKey: is not the encoded form": func(f *Flusher) { f.Authentication.APIKey = pipeline.NewSecret("id:secret") },
		"Authentication.TLS.KeyFile: is missing": func(f *Flusher) {
			f.Authentication.TLS = client.TLS{Enabled: true, CertFile: "me.pem"}
			f.Addresses[0] = "https://es1:9200"
		},
		"Timeout: must be above zero":                   func(f *Flusher) { f.Timeout = 0 },
		"HTTPConfig.ResponseHeaderTimeout: must not be": func(f *Flusher) { f.HTTPConfig.ResponseHeaderTimeout = -1 },
		"Index: name the index or data stream":          func(f *Flusher) { f.Index = "" },
		`Index: "flink-%{kind" has a %{`:                func(f *Flusher) { f.Index = "flink-%{kind" },
		"Index: must begin with a lower-case letter":    func(f *Flusher) { f.Index = "%{kind}" },
		"Index: must begin with a lower-case letter or": func(f *Flusher) { f.Index = "-flink" },
		"Index: must not contain 'F'":                   func(f *Flusher) { f.Index = "myFlink" },
		"Index: must not contain '*'":                   func(f *Flusher) { f.Index = "flink*" },
		"Index: must not contain '/'":                   func(f *Flusher) { f.Index = "flink/events" },
		"Index: must not contain ':'":                   func(f *Flusher) { f.Index = "flink-%{+HH:mm}" },
		"Index: must not contain '\"'":                  func(f *Flusher) { f.Index = `flink"` },
		"Index: is longer than 150 bytes":               func(f *Flusher) { f.Index = strings.Repeat("x", 151) },
	} {
		err := flusherFor("http://es1:9200", choose).Validate()
		require.ErrorContains(t, err, message)
		require.NotContains(t, err.Error(), "secret")
		require.ErrorAs(t, err, new(*pipeline.OptionError))
		require.NotContains(t, err.Error(), "\n", "one fault, one error")
	}
	for _, choose := range []func(f *Flusher){
		func(*Flusher) {},
		func(f *Flusher) { f.Addresses = []string{"https://es1:9200/prefix/", "http://[::1]:9200"} },
		func(f *Flusher) { f.Addresses, f.Authentication.CloudID = nil, "prod:ZXhhbXBsZS5jb20kYWJjJGRlZg==" },
		func(f *Flusher) { f.Index = "log_%{+yyyyMMdd}" },
		func(f *Flusher) { f.Index = "log-日志-%{content.cluster}-%{tag.namespace}" },
		func(f *Flusher) { f.Index = "1" },
	} {
		require.NoError(t, flusherFor("http://es1:9200", choose).Validate())
	}
}

func indexOf(t testing.TB, text string, log *protocol.Log) string {
	p, err := pattern.Parse(text)
	require.NoError(t, err)
	return string(appendIndex(nil, p, &protocol.LogGroup{}, log))
}

func ofCluster(value string) *protocol.Log {
	key, seconds := flink.FieldCluster, uint32(1767600000)
	return &protocol.Log{Time: &seconds, Contents: []*protocol.Log_Content{{Key: &key, Value: &value}}}
}

func TestIndexOfEvent(t *testing.T) {
	for _, c := range []struct{ index, value, want string }{
		{"flink", "x", "flink"},
		{"flink-%{+yyyy.MM.dd}", "x", "flink-2026.01.05"},
		{"flink-%{cluster}", "Prod-EU", "flink-prod-eu"},
		{"flink-%{cluster}-x", "", "flink--x"},
		{"flink-%{cluster}", "a b/c\\d*e?f\"g<h>i|j,k#l:m\n\x00", "flink-a_b_c_d_e_f_g_h_i_j_k_l_m__"},
		{"flink-%{cluster}", "ÄÖ-订单", "flink-äö-订单"},
		{"flink-%{cluster}", "\xff", "flink-_"},
		{"flink-%{content.cluster}", "x", "flink-x"},
	} {
		require.Equal(t, c.want, indexOf(t, c.index, ofCluster(c.value)))
	}
	a, b := indexOf(t, "flink-%{cluster}", ofCluster(strings.Repeat("é", 500)+"a")), indexOf(t, "flink-%{cluster}", ofCluster(strings.Repeat("é", 500)+"b"))
	require.NotEqual(t, a, b)
	require.LessOrEqual(t, len(a), maxIndex)
	require.True(t, utf8.ValidString(a))
	require.Regexp(t, `^flink-é+-[0-9a-f]{8}$`, a)
}

func FuzzIndex(f *testing.F) {
	for _, value := range []string{"", "..", "A", "\x00", "\"", strings.Repeat("é", 300), "İ", "ẞ", "ǅ"} {
		f.Add(value)
	}
	p, err := pattern.Parse("x%{cluster}-%{+yyyy.MM}")
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, value string) {
		name := string(appendIndex(nil, p, &protocol.LogGroup{}, ofCluster(value)))
		require.True(t, strings.HasPrefix(name, "x"))
		require.LessOrEqual(t, len(name), maxIndex)
		require.Equal(t, strings.ToLower(name), name)
		require.NotContains(t, name, "*")
		require.False(t, strings.ContainsAny(name, "\\/?\"<>| ,#:\x00\n"), name)
		quoted, err := json.Marshal(name)
		require.NoError(t, err)
		require.Equal(t, `"`+strings.NewReplacer("&", `\u0026`).Replace(name)+`"`, string(quoted), "JSON needs no escaping")
	})
}

func TestID(t *testing.T) {
	for id, want := range map[string]string{
		"":                               `}}`,
		"evt-1":                          `,"_id":"evt-1"}}`,
		`a"b\c`:                          `,"_id":"a\"b\\c"}}`,
		"a\nb":                           `,"_id":"a\nb"}}`,
		"订单":                             `,"_id":"订单"}}`,
		"\xff":                           `,"_id":"` + "\uFFFD" + `"}}`,
		strings.Repeat("x", maxID):       `,"_id":"` + strings.Repeat("x", maxID) + `"}}`,
		strings.Repeat("x", maxID+1):     `,"_id":"` + flink.EventID(strings.Repeat("x", maxID+1)) + `"}}`,
		strings.Repeat("\xff", maxID/2):  `,"_id":"` + "\uFFFD" + `"}}`, // a run of them is one
		strings.Repeat("\xffx", maxID/2): `,"_id":"` + flink.EventID(strings.Repeat("\uFFFDx", maxID/2)) + `"}}`,
	} {
		require.Equal(t, want+"\n", string(appendID(nil, id)), "%q", id)
	}
}
