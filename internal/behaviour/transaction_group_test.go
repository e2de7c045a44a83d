package behaviour

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/tidemarkhq/tidemark/internal/kafkatest"
)

// allOf is what so many partitions hold after n records each.
func allOf(partitions int32, n int64) map[int32][]int64 {
	all := map[int32][]int64{}
	for p := range partitions {
		all[p] = span(0, n)
	}
	return all
}

func TestSG02_ExactlyOnceAfterAFailureNothingIsMissingOrRepeated(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := kafkatest.Virtual(t)
		in, out := topics(t, e, 2)
		wentBack := sampled(t, e, in)
		yaml := copyYAML(in, out, "g", "session_timeout: 10s\n    max_batch_records: 10") + patient
		env := environment(t, e)
		written := int64(0)
		for _, held := range []kmsg.Key{kmsg.Produce, kmsg.TxnOffsetCommit, kmsg.EndTxn, kmsg.OffsetCommit, kmsg.Fetch} {
			p := kafkatest.NewProxy(t, e)
			s := startIn(t, env, p, yaml)
			kafkatest.Fill(t, e, in, 100)
			written += 100
			kafkatest.Until(t, time.Minute, func() error { return covered(e, in, written) })
			hold := p.HoldRequests(held)
			kafkatest.Fill(t, e, in, 30)
			written += 30
			time.Sleep(3 * time.Second) // virtual: checkpoints would be due
			hold.Drop()
			p.Down()
			next := startIn(t, env, e, yaml)
			kafkatest.Until(t, time.Minute, func() error { return covered(e, in, written) })
			require.Equal(t, both(written), numbers(t, e, out))
			require.NoError(t, next.stop())
			_ = s.stop()
		}
		require.Empty(t, openTransactions(t, e))
		require.Empty(t, wentBack())
	})
}

func TestSG04_ExactlyOnceASendThatFailsForGoodIsNoticedThoughNothingFollows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := kafkatest.Virtual(t)
		in, out := topics(t, e, 1)
		kafkatest.Fill(t, e, in, 10)
		outage := e.Fail(kmsg.Produce, -1, kerr.NotLeaderForPartition)
		s := start(t, e, copyYAML(in, out, "g", "")+exactly+"    record_delivery_timeout: 20s\n")
		sent := time.Now()
		kafkatest.Eventually(t, time.Minute, "the stream goes back", func() bool { return len(s.said("Going back to checkpoint")) > 0 })
		require.InDelta(t, 20, time.Since(sent).Seconds(), 5)
		require.Contains(t, s.logs.String(), "record_delivery_timeout")
		require.Zero(t, kafkatest.Committed(t, e, "g", in)[0].Offset, "what is not delivered is not committed")
		outage.Remove()
		kafkatest.Until(t, 2*time.Minute, func() error { return covered(e, in, 10) })
		require.NoError(t, s.stop())
		require.Equal(t, map[int32][]int64{0: span(0, 10)}, numbers(t, e, out))
	})
}

func TestSG06_ExactlyOnceWithAnotherNumberOfWriters(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := kafkatest.Virtual(t)
		in, out := topics(t, e, 3)
		env := environment(t, e)
		want := int64(0)
		for round, n := range []int{2, 4, 4, 1, 2} {
			p := kafkatest.NewProxy(t, e)
			s := startIn(t, env, p, exactWriters(in, n, "round_robin", out))
			for range 2 { // a checkpoint lies between
				kafkatest.Fill(t, e, in, 40)
				want += 40
				time.Sleep(2500 * time.Millisecond) // virtual
			}
			if round%2 == 0 {
				require.NoError(t, s.stop())
			} else {
				p.Down()
			}
		}
		s := startIn(t, env, e, exactWriters(in, 3, "round_robin", out))
		kafkatest.Until(t, 2*time.Minute, func() error { return covered(e, in, want) })
		require.NoError(t, s.stop())
		got := numbers(t, e, out)
		for p := range int32(3) {
			require.ElementsMatch(t, span(0, want), got[p])
		}
		require.Empty(t, openTransactions(t, e))
	})
}

func TestSG07_ExactlyOnceKeepsItsSession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := kafkatest.Virtual(t)
		in, out := topics(t, e, 1)
		p := kafkatest.NewProxy(t, e)
		s := startIn(t, environment(t, e), p, copyYAML(in, out, "g", "")+exactly)
		for range 50 {
			produce(t, e, in, "0/0")
			time.Sleep(time.Second) // virtual
		}
		require.GreaterOrEqual(t, p.Count(kmsg.EndTxn), 49)
		require.Equal(t, 1, p.Count(kmsg.InitProducerID))
		require.NoError(t, s.stop())
		ids := map[int64]bool{}
		for _, r := range kafkatest.ReadCommitted(t, e, out)[0] {
			ids[r.ProducerID] = true
		}
		require.Len(t, ids, 1)
	})
}

func TestRS01_ExactlyOnceARestartContinuesAtTheCheckpoint(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := kafkatest.Virtual(t)
		in, out := topics(t, e, 3)
		yaml := copyYAML(in, out, "g", "") + exactly
		for round := range int64(4) {
			kafkatest.Fill(t, e, in, 25)
			s := start(t, e, yaml)
			awaitNumbers(t, e, out, allOf(3, 25*(round+1)))
			require.NoError(t, s.stop())
			require.Empty(t, openTransactions(t, e))
		}
	})
}

// Members come and go while records flow: in order, or killed.
func TestRS02_ExactlyOnceWithAnotherNumberOfReaders(t *testing.T) {
	for name, killed := range map[string]bool{"stopped": false, "killed": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { testReaders(t, killed) })
		})
	}
}

// testReaders runs in a bubble.
func testReaders(t *testing.T, killed bool) {
	e := kafkatest.Virtual(t)
	in, out := topics(t, e, 4)
	wentBack := sampled(t, e, in)
	env := environment(t, e)
	yaml := copyYAML(in, out, "g", "session_timeout: 10s\n    max_batch_records: 7") + patient
	type reader struct {
		s *stream
		p *kafkatest.Proxy
	}
	var running []reader
	written := int64(0)
	feed := func(n int) {
		for range n {
			kafkatest.Fill(t, e, in, 15)
			written += 15
			time.Sleep(700 * time.Millisecond) // virtual
		}
	}
	for _, readers := range []int{2, 4, 2, 3, 1} {
		for len(running) < readers {
			p := kafkatest.NewProxy(t, e)
			running = append(running, reader{startIn(t, env, p, yaml), p})
			feed(3)
		}
		for len(running) > readers {
			if killed {
				running[0].p.Down()
			} else {
				require.NoError(t, running[0].s.stop())
				require.NotContains(t, running[0].s.logs.String(), "level=ERROR")
			}
			running = running[1:]
			feed(3)
		}
		joined(t, e, readers)
		feed(4)
	}
	kafkatest.Until(t, 2*time.Minute, func() error { return covered(e, in, written) })
	for _, r := range running {
		require.NoError(t, r.s.stop())
	}
	require.Equal(t, allOf(4, written), numbers(t, e, out))
	require.Empty(t, openTransactions(t, e))
	require.Empty(t, wentBack())
}

// Partitions are added between two runs and while one goes on.
func TestRS07_ExactlyOnceOnlyNewPartitionsAreAdded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := kafkatest.Virtual(t)
		in := kafkatest.Topic(t, e, 2)
		out := kafkatest.Topic(t, e, 4)
		yaml := copyYAML(in, out, "g", "start_from: latest") + exactly
		s := start(t, e, yaml)
		kafkatest.Until(t, patience, func() error { return covered(e, in, 0) })
		kafkatest.Eventually(t, patience, "positions are committed", func() bool { return len(committed(e, in)) == 2 })
		kafkatest.Fill(t, e, in, 10)
		awaitNumbers(t, e, out, allOf(2, 10))
		kafkatest.AddPartitions(t, e, in, 3)
		kafkatest.Fill(t, e, in, 10)
		want := allOf(2, 20)
		want[2] = span(0, 10)
		awaitNumbers(t, e, out, want)
		require.NoError(t, s.stop())
		kafkatest.AddPartitions(t, e, in, 4)
		kafkatest.Fill(t, e, in, 10)
		s = start(t, e, yaml)
		want = allOf(2, 30)
		want[2], want[3] = span(0, 20), span(0, 10)
		awaitNumbers(t, e, out, want)
		require.NoError(t, s.stop())
		require.Empty(t, openTransactions(t, e))
	})
}

func TestRS08_ExactlyOnceResolvedPositionsHoldThoughNothingWasRead(t *testing.T) {
	for _, killed := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			e := kafkatest.Virtual(t)
			in, out := topics(t, e, 2)
			kafkatest.Fill(t, e, in, 10)
			yaml := copyYAML(in, out, "g", "start_from: latest\n    session_timeout: 10s\n    checkpoint: { interval: 1m }") + patient
			p := kafkatest.NewProxy(t, e)
			s := startIn(t, environment(t, e), p, yaml)
			kafkatest.Eventually(t, patience, "positions are claimed", func() bool { return len(committed(e, in)) == 2 })
			if killed {
				p.Down()
			} else {
				require.NoError(t, s.stop())
			}
			kafkatest.Fill(t, e, in, 10) // produced in between
			s = start(t, e, copyYAML(in, out, "g", "start_from: latest\n    session_timeout: 10s")+patient)
			awaitNumbers(t, e, out, map[int32][]int64{0: span(10, 20), 1: span(10, 20)})
			require.NoError(t, s.stop())
		})
	}
}
