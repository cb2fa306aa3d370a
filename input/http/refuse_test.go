package httpinput

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/flinktail/flinktail/pipeline"
	"github.com/flinktail/flinktail/pipeline/listen"
	"github.com/flinktail/flinktail/pipeline/listen/listentest"
	"github.com/flinktail/flinktail/pipeline/plugintest"
	"github.com/flinktail/flinktail/protocol"
)

func TestRefusedRequests(t *testing.T) {
	r := run(t, nil)
	a := r.send(http.MethodPost, "http://"+r.in.gate.Addr().String()+"/v1/event", "application/json", strings.NewReader("{}"))
	r.refused(a, http.StatusNotFound, "unknown_path")

	for _, method := range []string{http.MethodGet, http.MethodPut, http.MethodDelete} {
		a = r.send(method, url(r.in), "application/json", nil)
		r.refused(a, http.StatusMethodNotAllowed, "method")
		require.Equal(t, http.MethodPost, a.Header.Get("Allow"))
	}
	for _, contentType := range []string{"", "text/plain", "application/x-www-form-urlencoded", "application/jsonx", ";"} {
		r.refused(r.post(contentType, eventA), http.StatusUnsupportedMediaType, "content_type")
	}
	r.refused(r.ndjson(eventA, "Content-Encoding", "br"), http.StatusUnsupportedMediaType, "content_encoding")
}

func TestRefusedBodies(t *testing.T) {
	r := run(t, func(in *Input) {
		in.MaxBodyBytes, in.MaxDecompressedBytes, in.InflightBytes = 100_000, 1_000_000, 4_000_000
	})
	group := logGroup(t, decoded(t, eventA, eventB))
	packed := gzipped(t, []byte(eventA))
	bomb := make([]byte, 5_000_000)
	deep := `{"x":` + strings.Repeat("[", 1000) + strings.Repeat("]", 1000) + `}`
	tests := []struct {
		name, contentType, encoding, body string
		status                            int
		reason                            string
	}{
		{"broken array", "application/json", "", "[" + eventA + "," + eventB, 400, "malformed_json"},
		{"broken element", "application/json", "", "[" + eventA + ",{]", 400, "malformed_json"},
		{"deep array", "application/json", "", "[" + eventA + "," + deep + "]", 400, "malformed_json"},
		{"broken object", "application/json", "", eventA[:40], 400, "malformed_json"},
		{"deep object", "application/json", "", deep, 400, "malformed_json"},
		{"two objects", "application/json", "", eventA + eventB, 400, "malformed_json"},
		{"nothing", "application/json", "", "", 400, "malformed_json"},
		{"truncated protobuf", "application/x-protobuf", "", group[:len(group)-3], 400, "malformed_protobuf"},
		{"log without time", "application/x-protobuf", "", "\x0a\x00", 400, "malformed_protobuf"},
		{"JSON as protobuf", "application/x-protobuf", "", eventA, 400, "malformed_protobuf"},
		{"not gzip", "application/x-ndjson", "gzip", eventA, 400, "broken_compression"},
		{"not gzip, again", "application/x-ndjson", "gzip", "", 400, "broken_compression"},
		{"truncated gzip", "application/x-ndjson", "gzip", packed[:len(packed)-5], 400, "broken_compression"},
		{"text after gzip", "application/x-ndjson", "gzip", packed + "x", 400, "broken_compression"},
		{"not zstd", "application/x-ndjson", "zstd", eventA, 400, "broken_compression"},
		{"truncated zstd", "application/x-ndjson", "zstd", zstded(t, []byte(eventA))[:60], 400, "broken_compression"},
		{"gzip bomb", "application/x-ndjson", "gzip", gzipped(t, bomb), 413, "decompressed_too_large"},
		{"zstd bomb", "application/x-ndjson", "zstd", zstded(t, bomb), 413, "decompressed_too_large"},
		{"large body", "application/x-ndjson", "", strings.Repeat(eventA+"\n", 1000), 413, "body_too_large"},
		{"tiny fields", "application/x-ndjson", "gzip", gzipped(t, []byte(strings.Repeat(`{"":0}`+"\n", 100_000))), 413, "inflight_too_large"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			r := *r
			r.T = t
			a := r.post(test.contentType, test.body, "Content-Encoding", test.encoding)
			r.refused(a, test.status, test.reason)
			require.Zero(t, r.in.budget.used.Load())
		})
	}
	// A body without a length is refused as soon as it is too large.
	a := r.send(http.MethodPost, url(r.in), "application/x-ndjson", io.MultiReader(strings.NewReader(strings.Repeat(eventA+"\n", 1000))))
	r.refused(a, http.StatusRequestEntityTooLarge, "body_too_large")

	require.Equal(t, http.StatusOK, r.ndjson(eventA, "Content-Encoding", "").StatusCode, "it goes on after all that")
	require.Equal(t, http.StatusOK, r.ndjson(packed, "Content-Encoding", "gzip").StatusCode)
}

func TestInflightBytesAreShared(t *testing.T) {
	r := run(t, func(in *Input) { in.InflightBytes = 64_000 })
	r.queue.set(func(q *queue) { q.hold = true })
	answered := make(chan reply, 1)
	go func() { answered <- r.ndjson(strings.Repeat(eventA+"\n", 30)) }()
	r.eventually(func() bool { return r.queue.held() == 1 })
	held := r.in.budget.used.Load()
	require.NotZero(t, held)
	require.EqualValues(t, held, r.context.Gauges()["inflight_bytes"])
	require.True(t, r.in.Waiting())

	r.queue.taken()
	a := r.ndjson(strings.Repeat(eventA+"\n", 30))
	r.refused(a, http.StatusTooManyRequests, "inflight_full")
	require.Equal(t, "1", a.Header.Get("Retry-After"))
	require.Equal(t, held, r.in.budget.used.Load())

	r.queue.settle(nil)
	require.Equal(t, http.StatusOK, (<-answered).StatusCode)
	r.eventually(func() bool { return r.in.budget.used.Load() == 0 })
	require.False(t, r.in.Waiting())
}

// raw opens a connection and writes text as it is.
func (r *running) raw(text string) (net.Conn, *bufio.Reader) {
	conn, err := net.Dial("tcp", r.in.gate.Addr().String())
	require.NoError(r, err)
	r.Cleanup(func() { _ = conn.Close() })
	require.NoError(r, conn.SetDeadline(time.Now().Add(time.Minute)))
	_, err = io.WriteString(conn, text)
	require.NoError(r, err)
	return conn, bufio.NewReader(conn)
}

func answerOf(t *testing.T, from *bufio.Reader) reply {
	t.Helper()
	response, err := http.ReadResponse(from, nil)
	require.NoError(t, err)
	text, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	require.NoError(t, response.Body.Close())
	return reply{response, string(text)}
}

func TestSlowClients(t *testing.T) {
	r := run(t, func(in *Input) { in.HeaderTimeout, in.BodyTimeout = 50*time.Millisecond, 50*time.Millisecond })
	_, from := r.raw("POST " + path + " HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-ndjson\r\nContent-Length: 1000\r\n\r\n" + eventA)
	a := answerOf(t, from)
	r.refused(a, http.StatusRequestTimeout, "slow_body")
	require.True(t, a.Close)
	_, err := from.ReadByte()
	require.ErrorIs(t, err, io.EOF, "the connection is closed")

	_, from = r.raw("POST " + path + " HTTP/1.1\r\nHost: x\r\nX-Slow: ")
	_, err = io.Copy(io.Discard, from)
	require.NoError(t, err, "the connection is closed")
	require.Empty(t, r.queue.taken())
}

func TestClientGoesAway(t *testing.T) {
	r := run(t, nil)
	conn, _ := r.raw("POST " + path + " HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-ndjson\r\nContent-Length: 1000\r\n\r\n" + eventA)
	require.NoError(t, conn.Close())
	r.eventually(func() bool {
		return r.context.Counters()[`requests_total{code="400",reason="incomplete_body"}`] == 1
	})
	require.Empty(t, r.queue.taken())
}

func TestStopping(t *testing.T) {
	r := run(t, nil)
	r.queue.set(func(q *queue) { q.hold = true })
	request := func(length int) string {
		return fmt.Sprintf("POST %s HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-ndjson\r\nContent-Length: %d\r\n\r\n", path, length)
	}
	_, open := r.raw(request(len(eventA)) + eventA)
	r.eventually(func() bool { return r.queue.held() == 1 })
	idle, fromIdle := r.raw(request(0))
	require.Equal(t, http.StatusOK, answerOf(t, fromIdle).StatusCode)
	drawn := r.in.budget.used.Load()
	half, fromHalf := r.raw(request(len(eventB)) + eventB[:10])
	r.eventually(func() bool { return r.in.budget.used.Load() > drawn }) // it is being read
	r.queue.taken()

	r.end()
	_, err := net.Dial("tcp", r.in.gate.Addr().String())
	require.Error(t, err, "the port is closed")
	_, err = io.WriteString(idle, request(len(eventB))+eventB)
	require.NoError(t, err)
	_, err = io.WriteString(half, eventB[10:])
	require.NoError(t, err)
	for _, from := range []*bufio.Reader{fromIdle, fromHalf} {
		a := answerOf(t, from)
		r.refused(a, http.StatusServiceUnavailable, "stopping")
		require.True(t, a.Close)
		require.NotEmpty(t, a.Header.Get("Retry-After"))
	}
	r.queue.settle(nil)
	require.Equal(t, http.StatusOK, answerOf(t, open).StatusCode, "what was taken is answered")
}

// slowPut is a pipeline that takes its time with a Put, whatever its context says.
type slowPut struct {
	begun, finish chan struct{}
	returned      atomic.Bool
}

func (s *slowPut) Put(_ context.Context, _ []*protocol.LogGroup, done func(error)) error {
	close(s.begun)
	<-s.finish
	s.returned.Store(true)
	done(nil)
	return nil
}

func TestRunWaitsForPuts(t *testing.T) {
	in := New()
	in.Address = "127.0.0.1:0"
	require.NoError(t, in.Init(plugintest.NewContext(t, "input_http")))
	slow := &slowPut{begun: make(chan struct{}), finish: make(chan struct{})}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan bool)
	go func() {
		_ = in.Run(ctx, slow)
		ended <- slow.returned.Load()
	}()
	acknowledged := feed(t, in, []string{"a"})
	<-slow.begun
	cancel()
	time.AfterFunc(50*time.Millisecond, func() { close(slow.finish) })
	require.True(t, <-ended, "Run returned during a Put")
	require.NoError(t, in.Stop())
	require.Eventually(t, acknowledged, 10*time.Second, time.Millisecond)
}

func TestStopDoesNotWaitForAClient(t *testing.T) {
	r := run(t, nil)
	r.raw("POST " + path + " HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-ndjson\r\nContent-Length: 1000\r\n\r\n" + eventA)
	r.end()
	begun := time.Now()
	require.NoError(t, r.in.Stop())
	require.Less(t, time.Since(begun), stopGrace+5*time.Second)
}

func TestAuthentication(t *testing.T) {
	file := filepath.Join(t.TempDir(), "tokens")
	require.NoError(t, os.WriteFile(file, []byte("old-token\nnew-token\n"), 0o600))
	r := run(t, func(in *Input) { in.TokenFile = file })
	body := &untouched{}
	a := r.send(http.MethodPost, url(r.in), "application/x-ndjson", body, "Expect", "100-continue", "Authorization", "Bearer other")
	r.refused(a, http.StatusUnauthorized, "credentials")
	require.Equal(t, `Bearer realm="flinktail"`, a.Header.Get("WWW-Authenticate"))
	require.False(t, body.read, "what a stranger sends is not read")
	a = r.send(http.MethodGet, "http://"+r.in.gate.Addr().String()+"/v1/event", "", nil)
	r.refused(a, http.StatusUnauthorized, "credentials")
	require.Equal(t, http.StatusOK, r.ndjson(eventA, "Authorization", "Bearer new-token").StatusCode)
}

func TestRequestsPerSecond(t *testing.T) {
	r := run(t, func(in *Input) { in.RequestsPerSecond = 1 })
	require.Equal(t, http.StatusOK, r.ndjson(eventA).StatusCode)
	require.Equal(t, http.StatusOK, r.ndjson(eventA).StatusCode)
	r.queue.taken()
	a := r.ndjson(eventA)
	r.refused(a, http.StatusTooManyRequests, "rate")
	require.Equal(t, "1", a.Header.Get("Retry-After"))
}

func TestMutualTLS(t *testing.T) {
	ca := listentest.NewAuthority(t)
	ca.Issue("server")
	r := run(t, func(in *Input) {
		in.TLS = listen.TLS{CertFile: ca.File("server.pem"), KeyFile: ca.File("server.key"), ClientCAFile: ca.File("ca.pem"), AllowedSubjects: []string{"CN=flink"}}
	})
	post := func(name string) reply {
		transport := &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{RootCAs: ca.Pool(), Certificates: []tls.Certificate{ca.Issue(name)}}}
		r := *r
		r.client = &http.Client{Transport: transport}
		return r.send(http.MethodPost, r.in.gate.URL()+path, "application/x-ndjson", strings.NewReader(eventA))
	}
	require.Equal(t, http.StatusOK, post("flink").StatusCode)
	require.Len(t, r.queue.taken(), 1)
	r.refused(post("spark"), http.StatusForbidden, "subject")
}

// A web page can send what its browser's user can reach, but it cannot hide where it is from.
func TestWebPagesCannotPost(t *testing.T) {
	r := run(t, nil)
	r.refused(r.ndjson(eventA, "Origin", "https://example.com"), http.StatusForbidden, "browser")
	r.refused(r.ndjson(eventA, "Origin", "null"), http.StatusForbidden, "browser")
}

// The answer to many bad lines is larger than what a connection buffers, so a client that does not read it holds its post.
func TestAClientThatDoesNotReadItsAnswers(t *testing.T) {
	r := run(t, func(in *Input) {
		in.HeaderTimeout, in.BodyTimeout, in.FullWait, in.AckTimeout = 50*time.Millisecond, 50*time.Millisecond, 50*time.Millisecond, 500*time.Millisecond
	})
	post := []byte("POST " + path + " HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-ndjson\r\nContent-Length: 2000\r\n\r\n" + strings.Repeat("x\n", 1000))
	conn, _ := r.raw("")
	var err error
	for err == nil { // until the connection is full, and then until it is closed
		_, err = conn.Write(post)
	}
	require.NotErrorIs(t, err, os.ErrDeadlineExceeded, "the connection is still open")
	r.eventually(func() bool { return r.context.Gauges()["connections"] == 0 })
	r.eventually(func() bool { return r.in.budget.used.Load() == 0 })
	require.Equal(t, http.StatusOK, r.ndjson(eventA).StatusCode)
}

// A client that sends a byte now and then is no better than one that sends none.
func TestATrickle(t *testing.T) {
	r := run(t, func(in *Input) { in.HeaderTimeout, in.BodyTimeout = 100*time.Millisecond, 100*time.Millisecond })
	for name, begin := range map[string]string{
		"header": "POST " + path + " HTTP/1.1\r\nHost: x\r\nX-Slow: ",
		"body":   "POST " + path + " HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-ndjson\r\nContent-Length: 1000000\r\n\r\n",
	} {
		conn, _ := r.raw(begin)
		var err error
		for err == nil {
			_, err = conn.Write([]byte("x"))
			time.Sleep(time.Millisecond)
		}
		require.NotErrorIs(t, err, os.ErrDeadlineExceeded, name)
	}
	r.eventually(func() bool {
		return r.context.Counters()[`connections_refused_total{reason="header"}`] == 1 &&
			r.context.Counters()[`requests_total{code="408",reason="slow_body"}`] == 1
	})
	require.Empty(t, r.queue.taken())
}

func TestBombs(t *testing.T) {
	r := run(t, nil)
	line := `{"kind":"x","message":"` + strings.Repeat("x", 1000) + "\"}\n"
	events := func(size int) []byte { return []byte(strings.Repeat(line, size/len(line))) }
	for encoding, pack := range map[string]func(testing.TB, []byte) string{"gzip": gzipped, "zstd": zstded} {
		small, large := pack(t, events(1<<20)), pack(t, events(2<<20))
		require.Greater(t, 1<<20, 100*len(small), "both expand more than a hundredfold")
		r.refused(r.ndjson(large, "Content-Encoding", encoding), http.StatusRequestEntityTooLarge, "expansion")
		a := r.ndjson(small, "Content-Encoding", encoding)
		require.Equal(t, http.StatusOK, a.StatusCode, a.text)
		require.Len(t, r.queue.taken(), 1<<20/len(line))

		a = r.ndjson(pack(t, make([]byte, 4<<20)), "Content-Encoding", encoding)
		r.refused(a, http.StatusRequestEntityTooLarge, "expansion")
	}
	// Many members in one body are one body.
	many := strings.Repeat(gzipped(t, events(1<<20)), 20)
	require.Less(t, len(many), 1<<20)
	r.refused(r.ndjson(many, "Content-Encoding", "gzip"), http.StatusRequestEntityTooLarge, "expansion")
}

func TestOptions(t *testing.T) {
	tests := map[string]struct {
		set    func(in *Input)
		option string // "" is valid
		says   string
	}{
		"defaults":         {func(*Input) {}, "", ""},
		"no port":          {func(in *Input) { in.Address = "localhost" }, "Address", "host and a port"},
		"all interfaces":   {func(in *Input) { in.Address = ":8686" }, "Address", "AllowInsecure"},
		"tokens in clear":  {func(in *Input) { in.Address, in.TokenFile = ":8686", "tokens" }, "Address", "needs TLS"},
		"for everybody":    {func(in *Input) { in.Address, in.AllowInsecure = ":8686", true }, "", ""},
		"localhost":        {func(in *Input) { in.Address = "localhost:0" }, "", ""},
		"IPv6 loopback":    {func(in *Input) { in.Address = "[::1]:8686" }, "", ""},
		"half of TLS":      {func(in *Input) { in.TLS.CertFile = "cert.pem" }, "TLS.KeyFile", "is missing"},
		"no memory":        {func(in *Input) { in.InflightBytes = 0 }, "InflightBytes", "between"},
		"endless waiting":  {func(in *Input) { in.AckTimeout = 0 }, "AckTimeout", "more than 0s"},
		"bottomless depth": {func(in *Input) { in.MaxDepth = 1_000_000 }, "MaxDepth", "between"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			in := New()
			test.set(in)
			err := in.Validate()
			if test.option == "" {
				require.NoError(t, err)
				return
			}
			var option *pipeline.OptionError
			require.ErrorAs(t, err, &option)
			require.Equal(t, test.option, option.Option)
			require.ErrorContains(t, err, test.says)
		})
	}
}

func TestPortInUse(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer func() { require.NoError(t, taken.Close()) }()
	in := New()
	in.Address = taken.Addr().String()
	err = in.Init(plugintest.NewContext(t, "input_http"))
	var option *pipeline.OptionError
	require.True(t, errors.As(err, &option))
	require.Equal(t, "Address", option.Option)
	require.ErrorContains(t, err, in.Address)
	require.ErrorContains(t, err, "choose another")
	require.False(t, bytes.ContainsRune([]byte(err.Error()), '\n'))
}
