package httpinput

import (
	"math/bits"
	"sync"
	"sync/atomic"
)

// budget is the memory that all posts share.
type budget struct {
	limit int64
	used  atomic.Int64
}

// draw takes n bytes if they are there.
func (b *budget) draw(n int64) bool {
	if b.used.Add(n) > b.limit {
		b.used.Add(-n)
		return false
	}
	return true
}

func (b *budget) giveBack(n int64) { b.used.Add(-n) }

// Buffers come in powers of two, so that they can be pooled; the garbage collector caps the pools.
const (
	smallestBuffer = 4 << 10
	bufferClasses  = 10 // up to 2 MiB
)

var bufferPools [bufferClasses]sync.Pool

// bufferClass returns the class whose buffers hold n bytes; larger ones are not pooled.
func bufferClass(n int) int { return bits.Len(uint(max(n-1, 0)) / smallestBuffer) }

// bufferSize returns the capacity of the buffer that holds n bytes.
func bufferSize(n int) int {
	if class := bufferClass(n); class < bufferClasses {
		return smallestBuffer << class
	}
	return n
}

// getBuffer returns an empty buffer of that capacity, one that bufferSize returned.
func getBuffer(size int) *[]byte {
	if class := bufferClass(size); class < bufferClasses {
		if b, ok := bufferPools[class].Get().(*[]byte); ok {
			return b
		}
	}
	b := make([]byte, 0, size)
	return &b
}

func putBuffer(b *[]byte) {
	*b = (*b)[:0]
	if class := bufferClass(cap(*b)); class < bufferClasses {
		bufferPools[class].Put(b)
	}
}
