package engine

import (
	"errors"
	"strings"

	"github.com/flinktail/flinktail/internal/queue/disk"
	"github.com/flinktail/flinktail/internal/telemetry"
	"github.com/flinktail/flinktail/pipeline"
)

func typeOf(id string) string {
	name, _, _ := strings.Cut(id, "/")
	return name
}

// publish makes the ledger and the queue visible as metrics.
func (p *pipe) publish() (err error) {
	m := publisher{metrics: p.metrics, labels: []pipeline.Label{p.label()}}
	total := func(name, help string, value func(in Ledger) int64) {
		m.total("flinktail_pipeline_"+name, help, func() int64 {
			in, _ := p.ledger.snapshot()
			return value(in)
		})
	}
	total("accepted_events_total", "events that inputs accepted", func(in Ledger) int64 { return in.Accepted })
	total("generated_events_total", "events that processors made", func(in Ledger) int64 { return in.Generated })
	total("filtered_events_total", "events that processors took out", func(in Ledger) int64 { return in.Filtered })
	total("rejected_events_total", "what inputs received and is no event", func(in Ledger) int64 { return in.Rejected })
	total("appended_events_total", "events that were queued", func(in Ledger) int64 { return in.Appended })
	m.gauge("flinktail_queue_bytes", "memory, or disk space, that queued events take", func() int64 { return int64(p.queue.Used().Bytes) })
	m.gauge("flinktail_queue_events", "events in the queue", func() int64 { return int64(p.queue.Used().Events) })
	if q, ok := p.queue.(*disk.Queue); ok {
		m.total("flinktail_queue_syncs_total", "how often the queue on disk was synced, each time for all that had come", q.Syncs)
	}
	m.gauge("flinktail_queue_max_bytes", "what flinktail_queue_bytes may become", func() int64 { return int64(p.global().Queue.MaxBytes) })
	m.gauge("flinktail_queue_failing", "1 while the queue takes or gives no events", func() int64 { return one(p.queueErr() != nil) })
	p.withdraw = m.withdraw
	for _, f := range p.flushers {
		m.errs = append(m.errs, f.publish())
	}
	return errors.Join(m.errs...)
}

// publish makes visible what becomes of the events at a flusher.
func (r *flusherRunner) publish() error {
	s, l := r.flusherStats, &r.pipe.ledger
	m := publisher{metrics: r.pipe.metrics, labels: r.pipe.labels(r.name)}
	ledger := func() FlusherLedger {
		l.mu.Lock()
		defer l.mu.Unlock()
		return *s.ledger
	}
	m.total("flinktail_flusher_delivered_events_total", "events that the destination confirmed", func() int64 { return ledger().Delivered })
	m.total("flinktail_flusher_filtered_events_total", "events that Match left out", func() int64 { return ledger().Filtered })
	m.total("flinktail_flusher_corrupt_events_total", "events that the queue on disk could not read", func() int64 { return ledger().Corrupt })
	m.gauge("flinktail_flusher_queued_events", "events that wait for this flusher", func() int64 { return ledger().Queued })
	m.total("flinktail_flusher_flushes_total", "calls of Flush", s.flushes.Load)
	m.total("flinktail_flusher_failures_total", "calls of Flush that failed in full or in part", s.failures.Load)
	m.gauge("flinktail_flusher_blocked", "1 while the destination needs a person", func() int64 { return one(s.state.Load().State == StateBlocked) })
	s.withdraw = m.withdraw
	return errors.Join(m.errs...)
}

func (s *flusherStats) unpublish() {
	for _, withdraw := range s.withdraw {
		withdraw()
	}
}

// publisher publishes metrics with the same labels, and collects what takes them back.
type publisher struct {
	metrics  *telemetry.Metrics
	labels   []pipeline.Label
	withdraw []func()
	errs     []error
}

func (m *publisher) total(name, help string, value func() int64) {
	m.add(m.metrics.Total(name, help, func() float64 { return float64(value()) }, m.labels...))
}

func (m *publisher) gauge(name, help string, value func() int64) {
	m.add(m.metrics.Gauge(name, help, func() float64 { return float64(value()) }, m.labels...))
}

func (m *publisher) add(withdraw func(), err error) {
	m.withdraw = append(m.withdraw, withdraw)
	m.errs = append(m.errs, err)
}

func one(b bool) int64 {
	if b {
		return 1
	}
	return 0
}
