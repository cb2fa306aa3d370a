package fileinput

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"time"

	"github.com/flinktail/flinktail/input/internal/intake"
	"github.com/flinktail/flinktail/pipeline"
	"github.com/flinktail/flinktail/protocol"
)

// A file is read in chunks of whole lines; what was read and is not settled yet is bounded: a file is its own queue.
const (
	chunkSize      = 256 << 10
	pacedChunkSize = 16 << 10
	maxInflight    = 4 << 20
)

// tail is one file that is read. Run's goroutine alone uses it, apart from what mu guards.
type tail struct {
	file *os.File
	id   fileID
	read int64 // everything before it was taken

	scanned  int64 // a line that is too long was searched for its end up to here
	limit    int   // how much of a chunk to take, after one that was too large; 0 is all
	size     int64
	modified time.Time
	changed  time.Time // when size or modified was last seen to change
	atEnd    bool
	rotated  time.Time // since when no path of ours leads to the file; zero: one does
	paced    paced

	// Guarded by Input.mu.
	path       string
	generation int
	head       head
	idBase     string
	settled    int64 // everything before it is settled
	flight     []*span
	lost       bool // custody of a span was lost: read goes back to settled once flight is empty
}

// span is a chunk's place in its file.
type span struct {
	end      int64
	pending  int // settlements to come
	failed   bool
	finished bool
}

// chunk is the memory of a span.
type chunk struct {
	buf   []byte
	batch *intake.Batch
}

func openTail(path string) (*tail, error) {
	f, err := openRegular(path)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil {
		var id fileID
		if id, err = identify(path, info); err == nil {
			return &tail{file: f, id: id, path: path, changed: time.Now()}, nil
		}
	}
	_ = f.Close()
	return nil, fmt.Errorf("look at %s: %w", path, err)
}

func (t *tail) resume(p position) {
	t.read, t.settled, t.generation, t.head = p.Offset, p.Offset, p.Generation, p.Head
}

func isEOF(err error) bool { return errors.Is(err, io.EOF) }

// advance takes the next chunk of the i-th file and reports whether there may be more to do at once. The error is about the file.
func (in *Input) advance(ctx context.Context, i int, out pipeline.Sink) (more bool, err error) {
	t := in.tails[i]
	if in.recovering(t) {
		return false, nil
	}
	if t, err = in.look(i); err != nil {
		return false, err
	}
	if t.read == t.size {
		t.atEnd = true
		return false, nil
	}
	t.atEnd = false
	want := chunkSize
	if in.Replay == replayRecorded {
		want = pacedChunkSize
	}
	for {
		c := in.acquire(ctx, want)
		if c == nil {
			return false, nil
		}
		n, err := t.file.ReadAt(c.buf, t.read)
		if err != nil && !isEOF(err) {
			in.recycle(c)
			return false, fmt.Errorf("read %s: %w", t.path, err)
		}
		full := n == len(c.buf)
		c.buf = c.buf[:n]
		end := in.cut(t, c.buf, full)
		switch {
		case end > 0:
			return in.put(ctx, t, c, end, out)
		case !full:
			in.recycle(c)
			t.atEnd = true
			return false, nil
		case len(c.buf) > int(in.MaxLineBytes):
			return in.skipLong(ctx, t, c, out)
		}
		in.recycle(c)
		want = min(2*want, max(int(in.MaxLineBytes)+1, chunkSize))
	}
}

// recovering takes the file back to where custody was lost, and reports whether that has to wait for what is in flight.
func (in *Input) recovering(t *tail) bool {
	in.mu.Lock()
	defer in.mu.Unlock()
	if t.lost && len(t.flight) == 0 {
		t.lost, t.read = false, t.settled
	}
	return t.lost
}

// look notices growth, and a file that was truncated or written anew: that one begins again.
func (in *Input) look(i int) (*tail, error) {
	t := in.tails[i]
	info, err := t.file.Stat()
	if err != nil {
		return t, fmt.Errorf("look at %s: %w", t.path, err)
	}
	if info.Size() == t.size && info.ModTime().Equal(t.modified) {
		return t, nil
	}
	if info.Size() < t.read || !t.head.matches(t.file) {
		in.log.Info("file was written anew", "path", t.path)
		fresh := &tail{file: t.file, id: t.id, path: t.path, generation: t.generation + 1, rotated: t.rotated}
		in.mu.Lock()
		in.tails[i] = fresh
		in.touch()
		in.mu.Unlock()
		t = fresh
	}
	t.size, t.modified, t.changed = info.Size(), info.ModTime(), time.Now()
	return t, nil
}

// cut returns how much of text, which was read at t.read, is to be taken: whole lines, unless the file's last line will get no
// newline any more.
func (in *Input) cut(t *tail, text []byte, full bool) int {
	end := bytes.LastIndexByte(text, '\n') + 1
	switch {
	case end == 0 && !full && in.last(t):
		return len(text)
	case end == 0:
		return 0
	case in.Replay == replayRecorded:
		return bytes.IndexByte(text, '\n') + 1
	case t.limit > 0 && t.limit < end:
		if limited := bytes.LastIndexByte(text[:t.limit], '\n') + 1; limited > 0 {
			return limited
		}
		return bytes.IndexByte(text, '\n') + 1
	}
	return end
}

// last reports whether nobody writes to the file any more.
func (in *Input) last(t *tail) bool {
	return in.once || in.Replay != "" ||
		!t.rotated.IsZero() && time.Since(t.rotated) >= in.grace && time.Since(t.changed) >= in.grace
}

// put takes the lines of c up to end. It owns c.
func (in *Input) put(ctx context.Context, t *tail, c *chunk, end int, out pipeline.Sink) (more bool, err error) {
	in.begin(t, c)
	lines, start := 0, 0
	for start < end {
		if len(c.batch.Rejects) >= intake.MaxRejects {
			end = start
			break
		}
		length := bytes.IndexByte(c.buf[start:end], '\n')
		next := start + length + 1
		if length < 0 {
			length, next = end-start, end
		}
		if line := c.buf[start : start+length : start+length]; len(bytes.TrimSpace(line)) > 0 {
			c.batch.Line(t.read+int64(start), line)
			lines++
		}
		start = next
	}
	return in.send(ctx, t, c, end, lines, out)
}

// begin opens c's batch; the file's first lines make its identity.
func (in *Input) begin(t *tail, c *chunk) {
	if t.read == 0 {
		in.mu.Lock()
		t.head = headOf(c.buf)
		t.idBase = idBase(t.id, t.generation, t.head)
		in.mu.Unlock()
	}
	c.batch.Begin(t.path, t.idBase, time.Now())
}

// skipLong passes over a line that is longer than MaxLineBytes, once its end is written. c holds its beginning.
func (in *Input) skipLong(ctx context.Context, t *tail, c *chunk, out pipeline.Sink) (more bool, err error) {
	block := make([]byte, 64<<10)
	at := max(t.read+int64(len(c.buf)), t.scanned)
	for {
		n, err := t.file.ReadAt(block, at)
		if err != nil && !isEOF(err) {
			in.recycle(c)
			return false, fmt.Errorf("read %s: %w", t.path, err)
		}
		if i := bytes.IndexByte(block[:n], '\n'); i >= 0 {
			at += int64(i) + 1
			break
		}
		at += int64(n)
		t.scanned = at
		if ctx.Err() != nil || n < len(block) && !in.last(t) {
			in.recycle(c)
			t.atEnd = ctx.Err() == nil
			return false, nil
		}
		if n < len(block) {
			break
		}
	}
	in.begin(t, c)
	c.batch.RejectLine(t.read, c.buf[:in.MaxLineBytes], intake.ReasonTooLong,
		fmt.Sprintf("%d bytes; the limit is %d; this is its beginning", at-t.read, in.MaxLineBytes))
	return in.send(ctx, t, c, int(at-t.read), 1, out)
}

// send puts what c's batch took from the next length bytes of the file, which held that many lines.
func (in *Input) send(ctx context.Context, t *tail, c *chunk, length, lines int, out pipeline.Sink) (more bool, err error) {
	groups := c.batch.Groups()
	if len(groups) > 0 && in.Replay == replayRecorded && !t.paced.wait(ctx, groups[0].Logs[0].At(), in.Speed) {
		in.recycle(c)
		return false, nil
	}
	s := &span{end: t.read + int64(length), pending: 1}
	if len(groups) > 0 {
		s.pending++
	}
	in.mu.Lock()
	t.flight = append(t.flight, s)
	in.mu.Unlock()
	if len(groups) > 0 {
		if err := out.Put(ctx, groups, func(err error) { in.settle(t, s, c, err) }); err != nil {
			in.mu.Lock()
			t.flight = t.flight[:len(t.flight)-1]
			in.mu.Unlock()
			return in.notTaken(ctx, t, c, length, lines, err)
		}
	}
	t.read, t.limit, t.scanned = s.end, 0, 0
	in.settle(t, s, c, in.rejectAll(ctx, t.path, c.batch.Rejects))
	return true, nil
}

// notTaken decides what becomes of the lines that a Put refused; they are still at t.read. It owns c.
func (in *Input) notTaken(ctx context.Context, t *tail, c *chunk, length, lines int, err error) (more bool, fault error) {
	switch {
	case errors.Is(err, pipeline.ErrTooLarge) && lines > 1:
		t.limit = length / 2
		in.recycle(c)
		return true, nil
	case errors.Is(err, pipeline.ErrTooLarge):
		return in.rejectLine(ctx, t, c, length, err)
	case ctx.Err() == nil:
		_ = in.complain(t.path, fmt.Errorf("put events: %w", err))
	}
	in.recycle(c)
	return false, nil
}

// rejectLine sets aside the one line at t.read, which decoding has changed in memory.
func (in *Input) rejectLine(ctx context.Context, t *tail, c *chunk, length int, cause error) (more bool, err error) {
	c.batch.Release()
	if _, err := t.file.ReadAt(c.buf[:length], t.read); err != nil {
		in.recycle(c)
		return false, fmt.Errorf("read %s: %w", t.path, err)
	}
	in.begin(t, c)
	c.batch.RejectLine(t.read, bytes.TrimSpace(c.buf[:length]), "too_large", cause.Error())
	return in.send(ctx, t, c, length, 1, nil)
}

// rejectAll makes dead letters of what cannot be events. It waits until they are stored; the error is that ctx ended.
func (in *Input) rejectAll(ctx context.Context, path string, rejects []intake.Reject) error {
	for _, r := range rejects {
		for {
			err := in.context.Reject(ctx, r.Raw, r.Reason, fmt.Sprintf("%s, byte %d: %s", path, r.Number, r.Detail))
			if err == nil {
				break
			}
			if ctx.Err() == nil {
				_ = in.complain(path, fmt.Errorf("store rejected lines: %w", err))
			}
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-time.After(retryPause):
			}
		}
	}
	return nil
}

// settle counts one settlement of s. The position moves over what is settled without a gap.
func (in *Input) settle(t *tail, s *span, c *chunk, err error) {
	in.mu.Lock()
	s.failed = s.failed || err != nil
	s.pending--
	finished := s.pending == 0
	in.mu.Unlock()
	if !finished {
		return
	}
	in.recycle(c)
	in.mu.Lock()
	s.finished = true
	for len(t.flight) > 0 && t.flight[0].finished {
		t.lost = t.lost || t.flight[0].failed
		if !t.lost {
			t.settled = t.flight[0].end
		}
		t.flight = t.flight[1:]
	}
	in.touch()
	in.mu.Unlock()
	signal(in.freed)
}

// acquire returns a chunk of that many bytes once they may be in flight, nil when ctx ends first.
func (in *Input) acquire(ctx context.Context, size int) *chunk {
	for ctx.Err() == nil {
		if c := in.tryAcquire(size); c != nil {
			return c
		}
		select {
		case <-ctx.Done():
		case <-in.freed:
		}
	}
	return nil
}

func (in *Input) tryAcquire(size int) *chunk {
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.inflight > 0 && in.inflight+size > maxInflight {
		return nil
	}
	var c *chunk
	if last := len(in.free) - 1; last >= 0 {
		c, in.free = in.free[last], in.free[:last]
	} else {
		c = &chunk{batch: intake.NewBatch(int(in.MaxLineBytes), protocol.DefaultMaxDepth)}
	}
	if cap(c.buf) < size {
		c.buf = make([]byte, max(size, chunkSize))
	}
	c.buf = c.buf[:size]
	in.inflight += cap(c.buf)
	return c
}

// recycle gives c's memory back.
func (in *Input) recycle(c *chunk) {
	c.batch.Release()
	in.mu.Lock()
	defer in.mu.Unlock()
	in.inflight -= cap(c.buf)
	if cap(c.buf) > chunkSize {
		c.buf = nil
	}
	in.free = append(in.free, c)
}

// closeEnded closes the files that were renamed or deleted and have been read to their end.
func (in *Input) closeEnded() {
	if in.once || in.Replay != "" {
		return
	}
	in.mu.Lock()
	defer in.mu.Unlock()
	in.tails = slices.DeleteFunc(in.tails, func(t *tail) bool {
		if !t.atEnd || len(t.flight) > 0 || t.lost || !in.last(t) {
			return false
		}
		_ = t.file.Close()
		in.touch()
		return true
	})
}
