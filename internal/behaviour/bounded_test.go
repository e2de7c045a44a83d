package behaviour

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tidemarkhq/tidemark/internal/kafkatest"
)

func TestBD01_LatestStopsAtTheEndsOfTheStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := kafkatest.Virtual(t)
		in, out := topics(t, e, 2)
		kafkatest.Fill(t, e, in, 500)
		s := start(t, e, copyYAML(in, out, "g", "start_from: earliest\n    stop_at: latest\n    max_batch_records: 10"))
		// The group has positions once the ends are resolved; from then on a
		// producer that goes on must not matter.
		kafkatest.Eventually(t, patience, "the group has positions", func() bool {
			return len(kafkatest.Committed(t, e, "g", in)) == 2
		})
		kafkatest.Fill(t, e, in, 300)
		s.ended()
		require.Equal(t, map[int32][]int64{0: span(0, 500), 1: span(0, 500)}, numbers(t, e, out))
	})
}

func TestBD02_EmptyPartitionsDoNotHoldTheEndBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := kafkatest.Virtual(t)
		in, out := topics(t, e, 10)
		start(t, e, copyYAML(in, out, "g1", "stop_at: latest")).ended()
		kafkatest.Produce(t, e, &kgo.Record{Topic: in, Partition: 3, Value: []byte("3/0")})
		start(t, e, copyYAML(in, out, "g2", "stop_at: latest")).ended()
		require.Equal(t, map[int32][]int64{3: {0}}, numbers(t, e, out))
	})
}

func TestBD03_PartitionsWithNothingToReadAreFinishedAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := kafkatest.Virtual(t)
		in, out := topics(t, e, 3)
		kafkatest.Fill(t, e, in, 10)
		start(t, e, copyYAML(in, out, "", fmt.Sprintf(`start_from: offsets
    start_offsets: { %[1]s: { 0: 0, 1: 7, 2: 4 } }
    stop_at: offsets
    stop_offsets: { %[1]s: { 0: 0, 1: 7, 2: 6 } }`, in))).ended()
		require.Equal(t, map[int32][]int64{2: span(4, 6)}, numbers(t, e, out))
	})
}

func TestBD06_TheStopOffsetIsNotRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := kafkatest.Virtual(t)
		in, out := topics(t, e, 2)
		kafkatest.Fill(t, e, in, 10)
		start(t, e, copyYAML(in, out, "g", fmt.Sprintf("stop_at: offsets\n    stop_offsets: { %s: { 0: 4, 1: 9 } }", in))).ended()
		require.Equal(t, map[int32][]int64{0: span(0, 4), 1: span(0, 9)}, numbers(t, e, out))
	})
}

func TestBD07_TimestampStopsBeforeTheFirstRecordNotBefore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := kafkatest.Virtual(t)
		in, out := topics(t, e, 2)
		base := time.Now()
		kafkatest.Fill(t, e, in, 20, func(r *kgo.Record) {
			_, n := kafkatest.Number(t, r)
			r.Timestamp = base.Add(time.Duration(n) * time.Second)
		})
		run := func(group string, at time.Time) {
			start(t, e, copyYAML(in, out, group, fmt.Sprintf("stop_at: timestamp\n    stop_timestamp: %d", at.UnixMilli()))).ended()
		}
		run("g1", base)
		require.Empty(t, numbers(t, e, out), "every record is at or after the stop")
		run("g2", base.Add(7*time.Second))
		require.Equal(t, map[int32][]int64{0: span(0, 7), 1: span(0, 7)}, numbers(t, e, out))
	})
}

func TestBD08_OwnCommitsDoNotMoveAStopAtGroupOffsets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := kafkatest.Virtual(t)
		in, out := topics(t, e, 2)
		kafkatest.Fill(t, e, in, 50)
		kafkatest.CommitOffsets(t, e, "g", in, map[int32]int64{0: 40, 1: 25})
		start(t, e, copyYAML(in, out, "g", "start_from: earliest\n    stop_at: group_offsets\n    max_batch_records: 5")).ended()
		require.Equal(t, map[int32][]int64{0: span(0, 40), 1: span(0, 25)}, numbers(t, e, out))
	})
}

func TestBD09_ARunWhoseRecordsAreAllDeletedEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := kafkatest.Virtual(t)
		in, out := topics(t, e, 1)
		kafkatest.Fill(t, e, in, 10)
		kafkatest.Trim(t, e, in, 0, 5)
		start(t, e, copyYAML(in, out, "", fmt.Sprintf(`start_from: offsets
    start_offsets: { %[1]s: { 0: 1 } }
    stop_at: offsets
    stop_offsets: { %[1]s: { 0: 3 } }`, in))).ended()
		require.Empty(t, numbers(t, e, out))
	})
}

func TestBD01_ABoundedGroupReadsTheSameEndsWhoeverReads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := kafkatest.Virtual(t)
		in, out := topics(t, e, 4)
		kafkatest.Fill(t, e, in, 300)
		yaml := copyYAML(in, out, "g", "stop_at: latest\n    max_batch_records: 3")
		first := start(t, e, yaml)
		second := start(t, e, yaml)
		kafkatest.Eventually(t, patience, "the group has positions", func() bool {
			return len(kafkatest.Committed(t, e, "g", in)) == 4
		})
		kafkatest.Fill(t, e, in, 50) // after the ends were resolved
		first.ended()
		second.ended()
		want := map[int32][]int64{}
		for p := range int32(4) {
			want[p] = span(0, 300)
		}
		require.Equal(t, want, numbers(t, e, out))

		start(t, e, yaml).ended() // the next run has new ends
		for p := range int32(4) {
			want[p] = span(0, 350)
		}
		require.Equal(t, want, numbers(t, e, out))
	})
}

func TestInvariant04_AnInterruptedBoundedRunKeepsItsEnds(t *testing.T) {
	each(t, func(t *testing.T, assignment string) {
		e := kafkatest.Virtual(t)
		in, out := topics(t, e, 2)
		kafkatest.Fill(t, e, in, 200)
		yaml := copyYAML(in, out, "g", "stop_at: latest\n    max_batch_records: 1\n    assignment: "+assignment) + `
pipeline:
  processors: [ { sleep: { duration: 50ms } } ]
`
		s := start(t, e, yaml)
		kafkatest.Eventually(t, patience, "some are read", func() bool {
			c := kafkatest.Committed(t, e, "g", in)
			return c[0].Offset > 10 && c[1].Offset > 10
		})
		require.NoError(t, s.stop())
		kafkatest.Fill(t, e, in, 100)
		start(t, e, yaml).ended()
		require.Equal(t, map[int32][]int64{0: span(0, 200), 1: span(0, 200)}, numbers(t, e, out))
	})
}

// `sequence` builds an input when the one before it has ended.
func TestInputsInSequenceTakePartInOneStreamsCheckpoints(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := kafkatest.Virtual(t)
		a, b := topics(t, e, 2)
		out := kafkatest.Topic(t, e, 1)
		kafkatest.Fill(t, e, a, 20)
		kafkatest.Fill(t, e, b, 30)
		s := start(t, e, fmt.Sprintf(`
input:
  sequence:
    inputs:
      - label: first
        kafka_checkpointed: { seed_brokers: $SEEDS, topics: [ %s ], consumer_group: g, stop_at: latest, checkpoint: { interval: 1s } }
      - label: second
        kafka_checkpointed: { seed_brokers: $SEEDS, topics: [ %s ], consumer_group: h, stop_at: latest, checkpoint: { interval: 1s } }
output:
  kafka_checkpointed: { seed_brokers: $SEEDS, topic: %s }
`, a, b, out))
		s.ended()
		require.Empty(t, s.said("level=ERROR"))
		require.Equal(t, map[int32]int{0: 50, 1: 50}, counts(t, e, out))
		for group, topic := range map[string]string{"g": a, "h": b} {
			want := map[string]int64{"g": 20, "h": 30}[group]
			for part := range int32(2) {
				require.Equal(t, want, kafkatest.Committed(t, e, group, topic)[part].Offset)
			}
		}
	})
}
