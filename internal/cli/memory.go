package cli

import (
	"os"
	"runtime/debug"

	"github.com/flinktail/flinktail/internal/config"
	"github.com/flinktail/flinktail/pipeline"
)

const (
	baseMemory  = 64 * pipeline.MiB // the program itself, with plugins' libraries
	inputMemory = 64 * pipeline.MiB // bodies and files being read, for each input

	pendingMemory = 64 * pipeline.MiB // what a queue on disk has not synced yet
)

// setMemoryLimit makes the garbage collector work harder near what the configured bounds add up to, so that a backlog
// costs what its queue is allowed to. GOMEMLIMIT in the environment wins.
func setMemoryLimit(pipelines []*config.Pipeline) {
	if os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(int64(memoryLimit(pipelines)))
	}
}

func memoryLimit(pipelines []*config.Pipeline) pipeline.Size {
	limit := baseMemory
	for _, p := range pipelines {
		limit += pipeline.Size(len(p.Inputs)) * inputMemory
		switch p.Global.Queue.Type {
		case config.QueueMemory:
			limit += p.Global.Queue.MaxBytes
		default:
			limit += pendingMemory
		}
		for _, f := range p.Flushers {
			inFlight := pipeline.Size(f.Delivery.Workers) * f.Delivery.Batch.MaxBytes
			limit += 2 * inFlight // encoded, and compressed
			if p.Global.Queue.Type != config.QueueMemory {
				limit += 2 * inFlight // read ahead
			}
		}
	}
	return limit
}
