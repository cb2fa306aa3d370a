package listen

import (
	"net/netip"
	"sync"

	"golang.org/x/time/rate"
)

// rates limits requests for each client address. Its memory is bounded: of more addresses than it has room for, those
// unseen the longest begin anew.
type rates struct {
	perSecond int

	mu       sync.Mutex
	young    map[netip.Addr]*rate.Limiter
	old      map[netip.Addr]*rate.Limiter // what young was before it filled up
	capacity int                          // of each
}

const rateAddresses = 8192

func newRates(perSecond int) *rates {
	return &rates{perSecond: perSecond, young: map[netip.Addr]*rate.Limiter{}, capacity: rateAddresses}
}

// allow reports whether a request from the address, with its port, may come now.
func (r *rates) allow(remote string) bool {
	if r.perSecond == 0 {
		return true
	}
	return r.limiter(clientOf(remote)).Allow()
}

func (r *rates) limiter(client netip.Addr) *rate.Limiter {
	r.mu.Lock()
	defer r.mu.Unlock()
	limiter, found := r.young[client]
	if found {
		return limiter
	}
	if limiter, found = r.old[client]; !found {
		limiter = rate.NewLimiter(rate.Limit(r.perSecond), 2*r.perSecond)
	}
	if len(r.young) == r.capacity {
		r.old, r.young = r.young, map[netip.Addr]*rate.Limiter{}
	}
	r.young[client] = limiter
	return limiter
}

// clientOf returns what counts as one client: an IPv4 address, or the /64 network that one IPv6 host usually has to itself.
// What is no address is one client together.
func clientOf(remote string) netip.Addr {
	at, err := netip.ParseAddrPort(remote)
	if err != nil {
		return netip.Addr{}
	}
	client := at.Addr().Unmap().WithZone("")
	if client.Is6() {
		network, _ := client.Prefix(64) // an error is one of the number
		return network.Addr()
	}
	return client
}
