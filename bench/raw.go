package main

import (
	"context"
	"fmt"
	"sync"

	"github.com/twmb/franz-go/pkg/kgo"
)

// copyRaw copies a topic with the client alone until ctx ends. It is the ceiling:
// nothing is committed, nobody waits for a flush, records keep their memory.
func copyRaw(ctx context.Context, seeds []string, from, to string, compress kgo.CompressionCodec) error {
	cl, err := kgo.NewClient(
		kgo.SeedBrokers(seeds...),
		kgo.ConsumeTopics(from),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.ProducerBatchCompression(compress),
	)
	if err != nil {
		return fmt.Errorf("making a client: %w", err)
	}
	defer cl.Close()
	var failure error
	var once sync.Once
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	promise := func(_ *kgo.Record, err error) {
		if err != nil {
			once.Do(func() { failure = err; cancel() })
		}
	}
	// Records that were polled are produced to the end, so that a stop loses none.
	producing := context.WithoutCancel(ctx)
	for {
		fetches := cl.PollFetches(ctx)
		if ctx.Err() != nil {
			break
		}
		if err := fetches.Err(); err != nil {
			return fmt.Errorf("polling: %w", err)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			r.Topic = to
			cl.Produce(producing, r, promise)
		})
	}
	if err := cl.Flush(producing); err != nil {
		return fmt.Errorf("flushing: %w", err)
	}
	// A flush ends after the last promise, so nothing writes failure any more.
	if failure != nil {
		return fmt.Errorf("producing: %w", failure)
	}
	return nil
}
