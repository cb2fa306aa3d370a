package engine

import "time"

// Status is what /api/status shows.
type Status struct {
	Version   string           `json:"version"`
	StartedAt time.Time        `json:"started_at"`
	Pipelines []PipelineStatus `json:"pipelines"`
}

// PipelineStatus is one pipeline's part of Status.
type PipelineStatus struct {
	Name     string          `json:"name"`
	Inputs   []InputStatus   `json:"inputs"`
	Queue    QueueStatus     `json:"queue"`
	Ledger   Ledger          `json:"ledger"`
	Flushers []FlusherStatus `json:"flushers"`
}

// InputStatus tells whether an input runs: "starting", "running", "done" or "failed".
type InputStatus struct {
	Name  string `json:"name"`
	State string `json:"state"`
	Error string `json:"error,omitempty"`
}

// QueueStatus is how full the queue is.
type QueueStatus struct {
	Type      string `json:"type"`
	Events    int64  `json:"events"`
	Bytes     int64  `json:"bytes"`
	MaxEvents int64  `json:"max_events"`
	MaxBytes  int64  `json:"max_bytes"`
}

// FlusherStatus is what became of the events at one flusher, and how it fares: "ready", "not_ready", "retrying" or
// "blocked", since when, and its last error.
type FlusherStatus struct {
	Name      string    `json:"name"`
	State     string    `json:"state"`
	Since     time.Time `json:"since"`
	LastError string    `json:"last_error,omitempty"`
	Flushes   int64     `json:"flushes"`
	Failures  int64     `json:"failures"`
	FlusherLedger
}

func (p *pipe) status() PipelineStatus {
	in, flushers := p.ledger.snapshot()
	used := p.queue.Used()
	s := PipelineStatus{
		Name:   p.config.Name,
		Ledger: in,
		Queue: QueueStatus{
			Type: p.config.Global.Queue.Type, Events: int64(used.Events), Bytes: int64(used.Bytes),
			MaxEvents: int64(p.config.Global.Queue.MaxEvents), MaxBytes: int64(p.config.Global.Queue.MaxBytes),
		},
	}
	for _, i := range p.inputs {
		s.Inputs = append(s.Inputs, i.status())
	}
	for i, r := range p.runners {
		state := r.state.Load()
		s.Flushers = append(s.Flushers, FlusherStatus{
			Name: r.name, State: state.State, Since: state.Since, LastError: state.LastError,
			Flushes: r.flushes.Load(), Failures: r.failures.Load(), FlusherLedger: flushers[i],
		})
	}
	return s
}
