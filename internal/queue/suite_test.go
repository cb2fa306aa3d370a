package queue_test

import (
	"testing"

	"github.com/flinktail/flinktail/internal/queue"
	"github.com/flinktail/flinktail/internal/queue/queuetest"
)

func TestMemoryIsAQueue(t *testing.T) {
	queuetest.Run(t, func(t *testing.T, bytes int, _ ...string) queue.Queue {
		q := queue.NewMemory(queue.Size{Bytes: bytes, Events: 1 << 20})
		t.Cleanup(func() { _ = q.Stop() })
		return q
	})
}
