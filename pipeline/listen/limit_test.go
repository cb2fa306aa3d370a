package listen

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

func TestMaxConnections(t *testing.T) {
	s := serve(t, func(o *Options) { o.MaxConnections = 2 })
	var held []net.Conn
	for range 2 {
		c, err := net.Dial("tcp", s.Addr().String())
		require.NoError(t, err)
		held = append(held, c)
	}
	s.eventually(func() bool { return s.context.Gauges()["connections"] == 2 })
	c, err := net.Dial("tcp", s.Addr().String())
	require.NoError(t, err)
	require.NoError(t, c.SetReadDeadline(time.Now().Add(10*time.Second)))
	_, err = c.Read(make([]byte, 1))
	require.Error(t, err)
	require.NotErrorIs(t, err, net.ErrClosed)
	require.False(t, isTimeout(err), "the third is closed at once")
	require.NoError(t, c.Close())
	require.EqualValues(t, 1, s.refusedConnections("too_many"))

	require.NoError(t, held[0].Close())
	s.eventually(func() bool { return s.context.Gauges()["connections"] == 1 })
	require.Equal(t, http.StatusOK, s.status(""), "there is room again")
	require.NoError(t, held[1].Close())
}

func isTimeout(err error) bool {
	timeout, ok := err.(net.Error) //nolint:errorlint // it is not wrapped
	return ok && timeout.Timeout()
}

func TestRequestsPerSecond(t *testing.T) {
	s := serve(t, func(o *Options) { o.RequestsPerSecond = 1 })
	for range 2 {
		require.Equal(t, http.StatusOK, s.status(""))
	}
	got, err := s.get(nil, nil, nil)
	require.NoError(t, err)
	require.Equal(t, http.StatusTooManyRequests, got.status)
	require.Equal(t, "1", got.header.Get("Retry-After"))
	require.EqualValues(t, 1, s.context.Counters()[`requests_refused_total{code="429",reason="rate"}`])
}

func TestEveryClientHasItsOwnRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRates(5)
		count := func(remote string) (n int) {
			for r.allow(remote) {
				n++
			}
			return n
		}
		require.Equal(t, 10, count("192.0.2.1:1"))
		require.Zero(t, count("192.0.2.1:2"), "another port is no other client")
		require.Zero(t, count("[::ffff:192.0.2.1]:2"), "nor is another way to write the address")
		require.Equal(t, 10, count("192.0.2.2:1"))
		require.Equal(t, 10, count("[2001:db8::1]:1"))
		require.Zero(t, count("[2001:db8::2]:1"), "one host has a whole /64")
		require.Equal(t, 10, count("[2001:db8:0:1::1]:1"))
		require.Equal(t, 10, count("@"), "what has no address is one client")
		require.Zero(t, count(""))
		time.Sleep(time.Second)
		require.Equal(t, 5, count("192.0.2.1:1"))
		time.Sleep(time.Hour)
		require.Equal(t, 10, count("192.0.2.1:1"))
	})
}

func TestRatesAreBounded(t *testing.T) {
	r := newRates(1)
	r.capacity = 10
	steady := "192.0.2.1:1"
	for i := range 1000 {
		require.True(t, r.allow(fmt.Sprintf("10.0.%d.%d:1", i/256, i%256)))
		r.allow(steady)
		require.LessOrEqual(t, len(r.young)+len(r.old), 20)
	}
	require.False(t, r.allow(steady), "who comes often is remembered")
	require.Equal(t, netip.MustParseAddr("192.0.2.1"), clientOf(steady))
}

func TestHeadersThatDoNotReachTheHandler(t *testing.T) {
	s := serve(t, nil)
	require.Contains(t, s.raw("GET / HTTP/1.1\r\nHost: x\r\nX: "+strings.Repeat("x", 64<<10)+"\r\n\r\n"), "431")
	require.Contains(t, s.raw("GET / HTTP/1.1\r\nHost: x\r\nbroken\r\n\r\n"), "400")
	require.Contains(t, s.raw("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nTransfer-Encoding: chunked, x\r\n\r\n"), "501")
	require.Empty(t, s.raw("GET / HTTP/1.1\r\nHost: slow"))
	s.eventually(func() bool { return s.refusedConnections("header") == 4 })

	// Good requests, and connections without any, are not counted.
	require.Contains(t, s.raw("GET / HTTP/1.1\r\nHost: x\r\n\r\nGET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"), "200")
	c, err := net.Dial("tcp", s.Addr().String())
	require.NoError(t, err)
	_, err = io.WriteString(c, "")
	require.NoError(t, err)
	require.NoError(t, c.Close())
	s.eventually(func() bool { return s.context.Gauges()["connections"] == 0 })
	require.EqualValues(t, 4, s.refusedConnections("header"))
}
