// Package disk is a queue in the files of a folder: what it has acknowledged survives a crash of the process and of the machine.
package disk

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/flinktail/flinktail/internal/queue"
	"github.com/flinktail/flinktail/pipeline"
	"github.com/flinktail/flinktail/protocol"
)

// ErrInUse says that another process has the folder open.
var ErrInUse = errors.New("another process uses it")

// ErrVersion says that a newer version wrote the folder.
var ErrVersion = errors.New("written by a newer version in a format that this one does not know")

// Options are a queue's limits. Zero values stand for the defaults.
type Options struct {
	MaxBytes     int64 // that the segments may take together; default 1 GiB
	MaxEvents    int   // default: as many as fit
	MinFreeBytes int64 // that the queue leaves free on its file system
	SegmentBytes int64 // of one segment; default MaxBytes/16, 64 MiB at most
	PendingBytes int   // memory of appends that are not synced yet; default 64 MiB
	AheadBytes   int   // memory of the entries that each cursor has read and that are not settled; default 16 MiB

	// Cursors are the names that will be used. Those that are new begin at the end; all begin at the oldest event when the positions are lost.
	Cursors []string
	// Damaged is called, from any goroutine, once for everything that cannot be read.
	Damaged func(Damage)

	files files
}

func (o Options) withDefaults() Options {
	set := func(v *int64, fallback int64) {
		if *v <= 0 {
			*v = fallback
		}
	}
	set(&o.MaxBytes, 1<<30)
	set(&o.SegmentBytes, min(max(o.MaxBytes/16, 1), 64<<20))
	if o.MaxEvents <= 0 {
		o.MaxEvents = math.MaxInt
	}
	if o.PendingBytes <= 0 {
		o.PendingBytes = 64 << 20
	}
	if o.AheadBytes <= 0 {
		o.AheadBytes = 16 << 20
	}
	if o.Damaged == nil {
		o.Damaged = func(Damage) {}
	}
	if o.files == nil {
		o.files = osFiles{}
	}
	return o
}

// Queue is a [queue.Queue] on disk: it answers for events once they are synced.
type Queue struct {
	dir     string
	options Options
	lock    *os.File
	writer  writer
	store   store

	work    chan struct{} // sent to when something is pending
	moved   chan struct{} // sent to when a cursor moved
	passed  chan struct{} // sent to when a segment may have been passed by all
	stop    chan struct{} // closed: commit what is pending, then end
	running sync.WaitGroup

	removing sync.Mutex // held by removeSegments
	syncs    atomic.Int64

	mu       sync.Mutex
	gate     queue.Gate
	reserved queue.Size // memory: reservations, and appends that are not committed
	pending  []*pending // appends that are not committed, in order, but for those that are being committed
	waiting  int        // appends that are not committed
	expected int        // appends that the next commit waits for a moment
	answered *sync.Cond // of mu: waiting or err has changed
	segments []segment  // in order; the last one may be written to
	next     uint64     // index of the first event that is not committed
	end      int64      // bytes of all segments since the oldest one at Open
	active   bool       // the last segment is written to
	cursors  map[string]*Cursor
	idle     chan struct{} // closed when nothing is held; nil while nobody asks
	err      error         // why nothing can be appended now
	storeErr error         // why the cursors' positions cannot be stored, or a segment not be removed, now
	lost     bool          // the positions were lost at Open
	damages  map[damageKey]bool
	stopped  bool
}

var _ queue.Queue = (*Queue)(nil)

// segment is a file of records, as far as it is committed.
type segment struct {
	first uint64 // index of its first event
	base  int64  // bytes of the segments before
	end   int64  // bytes of the file that count
}

// pending is an append that is not committed.
type pending struct {
	header   recordHeader // without first
	payload  *buffer
	reserved queue.Size
	done     func(error)
}

// last returns the index after the last event of the segment at i.
func (q *Queue) last(i int) uint64 {
	if i+1 < len(q.segments) {
		return q.segments[i+1].first
	}
	return q.next
}

// Reserve waits for room: see [queue.Queue]. It waits, too, while the disk takes nothing: see Err.
func (q *Queue) Reserve(ctx context.Context, size queue.Size) error {
	if !size.Within(q.room()) {
		return pipeline.ErrTooLarge
	}
	return q.gate.Reserve(ctx, size)
}

// room returns how much may be queued: besides, there may be a segment that is partly settled.
func (q *Queue) room() queue.Size {
	return queue.Size{Bytes: int(max(q.options.MaxBytes-q.options.SegmentBytes, 1)), Events: q.options.MaxEvents}
}

func (q *Queue) take(size queue.Size) bool {
	if q.err != nil || !q.used().Plus(size).Within(q.room()) {
		return false
	}
	if q.reserved.Bytes > 0 && q.reserved.Bytes+size.Bytes > q.options.PendingBytes {
		return false
	}
	q.reserved = q.reserved.Plus(size)
	return true
}

// used returns what is not settled and what is still to be written: a reservation is for more memory than it takes on disk.
func (q *Queue) used() queue.Size {
	event, at := q.settled()
	return q.reserved.Plus(queue.Size{Bytes: int(q.end - at), Events: int(q.next - event)})
}

// settled returns the event and the position up to which everything is settled.
func (q *Queue) settled() (event uint64, at int64) {
	event, at = q.next, q.end
	for _, c := range q.cursors {
		event, at = min(event, c.event), min(at, c.at)
	}
	return event, at
}

// Cancel gives a reservation back.
func (q *Queue) Cancel(reserved queue.Size) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.unreserve(reserved)
}

func (q *Queue) unreserve(size queue.Size) {
	q.reserved = q.reserved.Minus(size)
	q.gate.Grant()
}

// Append adds an entry: see [queue.Queue]. It does not wait for the disk; done is called when the events are synced.
func (q *Queue) Append(groups []*protocol.LogGroup, size, reserved queue.Size, done func(error)) {
	p := &pending{payload: newBuffer(encodedSize(groups)), done: done}
	data, err := protocol.AppendGroupList(p.payload.data[:0], groups)
	if err == nil && len(data) > maxPayload {
		err = pipeline.ErrTooLarge
	}
	if err != nil {
		p.payload.release()
		q.Cancel(reserved)
		done(fmt.Errorf("append to queue: %w", err))
		return
	}
	p.payload.data = data
	p.header = recordHeader{length: len(data), events: uint32(size.Events), sum: checksum(data), appended: time.Now().UnixMilli()}
	q.mu.Lock()
	if q.stopped {
		q.unreserve(reserved)
		q.mu.Unlock()
		p.payload.release()
		done(pipeline.ErrStopping)
		return
	}
	p.reserved = queue.Size{Bytes: max(size.Bytes, reserved.Bytes), Events: size.Events}
	q.reserved = q.reserved.Plus(p.reserved)
	q.unreserve(reserved)
	q.pending = append(q.pending, p)
	q.waiting++
	n := len(q.pending)
	enough := n == 1 || n == q.expected
	q.mu.Unlock()
	if enough {
		signal(q.work)
	}
}

// encodedSize returns what AppendGroupList needs at most.
func encodedSize(groups []*protocol.LogGroup) (n int) {
	const framing = 32 // of a group in the list, and its texts where they are missing
	for _, g := range groups {
		n += g.SizeVT() + framing
	}
	return n
}

// Cursor returns the cursor of that name: see [queue.Queue]. Use those named in Options.Cursors before the first Append. It waits for the
// appends that are not committed, which a new cursor does not read, unless the disk does not take them.
func (q *Queue) Cursor(name string) (queue.Cursor, error) {
	c, added, err := q.cursor(name)
	if added {
		// Without its position in the files it would begin at the end again after a crash, and leave out what came meanwhile.
		_, err = q.storeCursors(true)
	}
	if err == nil {
		return c, nil
	}
	if added {
		q.mu.Lock()
		delete(q.cursors, name)
		q.gate.Grant()
		q.mu.Unlock()
	}
	return nil, fmt.Errorf("add cursor %s: %w", name, err)
}

func (q *Queue) cursor(name string) (c *Cursor, added bool, err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	c, ok := q.cursors[name]
	for !ok && q.waiting > 0 {
		if q.err != nil {
			return nil, false, q.err
		}
		q.answered.Wait()
	}
	if !ok {
		c = q.addCursor(name, q.beginning())
	}
	c.used = true
	return c, !ok, nil
}

// beginning returns where a new cursor begins: at the end, but when the positions are lost it may not be new.
func (q *Queue) beginning() uint64 {
	if q.lost && len(q.segments) > 0 {
		return q.segments[0].first
	}
	return q.next
}

// Unused returns the cursors for which Cursor was not called, with how many events each has left. They keep their events until Forget.
func (q *Queue) Unused() map[string]int {
	q.mu.Lock()
	defer q.mu.Unlock()
	backlogs := map[string]int{}
	for name, c := range q.cursors {
		if !c.used {
			backlogs[name] = int(q.next - c.event)
		}
	}
	return backlogs
}

// Forget removes a cursor that nobody uses, and with it the events that are left to it alone.
func (q *Queue) Forget(name string) error {
	q.mu.Lock()
	c, ok := q.cursors[name]
	if ok && c.used {
		q.mu.Unlock()
		return fmt.Errorf("forget cursor %s: it is in use", name)
	}
	delete(q.cursors, name)
	q.gate.Grant()
	q.mu.Unlock()
	if !ok {
		return fmt.Errorf("forget cursor %s: there is none", name)
	}
	if _, err := q.storeCursors(true); err != nil {
		return fmt.Errorf("forget cursor %s: %w", name, err)
	}
	signal(q.passed)
	return nil
}

// Remove takes a cursor out: see [queue.Queue].
func (q *Queue) Remove(name string) error {
	q.mu.Lock()
	c, ok := q.cursors[name]
	switch {
	case !ok:
		q.mu.Unlock()
		return fmt.Errorf("remove cursor %s: there is none", name)
	case c.event < q.next || q.waiting > 0:
		q.mu.Unlock()
		return fmt.Errorf("remove cursor %s: it has events left", name)
	}
	delete(q.cursors, name)
	q.gate.Grant()
	q.mu.Unlock()
	c.reading.Lock()
	err := c.closeFile()
	c.reading.Unlock()
	if _, storeErr := q.storeCursors(true); storeErr != nil || err != nil {
		return fmt.Errorf("remove cursor %s: %w", name, errors.Join(err, storeErr))
	}
	signal(q.passed)
	return nil
}

// Idle tells when every cursor in use has settled everything: see [queue.Queue].
func (q *Queue) Idle() <-chan struct{} {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.idle == nil {
		q.idle = make(chan struct{})
	}
	idle := q.idle
	q.tellIdle()
	return idle
}

func (q *Queue) tellIdle() {
	if q.idle == nil || q.waiting > 0 {
		return
	}
	for _, c := range q.cursors {
		if c.used && c.event < q.next {
			return
		}
	}
	close(q.idle)
	q.idle = nil
}

// Full reports whether somebody waits for room.
func (q *Queue) Full() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.gate.Full()
}

// Used returns what the queue holds, reservations included: bytes of the disk, and of memory what is not committed.
func (q *Queue) Used() queue.Size {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.used()
}

// Err returns why the disk does not take or give events now, nil when it does. The queue tries again by itself.
func (q *Queue) Err() error {
	q.mu.Lock()
	defer q.mu.Unlock()
	errs := []error{q.err, q.storeErr}
	for _, c := range q.cursors {
		errs = append(errs, c.err)
	}
	return errors.Join(errs...)
}

// Syncs returns how often appends were synced, for several each time.
func (q *Queue) Syncs() int64 { return q.syncs.Load() }

// Close ends every wait for room: see [queue.Queue]. An append that the disk does not take from then on fails.
func (q *Queue) Close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.gate.Close()
}

// Stop commits what is pending, stores the cursors' positions and lets go of the folder: see [queue.Queue]. Call it once.
func (q *Queue) Stop() error {
	q.mu.Lock()
	q.stopped = true
	q.mu.Unlock()
	close(q.stop)
	q.running.Wait()
	q.removeSegments()
	var errs []error
	for _, c := range q.cursors {
		c.reading.Lock()
		errs = append(errs, c.closeFile())
		c.reading.Unlock()
	}
	return errors.Join(append(errs, q.storeErr, q.store.close(), q.lock.Close())...)
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
