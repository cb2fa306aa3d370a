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

// QueueStatus is how full the queue is, and why it takes no events now.
type QueueStatus struct {
	Type      string `json:"type"`
	Events    int64  `json:"events"`
	Bytes     int64  `json:"bytes"`
	MaxEvents int64  `json:"max_events,omitempty"`
	MaxBytes  int64  `json:"max_bytes"`
	Error     string `json:"error,omitempty"`
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
	limits := p.global().Queue
	s := PipelineStatus{
		Name:   p.name,
		Ledger: in,
		Queue: QueueStatus{
			Type: limits.Type, Events: int64(used.Events), Bytes: int64(used.Bytes),
			MaxEvents: int64(limits.MaxEvents), MaxBytes: int64(limits.MaxBytes),
		},
	}
	if err := p.queueErr(); err != nil {
		s.Queue.Error = err.Error()
	}
	for _, i := range p.runningInputs() {
		s.Inputs = append(s.Inputs, i.status())
	}
	for _, r := range p.runningFlushers() {
		state := r.state.Load()
		s.Flushers = append(s.Flushers, FlusherStatus{
			Name: r.name, State: state.State, Since: state.Since, LastError: state.LastError,
			Flushes: r.flushes.Load(), Failures: r.failures.Load(), FlusherLedger: flushers[r.ledger],
			LastDeadLetter: r.letters.status(),
		})
	}
	return s
}

// behind says what holds senders up: the queue, when it takes or gives no events, else the flushers that have the most to deliver, and why they do not.
func (p *pipe) behind() []string {
	if err := p.queueErr(); err != nil {
		return []string{err.Error()}
	}
	_, flushers := p.ledger.snapshot()
	most := int64(1)
	for _, f := range flushers {
		most = max(most, f.Queued)
	}
	var names []string
	for _, r := range p.runningFlushers() {
		if flushers[r.ledger].Queued < most {
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
	Recovered   int64 // that queues on disk had left, for the flusher that had the most
	Queued      int64 // in queues on disk, for the flusher that has the most left
	Corrupt     int64 // that queues on disk could not read, at all flushers
}

// Totals sums up the ledgers. It is safe for concurrent use.
func (e *Engine) Totals() (t Totals) {
	for _, p := range e.running() {
		in, flushers := p.ledger.snapshot()
		t.Accepted += in.Accepted
		t.DeadLetters += in.Rejected
		queued, recovered := int64(0), int64(0)
		for _, f := range flushers {
			t.DeadLetters += f.DeadLettered
			t.Corrupt += f.Corrupt
			queued, recovered = max(queued, f.Queued), max(recovered, f.Recovered)
		}
		t.Recovered += recovered
		if p.durable {
			t.Queued += queued
		}
	}
	return t
}
