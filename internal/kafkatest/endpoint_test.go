package kafkatest_test

import (
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tidemarkhq/tidemark/internal/kafkatest"
)

// everywhere runs a test on each kind of broker, directly and through a proxy.
func everywhere(t *testing.T, test func(t *testing.T, e kafkatest.Endpoint)) {
	t.Helper()
	t.Run("fake", func(t *testing.T) { test(t, kafkatest.Fake(t)) })
	t.Run("fake behind proxy", func(t *testing.T) { test(t, kafkatest.NewProxy(t, kafkatest.Fake(t))) })
	t.Run("virtual", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) { test(t, kafkatest.Virtual(t)) })
	})
	t.Run("virtual behind proxy", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) { test(t, kafkatest.NewProxy(t, kafkatest.Virtual(t))) })
	})
	t.Run("real", func(t *testing.T) { test(t, kafkatest.Shared(t)) })
	t.Run("real behind proxy", func(t *testing.T) { test(t, kafkatest.NewProxy(t, kafkatest.Shared(t))) })
}

func TestTopicsCanBeFilledTrimmedAndRead(t *testing.T) {
	everywhere(t, func(t *testing.T, e kafkatest.Endpoint) {
		topic := kafkatest.Topic(t, e, 3, "cleanup.policy=delete")
		require.Contains(t, kafkatest.Topics(t, e), topic)
		kafkatest.Fill(t, e, topic, 20)
		kafkatest.Fill(t, e, topic, 5, func(r *kgo.Record) { r.Key = nil })
		kafkatest.Trim(t, e, topic, 1, 7)
		require.Equal(t, []int64{0, 7, 0}, kafkatest.Starts(t, e, topic))
		require.Equal(t, []int64{25, 25, 25}, kafkatest.Ends(t, e, topic))

		for p, records := range kafkatest.ReadCommitted(t, e, topic) {
			require.Len(t, records, 25-int(kafkatest.Starts(t, e, topic)[p]))
			for _, r := range records {
				partition, number := kafkatest.Number(t, r)
				require.Equal(t, int32(p), partition)
				require.Equal(t, r.Offset, number)
				require.Equal(t, r.Offset >= 20, r.Key == nil, "the second lot has no keys")
			}
		}

		kafkatest.AddPartitions(t, e, topic, 5)
		require.Len(t, kafkatest.Ends(t, e, topic), 5)
		kafkatest.DeleteTopic(t, e, topic)
		require.NotContains(t, kafkatest.Topics(t, e), topic)
	})
}

func TestGroupsCommitsAreRead(t *testing.T) {
	everywhere(t, func(t *testing.T, e kafkatest.Endpoint) {
		topic, group := kafkatest.Topic(t, e, 2), kafkatest.Unique(t)
		kafkatest.Fill(t, e, topic, 10)
		require.NotContains(t, kafkatest.Groups(t, e), group)
		require.Empty(t, kafkatest.Committed(t, e, group, topic))
		kafkatest.CommitOffsets(t, e, group, topic, map[int32]int64{1: 6})
		require.Contains(t, kafkatest.Groups(t, e), group)
		require.Equal(t, map[int32]kafkatest.Commit{1: {Offset: 6, LeaderEpoch: -1}}, kafkatest.Committed(t, e, group, topic))
	})
}

func TestReadingTellsCommittedFromAborted(t *testing.T) {
	everywhere(t, func(t *testing.T, e kafkatest.Endpoint) {
		topic := kafkatest.Topic(t, e, 1)
		cl := kafkatest.Client(t, e, kgo.TransactionalID(kafkatest.Unique(t)), kgo.DefaultProduceTopic(topic))
		transaction := func(value string) {
			require.NoError(t, cl.BeginTransaction())
			require.NoError(t, cl.ProduceSync(t.Context(), kgo.StringRecord(value)).FirstErr())
		}
		values := func(records [][]*kgo.Record) (all []string) {
			for _, r := range records[0] {
				all = append(all, string(r.Value))
			}
			return all
		}
		transaction("committed")
		require.NoError(t, cl.EndTransaction(t.Context(), kgo.TryCommit))
		transaction("aborted")
		require.NoError(t, cl.EndTransaction(t.Context(), kgo.TryAbort))
		transaction("open")

		// Offsets 1 and 3 are markers.
		require.Equal(t, []int64{4}, kafkatest.StableEnds(t, e, topic))
		require.Equal(t, []int64{5}, kafkatest.Ends(t, e, topic))
		require.Equal(t, []string{"committed"}, values(kafkatest.ReadCommitted(t, e, topic)))
		require.Equal(t, []string{"committed", "aborted", "open"}, values(kafkatest.ReadUncommitted(t, e, topic)))
		require.NoError(t, cl.EndTransaction(t.Context(), kgo.TryAbort))
		require.Equal(t, []string{"committed"}, values(kafkatest.ReadCommitted(t, e, topic)), "the last offsets are a marker")
	})
}
