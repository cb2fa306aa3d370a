package pipeline

import (
	"context"

	"github.com/flinktail/flinktail/protocol"
)

// PutAndWait puts groups and waits until they are settled: for inputs that have nothing else to do
// meanwhile. When ctx ends after the groups were taken it returns ctx's error and settled is still false:
// the groups stay with the pipeline.
func PutAndWait(ctx context.Context, out Sink, groups []*protocol.LogGroup) (settled bool, err error) {
	settledc := make(chan error, 1)
	if err := out.Put(ctx, groups, func(err error) { settledc <- err }); err != nil {
		return false, err
	}
	select {
	case err := <-settledc:
		return err == nil, err
	case <-ctx.Done():
		return false, ctx.Err()
	}
}
