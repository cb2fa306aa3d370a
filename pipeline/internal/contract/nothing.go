package contract

import (
	"context"

	"github.com/flinktail/flinktail/pipeline"
	"github.com/flinktail/flinktail/protocol"
)

// A configuration needs an input and a flusher: these stand for the ones that a sample is not checked for.
func init() {
	pipeline.Register("input_contracttest", func() any { return &noInput{} })
	pipeline.Register("flusher_contracttest", func() any { return &noFlusher{} })
}

type nothing struct{}

func (nothing) Init(pipeline.Context) error { return nil }
func (nothing) Description() string         { return "stands for a plugin in a contract test" }
func (nothing) Stop() error                 { return nil }

type noInput struct{ nothing }

func (noInput) Run(context.Context, pipeline.Sink) error { return nil }

type noFlusher struct{ nothing }

func (noFlusher) IsReady(string, string, int64) bool                       { return false }
func (noFlusher) Flush(string, string, string, []*protocol.LogGroup) error { return nil }
func (noFlusher) SetUrgent(bool)                                           {}
