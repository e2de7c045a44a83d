package behaviour

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/tidemarkhq/tidemark/internal/kafka"
	"github.com/tidemarkhq/tidemark/internal/kafkatest"
)

// exactly makes copyYAML's output deliver exactly once.
const exactly = "    delivery: exactly_once\n"

// written returns how many records of Fill a topic holds for a read-uncommitted reader, by
// source partition.
func uncommitted(t testing.TB, e kafkatest.Endpoint, topic string) map[int32][]int64 {
	t.Helper()
	got := map[int32][]int64{}
	for _, rs := range kafkatest.ReadUncommitted(t, e, topic) {
		for _, r := range rs {
			p, n := kafkatest.Number(t, r)
			got[p] = append(got[p], n)
		}
	}
	return got
}

// transactions lists the transactional ids that the brokers know, with their states.
func transactions(t testing.TB, e kafkatest.Endpoint) map[string]string {
	t.Helper()
	cl := kafkatest.Client(t, e)
	defer cl.Close()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	listed, err := kadm.NewClient(cl).ListTransactions(ctx, nil, nil)
	require.NoError(t, err)
	states := map[string]string{}
	for id, txn := range listed {
		states[id] = txn.State
	}
	return states
}

// openTransactions lists the transactional ids with an open transaction.
func openTransactions(t testing.TB, e kafkatest.Endpoint) []string {
	t.Helper()
	states := transactions(t, e)
	maps.DeleteFunc(states, func(_, state string) bool { return state != "Ongoing" })
	return slices.Sorted(maps.Keys(states))
}

// fillUntilOpen gives each partition of a topic records until so many transactions are open
// on the cluster of the output, and returns how many records that took. Records that were
// written once might all be in a checkpoint before anyone looks.
func fillUntilOpen(t testing.TB, from kafkatest.Endpoint, in string, to kafkatest.Endpoint, count int) int64 {
	t.Helper()
	kafkatest.Fill(t, from, in, 20)
	written := int64(20)
	kafkatest.Eventually(t, patience, fmt.Sprintf("%d transactions are open", count), func() bool {
		if len(openTransactions(t, to)) == count {
			return true
		}
		kafkatest.Fill(t, from, in, 1)
		written++
		return false
	})
	return written
}

func TestTX01_RecordsAreVisibleWithTheirCheckpointAndOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := kafkatest.Virtual(t)
		in, out := topics(t, e, 2)
		p := kafkatest.NewProxy(t, e)
		s := startIn(t, environment(t, e), p, copyYAML(in, out, "g", "checkpoint: { interval: 10s }")+exactly)
		kafkatest.Fill(t, e, in, 300)
		kafkatest.Eventually(t, patience, "everything is written", func() bool {
			got := uncommitted(t, e, out)
			return len(got[0]) == 300 && len(got[1]) == 300
		})
		require.Empty(t, numbers(t, e, out), "nothing is visible before the checkpoint")
		require.Zero(t, kafkatest.Committed(t, e, "g", in)[0].Offset, "and nothing committed")
		awaitNumbers(t, e, out, map[int32][]int64{0: span(0, 300), 1: span(0, 300)})
		require.Equal(t, int64(300), kafkatest.Committed(t, e, "g", in)[0].Offset, "both at the same time")
		kafkatest.Fill(t, e, in, 200)
		awaitNumbers(t, e, out, map[int32][]int64{0: span(0, 500), 1: span(0, 500)})
		require.NoError(t, s.stop())
		require.Equal(t, map[int32][]int64{0: span(0, 500), 1: span(0, 500)}, uncommitted(t, e, out), "nothing was repeated")
		require.Empty(t, openTransactions(t, e))
		require.Len(t, transactions(t, e), 1)
	})
}

func TestTX02_WhatWasNotCommittedIsAbortedAndWrittenAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := kafkatest.Virtual(t)
		in, out := topics(t, e, 2)
		yaml := copyYAML(in, out, "g", "session_timeout: 10s\n    checkpoint: { interval: 5s }") + exactly
		env := environment(t, e)
		written := int64(0)
		for range 4 {
			p := kafkatest.NewProxy(t, e)
			s := startIn(t, env, p, yaml)
			kafkatest.Fill(t, e, in, 100)
			written += 100
			kafkatest.Eventually(t, 2*time.Minute, "a checkpoint is complete", func() bool {
				return kafkatest.Committed(t, e, "g", in)[0].Offset == written && kafkatest.Committed(t, e, "g", in)[1].Offset == written
			})
			before := len(uncommitted(t, e, out)[0])
			kafkatest.Fill(t, e, in, 30)
			written += 30
			kafkatest.Eventually(t, patience, "something is written that no checkpoint covers", func() bool {
				return len(uncommitted(t, e, out)[0]) > before
			})
			require.Len(t, openTransactions(t, e), 1, "a transaction is open")
			p.Down() // To the brokers, a process that was killed.
			next := start(t, e, yaml)
			kafkatest.Eventually(t, 2*time.Minute, "the next process has caught up", func() bool {
				return kafkatest.Committed(t, e, "g", in)[0].Offset == written && kafkatest.Committed(t, e, "g", in)[1].Offset == written
			})
			require.Equal(t, map[int32][]int64{0: span(0, written), 1: span(0, written)}, numbers(t, e, out))
			require.NoError(t, next.stop())
			_ = s.stop()
		}
		require.Greater(t, len(uncommitted(t, e, out)[0]), int(written), "aborted copies are there")
		require.Empty(t, openTransactions(t, e))
	})
}

func TestTX11_IdleCheckpointsLeaveNoTrace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := kafkatest.Virtual(t)
		in, out := topics(t, e, 1)
		p := kafkatest.NewProxy(t, e)
		s := startIn(t, environment(t, e), p, copyYAML(in, out, "g", "")+exactly)
		kafkatest.Fill(t, e, in, 10)
		awaitNumbers(t, e, out, map[int32][]int64{0: span(0, 10)})
		ended, end := p.Count(kmsg.EndTxn), kafkatest.Ends(t, e, out)[0]
		time.Sleep(time.Minute) // virtual: checkpoints without a record
		require.Equal(t, ended, p.Count(kmsg.EndTxn))
		require.Equal(t, end, kafkatest.Ends(t, e, out)[0])
		require.NoError(t, s.stop())
		start(t, e, copyYAML(in, out, "g", "")+exactly)
		kafkatest.Fill(t, e, in, 10)
		awaitNumbers(t, e, out, map[int32][]int64{0: span(0, 20)})
	})
}

func TestFieldsTransactionalIDPrefixAndTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := kafkatest.Virtual(t)
		in, out := topics(t, e, 1)
		kafkatest.Fill(t, e, in, 10)
		s := start(t, e, copyYAML(in, out, "g", "instance_id: one")+exactly+"    transactional_id_prefix: payments\n    transaction_timeout: 45s\n")
		awaitNumbers(t, e, out, map[int32][]int64{0: span(0, 10)})
		require.Contains(t, transactions(t, e), "payments-g-one")
		described, err := kadm.NewClient(kafkatest.Client(t, e)).DescribeTransactions(t.Context(), "payments-g-one")
		require.NoError(t, err)
		require.Equal(t, int32(45000), described["payments-g-one"].TimeoutMillis)
		require.NoError(t, s.stop())
		s = start(t, e, copyYAML(in, out, "g", "")+exactly+"    transaction_timeout: 31s\n")
		s.ended()
		require.Contains(t, s.logs.String(), `transaction_timeout of \"output\" is 31s, but a checkpoint may begin 1s after the one before and take 30s`)
	})
}

func TestTXIdThatWasFencedIsTakenBackOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := kafkatest.Virtual(t)
		in, out := topics(t, e, 1)
		p := kafkatest.NewProxy(t, e)
		s := startIn(t, environment(t, e), p, copyYAML(in, out, "g", "instance_id: one")+exactly)
		kafkatest.Fill(t, e, in, 10)
		awaitNumbers(t, e, out, map[int32][]int64{0: span(0, 10)})
		require.NoError(t, kafka.Fence(t.Context(), kafkatest.Client(t, e), "tidemark-g-one"))
		kafkatest.Fill(t, e, in, 10)
		awaitNumbers(t, e, out, map[int32][]int64{0: span(0, 20)})
		require.NoError(t, s.stop())
		require.Equal(t, 1, strings.Count(s.logs.String(), "is taken over anew"))
	})
}
