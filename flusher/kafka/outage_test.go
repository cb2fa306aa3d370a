package kafka

import (
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/flinktail/flinktail/pipeline/plugintest"
)

// No broker at all: the flusher starts, says so, and is ready to try again after a moment.
func TestNobodyListens(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	address := l.Addr().String()
	require.NoError(t, l.Close())
	f := newFlusher(func(f *Flusher) { f.Brokers = []string{address} })
	require.NoError(t, f.Init(plugintest.NewContext(t, "flusher_kafka")))
	defer func() { require.NoError(t, f.Stop()) }()
	require.True(t, f.IsReady("", "", 0))
	err = f.Flush("", "", "", benchmarkBatch(t, 10))
	require.ErrorContains(t, err, "no broker answers: broker "+address)
	require.False(t, isBlocked(err))
	require.False(t, f.IsReady("", "", 0))
	require.Eventually(t, func() bool { return f.IsReady("", "", 0) }, 10*time.Second, 10*time.Millisecond)

	err = f.Connect(t.Context())
	require.ErrorContains(t, err, address)
	require.False(t, isBlocked(err), "an outage must not end the start")
}

// Somebody listens and never says a word.
func TestSilence(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	choose := func(f *Flusher) { f.Brokers = []string{l.Addr().String()} }

	f := newFlusher(choose, func(f *Flusher) { f.Timeout, f.BrokerTimeout = 100*time.Millisecond, 50*time.Millisecond })
	require.NoError(t, f.Init(plugintest.NewContext(t, "flusher_kafka")))
	began := time.Now()
	require.ErrorContains(t, f.Flush("", "", "", benchmarkBatch(t, 1)), "no answer within 100ms")
	require.Less(t, time.Since(began), 5*time.Second)
	require.NoError(t, f.Stop())

	// With the default of 30 s, Stop ends it.
	f = newFlusher(choose)
	require.NoError(t, f.Init(plugintest.NewContext(t, "flusher_kafka")))
	result := make(chan error, 1)
	go func() { result <- f.Flush("", "", "", benchmarkBatch(t, 1)) }()
	conn, err := l.Accept()
	require.NoError(t, err)
	defer conn.Close()
	began = time.Now()
	require.NoError(t, f.Stop())
	require.Error(t, <-result)
	require.Less(t, time.Since(began), time.Second)
}
