package soak

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// feeder writes numbered records to the source topic at a rate.
type feeder struct {
	client  *kgo.Client
	numbers *Numbering
	topic   string
	cancel  context.CancelFunc
	done    chan struct{}

	mu     sync.Mutex
	rate   int
	next   []int64
	failed error
}

// feedTick is how often records are written.
const feedTick = 10 * time.Millisecond

// newFeeder makes a feeder that begins with number first of each partition.
func newFeeder(opts []kgo.Opt, numbers *Numbering, topic string, first int64) (*feeder, error) {
	client, err := kgo.NewClient(append(opts,
		kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.MaxBufferedRecords(200_000),
		// A broker that is starting, or ending, may hang up at once.
		kgo.MetadataMinAge(100*time.Millisecond), kgo.AlwaysRetryEOF())...)
	if err != nil {
		return nil, fmt.Errorf("feeding %s: %w", topic, err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	f := &feeder{
		client: client, numbers: numbers, topic: topic, cancel: cancel, done: make(chan struct{}),
		next: make([]int64, numbers.Partitions()),
	}
	for p := range f.next {
		f.next[p] = first
	}
	go f.run(ctx)
	return f, nil
}

func (f *feeder) run(ctx context.Context) {
	defer close(f.done)
	tick := time.NewTicker(feedTick)
	defer tick.Stop()
	owed, last := 0.0, time.Now()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		f.mu.Lock()
		rate := f.rate
		f.mu.Unlock()
		// A machine that stood still must not be made up for in one burst.
		now := time.Now()
		owed += float64(rate) * min(now.Sub(last), 10*feedTick).Seconds()
		last = now
		if rate == 0 {
			owed = 0
		}
		n := int(owed) / f.numbers.Partitions()
		owed -= float64(n * f.numbers.Partitions())
		f.write(ctx, n)
	}
}

// write writes n records to each partition.
func (f *feeder) write(ctx context.Context, n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for p := range f.next {
		for range n {
			if ctx.Err() != nil || f.failed != nil {
				return
			}
			// Records once accepted must be written, in order: hence no context.
			f.client.Produce(context.Background(), f.numbers.Record(f.topic, int32(p), f.next[p]), f.settle)
			f.next[p]++
		}
	}
}

func (f *feeder) settle(r *kgo.Record, err error) {
	if err == nil {
		return
	}
	// Produce may wait for this goroutine with the lock held.
	go func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		if f.failed == nil {
			f.failed = fmt.Errorf("feeding %s/%d: %w", r.Topic, r.Partition, err)
		}
	}()
}

// setRate sets the records per second, over all partitions.
func (f *feeder) setRate(perSecond int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.rate = perSecond
}

// written returns the number that comes next in each partition.
func (f *feeder) written() []int64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.next)
}

// flush waits until everything fed is in the topic, and returns where each
// partition ends.
func (f *feeder) flush(ctx context.Context) ([]int64, error) {
	f.mu.Lock()
	f.rate = 0
	f.mu.Unlock()
	if err := f.client.Flush(ctx); err != nil {
		return nil, fmt.Errorf("feeding %s: %w", f.topic, err)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]int64(nil), f.next...), f.failed
}

func (f *feeder) close() {
	f.cancel()
	<-f.done
	f.client.Close()
}
