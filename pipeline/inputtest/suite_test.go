package inputtest

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/flinktail/flinktail/pipeline"
	"github.com/flinktail/flinktail/pipeline/internal/verdict"
	"github.com/flinktail/flinktail/protocol"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const example = `{"inputs": [{"type": "input_belt"}], "flushers": [{"type": "flusher_stdout"}]}`

func init() { pipeline.Register("input_belt", func() any { return &beltInput{} }) }

// belt is a source in memory: parcels of ids that come until they are acknowledged.
type belt struct {
	mu      sync.Mutex
	parcels []*parcel
	arrived chan struct{}
}

type parcel struct {
	ids            []string
	offered, acked bool
}

// next returns the first parcel that is not with the pipeline, nil if there is none.
func (b *belt) next() *parcel {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, p := range b.parcels {
		if !p.offered {
			p.offered = true
			return p
		}
	}
	return nil
}

// left reports whether a parcel is not acknowledged.
func (b *belt) left() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.ContainsFunc(b.parcels, func(p *parcel) bool { return !p.acked })
}

// finish acknowledges a parcel, or offers it again.
func (b *belt) finish(p *parcel, ok bool) {
	b.mu.Lock()
	if ok {
		p.acked = true
	} else {
		p.offered = false
	}
	b.mu.Unlock()
	b.wake()
}

func (b *belt) wake() {
	select {
	case b.arrived <- struct{}{}:
	default:
	}
}

// beltInput is an input that keeps the contract; the hooks make it break it.
type beltInput struct {
	belt   *belt
	flaws  flaws
	once   bool
	groups []*protocol.LogGroup
}

type flaws struct {
	text, sample        string
	initFails           bool
	leak                chan struct{} // a goroutine waits for it
	acknowledgesAtOnce  bool
	acknowledgesRefused bool
	acknowledgesLost    bool
	acknowledgesUnread  bool
	turnsRound, changes bool
	putsAfterEnd        bool
	failsAtEnd          bool
	runsOn              time.Duration
	leavesEarly         bool
	stopPanics, noIDs   bool
}

func (in *beltInput) Init(pipeline.Context) error {
	if in.flaws.leak != nil {
		go func() { <-in.flaws.leak }()
	}
	if in.flaws.initFails {
		return errors.New("no belt")
	}
	return nil
}

func (in *beltInput) Description() string { return in.flaws.text }
func (in *beltInput) Sample() []byte      { return []byte(in.flaws.sample) }
func (in *beltInput) ReadOnce()           { in.once = true }

func (in *beltInput) Stop() error {
	if in.flaws.stopPanics {
		panic("belt is torn")
	}
	return nil
}

func (in *beltInput) Run(ctx context.Context, out pipeline.Sink) error {
	for ctx.Err() == nil {
		if p := in.belt.next(); p != nil {
			in.put(ctx, p, out)
			continue
		}
		if in.once && (in.flaws.leavesEarly || !in.belt.left()) {
			return nil
		}
		select {
		case <-ctx.Done():
		case <-in.belt.arrived:
		}
	}
	time.Sleep(in.flaws.runsOn)
	if in.flaws.failsAtEnd {
		return errors.New("interrupted")
	}
	if in.flaws.putsAfterEnd {
		time.AfterFunc(10*time.Millisecond, func() { _ = out.Put(context.Background(), in.build([]string{"late"}), func(error) {}) })
	}
	return nil
}

func (in *beltInput) put(ctx context.Context, p *parcel, out pipeline.Sink) {
	groups := in.build(p.ids)
	if in.flaws.changes {
		for _, g := range in.groups {
			g.Logs = g.Logs[:len(g.Logs)-1]
		}
		in.groups = groups
	}
	err := out.Put(ctx, groups, func(err error) { in.belt.finish(p, err == nil || in.flaws.acknowledgesLost) })
	if err != nil {
		in.belt.finish(p, in.flaws.acknowledgesRefused)
		time.Sleep(time.Millisecond)
	} else if in.flaws.acknowledgesAtOnce {
		in.belt.finish(p, true)
	}
}

func (in *beltInput) build(ids []string) []*protocol.LogGroup {
	if in.flaws.turnsRound {
		ids = slices.Clone(ids)
		slices.Reverse(ids)
	}
	b := protocol.NewBuilder()
	b.BeginGroup("", "")
	for _, id := range ids {
		b.BeginLog(1, 0)
		if !in.flaws.noIDs {
			b.Add("event_id", id)
		}
		b.EndLog()
	}
	return b.Groups()
}

func beltSuite(spoil func(f *flaws)) Suite {
	f := flaws{text: "takes parcels off a belt", sample: example}
	if spoil != nil {
		spoil(&f)
	}
	return Suite{
		Start: func(testing.TB) *Source {
			b := &belt{arrived: make(chan struct{}, 1)}
			return &Source{
				New: func() pipeline.Input { return &beltInput{belt: b, flaws: f} },
				Feed: func(ids []string) func() bool {
					p := &parcel{ids: ids}
					b.mu.Lock()
					b.parcels = append(b.parcels, p)
					b.mu.Unlock()
					b.wake()
					return func() bool {
						b.mu.Lock()
						defer b.mu.Unlock()
						return p.acked || f.acknowledgesUnread
					}
				},
			}
		},
		Broken: func(testing.TB) map[string]pipeline.Input {
			broken := f
			broken.initFails = !f.initFails
			return map[string]pipeline.Input{"no belt": &beltInput{flaws: broken}}
		},
	}
}

func inPluginFolder(t *testing.T, readme string) {
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "README.md"), []byte(readme), 0o600))
	t.Chdir(dir)
}

func TestRightInputPasses(t *testing.T) {
	inPluginFolder(t, example)
	Run(t, beltSuite(nil))
}

// Each broken input has to be found by the check that is there for it, and for the right reason.
func TestBrokenInputsAreFound(t *testing.T) {
	inPluginFolder(t, example)
	release := make(chan struct{})
	t.Cleanup(func() { close(release) })
	tests := []struct {
		name, check, reason string
		spoil               func(f *flaws)
	}{
		{"no description", "description", "is empty", func(f *flaws) { f.text = "" }},
		{"another sample", "sample validates", "README.md does not show", func(f *flaws) { f.sample = "{}" }},
		{"Init succeeds", "failed Init leaks nothing", "Init succeeded", func(f *flaws) { f.initFails = true }},
		{"Init leaves a goroutine", "failed Init leaks nothing", "goroutines are left", func(f *flaws) { f.leak = release }},
		{"Stop leaves a goroutine", "life cycle in any order", "goroutines are left", func(f *flaws) { f.leak = release }},
		{"Stop panics", "life cycle in any order", "panicked", func(f *flaws) { f.stopPanics = true }},
		{"Run fails at its end", "life cycle in any order", "interrupted", func(f *flaws) { f.failsAtEnd = true }},
		{"turns the order round", "takes events in order", "Not equal", func(f *flaws) { f.turnsRound = true }},
		{"events without id", "takes events in order", "no event_id", func(f *flaws) { f.noIDs = true }},
		{"changes groups", "groups stay as they are while the pipeline has them", "a group changed", func(f *flaws) { f.changes = true }},
		{"acknowledges at once", "acknowledges only what is settled", "before they were settled", func(f *flaws) { f.acknowledgesAtOnce = true }},
		{"acknowledges what was refused", "Put fails", "though Put refused", func(f *flaws) { f.acknowledgesRefused = true }},
		{"acknowledges what was lost", "custody is lost", "though custody", func(f *flaws) { f.acknowledgesLost = true }},
		{"acknowledges unread events", "the queue is full at the end", "never taken", func(f *flaws) { f.acknowledgesUnread = true }},
		{"acknowledges late events", "takes nothing after the end", "after the end", func(f *flaws) { f.acknowledgesUnread = true }},
		{"puts late", "takes nothing after the end", "after Run had returned", func(f *flaws) { f.putsAfterEnd = true }},
		{"acknowledges before the end", "settled after the end", "before they were settled", func(f *flaws) { f.acknowledgesAtOnce = true }},
		{"runs on", "end of the context", "did not return", func(f *flaws) { f.runsOn = endTime + time.Second }},
		{"reads once and leaves", "read once", "Run returned before", func(f *flaws) { f.leavesEarly = true }},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			i := slices.IndexFunc(checks, func(c check) bool { return c.name == test.check })
			require.NotEqual(t, -1, i, "no such check")
			reports := verdict.Of(t, func(tb testing.TB) { checks[i].run(tb, beltSuite(test.spoil)) })
			require.NotEmpty(t, reports, "not found")
			require.True(t, verdict.Contains(reports, test.reason), "found for another reason: %q", reports)
		})
	}
}
