package behaviour

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/tidemarkhq/tidemark/internal/kafka"
	"github.com/tidemarkhq/tidemark/internal/kafkatest"
)

// inPartition keeps checkpoints in a topic of one partition, where everybody's transactions
// are in everybody's way.
func inPartition(topic string) string {
	return "checkpoint: { job: j, interval: 1s, store: { topic: " + topic + ", partitions: 1 } }"
}

// sharded makes topics of which each of two shards reads something, and tells the shard of
// each partition.
func sharded(t testing.TB, e kafkatest.Endpoint, partitions int32) (in, out string, of map[int32]int) {
	t.Helper()
	for {
		in, out = topics(t, e, int(partitions))
		of = map[int32]int{}
		busy := map[int]bool{}
		for p := range partitions {
			of[p] = kafka.ShardOf(in, p, 2)
			busy[of[p]] = true
		}
		if len(busy) == 2 {
			return in, out, of
		}
	}
}

// ofShard is what the partitions of a shard hold after n records each.
func ofShard(of map[int32]int, shard int, n int64) map[int32][]int64 {
	all := map[int32][]int64{}
	for p, s := range of {
		if s == shard {
			all[p] = span(0, n)
		}
	}
	return all
}

// A process dies whose last checkpoint lies behind the open transaction of a neighbour, which
// goes on. Whoever comes next has to wait for that one, and must not end it.
func TestExactlyOnceACheckpointBehindANeighboursTransactionIsFound(t *testing.T) {
	for name, killed := range map[string]bool{"stopped": false, "killed in a transaction of its own": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				e := kafkatest.Virtual(t)
				in, out, of := sharded(t, e, 4)
				store := kafkatest.Unique(t)
				yaml := func(i int) string { return copyYAML(in, out, "", inPartition(store)+shard(i, 2)) + patient }
				pa, pb := kafkatest.NewProxy(t, e), kafkatest.NewProxy(t, e)
				neighbour, first := startIn(t, environment(t, e), pa, yaml(0)), startIn(t, environment(t, e), pb, yaml(1))
				kafkatest.Fill(t, e, in, 20)
				awaitNumbers(t, e, out, allOf(4, 20))
				// Its checkpoint is written, and not committed.
				hold := pa.HoldRequests(kmsg.EndTxn)
				kafkatest.Fill(t, e, in, 20)
				hold.Await(t, 1, patience)
				count := int64(40)
				held := ofShard(of, 0, 20)
				visible := func(n int64) map[int32][]int64 {
					want := ofShard(of, 1, n)
					for p := range held {
						want[p] = held[p]
					}
					return want
				}
				awaitNumbers(t, e, out, visible(40))
				if killed {
					own := pb.HoldRequests(kmsg.EndTxn)
					kafkatest.Fill(t, e, in, 20)
					count += 20
					own.Await(t, 1, patience)
					own.Drop()
					pb.Down()
				}
				_ = first.stop()
				next := start(t, e, yaml(1))
				time.Sleep(12 * time.Second) // virtual
				require.Equal(t, visible(40), numbers(t, e, out), "nothing is repeated or goes on before it is known what is committed")
				hold.Release()
				awaitNumbers(t, e, out, allOf(4, count))
				require.Empty(t, neighbour.said("Going back to checkpoint"), "the neighbour was left alone")
				kafkatest.Fill(t, e, in, 20)
				awaitNumbers(t, e, out, allOf(4, count+20))
				require.NoError(t, next.stop())
				require.NoError(t, neighbour.stop())
				require.Equal(t, allOf(4, count+20), numbers(t, e, out))
				require.Empty(t, neighbour.said("level=ERROR"))
				settled(t, e, out, store)
			})
		})
	}
}

// One of two shards dies in the midst of a transaction, and a single process goes on in their
// place, which has state of its own beside that of the partitions: it does not wait for the
// transaction to time out, whatever lies in one partition of the store with what.
func TestExactlyOnceTheLastProcessIsNotHeldUpByAShardThatDied(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := kafkatest.Virtual(t)
		in, out, _ := sharded(t, e, 4)
		store := kafkatest.Unique(t)
		yaml := func(i, n int) string { return copyYAML(in, out, "", inPartition(store)+shard(i, n)) + patient }
		p := kafkatest.NewProxy(t, e)
		dies, stops := startIn(t, environment(t, e), p, yaml(0, 2)), start(t, e, yaml(1, 2))
		kafkatest.Fill(t, e, in, 20)
		awaitNumbers(t, e, out, allOf(4, 20))
		hold := p.HoldRequests(kmsg.EndTxn)
		kafkatest.Fill(t, e, in, 20)
		hold.Await(t, 1, patience)
		hold.Drop()
		p.Down()
		died := time.Now()
		require.NoError(t, stops.stop())
		last := start(t, e, yaml(0, 1))
		awaitNumbers(t, e, out, allOf(4, 40))
		require.Less(t, time.Since(died), 20*time.Second)
		_ = dies.stop()
		require.NoError(t, last.stop())
		require.Equal(t, allOf(4, 40), numbers(t, e, out))
		settled(t, e, out, store)
	})
}
