package cli

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/flinktail/flinktail/internal/deadletter"
	"github.com/flinktail/flinktail/pipeline"
	"github.com/flinktail/flinktail/protocol"
	"github.com/flinktail/flinktail/protocol/flink"
)

const (
	feedName   = "input_deadletter"
	feedEvents = 256       // letters in one Put
	feedBytes  = 256 << 10 // a Put ends when its lines reach this
	feedDepth  = 10_000    // as deep as encoding/json reads a letter
)

// feed is the input that replays the letters of one plugin. It has an end.
type feed struct {
	dir     string
	plugin  string
	filters *filters
	settled atomic.Int64 // for progress

	mu    sync.Mutex
	sent  []sentLetter // settled, by delivery or by a new dead letter
	wrong []error      // what kept letters from being sent or settled; only the first of many is kept
}

// sentLetter is a letter that was sent. Two hashes, not the letter: there may be a million.
type sentLetter struct {
	key   deadletter.Key
	event eventKey
}

// eventKey recognises an event that comes back as a dead letter: by its id, by its text when it has none.
type eventKey [sha256.Size]byte

func eventKeyOf(id string, event []byte) eventKey {
	if id != "" {
		return sha256.Sum256([]byte(id))
	}
	return sha256.Sum256(event)
}

func (f *feed) Init(pipeline.Context) error { return nil }
func (f *feed) Description() string         { return "replays dead letters" }
func (f *feed) ReadOnce()                   {}
func (f *feed) Stop() error                 { return nil }

// Run puts the letters in the order in which they lie in the files.
func (f *feed) Run(ctx context.Context, out pipeline.Sink) error {
	p := f.newParcel()
	err := deadletter.Read(f.dir, func(r deadletter.Record) error {
		if r.Err != nil || r.Letter.Plugin != f.plugin || !f.filters.match(&r.Letter) || !r.Letter.Replayable() {
			return nil
		}
		if err := p.add(&r); err != nil {
			f.fail(fmt.Errorf("event %q cannot be read: %w", r.Letter.EventID, err))
			return nil
		}
		if len(p.letters) < feedEvents && p.bytes < feedBytes {
			return nil
		}
		full := p
		p = f.newParcel()
		return full.put(ctx, out)
	})
	if err == nil {
		err = p.put(ctx, out)
	} else {
		p.builder.Release()
	}
	if errors.Is(err, pipeline.ErrFull) || errors.Is(err, pipeline.ErrStopping) { // interrupted: the rest stays where it is
		return nil
	}
	return err
}

func (f *feed) fail(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.wrong) == 0 {
		f.wrong = append(f.wrong, err)
	}
}

func (f *feed) failure() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return errors.Join(f.wrong...)
}

// delivered returns the letters that were settled and did not come back to the dead letters in dir.
func (f *feed) delivered(dir string) (map[deadletter.Key]struct{}, error) {
	back := map[eventKey]struct{}{}
	err := deadletter.Read(dir, func(r deadletter.Record) error {
		if r.Err != nil {
			return r.Err
		}
		if !r.Letter.Replayable() {
			return fmt.Errorf("%s gave back what cannot be told apart (%s: %s)", r.Letter.Plugin, r.Letter.Reason, r.Letter.Error)
		}
		f.fail(fmt.Errorf("event %q came back (%s): %s", r.Letter.EventID, r.Letter.Reason, r.Letter.Error))
		back[eventKeyOf(r.Letter.EventID, r.Letter.Event)] = struct{}{}
		return nil
	})
	if err != nil {
		return nil, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	keys := map[deadletter.Key]struct{}{}
	for _, s := range f.sent {
		if _, returned := back[s.event]; !returned {
			keys[s.key] = struct{}{}
		}
	}
	return keys, nil
}

// parcel is the letters of one Put.
type parcel struct {
	feed    *feed
	builder *protocol.Builder
	decoder *protocol.JSONDecoder
	encoder *protocol.JSONEncoder
	letters []sentLetter
	bytes   int
}

func (f *feed) newParcel() *parcel {
	p := &parcel{
		feed: f, builder: protocol.NewBuilder(),
		decoder: protocol.NewJSONDecoder(flink.Fields, feedDepth), encoder: protocol.NewJSONEncoder(flink.Fields),
	}
	p.builder.BeginGroup("", "")
	return p
}

func (p *parcel) add(r *deadletter.Record) error {
	if err := p.decoder.DecodeLine(p.builder, bytes.Clone(r.Letter.Event), time.Now()); err != nil {
		return err
	}
	log := p.builder.EndLog()
	group := p.builder.Groups()[0]
	id := protocol.Value(log, flink.FieldEventID)
	p.letters = append(p.letters, sentLetter{r.Key(), eventKeyOf(id, p.encoder.Append(nil, group, len(p.letters)))})
	p.bytes += len(r.Line)
	return nil
}

// put gives the parcel to the pipeline, and its memory back when it is settled.
func (p *parcel) put(ctx context.Context, out pipeline.Sink) error {
	if len(p.letters) == 0 {
		p.builder.Release()
		return nil
	}
	err := out.Put(ctx, p.builder.Groups(), func(err error) {
		if err != nil {
			p.feed.fail(err)
		} else {
			p.feed.settle(p.letters)
		}
		p.builder.Release()
	})
	if err != nil {
		p.builder.Release()
	}
	return err
}

func (f *feed) settle(letters []sentLetter) {
	f.mu.Lock()
	f.sent = append(f.sent, letters...)
	f.mu.Unlock()
	f.settled.Add(int64(len(letters)))
}
