package engine

import (
	"errors"
	"strings"

	"github.com/flinktail/flinktail/pipeline"
)

func typeOf(id string) string {
	name, _, _ := strings.Cut(id, "/")
	return name
}

// publish makes the ledger and the queue visible as metrics.
func (p *pipe) publish() error {
	own := pipeline.Label{Name: "pipeline", Value: p.config.Name}
	total := func(name, help string, value func(in Ledger) int64) error {
		return p.metrics.Total("flinktail_pipeline_"+name, help, func() float64 {
			in, _ := p.ledger.snapshot()
			return float64(value(in))
		}, own)
	}
	errs := []error{
		total("accepted_events_total", "events that inputs accepted", func(in Ledger) int64 { return in.Accepted }),
		total("generated_events_total", "events that processors made", func(in Ledger) int64 { return in.Generated }),
		total("filtered_events_total", "events that processors took out", func(in Ledger) int64 { return in.Filtered }),
		total("rejected_events_total", "what inputs received and is no event", func(in Ledger) int64 { return in.Rejected }),
		total("appended_events_total", "events that were queued", func(in Ledger) int64 { return in.Appended }),
		p.metrics.Gauge("flinktail_queue_bytes", "memory that queued events take", func() float64 {
			return float64(p.queue.Used().Bytes)
		}, own),
		p.metrics.Gauge("flinktail_queue_events", "events in the queue", func() float64 {
			return float64(p.queue.Used().Events)
		}, own),
	}
	for i, r := range p.runners {
		labels := p.labels(r.name)
		ledger := func() FlusherLedger {
			_, flushers := p.ledger.snapshot()
			return flushers[i]
		}
		errs = append(errs,
			p.metrics.Total("flinktail_flusher_delivered_events_total", "events that the destination confirmed",
				func() float64 { return float64(ledger().Delivered) }, labels...),
			p.metrics.Total("flinktail_flusher_filtered_events_total", "events that Match left out",
				func() float64 { return float64(ledger().Filtered) }, labels...),
			p.metrics.Gauge("flinktail_flusher_queued_events", "events that wait for this flusher",
				func() float64 { return float64(ledger().Queued) }, labels...),
			p.metrics.Total("flinktail_flusher_flushes_total", "calls of Flush",
				func() float64 { return float64(r.flushes.Load()) }, labels...),
			p.metrics.Total("flinktail_flusher_failures_total", "calls of Flush that failed in full or in part",
				func() float64 { return float64(r.failures.Load()) }, labels...),
			p.metrics.Gauge("flinktail_flusher_blocked", "1 while the destination needs a person",
				func() float64 {
					if r.state.Load().State == StateBlocked {
						return 1
					}
					return 0
				}, labels...),
		)
	}
	return errors.Join(errs...)
}
