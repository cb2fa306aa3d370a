package disk

import (
	"math/bits"
	"sync"
	"sync/atomic"
)

// The buffers have powers of two as sizes: what waits for a single event must not pin a large one.
const (
	smallestBuffer = 10 // bits
	largestBuffer  = 20
)

var bufferPools [largestBuffer + 1]sync.Pool

// A buffer goes back to its pool when all who hold it have released it.
type buffer struct {
	data    []byte
	holders atomic.Int32
}

// newBuffer returns a buffer with room for n bytes at least. It has one holder.
func newBuffer(n int) *buffer {
	class := max(bits.Len(uint(max(n, 1)-1)), smallestBuffer)
	var b *buffer
	if class <= largestBuffer {
		b, _ = bufferPools[class].Get().(*buffer)
		n = 1 << class
	}
	if b == nil {
		b = &buffer{data: make([]byte, n)}
	}
	b.holders.Store(1)
	return b
}

func (b *buffer) hold() { b.holders.Add(1) }

func (b *buffer) release() {
	if b == nil || b.holders.Add(-1) > 0 {
		return
	}
	b.data = b.data[:cap(b.data)]
	if class := bits.Len(uint(len(b.data) - 1)); len(b.data) == 1<<class && class >= smallestBuffer && class <= largestBuffer {
		bufferPools[class].Put(b)
	}
}
