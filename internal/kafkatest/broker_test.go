package kafkatest_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tidemarkhq/tidemark/internal/kafkatest"
)

func TestBrokerKeepsDataOverKill9AndStop(t *testing.T) {
	for _, version := range []string{kafkatest.Newest, kafkatest.Kafka39} {
		t.Run(version, func(t *testing.T) {
			b := kafkatest.Real(t, version)
			topic := kafkatest.Topic(t, b, 2)
			kafkatest.Fill(t, b, topic, 100)
			kafkatest.CommitOffsets(t, b, "g", topic, map[int32]int64{0: 40})
			for _, end := range []func(){b.Kill9, b.Stop} {
				end()
				ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
				require.Error(t, kafkatest.Client(t, b).Ping(ctx))
				cancel()
				b.Start()
				kafkatest.Fill(t, b, topic, 100)
			}
			for _, records := range kafkatest.ReadCommitted(t, b, topic) {
				require.Len(t, records, 300)
			}
			require.Equal(t, int64(40), kafkatest.Committed(t, b, "g", topic)[0].Offset)
		})
	}
}

func TestEveryBrokerIsAClusterOfItsOwnAlsoAfterARestart(t *testing.T) {
	id := func(e kafkatest.Endpoint) string {
		m, err := kafkatest.Admin(t, e).BrokerMetadata(t.Context())
		require.NoError(t, err)
		return m.Cluster
	}
	b := kafkatest.Real(t, kafkatest.Newest)
	before := id(b)
	require.NotEqual(t, id(kafkatest.Shared(t)), before)
	b.Stop()
	b.Start()
	require.Equal(t, before, id(b))
}

func TestBrokerPausesAndContinues(t *testing.T) {
	b := kafkatest.Real(t, kafkatest.Newest, "num.partitions=7", "auto.create.topics.enable=true")
	cl := kafkatest.Client(t, b, kgo.AllowAutoTopicCreation(), kgo.DefaultProduceTopic("made"))
	require.NoError(t, cl.ProduceSync(t.Context(), kgo.StringRecord("x")).FirstErr())
	require.Len(t, kafkatest.Ends(t, b, "made"), 7, "properties reach the broker")

	b.Pause()
	done := make(chan error, 1)
	go func() { done <- cl.ProduceSync(context.Background(), kgo.StringRecord("y")).FirstErr() }()
	select {
	case err := <-done:
		t.Fatalf("a paused broker answered: %v", err)
	case <-time.After(500 * time.Millisecond):
	}
	b.Continue()
	require.NoError(t, <-done)
}

func TestSharedBrokerServesBothGroupProtocols(t *testing.T) {
	e := kafkatest.Shared(t)
	topic := kafkatest.Topic(t, e, 2)
	kafkatest.Fill(t, e, topic, 5)
	for name, ctx := range map[string]context.Context{
		"classic":  t.Context(),
		"consumer": context.WithValue(t.Context(), "opt_in_kafka_next_gen_balancer_beta", true), //nolint:staticcheck // the client's key is a plain string
	} {
		t.Run(name, func(t *testing.T) {
			group := kafkatest.Unique(t)
			cl := kafkatest.Client(t, e, kgo.WithContext(ctx), kgo.ConsumerGroup(group), kgo.ConsumeTopics(topic),
				kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
			for got := 0; got < 10; {
				fs := cl.PollFetches(t.Context())
				require.NoError(t, fs.Err())
				got += fs.NumRecords()
			}
			gs, err := kafkatest.Admin(t, e).ListGroupsByType(t.Context(), []string{name})
			require.NoError(t, err)
			require.Contains(t, gs.Groups(), group)
		})
	}
}

func TestSharedBrokerIsOne(t *testing.T) {
	first, second := kafkatest.Shared(t), kafkatest.Shared(t)
	require.Equal(t, first.Seeds(), second.Seeds())
}

func TestBrokerTellsOfGroupsThatItGaveUp(t *testing.T) {
	b := kafkatest.Real(t, kafkatest.Newest)
	kafkatest.CommitOffsets(t, b, "g", kafkatest.Topic(t, b, 1), map[int32]int64{0: 4})
	b.Kill9()
	require.Empty(t, b.GaveUp())
	said := "[2026-01-01 00:00:00,000] ERROR [GroupCoordinator id=1] The state machine of the coordinator __consumer_offsets-0 " +
		"is out of sync with the underlying log. The last written offset returned is 2 while the coordinator expected 1."
	require.NoError(t, kafkatest.Say(b, "INFO nothing\n"+said+"\nINFO nothing\n"))
	require.Equal(t, said, b.GaveUp())
	b.Start()
	require.Empty(t, b.GaveUp(), "it serves them again")
}
