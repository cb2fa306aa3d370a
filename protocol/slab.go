package protocol

import (
	"math/bits"
	"sync"
)

// A slab hands out elements of T, all zero, from chunks that it draws from pools and gives back all at once. A new chunk
// is as large as all before it, up to largestChunk, so a slab holds at most about twice what was asked of it, and a
// one-event request does not pin the memory of a large one. Elements never move: chunks are not grown.
type slab[T any] struct {
	pools  *slabPools[T]
	last   *chunk[T] // of chunks
	chunks []*chunk[T]
	held   int // elements of all chunks
}

type chunk[T any] struct {
	buf  []T
	used int
}

const (
	smallestChunk = 2
	chunkClasses  = 11 // 2 to 2048 elements
	largestChunk  = smallestChunk << (chunkClasses - 1)
)

// slabPools holds free chunks of T by size; the garbage collector caps it.
type slabPools[T any] [chunkClasses]sync.Pool

func (p *slabPools[T]) get(class int) *chunk[T] {
	if c, ok := p[class].Get().(*chunk[T]); ok {
		return c
	}
	return &chunk[T]{buf: make([]T, smallestChunk<<class)}
}

// one returns one element.
func (s *slab[T]) one() *T {
	c := s.last
	if c == nil || c.used == len(c.buf) {
		c = s.grow(1)
	}
	c.used++
	return &c.buf[c.used-1]
}

// take returns n adjacent elements.
func (s *slab[T]) take(n int) []T {
	c := s.last
	if c == nil || len(c.buf)-c.used < n {
		c = s.grow(n)
	}
	c.used += n
	return c.buf[c.used-n : c.used : c.used]
}

// push appends v to run, which must be nil or what push returned last. Where its chunk is full the run
// moves to a new one, so only elements to which nobody points may be pushed.
func (s *slab[T]) push(run []T, v T) []T {
	c := s.last
	if c == nil || c.used == len(c.buf) {
		n := len(run) + 1
		if n > largestChunk {
			n *= 2 // or every further push would move the run
		}
		c = s.grow(n)
		c.used = copy(c.buf, run)
	}
	c.buf[c.used] = v
	c.used++
	return c.buf[c.used-len(run)-1 : c.used : c.used]
}

// grow adds a chunk with room for at least n elements.
func (s *slab[T]) grow(n int) *chunk[T] {
	n = max(n, smallestChunk, min(s.held, largestChunk))
	var c *chunk[T]
	if n > largestChunk {
		c = &chunk[T]{buf: make([]T, n)}
	} else {
		c = s.pools.get(sizeClass(n))
	}
	s.chunks = append(s.chunks, c)
	s.last = c
	s.held += len(c.buf)
	return c
}

// sizeClass returns the class of the smallest chunks that have room for n elements.
func sizeClass(n int) int { return bits.Len(uint(n-1) / smallestChunk) }

// release gives every chunk back, zero as it came; one that is too large to be kept goes to the garbage collector.
func (s *slab[T]) release() {
	for _, c := range s.chunks {
		if len(c.buf) <= largestChunk {
			clear(c.buf[:c.used])
			c.used = 0
			s.pools[sizeClass(len(c.buf))].Put(c)
		}
	}
	clear(s.chunks)
	s.chunks, s.last, s.held = s.chunks[:0], nil, 0
}
