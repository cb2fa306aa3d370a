package admin

import (
	"net"
	"net/http"
	"net/netip"
	"strings"

	"github.com/flinktail/flinktail/pipeline/listen"
)

// protect keeps web pages away, which a browser would let talk to us in the name of whoever looks at them: requests from other
// origins that change something, and, on loopback, all that ask for a name which is not loopback's, because a name can be made
// to point here (DNS rebinding).
func protect(g *listen.Gate, pages http.Handler) http.Handler {
	pages = http.NewCrossOriginProtection().Handler(pages)
	at, ok := g.Addr().(*net.TCPAddr)
	if !ok || !at.IP.IsLoopback() {
		return pages
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !isLocal(r.Host) {
			writeText(w, http.StatusMisdirectedRequest, "this address is for its own machine: ask for localhost or 127.0.0.1")
			return
		}
		pages.ServeHTTP(w, r)
	})
}

// isLocal reports whether a Host header is loopback's name or an address: nobody can make those point elsewhere.
func isLocal(host string) bool {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	host = strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
	_, err := netip.ParseAddr(host)
	return err == nil || strings.EqualFold(host, "localhost")
}
