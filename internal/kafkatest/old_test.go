package kafkatest_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tidemarkhq/tidemark/internal/kafkatest"
)

// Others are started where they are tested with.
func TestOldBrokers(t *testing.T) {
	for _, version := range []string{kafkatest.Kafka08, kafkatest.Kafka28} {
		t.Run(version, func(t *testing.T) {
			began := time.Now()
			b := kafkatest.Old(t, version)
			t.Logf("ready after %v", time.Since(began))
			topic := kafkatest.Topic(t, b, 2)
			kafkatest.Fill(t, b, topic, 10)
			require.Equal(t, []int64{10, 10}, kafkatest.Ends(t, b, topic))
			for _, end := range []func(){b.Kill9, b.Stop} {
				end()
				ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
				require.Error(t, kafkatest.Client(t, b).Ping(ctx))
				cancel()
				b.Start()
				kafkatest.Fill(t, b, topic, 10)
			}
			for _, records := range kafkatest.ReadCommitted(t, b, topic) {
				require.Len(t, records, 30)
			}
			require.Equal(t, []int64{0, 0}, kafkatest.Starts(t, b, topic))
		})
	}
}

func TestZooKeeperOfAnOldBroker(t *testing.T) {
	b := kafkatest.Old(t, kafkatest.Kafka08)
	_, ok := kafkatest.Node(t, b, "/consumers/g/offsets/t/0")
	require.False(t, ok)
	kafkatest.SetNode(t, b, "/consumers/g/offsets/t/0", "17")
	kafkatest.SetNode(t, b, "/consumers/g/offsets/t/0", "18")
	b.PauseZooKeeper()
	b.ContinueZooKeeper()
	b.StopZooKeeper()
	b.StartZooKeeper()
	text, ok := kafkatest.Node(t, b, "/consumers/g/offsets/t/0")
	require.True(t, ok)
	require.Equal(t, "18", text)
}

// A proxy tells its clients what they must know of the brokers behind it.
func TestProxyBeforeAnOldBroker(t *testing.T) {
	b := kafkatest.Old(t, kafkatest.Kafka08)
	topic := kafkatest.Topic(t, b, 1)
	p := kafkatest.NewProxy(t, b)
	cl := kafkatest.Client(t, p, kgo.DefaultProduceTopic(topic))
	require.NoError(t, cl.ProduceSync(t.Context(), kgo.StringRecord("x")).FirstErr())
	require.Len(t, kafkatest.ReadCommitted(t, p, topic)[0], 1)
}
