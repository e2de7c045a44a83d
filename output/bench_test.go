package output

import (
	"bytes"
	"context"
	"fmt"
	"strconv"
	"testing"
	"time"

	"github.com/redpanda-data/benthos/v4/public/service"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/tidemarkhq/tidemark/checkpoint"
	"github.com/tidemarkhq/tidemark/internal/kafkatest"
)

const benchBatch = 1000

func benchRecords() []*kgo.Record {
	rs := make([]*kgo.Record, benchBatch)
	for i := range rs {
		rs[i] = &kgo.Record{
			Key: []byte("key-" + strconv.Itoa(i%100)), Value: bytes.Repeat([]byte{'x'}, 100), Timestamp: time.UnixMilli(1_700_000_000_000 + int64(i)),
		}
	}
	return rs
}

// benchCluster swallows produce requests: what it would cost to store records is
// not what is measured.
func benchCluster(b *testing.B) (*kafkatest.Cluster, string) {
	c := kafkatest.Fake(b, kfake.NumBrokers(1))
	topic := kafkatest.Topic(b, c, 4)
	c.ControlKey(int16(kmsg.Produce), func(r kmsg.Request) (kmsg.Response, error, bool) {
		c.KeepControl()
		req := r.(*kmsg.ProduceRequest)
		resp := req.ResponseKind().(*kmsg.ProduceResponse)
		for _, t := range req.Topics {
			rt := kmsg.NewProduceResponseTopic()
			rt.Topic, rt.TopicID = t.Topic, t.TopicID
			for _, p := range t.Partitions {
				rp := kmsg.NewProduceResponseTopicPartition()
				rp.Partition = p.Partition
				rt.Partitions = append(rt.Partitions, rp)
			}
			resp.Topics = append(resp.Topics, rt)
		}
		return resp, nil, true
	})
	return c, topic
}

// BenchmarkProduce is the client alone, to compare with. One operation is one
// record in all of these.
func BenchmarkProduce(b *testing.B) {
	c, topic := benchCluster(b)
	cl := kafkatest.Client(b, c, kgo.ProducerBatchCompression(kgo.NoCompression()))
	rs := benchRecords()
	b.ReportAllocs()
	b.ResetTimer()
	for n := 0; n < b.N; n += benchBatch {
		slab := make([]kgo.Record, benchBatch)
		for i, r := range rs {
			slab[i] = kgo.Record{Topic: topic, Key: r.Key, Value: r.Value, Timestamp: r.Timestamp}
			cl.Produce(context.Background(), &slab[i], nil)
		}
	}
	require.NoError(b, cl.Flush(context.Background()))
}

func BenchmarkWriteBatch(b *testing.B) {
	for _, metadata := range []bool{false, true} {
		for _, conf := range []struct{ name, yaml string }{
			{"default", ""},
			{"key", "key: ${! @kafka_key }"},
			{"topic", "topic: ${! @kafka_topic }"},
		} {
			if !metadata && conf.name != "default" {
				continue
			}
			b.Run(fmt.Sprintf("metadata=%v/%s", metadata, conf.name), func(b *testing.B) {
				benchmarkWriteBatch(b, metadata, conf.yaml)
			})
		}
	}
}

func benchmarkWriteBatch(b *testing.B, metadata bool, yaml string) {
	c, topic := benchCluster(b)
	s := newStream("a", true)
	if yaml == "" || yaml[:3] == "key" {
		yaml += "\ntopic: " + topic
	}
	o := open(b, c, s, "compression: none\n"+yaml)
	batch, _ := s.batch(0, benchRecords()...)
	if metadata {
		setMetadata(batch, topic)
	}
	b.ReportAllocs()
	b.ResetTimer()
	for n := 0; n < b.N; n += benchBatch {
		if err := o.WriteBatch(context.Background(), batch); err != nil {
			b.Fatal(err)
		}
	}
	s.sink.Rotate(1)
	require.NoError(b, s.sink.Flush(context.Background(), 1))
}

func setMetadata(batch service.MessageBatch, topic string) {
	for i, m := range batch {
		m.MetaSetMut("kafka_key", "key-"+strconv.Itoa(i%100))
		m.MetaSetMut("kafka_topic", topic)
		m.MetaSetMut("kafka_partition", int64(1))
		m.MetaSetMut("kafka_offset", int64(i))
		m.MetaSetMut("kafka_timestamp_ms", int64(1_700_000_000_000+i))
		m.MetaSetMut("kafka_timestamp_unix", int64(1_700_000_000))
		m.MetaSetMut("kafka_tombstone_message", false)
	}
}

// BenchmarkPrepare is what is added to the client.
func BenchmarkPrepare(b *testing.B) {
	for _, metadata := range []bool{false, true} {
		b.Run(fmt.Sprintf("metadata=%v", metadata), func(b *testing.B) {
			c, topic := benchCluster(b)
			s := newStream("a", true)
			o := open(b, c, s, "topic: "+topic)
			batch, _ := s.batch(0, benchRecords()...)
			if metadata {
				setMetadata(batch, topic)
			}
			b.ReportAllocs()
			b.ResetTimer()
			for n := 0; n < b.N; n += benchBatch {
				w := &batchWriter{o: o, ctx: context.Background(), batch: batch}
				if err := w.prepare(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

var _ checkpoint.Coordinator = (*stream)(nil)
