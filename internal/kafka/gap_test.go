package kafka_test

import (
	"context"
	"encoding/binary"
	"hash/crc32"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/tidemarkhq/tidemark/internal/kafka"
	"github.com/tidemarkhq/tidemark/internal/kafkatest"
)

// emptied is what compaction leaves of a batch whose records are all gone.
func emptied(first int64, last int32) []byte {
	b := kmsg.RecordBatch{
		FirstOffset: first, LastOffsetDelta: last, PartitionLeaderEpoch: 0, Magic: 2,
		ProducerID: -1, ProducerEpoch: -1, FirstSequence: -1,
	}
	raw := b.AppendTo(nil)
	binary.BigEndian.PutUint32(raw[8:], uint32(len(raw)-12))
	binary.BigEndian.PutUint32(raw[17:], crc32.Checksum(raw[21:], crc32.MakeTable(crc32.Castagnoli)))
	return raw
}

func TestSkipGap(t *testing.T) {
	c := kafkatest.Fake(t)
	topic := kafkatest.Topic(t, c, 1)
	kafkatest.Produce(t, c, &kgo.Record{Topic: topic, Value: []byte("a")}, &kgo.Record{Topic: topic, Value: []byte("b")})
	cl := kafkatest.Client(t, c)
	p := kafka.Partition{Topic: topic, ID: 0}
	skip := func(from int64) (int64, error) {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		return kafka.SkipGap(ctx, cl, p, from, kafka.ReadUncommitted)
	}
	to, err := skip(1)
	require.NoError(t, err)
	require.Equal(t, int64(1), to, "there is a record")
	to, err = skip(2)
	require.NoError(t, err)
	require.Equal(t, int64(2), to, "there is nothing yet")

	var answer kmsg.FetchResponseTopicPartition
	c.ControlKey(int16(kmsg.Fetch), func(kreq kmsg.Request) (kmsg.Response, error, bool) {
		c.KeepControl()
		req := kreq.(*kmsg.FetchRequest)
		resp := req.ResponseKind().(*kmsg.FetchResponse)
		rt := kmsg.NewFetchResponseTopic()
		rt.Topic, rt.TopicID, rt.Partitions = req.Topics[0].Topic, req.Topics[0].TopicID, []kmsg.FetchResponseTopicPartition{answer}
		resp.Topics = append(resp.Topics, rt)
		return resp, nil, true
	})
	answer = kmsg.NewFetchResponseTopicPartition()
	answer.HighWatermark, answer.LastStableOffset = 15, 15
	answer.RecordBatches = append(emptied(2, 4), emptied(7, 7)...)
	to, err = skip(2)
	require.NoError(t, err)
	require.Equal(t, int64(15), to, "what compaction has emptied")
	answer.RecordBatches, answer.ErrorCode = nil, kerr.NotLeaderForPartition.Code
	to, err = skip(2)
	require.ErrorIs(t, err, kerr.NotLeaderForPartition)
	require.Equal(t, int64(2), to)
}
