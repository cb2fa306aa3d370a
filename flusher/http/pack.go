package httpflusher

import (
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// packer compresses bodies, one at a time.
type packer struct {
	gzip *gzip.Writer
	zstd *zstd.Encoder
	out  buffer
}

type buffer []byte

func (b *buffer) Write(p []byte) (int, error) {
	*b = append(*b, p...)
	return len(p), nil
}

func newPacker(compression string) (p packer) {
	switch compression {
	case CompressionGzip:
		p.gzip, _ = gzip.NewWriterLevel(nil, gzip.BestSpeed) // a level that exists
	case CompressionZstd:
		// A body is at most a few MiB, and nothing in it is alike over more than a part of that.
		p.zstd, _ = zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1),
			zstd.WithWindowSize(1<<20), zstd.WithLowerEncoderMem(true))
	}
	return p
}

// pack returns the body as it is sent, valid until the next call.
func (p *packer) pack(body []byte) []byte {
	p.out = p.out[:0]
	switch {
	case p.gzip != nil:
		p.gzip.Reset(&p.out)
		_, _ = p.gzip.Write(body) // to memory
		_ = p.gzip.Close()
	case p.zstd != nil:
		p.out = p.zstd.EncodeAll(body, p.out)
	default:
		return body
	}
	return p.out
}

func (p *packer) reset() {
	if cap(p.out) > maxKept {
		p.out = nil
	}
}
