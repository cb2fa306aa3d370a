package elasticsearch

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/elastic/elastic-transport-go/v8/elastictransport"
	"github.com/elastic/go-elasticsearch/v8/esapi"

	"github.com/flinktail/flinktail/flusher/internal/client"
	"github.com/flinktail/flinktail/pipeline"
)

// connection goes round the nodes. It is safe for concurrent use.
type connection struct {
	nodes     *elastictransport.Client
	transport *http.Transport
	secrets   []pipeline.Secret // of our requests, which a server may repeat
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
	nodes, err := f.nodes(transport)
	if err != nil {
		return nil, err
	}
	return &connection{nodes, transport, f.Authentication.secrets()}, nil
}

// nodes makes the part of the client that finds a node for each request, and no more: the whole client, which has a package for every
// group of requests, takes a minute to compile. It makes no more attempts at a request than there are nodes: what they fail at is
// for the engine to try again, after a pause.
func (f *Flusher) nodes(transport http.RoundTripper) (*elastictransport.Client, error) {
	addresses := f.Addresses
	if id := f.Authentication.CloudID; id != "" {
		address, err := cloudAddress(id)
		if err != nil {
			return nil, err
		}
		addresses = []string{address}
	}
	var urls []*url.URL
	for _, address := range addresses {
		u, err := url.Parse(strings.TrimRight(address, "/"))
		if err != nil {
			return nil, errNoURL
		}
		urls = append(urls, u)
	}
	options := []elastictransport.Option{
		elastictransport.WithURLs(urls...),
		elastictransport.WithUserAgent("flinktail"),
		elastictransport.WithTransport(transport),
		elastictransport.WithInterceptors(checkProduct),
	}
	if len(urls) == 1 {
		options = append(options, elastictransport.WithDisableRetry())
	} else {
		options = append(options, elastictransport.WithMaxRetries(len(urls)-1), elastictransport.WithRetryOnError(func(r *http.Request, err error) bool {
			return r.Context().Err() == nil && !errors.As(err, new(*productError))
		}))
	}
	switch auth := &f.Authentication; {
	case !auth.APIKey.IsZero():
		options = append(options, elastictransport.WithAPIKey(auth.APIKey.Reveal()))
	case auth.PlainText.Username != "":
		options = append(options, elastictransport.WithBasicAuth(auth.PlainText.Username, auth.PlainText.Password.Reveal()))
	}
	return elastictransport.NewClient(options...)
}

// secrets returns what of our requests nobody may read.
func (a *Authentication) secrets() []pipeline.Secret {
	return append(client.InHeader(client.Basic(a.PlainText.Username, a.PlainText.Password)), a.PlainText.Password, a.APIKey)
}

var (
	errNoURL     = errors.New("is no URL, such as http://127.0.0.1:9200")
	errNoCloudID = errors.New("is no id of a deployment, as Elastic Cloud shows it: name:base64")
)

// cloudAddress returns the address that a Cloud ID stands for: after the name and a colon, in base64, it is host$id of
// Elasticsearch$id of Kibana.
func cloudAddress(id string) (string, error) {
	_, encoded, _ := strings.Cut(id, ":")
	text, err := base64.StdEncoding.DecodeString(encoded)
	host, ids, found := strings.Cut(string(text), "$")
	deployment, _, _ := strings.Cut(ids, "$")
	if err != nil || !found || host == "" || deployment == "" {
		return "", errNoCloudID
	}
	return "https://" + deployment + "." + host, nil
}

func (c *connection) close() {
	// It waits for goroutines of its own alone, which it ends itself.
	_ = c.nodes.Close(context.Background())
	c.transport.CloseIdleConnections()
}

const productHeader = "X-Elastic-Product"

// checkProduct finds a server that takes our requests and is not Elasticsearch.
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
	esapi.Request

	// of a bulk request
	size int64
	body func() io.ReadCloser // instead of the request's own: to go to the next node it is asked for again, not copied
	ask  bool                 // before the body is sent, whether it is welcome
}

// answer is what comes back.
type answer struct {
	status int
	header http.Header
	body   []byte // in the buffer that was given for it

	secrets []pipeline.Secret // of the request
}

// attempt is the esapi.Transport of one request.
type attempt struct {
	connection *connection
	request    *request
	node       string // that was asked last
}

// Perform is called by esapi.
func (a *attempt) Perform(r *http.Request) (*http.Response, error) {
	q := a.request
	if q.body != nil {
		r.Body, r.ContentLength = q.body(), q.size
		r.GetBody = func() (io.ReadCloser, error) { return q.body(), nil }
	}
	if q.ask {
		r.Header.Set("Expect", "100-continue")
	}
	r.Header.Set("Accept", "application/json")
	response, err := a.connection.nodes.Perform(r)
	a.node = r.URL.Host
	return response, err
}

// maxErrorBody bounds what is read of an answer that is not a success.
const maxErrorBody = 64 << 10

// send sends a request and reads the answer's body into into, at most limit bytes of a successful one. The error is what
// the transport says, or a *productError that says what the server is; any status is a success here.
func (c *connection) send(ctx context.Context, q request, into *bytes.Buffer, limit int64) (*answer, error) {
	a := &attempt{connection: c, request: &q}
	response, err := q.Do(ctx, a)
	if err != nil {
		if wrong := (*productError)(nil); errors.As(err, &wrong) {
			return nil, c.identify(ctx, wrong)
		}
		if errors.Is(ctx.Err(), context.DeadlineExceeded) {
			err = fmt.Errorf("no answer in time: %w", err)
		}
		return nil, fmt.Errorf("%s: %w", a.node, err)
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
	return &answer{response.StatusCode, response.Header, into.Bytes(), c.secrets}, nil
}
