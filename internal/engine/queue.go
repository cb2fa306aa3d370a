package engine

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path/filepath"
	"slices"

	"github.com/flinktail/flinktail/internal/config"
	"github.com/flinktail/flinktail/internal/queue"
	"github.com/flinktail/flinktail/internal/queue/disk"
)

// QueueDir is the folder of a pipeline's queue on disk.
func QueueDir(dataDir, pipeline string) string { return filepath.Join(dataDir, pipeline, "queue") }

// openQueue opens the pipeline's queue.
func (p *pipe) openQueue(c *config.Pipeline) error {
	options := c.Global.Queue
	dir := filepath.Join(p.dataDir, "queue")
	if options.Type == config.QueueMemory {
		p.queue = queue.NewMemory(queue.Size{Bytes: int(options.MaxBytes), Events: options.MaxEvents})
		if err := leftOnDisk(dir); err != nil {
			return fmt.Errorf("global.Queue.Type is memory, but %w: set Type to disk until they are delivered, or remove the folder to give them up", err)
		}
		return nil
	}
	p.durable = true
	names := make([]string, len(c.Flushers))
	ahead := 0
	for i, f := range c.Flushers {
		names[i] = f.Name
		ahead = max(ahead, 2*max(f.Delivery.Workers, 1)*int(f.Delivery.Batch.MaxBytes))
	}
	q, err := disk.Open(dir, disk.Options{
		MaxBytes: int64(options.MaxBytes), MaxEvents: options.MaxEvents, MinFreeBytes: int64(options.MinFreeBytes),
		AheadBytes: ahead, Cursors: names, Damaged: p.damaged,
	})
	if errors.Is(err, disk.ErrInUse) {
		return fmt.Errorf("%w; one flinktail at a time may run on a data folder: stop the other, or choose another -data-dir", err)
	}
	if err == nil {
		p.queue = q
	}
	return err
}

// leftOnDisk returns an error when a queue on disk, which is not used any more, holds events.
func leftOnDisk(dir string) error {
	report, err := disk.Inspect(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, cursor := range report.Cursors {
		if cursor.Backlog > 0 {
			return fmt.Errorf("the queue on disk in %s has %d events left for %s", dir, cursor.Backlog, cursor.Name)
		}
	}
	for _, segment := range report.Segments {
		if segment.Events > 0 && len(report.Cursors) == 0 { // the positions are lost
			return fmt.Errorf("the queue on disk in %s has %d events left, or more", dir, segment.Events)
		}
	}
	return nil
}

// warnOfLeftQueues tells about events in the queues of pipelines that are no longer configured.
func warnOfLeftQueues(pipelines []*config.Pipeline, o Options) {
	folders, _ := filepath.Glob(QueueDir(o.DataDir, "*")) // the pattern is right
	for _, dir := range folders {
		name := filepath.Base(filepath.Dir(dir))
		if slices.ContainsFunc(pipelines, func(c *config.Pipeline) bool { return c.Name == name }) {
			continue
		}
		if err := leftOnDisk(dir); err != nil {
			o.Logger.Warn("a pipeline that is not configured has events in its queue; run it again to deliver them, or remove its folder", "pipeline", name, "folder", filepath.Dir(dir), "error", err)
		}
	}
}

// damaged tells a person about what the queue cannot read.
func (p *pipe) damaged(d disk.Damage) {
	p.logger.Error("part of the queue cannot be read", "pipeline", p.name, "file", filepath.Join(p.dataDir, "queue", d.File),
		"offset", d.Offset, "bytes", d.Bytes, "events", d.Events, "kept", d.Kept, "error", d.Err)
	p.counter("flinktail_queue_damages_total", "places of the queue's files that could not be read", p.label()).Add(1)
}

// forgetRemoved forgets the cursors of flushers that are no longer in the configuration. One with events left is an error.
func (p *pipe) forgetRemoved() error {
	q, ok := p.queue.(*disk.Queue)
	if !ok {
		return nil
	}
	var errs []error
	unused := q.Unused()
	for _, name := range slices.Sorted(maps.Keys(unused)) {
		if left := unused[name]; left > 0 {
			errs = append(errs, p.leftBehind(name, left))
			continue
		}
		errs = append(errs, q.Forget(name))
	}
	return errors.Join(errs...)
}

// leftBehind says what can be done about a removed flusher's events.
func (p *pipe) leftBehind(flusher string, events int) error {
	if !p.durable {
		return fmt.Errorf("%s is no longer in the configuration, but %d events are queued for it: leave it in until it has delivered them, or restart flinktail, which makes dead letters of them", flusher, events)
	}
	return fmt.Errorf("%s is no longer in the configuration, but %d events are queued for it: leave it in until it has delivered them, or give them up, while flinktail is stopped, with \"flinktail queue forget -data-dir %s --pipeline %s --plugin %s\"",
		flusher, events, filepath.Dir(p.dataDir), p.name, flusher)
}

// noteQueueErr logs when the queue begins to take or give no events, and when that is over. It is the ticker's own.
func (p *pipe) noteQueueErr() {
	text := ""
	if err := p.queueErr(); err != nil {
		text = err.Error()
	}
	if (text == "") == (p.notedErr == "") {
		return
	}
	p.notedErr = text
	if text == "" {
		p.logger.Info("the queue goes on", "pipeline", p.name)
		return
	}
	p.logger.Error("the queue stands still; senders wait, and it is tried again", "pipeline", p.name, "folder", filepath.Join(p.dataDir, "queue"), "error", text)
}

// queueErr returns why the queue takes or gives no events, nil when it does.
func (p *pipe) queueErr() error {
	if q, ok := p.queue.(*disk.Queue); ok {
		return q.Err()
	}
	return nil
}
