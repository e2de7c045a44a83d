package main

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tidemarkhq/tidemark/internal/kafkatest"
)

// runKafka08 moves records from a real broker of 0.8.
func runKafka08(t *testing.T, k *kafka, p *pipeline) {
	b := kafkatest.Old(t, kafkatest.Kafka08)
	kafkatest.CreateTopic(t, b, "orders", 2)
	kafkatest.Fill(t, b, "orders", 5)
	kafkatest.SetNode(t, b, "/consumers/orders-move/offsets/orders/0", "2")
	kafkatest.SetNode(t, b, "/consumers/orders-move/offsets/orders/1", "0")
	p.set("OLD_BROKERS", b.Seeds()[0])
	p.set("OLD_ZOOKEEPER", b.ZooKeeper())
	p.start()
	k.waitEnd("orders", 8)
	p.stop()
	for _, node := range []string{"/consumers/orders-move/offsets/orders/0", "/consumers/orders-move/offsets/orders/1"} {
		text, ok := kafkatest.Node(t, b, node)
		require.True(t, ok)
		assert.Equal(t, "5", text, node)
	}
}
