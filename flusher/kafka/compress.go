package kafka

import (
	"bytes"
	"fmt"
	"io"
	"runtime"
	"slices"
	"sync"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/s2"
	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
)

// compressor appends src to dst, compressed. It is safe for concurrent use.
type compressor func(dst, src []byte) ([]byte, error)

// Codecs as the attributes of a batch number them.
var codecs = map[string]int16{"none": 0, "gzip": 1, "snappy": 2, "lz4": 3, "zstd": 4}

// zstdWindow is how far back zstd looks. Events repeat themselves after much less; its encoders keep twice this.
const zstdWindow = 512 << 10

func newCompressor(codec string, level int) (compressor, error) {
	switch codec {
	case "none":
		return func(dst, src []byte) ([]byte, error) { return append(dst, src...), nil }, nil
	case "gzip":
		if level == 0 {
			level = gzip.DefaultCompression
		}
		if _, err := gzip.NewWriterLevel(io.Discard, level); err != nil {
			return nil, err
		}
		return streamed(func() stream { w, _ := gzip.NewWriterLevel(nil, level); return w }), nil
	case "snappy":
		return func(dst, src []byte) ([]byte, error) {
			dst = slices.Grow(dst, s2.MaxEncodedLen(len(src)))
			return dst[:len(dst)+len(s2.EncodeSnappy(dst[len(dst):cap(dst)], src))], nil
		}, nil
	case "lz4":
		return streamed(func() stream { return lz4.NewWriter(nil) }), nil
	case "zstd":
		encoder, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.EncoderLevelFromZstd(max(level, 1))), zstd.WithWindowSize(zstdWindow),
			zstd.WithEncoderConcurrency(runtime.GOMAXPROCS(0)), zstd.WithLowerEncoderMem(true), zstd.WithEncoderCRC(false), zstd.WithZeroFrames(true))
		if err != nil {
			return nil, err
		}
		return func(dst, src []byte) ([]byte, error) { return encoder.EncodeAll(src, dst), nil }, nil
	}
	return nil, fmt.Errorf("%q is no compression", codec)
}

// stream is a compressing writer that is used again.
type stream interface {
	io.WriteCloser
	Reset(w io.Writer)
}

func streamed(newStream func() stream) compressor {
	pool := sync.Pool{New: func() any { return newStream() }}
	return func(dst, src []byte) ([]byte, error) {
		w := pool.Get().(stream)
		defer pool.Put(w)
		out := bytes.NewBuffer(dst)
		w.Reset(out)
		if _, err := w.Write(src); err != nil {
			return dst, err
		}
		if err := w.Close(); err != nil {
			return dst, err
		}
		return out.Bytes(), nil
	}
}
