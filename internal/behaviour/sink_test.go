package behaviour

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redpanda-data/benthos/v4/public/service"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/tidemarkhq/tidemark/internal/kafkatest"
)

func TestSG01_WithoutAGuaranteeAnEndStillFlushes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := kafkatest.Virtual(t)
		in, out := topics(t, e, 2)
		kafkatest.Fill(t, e, in, 500)
		s := start(t, e, copyYAML(in, out, "g", "stop_at: latest")+"    delivery: none\n    linger: 30s\n")
		s.ended()
		require.Equal(t, map[int32][]int64{0: span(0, 500), 1: span(0, 500)}, numbers(t, e, out))
	})
}

// A process whose connections are cut for ever is, to the brokers, one that was
// killed. What it had not delivered by then never arrives.
func TestSG02_AfterAFailureNothingOfACompletedCheckpointIsMissing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := kafkatest.Virtual(t)
		in, out := topics(t, e, 2)
		yaml := copyYAML(in, out, "g", "session_timeout: 10s\n    max_batch_records: 10")
		env := environment(t, e)
		written := int64(0)
		for round := range 5 {
			p := kafkatest.NewProxy(t, e)
			s := startIn(t, env, p, yaml)
			kafkatest.Fill(t, e, in, 100)
			written += 100
			kafkatest.Eventually(t, patience, "a checkpoint is complete", func() bool {
				return kafkatest.Committed(t, e, "g", in)[0].Offset == written && kafkatest.Committed(t, e, "g", in)[1].Offset == written
			})
			// What follows is delivered and not committed, or not even delivered.
			held, n := kmsg.OffsetCommit, 30
			if round%2 == 1 {
				held, n = kmsg.Produce, 7
			}
			hold := p.HoldRequests(held)
			kafkatest.Fill(t, e, in, n)
			written += int64(n)
			hold.Await(t, 1, patience)
			time.Sleep(3 * time.Second) // virtual: checkpoints would be due
			hold.Drop()
			p.Down()
			committed := kafkatest.Committed(t, e, "g", in)
			ends := kafkatest.Ends(t, e, out)
			next := start(t, e, yaml)
			kafkatest.Eventually(t, 2*time.Minute, "the next process has caught up", func() bool {
				return kafkatest.Committed(t, e, "g", in)[0].Offset == written && kafkatest.Committed(t, e, "g", in)[1].Offset == written
			})
			for part, got := range numbers(t, e, out) {
				require.Greater(t, int64(len(got)), ends[part], "what was lost is read again")
				require.Equal(t, committed[part].Offset, got[ends[part]], "it goes on at the checkpoint")
				require.LessOrEqual(t, ends[part]-committed[part].Offset, int64(37*(round+1)), "repeats within one interval")
				seen := map[int64]bool{}
				for _, n := range got {
					seen[n] = true
				}
				require.Len(t, seen, int(written), "nothing is missing")
			}
			require.NoError(t, next.stop())
			_ = s.stop()
		}
	})
}

func TestSG04_ASendThatFailsForGoodIsNoticedThoughNothingFollows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := kafkatest.Virtual(t)
		in, out := topics(t, e, 1)
		kafkatest.Fill(t, e, in, 10)
		outage := e.Fail(kmsg.Produce, -1, kerr.NotLeaderForPartition)
		s := start(t, e, copyYAML(in, out, "g", "")+"    record_delivery_timeout: 20s\n")
		sent := time.Now()
		kafkatest.Eventually(t, time.Minute, "the stream goes back", func() bool { return len(s.said("Going back to checkpoint")) > 0 })
		require.InDelta(t, 20, time.Since(sent).Seconds(), 5)
		require.Contains(t, s.logs.String(), "record_delivery_timeout")
		require.Zero(t, kafkatest.Committed(t, e, "g", in)[0].Offset, "what is not delivered is not committed")
		outage.Remove()
		kafkatest.Eventually(t, time.Minute, "it is complete", func() bool { return len(numbers(t, e, out)[0]) >= 10 })
		require.Equal(t, span(0, 10), numbers(t, e, out)[0][:10])
	})
}

func TestSG05_AStopWhileTheBrokerIsAwayIsNotClean(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := kafkatest.Virtual(t)
		in, out := topics(t, e, 1)
		kafkatest.Fill(t, e, in, 10)
		yaml := copyYAML(in, out, "g", "session_timeout: 10s")
		p := kafkatest.NewProxy(t, e)
		s := startIn(t, environment(t, e), p, yaml)
		awaitNumbers(t, e, out, map[int32][]int64{0: span(0, 10)})
		kafkatest.Eventually(t, patience, "a checkpoint is complete", func() bool { return kafkatest.Committed(t, e, "g", in)[0].Offset == 10 })
		hold := p.HoldRequests(kmsg.Produce)
		kafkatest.Fill(t, e, in, 10)
		hold.Await(t, 1, patience)
		hold.Drop()
		p.Down()
		asked := time.Now()
		_ = s.stop()
		require.Less(t, time.Since(asked), 25*time.Second)
		require.Contains(t, s.logs.String(), "level=ERROR")
		require.Contains(t, s.logs.String(), "final checkpoint")
		require.Equal(t, int64(10), kafkatest.Committed(t, e, "g", in)[0].Offset)
		start(t, e, yaml)
		awaitNumbers(t, e, out, map[int32][]int64{0: span(0, 20)})
	})
}

// writers is a pipeline with n outputs that share the records among them.
func writers(in, out string, n int) string {
	head, item := outputItem(in, out)
	return head + "output:\n  broker:\n    pattern: round_robin\n    outputs:\n" + strings.Repeat(item+"\n", n)
}

// outputItem is a pipeline up to its output, and the output as one of a broker.
func outputItem(in, out string) (head, item string) {
	head, tail, _ := strings.Cut(copyYAML(in, out, "g", ""), "output:\n")
	return head, "      - " + strings.TrimSpace(strings.ReplaceAll(tail, "\n  ", "\n          "))
}

func TestSG06_AnotherNumberOfWritersLosesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := kafkatest.Virtual(t)
		in, out := topics(t, e, 3)
		want := map[int32]int{}
		for round, n := range []int{2, 4, 4, 1, 2} {
			s := start(t, e, writers(in, out, n))
			for range 2 { // a checkpoint lies between
				kafkatest.Fill(t, e, in, 40)
				time.Sleep(3 * time.Second) // virtual
			}
			require.NoError(t, s.stop())
			for p := range int32(3) {
				want[p] = 80 * (round + 1)
			}
			require.Equal(t, want, counts(t, e, out), "complete, and after a stop in order without repeats")
		}
	})
}

func TestSG07_OneProducerSessionForAllCheckpoints(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := kafkatest.Virtual(t)
		in, out := topics(t, e, 1)
		s, m := startMeasured(t, e, copyYAML(in, out, "g", ""))
		sessions := 0
		for i := range 55 {
			produce(t, e, in, "0/0")
			time.Sleep(time.Second) // virtual
			if i == 4 {
				sessions = e.Count(kmsg.InitProducerID)
			}
		}
		n, _ := m.get("tidemark_checkpoints_completed")
		require.GreaterOrEqual(t, n, int64(50))
		// Each record of the test has a producer of its own.
		require.Equal(t, sessions+50, e.Count(kmsg.InitProducerID))
		require.NoError(t, s.stop())
		ids := map[int64]bool{}
		for _, r := range kafkatest.ReadCommitted(t, e, out)[0] {
			ids[r.ProducerID] = true
		}
		require.Len(t, ids, 1)
	})
}

// refusing is an output that rejects the first batch that it gets.
type refusing struct{ refused atomic.Bool }

func (*refusing) Connect(context.Context) error { return nil }
func (*refusing) Close(context.Context) error   { return nil }

func (r *refusing) WriteBatch(context.Context, service.MessageBatch) error {
	if !r.refused.Swap(true) {
		return errors.New("rejected")
	}
	return nil
}

// One of two outputs rejects a batch while the other has not begun to write it: the
// copy on its way there is written late, and is no sign of an acknowledgement that
// came too early.
func TestACopyThatIsOnItsWayWhenABatchIsRejectedIsWritten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := kafkatest.Virtual(t)
		in, out := topics(t, e, 1)
		kafkatest.Fill(t, e, in, 10)
		env := environment(t, e)
		require.NoError(t, env.RegisterBatchOutput("refusing", service.NewConfigSpec(),
			func(*service.ParsedConfig, *service.Resources) (service.BatchOutput, service.BatchPolicy, int, error) {
				return &refusing{}, service.BatchPolicy{}, 1, nil
			}))
		head, item := outputItem(in, out)
		s := startIn(t, env, e, head+"output:\n  broker:\n    pattern: fan_out_fail_fast\n    outputs:\n      - refusing: {}\n"+
			item+"\n        processors: [ { sleep: { duration: 300ms } } ]\n")
		kafkatest.Eventually(t, patience, "all is committed", func() bool { return kafkatest.Committed(t, e, "g", in)[0].Offset == 10 })
		require.NoError(t, s.stop())
		require.NotContains(t, s.logs.String(), "acknowledged to its input before", "a rejection is none")
		require.Equal(t, append(span(0, 10), span(0, 10)...), numbers(t, e, out)[0], "the copy, and the batch again")
	})
}

// A stop comes while another member waits for a partition, and the brokers do not
// answer: the hand-over gets no more time than the stop.
func TestAStopDuringAHandOverEndsInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := kafkatest.Virtual(t)
		in, out := topics(t, e, 2)
		kafkatest.Fill(t, e, in, 10)
		yaml := copyYAML(in, out, "g", "session_timeout: 30s\n    rebalance_timeout: 300s\n    checkpoint: { interval: 1s, shutdown_timeout: 5s }")
		p := kafkatest.NewProxy(t, e)
		s := startIn(t, environment(t, e), p, yaml)
		kafkatest.Eventually(t, patience, "a checkpoint is complete", func() bool { return kafkatest.Committed(t, e, "g", in)[1].Offset == 10 })
		hold := p.HoldRequests(kmsg.Produce)
		kafkatest.Fill(t, e, in, 10)
		hold.Await(t, 1, patience)
		start(t, e, yaml)
		kafkatest.Eventually(t, patience, "a hand-over has begun", func() bool { return strings.Contains(s.logs.String(), "lost="+in) })
		asked := time.Now()
		_ = s.stop()
		require.Less(t, time.Since(asked), 10*time.Second)
		hold.Release()
	})
}
