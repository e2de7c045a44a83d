package output

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redpanda-data/benthos/v4/public/service"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/tidemarkhq/tidemark/internal/kafkatest"
)

// produced remembers the produce requests of a cluster.
type produced struct {
	mu       sync.Mutex
	requests []*kmsg.ProduceRequest
}

func observe(c *kafkatest.Cluster) *produced {
	p := new(produced)
	c.ControlKey(int16(kmsg.Produce), func(r kmsg.Request) (kmsg.Response, error, bool) {
		c.KeepControl()
		p.mu.Lock()
		defer p.mu.Unlock()
		p.requests = append(p.requests, r.(*kmsg.ProduceRequest))
		return nil, nil, false
	})
	return p
}

func (p *produced) count() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.requests)
}

func (p *produced) first(t *testing.T) *kmsg.ProduceRequest {
	t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	require.NotEmpty(t, p.requests)
	return p.requests[0]
}

// header is the part of a record batch that says how it was made.
func header(t *testing.T, r *kmsg.ProduceRequest) (b kmsg.RecordBatch) {
	t.Helper()
	require.NoError(t, b.ReadFrom(r.Topics[0].Partitions[0].Records))
	return b
}

// Each value is seen at the broker.
func TestFieldsOfTheProduceRequest(t *testing.T) {
	codec := func(want int16) func(*testing.T, *kmsg.ProduceRequest) {
		return func(t *testing.T, r *kmsg.ProduceRequest) { require.Equal(t, want, header(t, r).Attributes&7) }
	}
	for yaml, check := range map[string]func(*testing.T, *kmsg.ProduceRequest){
		"":                  func(t *testing.T, r *kmsg.ProduceRequest) { require.EqualValues(t, -1, r.Acks) },
		"timeout: 7s":       func(t *testing.T, r *kmsg.ProduceRequest) { require.EqualValues(t, 7000, r.TimeoutMillis) },
		"compression: none": codec(0), "compression: gzip": codec(1), "compression: snappy": codec(2),
		"compression: lz4": codec(3), "compression: zstd": codec(4),
		"acks: leader\nidempotent_write: false": func(t *testing.T, r *kmsg.ProduceRequest) {
			require.EqualValues(t, 1, r.Acks)
			require.EqualValues(t, -1, header(t, r).ProducerID)
		},
		"acks: none\nidempotent_write: false": func(t *testing.T, r *kmsg.ProduceRequest) { require.EqualValues(t, 0, r.Acks) },
		"idempotent_write: true": func(t *testing.T, r *kmsg.ProduceRequest) {
			require.GreaterOrEqual(t, header(t, r).ProducerID, int64(0))
		},
		"properties: { request.timeout.ms: \"9000\", acks: all, compression.type: zstd }": codec(4),
	} {
		t.Run(yaml, func(t *testing.T) {
			c := kafkatest.Fake(t)
			seen := observe(c)
			o := open(t, c, newStream("a", true), "topic: "+kafkatest.Topic(t, c, 1)+"\n"+yaml)
			require.NoError(t, o.WriteBatch(t.Context(), foreign(strings.Repeat("x", 5000))))
			kafkatest.Eventually(t, 10*time.Second, "a request came", func() bool { return seen.count() > 0 })
			check(t, seen.first(t))
		})
	}
}

func TestFieldBrokerWriteMaxBytes(t *testing.T) {
	for bytes, least := range map[string]int{"100MiB": 1, "4KiB": 10} {
		c := kafkatest.Fake(t)
		topic := kafkatest.Topic(t, c, 20)
		o := open(t, c, newStream("a", true), "topic: "+topic+"\npartitioner: round_robin\nmax_message_bytes: 4KiB\ncompression: none\nbroker_write_max_bytes: "+bytes)
		seen := observe(c)
		batch := make(service.MessageBatch, 100)
		for i := range batch {
			batch[i] = service.NewMessage(make([]byte, 1000))
		}
		require.NoError(t, o.WriteBatch(t.Context(), batch))
		require.GreaterOrEqual(t, seen.count(), least, bytes)
	}
}

func TestFieldMaxMessageBytes(t *testing.T) {
	for bytes, most := range map[string]int{"1MiB": 100, "2KiB": 3} {
		c := kafkatest.Fake(t)
		seen := observe(c)
		o := open(t, c, newStream("a", true), "topic: "+kafkatest.Topic(t, c, 1)+"\nlinger: 100ms\ncompression: none\nmax_message_bytes: "+bytes)
		batch := make(service.MessageBatch, 60)
		for i := range batch {
			batch[i] = service.NewMessage(make([]byte, 500))
		}
		require.NoError(t, o.WriteBatch(t.Context(), batch))
		seen.mu.Lock()
		for _, r := range seen.requests {
			require.LessOrEqual(t, int(header(t, r).NumRecords), most)
		}
		seen.mu.Unlock()
	}
}

func TestFieldsThatBoundTheBuffer(t *testing.T) {
	for _, yaml := range []string{"max_buffered_records: 10", "max_buffered_bytes: 200B"} {
		c := kafkatest.Fake(t)
		s := newStream("a", true)
		o := open(t, c, s, "topic: "+kafkatest.Topic(t, c, 1)+"\n"+yaml)
		hold := c.Hold(t, kmsg.Produce)
		fits, _ := s.batch(0, numbered(0, 10)...)
		require.NoError(t, o.WriteBatch(t.Context(), fits))
		more, _ := s.batch(10, numbered(10, 60)...)
		require.Error(t, o.WriteBatch(within(t, 50*time.Millisecond), more), yaml)
		hold.Release()
		again, _ := s.batch(10, numbered(10, 60)...)
		require.NoError(t, o.WriteBatch(within(t, 20*time.Second), again), yaml)
		require.NoError(t, o.producer.drain(within(t, 20*time.Second)))
		require.Zero(t, o.producer.room.inUse())
	}
}

func TestFieldLinger(t *testing.T) {
	for linger, want := range map[string]time.Duration{"0s": 0, "30s": 30 * time.Second} {
		synctest.Test(t, func(t *testing.T) {
			c := kafkatest.Virtual(t)
			topic := kafkatest.Topic(t, c, 1)
			s := newStream("a", true)
			o := open(t, c, s, "topic: "+topic+"\nlinger: "+linger)
			warm, _ := s.batch(0, numbered(0, 1)...)
			require.NoError(t, o.WriteBatch(t.Context(), warm))
			s.sink.Rotate(1)
			require.NoError(t, s.sink.Flush(t.Context(), 1))
			synctest.Wait() // for the end of the flush in the client, during which nothing lingers
			seen := observe(c)
			start := time.Now()
			batch, _ := s.batch(0, numbered(0, 1)...)
			require.NoError(t, o.WriteBatch(t.Context(), batch))
			kafkatest.Eventually(t, time.Hour, "it goes out", func() bool { return seen.count() > 0 })
			require.InDelta(t, want.Seconds(), time.Since(start).Seconds(), 1)
		})
	}
}

func TestFieldRecordRetries(t *testing.T) {
	for _, retries := range []int{2, 5} {
		synctest.Test(t, func(t *testing.T) {
			c := kafkatest.Virtual(t)
			seen := observe(c)
			o := open(t, c, newStream("a", true), fmt.Sprintf("topic: %s\nrecord_retries: %d", kafkatest.Topic(t, c, 1), retries))
			c.Fail(kmsg.Produce, -1, kerr.NotLeaderForPartition)
			require.Error(t, o.WriteBatch(t.Context(), foreign("x")))
			require.InDelta(t, retries+1, seen.count(), 1)
		})
	}
}

// The cluster in this process takes one request at a time, so this one is seen at
// the client.
func TestFieldMaxInFlightRequests(t *testing.T) {
	c := kafkatest.Fake(t)
	for _, most := range []int{1, 4} {
		o := open(t, c, newStream("a", true), fmt.Sprintf("topic: t\nidempotent_write: false\nmax_in_flight_requests: %d", most))
		require.Equal(t, most, o.producer.client.Load().OptValue(kgo.MaxProduceRequestsInflightPerBroker))
	}
}
