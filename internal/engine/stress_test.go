package engine

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/flinktail/flinktail/internal/config"
	"github.com/flinktail/flinktail/internal/telemetry"
	"github.com/flinktail/flinktail/pipeline"
	"github.com/flinktail/flinktail/protocol"
)

// TestStress runs random pipelines with random faults, and stops them at a random moment. Time is a bubble's, so that a
// deadline is kept to the nanosecond however slow the machine is; goroutines run in parallel all the same.
func TestStress(t *testing.T) {
	seeds := []uint64{1, 2, 3, 4, 5}
	for start := time.Now(); time.Since(start) < 3*time.Second; seeds = seeds[1:] {
		if len(seeds) == 1 {
			seeds = append(seeds, rand.Uint64())
		}
		if !t.Run(fmt.Sprint("seed=", seeds[0]), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { newStress(t, seeds[0]).run() })
		}) {
			return
		}
	}
}

// stress is one random run and what must come of it.
type stress struct {
	*rig
	seed     uint64
	inputs   []*fakeInput
	flushers []*stressFlusher
	dones    sync.WaitGroup

	mu      sync.Mutex
	events  map[string]bool // id -> queued, else filtered by a processor
	made    int             // by the processor, in the order of its calls
	refused int
	before  PipelineStatus // of the first run, when there is a second
}

const senders = 6 // each with jobs of its own: their order is known

func newStress(t *testing.T, seed uint64) *stress {
	s := &stress{rig: newRig(t), seed: seed, events: map[string]bool{}}
	rnd := s.rand(0)
	pick := func(values ...int) int { return values[rnd.IntN(len(values))] }
	s.config.Global.Queue.MaxEvents = pick(8, 40, 200)
	s.config.Global.Queue.MaxBytes = pipeline.Size(pick(20_000, 100_000, 10_000_000))
	if pick(0, 1) == 1 {
		s.onDisk()
		s.config.Global.Queue.MaxEvents = pick(40, 200)
	}
	s.options.StopTimeout = time.Duration(pick(20, 100, 1000, 5000, 25_000)) * time.Millisecond
	s.inputs = []*fakeInput{s.input, newInput(), newInput()}
	for i, in := range s.inputs[1:] {
		s.config.Inputs = append(s.config.Inputs, config.Plugin{Type: "input_fake", Name: "input_fake/" + strconv.Itoa(i), Instance: in})
	}
	for i := range 3 {
		f := &stressFlusher{rnd: s.rand(100 + i), faults: pick(0, 10, 30, 60), heals: pick(0, 1, 1) == 1, delivered: map[string]int{}}
		d := config.DefaultDelivery()
		d.Retry = config.Retry{Initial: time.Millisecond, Max: time.Duration(pick(2, 50)) * time.Millisecond, MaxElapsed: time.Duration(pick(0, 0, 30)) * time.Millisecond}
		d.Batch = config.Batch{MaxEvents: pick(2, 7, 2000), MaxBytes: pipeline.Size(pick(4000, 1_000_000)), MaxAge: time.Duration(pick(0, 0, 5)) * time.Millisecond}
		d.Workers = pick(1, 1, 4)
		d.MaxEventAge = time.Duration(pick(0, 0, 40)) * time.Millisecond
		d.WhenFull = []string{"block", "dead_letter"}[pick(0, 0, 1)]
		if pick(0, 0, 1) == 1 {
			f.even = true
			d.Match = map[string]config.Patterns{"event_id": {"*0", "*2", "*4", "*6", "*8"}}
		}
		s.flushers = append(s.flushers, f)
		s.config.Flushers = append(s.config.Flushers, config.Plugin{
			Type: "flusher_fake", Name: "flusher_fake/" + strconv.Itoa(i), Path: "flushers", Instance: f, Delivery: d,
		})
	}
	withProcessors(s.rig, &fakeProcessor{process: s.filter}, &fakeProcessor{process: s.generate, tick: func(emit func(*protocol.LogGroup)) { emit(s.make(3)) }})
	return s
}

func (s *stress) rand(stream int) *rand.Rand { return rand.New(rand.NewPCG(s.seed, uint64(stream))) }

func (s *stress) run() {
	s.start()
	sinks := []pipeline.Sink{s.sink, <-s.inputs[1].sink, <-s.inputs[2].sink}
	ended := make(chan struct{})
	var sending sync.WaitGroup
	for i := range senders {
		sending.Go(func() { s.send(i, sinks[i%len(sinks)], ended) })
	}
	sending.Go(func() { s.watchLedger(ended) })
	rnd := s.rand(1)
	time.Sleep(time.Duration(rnd.IntN(1000)) * time.Millisecond)
	for range rnd.IntN(500) {
		s.requireLedger()
	}
	start := time.Now()
	err := s.stop()
	require.LessOrEqual(s.t, time.Since(start), s.options.StopTimeout)
	if err != nil {
		require.NotContains(s.t, err.Error(), "lost")
		require.NotContains(s.t, err.Error(), "did not")
	}
	close(ended)
	sending.Wait()
	time.Sleep(2 * time.Second) // a Flush that hangs returns
	synctest.Wait()
	s.dones.Wait() // with one too few the bubble ends in a deadlock
	if s.durable() {
		s.finish()
	}
	s.requireSettled()
}

func (s *stress) durable() bool { return s.config.Global.Queue.Type == config.QueueDisk }

// finish restarts the pipeline to deliver what the stop has left in the queue, with flushers that fail no more.
func (s *stress) finish() {
	s.requireLedger()
	s.before = s.status()
	for _, f := range s.flushers {
		f.mu.Lock()
		f.faults, f.urgent = 0, false
		f.mu.Unlock()
	}
	for _, in := range s.inputs {
		in.sink = make(chan pipeline.Sink, 1)
	}
	s.options.Metrics = telemetry.New()
	s.start()
	for slices.ContainsFunc(s.status().Flushers, func(f FlusherStatus) bool { return f.Queued > 0 }) {
		time.Sleep(time.Millisecond)
	}
	require.NoError(s.t, s.stop())
}

// send puts groups from a builder whose memory it reuses as soon as done was called, as the inputs do.
func (s *stress) send(sender int, out pipeline.Sink, ended <-chan struct{}) {
	rnd := s.rand(10 + sender)
	for next := 0; ; {
		select {
		case <-ended:
			return
		default:
		}
		b := protocol.NewBuilder()
		var sent []string
		for range 1 + rnd.IntN(3) {
			b.BeginGroup("", "")
			for range rnd.IntN(5) {
				job := fmt.Sprintf("job%d.%d", sender, rnd.IntN(3))
				sent = append(sent, fmt.Sprintf("%s-%06d", job, next))
				addEvent(b, job, sent[len(sent)-1])
				next++
			}
		}
		groups := b.Groups()
		ctx, cancel := context.WithTimeout(context.Background(), time.Duration(1+rnd.IntN(100))*time.Millisecond)
		calls := 0
		s.dones.Add(1)
		err := out.Put(ctx, groups, func(err error) {
			calls++
			if calls > 1 || err != nil {
				s.t.Errorf("done was called %d times, with %v", calls, err)
			}
			s.mu.Lock()
			for _, id := range sent {
				if _, seen := s.events[id]; !seen {
					s.t.Errorf("%s was settled before it was processed", id)
				}
			}
			s.mu.Unlock()
			b.Release()
			s.dones.Done()
		})
		cancel()
		if err != nil {
			s.dones.Done()
			b.Release()
			if errors.Is(err, pipeline.ErrStopping) {
				return
			}
			if !errors.Is(err, pipeline.ErrFull) && !errors.Is(err, pipeline.ErrTooLarge) {
				s.t.Error(err)
				return
			}
			s.mu.Lock()
			s.refused += len(sent)
			s.mu.Unlock()
		}
		if rnd.IntN(20) == 0 {
			time.Sleep(time.Duration(rnd.IntN(5)) * time.Millisecond)
		}
	}
}

func addEvent(b *protocol.Builder, job, id string) {
	at := time.Now()
	b.BeginLog(uint32(at.Unix()), uint32(at.Nanosecond()))
	b.Add("event_id", id)
	b.Add("job_id", job)
	b.EndLog()
}

// filter takes out every event whose id hashes so.
func (s *stress) filter(g *protocol.LogGroup, _ func(*protocol.LogGroup)) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	kept := g.Logs[:0]
	for _, log := range g.Logs {
		id := strings.Clone(protocol.Value(log, "event_id"))
		if _, twice := s.events[id]; twice {
			s.t.Errorf("%s was processed twice", id)
		}
		if s.events[id] = hash(id)%7 > 0; s.events[id] {
			kept = append(kept, log)
		}
	}
	g.Logs = kept
	return nil
}

// generate makes events now and then, and sometimes fails.
func (s *stress) generate(g *protocol.LogGroup, emit func(*protocol.LogGroup)) error {
	switch hash(protocol.Value(g.Logs[0], "event_id")) % 11 {
	case 0:
		emit(s.make(2))
	case 1:
		panic("bug")
	case 2:
		return errors.New("bug")
	}
	return nil
}

func (s *stress) make(n int) *protocol.LogGroup {
	s.mu.Lock()
	defer s.mu.Unlock()
	b := protocol.NewBuilder()
	g := b.BeginGroup("", "")
	for range n {
		id := fmt.Sprintf("made-%06d", s.made)
		s.made++
		s.events[id] = true
		addEvent(b, "made", id)
	}
	return g
}

func hash(s string) int {
	h := fnv.New32a()
	_, _ = h.Write([]byte(s))
	return int(h.Sum32())
}

// watchLedger looks at the ledger beside everything else.
func (s *stress) watchLedger(ended <-chan struct{}) {
	for pause := time.Millisecond; ; pause += pause / 10 {
		select {
		case <-ended:
			return
		case <-time.After(pause):
			for range 20 {
				s.requireLedger()
			}
		}
	}
}

// requireSettled checks that each event came to exactly one end at each flusher; with a queue on disk, which is read again from the last
// entry that is settled in full, it may be delivered twice.
func (s *stress) requireSettled() {
	s.requireLedger()
	queued := 0
	for _, q := range s.events {
		if q {
			queued++
		}
	}
	status := s.status()
	require.EqualValues(s.t, queued, status.Ledger.Appended+s.before.Ledger.Appended)
	require.EqualValues(s.t, s.made, status.Ledger.Generated+s.before.Ledger.Generated)
	require.EqualValues(s.t, len(s.events)-s.made, status.Ledger.Accepted+s.before.Ledger.Accepted)
	require.Zero(s.t, status.Queue.Events+status.Queue.Bytes)
	dead := map[string]map[string]int{}
	for _, letter := range s.letters() {
		if dead[letter.Plugin] == nil {
			dead[letter.Plugin] = map[string]int{}
		}
		dead[letter.Plugin][letter.EventID]++
	}
	for i, f := range s.flushers {
		name := s.config.Flushers[i].Name
		ledger := status.Flushers[i].FlusherLedger
		require.Zero(s.t, ledger.Queued, name)
		filtered := 0
		for id, queued := range s.events {
			ends := f.delivered[id] + dead[name][id]
			switch {
			case !queued, f.even && (id[len(id)-1]-'0')%2 == 1:
				require.Zero(s.t, ends, "%s at %s", id, name)
				if queued {
					filtered++
				}
			case s.durable():
				require.Positive(s.t, ends, "%s at %s", id, name)
			default:
				require.Equal(s.t, 1, ends, "%s at %s: delivered %d, dead letters %d", id, name, f.delivered[id], dead[name][id])
			}
		}
		if !s.durable() {
			require.EqualValues(s.t, filtered, ledger.Filtered, name)
			require.EqualValues(s.t, len(f.delivered), ledger.Delivered, name)
			require.EqualValues(s.t, len(dead[name]), ledger.DeadLettered, name)
		}
		if !f.partial {
			for job, ids := range f.order {
				// What became a dead letter beside others that were not settled is read again with them, and then delivered late.
				ids = slices.DeleteFunc(ids, func(id string) bool { return dead[name][id] > 0 })
				require.True(s.t, slices.IsSorted(ids), "%s of %s", job, name)
			}
		}
	}
}

// stressFlusher fails at random and never lies: what it does not report as failed it has recorded, and the other way round.
type stressFlusher struct {
	fakeFlusher
	even   bool // it gets only those
	faults int  // of 100 calls
	heals  bool

	mu        sync.Mutex
	rnd       *rand.Rand
	urgent    bool
	partial   bool
	delivered map[string]int
	order     map[string][]string // ids of each job
}

func (f *stressFlusher) roll(n int) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.rnd.IntN(n)
}

func (f *stressFlusher) faulty() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.rnd.IntN(100) < f.faults && (!f.urgent || !f.heals)
}

func (f *stressFlusher) SetUrgent(urgent bool)              { f.mu.Lock(); f.urgent = urgent; f.mu.Unlock() }
func (f *stressFlusher) IsReady(string, string, int64) bool { return !f.faulty() }

func (f *stressFlusher) Flush(_, _, _ string, groups []*protocol.LogGroup) error {
	if !f.faulty() {
		if f.roll(10) == 0 {
			time.Sleep(time.Duration(f.roll(5)) * time.Millisecond)
			if err := f.context.Context().Err(); err != nil {
				return err // with a stop of some milliseconds the batch may have been taken away
			}
		}
		f.record(groups, nil)
		return nil
	}
	fault := errors.New("fault")
	switch f.roll(10) {
	case 0, 1:
		return fault
	case 2, 3:
		return f.fail(groups)
	case 4:
		return pipeline.Permanent(fault)
	case 5:
		return pipeline.Throttle(fault, time.Duration(f.roll(40))*time.Millisecond)
	case 6:
		return pipeline.Blocked(fault)
	case 7:
		return &pipeline.PartialError{Failures: []pipeline.Failure{{Group: len(groups), Err: fault}}}
	case 8:
		<-time.After(time.Duration(f.roll(300)) * time.Millisecond)
		if f.roll(3) == 0 && f.context.Context().Err() == nil {
			<-f.context.Context().Done()
			time.Sleep(time.Duration(f.roll(2000)) * time.Millisecond) // longer than it may
		}
		return fault // nobody waits for it, perhaps
	}
	panic("bug")
}

// fail delivers some events and reports the others, some twice.
func (f *stressFlusher) fail(groups []*protocol.LogGroup) error {
	e := &pipeline.PartialError{}
	for i, g := range groups {
		for j := range g.Logs {
			if f.roll(2) == 0 {
				failure := pipeline.Failure{Group: i, Log: j, Err: errors.New("fault"), Retryable: f.roll(3) > 0}
				e.Failures = append(e.Failures, failure)
				if f.roll(4) == 0 {
					e.Failures = append(e.Failures, failure)
				}
			}
		}
	}
	if len(e.Failures) > 0 {
		f.record(groups, e)
	}
	return e
}

func (f *stressFlusher) record(groups []*protocol.LogGroup, e *pipeline.PartialError) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.order == nil {
		f.order = map[string][]string{}
	}
	f.partial = f.partial || e != nil
	for i, g := range groups {
		for j, log := range g.Logs {
			if e != nil && slices.ContainsFunc(e.Failures, func(x pipeline.Failure) bool { return x.Group == i && x.Log == j }) {
				continue
			}
			id, job := strings.Clone(protocol.Value(log, "event_id")), strings.Clone(protocol.Value(log, "job_id"))
			if f.delivered[id]++; f.delivered[id] == 1 {
				f.order[job] = append(f.order[job], id)
			}
		}
	}
}
