package kafkatest_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/tidemarkhq/tidemark/internal/kafkatest"
)

// commit commits an offset once, without the client's own retries.
func commit(ctx context.Context, cl *kgo.Client, group, topic string, at int64) error {
	var os kadm.Offsets
	os.Add(kadm.Offset{Topic: topic, At: at, LeaderEpoch: -1})
	return kadm.NewClient(cl).CommitAllOffsets(ctx, group, os)
}

func TestVirtualClusterRunsOnTheBubblesClock(t *testing.T) {
	begin := time.Now()
	synctest.Test(t, func(t *testing.T) {
		c := kafkatest.Virtual(t)
		p := kafkatest.NewProxy(t, c)
		p.Delay(time.Second, kmsg.OffsetCommit)
		topic := kafkatest.Topic(t, c, 1)
		cl := kafkatest.Client(t, p, kgo.ConsumerGroup("g"), kgo.ConsumeTopics(topic), kgo.DisableAutoCommit())
		start := time.Now()
		for range 10 {
			kafkatest.Fill(t, c, topic, 1)
			require.Len(t, cl.PollFetches(t.Context()).Records(), 1)
			require.NoError(t, cl.CommitUncommittedOffsets(t.Context()))
			time.Sleep(6 * time.Minute)
		}
		require.GreaterOrEqual(t, time.Since(start), time.Hour+10*time.Second)
		require.Equal(t, int64(10), kafkatest.Committed(t, c, "g", topic)[0].Offset)
	})
	require.Less(t, time.Since(begin), time.Minute)
}

func TestFailNthFailsThatRequestOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := kafkatest.Virtual(t)
		topic := kafkatest.Topic(t, c, 1)
		cl := kafkatest.Client(t, c)
		fault := c.FailNth(kmsg.OffsetCommit, 2, kerr.InvalidCommitOffsetSize)
		require.NoError(t, commit(t.Context(), cl, "g", topic, 1))
		require.ErrorIs(t, commit(t.Context(), cl, "g", topic, 2), kerr.InvalidCommitOffsetSize)
		require.NoError(t, commit(t.Context(), cl, "g", topic, 3))
		require.Equal(t, 1, fault.Hits())
		require.Equal(t, 3, c.Count(kmsg.OffsetCommit))
		require.Equal(t, int64(3), kafkatest.Committed(t, c, "g", topic)[0].Offset)
	})
}

func TestFailEndsAfterTheGivenTimes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := kafkatest.Virtual(t)
		topic := kafkatest.Topic(t, c, 2)
		c.Fail(kmsg.OffsetCommit, 2, kerr.InvalidCommitOffsetSize)
		cl := kafkatest.Client(t, c)
		for i, failed := range []bool{true, true, false} {
			err := commit(t.Context(), cl, "g", topic, int64(i))
			require.Equal(t, failed, err != nil, "commit %d: %v", i, err)
		}
	})
}

func TestClustersHoldKeepsRequestsUntilReleased(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := kafkatest.Virtual(t)
		topic := kafkatest.Topic(t, c, 1)
		cl := kafkatest.Client(t, c)
		hold := c.Hold(t, kmsg.OffsetCommit)
		done := make(chan error, 1)
		go func() { done <- commit(context.Background(), cl, "g", topic, 7) }()
		hold.Await(t, 1, time.Minute)
		kafkatest.Fill(t, c, topic, 3)
		require.Empty(t, kafkatest.Committed(t, c, "g", topic))
		require.Empty(t, done)
		hold.Release()
		require.NoError(t, <-done)
		require.Equal(t, int64(7), kafkatest.Committed(t, c, "g", topic)[0].Offset)
		require.NoError(t, commit(t.Context(), cl, "g", topic, 8), "a released hold holds nothing more")
	})
}

func TestClustersHoldDropsRequests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := kafkatest.Virtual(t)
		topic := kafkatest.Topic(t, c, 1)
		cl := kafkatest.Client(t, c, kgo.RequestRetries(0))
		hold := c.Hold(t, kmsg.OffsetCommit)
		done := make(chan error, 1)
		go func() { done <- commit(context.Background(), cl, "g", topic, 7) }()
		hold.Await(t, 1, time.Minute)
		hold.Drop()
		require.Error(t, <-done)
		require.Empty(t, kafkatest.Committed(t, c, "g", topic))
	})
}

func TestHoldsThatAreForgottenEndWithTheTest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := kafkatest.Virtual(t)
		p := kafkatest.NewProxy(t, c)
		topic := kafkatest.Topic(t, c, 1)
		forget := func(e kafkatest.Endpoint, hold *kafkatest.Hold) {
			cl := kafkatest.Client(t, e)
			ctx, cancel := context.WithCancel(t.Context())
			t.Cleanup(cancel)
			go func() { _ = commit(ctx, cl, "g", topic, 7) }()
			hold.Await(t, 1, time.Minute)
		}
		forget(p, p.HoldRequests(kmsg.OffsetCommit))
		forget(c, c.Hold(t, kmsg.OffsetCommit))
	})
}
