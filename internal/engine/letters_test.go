package engine

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/flinktail/flinktail/pipeline"
	"github.com/flinktail/flinktail/protocol"
)

// logLines is a log that a test reads.
type logLines struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *logLines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

// with returns the lines with this message.
func (l *logLines) with(t *testing.T, message string) (lines []map[string]any) {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	decoder := json.NewDecoder(bytes.NewReader(l.text.Bytes()))
	for decoder.More() {
		var line map[string]any
		require.NoError(t, decoder.Decode(&line))
		if line["msg"] == message {
			lines = append(lines, line)
		}
	}
	return lines
}

func logged(r *rig) *logLines {
	l := &logLines{}
	r.options.Logger = slog.New(slog.NewJSONHandler(l, nil))
	return l
}

// Dead letters are logged at once, and not one by one; the status and the totals tell of them.
func TestDeadLettersAreTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fakeFlusher{answer: func(int, []*protocol.LogGroup) error { return pipeline.Permanent(errors.New("malformed")) }}
		r := newRig(t, f)
		log := logged(r)
		r.start()
		require.Nil(t, r.status().Flushers[0].LastDeadLetter)
		began := time.Now()
		for range 119 {
			require.NoError(t, <-r.put("a", 2))
			time.Sleep(time.Second)
		}
		lines := log.with(t, "events became dead letters")
		require.Len(t, lines, 2, "one a minute")
		require.EqualValues(t, 2, lines[0]["events"])
		require.Equal(t, "permanent_error", lines[0]["reason"])
		require.Equal(t, "malformed", lines[0]["error"])
		require.Equal(t, "flusher_fake/0", lines[0]["plugin"])
		require.EqualValues(t, 120, lines[1]["events"], "those since the first")
		require.Equal(t, &LastDeadLetter{began.Add(118 * time.Second), "permanent_error", "malformed"}, r.status().Flushers[0].LastDeadLetter)

		require.NoError(t, r.input.context.Reject(context.Background(), []byte("{bad"), "malformed_json", "unexpected end"))
		require.Equal(t, "malformed_json", r.status().Inputs[0].LastDeadLetter.Reason)
		lines = log.with(t, "events became dead letters")
		require.Equal(t, "input_fake", lines[len(lines)-1]["plugin"])
		require.Equal(t, Totals{Accepted: 2*119 + 1, DeadLetters: 2*119 + 1}, r.engine.Totals())
		require.NoError(t, r.stop())
	})
}

// When senders have to wait it is said for whom, and when it is over.
func TestWaitingInputsAreTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		down := true
		dead := &fakeFlusher{}
		dead.answer = func(int, []*protocol.LogGroup) error {
			dead.mu.Lock()
			defer dead.mu.Unlock()
			if down {
				return errors.New("connection refused")
			}
			return nil
		}
		r := newRig(t, dead, &fakeFlusher{})
		log := logged(r)
		input := &waitingInput{fakeInput: r.config.Inputs[0].Instance.(*fakeInput)}
		r.config.Inputs[0].Instance = input
		r.start()
		settled := r.put("a", 4)
		time.Sleep(time.Minute)
		require.Equal(t, InputRunning, r.status().Inputs[0].State)
		require.Empty(t, log.with(t, "senders have to wait: what they sent is not settled"))
		input.waits.Store(true)
		time.Sleep(time.Minute)
		require.Equal(t, InputWaiting, r.status().Inputs[0].State)
		require.NoError(t, r.engine.Ready(), "it runs")
		lines := log.with(t, "senders have to wait: what they sent is not settled")
		require.Len(t, lines, 1)
		require.Equal(t, []any{"flusher_fake/0 (retrying: connection refused)"}, lines[0]["because_of"])
		dead.mu.Lock()
		down = false
		dead.mu.Unlock()
		require.NoError(t, <-settled)
		input.waits.Store(false)
		time.Sleep(2 * time.Second)
		require.Len(t, log.with(t, "senders go on"), 1)
		require.NoError(t, r.stop())
	})
}
