package behaviour

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/tidemarkhq/tidemark/internal/kafkatest"
)

func TestCM02_ABoundedRunCommitsTheEndsOfAllPartitions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := kafkatest.Virtual(t)
		in, out := topics(t, e, 3)
		kafkatest.Fill(t, e, in, 10)
		start(t, e, copyYAML(in, out, "g", "stop_at: latest\n    checkpoint: { interval: 1h }")).ended()
		for p, c := range kafkatest.Committed(t, e, "g", in) {
			require.Equal(t, int64(10), c.Offset, "partition %d", p)
		}
		require.Len(t, kafkatest.Committed(t, e, "g", in), 3)
	})
}

func TestCM03_AReaderWithoutPartitionsCommitsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := kafkatest.Virtual(t)
		_, out := topics(t, e, 1)
		start(t, e, copyYAML("nothing-.*", out, "g", "regexp_topics: true"))
		time.Sleep(20 * time.Second) // virtual: twenty checkpoints
		require.Zero(t, e.Count(kmsg.OffsetCommit))
		require.Empty(t, kafkatest.Committed(t, e, "g", out))
	})
}

// The start of one partition is not known while the broker does not say where its
// log begins; checkpoints complete meanwhile.
func TestCM04_NothingIsCommittedForAPartitionWithoutAStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := kafkatest.Virtual(t)
		in, out := topics(t, e, 2)
		kafkatest.Fill(t, e, in, 10)
		kafkatest.CommitOffsets(t, e, "g", in, map[int32]int64{0: 5})
		hold := e.Hold(t, kmsg.ListOffsets)
		defer hold.Release() // or else a failure could not stop the stream
		s, m := startMeasured(t, e, copyYAML(in, out, "g", "start_from: group_offsets"))
		hold.Await(t, 1, patience)
		time.Sleep(10 * time.Second) // virtual: ten checkpoints
		completed, _ := m.get("tidemark_checkpoints_completed")
		require.Positive(t, completed)
		commits := kafkatest.Committed(t, e, "g", in)
		require.NotContains(t, commits, int32(1))
		require.GreaterOrEqual(t, commits[0].Offset, int64(5))
		hold.Release()
		awaitNumbers(t, e, out, map[int32][]int64{0: span(5, 10), 1: span(0, 10)})
		require.NoError(t, s.stop())
		require.Equal(t, int64(10), kafkatest.Committed(t, e, "g", in)[1].Offset)
	})
}

func TestCM05_WithoutCommitsTheRestartIsExactAllTheSame(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := kafkatest.Virtual(t)
		in, out := topics(t, e, 2)
		yaml := copyYAML(in, out, "g", "checkpoint: { commit_offsets: false, store: { directory: "+t.TempDir()+" } }")
		kafkatest.Fill(t, e, in, 30)
		s := start(t, e, yaml)
		awaitNumbers(t, e, out, map[int32][]int64{0: span(0, 30), 1: span(0, 30)})
		require.NoError(t, s.stop())
		require.Empty(t, kafkatest.Committed(t, e, "g", in))
		kafkatest.Fill(t, e, in, 10)
		start(t, e, yaml)
		awaitNumbers(t, e, out, map[int32][]int64{0: span(0, 40), 1: span(0, 40)})
	})
}

func TestCM06_WithoutAGroupNoneIsMade(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := kafkatest.Virtual(t)
		in, out := topics(t, e, 2)
		yaml := copyYAML(in, out, "", "checkpoint: { store: { directory: "+t.TempDir()+" } }")
		kafkatest.Fill(t, e, in, 30)
		s := start(t, e, yaml)
		awaitNumbers(t, e, out, map[int32][]int64{0: span(0, 30), 1: span(0, 30)})
		require.NoError(t, s.stop())
		require.Empty(t, kafkatest.Groups(t, e))
		require.Zero(t, e.Count(kmsg.OffsetCommit))
		kafkatest.Fill(t, e, in, 10)
		start(t, e, yaml)
		awaitNumbers(t, e, out, map[int32][]int64{0: span(0, 40), 1: span(0, 40)})
	})
}

func TestCM07_CommitsFollowCheckpointsAndNothingElse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := kafkatest.Virtual(t)
		in, out := topics(t, e, 1)
		s := start(t, e, copyYAML(in, out, "g", "checkpoint: { interval: 1m }"))
		kafkatest.Fill(t, e, in, 10)
		awaitNumbers(t, e, out, map[int32][]int64{0: span(0, 10)})
		time.Sleep(40 * time.Second) // virtual
		require.Empty(t, kafkatest.Committed(t, e, "g", in), "no checkpoint yet")
		time.Sleep(40 * time.Second)
		require.Equal(t, int64(10), kafkatest.Committed(t, e, "g", in)[0].Offset)
		require.NoError(t, s.stop())
	})
}

// With checkpoints off, what the members have committed is where a partition goes on
// that moves between them, wherever the first run began.
func TestCM09_APartitionThatMovesIsNotReadAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := kafkatest.Virtual(t)
		in, out := topics(t, e, 4)
		kafkatest.Fill(t, e, in, 100)
		yaml := copyYAML(in, out, "g", "start_from: earliest\n    checkpoint: { interval: 0s }")
		want := map[int32][]int64{0: span(0, 100), 1: span(0, 100), 2: span(0, 100), 3: span(0, 100)}
		first := start(t, e, yaml)
		awaitNumbers(t, e, out, want)
		second := start(t, e, yaml)
		kafkatest.Eventually(t, patience, "it has partitions", func() bool { return strings.Contains(second.logs.String(), "Reading "+in) })
		require.NoError(t, first.stop())
		kafkatest.Fill(t, e, in, 50)
		for p := range want {
			want[p] = span(0, 150)
		}
		awaitNumbers(t, e, out, want)
		require.NoError(t, second.stop())
		awaitNumbers(t, e, out, want)
	})
}

func TestCM09_WithCheckpointsOffOffsetsAreCommittedPeriodically(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := kafkatest.Virtual(t)
		in, out := topics(t, e, 2)
		kafkatest.Fill(t, e, in, 30)
		start(t, e, copyYAML(in, out, "g", "checkpoint: { interval: 0s }\n    commit_period: 2s"))
		awaitNumbers(t, e, out, map[int32][]int64{0: span(0, 30), 1: span(0, 30)})
		kafkatest.Eventually(t, patience, "both offsets committed", func() bool {
			c := kafkatest.Committed(t, e, "g", in)
			return c[0].Offset == 30 && c[1].Offset == 30
		})
	})
}
