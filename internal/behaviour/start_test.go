package behaviour

import (
	"fmt"
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

// copyYAML copies topic in to topic out, partition by partition, with extra
// fields of the input.
func copyYAML(in, out, group, extra string) string {
	y := fmt.Sprintf(`
input:
  kafka_checkpointed:
    seed_brokers: $SEEDS
    topics: [ %s ]
    %s
`, in, extra)
	if group != "" {
		y += "    consumer_group: " + group + "\n"
	}
	return y + fmt.Sprintf(`
output:
  kafka_checkpointed:
    seed_brokers: $SEEDS
    topic: %s
    %s
`, out, samePartition)
}

// topics makes an input and an output topic.
func topics(t testing.TB, e kafkatest.Endpoint, partitions int) (in, out string) {
	t.Helper()
	return kafkatest.Topic(t, e, partitions), kafkatest.Topic(t, e, partitions)
}

func TestSP01_EarliestStartsAtTheLogStartOfEachPartition(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := kafkatest.Virtual(t)
		in, out := topics(t, e, 3)
		kafkatest.Fill(t, e, in, 20)
		kafkatest.Trim(t, e, in, 0, 5)
		kafkatest.Trim(t, e, in, 2, 20)
		start(t, e, copyYAML(in, out, "g", "start_from: earliest"))
		awaitNumbers(t, e, out, map[int32][]int64{0: span(5, 20), 1: span(0, 20)})
	})
}

func TestSP02_LatestEmitsOnlyWhatComesAfterTheStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := kafkatest.Virtual(t)
		in, out := topics(t, e, 2)
		kafkatest.Fill(t, e, in, 20)
		start(t, e, copyYAML(in, out, "g", "start_from: latest"))
		kafkatest.Eventually(t, patience, "the group has positions", func() bool {
			return len(kafkatest.Committed(t, e, "g", in)) == 2
		})
		kafkatest.Fill(t, e, in, 10)
		awaitNumbers(t, e, out, map[int32][]int64{0: span(20, 30), 1: span(20, 30)})
	})
}

func TestSP03_GroupOffsetsStartEachPartitionAtItsOwn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := kafkatest.Virtual(t)
		in, out := topics(t, e, 3)
		kafkatest.Fill(t, e, in, 20)
		kafkatest.CommitOffsets(t, e, "g", in, map[int32]int64{0: 3, 1: 17, 2: 20})
		start(t, e, copyYAML(in, out, "g", ""))
		awaitNumbers(t, e, out, map[int32][]int64{0: span(3, 20), 1: span(17, 20)})
	})
}

func TestSP05_ResetPolicyWhereTheGroupHasNoOffset(t *testing.T) {
	for reset, want := range map[string]int64{"earliest": 0, "latest": 20} {
		t.Run(reset, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				e := kafkatest.Virtual(t)
				in, out := topics(t, e, 2)
				kafkatest.Fill(t, e, in, 20)
				kafkatest.CommitOffsets(t, e, "g", in, map[int32]int64{0: 3})
				start(t, e, copyYAML(in, out, "g", "offset_reset: "+reset))
				kafkatest.Eventually(t, patience, "the group has positions", func() bool {
					return len(kafkatest.Committed(t, e, "g", in)) == 2
				})
				kafkatest.Fill(t, e, in, 5)
				awaitNumbers(t, e, out, map[int32][]int64{0: span(3, 25), 1: span(want, 25)})
			})
		})
	}
}

func TestSP06_TimestampStartsAtTheFirstRecordNotBefore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := kafkatest.Virtual(t)
		in, out := topics(t, e, 2)
		base := time.Now()
		kafkatest.Fill(t, e, in, 20, func(r *kgo.Record) {
			_, n := kafkatest.Number(t, r)
			r.Timestamp = base.Add(time.Duration(n) * time.Second)
		})
		kafkatest.Trim(t, e, in, 1, 15)
		at := base.Add(10 * time.Second).UnixMilli()
		start(t, e, copyYAML(in, out, "g", fmt.Sprintf("start_from: timestamp\n    start_timestamp: %d", at)))
		awaitNumbers(t, e, out, map[int32][]int64{0: span(10, 20), 1: span(15, 20)})
	})
}

func TestSP07_TimestampBehindTheEndStartsAtTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := kafkatest.Virtual(t)
		in, out := topics(t, e, 2)
		kafkatest.Produce(t, e, &kgo.Record{Topic: in, Partition: 0, Value: []byte("0/0")})
		at := time.Now().Add(time.Hour).UnixMilli()
		start(t, e, copyYAML(in, out, "g", fmt.Sprintf("start_from: timestamp\n    start_timestamp: %d", at)))
		kafkatest.Eventually(t, patience, "the group has positions", func() bool {
			return len(kafkatest.Committed(t, e, "g", in)) == 2
		})
		require.Equal(t, int64(1), kafkatest.Committed(t, e, "g", in)[0].Offset)
		require.Equal(t, int64(0), kafkatest.Committed(t, e, "g", in)[1].Offset)
		kafkatest.Fill(t, e, in, 3)
		awaitNumbers(t, e, out, map[int32][]int64{0: span(1, 4), 1: span(0, 3)})
	})
}

// A partition whose only replica is away has no leader. The others are read, and it
// is when it is back.
func TestAPartitionWithoutALeaderDoesNotKeepOthersFromStarting(t *testing.T) {
	for name, fault := range map[string]kfake.Fault{
		"none":      {Keys: []kmsg.Key{kmsg.Metadata, kmsg.ListOffsets, kmsg.Fetch}, Err: kerr.LeaderNotAvailable},
		"confusion": {Keys: []kmsg.Key{kmsg.ListOffsets, kmsg.Fetch}, Err: kerr.NotLeaderForPartition},
	} {
		t.Run(name, func(t *testing.T) { testPartitionAway(t, fault) })
	}
}

func testPartitionAway(t *testing.T, fault kfake.Fault) {
	each(t, func(t *testing.T, assignment string) {
		e := kafkatest.Virtual(t)
		in, out := topics(t, e, 3)
		kafkatest.Fill(t, e, in, 10)
		require.NoError(t, e.DeleteRecords(in, 1, 3))
		fault.Topic, fault.Partitions, fault.Count = in, []int32{1}, -1
		away := e.Fault(fault)
		s := start(t, e, copyYAML(in, out, "g", "start_from: earliest\n    assignment: "+assignment))
		awaitNumbers(t, e, out, map[int32][]int64{0: span(0, 10), 2: span(0, 10)})
		require.NotEmpty(t, s.said("have no leader"))
		require.Empty(t, s.said("Lost "))
		time.Sleep(time.Minute) // virtual
		require.Empty(t, numbers(t, e, out)[1])
		away.Remove()
		awaitNumbers(t, e, out, map[int32][]int64{0: span(0, 10), 1: span(3, 10), 2: span(0, 10)})
		kafkatest.Eventually(t, patience, "it is committed", func() bool { return kafkatest.Committed(t, e, "g", in)[1].Offset == 10 })
	})
}

// Between two runs somebody sets the group back for one of two topics.
func TestOffsetsThatWereResetByHandCount(t *testing.T) {
	for name, extra := range map[string]string{"checkpoints": "", "without": "checkpoint: { interval: 0s }"} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				e := kafkatest.Virtual(t)
				a, b := topics(t, e, 1)
				out := kafkatest.Topic(t, e, 1)
				kafkatest.Fill(t, e, a, 10)
				kafkatest.Fill(t, e, b, 10)
				s := start(t, e, fanYAML(a+", "+b, out, extra))
				kafkatest.Eventually(t, patience, "both are read", func() bool { return counts(t, e, out)[0] == 20 })
				require.NoError(t, s.stop())
				time.Sleep(5 * time.Minute) // virtual
				kafkatest.CommitOffsets(t, e, "g", b, map[int32]int64{0: 7})
				s = start(t, e, fanYAML(a+", "+b, out, extra))
				kafkatest.Eventually(t, patience, "it goes on at 7", func() bool { return counts(t, e, out)[0] >= 23 })
				require.NoError(t, s.stop())
				require.Equal(t, []int64{7, 8, 9}, numbers(t, e, out)[0][20:])
			})
		})
	}
}
