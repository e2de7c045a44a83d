package kafka_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/tidemarkhq/tidemark/internal/kafka"
)

// TestShardOfGolden holds the values that shards have been started with. They
// must never change: a shard would find other partitions than it has positions of.
func TestShardOfGolden(t *testing.T) {
	for _, g := range []struct {
		topic     string
		partition int32
		count     int
		want      int
	}{
		{"orders", 0, 1, 0}, {"orders", 0, 2, 1}, {"orders", 1, 2, 1}, {"orders", 2, 2, 0}, {"orders", 3, 2, 0},
		{"orders", 0, 5, 0}, {"orders", 1, 5, 3}, {"orders", 2, 5, 1}, {"orders", 3, 5, 4}, {"orders", 4, 5, 2},
		{"payments.eu-west_1", 17, 7, 6}, {"", 0, 3, 2}, {"größe", 2147483647, 1000, 696},
	} {
		assert.Equal(t, g.want, kafka.ShardOf(g.topic, g.partition, g.count), "%+v", g)
	}
}

func TestShardOfSpreads(t *testing.T) {
	for _, count := range []int{2, 3, 4, 8, 16} {
		shares := make([]int, count)
		for topic := range 40 {
			for p := range int32(25) {
				shares[kafka.ShardOf(fmt.Sprintf("topic-%d", topic), p, count)]++
			}
		}
		for i, n := range shares {
			assert.InDelta(t, 1000/count, n, 60, "shard %d of %d", i, count)
		}
	}
}
