package disk

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/flinktail/flinktail/internal/queue"
	"github.com/flinktail/flinktail/internal/queue/queuetest"
	"github.com/flinktail/flinktail/pipeline"
	"github.com/flinktail/flinktail/protocol"
)

// faultyFiles are files of which calls fail as fail says. It knows what a crash of the machine would leave of them.
type faultyFiles struct {
	osFiles
	mu     sync.Mutex
	fail   func(call, name string) error
	free   func() int64
	synced map[string][]byte // by path: the content at the last sync
	named  map[string]bool   // by path: the folder was synced since the file was created
	open   map[string]int    // by path: how often it is open
}

type faultyFile struct {
	file
	fs   *faultyFiles
	path string
}

func newFaultyFiles() *faultyFiles {
	return &faultyFiles{synced: map[string][]byte{}, named: map[string]bool{}, open: map[string]int{}}
}

func (f *faultyFiles) call(call, path string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.fail == nil {
		return nil
	}
	return f.fail(call, filepath.Base(path))
}

// crash copies the folder as a crash of the machine may leave it: of every block that was not synced, what it was or what it is; a name that
// was not synced may be missing, and a file whose removal was not synced may be there. Call it with the lock held.
func (f *faultyFiles) crash(t *testing.T, rnd *rand.Rand) (after string) {
	after = t.TempDir()
	const block = 64
	for path, synced := range f.synced {
		now, err := os.ReadFile(path)
		if err != nil { // removed
			if rnd.IntN(2) == 0 {
				continue
			}
			now = synced
		} else if !f.named[path] && rnd.IntN(2) == 0 {
			continue
		}
		left := append([]byte(nil), synced...)
		for at := 0; at < len(now); at += block {
			if rnd.IntN(2) == 0 {
				end := min(at+block, len(now))
				left = append(left, make([]byte, max(end-len(left), 0))...)
				copy(left[at:end], now[at:end])
			}
		}
		require.NoError(t, os.WriteFile(filepath.Join(after, filepath.Base(path)), left, 0o600))
	}
	return after
}

func (f *faultyFiles) setFail(fail func(call, name string) error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.fail = fail
}

func (f *faultyFiles) Create(path string) (file, error) {
	if err := f.call("create", path); err != nil {
		return nil, err
	}
	opened, err := f.osFiles.Create(path)
	if err != nil {
		return nil, err
	}
	f.mu.Lock()
	f.synced[path], f.named[path] = nil, false
	f.mu.Unlock()
	return f.wrap(opened, path), nil
}

func (f *faultyFiles) Open(path string) (file, error) {
	if err := f.call("open", path); err != nil {
		return nil, err
	}
	opened, err := f.osFiles.Open(path)
	if err != nil {
		return nil, err
	}
	return f.wrap(opened, path), nil
}

func (f *faultyFiles) wrap(opened file, path string) file {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.open[path]++
	return &faultyFile{file: opened, fs: f, path: path}
}

func (f *faultyFile) Close() error {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	f.fs.open[f.path]--
	return f.file.Close()
}

func (f *faultyFiles) Remove(path string) error {
	if err := f.call("remove", path); err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.open[path] > 0 {
		return errors.New("removed while it is open: its space would not be free")
	}
	return f.osFiles.Remove(path)
}

func (f *faultyFiles) SyncDir(dir string) error {
	if err := f.call("syncdir", dir); err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for path := range f.synced {
		if _, err := os.Stat(path); err != nil {
			delete(f.synced, path)
		}
		f.named[path] = true
	}
	return nil
}

func (f *faultyFiles) Free(dir string) (int64, error) {
	if f.free != nil {
		return f.free(), nil
	}
	return f.osFiles.Free(dir)
}

// WriteAt writes half of p when it fails.
func (f *faultyFile) WriteAt(p []byte, at int64) (int, error) {
	if err := f.fs.call("write", f.path); err != nil {
		n, _ := f.file.WriteAt(p[:len(p)/2], at)
		return n, err
	}
	return f.file.WriteAt(p, at)
}

func (f *faultyFile) Sync() error {
	if err := f.fs.call("sync", f.path); err != nil {
		return err
	}
	data, err := os.ReadFile(f.path)
	if err != nil {
		return err
	}
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	f.fs.synced[f.path] = data
	return nil
}

func (f *faultyFile) ReadAt(p []byte, at int64) (int, error) {
	if err := f.fs.call("read", f.path); err != nil {
		return 0, err
	}
	return f.file.ReadAt(p, at)
}

func (f *faultyFile) Truncate(size int64) error {
	if err := f.fs.call("truncate", f.path); err != nil {
		return err
	}
	return f.file.Truncate(size)
}

func isSegment(name string) bool { return strings.HasSuffix(name, segmentSuffix) }

// Whatever call fails on the way to the disk, an event is acknowledged once it is there, and is there once.
func TestAppendsOutlastFaults(t *testing.T) {
	for _, call := range []string{"write", "sync", "create", "syncdir"} {
		t.Run(call, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				dir, fs := t.TempDir(), newFaultyFiles()
				q, stop := open(t, dir, Options{Cursors: []string{"a"}, files: fs})
				a := cursor(t, q, "a")
				if call == "write" || call == "sync" {
					put(t, q, 0, 1)
				}
				broken, failures := syscall.ENOSPC, 0
				fs.setFail(func(c, name string) error {
					if c == call && (isSegment(name) || c == "syncdir") {
						failures++
						return broken
					}
					return nil
				})
				done := queuetest.Append(t, q, queuetest.Group("x", 2))
				time.Sleep(time.Minute)
				require.Empty(t, done, "acknowledged without being synced")
				require.ErrorIs(t, q.Err(), broken)
				require.Less(t, failures, 50, "it hammers the disk")

				// Backpressure.
				full := make(chan error, 1)
				go func() { full <- q.Reserve(t.Context(), queue.Size{Bytes: 10, Events: 1}) }()
				synctest.Wait()
				require.Empty(t, full)
				require.True(t, q.Full())

				fs.setFail(nil)
				require.NoError(t, <-done)
				require.NoError(t, <-full)
				require.NoError(t, q.Err())
				put(t, q, 3)
				want := ids(2, 3)
				if call == "write" || call == "sync" {
					want = ids(0, 1, 2, 3)
				}
				got, corrupt := drain(t, q, a)
				require.Equal(t, want, got)
				require.Zero(t, corrupt)
				stop()
			})
		})
	}
}

// A file whose sync failed is never synced again: the second sync would say nothing of what the first one lost.
func TestAFailedSyncIsNotTriedAgainOnThatFile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir, fs := t.TempDir(), newFaultyFiles()
		q, _ := open(t, dir, Options{Cursors: []string{"a"}, files: fs})
		put(t, q, 0)
		var failed string
		fs.setFail(func(call, name string) error {
			switch {
			case call != "sync" || !isSegment(name):
			case failed == "":
				failed = name
				return syscall.EIO
			case failed == name:
				t.Error("synced again")
			}
			return nil
		})
		put(t, q, 1)
		require.NotEmpty(t, failed)
		require.Len(t, segmentFiles(t, dir), 2)
	})
}

// A commit that failed may have left records that look good: they are in the next segment, and count there.
func TestWhatAFailedCommitLeftDoesNotCount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir, fs := t.TempDir(), newFaultyFiles()
		o := Options{Cursors: []string{"a"}, files: fs}
		q, stop := open(t, dir, o)
		put(t, q, 0)
		entered, gate := make(chan struct{}), make(chan struct{})
		syncs := 0
		fs.setFail(func(call, name string) error {
			if !isSegment(name) || call != "sync" && call != "truncate" || name != segmentName(0) {
				return nil
			}
			if syncs++; syncs == 1 {
				close(entered)
				<-gate
				return nil
			}
			return syscall.EIO
		})
		var all []<-chan error
		for n := range 3 {
			all = append(all, queuetest.Append(t, q, queuetest.Group("x", n+1)))
			if n == 0 {
				<-entered // the other two come together
			}
		}
		close(gate)
		for _, done := range all {
			require.NoError(t, <-done)
		}
		fs.setFail(nil)
		stop()
		path := filepath.Join(dir, segmentName(0))
		ends := records(t, path)
		require.Len(t, ends, 4)
		require.FileExists(t, filepath.Join(dir, segmentName(2)))
		for _, header := range ends[:2] {
			flip(t, path, header+20)
		}
		var damages damageLog
		o.Damaged = damages.add
		q, _ = open(t, dir, o)
		got, corrupt := drain(t, q, cursor(t, q, "a"))
		require.Equal(t, ids(0, 2, 3), got)
		require.Equal(t, 1, corrupt)
		require.Equal(t, 1, damages.events())
	})
}

func TestCloseGivesBackWhatTheDiskDoesNotTake(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs := newFaultyFiles()
		q, _ := open(t, t.TempDir(), Options{Cursors: []string{"a"}, files: fs})
		fs.setFail(func(call, name string) error {
			if call == "sync" && isSegment(name) {
				return syscall.EIO
			}
			return nil
		})
		done := queuetest.Append(t, q, queuetest.Group("x", 0))
		time.Sleep(time.Minute)
		q.Close()
		err := <-done
		require.ErrorIs(t, err, pipeline.ErrStopping)
		require.ErrorIs(t, err, syscall.EIO)
		<-q.Idle()
	})
}

func TestFreeSpaceIsLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir, fs := t.TempDir(), newFaultyFiles()
		var mu sync.Mutex
		free := int64(1 << 30)
		set := func(n int64) { mu.Lock(); free = n; mu.Unlock() }
		fs.free = func() int64 { mu.Lock(); defer mu.Unlock(); return free }
		q, _ := open(t, dir, Options{Cursors: []string{"a"}, MinFreeBytes: 1 << 20, files: fs})
		a := cursor(t, q, "a")
		put(t, q, 0)
		_, _ = drain(t, q, a)
		time.Sleep(time.Minute)
		require.NotEmpty(t, segmentFiles(t, dir))
		set(1 << 20)
		done := queuetest.Append(t, q, queuetest.Group("x", 1))
		time.Sleep(time.Minute)
		require.Empty(t, done)
		require.ErrorContains(t, q.Err(), "MinFreeBytes")
		require.Empty(t, segmentFiles(t, dir), "the segment that was written to must go when space is short")
		set(1 << 30)
		require.NoError(t, <-done)
	})
}

// A file system runs full, and is freed by what is delivered, again and again.
func TestFullFileSystemHeals(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir, fs := t.TempDir(), newFaultyFiles()
		const space = 20_000
		fs.fail = func(call, name string) error {
			if call != "write" || !isSegment(name) {
				return nil
			}
			used := int64(0)
			all, _ := findSegments(dir)
			for _, s := range all {
				used += s.end
			}
			if used+600 > space {
				return syscall.ENOSPC
			}
			return nil
		}
		q, stop := open(t, dir, Options{Cursors: []string{"a"}, SegmentBytes: 4000, files: fs})
		a := cursor(t, q, "a")
		var acknowledged, got []string
		for n := 0; n < 500; {
			g := []*protocol.LogGroup{queuetest.Group("x", n, n+1000)}
			size := queuetest.Measure(g)
			ctx, cancel := timeout(t, 10*time.Second)
			err := q.Reserve(ctx, size)
			cancel()
			if err != nil {
				require.ErrorIs(t, err, pipeline.ErrFull)
				require.ErrorIs(t, q.Err(), syscall.ENOSPC)
				more, _ := drain(t, q, a)
				got = append(got, more...)
				time.Sleep(5 * time.Second)
				continue
			}
			n++
			q.Append(g, size, size, func(err error) {
				require.NoError(t, err)
				acknowledged = append(acknowledged, queuetest.IDs(g)...)
			})
			synctest.Wait()
		}
		more, corrupt := drain(t, q, a)
		got = append(got, more...)
		stop()
		require.Zero(t, corrupt)
		require.Len(t, acknowledged, 1000)
		require.Equal(t, acknowledged, got)
	})
}

func TestWhatCannotBeRemovedIsToldAndRemovedLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir, fs := t.TempDir(), newFaultyFiles()
		q, _ := open(t, dir, Options{Cursors: []string{"a"}, SegmentBytes: 500, files: fs})
		fs.setFail(func(call, _ string) error {
			if call == "remove" {
				return syscall.EBUSY
			}
			return nil
		})
		put(t, q, upTo(0, 20)...)
		_, _ = drain(t, q, cursor(t, q, "a"))
		time.Sleep(time.Minute)
		require.ErrorIs(t, q.Err(), syscall.EBUSY)
		require.Greater(t, len(segmentFiles(t, dir)), 2)
		fs.setFail(nil)
		time.Sleep(time.Minute)
		require.NoError(t, q.Err())
		require.Len(t, segmentFiles(t, dir), 1)
	})
}

// Calls fail at random while events are appended, read and settled, and the queue is opened again and again: no acknowledged event is
// lost, order is kept, and nothing is taken for damage.
func TestRandomFaults(t *testing.T) {
	for seed := range uint64(10) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { randomFaults(t, rand.New(rand.NewPCG(seed, 1))) })
		})
	}
}

func randomFaults(t *testing.T, rnd *rand.Rand) {
	dir := t.TempDir()
	var damages damageLog
	var mu sync.Mutex // rnd's
	acknowledged := map[int]bool{}
	seen := map[int]bool{}
	number := 0
	for range 5 {
		fs := newFaultyFiles()
		q, stop := open(t, dir, Options{Cursors: []string{"a"}, SegmentBytes: 2000, AheadBytes: 20_000, Damaged: damages.add, files: fs})
		a := cursor(t, q, "a")
		fs.setFail(func(call, _ string) error {
			mu.Lock()
			defer mu.Unlock()
			if call != "read" && rnd.IntN(6) == 0 {
				return []error{syscall.EIO, syscall.ENOSPC}[rnd.IntN(2)]
			}
			return nil
		})
		last := -1
		for range 100 {
			n := number
			number++
			g := []*protocol.LogGroup{queuetest.Group("x", n)}
			size := queuetest.Measure(g)
			if q.Reserve(t.Context(), size) == nil {
				q.Append(g, size, size, func(err error) {
					if err == nil {
						mu.Lock()
						acknowledged[n] = true
						mu.Unlock()
					}
				})
			}
			mu.Lock()
			settle := rnd.IntN(2) == 0
			mu.Unlock()
			if !settle {
				continue
			}
			if e := a.Next(); e != nil {
				require.NoError(t, e.Corrupt)
				var id int
				_, err := fmt.Sscanf(queuetest.IDs(e.Groups)[0], "x-%d", &id)
				require.NoError(t, err)
				require.Greater(t, id, last)
				last = id
				seen[id] = true
				e.Settle(1)
			}
		}
		time.Sleep(time.Minute)
		q.Close()
		fs.setFail(nil)
		stop()
	}
	q, stop := open(t, dir, Options{Cursors: []string{"a"}, Damaged: damages.add})
	got, corrupt := drain(t, q, cursor(t, q, "a"))
	stop()
	for _, s := range got {
		var id int
		_, err := fmt.Sscanf(s, "x-%d", &id)
		require.NoError(t, err)
		seen[id] = true
	}
	require.Zero(t, corrupt)
	require.Empty(t, damages.list())
	require.Greater(t, len(acknowledged), 300)
	for n := range acknowledged {
		require.True(t, seen[n], "%d was acknowledged and is lost", n)
	}
}

// The machine crashes again and again, at random moments: no acknowledged event is lost, order is kept, and what is taken for damage was
// never acknowledged.
func TestPowerCuts(t *testing.T) {
	for seed := range uint64(15) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { powerCuts(t, rand.New(rand.NewPCG(seed, 2))) })
		})
	}
}

func powerCuts(t *testing.T, rnd *rand.Rand) {
	dir := t.TempDir()
	acknowledged, seen := map[int]bool{}, map[int]bool{}
	number := 0
	note := func(e *queue.Entry, last int) int {
		for _, s := range queuetest.IDs(e.Groups) {
			var id int
			_, err := fmt.Sscanf(s, "x-%d", &id)
			require.NoError(t, err)
			require.Greater(t, id, last)
			last = id
			seen[id] = true
		}
		return last
	}
	for range 8 {
		fs := newFaultyFiles()
		before, err := os.ReadDir(dir)
		require.NoError(t, err)
		for _, entry := range before {
			path := filepath.Join(dir, entry.Name())
			fs.synced[path], err = os.ReadFile(path)
			require.NoError(t, err)
			fs.named[path] = true
		}
		q, err := Open(dir, Options{Cursors: []string{"a"}, SegmentBytes: 2000, files: fs})
		require.NoError(t, err)
		a := cursor(t, q, "a")
		var crashed string // under fs.mu
		calls := 20 + rnd.IntN(100)
		at := rand.New(rand.NewPCG(rnd.Uint64(), 0))
		fs.setFail(func(string, string) error {
			if calls--; calls == 0 {
				crashed = fs.crash(t, at)
			}
			if crashed != "" {
				return errors.New("the machine is off")
			}
			return nil
		})
		isOff := func() bool {
			fs.mu.Lock()
			defer fs.mu.Unlock()
			return crashed != ""
		}
		for last := -1; !isOff(); {
			id := number
			number++
			g := []*protocol.LogGroup{queuetest.Group("x", id)}
			size := queuetest.Measure(g)
			ctx, cancel := timeout(t, time.Second)
			if q.Reserve(ctx, size) == nil {
				q.Append(g, size, size, func(err error) {
					if err == nil && !isOff() {
						acknowledged[id] = true
					}
				})
			}
			cancel()
			if rnd.IntN(3) > 0 {
				synctest.Wait()
			}
			if e := a.Next(); e != nil && !isOff() {
				last = note(e, last)
				if rnd.IntN(20) > 0 {
					e.Settle(e.Size.Events)
				}
			}
			if rnd.IntN(5) == 0 {
				time.Sleep(time.Duration(rnd.IntN(3000)) * time.Millisecond)
			}
		}
		q.Close()
		_ = q.Stop() // it cannot
		dir = crashed
	}
	q, stop := open(t, dir, Options{Cursors: []string{"a"}})
	last := -1
	for q.events(cursor(t, q, "a")) > 0 {
		e := queuetest.Next(t, cursor(t, q, "a"))
		last = note(e, last)
		e.Settle(e.Size.Events)
	}
	stop()
	require.Greater(t, len(acknowledged), 100)
	for n := range acknowledged {
		require.True(t, seen[n], "%d was acknowledged and is lost", n)
	}
}

// A sector that cannot be read costs the events in it, and only them.
func TestUnreadableSector(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir, fs := t.TempDir(), newFaultyFiles()
		var damages damageLog
		q, _ := open(t, dir, Options{Cursors: []string{"a"}, Damaged: damages.add, files: &badSector{fs, 8192}})
		a := cursor(t, q, "a")
		put(t, q, upTo(0, 300)...)
		got, corrupt := drain(t, q, a)
		require.Len(t, got, 300-corrupt)
		require.Greater(t, corrupt, 10)
		require.Less(t, corrupt, 60)
		require.Equal(t, corrupt, damages.events())
		require.NoError(t, q.Err())
	})
}

// badSector fails reads of segments that touch the page at an offset.
type badSector struct {
	*faultyFiles
	at int64
}

func (b *badSector) Open(path string) (file, error) {
	f, err := b.faultyFiles.Open(path)
	if err == nil && isSegment(path) {
		f = &badFile{f, b.at}
	}
	return f, err
}

type badFile struct {
	file
	at int64
}

func (b *badFile) ReadAt(p []byte, at int64) (int, error) {
	if at < b.at+pageBytes && at+int64(len(p)) > b.at {
		return 0, syscall.EIO
	}
	return b.file.ReadAt(p, at)
}

func TestReadsThatFailForAWhileLoseNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs := newFaultyFiles()
		q, _ := open(t, t.TempDir(), Options{Cursors: []string{"a"}, files: fs})
		a := cursor(t, q, "a")
		put(t, q, 0, 1)
		var failed int
		fs.setFail(func(call, name string) error {
			if (call == "read" || call == "open") && isSegment(name) && failed < maxReads-1 {
				failed++
				return errors.New("not now")
			}
			return nil
		})
		require.Nil(t, a.Next())
		require.ErrorContains(t, q.Err(), "not now")
		got, corrupt := drain(t, q, a)
		require.Equal(t, ids(0, 1), got)
		require.Zero(t, corrupt)
		require.NoError(t, q.Err())
	})
}

// gatedFiles are files whose segments are written as write says. Unlike faultyFiles they hold no lock meanwhile: others go on.
type gatedFiles struct {
	osFiles
	write func() error
}

type gatedFile struct {
	file
	write func() error
}

func (g gatedFiles) Create(path string) (file, error) {
	f, err := g.osFiles.Create(path)
	if isSegment(path) {
		f = gatedFile{f, g.write}
	}
	return f, err
}

func (g gatedFile) WriteAt(p []byte, at int64) (int, error) {
	if err := g.write(); err != nil {
		return 0, err
	}
	return g.file.WriteAt(p, at)
}

// What is being appended when a cursor is added is older than the cursor; while the disk takes nothing none is added.
func TestACursorThatIsAddedWaitsForAppendsUnderWay(t *testing.T) {
	for _, result := range []error{nil, syscall.EIO} {
		t.Run(fmt.Sprint(result), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				entered, answers := make(chan struct{}), make(chan error)
				files := gatedFiles{write: func() error { entered <- struct{}{}; return <-answers }}
				q, stop := open(t, t.TempDir(), Options{Cursors: []string{"a"}, files: files})
				first := queuetest.Append(t, q, queuetest.Group("x", 1))
				<-entered
				var b queue.Cursor
				added := make(chan error, 1)
				go func() {
					var err error
					b, err = q.Cursor("b")
					added <- err
				}()
				synctest.Wait()
				require.Empty(t, added)
				answers <- result
				require.ErrorIs(t, <-added, result)
				if result != nil {
					<-entered // it tries again
					_, err := q.Cursor("b")
					require.ErrorIs(t, err, result, "no need to wait")
					answers <- nil
				}
				require.NoError(t, <-first)
				if result == nil {
					require.Zero(t, b.Backlog())
					second := queuetest.Append(t, q, queuetest.Group("x", 2))
					<-entered
					answers <- nil
					require.NoError(t, <-second)
					got, _ := drain(t, q, b)
					require.Equal(t, ids(2), got)
				}
				stop()
			})
		})
	}
}

// A cursor that could not be added holds up nothing.
func TestACursorThatCannotBeStoredIsNotAdded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir, fs := t.TempDir(), newFaultyFiles()
		q, stop := open(t, dir, Options{Cursors: []string{"a"}, files: fs})
		fs.setFail(func(call, name string) error {
			if call == "sync" && !isSegment(name) {
				return syscall.EIO
			}
			return nil
		})
		_, err := q.Cursor("b")
		require.ErrorIs(t, err, syscall.EIO)
		fs.setFail(nil)
		put(t, q, 0)
		drain(t, q, cursor(t, q, "a"))
		require.Zero(t, q.Used())
		require.NoError(t, q.Remove("a"))
		require.Zero(t, cursor(t, q, "b").Backlog())
		stop()
	})
}

// What is delivered is kept while a crash would bring back cursors that have not passed it.
func TestSegmentsAreKeptWhilePositionsCannotBeStored(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir, fs := t.TempDir(), newFaultyFiles()
		q, stop := open(t, dir, Options{Cursors: []string{"a"}, SegmentBytes: 200, files: fs})
		a := cursor(t, q, "a")
		put(t, q, upTo(0, 10)...)
		before := len(segmentFiles(t, dir))
		require.Greater(t, before, 3)
		fs.setFail(func(call, name string) error {
			if call == "sync" && strings.HasPrefix(name, "cursors.") {
				return syscall.EIO
			}
			return nil
		})
		drain(t, q, a)
		time.Sleep(5 * storeEvery)
		require.Len(t, segmentFiles(t, dir), before)
		require.ErrorIs(t, q.Err(), syscall.EIO)
		fs.setFail(nil)
		time.Sleep(2 * storeEvery)
		require.Len(t, segmentFiles(t, dir), 1)
		require.NoError(t, q.Err())
		stop()
	})
}
