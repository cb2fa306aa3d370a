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
		limit += p.Global.Queue.MaxBytes + pipeline.Size(len(p.Inputs))*inputMemory
		for _, f := range p.Flushers {
			limit += 2 * pipeline.Size(f.Delivery.Workers) * f.Delivery.Batch.MaxBytes // encoded, and compressed
		}
	}
	return limit
}
