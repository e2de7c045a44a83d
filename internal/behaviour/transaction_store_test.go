package behaviour

import (
	"fmt"
	"path/filepath"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/tidemarkhq/tidemark/internal/kafka"
	"github.com/tidemarkhq/tidemark/internal/kafkatest"
)

// inTopic makes the checkpoints be kept in a topic.
func inTopic(topic string) string {
	return "checkpoint: { job: j, interval: 1s, store: { topic: " + topic + ", partitions: 4 } }"
}

// rounds runs a job that is killed with a transaction open, several times, and returns how
// many records its partitions got.
func rounds(t *testing.T, e *kafkatest.Cluster, in, out, yaml string) int64 {
	t.Helper()
	env := environment(t, e)
	written := int64(0)
	all := func() map[int32][]int64 {
		return map[int32][]int64{0: span(0, written), 1: span(0, written), 2: span(0, written)}
	}
	for range 3 {
		p := kafkatest.NewProxy(t, e)
		s := startIn(t, env, p, yaml)
		kafkatest.Fill(t, e, in, 100)
		written += 100
		awaitNumbers(t, e, out, all())
		written += fillUntilOpen(t, e, in, e, 1)
		p.Down()
		_ = s.stop()
	}
	s := start(t, e, yaml)
	awaitNumbers(t, e, out, all())
	require.NoError(t, s.stop())
	require.Empty(t, openTransactions(t, e))
	return written
}

func TestStoreTopicKeepsPositionsOfStaticPartitions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := kafkatest.Virtual(t)
		in, out := topics(t, e, 3)
		rounds(t, e, in, out, copyYAML(in, out, "", inTopic(kafkatest.Unique(t)))+exactly)
		require.Contains(t, transactions(t, e), "tidemark-j-0-of-1")
		require.Len(t, transactions(t, e), 1)
	})
}

func TestStoreTopicKeepsPositionsOfAGroup(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := kafkatest.Virtual(t)
		in, out := topics(t, e, 3)
		written := rounds(t, e, in, out, copyYAML(in, out, "g", inTopic(kafkatest.Unique(t))+"\n    session_timeout: 10s")+exactly)
		require.Equal(t, written, kafkatest.Committed(t, e, "g", in)[0].Offset)
	})
}

func TestStoreTopicForAtLeastOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := kafkatest.Virtual(t)
		in, out := topics(t, e, 2)
		topic, folder := kafkatest.Unique(t), t.TempDir()
		yaml := copyYAML(in, out, "", fmt.Sprintf("checkpoint: { job: j, interval: 1s, store: { topic: %s, partitions: 4, local_copy: %q } }", topic, folder))
		for i := range int64(3) {
			s := start(t, e, yaml)
			kafkatest.Fill(t, e, in, 50)
			awaitNumbers(t, e, out, map[int32][]int64{0: span(0, 50*i+50), 1: span(0, 50*i+50)})
			require.DirExists(t, filepath.Join(folder, "copy"))
			require.NoError(t, s.stop())
			require.NoDirExists(t, filepath.Join(folder, "copy"))
		}
		require.Len(t, kafkatest.Ends(t, e, topic), 4)
	})
}

// shard makes an input read a share of the partitions.
func shard(index, count int) string {
	return fmt.Sprintf("\n    assignment: static\n    shard: { index: %d, count: %d }", index, count)
}

func TestStoreTopicRescalesStaticShards(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := kafkatest.Virtual(t)
		in, out := topics(t, e, 6)
		store := inTopic(kafkatest.Unique(t))
		env := environment(t, e)
		written := int64(0)
		for _, count := range []int{2, 3, 1, 2, 3} { // Ids come back that were owners before.
			var proxies []*kafkatest.Proxy
			var streams []*stream
			for i := range count {
				p := kafkatest.NewProxy(t, e)
				proxies = append(proxies, p)
				streams = append(streams, startIn(t, env, p, copyYAML(in, out, "", store+shard(i, count))+exactly))
			}
			kafkatest.Fill(t, e, in, 50)
			written += 50
			want := map[int32][]int64{}
			for p := range int32(6) {
				want[p] = span(0, written)
			}
			awaitNumbers(t, e, out, want)
			busy := map[int]bool{} // A shard may own none of a topic's partitions.
			for p := range int32(6) {
				busy[kafka.ShardOf(in, p, count)] = true
			}
			written += fillUntilOpen(t, e, in, e, len(busy))
			for i := range streams {
				proxies[i].Down()
			}
			for i := range streams {
				_ = streams[i].stop()
			}
		}
		s := start(t, e, copyYAML(in, out, "", store+shard(0, 1))+exactly)
		want := map[int32][]int64{}
		for p := range int32(6) {
			want[p] = span(0, written)
		}
		awaitNumbers(t, e, out, want)
		require.NoError(t, s.stop())
		require.Empty(t, openTransactions(t, e))
	})
}
