package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/maphash"
	"math/rand/v2"
	"strconv"
	"strings"

	"github.com/twmb/franz-go/pkg/kgo"
)

// partitions is how wide every topic of the benchmark is.
const partitions = 4

// markBytes is the size of what every value begins with: the partition of the
// source topic (4 bytes) and the record's number in it (8 bytes), big-endian.
const markBytes = 12

// load says what a topic is filled with.
type load struct {
	Records    int `json:"records"`
	ValueBytes int `json:"value_bytes"`
}

// parseLoads reads a list such as "2000000x100,500000x1024".
func parseLoads(s string) ([]load, error) {
	var loads []load
	for item := range strings.SplitSeq(s, ",") {
		count, size, ok := strings.Cut(item, "x")
		records, err1 := strconv.Atoi(count)
		bytes, err2 := strconv.Atoi(size)
		if !ok || err1 != nil || err2 != nil || records < 1 || bytes < markBytes {
			return nil, fmt.Errorf("reading load %q: give RECORDSxBYTES, at least 1x%d", item, markBytes)
		}
		loads = append(loads, load{Records: records, ValueBytes: bytes})
	}
	return loads, nil
}

func (l load) String() string { return fmt.Sprintf("%d x %d B", l.Records, l.ValueBytes) }

// topic is the name of the topic that holds the load.
func (l load) topic() string { return fmt.Sprintf("bench-%d-%d", l.Records, l.ValueBytes) }

// keyCount is how many different keys a topic has.
const keyCount = 10_000

// fill creates the topic of a load, fills it and returns what a faithful copy
// looks like. Records lie in the partition that the hash of their key names, as
// every Kafka client would place them, so a copy by key keeps partitions.
func (b *bench) fill(ctx context.Context, l load) (*content, error) {
	if err := b.createTopic(ctx, l.topic()); err != nil {
		return nil, err
	}
	cl, err := kgo.NewClient(append(b.kafka.ClientOptions(),
		kgo.DefaultProduceTopic(l.topic()),
		kgo.RecordPartitioner(kgo.ManualPartitioner()),
		kgo.ProducerBatchCompression(kgo.NoCompression()),
		kgo.MaxBufferedRecords(50_000),
	)...)
	if err != nil {
		return nil, fmt.Errorf("making a producer: %w", err)
	}
	defer cl.Close()

	want := newContent(partitions)
	keys, homes := makeKeys()
	noise := make([]byte, 1<<16+l.ValueBytes)
	rng := rand.New(rand.NewPCG(1, 2))
	for i := range noise {
		noise[i] = byte(rng.Uint32())
	}
	failed := make(chan error, 1)
	for i := range l.Records {
		k := i % keyCount
		value := make([]byte, l.ValueBytes)
		copy(value, noise[rng.IntN(1<<16):])
		binary.BigEndian.PutUint32(value, uint32(homes[k]))
		binary.BigEndian.PutUint64(value[4:], uint64(want.next(homes[k])))
		want.expect(homes[k], keys[k], value)
		cl.Produce(ctx, &kgo.Record{Key: keys[k], Value: value, Partition: homes[k]}, func(_ *kgo.Record, err error) {
			if err != nil {
				select {
				case failed <- err:
				default:
				}
			}
		})
	}
	if err := cl.Flush(ctx); err != nil {
		return nil, fmt.Errorf("filling topic %s: %w", l.topic(), err)
	}
	select {
	case err := <-failed:
		return nil, fmt.Errorf("filling topic %s: %w", l.topic(), err)
	default:
	}
	return want, nil
}

// makeKeys returns the keys and the partition of each.
func makeKeys() (keys [][]byte, homes []int32) {
	hash := kgo.StickyKeyPartitioner(nil).ForTopic("")
	for i := range keyCount {
		key := fmt.Appendf(nil, "key-%06d", i)
		keys = append(keys, key)
		homes = append(homes, int32(hash.Partition(&kgo.Record{Key: key}, partitions)))
	}
	return keys, homes
}

// content is what a topic holds, as far as a comparison needs it.
type content struct {
	seed maphash.Seed
	// digests holds, by partition, the digest of each record in order.
	digests [][]uint64
}

func newContent(partitions int) *content {
	return &content{seed: maphash.MakeSeed(), digests: make([][]uint64, partitions)}
}

// next is the number of the record that is expected next in a partition.
func (c *content) next(partition int32) int { return len(c.digests[partition]) }

func (c *content) expect(partition int32, key, value []byte) {
	c.digests[partition] = append(c.digests[partition], c.digest(key, value))
}

func (c *content) digest(key, value []byte) uint64 {
	return maphash.Bytes(c.seed, key)*31 + maphash.Bytes(c.seed, value)
}

func (c *content) total() int {
	n := 0
	for _, d := range c.digests {
		n += len(d)
	}
	return n
}

// comparison sets the records of a copy against the content of its source.
type comparison struct {
	want *content
	seen [][]bool
	// last is the number of the last record of each partition, -1 before the first.
	last []int

	count, repeated, reordered, altered, misplaced, foreign int
}

func (c *content) compare() *comparison {
	cmp := &comparison{want: c, seen: make([][]bool, len(c.digests)), last: make([]int, len(c.digests))}
	for p := range c.digests {
		cmp.seen[p] = make([]bool, len(c.digests[p]))
		cmp.last[p] = -1
	}
	return cmp
}

// add takes the next record of a partition of the copy.
func (c *comparison) add(partition int32, key, value []byte) {
	c.count++
	if len(value) < markBytes {
		c.foreign++
		return
	}
	from := binary.BigEndian.Uint32(value)
	number := binary.BigEndian.Uint64(value[4:])
	if from >= uint32(len(c.seen)) || number >= uint64(len(c.seen[from])) {
		c.foreign++
		return
	}
	n := int(number)
	switch {
	case c.seen[from][n]:
		c.repeated++
	case n < c.last[from]:
		c.reordered++
	}
	c.seen[from][n] = true
	c.last[from] = max(c.last[from], n)
	if int32(from) != partition {
		c.misplaced++
	}
	if c.want.digests[from][n] != c.want.digest(key, value) {
		c.altered++
	}
}

// err says what is wrong with the copy, nil if it is faithful.
func (c *comparison) err() error {
	missing := 0
	for _, seen := range c.seen {
		for _, s := range seen {
			if !s {
				missing++
			}
		}
	}
	if missing+c.repeated+c.reordered+c.altered+c.misplaced+c.foreign == 0 {
		return nil
	}
	return fmt.Errorf("the copy is not faithful: of %d records %d are missing; of %d written %d are repeated, "+
		"%d out of order, %d altered, %d in another partition, %d from elsewhere",
		c.want.total(), missing, c.count, c.repeated, c.reordered, c.altered, c.misplaced, c.foreign)
}

// check reads a topic from start to end and compares it. It returns when the
// broker appended the first and the last record, zero if it does not say.
func (b *bench) check(ctx context.Context, topic string, want *content) (sp span, err error) {
	ends, err := b.ends(ctx, topic)
	if err != nil {
		return sp, err
	}
	from := map[int32]kgo.Offset{}
	left := 0
	for p, end := range ends {
		if end > 0 {
			from[int32(p)] = kgo.NewOffset().At(0)
			left++
		}
	}
	cl, err := kgo.NewClient(append(b.kafka.ClientOptions(),
		kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: from}),
		// The ends of transactions take offsets, too.
		kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.KeepControlRecords())...)
	if err != nil {
		return sp, fmt.Errorf("making a consumer: %w", err)
	}
	defer cl.Close()
	cmp := want.compare()
	for left > 0 {
		fetches := cl.PollFetches(ctx)
		if err := errors.Join(ctx.Err(), fetches.Err()); err != nil {
			return sp, fmt.Errorf("reading topic %s: %w", topic, err)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			if !r.Attrs.IsControl() {
				cmp.add(r.Partition, r.Key, r.Value)
				if r.Attrs.TimestampType() == appendTime {
					sp.add(r.Timestamp)
				}
			}
			if r.Offset == ends[r.Partition]-1 {
				left--
			}
		})
	}
	return sp, cmp.err()
}

// appendTime is the timestamp type of a record that the broker dated.
const appendTime = 1
