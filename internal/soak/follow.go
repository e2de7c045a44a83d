package soak

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/tidemarkhq/tidemark/internal/kafkatest"
)

// offsetsTopic is where Kafka keeps what groups commit.
const offsetsTopic = "__consumer_offsets"

// tail reads a topic on its own goroutine and hands out each record, in the order
// of each partition.
type tail struct {
	client *kgo.Client
	topic  string
	// committed: what transactions have not committed is not read.
	committed bool
	// marker, if set, is told of the ends of transactions, handle of everything else.
	marker func(*kgo.Record)
	handle func(*kgo.Record)
	cancel context.CancelFunc
	done   chan struct{}

	mu   sync.Mutex
	next map[int32]int64
	err  error
	// moved is closed and replaced when next or err change.
	moved chan struct{}
}

// newTail reads topic from the given offsets on.
func newTail(opts []kgo.Opt, topic string, from map[int32]int64, handle func(*kgo.Record)) (*tail, error) {
	f := &tail{topic: topic, handle: handle}
	return f, f.begin(opts, from)
}

// begin reads from the given offsets on.
func (f *tail) begin(opts []kgo.Opt, from map[int32]int64) error {
	isolation := kgo.ReadUncommitted()
	if f.committed {
		isolation = kgo.ReadCommitted()
	}
	offsets := map[int32]kgo.Offset{}
	next := map[int32]int64{}
	for p, at := range from {
		offsets[p] = kgo.NewOffset().At(at)
		next[p] = at
	}
	client, err := kgo.NewClient(append(opts,
		kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{f.topic: offsets}),
		kgo.FetchIsolationLevel(isolation), kgo.KeepControlRecords(),
		kgo.FetchMaxWait(100*time.Millisecond), kgo.MetadataMinAge(100*time.Millisecond), kgo.AlwaysRetryEOF())...)
	if err != nil {
		return fmt.Errorf("reading %s: %w", f.topic, err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	f.client, f.next = client, next
	f.cancel, f.done, f.moved = cancel, make(chan struct{}), make(chan struct{})
	go f.run(ctx)
	return nil
}

func (f *tail) run(ctx context.Context) {
	defer close(f.done)
	for {
		fetches := f.client.PollFetches(ctx)
		if ctx.Err() != nil {
			return
		}
		reached := map[int32]int64{}
		fetches.EachRecord(func(r *kgo.Record) {
			switch {
			case !r.Attrs.IsControl():
				f.handle(r)
			case f.marker != nil:
				f.marker(r)
			}
			reached[r.Partition] = r.Offset + 1
		})
		f.mu.Lock()
		for p, n := range reached {
			f.next[p] = n
		}
		if err := fetches.Err(); err != nil && f.err == nil {
			f.err = fmt.Errorf("reading %s: %w", f.topic, err)
		}
		close(f.moved)
		f.moved = make(chan struct{})
		f.mu.Unlock()
	}
}

// await waits until everything that the topic holds now, and that is to be read, was
// handled.
func (f *tail) await(ctx context.Context) error {
	ends, err := listed(ctx, f.client, f.topic, f.committed)
	if err != nil {
		return err
	}
	for {
		f.mu.Lock()
		err, moved, behind := f.err, f.moved, false
		for p, end := range ends {
			if f.next[int32(p)] < end {
				behind = true
			}
		}
		f.mu.Unlock()
		if err != nil || !behind {
			return err
		}
		select {
		case <-moved:
		case <-ctx.Done():
			return fmt.Errorf("reading %s to its end: %w", f.topic, context.Cause(ctx))
		}
	}
}

func (f *tail) close() {
	f.cancel()
	<-f.done
	f.client.Close()
}

// tail begins one that ends with the test.
func (r *Rig) tail(f *tail, of kafkatest.Endpoint, from map[int32]int64) *tail {
	r.t.Helper()
	r.must(f.begin(of.ClientOptions(), from))
	r.t.Cleanup(f.close)
	return f
}

// starts is where each partition of the target begins.
func (r *Rig) starts() map[int32]int64 {
	starts := map[int32]int64{}
	for p := range r.Numbers.Partitions() {
		starts[int32(p)] = 0
	}
	return starts
}

// listEnds returns the end of each partition of a topic.
func listEnds(ctx context.Context, cl *kgo.Client, topic string) ([]int64, error) {
	return listed(ctx, cl, topic, false)
}

// listed is listEnds for a reader of what is committed, or of everything.
func listed(ctx context.Context, cl *kgo.Client, topic string, committed bool) ([]int64, error) {
	const atEnd, uncommittedToo, onlyCommitted = -1, 0, 1
	isolation := int8(uncommittedToo)
	if committed {
		isolation = onlyCommitted
	}
	m, err := kadm.NewClient(cl).Metadata(ctx, topic)
	if err == nil {
		err = m.Topics[topic].Err
	}
	var ends []int64
	if err == nil {
		ends, err = kafkatest.ListOffsets(ctx, cl, topic, len(m.Topics[topic].Partitions), atEnd, isolation)
	}
	if err != nil {
		return nil, fmt.Errorf("listing the ends of %s: %w", topic, err)
	}
	return ends, nil
}

// followOutput tells the audit of what comes into the output topic.
func (r *Rig) followOutput() func(*kgo.Record) {
	return func(rec *kgo.Record) {
		p, n, err := r.Numbers.Number(rec)
		if err == nil && p != rec.Partition {
			err = fmt.Errorf("record %d/%d is in partition %d", p, n, rec.Partition)
		}
		if err != nil {
			r.Audit.Violate(Altered, "output %d offset %d: %v", rec.Partition, rec.Offset, err)
			return
		}
		if r.Watch != nil {
			r.Watch(p, n, rec)
		}
		at := rec.Timestamp
		if r.noTimestamps {
			at = time.Now()
		}
		r.Audit.Delivered(p, n, rec.Offset, at)
	}
}

// timeOf is when a record was written; of brokers before 0.10, which keep no time, when it was
// read.
func timeOf(rec *kgo.Record) time.Time {
	if rec.Timestamp.IsZero() {
		return time.Now()
	}
	return rec.Timestamp
}

// followCommits tells the audit of what the group commits. For every commit it
// takes the end of the output then, after it has seen the commit.
func (r *Rig) followCommits(ends func() ([]int64, error)) func(*kgo.Record) {
	return func(rec *kgo.Record) {
		p, at, ok, err := r.commitOf(rec)
		if err != nil {
			r.Audit.Violate(Unhealthy, "%s %d offset %d: %v", offsetsTopic, rec.Partition, rec.Offset, err)
		}
		if !ok {
			return
		}
		end := int64(-1)
		if es, err := ends(); err == nil {
			end = es[p]
		}
		r.Audit.Committed(p, at, timeOf(rec), end)
	}
}

// commitOf reads a commit of our group and topic.
func (r *Rig) commitOf(rec *kgo.Record) (p int32, at int64, ok bool, err error) {
	if len(rec.Key) < 2 || rec.Value == nil {
		return 0, 0, false, nil
	}
	if version := int16(rec.Key[0])<<8 | int16(rec.Key[1]); version > 1 {
		return 0, 0, false, nil // members of groups
	}
	key := kmsg.NewOffsetCommitKey()
	if err := key.ReadFrom(rec.Key); err != nil {
		return 0, 0, false, fmt.Errorf("reading the key of a commit: %w", err)
	}
	if key.Group != r.Group || key.Topic != r.Source {
		return 0, 0, false, nil
	}
	value := kmsg.NewOffsetCommitValue()
	if err := value.ReadFrom(rec.Value); err != nil {
		return 0, 0, false, fmt.Errorf("reading a commit: %w", err)
	}
	if r.once != nil {
		r.once.claimed(key.Partition, value.Metadata)
	}
	return key.Partition, value.Offset, true, nil
}
