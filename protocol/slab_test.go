package protocol

import (
	"testing"
	"unsafe"

	"github.com/stretchr/testify/require"
)

// What went back to the pools is zero, whatever it held.
func TestSlabReleasesZeroes(t *testing.T) {
	var pools slabPools[string]
	s := slab[string]{pools: &pools}
	var run []string
	for i := range 5000 {
		*s.one() = "one"
		if i%100 == 0 {
			copy(s.take(i/2), []string{"take"})
		}
		if i%1000 == 0 {
			run = nil
			for range i {
				run = s.push(run, "push")
			}
		}
	}
	chunks := append([]*chunk[string](nil), s.chunks...)
	require.Greater(t, len(chunks), chunkClasses)
	s.release()
	pooled := 0
	for _, c := range chunks {
		if len(c.buf) > largestChunk {
			continue // left to the garbage collector
		}
		pooled++
		require.Zero(t, c.used)
		for _, v := range c.buf {
			require.Empty(t, v)
		}
	}
	require.Greater(t, pooled, chunkClasses)
	require.Equal(t, slab[string]{pools: &pools, chunks: s.chunks}, s)
	require.Empty(t, s.chunks)
	for _, c := range s.chunks[:cap(s.chunks)] {
		require.Nil(t, c, "a released slab keeps a chunk alive")
	}
}

func TestSlabElementsAreApart(t *testing.T) {
	s := slab[int]{pools: new(slabPools[int])}
	seen := map[*int]bool{}
	add := func(elements []int) {
		for i := range elements {
			require.False(t, seen[&elements[i]])
			require.Zero(t, elements[i])
			elements[i] = 1
			seen[&elements[i]] = true
		}
	}
	for n := range 3000 {
		add(unsafe.Slice(s.one(), 1))
		if n%10 == 0 {
			taken := s.take(n)
			require.Len(t, taken, n)
			require.Equal(t, n, cap(taken))
			add(taken)
		}
	}
}

func TestSizeClass(t *testing.T) {
	for n := 1; n <= largestChunk; n++ {
		class := sizeClass(n)
		require.GreaterOrEqual(t, smallestChunk<<class, n)
		require.True(t, class == 0 || smallestChunk<<(class-1) < n, "%d elements fit a smaller chunk", n)
	}
	require.Equal(t, chunkClasses-1, sizeClass(largestChunk))
}

// A slab holds about twice what was asked of it at most, a few elements or many, and a run that grows does not
// make it grow with the square of its length.
func TestSlabFootprint(t *testing.T) {
	for _, n := range []int{1, 2, 3, 9, 33, 100, 2047, 2048, 2049, 5000, 100000} {
		ones := slab[int]{pools: new(slabPools[int])}
		var pushed slab[int]
		pushed.pools = new(slabPools[int])
		var run []int
		for i := range n {
			*ones.one() = i
			run = pushed.push(run, i)
		}
		require.LessOrEqual(t, ones.held, max(smallestChunk, 2*n))
		// A run leaves a copy behind in each chunk that it grew out of.
		require.LessOrEqual(t, pushed.held, 4*n+smallestChunk)
		require.Len(t, run, n)
		for i, v := range run {
			require.Equal(t, i, v)
		}
	}
}

// Runs of many logs share chunks: a run must not reach into the one before.
func TestSlabRuns(t *testing.T) {
	s := slab[int]{pools: new(slabPools[int])}
	var runs [][]int
	for i := range 500 {
		var run []int
		for range i % 40 {
			run = s.push(run, i)
		}
		require.Equal(t, len(run), cap(run))
		runs = append(runs, run)
	}
	for i, run := range runs {
		require.Len(t, run, i%40)
		for _, v := range run {
			require.Equal(t, i, v)
		}
	}
}

// The chunks of one event are small: many senders post one event at a time.
func TestBuilderFootprintOfOneEvent(t *testing.T) {
	b := NewBuilder()
	defer b.Release()
	b.BeginGroup("", "")
	b.BeginLog(0, 0)
	const fields = 17
	for range fields {
		b.Add("key", "value")
	}
	b.EndLog()
	used := int(unsafe.Sizeof(groupSlot{})+unsafe.Sizeof(logSlot{})) + fields*int(unsafe.Sizeof(contentSlot{})+unsafe.Sizeof("")) +
		(fields+1)*pointerSize
	held := b.groups.held*int(unsafe.Sizeof(groupSlot{})) + b.logs.held*int(unsafe.Sizeof(logSlot{})) +
		b.contents.held*int(unsafe.Sizeof(contentSlot{})) + b.keys.held*int(unsafe.Sizeof("")) + (b.ptrs.held+b.logPtrs.held)*pointerSize
	require.LessOrEqual(t, held, 2*used+2*fields*pointerSize, "besides twice the use, the copies that a run of pointers leaves behind")
}
