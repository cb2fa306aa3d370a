package httpinput

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"sync"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// readBody reads the request's body into p.body, decompressed, and draws the memory before it uses it.
func (p *post) readBody(r *http.Request) *refusal {
	if r.ContentLength > int64(p.in.MaxBodyBytes) {
		return &refuseBodySize
	}
	refused := p.fill(r.Body, int(max(r.ContentLength, 0)), int(p.in.MaxBodyBytes), &refuseBodySize)
	if refused != nil {
		return refused
	}
	switch encoding := r.Header.Get("Content-Encoding"); encoding {
	case "gzip":
		return p.decompress(gunzip{})
	case "zstd":
		return p.decompress(unzstd{})
	}
	return nil
}

// fill reads all of src, of which at least hint bytes are expected and limit are allowed.
func (p *post) fill(src io.Reader, hint, limit int, tooLarge *refusal) *refusal {
	if refused := p.grow(max(hint, 1)); refused != nil {
		return refused
	}
	for {
		body := *p.body
		if len(body) == cap(body) {
			if refused := p.grow(min(2*len(body), limit+1)); refused != nil {
				return refused
			}
			body = *p.body
		}
		n, err := src.Read(body[len(body):cap(body)])
		*p.body = body[:len(body)+n]
		switch {
		case len(*p.body) > limit:
			return tooLarge
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return readRefusal(err)
		}
	}
}

// grow makes room for size bytes in all.
func (p *post) grow(size int) *refusal {
	size = bufferSize(size)
	if refused := p.draw(size); refused != nil {
		return refused
	}
	larger := getBuffer(size)
	if p.body != nil {
		*larger = append(*larger, *p.body...)
		p.giveBack(cap(*p.body))
		putBuffer(p.body)
	}
	p.body = larger
	return nil
}

func readRefusal(err error) *refusal {
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return &refuseSlow
	case errors.Is(err, errCompressed):
		return refuseBody("broken_compression", err)
	}
	return refuseBody("incomplete_body", err)
}

// freeExpansion is what any compressed body may expand to, so that small batches of events that are much alike pass.
const freeExpansion = 1 << 20

// decompress replaces the body by what it expands to.
func (p *post) decompress(c compression) *refusal {
	p.in.unzipping <- struct{}{}
	defer func() { <-p.in.unzipping }()

	packed := p.body
	p.body = nil
	defer func() {
		p.giveBack(cap(*packed))
		putBuffer(packed)
	}()
	src, err := c.open(*packed)
	if err != nil {
		return refuseBody("broken_compression", fmt.Errorf("%w: %w", errCompressed, err))
	}
	defer c.close(src)
	limit, tooLarge := int(p.in.MaxDecompressedBytes), &refuseDecompressedSize
	if most := max(freeExpansion, p.in.MaxExpansion*len(*packed)); most < limit {
		limit, tooLarge = most, &refuseExpansion
	}
	return p.fill(compressed{src}, min(4*len(*packed), limit), limit, tooLarge)
}

// compression opens compressed bodies with pooled decoders.
type compression interface {
	open(packed []byte) (io.Reader, error)
	close(io.Reader)
}

var errCompressed = errors.New("decompress body")

// compressed marks the errors of a decoder.
type compressed struct{ io.Reader }

func (c compressed) Read(b []byte) (int, error) {
	n, err := c.Reader.Read(b)
	if err != nil && !errors.Is(err, io.EOF) {
		err = fmt.Errorf("%w: %w", errCompressed, err)
	}
	return n, err
}

type gunzip struct{}

var gunzippers sync.Pool

func (gunzip) open(packed []byte) (io.Reader, error) {
	if z, ok := gunzippers.Get().(*gzip.Reader); ok {
		return z, z.Reset(bytes.NewReader(packed))
	}
	return gzip.NewReader(bytes.NewReader(packed))
}

func (gunzip) close(r io.Reader) { gunzippers.Put(r) }

type unzstd struct{}

var unzstds sync.Pool

// maxWindow is the window that RFC 8878 asks decoders to support.
const maxWindow = 8 << 20

func (unzstd) open(packed []byte) (io.Reader, error) {
	if z, ok := unzstds.Get().(*zstd.Decoder); ok {
		return z, z.Reset(bytes.NewReader(packed))
	}
	return zstd.NewReader(bytes.NewReader(packed),
		zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(maxWindow))
}

func (unzstd) close(r io.Reader) { unzstds.Put(r) }
