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

// InputStatus tells whether an input runs: "starting", "running", "waiting" (running, and its senders have to wait until
// more is settled), "done" or "failed".
type InputStatus struct {
	Name  string `json:"name"`
	State string `json:"state"`
	Error string `json:"error,omitempty"`

	LastDeadLetter *LastDeadLetter `json:"last_dead_letter,omitempty"`
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
	LastDeadLetter *LastDeadLetter `json:"last_dead_letter,omitempty"`
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
			LastDeadLetter: r.letters.status(),
		})
	}
	return s
}

// behind names the flushers that have the most to deliver, and why they do not.
func (p *pipe) behind() []string {
	_, flushers := p.ledger.snapshot()
	most := int64(1)
	for _, f := range flushers {
		most = max(most, f.Queued)
	}
	var names []string
	for i, r := range p.runners {
		if flushers[i].Queued < most {
			continue
		}
		s := r.state.Load()
		name := r.name + " (" + s.State
		if s.LastError != "" {
			name += ": " + s.LastError
		}
		names = append(names, name+")")
	}
	return names
}

// Totals are what became of all events, over all pipelines.
type Totals struct {
	Accepted    int64 // by inputs
	DeadLetters int64 // of inputs and flushers
}

// Totals sums up the ledgers. It is safe for concurrent use.
func (e *Engine) Totals() (t Totals) {
	for _, p := range e.pipes {
		in, flushers := p.ledger.snapshot()
		t.Accepted += in.Accepted
		t.DeadLetters += in.Rejected
		for _, f := range flushers {
			t.DeadLetters += f.DeadLettered
		}
	}
	return t
}
