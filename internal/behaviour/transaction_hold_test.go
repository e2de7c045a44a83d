package behaviour

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/tidemarkhq/tidemark/internal/kafkatest"
)

// What arrives while a transaction ends belongs to the next one: its offsets do, too. The
// process dies right after the first one has ended.
func TestExactlyOnceWhatArrivesWhileATransactionEndsIsHeldBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := kafkatest.Virtual(t)
		in, out := topics(t, e, 2)
		yaml := copyYAML(in, out, "g", "session_timeout: 10s\n    checkpoint: { interval: 1s }") + patient
		p := kafkatest.NewProxy(t, e)
		s := startIn(t, environment(t, e), p, yaml)
		kafkatest.Fill(t, e, in, 50)
		awaitNumbers(t, e, out, both(50))
		offsets, answer := p.HoldRequests(kmsg.TxnOffsetCommit), p.HoldAnswers(kmsg.EndTxn)
		kafkatest.Fill(t, e, in, 50)
		offsets.Await(t, 1, patience)
		kafkatest.Fill(t, e, in, 50)
		time.Sleep(3 * time.Second) // virtual: it is read, and would be written
		offsets.Release()
		answer.Await(t, 1, patience)
		require.NoError(t, covered(e, in, 100))
		require.Equal(t, both(100), numbers(t, e, out), "what is visible is what is committed")
		p.Down()
		answer.Drop()
		_ = s.stop()
		s = start(t, e, yaml)
		awaitNumbers(t, e, out, both(150))
		require.NoError(t, s.stop())
		require.Equal(t, both(150), numbers(t, e, out))
	})
}

// A member has to give a partition up while a message of its own keeps it from a last
// checkpoint, and stays in the group. What it has written of that partition must not be
// committed with the rest: the next owner writes it again.
func TestExactlyOnceWhatIsOpenOfAPartitionThatWasGivenUpIsNotCommitted(t *testing.T) {
	const slow = `
pipeline:
  threads: 2
  processors:
    - sleep: { duration: '${! if content().string().has_suffix("/5") { "20s" } else { "0s" } }' }
`
	synctest.Test(t, func(t *testing.T) {
		e := kafkatest.Virtual(t)
		in, out := topics(t, e, 2)
		wentBack := sampled(t, e, in)
		yaml := copyYAML(in, out, "g", "session_timeout: 6s\n    rebalance_timeout: 8s\n    checkpoint: { interval: 4s }") + patient + slow
		s := startIn(t, environment(t, e), e, yaml)
		kafkatest.Eventually(t, patience, "it has its partitions", func() bool { return len(committed(e, in)) == 2 })
		kafkatest.Fill(t, e, in, 5)
		kafkatest.Eventually(t, patience, "they are written", func() bool {
			got := uncommitted(t, e, out)
			return len(got[0]) == 5 && len(got[1]) == 5
		})
		require.Empty(t, numbers(t, e, out))
		kafkatest.Fill(t, e, in, 1) // These take their time.
		time.Sleep(100 * time.Millisecond)
		next := start(t, e, yaml)
		kafkatest.Until(t, 3*time.Minute, func() error {
			if n := len(s.said("without a checkpoint of their own")); n != 1 {
				return fmt.Errorf("it gave partitions up %d times", n)
			}
			return covered(e, in, 6)
		})
		joined(t, e, 2)
		kafkatest.Fill(t, e, in, 10)
		kafkatest.Until(t, time.Minute, func() error { return covered(e, in, 16) })
		require.NoError(t, s.stop())
		require.NoError(t, next.stop())
		require.Equal(t, both(16), numbers(t, e, out))
		require.Empty(t, wentBack())
		require.Empty(t, openTransactions(t, e))
	})
}
