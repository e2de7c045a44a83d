package kafkatest_test

import (
	"context"
	"fmt"
	"net"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/tidemarkhq/tidemark/internal/kafkatest"
)

// proxied runs a test with a proxy before a virtual and before a real broker.
func proxied(t *testing.T, test func(t *testing.T, e kafkatest.Endpoint, p *kafkatest.Proxy)) {
	t.Helper()
	t.Run("virtual", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			c := kafkatest.Virtual(t)
			test(t, c, kafkatest.NewProxy(t, c))
		})
	})
	t.Run("real", func(t *testing.T) {
		e := kafkatest.Shared(t)
		test(t, e, kafkatest.NewProxy(t, e))
	})
}

// TestProxyDelaysOnlyGivenKeys runs where time is exact. That other keys are not
// held up on a real broker either is in TestProxyHoldsRequestsBeforeTheBroker.
func TestProxyDelaysOnlyGivenKeys(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := kafkatest.Virtual(t)
		p := kafkatest.NewProxy(t, c)
		topic, group := kafkatest.Topic(t, c, 1), kafkatest.Unique(t)
		cl := kafkatest.Client(t, p, kgo.DefaultProduceTopic(topic))
		took := func(fn func() error) time.Duration {
			start := time.Now()
			require.NoError(t, fn())
			return time.Since(start)
		}
		produce := func() error { return cl.ProduceSync(t.Context(), kgo.StringRecord("x")).FirstErr() }
		committed := func() error { return commit(t.Context(), cl, group, topic, 2) }
		require.NoError(t, produce())
		require.NoError(t, committed())

		end := p.Delay(2*time.Second, kmsg.OffsetCommit)
		require.Equal(t, 2*time.Second, took(committed))
		require.Zero(t, took(produce))
		end()
		require.Zero(t, took(committed))
	})
}

func TestProxyHoldsRequestsBeforeTheBroker(t *testing.T) {
	proxied(t, func(t *testing.T, e kafkatest.Endpoint, p *kafkatest.Proxy) {
		topic, group := kafkatest.Topic(t, e, 1), kafkatest.Unique(t)
		cl := kafkatest.Client(t, p)
		hold := p.HoldRequests(kmsg.OffsetCommit)
		done := make(chan error, 1)
		go func() { done <- commit(context.Background(), cl, group, topic, 5) }()
		hold.Await(t, 1, time.Minute)
		kafkatest.Fill(t, p, topic, 5)
		require.Empty(t, kafkatest.Committed(t, e, group, topic))
		hold.Release()
		require.NoError(t, <-done)
		require.Equal(t, int64(5), kafkatest.Committed(t, e, group, topic)[0].Offset)
		require.Equal(t, 1, p.Count(kmsg.OffsetCommit))
	})
}

func TestProxyDropsHeldRequests(t *testing.T) {
	proxied(t, func(t *testing.T, e kafkatest.Endpoint, p *kafkatest.Proxy) {
		topic, group := kafkatest.Topic(t, e, 1), kafkatest.Unique(t)
		cl := kafkatest.Client(t, p, kgo.RequestRetries(0))
		hold := p.HoldRequests(kmsg.OffsetCommit)
		done := make(chan error, 1)
		go func() { done <- commit(context.Background(), cl, group, topic, 5) }()
		hold.Await(t, 1, time.Minute)
		hold.Drop()
		require.Error(t, <-done)
		require.Empty(t, kafkatest.Committed(t, e, group, topic))
	})
}

func TestProxyHoldsAnswersAfterTheBroker(t *testing.T) {
	proxied(t, func(t *testing.T, e kafkatest.Endpoint, p *kafkatest.Proxy) {
		topic, group := kafkatest.Topic(t, e, 1), kafkatest.Unique(t)
		cl := kafkatest.Client(t, p)
		hold := p.HoldAnswers(kmsg.OffsetCommit)
		done := make(chan error, 1)
		go func() { done <- commit(context.Background(), cl, group, topic, 5) }()
		hold.Await(t, 1, time.Minute)
		require.Equal(t, int64(5), kafkatest.Committed(t, e, group, topic)[0].Offset)
		require.Empty(t, done)
		hold.Release()
		require.NoError(t, <-done)
	})
}

func TestProxyCutsTheNthAnswer(t *testing.T) {
	proxied(t, func(t *testing.T, e kafkatest.Endpoint, p *kafkatest.Proxy) {
		topic, group := kafkatest.Topic(t, e, 1), kafkatest.Unique(t)
		cl := kafkatest.Client(t, p, kgo.RequestRetries(0))
		p.CutAnswer(kmsg.OffsetCommit, 2)
		require.NoError(t, commit(t.Context(), cl, group, topic, 1))
		require.Error(t, commit(t.Context(), cl, group, topic, 2))
		require.Equal(t, int64(2), kafkatest.Committed(t, e, group, topic)[0].Offset)
		require.NoError(t, commit(t.Context(), cl, group, topic, 3))
	})
}

func TestProxyDownAndUp(t *testing.T) {
	proxied(t, func(t *testing.T, e kafkatest.Endpoint, p *kafkatest.Proxy) {
		topic := kafkatest.Topic(t, e, 1)
		cl := kafkatest.Client(t, p, kgo.DefaultProduceTopic(topic), kgo.RequestRetries(2))
		require.NoError(t, cl.Ping(t.Context()))
		p.Cut()
		require.NoError(t, cl.Ping(t.Context()), "a cut connection is made anew")
		p.Down()
		require.Error(t, cl.Ping(t.Context()))
		p.Up()
		kafkatest.Until(t, time.Minute, func() error { return cl.Ping(t.Context()) })
		require.NoError(t, cl.ProduceSync(t.Context(), kgo.StringRecord("x")).FirstErr())
	})
}

func TestProxyTellsWhoAsked(t *testing.T) {
	proxied(t, func(t *testing.T, _ kafkatest.Endpoint, p *kafkatest.Proxy) {
		require.Empty(t, p.ClientIDs())
		for _, id := range []string{"b", "a", "b"} {
			require.NoError(t, kafkatest.Client(t, p, kgo.ClientID(id)).Ping(t.Context()))
		}
		require.Equal(t, []string{"a", "b"}, p.ClientIDs())
		require.Positive(t, p.Count(kmsg.ApiVersions))
	})
}

// Without addresses of its own in every answer, the client would go past it.
func TestProxyStandsBeforeAllBrokersOfACluster(t *testing.T) {
	c := kafkatest.Fake(t, kfake.NumBrokers(3))
	p := kafkatest.NewProxy(t, c)
	topic := kafkatest.Topic(t, c, 9)
	cl := kafkatest.Client(t, p, kgo.RecordPartitioner(kgo.ManualPartitioner()))
	for round := range int64(3) {
		for i := range int32(9) {
			require.NoError(t, cl.ProduceSync(t.Context(), &kgo.Record{Topic: topic, Partition: i}).FirstErr())
		}
		require.NoError(t, commit(t.Context(), cl, "g", topic, round))
		for _, records := range kafkatest.ReadCommitted(t, p, topic) {
			require.Len(t, records, int(round)+1)
		}
		c.ShufflePartitionLeaders()
		c.RehashCoordinators()
	}
	// Other clients than this one connect to what these answers say.
	find := kmsg.NewPtrFindCoordinatorRequest()
	find.CoordinatorKeys = []string{"g"}
	found, err := find.RequestWith(t.Context(), cl)
	require.NoError(t, err)
	require.Len(t, found.Coordinators, 1)
	require.NotContains(t, c.Seeds(), fmt.Sprintf("%s:%d", found.Coordinators[0].Host, found.Coordinators[0].Port))

	require.Equal(t, c.Count(kmsg.Produce), p.Count(kmsg.Produce))
	require.Equal(t, c.Count(kmsg.OffsetCommit), p.Count(kmsg.OffsetCommit))
}

// A broker that has just started says that it does not lead, and in the same answer that it
// does, by its own address.
func TestProxyStandsBeforeABrokerThatNamesItself(t *testing.T) {
	c := kafkatest.Fake(t, kfake.NumBrokers(1))
	p := kafkatest.NewProxy(t, c)
	topic := kafkatest.Topic(t, c, 1)
	cl := kafkatest.Client(t, p)
	require.NoError(t, cl.ProduceSync(t.Context(), &kgo.Record{Topic: topic}).FirstErr())
	host, text, err := net.SplitHostPort(c.Seeds()[0])
	require.NoError(t, err)
	port, err := strconv.Atoi(text)
	require.NoError(t, err)
	for _, key := range []kmsg.Key{kmsg.Produce, kmsg.Fetch} {
		c.ControlKey(key.Int16(), func(r kmsg.Request) (kmsg.Response, error, bool) {
			switch r := r.(type) {
			case *kmsg.ProduceRequest:
				resp := r.ResponseKind().(*kmsg.ProduceResponse)
				part := kmsg.NewProduceResponseTopicPartition()
				part.ErrorCode, part.CurrentLeader.LeaderID, part.CurrentLeader.LeaderEpoch = kerr.NotLeaderForPartition.Code, 0, 100
				of := kmsg.NewProduceResponseTopic()
				of.Topic, of.TopicID, of.Partitions = r.Topics[0].Topic, r.Topics[0].TopicID, append(of.Partitions, part)
				resp.Topics = append(resp.Topics, of)
				resp.Brokers = append(resp.Brokers, kmsg.ProduceResponseBroker{Host: host, Port: int32(port)})
				return resp, nil, true
			case *kmsg.FetchRequest:
				resp := r.ResponseKind().(*kmsg.FetchResponse)
				part := kmsg.NewFetchResponseTopicPartition()
				part.ErrorCode, part.CurrentLeader.LeaderID, part.CurrentLeader.LeaderEpoch = kerr.NotLeaderForPartition.Code, 0, 100
				of := kmsg.NewFetchResponseTopic()
				of.Topic, of.TopicID, of.Partitions = r.Topics[0].Topic, r.Topics[0].TopicID, append(of.Partitions, part)
				resp.Topics = append(resp.Topics, of)
				resp.Brokers = append(resp.Brokers, kmsg.FetchResponseBroker{Host: host, Port: int32(port)})
				return resp, nil, true
			}
			return nil, nil, false
		})
	}
	for range 3 {
		require.NoError(t, cl.ProduceSync(t.Context(), &kgo.Record{Topic: topic}).FirstErr())
	}
	reader, read := kafkatest.Client(t, p, kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart())), 0
	kafkatest.Eventually(t, time.Minute, "all is read", func() bool {
		read += reader.PollFetches(t.Context()).NumRecords()
		return read == 4
	})
	reader.Close()
	// The cluster does not count what it was made to answer.
	require.Equal(t, c.Count(kmsg.Produce)+1, p.Count(kmsg.Produce))
	require.Equal(t, c.Count(kmsg.Fetch)+1, p.Count(kmsg.Fetch))
}
