package behaviour

import (
	"fmt"
	"maps"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/tidemarkhq/tidemark/internal/kafkatest"
)

// fault makes the n-th request of a key that the stream behind the proxy sends go wrong.
// What it returns tells whether it did, and ends it.
type fault func(e *kafkatest.Cluster, p *kafkatest.Proxy, key kmsg.Key, n int) (reached func() bool)

// answered is a fault that answers with an error.
func answered(err *kerr.Error) fault {
	return func(e *kafkatest.Cluster, _ *kafkatest.Proxy, key kmsg.Key, n int) func() bool {
		var (
			last kmsg.Request
			seen int
		)
		handle := e.Fault(kfake.Fault{Keys: []kmsg.Key{key}, Err: err, When: func(r kmsg.Request) bool {
			if !ofStream(r) {
				return false
			}
			if r != last { // Asked once for every partition of a request.
				last = r
				seen++
			}
			return seen == n
		}})
		return func() bool {
			handle.Remove()
			return handle.Hits() > 0
		}
	}
}

// ofStream tells the requests of an exactly-once stream from those of a test.
func ofStream(r kmsg.Request) bool {
	switch r := r.(type) {
	case *kmsg.ProduceRequest:
		return r.TransactionID != nil
	case *kmsg.InitProducerIDRequest:
		return r.TransactionalID != nil
	}
	return true
}

// through is a fault of the way to the brokers.
func through(f func(p *kafkatest.Proxy, key kmsg.Key, n int)) fault {
	return func(_ *kafkatest.Cluster, p *kafkatest.Proxy, key kmsg.Key, n int) func() bool {
		f(p, key, n)
		return func() bool { return p.Count(key) >= n }
	}
}

// Each request of every kind that matters for exactly-once fails in each of the ways that
// it can, one run for each: the first one, the second one, and so on, until a run has no
// further one. Each run ends with the records delivered once and in order, the offsets where
// they belong, and no transaction open.
func TestExactlyOnceWhicheverRequestFails(t *testing.T) {
	sweep(t, swept{}, map[kmsg.Key][]*kerr.Error{
		kmsg.Produce: {
			kerr.NotLeaderForPartition, kerr.RequestTimedOut, kerr.ConcurrentTransactions, kerr.InvalidProducerEpoch,
			kerr.InvalidTxnState, kerr.OutOfOrderSequenceNumber, kerr.UnknownProducerID,
		},
		kmsg.TxnOffsetCommit: {
			kerr.NotCoordinator, kerr.CoordinatorLoadInProgress, kerr.ConcurrentTransactions, kerr.IllegalGeneration,
			kerr.UnknownMemberID, kerr.InvalidProducerEpoch, kerr.ProducerFenced,
		},
		kmsg.EndTxn: {
			kerr.NotCoordinator, kerr.CoordinatorLoadInProgress, kerr.ConcurrentTransactions, kerr.InvalidTxnState,
			kerr.InvalidProducerEpoch, kerr.ProducerFenced, kerr.UnknownServerError,
		},
		kmsg.InitProducerID:  {kerr.NotCoordinator, kerr.ConcurrentTransactions, kerr.UnknownServerError},
		kmsg.OffsetFetch:     {kerr.NotCoordinator, kerr.UnstableOffsetCommit},
		kmsg.OffsetCommit:    {kerr.NotCoordinator, kerr.RebalanceInProgress},
		kmsg.Fetch:           {kerr.NotLeaderForPartition},
		kmsg.FindCoordinator: {kerr.CoordinatorNotAvailable},
	})
}

// The same with brokers of the older protocol, where partitions and groups are added to a
// transaction by requests of their own.
func TestExactlyOnceWhicheverRequestOfTheOlderProtocolFails(t *testing.T) {
	sweep(t, swept{prepare: olderProtocol}, map[kmsg.Key][]*kerr.Error{
		kmsg.Produce:            {kerr.InvalidProducerEpoch},
		kmsg.AddPartitionsToTxn: {kerr.ConcurrentTransactions, kerr.NotCoordinator, kerr.InvalidProducerEpoch, kerr.InvalidTxnState},
		kmsg.AddOffsetsToTxn:    {kerr.ConcurrentTransactions, kerr.NotCoordinator, kerr.InvalidProducerEpoch, kerr.InvalidTxnState},
		kmsg.TxnOffsetCommit:    {kerr.CoordinatorLoadInProgress, kerr.InvalidProducerEpoch},
		kmsg.EndTxn:             {kerr.ConcurrentTransactions, kerr.InvalidProducerEpoch, kerr.InvalidTxnState},
		kmsg.InitProducerID:     {kerr.ConcurrentTransactions},
	})
}

// The same with positions in a topic, which is read and claimed before anything begins.
func TestExactlyOnceWhicheverRequestFailsWithAStore(t *testing.T) {
	sweep(t, swept{store: true}, map[kmsg.Key][]*kerr.Error{
		kmsg.Produce:         {kerr.NotLeaderForPartition, kerr.InvalidProducerEpoch, kerr.InvalidTxnState},
		kmsg.TxnOffsetCommit: {kerr.NotCoordinator, kerr.IllegalGeneration, kerr.InvalidProducerEpoch},
		kmsg.EndTxn:          {kerr.ConcurrentTransactions, kerr.InvalidTxnState, kerr.ProducerFenced, kerr.UnknownServerError},
		kmsg.InitProducerID:  {kerr.ConcurrentTransactions, kerr.UnknownServerError},
		kmsg.OffsetFetch:     {kerr.UnstableOffsetCommit},
		kmsg.Fetch:           {kerr.NotLeaderForPartition},
		kmsg.ListOffsets:     {kerr.NotLeaderForPartition},
	})
}

// swept says what a fault is played against.
type swept struct {
	// prepare changes the cluster, if it is there.
	prepare func(*testing.T, *kafkatest.Cluster)
	// store: positions are kept in a topic.
	store bool
}

// olderProtocol makes brokers those of before KIP-890.
func olderProtocol(t *testing.T, e *kafkatest.Cluster) {
	t.Helper()
	req := kmsg.NewPtrUpdateFeaturesRequest()
	req.TimeoutMillis = 1000
	fu := kmsg.NewUpdateFeaturesRequestFeatureUpdate()
	fu.Feature, fu.MaxVersionLevel, fu.UpgradeType = "transaction.version", 0, 2
	req.FeatureUpdates = append(req.FeatureUpdates, fu)
	resp, err := req.RequestWith(t.Context(), kafkatest.Client(t, e))
	require.NoError(t, err)
	require.NoError(t, kerr.ErrorForCode(resp.ErrorCode))
}

// onTheWay are the faults of the way to the brokers.
func onTheWay() map[string]fault {
	return map[string]fault{
		"request lost": through((*kafkatest.Proxy).CutRequest),
		"answer lost":  through((*kafkatest.Proxy).CutAnswer),
		"late": through(func(p *kafkatest.Proxy, key kmsg.Key, n int) {
			p.DelayRequest(15*time.Second, key, n)
		}),
	}
}

// sweep plays a run for each fault of each request, and each of the errors.
func sweep(t *testing.T, of swept, answers map[kmsg.Key][]*kerr.Error) {
	t.Helper()
	w := newWindowWorld(t)
	faults := onTheWay()
	for key, errs := range answers {
		all := maps.Clone(faults)
		for _, err := range errs {
			all[err.Message] = answered(err)
		}
		for name, f := range all {
			t.Run(key.Name()+"/"+name, func(t *testing.T) {
				n := 1
				for reached := true; reached && n < 40; n++ {
					t.Run(strconv.Itoa(n), func(t *testing.T) {
						synctest.Test(t, func(t *testing.T) {
							w.cluster = kafkatest.Virtual(t)
							if of.prepare != nil {
								of.prepare(t, w.cluster)
							}
							reached = survives(t, w, of, f, key, n)
						})
					})
				}
				require.Greater(t, n, 2, "the stream sends such requests")
			})
		}
	}
}

// survives plays a run with a fault in a bubble, and tells whether that happened.
func survives(t *testing.T, w *windowWorld, of swept, f fault, key kmsg.Key, n int) bool {
	e := w.cluster
	in, out := topics(t, e, 2)
	checkpoint := "checkpoint: { interval: 500ms }"
	if of.store {
		checkpoint = "checkpoint: { interval: 500ms, store: { topic: " + kafkatest.Unique(t) + ", partitions: 2 } }"
	}
	yaml := copyYAML(in, out, "g", checkpoint) + exactly
	p := kafkatest.NewProxy(t, e)
	kafkatest.Fill(t, e, in, 20)
	reached := f(e, p, key, n)
	s := startIn(t, w.env, p, yaml)
	awaitCovered(t, e, in, 20)
	kafkatest.Fill(t, e, in, 20)
	awaitCovered(t, e, in, 40)
	kafkatest.Fill(t, e, in, 10)
	time.Sleep(100 * time.Millisecond) // virtual: they are written, and no checkpoint covers them
	_ = s.stop()
	did := reached()
	require.NotContains(t, s.logs.String(), "Stream stopped for good")
	for part, c := range committed(e, in) {
		require.Equal(t, span(0, c), numbers(t, e, out)[part], "what is committed is visible, and nothing else")
	}
	if covered(e, in, 50) != nil { // It had no time to read them, or the end failed.
		s = startIn(t, w.env, e, yaml)
		kafkatest.Eventually(t, patience, "it has started", func() bool { return len(s.said("is now active")) > 0 })
		awaitCovered(t, e, in, 50)
		require.NoError(t, s.stop())
	}
	require.Equal(t, map[int32][]int64{0: span(0, 50), 1: span(0, 50)}, numbers(t, e, out))
	require.Empty(t, openTransactions(t, e))
	return did
}

// awaitCovered waits, without a request that a fault could meet, until the group has
// committed an offset for all of a topic's partitions.
func awaitCovered(t *testing.T, e *kafkatest.Cluster, in string, offset int64) {
	t.Helper()
	kafkatest.Until(t, 3*time.Minute, func() error { return covered(e, in, offset) })
}

// covered returns what the group has committed if it is not the offset.
func covered(e *kafkatest.Cluster, in string, offset int64) error {
	commits := committed(e, in)
	for _, p := range e.PartitionInfos(in) {
		if commits[p.Partition] != offset {
			return fmt.Errorf("committed: %v, want %d", commits, offset)
		}
	}
	return nil
}

// committed returns the offsets of group g, without a request that a fault could meet.
func committed(e *kafkatest.Cluster, in string) map[int32]int64 {
	commits := map[int32]int64{}
	if g := e.GroupInfo("g"); g != nil {
		for p, c := range g.Commits[in] {
			commits[p] = c.Offset
		}
	}
	return commits
}
