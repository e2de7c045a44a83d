package behaviour

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tidemarkhq/tidemark/internal/kafkatest"
)

func TestRS01_ARestartContinuesAtTheCheckpoint(t *testing.T) {
	each(t, func(t *testing.T, assignment string) {
		e := kafkatest.Virtual(t)
		in, out := topics(t, e, 3)
		yaml := copyYAML(in, out, "g", "assignment: "+assignment)
		want := map[int32][]int64{}
		for round := range int64(4) {
			kafkatest.Fill(t, e, in, 25)
			s := start(t, e, yaml)
			for p := range int32(3) {
				want[p] = span(0, 25*(round+1))
			}
			awaitNumbers(t, e, out, want)
			require.NoError(t, s.stop())
		}
	})
}

func TestRS02_AnotherNumberOfReadersTakesOverAllPartitions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := kafkatest.Virtual(t)
		in, out := topics(t, e, 4)
		yaml := copyYAML(in, out, "g", "")
		want := map[int32][]int64{}
		for round, readers := range []int{2, 4, 1, 3} {
			kafkatest.Fill(t, e, in, 20)
			var running []*stream
			for range readers {
				running = append(running, start(t, e, yaml))
			}
			for p := range int32(4) {
				want[p] = span(0, 20*int64(round+1))
			}
			awaitNumbers(t, e, out, want)
			for _, s := range running {
				require.NoError(t, s.stop())
			}
		}
	})
}

func TestRS06_AReaderThatLeavesAloneIsTakenOverAtItsPosition(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := kafkatest.Virtual(t)
		in, out := topics(t, e, 4)
		yaml := copyYAML(in, out, "g", "start_from: latest")
		start(t, e, yaml)
		leaving := start(t, e, yaml)
		time.Sleep(30 * time.Second) // virtual: the group settles
		kafkatest.Fill(t, e, in, 20)
		want := map[int32][]int64{}
		for p := range int32(4) {
			want[p] = span(0, 20)
		}
		awaitNumbers(t, e, out, want)
		require.NoError(t, leaving.stop())
		kafkatest.Fill(t, e, in, 20)
		for p := range int32(4) {
			want[p] = span(0, 40)
		}
		awaitNumbers(t, e, out, want)
	})
}

func TestRS07_OnlyNewPartitionsAreAddedToRestoredOnes(t *testing.T) {
	each(t, func(t *testing.T, assignment string) {
		e := kafkatest.Virtual(t)
		in, out := topics(t, e, 2)
		yaml := fanYAML(in, out, "start_from: latest\n    assignment: "+assignment)
		s := start(t, e, yaml)
		kafkatest.Eventually(t, patience, "positions are committed", func() bool {
			return len(kafkatest.Committed(t, e, "g", in)) == 2
		})
		kafkatest.Fill(t, e, in, 10)
		kafkatest.Eventually(t, patience, "both are read", func() bool { return counts(t, e, out)[1] == 10 && counts(t, e, out)[0] == 10 })
		require.NoError(t, s.stop())
		kafkatest.AddPartitions(t, e, in, 3)
		kafkatest.Fill(t, e, in, 10)
		start(t, e, yaml)
		kafkatest.Eventually(t, patience, "the new one is read from its first record", func() bool {
			return len(numbers(t, e, out)[2]) == 10
		})
		kafkatest.Eventually(t, patience, "the old ones go on", func() bool { return counts(t, e, out)[0] == 20 })
		require.Equal(t, map[int32]int{0: 20, 1: 20, 2: 10}, counts(t, e, out))
	})
}

func TestRS08_ResolvedPositionsAreInTheFirstCheckpointThoughNothingWasRead(t *testing.T) {
	each(t, func(t *testing.T, assignment string) {
		e := kafkatest.Virtual(t)
		in, out := topics(t, e, 2)
		kafkatest.Fill(t, e, in, 10)
		yaml := copyYAML(in, out, "g", "start_from: latest\n    assignment: "+assignment)
		s := start(t, e, yaml)
		kafkatest.Eventually(t, patience, "positions are committed", func() bool {
			return len(kafkatest.Committed(t, e, "g", in)) == 2
		})
		require.NoError(t, s.stop())
		kafkatest.Fill(t, e, in, 10) // produced in between
		start(t, e, yaml)
		awaitNumbers(t, e, out, map[int32][]int64{0: span(10, 20), 1: span(10, 20)})
	})
}

func TestInvariant03_ForeignCommitsDoNotCount(t *testing.T) {
	each(t, func(t *testing.T, assignment string) {
		e := kafkatest.Virtual(t)
		in, out := topics(t, e, 1)
		kafkatest.Fill(t, e, in, 100)
		kafkatest.CommitOffsets(t, e, "g", in, map[int32]int64{0: 50})
		yaml := copyYAML(in, out, "g", "start_from: earliest\n    assignment: "+assignment)
		s := start(t, e, yaml)
		awaitNumbers(t, e, out, map[int32][]int64{0: span(0, 100)})
		require.NoError(t, s.stop())
		start(t, e, yaml)
		time.Sleep(30 * time.Second) // virtual
		require.Equal(t, map[int32][]int64{0: span(0, 100)}, numbers(t, e, out), "its own commit is the checkpoint")
	})
}
