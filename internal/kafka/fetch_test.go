package kafka_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/tidemarkhq/tidemark/internal/kafka"
	"github.com/tidemarkhq/tidemark/internal/kafkatest"
)

func TestLogSeesWhatIsNotDelivered(t *testing.T) {
	c := kafkatest.Fake(t)
	topic := kafkatest.Topic(t, c, 1)
	tx := kafkatest.Client(t, c, kgo.TransactionalID(kafkatest.Unique(t)), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	write := func(value string) {
		require.NoError(t, tx.BeginTransaction())
		require.NoError(t, tx.ProduceSync(t.Context(), &kgo.Record{Topic: topic, Value: []byte(value)}).FirstErr())
	}
	write("committed")
	require.NoError(t, tx.EndTransaction(t.Context(), kgo.TryCommit))
	write("aborted")
	require.NoError(t, tx.EndTransaction(t.Context(), kgo.TryAbort))
	write("open")
	read := func(l kafka.Log, from int64) ([]string, kafka.Fetched) {
		l.Partition, l.MaxBytes = kafka.Partition{Topic: topic}, 1<<20
		f, err := kafka.NewLog(kafkatest.Client(t, c), l).Fetch(t.Context(), from)
		require.NoError(t, err)
		var values []string
		for _, r := range f.Records {
			if r.Attrs.IsControl() {
				values = append(values, "marker")
			} else {
				values = append(values, string(r.Value))
			}
		}
		f.Records = nil
		return values, f
	}
	values, f := read(kafka.Log{Isolation: kafka.ReadCommitted}, 0)
	require.Equal(t, []string{"committed"}, values)
	require.Equal(t, kafka.Fetched{Next: 4, LastStable: 4, HighWatermark: 5}, f)
	values, f = read(kafka.Log{Isolation: kafka.ReadCommitted, Wait: 10 * time.Millisecond}, 4)
	require.Empty(t, values)
	require.Equal(t, kafka.Fetched{Next: 4, LastStable: 4, HighWatermark: 5}, f)
	values, f = read(kafka.Log{Control: true}, 1)
	require.Equal(t, []string{"marker", "aborted", "marker", "open"}, values)
	require.Equal(t, int64(5), f.Next)
	require.NoError(t, tx.EndTransaction(t.Context(), kgo.TryAbort))
}

func TestLogRidesOutWhatPasses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := kafkatest.Virtual(t)
		topic := kafkatest.Topic(t, c, 1)
		kafkatest.Fill(t, c, topic, 3)
		l := kafka.NewLog(kafkatest.Client(t, c), kafka.Log{Partition: kafka.Partition{Topic: topic}, MaxBytes: 1 << 20})
		c.Fail(kmsg.Fetch, 2, kerr.NotLeaderForPartition)
		f, err := l.Fetch(t.Context(), 0)
		require.NoError(t, err)
		require.Len(t, f.Records, 3)

		_, err = l.Fetch(t.Context(), 17)
		require.ErrorIs(t, err, kerr.OffsetOutOfRange)
		require.ErrorContains(t, err, topic+"/0 from 17")

		h := c.Fail(kmsg.Fetch, -1, kerr.NotLeaderForPartition)
		defer h.Remove()
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		defer cancel()
		_, err = l.Fetch(ctx, 0)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.ErrorIs(t, err, kerr.NotLeaderForPartition)
	})
}
