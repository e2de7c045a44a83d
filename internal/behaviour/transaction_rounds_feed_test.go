package behaviour

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tidemarkhq/tidemark/internal/kafkatest"
	"github.com/tidemarkhq/tidemark/internal/soak"
)

// roundsFeed writes numbered records, some all the time.
type roundsFeed struct {
	t    testing.TB
	stop context.CancelFunc
	over sync.WaitGroup

	mu   sync.Mutex
	next []int64
}

func feedRounds(t testing.TB, e kafkatest.Endpoint, topic string, r *rand.Rand) *roundsFeed {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	f := &roundsFeed{t: t, stop: cancel, next: make([]int64, roundParts)}
	cl := kafkatest.Client(t, e, kgo.RecordPartitioner(kgo.ManualPartitioner()))
	f.over.Go(func() {
		for ctx.Err() == nil {
			f.some(cl, topic, r)
			select {
			case <-time.After(time.Duration(r.Int64N(int64(400 * time.Millisecond)))):
			case <-ctx.Done():
			}
		}
	})
	t.Cleanup(f.end)
	return f
}

// some writes a few records to some partitions. It may not be given up: whoever counts has to
// know what was written.
func (f *roundsFeed) some(cl *kgo.Client, topic string, r *rand.Rand) {
	f.t.Helper()
	next := f.written()
	var rs []*kgo.Record
	for p := range next {
		for range r.IntN(6) {
			rs = append(rs, &kgo.Record{
				Topic: topic, Partition: int32(p),
				Key: fmt.Appendf(nil, "%d-%d", p, next[p]%10), Value: fmt.Appendf(nil, "%d/%d", p, next[p]),
			})
			next[p]++
		}
	}
	if err := cl.ProduceSync(context.Background(), rs...).FirstErr(); err != nil {
		f.t.Errorf("feeding: %v", err)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.next = next
}

// written is what each partition got so far.
func (f *roundsFeed) written() []int64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.next)
}

// numbers is written as numbers has it.
func (f *roundsFeed) numbers() map[int32][]int64 {
	all := map[int32][]int64{}
	for p, n := range f.written() {
		all[int32(p)] = span(0, n)
	}
	return all
}

func (f *roundsFeed) end() {
	f.stop()
	f.over.Wait()
}

// followRounds tells an audit what a reader of committed records sees.
func followRounds(t testing.TB, e kafkatest.Endpoint, topic string, a *soak.Audit) {
	t.Helper()
	cl := kafkatest.Client(t, e, kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()))
	ctx, cancel := context.WithCancel(context.Background())
	var over sync.WaitGroup
	over.Go(func() {
		for ctx.Err() == nil {
			cl.PollFetches(ctx).EachRecord(func(r *kgo.Record) {
				p, n := kafkatest.Number(t, r)
				if p != r.Partition || string(r.Key) != fmt.Sprintf("%d-%d", p, n%10) {
					a.Violate(soak.Altered, "partition %d has %s with key %s", r.Partition, r.Value, r.Key)
				}
				a.Delivered(p, n, r.Offset, time.Now())
			})
		}
	})
	t.Cleanup(func() { cancel(); over.Wait() })
}
