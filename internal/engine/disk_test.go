package engine

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/flinktail/flinktail/internal/config"
	"github.com/flinktail/flinktail/internal/telemetry"
	"github.com/flinktail/flinktail/pipeline"
	"github.com/flinktail/flinktail/protocol"
)

// onDisk gives the pipeline a queue on disk.
func (r *rig) onDisk() *rig {
	r.config.Global.Queue = config.Queue{Type: config.QueueDisk, MaxBytes: 16 * pipeline.MiB}
	return r
}

// restarted is the same pipeline after a restart, with other flushers.
func (r *rig) restarted(flushers ...*fakeFlusher) *rig {
	next := newRig(r.t, flushers...).onDisk()
	next.dir, next.options.DataDir = r.dir, r.dir
	next.options.Metrics = telemetry.New()
	return next
}

func TestDiskSettlesBeforeDelivery(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fakeFlusher{notReady: true}
		r := newRig(t, f).onDisk().start()
		require.NoError(t, <-r.put("a", 3))
		require.Empty(t, f.ids())
		require.EqualValues(t, 3, r.status().Flushers[0].Queued)
		f.becomeReady()
		require.NoError(t, r.stop())
		require.Equal(t, ids("a", 3), f.ids(), "a stop leaves a flusher the time for what it can deliver")
	})
}

func TestDiskKeepsOverAStopWhatWasNotDelivered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, slow := &fakeFlusher{}, &fakeFlusher{notReady: true}
		r := newRig(t, f, slow).onDisk().start()
		require.NoError(t, <-r.put("a", 3))
		start := time.Now()
		require.NoError(t, r.stop())
		require.Less(t, time.Since(start), 10*time.Second, "it does not wait for what it may keep")
		require.Equal(t, ids("a", 3), f.ids())
		require.Empty(t, slow.ids())
		require.Empty(t, r.letters())
		require.EqualValues(t, 3, r.engine.Totals().Queued)

		f, slow = &fakeFlusher{}, &fakeFlusher{}
		r = r.restarted(f, slow).start()
		require.NoError(t, <-r.put("b", 2))
		require.NoError(t, r.stop())
		require.Equal(t, ids("b", 2), f.ids(), "what was delivered is not delivered again")
		require.Equal(t, append(ids("a", 3), ids("b", 2)...), slow.ids())
		status := r.status().Flushers
		require.Equal(t, FlusherLedger{Appended: 2, Delivered: 2}, status[0].FlusherLedger)
		require.Equal(t, FlusherLedger{Recovered: 3, Appended: 2, Delivered: 5}, status[1].FlusherLedger)
	})
}

func TestDiskStopWaitsForAFlushUnderWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fakeFlusher{answer: func(int, []*protocol.LogGroup) error { time.Sleep(15 * time.Second); return nil }}
		r := newRig(t, f).onDisk()
		r.config.Flushers[0].Delivery.Batch.MaxEvents = 2
		r.start()
		for _, prefix := range []string{"a", "b", "c"} {
			require.NoError(t, <-r.put(prefix, 2))
		}
		require.NoError(t, stopWithin(r))
		require.Equal(t, ids("a", 2), f.ids())
		next := &fakeFlusher{}
		r = r.restarted(next).start()
		require.NoError(t, r.stop())
		require.Equal(t, append(ids("b", 2), ids("c", 2)...), next.ids())
	})
}

func TestDiskAFlusherThatHangsLosesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hang := make(chan struct{})
		f := &fakeFlusher{answer: func(int, []*protocol.LogGroup) error { <-hang; return errors.New("too late") }}
		r := newRig(t, f).onDisk().start()
		require.NoError(t, <-r.put("a", 3))
		synctest.Wait()
		require.NoError(t, stopWithin(r))
		require.EqualValues(t, 3, r.engine.Totals().Queued)
		close(hang)
		next := &fakeFlusher{}
		r = r.restarted(next).start()
		require.NoError(t, r.stop())
		require.Equal(t, ids("a", 3), next.ids())
	})
}

func TestDiskRefusesToForgetAFlusher(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, slow := &fakeFlusher{}, &fakeFlusher{notReady: true}
		r := newRig(t, f, slow).onDisk().start()
		require.NoError(t, <-r.put("a", 3))
		require.NoError(t, r.stop())

		without := r.restarted(&fakeFlusher{})
		_, err := New([]*config.Pipeline{without.config}, without.options)
		require.ErrorContains(t, err, `flusher_fake/1 is no longer in the configuration, but 3 events are queued for it`)
		require.ErrorContains(t, err, `flinktail queue forget -data-dir `+r.dir+` --pipeline test --plugin flusher_fake/1`)

		require.NoError(t, r.restarted(&fakeFlusher{}, slow).start().stop(), "nothing was forgotten")
		slow.becomeReady()
		require.NoError(t, r.restarted(&fakeFlusher{}, slow).start().stop())
		require.NoError(t, r.restarted(&fakeFlusher{}).start().stop(), "nothing is left to it")
		f = &fakeFlusher{}
		r = r.restarted(&fakeFlusher{}, f).start()
		require.NoError(t, <-r.put("b", 1))
		require.NoError(t, r.stop())
		require.Equal(t, ids("b", 1), f.ids(), "a new flusher starts at the end")
	})
}

func TestDiskRefusesAQueueInMemoryOverABacklog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, &fakeFlusher{notReady: true}).onDisk().start()
		require.NoError(t, <-r.put("a", 3))
		require.NoError(t, r.stop())
		next := r.restarted(&fakeFlusher{})
		next.config.Global.Queue = memoryQueue
		_, err := New([]*config.Pipeline{next.config}, next.options)
		require.ErrorContains(t, err, "has 3 events left for flusher_fake/0: set Type to disk until they are delivered")
		cursors, err := filepath.Glob(filepath.Join(QueueDir(r.dir, "test"), "cursors.*"))
		require.NoError(t, err)
		require.Len(t, cursors, 2)
		for _, path := range cursors {
			require.NoError(t, os.Rename(path, path+".away"))
		}
		_, err = New([]*config.Pipeline{next.config}, next.options)
		require.ErrorContains(t, err, "has 3 events left, or more: set Type to disk until they are delivered")
		for _, path := range cursors {
			require.NoError(t, os.Rename(path+".away", path))
		}
		require.NoError(t, r.restarted(&fakeFlusher{}).start().stop())
		next.input = newInput()
		next.config.Inputs[0].Instance = next.input
		require.NoError(t, next.start().stop())
	})
}

func TestDiskIsUsedByOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, &fakeFlusher{}).onDisk().start()
		other := r.restarted(&fakeFlusher{})
		_, err := New([]*config.Pipeline{other.config}, other.options)
		require.ErrorContains(t, err, "; one flinktail at a time may run on a data folder")
		require.NoError(t, r.stop())
	})
}

func TestDiskCorruptEventsAreCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, &fakeFlusher{notReady: true}).onDisk().start()
		for _, prefix := range []string{"a", "b", "c"} {
			require.NoError(t, <-r.put(prefix, 3))
		}
		require.NoError(t, r.stop())
		segments, err := filepath.Glob(filepath.Join(QueueDir(r.dir, "test"), "*.segment"))
		require.NoError(t, err)
		require.Len(t, segments, 1)
		text, err := os.ReadFile(segments[0])
		require.NoError(t, err)
		text[len(text)/2] ^= 1 // in the second of three alike
		require.NoError(t, os.WriteFile(segments[0], text, 0o600))

		f := &fakeFlusher{}
		r = r.restarted(f).start()
		require.NoError(t, r.stop())
		require.Equal(t, append(ids("a", 3), ids("c", 3)...), f.ids())
		require.Equal(t, FlusherLedger{Recovered: 9, Delivered: 6, Corrupt: 3}, r.status().Flushers[0].FlusherLedger)
	})
}

func TestDiskThatFailsIsNotReady(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fakeFlusher{}
		r := newRig(t, f).onDisk()
		r.config.Global.Queue.MinFreeBytes = 1 << 60
		r.start()
		done := r.put("a", 3)
		time.Sleep(time.Second)
		require.Empty(t, done)
		require.ErrorContains(t, r.engine.Ready(), "pipeline test: append to queue: less than MinFreeBytes would stay free")
		require.NotEmpty(t, r.status().Queue.Error)
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		require.ErrorIs(t, r.sink.Put(ctx, []*protocol.LogGroup{group("b", 1)}, func(error) { t.Error("done of a refused Put") }), pipeline.ErrFull)
		require.NoError(t, stopWithin(r))
		require.ErrorIs(t, <-done, pipeline.ErrStopping, "the sender hears that nobody has the events")
		require.Equal(t, Ledger{}, r.status().Ledger)
		require.Empty(t, f.ids())
	})
}

// A queue that nobody empties does not keep those waiting who wait for room.
func TestDiskLetsGoOfPutsThatWaitWhenItKeepsTheRest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, &fakeFlusher{notReady: true}).onDisk()
		r.config.Global.Queue.MaxEvents = 3
		r.start()
		require.NoError(t, <-r.put("a", 3))
		refused := make(chan error, 1)
		go func() {
			refused <- r.sink.Put(context.Background(), []*protocol.LogGroup{group("b", 1)}, func(error) { t.Error("done of a refused Put") })
		}()
		synctest.Wait()
		start := time.Now()
		require.NoError(t, r.stop())
		require.LessOrEqual(t, time.Since(start), keepAfter)
		require.ErrorIs(t, <-refused, pipeline.ErrStopping)
	})
}

func TestDiskInputsThatGetNoRoomAreSaidToWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fakeFlusher{notReady: true}
		var log logLines
		r := newRig(t, f).onDisk()
		r.options.Logger = slog.New(slog.NewJSONHandler(&log, nil))
		r.config.Global.Queue.MaxEvents = 4
		r.start()
		require.NoError(t, <-r.put("a", 3))
		for range 3 { // as input_http does: it gives up, and its sender comes again
			ctx, cancel := context.WithTimeout(context.Background(), time.Second)
			require.ErrorIs(t, r.sink.Put(ctx, []*protocol.LogGroup{group("b", 3)}, func(error) {}), pipeline.ErrFull)
			cancel()
		}
		require.Equal(t, InputWaiting, r.status().Inputs[0].State)
		time.Sleep(2 * time.Second)
		lines := log.with(t, "senders have to wait: the queue is full")
		require.Len(t, lines, 1)
		require.Equal(t, []any{"flusher_fake/0 (not_ready)"}, lines[0]["because_of"])
		f.becomeReady()
		time.Sleep(2 * time.Second)
		require.NoError(t, <-r.put("c", 3))
		require.Equal(t, InputRunning, r.status().Inputs[0].State)
		time.Sleep(2 * time.Second)
		require.Len(t, log.with(t, "senders go on"), 1)
		require.NoError(t, r.stop())
	})
}

func TestDiskThatStandsStillIsLogged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log logLines
		r := newRig(t, &fakeFlusher{}).onDisk()
		r.options.Logger = slog.New(slog.NewJSONHandler(&log, nil))
		r.config.Global.Queue.MinFreeBytes = 1 << 60
		r.start()
		r.put("a", 3)
		time.Sleep(5 * time.Second)
		lines := log.with(t, "the queue stands still; senders wait, and it is tried again")
		require.Len(t, lines, 1)
		require.Contains(t, lines[0]["error"], "less than MinFreeBytes would stay free: ")
		require.NoError(t, r.stop())
	})
}

// A Put that can never fit, or whose sender is gone at once, says nothing about the queue: nobody is blamed, and nothing is given up for it.
func TestRoomIsNotMissedByWhoDoesNotWaitForIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, &fakeFlusher{notReady: true})
		r.config.Global.Queue.MaxEvents = 4
		r.config.Flushers[0].Delivery.WhenFull = "dead_letter"
		r.start()
		r.put("a", 3)
		require.ErrorIs(t, r.sink.Put(context.Background(), []*protocol.LogGroup{group("b", 5)}, func(error) {}), pipeline.ErrTooLarge)
		time.Sleep(2 * time.Second)
		require.Equal(t, InputRunning, r.status().Inputs[0].State)
		time.Sleep(holdUpCheck / 2) // between two of the flusher's checks: at the instant of one, the sender does wait
		ctx, cancel := context.WithTimeout(context.Background(), time.Nanosecond)
		defer cancel()
		require.ErrorIs(t, r.sink.Put(ctx, []*protocol.LogGroup{group("c", 3)}, func(error) {}), pipeline.ErrFull)
		time.Sleep(5 * time.Second)
		require.Empty(t, r.letters())
		require.ErrorContains(t, r.stop(), "3 events could not be delivered in time")
	})
}
