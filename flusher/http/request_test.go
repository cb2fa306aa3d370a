package httpflusher

import (
	"bufio"
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/flinktail/flinktail/pipeline"
	"github.com/flinktail/flinktail/protocol"
)

func TestRequest(t *testing.T) {
	r := newReceiver(t)
	f, _ := started(t, r.url(), func(f *Flusher) {
		f.Method = http.MethodPatch
		f.Headers = secrets("x-plain", "100%", "X-Cluster", "flink-%{tag.cluster}")
		f.Query = secrets("day", "%{+yyyy-MM-dd}", "db", "a&b", "id", "<%{content.nothing}>")
	})
	require.NoError(t, flush(f, group(t, `{"event_id":"1","cluster":"prod\r\nX-Evil: 1","event_time":"2026-01-05T08:00:00Z"}`)))
	got := r.seen()[0]
	require.Equal(t, http.MethodPatch, got.method)
	require.Equal(t, "/v1/events?day=2026-01-05&db=a%26b&from=test&id=%3C%3E", got.target)
	require.Equal(t, "application/x-ndjson", got.header.Get("Content-Type"))
	require.Equal(t, "flinktail", got.header.Get("User-Agent"))
	require.Equal(t, "100%", got.header.Get("X-Plain"))
	require.Equal(t, "flink-prod  X-Evil: 1", got.header.Get("X-Cluster"), "an event cannot add headers")
	require.Empty(t, got.header.Get("X-Evil"))
	require.Equal(t, int64(len(got.body)), got.length, "the length is known, nothing is chunked")
	require.True(t, strings.HasSuffix(got.body, "}\n"), got.body)
}

func TestLongHeaderValuesAreCut(t *testing.T) {
	r := newReceiver(t)
	f, _ := started(t, r.url(), func(f *Flusher) { f.Headers = secrets("X-Message", "%{message}") })
	require.NoError(t, flush(f, group(t, `{"event_id":"1","message":"`+strings.Repeat("x", 100_000)+`"}`)))
	require.Len(t, r.seen()[0].header.Get("X-Message"), maxHeaderValue)
}

// Events with equal values go together, in their order, whatever stands between them.
func TestRequestsByValue(t *testing.T) {
	for _, format := range splitting {
		r := newReceiver(t)
		f, _ := started(t, r.url(), func(f *Flusher) {
			f.Format, f.Query = format, secrets("cluster", "%{cluster}")
		})
		require.NoError(t, flush(f, numbered(t, 1, 5), numbered(t, 6, 5)))
		require.Len(t, r.seen(), 2)
		for i, want := range []struct {
			target string
			ids    []string
		}{
			{"/v1/events?cluster=c1&from=test", []string{"1", "3", "5", "7", "9"}},
			{"/v1/events?cluster=c0&from=test", []string{"2", "4", "6", "8", "10"}},
		} {
			require.Equal(t, want.target, r.seen()[i].target)
			require.Equal(t, want.ids, idsOf(t, r.seen()[i].events))
		}

		r.answer(reply{status: 200}, reply{status: 503})
		groups := []*protocol.LogGroup{numbered(t, 11, 4), numbered(t, 15, 2)}
		refused, again := failed(t, flush(f, groups...), groups...)
		require.Empty(t, refused)
		require.Equal(t, []string{"12", "14", "16"}, again, "the failures name the places of the events that were passed")
	}
}

// Log groups that differ in their logs only become one, the others stay apart and in order.
func TestLogGroupsAreMerged(t *testing.T) {
	r := newReceiver(t)
	f, _ := started(t, r.url(), func(f *Flusher) { f.Format = FormatLogGroup })
	groups := []*protocol.LogGroup{numbered(t, 1, 2), numbered(t, 3, 1), numbered(t, 4, 1), numbered(t, 5, 1), numbered(t, 6, 1), numbered(t, 7, 1)}
	key, value, otherValue, topic := "namespace", "streaming", "batch", "job_status"
	groups[2].LogTags = []*protocol.LogTag{{Key: &key, Value: &value}}
	groups[3].LogTags = []*protocol.LogTag{{Key: &key, Value: &value}}
	groups[4].LogTags = []*protocol.LogTag{{Key: &key, Value: &otherValue}}
	groups[5].Topic = &topic
	require.NoError(t, flush(f, groups...))
	require.Equal(t, numbers(1, 7), r.ids())
	require.Len(t, r.seen(), 4)
	require.Len(t, r.seen()[1].events, 2)
	require.Contains(t, string(r.seen()[1].events[0]), `"namespace":"streaming"`)
	require.Contains(t, string(r.seen()[2].events[0]), `"namespace":"batch"`)
	require.NotContains(t, string(r.seen()[3].events[0]), `"namespace"`)
}

func TestAuthentication(t *testing.T) {
	r := newReceiver(t)
	authorization := func(f *Flusher) string {
		require.NoError(t, flush(f, numbered(t, 1, 1)))
		seen := r.seen()
		return seen[len(seen)-1].header.Get("Authorization")
	}
	basic := mustStart(t, r.url(), func(f *Flusher) { f.Authentication.PlainText = PlainText{"ann", pipeline.NewSecret("päss:word")} })
	parsed := http.Request{Header: http.Header{"Authorization": {authorization(basic)}}}
	user, password, _ := parsed.BasicAuth()
	require.Equal(t, []string{"ann", "päss:word"}, []string{user, password})
	require.Equal(t, "Bearer t0ken", authorization(mustStart(t, r.url(), func(f *Flusher) { f.Authentication.BearerToken = pipeline.NewSecret("t0ken") })))
	require.Equal(t, "ApiKey x", authorization(mustStart(t, r.url(), func(f *Flusher) { f.Headers = secrets("authorization", "ApiKey x") })))
	require.Empty(t, authorization(mustStart(t, r.url())))
}

func TestTokenFileIsReadAgain(t *testing.T) {
	r := newReceiver(t)
	file := filepath.Join(t.TempDir(), "token")
	write := func(text string) { require.NoError(t, os.WriteFile(file, []byte(text), 0o600)) }
	write("first\n")
	f, _ := started(t, r.url(), func(f *Flusher) { f.Authentication.BearerTokenFile = file })
	expire := func() { f.token.read = time.Now().Add(-checkEvery) }
	require.NoError(t, flush(f, numbered(t, 1, 1)))
	write("second")
	expire()
	require.NoError(t, flush(f, numbered(t, 2, 1)))
	require.Equal(t, "Bearer first", r.seen()[0].header.Get("Authorization"))
	require.Equal(t, "Bearer second", r.seen()[1].header.Get("Authorization"))

	for _, text := range []string{"", "a\nb"} {
		write(text)
		expire()
		err := flush(f, numbered(t, 3, 1))
		require.Equal(t, "blocked", verdictOf(err))
		require.ErrorContains(t, err, file)
	}
	write("third")
	expire()
	require.NoError(t, flush(f, numbered(t, 3, 1)))
	require.Equal(t, numbers(1, 3), r.ids())
}

// Neither the URL's path and parameters nor a password show in errors.
func TestErrorsKeepSecrets(t *testing.T) {
	r := newReceiver(t)
	secret := func(f *Flusher) {
		f.RemoteURL = pipeline.NewSecret("http://" + r.address + "/s3cret?key=s3cret")
		f.Query = secrets("token", "s3cret")
		f.Authentication.BearerToken = pipeline.NewSecret("s3cret")
		f.Timeout = 50 * time.Millisecond
	}
	f, c := started(t, r.url(), secret)
	check := func(err error) {
		require.Error(t, err)
		require.NotContains(t, err.Error()+c.Logs(), "s3cret")
	}
	for _, status := range []int{302, 401, 404, 500} {
		r.answer(reply{status: status, header: map[string]string{"Location": "https://other.example.com/s3cret?x=s3cret"}})
		check(flush(f, numbered(t, 1, 1)))
		check(f.Connect(t.Context()))
	}
	hang := make(chan struct{})
	r.set(func() { r.hang = hang })
	check(flush(f, numbered(t, 1, 1)))
	close(hang)
	r.down()
	check(flush(f, numbered(t, 1, 1)))
	broken := New()
	broken.RemoteURL = pipeline.NewSecret("http://user:s3cret@[::1")
	check(broken.Validate())
}

// A receiver that refuses a request may repeat it, to the last header.
func TestRepeatedSecrets(t *testing.T) {
	file := filepath.Join(t.TempDir(), "token")
	require.NoError(t, os.WriteFile(file, []byte("s3cret-of-a-file\n"), 0o600))
	var status atomic.Int64
	echo := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Location", "/elsewhere"+r.URL.Path)
		w.WriteHeader(int(status.Load()))
		_, _ = fmt.Fprintf(w, "you sent %s with %q, that is %v and %v", r.RequestURI, r.URL.RawQuery, r.URL.Query(), r.Header)
	}))
	defer echo.Close()
	for name, authentication := range map[string]Authentication{
		"basic":  {PlainText: PlainText{"flinktail", pipeline.NewSecret("s3cret")}},
		"bearer": {BearerToken: pipeline.NewSecret("s3cret")},
		"file":   {BearerTokenFile: file},
	} {
		t.Run(name, func(t *testing.T) {
			f, c := started(t, echo.URL+"/hooks/s3cret-of-a-path?key=s3cret%20in%20URL", func(f *Flusher) {
				f.Headers, f.Query = secrets("X-Api-Key", "Key s3cret", "X-Plain", "s3cret"), secrets("token", "s3cret & more")
				f.Authentication = authentication
			})
			for _, code := range []int{302, 400, 401, 422, 429, 503} {
				status.Store(int64(code))
				for _, err := range []error{flush(f, numbered(t, 1, 1)), f.Connect(t.Context())} {
					if err == nil {
						continue // Connect, of an empty batch that is refused
					}
					if code == 401 {
						require.ErrorContains(t, err, "you sent /***")
					}
					for _, secret := range []string{"s3cret", base64.StdEncoding.EncodeToString([]byte("flinktail:s3cret"))} {
						require.NotContains(t, err.Error()+c.Logs(), secret, "%d", code)
					}
				}
			}
		})
	}
}

func TestTimeout(t *testing.T) {
	r := newReceiver(t)
	f, _ := started(t, r.url(), func(f *Flusher) { f.Timeout = 50 * time.Millisecond })
	hang := make(chan struct{})
	r.set(func() { r.hang = hang })
	err := flush(f, numbered(t, 1, 3))
	require.Equal(t, "retry", verdictOf(err))
	require.ErrorContains(t, err, "no answer in time")
	r.set(func() { r.hang = nil })
	close(hang)
	require.NoError(t, flush(f, numbered(t, 1, 3)))
}

func TestStopCutsARequestOff(t *testing.T) {
	r := newReceiver(t)
	f, _ := started(t, r.url())
	hang := make(chan struct{})
	defer close(hang)
	r.set(func() { r.hang = hang })
	result := make(chan error)
	go func() { result <- flush(f, numbered(t, 1, 3)) }()
	require.Eventually(t, func() bool { return len(r.seen()) == 1 }, 10*time.Second, time.Millisecond)
	require.NoError(t, f.Stop())
	select {
	case err := <-result:
		require.Equal(t, "retry", verdictOf(err))
	case <-time.After(10 * time.Second):
		t.Fatal("Flush did not return")
	}
}

// A receiver that refuses by the header alone and hangs up is heard, though the body cannot be sent.
func TestEarlyRefusals(t *testing.T) {
	for status, verdict := range map[string]string{"413 Too Large": "dead letter", "401 Unauthorized": "blocked", "503 Busy": "retry"} {
		t.Run(status, func(t *testing.T) {
			listener, err := net.Listen("tcp", "127.0.0.1:0")
			require.NoError(t, err)
			defer listener.Close()
			go func() {
				for {
					c, err := listener.Accept()
					if err != nil {
						return
					}
					_, _ = http.ReadRequest(bufio.NewReaderSize(c, 16))
					_, _ = io.WriteString(c, "HTTP/1.1 "+status+"\r\nConnection: close\r\nContent-Length: 3\r\n\r\nno\n")
					_ = c.Close() // with unread data: the peer's writes are reset
				}
			}()
			f, _ := started(t, "http://"+listener.Addr().String())
			long := group(t, `{"event_id":"1","message":"`+strings.Repeat("x", 4<<20)+`"}`)
			for range 20 {
				require.Equal(t, verdict, verdictOf(flush(f, long)))
			}
		})
	}
}

// net/http may go on reading a body after it has returned; the memory holds the next one by then.
func TestBodyIsOutOfReachAfterwards(t *testing.T) {
	data := []byte("first request")
	p := &payload{data: data}
	first, err := p.reader()
	require.NoError(t, err)
	again, err := p.reader()
	require.NoError(t, err)
	part := make([]byte, 5)
	_, err = io.ReadFull(first, part)
	require.NoError(t, err)
	require.Equal(t, "first", string(part))
	whole, err := io.ReadAll(again)
	require.NoError(t, err)
	require.Equal(t, "first request", string(whole))
	p.end()
	copy(data, "other")
	n, err := first.Read(part)
	require.Zero(t, n)
	require.ErrorIs(t, err, errOver)
	_, err = again.Read(part)
	require.ErrorIs(t, err, errOver)
}

func TestRedirects(t *testing.T) {
	target, other := newReceiver(t), newReceiver(t)
	var location atomic.Value
	var status atomic.Int64
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/here" {
			target.ServeHTTP(w, r)
			return
		}
		w.Header().Set("Location", location.Load().(string))
		w.WriteHeader(int(status.Load()))
	}))
	defer front.Close()
	options := func(f *Flusher) {
		f.Headers = secrets("X-Api-Key", "s3cret")
		f.Query = secrets("key", "s3cret")
		f.Authentication.BearerToken = pipeline.NewSecret("s3cret")
	}
	off := mustStart(t, front.URL+"/start", options)
	on := mustStart(t, front.URL+"/start", options, func(f *Flusher) { f.FollowRedirects = true })
	to := func(code int, url string) { status.Store(int64(code)); location.Store(url) }

	for _, code := range []int{301, 302, 303, 307, 308} {
		to(code, other.url())
		err := flush(off, numbered(t, 1, 2))
		require.Equal(t, "blocked", verdictOf(err))
		require.ErrorContains(t, err, "to http://"+other.address+"/v1/events;")
	}
	for _, code := range []int{301, 302, 303} {
		to(code, other.url())
		require.Equal(t, "blocked", verdictOf(flush(on, numbered(t, 1, 2))), "the method would change")
	}
	require.Empty(t, other.seen())

	for i, code := range []int{307, 308} {
		to(code, "/here")
		require.NoError(t, flush(on, numbered(t, 1+2*i, 2)))
		got := target.seen()[i]
		require.Equal(t, http.MethodPost, got.method)
		require.Equal(t, "Bearer s3cret", got.header.Get("Authorization"), "our own host")
		require.Equal(t, "s3cret", got.header.Get("X-Api-Key"))
		require.Empty(t, got.header.Get("Referer"))
	}
	require.Equal(t, numbers(1, 4), target.ids())

	to(307, other.url())
	require.NoError(t, flush(on, numbered(t, 5, 2)))
	require.Equal(t, numbers(5, 6), other.ids())
	require.Equal(t, "application/x-ndjson", other.seen()[0].header.Get("Content-Type"))
	require.NotContains(t, fmt.Sprint(other.seen()[0]), "s3cret", "another host, though the address is the same")

	to(307, "/start")
	require.Equal(t, "blocked", verdictOf(flush(on, numbered(t, 7, 2))), "for ever in a circle")
	to(307, "")
	require.Equal(t, "blocked", verdictOf(flush(off, numbered(t, 7, 2))), "it says not where")
}

func TestRedirectFromHTTPSToHTTPIsNotFollowed(t *testing.T) {
	r := newReceiver(t)
	a := newAuthority(t)
	server := a.serve(nil)
	server.Config.Handler = http.RedirectHandler(r.url(), http.StatusTemporaryRedirect)
	f, _ := started(t, server.URL, trusting(a.File("ca.pem")), func(f *Flusher) { f.FollowRedirects = true })
	require.Equal(t, "blocked", verdictOf(flush(f, numbered(t, 1, 1))))
	require.Empty(t, r.seen())
}

func TestPrivateNetworksAreForbidden(t *testing.T) {
	r := newReceiver(t)
	port := r.address[strings.LastIndex(r.address, ":"):]
	for _, host := range []string{"127.0.0.1", "localhost", "[::ffff:127.0.0.1]", "0.0.0.0"} {
		f, _ := started(t, "http://"+host+port, func(f *Flusher) { f.ForbidPrivateNetworks = true })
		for _, err := range []error{flush(f, numbered(t, 1, 1)), f.Connect(t.Context())} {
			require.Equal(t, "blocked", verdictOf(err), "%s: %v", host, err)
			require.ErrorContains(t, err, "is not a public address")
		}
	}
	require.Empty(t, r.seen())

	for address, public := range map[string]bool{
		"8.8.8.8": true, "1.1.1.1": true, "172.15.0.1": true, "172.32.0.1": true, "100.63.0.1": true, "192.169.0.1": true,
		"2606:4700::1111": true, "2a00:1450::1": true, "64:ff9b::8.8.8.8": true, "::ffff:8.8.8.8": true,
		"0.0.0.0": false, "10.1.2.3": false, "100.64.0.1": false, "127.8.8.8": false, "169.254.169.254": false, "172.16.0.1": false,
		"172.31.255.255": false, "192.0.0.8": false, "192.168.1.1": false, "198.18.0.1": false, "224.0.0.1": false, "240.0.0.1": false, "255.255.255.255": false,
		"::": false, "::1": false, "fe80::1%eth0": false, "fc00::1": false, "fd12::1": false, "ff02::1": false, "2001:db8::1": false,
		"2002:7f00:1::": false, "2001::1": false, "64:ff9b::10.0.0.1": false, "64:ff9b:1::a00:1": false, "::ffff:10.0.0.1": false, "::10.0.0.1": false,
	} {
		require.Equal(t, public, isPublic(netip.MustParseAddr(address)), address)
	}
}

func TestProxyRefuses(t *testing.T) {
	for status, verdict := range map[int]string{407: "blocked", 403: "blocked", 503: "retry"} {
		proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(status) }))
		defer proxy.Close()
		at, err := url.Parse(proxy.URL)
		require.NoError(t, err)
		for _, remote := range []string{"https://collector.invalid", "http://collector.invalid"} {
			f, _ := started(t, remote)
			f.client.Transport.(*http.Transport).Proxy = http.ProxyURL(at)
			err = flush(f, numbered(t, 1, 1))
			require.Equal(t, verdict, verdictOf(err), "%v", err)
			require.ErrorContains(t, err, fmt.Sprint(status))
		}
	}
}

func TestConnect(t *testing.T) {
	r := newReceiver(t)
	for _, test := range []struct {
		status  int
		format  string
		headers map[string]pipeline.Secret
		verdict string
	}{
		{status: 200, verdict: "delivered"},
		{status: 400, verdict: "delivered"}, // it does not like empty batches
		{status: 401, verdict: "blocked"}, {status: 403, verdict: "blocked"}, {status: 404, verdict: "blocked"}, {status: 302, verdict: "blocked"},
		{status: 503, verdict: "retry"}, {status: 429, verdict: "retry"},
		{status: 401, headers: secrets("X-Tenant", "%{cluster}"), verdict: "delivered"}, // perhaps for want of the tenant
		{status: 405, format: FormatTemplate, verdict: "delivered"}, {status: 501, format: FormatTemplate, verdict: "delivered"}, {status: 403, format: FormatTemplate, verdict: "delivered"},
		{status: 401, format: FormatTemplate, verdict: "blocked"}, {status: 503, format: FormatTemplate, verdict: "retry"},
	} {
		f := New()
		f.RemoteURL, f.Headers = pipeline.NewSecret(r.url()), test.headers
		f.Authentication.BearerToken = pipeline.NewSecret("t0ken")
		if test.format != "" {
			f.Format, f.Template = test.format, "{{json .event_id}}"
		}
		r.answer(reply{status: test.status})
		err := f.Connect(t.Context())
		require.Equal(t, test.verdict, verdictOf(err), "%+v: %v", test, err)
		seen := r.seen()
		require.Equal(t, "Bearer t0ken", seen[len(seen)-1].header.Get("Authorization"))
	}
	require.Empty(t, r.all(), "no event came of it")

	for _, format := range splitting {
		for _, compression := range []string{CompressionNone, CompressionGzip, CompressionZstd} {
			f := New()
			f.RemoteURL, f.Format, f.Compression = pipeline.NewSecret(r.url()), format, compression
			r.answer(reply{status: 200})
			require.NoError(t, f.Connect(t.Context()), "%s %s", format, compression)
		}
	}
	r.down()
	f := New()
	f.RemoteURL = pipeline.NewSecret(r.url())
	require.Equal(t, "retry", verdictOf(f.Connect(t.Context())))
}

func TestValidate(t *testing.T) {
	for _, test := range []struct {
		option, reason string
		spoil          func(f *Flusher)
	}{
		{"RemoteURL", "is missing", func(f *Flusher) { f.RemoteURL = pipeline.NewSecret("") }},
		{"RemoteURL", "is no URL", func(f *Flusher) { f.RemoteURL = pipeline.NewSecret("http://%{cluster}/") }},
		{"RemoteURL", "must begin with http", func(f *Flusher) { f.RemoteURL = pipeline.NewSecret("collector:8080/x") }},
		{"RemoteURL", "names no host", func(f *Flusher) { f.RemoteURL = pipeline.NewSecret("http:///x") }},
		{"RemoteURL", "holds a user", func(f *Flusher) { f.RemoteURL = pipeline.NewSecret("http://a:b@host/") }},
		{"Format", `"xml" is none of`, func(f *Flusher) { f.Format = "xml" }},
		{"Timeout", "more than 0s", func(f *Flusher) { f.Timeout = 0 }},
		{"Headers.X:Y", "no name of a header", func(f *Flusher) { f.Headers = secrets("X:Y", "z") }},
		{"Headers.X-Y", "line feed", func(f *Flusher) { f.Headers = secrets("X-Y", "a\nb") }},
		{"Headers.X-Y", "without its }", func(f *Flusher) { f.Headers = secrets("X-Y", "%{a") }},
		{"Headers.content-encoding", "set Compression", func(f *Flusher) { f.Headers = secrets("content-encoding", "br") }},
		{"Query.day", "no part of a date", func(f *Flusher) { f.Query = secrets("day", "%{+q}") }},
		{"Template", "is missing", func(f *Flusher) { f.Format = FormatTemplate }},
		{"Template", "has no effect", func(f *Flusher) { f.Template = "x" }},
		{"Template", `1: function "jsn" not defined`, func(f *Flusher) { f.Format, f.Template = FormatTemplate, "{{jsn .message}}" }},
		{"Authentication", "choose one", func(f *Flusher) {
			f.Authentication.BearerToken, f.Authentication.PlainText.Username = pipeline.NewSecret("a"), "b"
		}},
		{"Headers.AUTHORIZATION", "remove one", func(f *Flusher) {
			f.Headers, f.Authentication.BearerToken = secrets("AUTHORIZATION", "x"), pipeline.NewSecret("y")
		}},
		{"Authentication.PlainText.Username", "colon", func(f *Flusher) { f.Authentication.PlainText.Username = "a:b" }},
		{"Authentication.BearerToken", "line feed", func(f *Flusher) { f.Authentication.BearerToken = pipeline.NewSecret("a\n") }},
		{"Authentication.TLS.Enabled", "has no effect with http", func(f *Flusher) { f.Authentication.TLS.Enabled = true }},
		{"Authentication.TLS.KeyFile", "is missing", func(f *Flusher) { f.Authentication.TLS.CertFile = "x" }},
	} {
		f := New()
		f.RemoteURL = pipeline.NewSecret("http://collector.example.com/v1/events")
		require.NoError(t, f.Validate())
		test.spoil(f)
		err := f.Validate()
		var option *pipeline.OptionError
		require.ErrorAs(t, err, &option, test.option)
		require.ErrorContains(t, err, test.option+": ")
		require.ErrorContains(t, err, test.reason)
		require.Error(t, f.Init(nil))
	}
}
