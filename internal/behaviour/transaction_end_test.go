package behaviour

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/tidemarkhq/tidemark/checkpoint"
	"github.com/tidemarkhq/tidemark/internal/kafkatest"
)

// both is what two partitions hold after n records each.
func both(n int64) map[int32][]int64 { return map[int32][]int64{0: span(0, n), 1: span(0, n)} }

// onlyID returns the one transactional id that the brokers know.
func onlyID(t testing.TB, e kafkatest.Endpoint) string {
	t.Helper()
	states := transactions(t, e)
	require.Len(t, states, 1)
	for id := range states {
		return id
	}
	return ""
}

// fence takes a transactional id over, as another process would. Twice: brokers that abort
// a transaction for it do so under an epoch of their own, and kfake does not.
func fence(t testing.TB, e kafkatest.Endpoint, id string) {
	t.Helper()
	for range 2 {
		cl := kafkatest.Client(t, e, kgo.TransactionalID(id))
		_, _, err := cl.ProducerID(t.Context())
		require.NoError(t, err)
	}
}

// passes lets time pass in a bubble.
func passes(d time.Duration) func(*testing.T, *kafkatest.Cluster) {
	return func(*testing.T, *kafkatest.Cluster) { time.Sleep(d) }
}

func TestTX04_ACommitWhoseAnswerWasLostIsNotRepeated(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := kafkatest.Virtual(t)
		in, out := topics(t, e, 2)
		p := kafkatest.NewProxy(t, e)
		hold := p.HoldAnswers(kmsg.EndTxn)
		s := startIn(t, environment(t, e), p, copyYAML(in, out, "g", "checkpoint: { interval: 2s }")+exactly)
		kafkatest.Fill(t, e, in, 50)
		hold.Await(t, 1, patience)
		require.Equal(t, both(50), numbers(t, e, out), "it is committed")
		hold.Drop()
		kafkatest.Fill(t, e, in, 50)
		awaitNumbers(t, e, out, both(100))
		require.NoError(t, s.stop())
		require.Equal(t, both(100), numbers(t, e, out))
		require.Equal(t, both(100), uncommitted(t, e, out), "not even tried a second time")
		require.NotContains(t, s.logs.String(), "Stream stopped for good")
	})
}

// The brokers abort a transaction while its commit is on the way. That must not be taken
// for done, whatever the answer is.
func TestTX04_ACommitOfWhatWasAbortedMeanwhileIsNoSuccess(t *testing.T) {
	for name, abort := range map[string]func(t *testing.T, e *kafkatest.Cluster){
		"by time-out":         passes(5 * time.Second),
		"by another producer": func(t *testing.T, e *kafkatest.Cluster) { fence(t, e, onlyID(t, e)) },
	} {
		for _, lost := range []bool{false, true} {
			t.Run(name+map[bool]string{true: ", and not heard of"}[lost], func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) { testAbortedMeanwhile(t, abort, lost) })
			})
		}
	}
}

func testAbortedMeanwhile(t *testing.T, abort func(*testing.T, *kafkatest.Cluster), lost bool) {
	e := kafkatest.Virtual(t)
	in, out := topics(t, e, 2)
	p := kafkatest.NewProxy(t, e)
	env, m := measured(t, e)
	hold := p.HoldRequests(kmsg.EndTxn)
	s := startIn(t, env, p, copyYAML(in, out, "g", "checkpoint: { interval: 500ms, timeout: 1s }")+exactly+
		"    transaction_timeout: 3s\nmetrics: { gathered: {} }\n")
	kafkatest.Fill(t, e, in, 50)
	hold.Await(t, 1, patience)
	abort(t, e)
	require.Empty(t, openTransactions(t, e))
	require.Empty(t, numbers(t, e, out))
	done, _ := m.get("tidemark_last_checkpoint_id")
	require.Zero(t, kafkatest.Committed(t, e, "g", in)[0].Offset)
	if lost {
		hold.Drop()
	} else {
		hold.Release()
	}
	awaitNumbers(t, e, out, both(50))
	require.NotEmpty(t, s.said(fmt.Sprintf("Going back to checkpoint %d ", done)), "it is loud")
	kafkatest.Fill(t, e, in, 50)
	awaitNumbers(t, e, out, both(100))
	require.NoError(t, s.stop())
	require.Empty(t, openTransactions(t, e))
	require.Equal(t, int64(100), kafkatest.Committed(t, e, "g", in)[1].Offset)
}

func TestTX14_ErrorsThatPassAtTheEndOfATransactionAreRiddenOut(t *testing.T) {
	for _, key := range []kmsg.Key{kmsg.EndTxn, kmsg.TxnOffsetCommit} {
		for _, answer := range []*kerr.Error{kerr.NotCoordinator, kerr.CoordinatorLoadInProgress, kerr.CoordinatorNotAvailable, kerr.ConcurrentTransactions} {
			t.Run(key.Name()+"/"+answer.Message, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					e := kafkatest.Virtual(t)
					in, out := topics(t, e, 2)
					s := start(t, e, copyYAML(in, out, "g", "")+exactly)
					kafkatest.Fill(t, e, in, 50)
					awaitNumbers(t, e, out, both(50))
					outage := e.Fail(key, -1, answer)
					kafkatest.Fill(t, e, in, 50)
					time.Sleep(8 * time.Second) // virtual
					require.Positive(t, outage.Hits())
					require.Equal(t, both(50), numbers(t, e, out))
					outage.Remove()
					awaitNumbers(t, e, out, both(100))
					require.NoError(t, s.stop())
					require.NotContains(t, s.logs.String(), "Stream stopped for good")
					require.Equal(t, both(100), numbers(t, e, out))
					require.Empty(t, openTransactions(t, e))
				})
			})
		}
	}
}

func TestTX14_AnOutageLongerThanTheTransactionMayLastIsRiddenOut(t *testing.T) {
	for _, away := range []time.Duration{20 * time.Second, 3 * time.Minute} {
		for name, key := range map[string]kmsg.Key{"commit": kmsg.EndTxn, "offsets": kmsg.TxnOffsetCommit, "records": kmsg.Produce} {
			t.Run(name+" "+away.String(), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					e := kafkatest.Virtual(t)
					in, out := topics(t, e, 2)
					p := kafkatest.NewProxy(t, e)
					s := startIn(t, environment(t, e), p, copyYAML(in, out, "g", "")+exactly)
					kafkatest.Fill(t, e, in, 50)
					awaitNumbers(t, e, out, both(50))
					hold := p.HoldRequests(key)
					kafkatest.Fill(t, e, in, 50)
					hold.Await(t, 1, patience)
					p.Down()
					hold.Drop()
					time.Sleep(away) // virtual
					require.Equal(t, both(50), numbers(t, e, out))
					p.Up()
					kafkatest.Until(t, 2*time.Minute, func() error { return covered(e, in, 100) })
					require.Equal(t, both(100), numbers(t, e, out))
					require.NoError(t, s.stop())
					require.NotContains(t, s.logs.String(), "Stream stopped for good")
					require.Empty(t, openTransactions(t, e))
				})
			})
		}
	}
}

func TestTX15_FencedOrTimedOutItIsLoudAndTheNextTransactionsWork(t *testing.T) {
	for name, c := range map[string]struct {
		lose func(t *testing.T, e *kafkatest.Cluster)
		says string
		not  string
	}{
		"fenced":    {lose: func(t *testing.T, e *kafkatest.Cluster) { fence(t, e, onlyID(t, e)) }, says: "taken over anew"},
		"timed out": {lose: passes(35 * time.Second), not: "taken over anew"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				e := kafkatest.Virtual(t)
				in, out := topics(t, e, 2)
				p := kafkatest.NewProxy(t, e)
				s := startIn(t, environment(t, e), p, copyYAML(in, out, "g", "checkpoint: { interval: 5s, timeout: 10s }")+exactly+
					"    transaction_timeout: 30s\n")
				for round := range int64(3) {
					n := 100 * round
					kafkatest.Fill(t, e, in, 50)
					awaitNumbers(t, e, out, both(n+50))
					hold := p.HoldRequests(kmsg.TxnOffsetCommit)
					kafkatest.Fill(t, e, in, 50)
					hold.Await(t, 1, patience)
					c.lose(t, e)
					hold.Release()
					kafkatest.Until(t, time.Minute, func() error { return covered(e, in, n+100) })
					require.Equal(t, both(n+100), numbers(t, e, out))
				}
				require.NoError(t, s.stop())
				require.GreaterOrEqual(t, len(s.said("Going back to checkpoint")), 3)
				if c.says != "" {
					require.Contains(t, s.logs.String(), c.says)
				}
				if c.not != "" {
					require.NotContains(t, s.logs.String(), c.not)
				}
				require.NotContains(t, s.logs.String(), "Stream stopped for good")
				require.Len(t, transactions(t, e), 1)
			})
		})
	}
}

// A commit does not come back, and the stream is told to stop.
func TestTX16_AStopWhileACommitHangs(t *testing.T) {
	for name, hold := range map[string]func(*kafkatest.Proxy) *kafkatest.Hold{
		"the request": func(p *kafkatest.Proxy) *kafkatest.Hold { return p.HoldRequests(kmsg.EndTxn) },
		"the answer":  func(p *kafkatest.Proxy) *kafkatest.Hold { return p.HoldAnswers(kmsg.EndTxn) },
		"the offsets": func(p *kafkatest.Proxy) *kafkatest.Hold { return p.HoldRequests(kmsg.TxnOffsetCommit) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				e := kafkatest.Virtual(t)
				in, out := topics(t, e, 2)
				yaml := copyYAML(in, out, "g", "checkpoint: { interval: 2s, shutdown_timeout: 5s }") + exactly
				p := kafkatest.NewProxy(t, e)
				s := startIn(t, environment(t, e), p, yaml)
				kafkatest.Fill(t, e, in, 50)
				awaitNumbers(t, e, out, both(50))
				h := hold(p)
				kafkatest.Fill(t, e, in, 50)
				h.Await(t, 1, patience)
				asked := time.Now()
				_ = s.stop()
				require.Less(t, time.Since(asked), 12*time.Second, "within its time")
				require.Contains(t, s.logs.String(), "final checkpoint failed", "it does not claim success")
				require.Empty(t, strings.Count(s.logs.String(), "Stream stopped for good"))
				h.Drop()
				s = start(t, e, yaml)
				kafkatest.Fill(t, e, in, 50)
				awaitNumbers(t, e, out, both(150))
				require.NoError(t, s.stop())
				require.Empty(t, openTransactions(t, e))
			})
		})
	}
}

// The input is closed at once, and there is nothing that the output could still be for.
func TestExactlyOnceAStopBeforeBrokersAreThereIsImmediate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := kafkatest.Virtual(t)
		in, out := topics(t, e, 1)
		p := kafkatest.NewProxy(t, e)
		p.Down()
		s := startIn(t, environment(t, e), p, copyYAML(in, out, "g", "checkpoint: { job: j, interval: 1s }")+exactly)
		kafkatest.Eventually(t, patience, "it tries to connect", func() bool { return len(s.said("Failed to connect")) > 0 })
		stopped := time.Now()
		require.NoError(t, s.stop())
		require.Less(t, time.Since(stopped), 5*time.Second)
		require.Empty(t, s.said(checkpoint.ErrDead.Error()))
	})
}
