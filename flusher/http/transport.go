package httpflusher

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"syscall"
	"time"

	"github.com/flinktail/flinktail/flusher/internal/client"
)

// newClient makes the client. It reads the files of Authentication.TLS and connects to nobody.
func (f *Flusher) newClient() (*http.Client, error) {
	config, err := f.Authentication.TLS.Config()
	if err != nil {
		return nil, client.Under("Authentication.TLS", err)
	}
	// One large request at a time gains nothing from HTTP/2, and could not tell why a server that refuses our certificate hangs up.
	http1 := new(http.Protocols)
	http1.SetHTTP1(true)
	dialer := &net.Dialer{Timeout: 10 * time.Second, KeepAlive: 15 * time.Second}
	t := &http.Transport{
		Proxy:                  http.ProxyFromEnvironment,
		OnProxyConnectResponse: checkProxy,
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			c, err := dialer.DialContext(ctx, network, address)
			if err != nil {
				return nil, err
			}
			return newConn(c), nil
		},
		DialTLSContext:         dialTLS(dialer, config),
		TLSClientConfig:        config, // through a proxy
		TLSHandshakeTimeout:    handshakeTimeout,
		Protocols:              http1,
		MaxIdleConnsPerHost:    256, // one for each of Workers
		IdleConnTimeout:        90 * time.Second,
		ExpectContinueTimeout:  time.Second,
		WriteBufferSize:        64 << 10,
		MaxResponseHeaderBytes: 64 << 10,
		DisableCompression:     true, // answers are short
	}
	if f.ForbidPrivateNetworks {
		t.Proxy = nil // it would connect in our place
		dialer.Control = publicOnly
	}
	return &http.Client{Transport: t, CheckRedirect: f.checkRedirect}, nil
}

// authorization returns the Authorization header of PlainText or BearerToken.
func (a *Authentication) authorization() string {
	switch {
	case a.PlainText != PlainText{}:
		return client.Basic(a.PlainText.Username, a.PlainText.Password)
	case !a.BearerToken.IsZero():
		return "Bearer " + a.BearerToken.Reveal()
	}
	return ""
}

// maxRedirects is how many redirects in a row are followed.
const maxRedirects = 5

// checkRedirect follows what keeps the method and the body. Another host gets none of our headers, certificates and parameters, and nothing
// goes from https to http.
func (f *Flusher) checkRedirect(next *http.Request, via []*http.Request) error {
	status, first := next.Response.StatusCode, via[0]
	elsewhere := next.URL.Scheme != first.URL.Scheme || next.URL.Host != first.URL.Host
	switch {
	case !f.FollowRedirects, len(via) > maxRedirects,
		status != http.StatusTemporaryRedirect && status != http.StatusPermanentRedirect,
		next.URL.Scheme != "https" && via[len(via)-1].URL.Scheme == "https",
		elsewhere && f.Authentication.TLS.CertFile != "":
		return http.ErrUseLastResponse
	}
	next.Header.Del("Referer") // with the parameters
	if elsewhere {
		for name := range next.Header {
			if !slices.Contains([]string{"Content-Type", "Content-Encoding", "User-Agent", "Expect"}, name) {
				next.Header.Del(name)
			}
		}
	}
	return nil
}

// proxyError is what a proxy said instead of connecting us.
type proxyError struct {
	answer
	host string
}

func (e *proxyError) Error() string {
	return fmt.Sprintf("proxy %s does not connect us: %d %s", e.host, e.status, http.StatusText(e.status))
}

func checkProxy(_ context.Context, proxy *url.URL, _ *http.Request, response *http.Response) error {
	if response.StatusCode == http.StatusOK {
		return nil
	}
	return &proxyError{answer{status: response.StatusCode}, proxy.Host}
}

// addressError is an address that ForbidPrivateNetworks forbids.
type addressError struct{ address netip.Addr }

func (e *addressError) Error() string {
	return fmt.Sprintf("%s is not a public address, and ForbidPrivateNetworks is set", e.address)
}

// publicOnly lets a connection be made to public addresses. It sees the address that is connected to, after names are
// resolved, so no name server can talk it round.
func publicOnly(_, address string, _ syscall.RawConn) error {
	to, err := netip.ParseAddrPort(address)
	if err != nil {
		return errors.New("connect: the address cannot be read")
	}
	if !isPublic(to.Addr()) {
		return &addressError{to.Addr()}
	}
	return nil
}

// notPublic are the special-purpose addresses that are not globally reachable (IANA's registries, RFC 6890), or that lead to such by
// translation or a tunnel.
var notPublic = prefixes(
	"0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24", "192.0.2.0/24",
	"192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/3",
	"2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20",
)

var (
	globalUnicast = netip.MustParsePrefix("2000::/3")
	translated    = netip.MustParsePrefix("64:ff9b::/96") // its last four bytes are an IPv4 address (RFC 6052)
)

func prefixes(texts ...string) (list []netip.Prefix) {
	for _, text := range texts {
		list = append(list, netip.MustParsePrefix(text))
	}
	return list
}

func isPublic(a netip.Addr) bool {
	a = a.Unmap().WithZone("")
	if translated.Contains(a) {
		b := a.As16()
		a = netip.AddrFrom4([4]byte(b[12:]))
	}
	if a.Is6() && !globalUnicast.Contains(a) {
		return false
	}
	return !slices.ContainsFunc(notPublic, func(p netip.Prefix) bool { return p.Contains(a) })
}
