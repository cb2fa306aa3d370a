package elasticsearch

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	"github.com/elastic/elastic-transport-go/v8/elastictransport"
	"github.com/elastic/go-elasticsearch/v8"

	"github.com/flinktail/flinktail/flusher/internal/client"
)

// connection is a client with its connections to the nodes. It is safe for concurrent use.
type connection struct {
	client    *elasticsearch.BaseClient
	transport *http.Transport
}

// connect reads the files of TLS and makes a client. It sends nothing.
func (f *Flusher) connect() (*connection, error) {
	tls, err := f.Authentication.TLS.Config()
	if err != nil {
		return nil, client.Under("Authentication.TLS", err)
	}
	transport := &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		DialContext:           (&net.Dialer{Timeout: 10 * time.Second, KeepAlive: 30 * time.Second}).DialContext,
		TLSClientConfig:       tls,
		TLSHandshakeTimeout:   10 * time.Second,
		MaxIdleConnsPerHost:   f.HTTPConfig.MaxIdleConnsPerHost,
		IdleConnTimeout:       90 * time.Second,
		ResponseHeaderTimeout: f.HTTPConfig.ResponseHeaderTimeout,
		ExpectContinueTimeout: time.Second,
		DisableCompression:    true, // answers are short: filter_path
	}
	c, err := f.newClient(transport)
	if err != nil {
		return nil, err
	}
	return &connection{c, transport}, nil
}

// newClient makes a client that makes no more attempts at a request than there are nodes: what they fail at is for the
// engine to try again, after a pause.
func (f *Flusher) newClient(transport http.RoundTripper) (*elasticsearch.BaseClient, error) {
	return elasticsearch.NewBaseClient(elasticsearch.Config{
		Addresses:    f.Addresses,
		CloudID:      f.Authentication.CloudID,
		Username:     f.Authentication.PlainText.Username,
		Password:     f.Authentication.PlainText.Password,
		APIKey:       f.Authentication.APIKey,
		Transport:    transport,
		MaxRetries:   len(f.Addresses) - 1,
		DisableRetry: len(f.Addresses) <= 1,
		RetryOnError: func(r *http.Request, err error) bool {
			return r.Context().Err() == nil && !errors.As(err, new(*productError))
		},
		Interceptors: []elastictransport.InterceptorFunc{checkProduct},
	})
}

func (c *connection) close() {
	// It waits for goroutines of its own alone, which it ends itself.
	_ = c.client.Close(context.Background())
	c.transport.CloseIdleConnections()
}

const productHeader = "X-Elastic-Product"

// checkProduct finds a server that takes our requests and is not Elasticsearch. The client looks only at its first answer.
func checkProduct(next elastictransport.RoundTripFunc) elastictransport.RoundTripFunc {
	return func(r *http.Request) (*http.Response, error) {
		answer, err := next(r)
		if err == nil && answer.StatusCode/100 == 2 && !isElasticsearch(answer.Header) {
			_ = answer.Body.Close()
			is := "it does not say what it is"
			if server := answer.Header.Get("Server"); server != "" {
				is = "it says it is " + server
			}
			return nil, &productError{r.URL.Scheme + "://" + r.URL.Host, is}
		}
		return answer, err
	}
}

func isElasticsearch(h http.Header) bool { return h.Get(productHeader) == "Elasticsearch" }

// productError says that a server is not Elasticsearch, or one from before 7.14, which does not say so.
type productError struct{ address, is string }

func (e *productError) Error() string {
	return fmt.Sprintf("the server at %s is no Elasticsearch of version 8 or later: %s", e.address, e.is)
}

// identify asks the server what it is, without our credentials, which are none of its business.
func (c *connection) identify(ctx context.Context, e *productError) *productError {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, e.address+"/", nil)
	if err != nil {
		return e
	}
	answer, err := c.transport.RoundTrip(r)
	if err != nil {
		return e
	}
	defer answer.Body.Close()
	var root struct {
		Version struct{ Number, Distribution string }
	}
	if json.NewDecoder(io.LimitReader(answer.Body, maxErrorBody)).Decode(&root) != nil || root.Version.Number == "" {
		return e
	}
	if root.Version.Distribution == "" {
		root.Version.Distribution = "version"
	}
	return &productError{e.address, fmt.Sprintf("it says it is %s %s", root.Version.Distribution, root.Version.Number)}
}

// request is what is sent.
type request struct {
	method, path, contentType, encoding string

	size int64
	body func() io.ReadCloser // nil: none
	ask  bool                 // before the body is sent, whether it is welcome
}

// answer is what comes back.
type answer struct {
	status int
	header http.Header
	body   []byte // in the buffer that was given for it
}

func get(path string) request { return request{method: http.MethodGet, path: path} }

func withJSON(method, path string, body []byte) request {
	return request{
		method: method, path: path, contentType: "application/json",
		size: int64(len(body)), body: func() io.ReadCloser { return io.NopCloser(bytes.NewReader(body)) },
	}
}

// maxErrorBody bounds what is read of an answer that is not a success.
const maxErrorBody = 64 << 10

// send sends a request and reads the answer's body into into, at most limit bytes of a successful one. The error is what
// the transport says, or a *productError that says what the server is; any status is a success here.
func (c *connection) send(ctx context.Context, q request, into *bytes.Buffer, limit int64) (*answer, error) {
	r, err := http.NewRequestWithContext(ctx, q.method, q.path, nil)
	if err != nil {
		return nil, err
	}
	if q.body != nil {
		r.Body, r.ContentLength = q.body(), q.size
		r.GetBody = func() (io.ReadCloser, error) { return q.body(), nil }
		r.Header.Set("Content-Type", q.contentType)
	}
	if q.encoding != "" {
		r.Header.Set("Content-Encoding", q.encoding)
	}
	if q.ask {
		r.Header.Set("Expect", "100-continue")
	}
	r.Header.Set("Accept", "application/json")
	response, err := c.client.Perform(r)
	if err != nil {
		if wrong := (*productError)(nil); errors.As(err, &wrong) {
			return nil, c.identify(ctx, wrong)
		}
		if errors.Is(ctx.Err(), context.DeadlineExceeded) {
			err = fmt.Errorf("no answer in time: %w", err)
		}
		return nil, fmt.Errorf("%s: %w", r.URL.Host, err) // the node that the client has chosen
	}
	defer response.Body.Close()
	success := response.StatusCode/100 == 2
	if !success {
		limit = maxErrorBody
	}
	into.Reset()
	n, err := into.ReadFrom(io.LimitReader(response.Body, limit+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("read the answer: %w", err)
	case n > limit && success:
		return nil, fmt.Errorf("read the answer: it is larger than %d bytes", limit)
	}
	return &answer{response.StatusCode, response.Header, into.Bytes()}, nil
}
