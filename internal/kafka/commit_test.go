package kafka_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/tidemarkhq/tidemark/internal/kafka"
	"github.com/tidemarkhq/tidemark/internal/kafkatest"
)

func marked(offset int64, epoch int32, cp int64) kafka.Committed {
	mark := kafka.Mark{Job: "j", Checkpoint: cp, Stop: kafka.NoStop}
	return kafka.Committed{Position: kafka.Position{Offset: offset, LeaderEpoch: epoch}, Metadata: mark.String()}
}

// member joins a group and returns when it owns the partitions of the topic.
func member(t *testing.T, e kafkatest.Endpoint, group, topic string, opts ...kgo.Opt) *kgo.Client {
	t.Helper()
	assigned := make(chan struct{}, 100)
	cl := kafkatest.Client(t, e, append(opts, kgo.ConsumerGroup(group), kgo.ConsumeTopics(topic), kgo.DisableAutoCommit(),
		kgo.OnPartitionsAssigned(func(context.Context, *kgo.Client, map[string][]int32) { assigned <- struct{}{} }))...)
	select {
	case <-assigned:
	case <-time.After(30 * time.Second):
		t.Fatal("no assignment in 30s")
	}
	return cl
}

func TestCommitsComeBackWithTheirMarks(t *testing.T) {
	onBoth(t, func(t *testing.T, e kafkatest.Endpoint) {
		topic, cl := kafkatest.Topic(t, e, 3), kafkatest.Client(t, e)
		parts := at(topic, 0, 1, 2)
		for name, commit := range map[string]func(string, map[kafka.Partition]kafka.Committed) error{
			"static": func(group string, c map[kafka.Partition]kafka.Committed) error {
				return kafka.CommitStatic(bounded(t), cl, group, c)
			},
			"classic member": func(group string, c map[kafka.Partition]kafka.Committed) error {
				return kafka.CommitGroup(bounded(t), member(t, e, group, topic), c)
			},
			"member of KIP-848": func(group string, c map[kafka.Partition]kafka.Committed) error {
				return kafka.CommitGroup(bounded(t), member(t, e, group, topic, kgo.ServerSideBalancer()), c)
			},
		} {
			t.Run(name, func(t *testing.T) {
				group := kafkatest.Unique(t)
				want := map[kafka.Partition]kafka.Committed{parts[0]: marked(7, 0, 3), parts[2]: marked(0, kafka.UnknownEpoch, 3)}
				require.NoError(t, commit(group, want))
				got, err := kafka.FetchCommitted(bounded(t), cl, group, parts)
				require.NoError(t, err)
				assert.Equal(t, want, got)
				m, ok, err := kafka.ParseMark(got[parts[0]].Metadata)
				require.NoError(t, err)
				assert.True(t, ok)
				assert.Equal(t, int64(3), m.Checkpoint)
			})
		}
		require.NoError(t, kafka.CommitStatic(bounded(t), cl, "unused", nil))
		require.NoError(t, kafka.CommitGroup(bounded(t), cl, nil))
	})
}

func TestCommitStaticIntoAGroupWithMembersFails(t *testing.T) {
	onBoth(t, func(t *testing.T, e kafkatest.Endpoint) {
		topic, group := kafkatest.Topic(t, e, 1), kafkatest.Unique(t)
		member(t, e, group, topic)
		p := kafka.Partition{Topic: topic}
		err := kafka.CommitStatic(bounded(t), kafkatest.Client(t, e), group, map[kafka.Partition]kafka.Committed{p: marked(1, 0, 1)})
		var failed *kafka.CommitError
		require.ErrorAs(t, err, &failed)
		assert.Contains(t, failed.Partitions, p)
		assert.Equal(t, kafka.Rebalancing, kafka.Classify(kafka.Commit, err).Meaning)
	})
}

func TestCommitGroupNamesPartitionsThatFailed(t *testing.T) {
	c := kafkatest.Fake(t)
	topic, group := kafkatest.Topic(t, c, 2), kafkatest.Unique(t)
	cl := member(t, c, group, topic)
	for _, code := range []*kerr.Error{kerr.RebalanceInProgress, kerr.IllegalGeneration, kerr.UnknownMemberID} {
		c.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.OffsetCommit}, Err: code, Count: 1, Partitions: []int32{0}})
		err := kafka.CommitGroup(bounded(t), cl, map[kafka.Partition]kafka.Committed{{Topic: topic}: marked(1, 0, 1), {Topic: topic, ID: 1}: marked(2, 0, 1)})
		var failed *kafka.CommitError
		require.ErrorAs(t, err, &failed, code)
		assert.Equal(t, map[kafka.Partition]error{{Topic: topic}: code}, failed.Partitions)
		assert.ErrorContains(t, err, topic+"/0: "+code.Message)
		assert.Equal(t, kafka.Rebalancing, kafka.Classify(kafka.Commit, err).Meaning)
	}
}

func TestCommitGroupWithoutAGroupFails(t *testing.T) {
	c := kafkatest.Fake(t)
	topic := kafkatest.Topic(t, c, 1)
	err := kafka.CommitGroup(bounded(t), kafkatest.Client(t, c), map[kafka.Partition]kafka.Committed{{Topic: topic}: marked(1, 0, 1)})
	assert.ErrorContains(t, err, "committing offsets of group")
}

// TestFetchCommittedWaitsForStableOffsets also shows, by the version the request
// needs for it, that stable offsets are asked for.
func TestFetchCommittedWaitsForStableOffsets(t *testing.T) {
	c := kafkatest.Fake(t)
	topic, cl := kafkatest.Topic(t, c, 1), kafkatest.Client(t, c)
	kafkatest.CommitOffsets(t, c, "g", topic, map[int32]int64{0: 5})
	stable := false
	c.ControlKey(int16(kmsg.OffsetFetch), func(r kmsg.Request) (kmsg.Response, error, bool) {
		stable = r.(*kmsg.OffsetFetchRequest).RequireStable
		return nil, nil, false
	})
	c.Fail(kmsg.OffsetFetch, 2, kerr.UnstableOffsetCommit)
	got, err := kafka.FetchCommitted(bounded(t), cl, "g", at(topic, 0))
	require.NoError(t, err)
	assert.Equal(t, int64(5), got[kafka.Partition{Topic: topic}].Offset)
	assert.True(t, stable)

	c.Fail(kmsg.OffsetFetch, -1, kerr.UnstableOffsetCommit)
	ctx, cancel := context.WithTimeout(context.Background(), 300*time.Millisecond)
	defer cancel()
	_, err = kafka.FetchCommitted(ctx, cl, "g", at(topic, 0))
	assert.ErrorContains(t, err, `fetching committed offsets of group "g"`)
	assert.ErrorIs(t, err, context.DeadlineExceeded)
}

func TestFetchCommittedOfAForbiddenGroupIsFatal(t *testing.T) {
	c := kafkatest.Fake(t)
	topic := kafkatest.Topic(t, c, 1)
	c.Fail(kmsg.OffsetFetch, -1, kerr.GroupAuthorizationFailed)
	_, err := kafka.FetchCommitted(bounded(t), kafkatest.Client(t, c), "g", at(topic, 0))
	assert.Equal(t, kafka.Fatal, kafka.Classify(kafka.Read, err).Meaning, err)
}
