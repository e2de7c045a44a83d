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
	t     testing.TB
	topic string
	// some is how many a partition gets now, record makes one of them.
	some   func(r *rand.Rand, p int32) int
	record func(r *rand.Rand, p int32, n int64) (key, value []byte)
	stop   context.CancelFunc
	over   sync.WaitGroup

	mu   sync.Mutex
	next []int64
}

func newRoundsFeed(t testing.TB, topic string) *roundsFeed {
	t.Helper()
	return &roundsFeed{
		t: t, topic: topic, next: make([]int64, roundParts),
		some: func(r *rand.Rand, _ int32) int { return r.IntN(6) },
		record: func(_ *rand.Rand, p int32, n int64) (key, value []byte) {
			return fmt.Appendf(nil, "%d-%d", p, n%10), fmt.Appendf(nil, "%d/%d", p, n)
		},
	}
}

func (f *roundsFeed) start(e kafkatest.Endpoint, r *rand.Rand) {
	f.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	f.stop = cancel
	cl := kafkatest.Client(f.t, e, kgo.RecordPartitioner(kgo.ManualPartitioner()))
	f.over.Go(func() {
		for ctx.Err() == nil {
			f.write(cl, r)
			select {
			case <-time.After(time.Duration(r.Int64N(int64(400 * time.Millisecond)))):
			case <-ctx.Done():
			}
		}
	})
	f.t.Cleanup(f.end)
}

// write writes a few records to some partitions. It may not be given up: whoever counts has
// to know what was written.
func (f *roundsFeed) write(cl *kgo.Client, r *rand.Rand) {
	f.t.Helper()
	next := f.written()
	var rs []*kgo.Record
	for p := range int32(roundParts) {
		for range f.some(r, p) {
			key, value := f.record(r, p, next[p])
			rs = append(rs, &kgo.Record{Topic: f.topic, Partition: p, Key: key, Value: value})
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

// followRounds hands on what a reader of committed records sees.
func followRounds(t testing.TB, e kafkatest.Endpoint, topic string, take func(*kgo.Record)) {
	t.Helper()
	cl := kafkatest.Client(t, e, kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()))
	ctx, cancel := context.WithCancel(context.Background())
	var over sync.WaitGroup
	over.Go(func() {
		for ctx.Err() == nil {
			cl.PollFetches(ctx).EachRecord(take)
		}
	})
	t.Cleanup(func() { cancel(); over.Wait() })
}

// copied tells an audit of the copy of a record.
func copied(t testing.TB, r *kgo.Record, a *soak.Audit) {
	t.Helper()
	p, n := kafkatest.Number(t, r)
	if p != r.Partition || string(r.Key) != fmt.Sprintf("%d-%d", p, n%10) {
		a.Violate(soak.Altered, "partition %d has %s with key %s", r.Partition, r.Value, r.Key)
	}
	a.Delivered(p, n, r.Offset, time.Now())
}
