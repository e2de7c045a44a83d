package kafkatest

import (
	"context"
	"fmt"
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/kversion"
)

// Produce writes records, to the partitions that they name, and waits until the
// broker has them. The records get their offsets.
func Produce(t testing.TB, e Endpoint, records ...*kgo.Record) {
	t.Helper()
	cl, err := kgo.NewClient(append(e.ClientOptions(), kgo.RecordPartitioner(kgo.ManualPartitioner()))...)
	if err != nil {
		t.Fatalf("producing: making a client: %v", err)
	}
	defer cl.Close()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := cl.ProduceSync(ctx, records...).FirstErr(); err != nil {
		t.Fatalf("producing: %v", err)
	}
}

// Fill appends n numbered records to every partition of a topic. The value is
// "partition/number" and the key "partition-(number modulo 10)"; numbers go on
// from the partition's end, so in a topic that was only filled, number and offset
// are equal. Each shape may change the record before it is written.
func Fill(t testing.TB, e Endpoint, topic string, n int, shape ...func(*kgo.Record)) {
	t.Helper()
	ends := Ends(t, e, topic)
	records := make([]*kgo.Record, 0, n*len(ends))
	for i := range n {
		for p, end := range ends {
			number := end + int64(i)
			r := &kgo.Record{
				Topic: topic, Partition: int32(p),
				Key:   fmt.Appendf(nil, "%d-%d", p, number%10),
				Value: fmt.Appendf(nil, "%d/%d", p, number),
			}
			for _, s := range shape {
				s(r)
			}
			records = append(records, r)
		}
	}
	Produce(t, e, records...)
}

// Number returns the partition and the number in a value that Fill wrote.
func Number(t testing.TB, r *kgo.Record) (partition int32, number int64) {
	t.Helper()
	if _, err := fmt.Sscanf(string(r.Value), "%d/%d", &partition, &number); err != nil {
		t.Fatalf("value %q of %s/%d offset %d is not partition/number: %v", r.Value, r.Topic, r.Partition, r.Offset, err)
	}
	return partition, number
}

// ReadCommitted returns what a topic holds now for a read-committed reader, by
// partition and in offset order, up to the last stable offset.
func ReadCommitted(t testing.TB, e Endpoint, topic string) [][]*kgo.Record {
	t.Helper()
	return read(t, e, topic, StableEnds(t, e, topic), kgo.ReadCommitted())
}

// ReadUncommitted returns what a topic holds now, aborted and unfinished
// transactions included, by partition and in offset order.
func ReadUncommitted(t testing.TB, e Endpoint, topic string) [][]*kgo.Record {
	t.Helper()
	return read(t, e, topic, Ends(t, e, topic), kgo.ReadUncommitted())
}

// read fetches each partition up to its end by hand: unlike a consumer, whoever
// does so is told the next offset, also where the last ones are gaps or markers.
func read(t testing.TB, e Endpoint, topic string, ends []int64, level kgo.IsolationLevel) [][]*kgo.Record {
	t.Helper()
	starts := Starts(t, e, topic)
	cl, err := kgo.NewClient(e.ClientOptions()...)
	if err != nil {
		t.Fatalf("reading %s: making a client: %v", topic, err)
	}
	defer cl.Close()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	all := make([][]*kgo.Record, len(ends))
	for p, end := range ends {
		f := fetcher{cl: cl, topic: topic, partition: int32(p), level: level}
		err := poll(patience, func() error { return f.find(ctx) })
		for next := starts[p]; err == nil && next < end; {
			var got []*kgo.Record
			got, next, err = f.fetch(ctx, next)
			for _, r := range got {
				if r.Offset < end {
					all[p] = append(all[p], r)
				}
			}
		}
		if err != nil {
			t.Fatalf("reading %s/%d: %v", topic, p, err)
		}
	}
	return all
}

// fetcher fetches from one partition.
type fetcher struct {
	cl        *kgo.Client
	topic     string
	id        [16]byte
	partition int32
	leader    int32
	level     kgo.IsolationLevel
}

// find learns the partition's leader and the topic's id.
func (f *fetcher) find(ctx context.Context) error {
	req := kmsg.NewPtrMetadataRequest()
	rt := kmsg.NewMetadataRequestTopic()
	rt.Topic = &f.topic
	req.Topics = append(req.Topics, rt)
	resp, err := req.RequestWith(ctx, f.cl)
	if err != nil {
		return err
	}
	for _, rt := range resp.Topics {
		if err := kerr.ErrorForCode(rt.ErrorCode); err != nil {
			return err
		}
		for _, rp := range rt.Partitions {
			if rp.Partition == f.partition {
				f.id, f.leader = rt.TopicID, rp.Leader
				return kerr.ErrorForCode(rp.ErrorCode)
			}
		}
	}
	return kerr.UnknownTopicOrPartition
}

// fetch returns the records at and after an offset, and where to go on.
func (f *fetcher) fetch(ctx context.Context, at int64) ([]*kgo.Record, int64, error) {
	opts := kgo.ProcessFetchPartitionOpts{Offset: at, IsolationLevel: f.level, Topic: f.topic, Partition: f.partition}
	req := kmsg.NewPtrFetchRequest()
	req.MaxWaitMillis, req.MinBytes, req.MaxBytes = 500, 1, 16<<20
	if f.level == kgo.ReadCommitted() {
		req.IsolationLevel = 1
	}
	rp := kmsg.NewFetchRequestTopicPartition()
	rp.Partition, rp.FetchOffset, rp.PartitionMaxBytes, rp.CurrentLeaderEpoch = f.partition, at, 16<<20, -1
	rt := kmsg.NewFetchRequestTopic()
	rt.Topic, rt.TopicID = f.topic, f.id
	rt.Partitions = append(rt.Partitions, rp)
	req.Topics = append(req.Topics, rt)
	resp, err := req.RequestWith(ctx, f.cl.Broker(int(f.leader)))
	if err != nil {
		return nil, at, err
	}
	if err := kerr.ErrorForCode(resp.ErrorCode); err != nil {
		return nil, at, err
	}
	for _, rt := range resp.Topics {
		for i := range rt.Partitions {
			fp, next := kgo.ProcessFetchPartition(opts, &rt.Partitions[i], kgo.DefaultDecompressor(), nil)
			return fp.Records, next, fp.Err
		}
	}
	return nil, at, nil
}

// ProduceBatch appends a record batch as it is to a partition.
func ProduceBatch(t testing.TB, e Endpoint, topic string, partition int32, batch []byte) {
	t.Helper()
	// Later versions name topics by their ids.
	cl, err := kgo.NewClient(append(e.ClientOptions(), kgo.MaxVersions(kversion.V3_9_0()))...)
	if err != nil {
		t.Fatalf("producing a batch: making a client: %v", err)
	}
	defer cl.Close()
	req := kmsg.NewPtrProduceRequest()
	req.Acks, req.TimeoutMillis = -1, int32(patience.Milliseconds())
	rt := kmsg.NewProduceRequestTopic()
	rt.Topic = topic
	rp := kmsg.NewProduceRequestTopicPartition()
	rp.Partition, rp.Records = partition, batch
	rt.Partitions = append(rt.Partitions, rp)
	req.Topics = append(req.Topics, rt)
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	resp, err := req.RequestWith(ctx, cl)
	if err == nil {
		err = kerr.ErrorForCode(resp.Topics[0].Partitions[0].ErrorCode)
	}
	if err != nil {
		t.Fatalf("producing a batch: %v", err)
	}
}
