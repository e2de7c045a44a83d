package kafka_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/tidemarkhq/tidemark/internal/kafka"
	"github.com/tidemarkhq/tidemark/internal/kafkatest"
)

// onBoth runs a test against a cluster in this process and against Apache Kafka.
func onBoth(t *testing.T, test func(t *testing.T, e kafkatest.Endpoint)) {
	t.Run("fake", func(t *testing.T) { test(t, kafkatest.Fake(t)) })
	t.Run("kafka", func(t *testing.T) {
		if testing.Short() {
			t.Skip("SKIPPED: a real broker is slow to start")
		}
		test(t, kafkatest.Shared(t))
	})
}

func bounded(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// numbers leaves out the leader epochs.
func numbers(at map[kafka.Partition]kafka.Position) map[int32]int64 {
	n := make(map[int32]int64, len(at))
	for p, pos := range at {
		n[p.ID] = pos.Offset
	}
	return n
}

// filled makes a topic of three partitions: 10 records with timestamps 1000, 2000
// … in partition 0, 5 in partition 1, none in partition 2.
func filled(t *testing.T, e kafkatest.Endpoint) string {
	topic := kafkatest.Topic(t, e, 3, "message.timestamp.type=CreateTime", "retention.ms=-1")
	for p, n := range []int{10, 5, 0} {
		for i := range n {
			kafkatest.Produce(t, e, &kgo.Record{Topic: topic, Partition: int32(p), Value: []byte("x"), Timestamp: time.UnixMilli(int64(i+1) * 1000)})
		}
	}
	return topic
}

func TestSP01_EarliestStartsAtLogStart(t *testing.T) {
	onBoth(t, func(t *testing.T, e kafkatest.Endpoint) {
		topic := filled(t, e)
		kafkatest.Trim(t, e, topic, 0, 7)
		kafkatest.Trim(t, e, topic, 1, 5)
		at, err := kafka.Start{From: kafka.Earliest}.Resolve(bounded(t), kafkatest.Client(t, e), at(topic, 0, 1, 2), nil, kafka.ReadCommitted)
		require.NoError(t, err)
		assert.Equal(t, map[int32]int64{0: 7, 1: 5, 2: 0}, numbers(at))
	})
}

func TestSP02_LatestStartsAtTheEnd(t *testing.T) {
	onBoth(t, func(t *testing.T, e kafkatest.Endpoint) {
		topic := filled(t, e)
		cl := kafkatest.Client(t, e)
		at, err := kafka.Start{From: kafka.Latest}.Resolve(bounded(t), cl, at(topic, 0, 1, 2), nil, kafka.ReadCommitted)
		require.NoError(t, err)
		assert.Equal(t, map[int32]int64{0: 10, 1: 5, 2: 0}, numbers(at))
	})
}

// openTransaction leaves a transaction open with a record in partition 0.
func openTransaction(t *testing.T, e kafkatest.Endpoint, topic string) {
	cl := kafkatest.Client(t, e, kgo.TransactionalID(kafkatest.Unique(t)), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	require.NoError(t, cl.BeginTransaction())
	require.NoError(t, cl.ProduceSync(bounded(t), &kgo.Record{Topic: topic, Value: []byte("open")}).FirstErr())
	t.Cleanup(func() { _ = cl.EndTransaction(context.Background(), kgo.TryAbort) })
}

func TestLatestIsTheLastStableOffsetUnderReadCommitted(t *testing.T) {
	onBoth(t, func(t *testing.T, e kafkatest.Endpoint) {
		topic := filled(t, e)
		openTransaction(t, e, topic)
		kafkatest.Produce(t, e, &kgo.Record{Topic: topic, Partition: 0, Value: []byte("behind it")})
		cl, parts := kafkatest.Client(t, e), at(topic, 0)
		for iso, want := range map[kafka.Isolation]int64{kafka.ReadCommitted: 10, kafka.ReadUncommitted: 12} {
			start, err := kafka.Start{From: kafka.Latest}.Resolve(bounded(t), cl, parts, nil, iso)
			require.NoError(t, err)
			assert.Equal(t, want, start[parts[0]].Offset)
			stop, err := kafka.Stop{At: kafka.Latest}.Resolve(bounded(t), cl, parts, nil, iso)
			require.NoError(t, err)
			assert.Equal(t, want, stop[parts[0]], "a bounded run must not wait for somebody else's transaction")
		}
	})
}

func TestSP03_GroupOffsetsAreTakenAsTheyAre(t *testing.T) {
	onBoth(t, func(t *testing.T, e kafkatest.Endpoint) {
		topic, group, cl := filled(t, e), kafkatest.Unique(t), kafkatest.Client(t, e)
		kafkatest.CommitOffsets(t, e, group, topic, map[int32]int64{0: 3, 1: 5})
		parts := at(topic, 0, 1, 2)
		committed, err := kafka.FetchCommitted(bounded(t), cl, group, parts)
		require.NoError(t, err)
		assert.Len(t, committed, 2)
		start, err := kafka.Start{From: kafka.GroupOffsets, Reset: kafka.ResetLatest}.Resolve(bounded(t), cl, parts, committed, kafka.ReadCommitted)
		require.NoError(t, err)
		assert.Equal(t, map[int32]int64{0: 3, 1: 5, 2: 0}, numbers(start))
	})
}

func TestSP04_ResetNoneNamesThePartitions(t *testing.T) {
	_, err := kafka.Start{From: kafka.GroupOffsets, Reset: kafka.ResetNone}.Resolve(bounded(t), nil, at("orders", 2, 0, 1),
		map[kafka.Partition]kafka.Committed{{Topic: "orders", ID: 1}: {}}, kafka.ReadCommitted)
	assert.ErrorContains(t, err, "no offset is known for orders/0, orders/2: commit one, or set offset_reset")
	assert.Equal(t, kafka.Fatal, kafka.Classify(kafka.Read, err).Meaning)
}

func TestSP05_ResetPicksAnEnd(t *testing.T) {
	c := kafkatest.Fake(t)
	topic := filled(t, c)
	kafkatest.Trim(t, c, topic, 0, 4)
	for reset, want := range map[kafka.Reset]int64{kafka.ResetEarliest: 4, "": 4, kafka.ResetLatest: 10} {
		start, err := kafka.Start{From: kafka.GroupOffsets, Reset: reset}.Resolve(bounded(t), kafkatest.Client(t, c), at(topic, 0), nil, kafka.ReadCommitted)
		require.NoError(t, err)
		assert.Equal(t, map[int32]int64{0: want}, numbers(start), reset)
	}
}

func TestSP06_TimestampStartsAtTheFirstRecordFromThenOn(t *testing.T) {
	onBoth(t, func(t *testing.T, e kafkatest.Endpoint) {
		topic := filled(t, e)
		kafkatest.Trim(t, e, topic, 1, 4)
		start := kafka.Start{From: kafka.AtTimestamp, Timestamp: time.UnixMilli(2500)}
		got, err := start.Resolve(bounded(t), kafkatest.Client(t, e), at(topic, 0, 1, 2), nil, kafka.ReadCommitted)
		require.NoError(t, err)
		assert.Equal(t, map[int32]int64{0: 2, 1: 4, 2: 0}, numbers(got))
	})
}

func TestSP07_TimestampAfterTheLastRecordStartsAtTheEnd(t *testing.T) {
	onBoth(t, func(t *testing.T, e kafkatest.Endpoint) {
		topic := filled(t, e)
		start := kafka.Start{From: kafka.AtTimestamp, Timestamp: time.UnixMilli(10_001)}
		got, err := start.Resolve(bounded(t), kafkatest.Client(t, e), at(topic, 0, 1, 2), nil, kafka.ReadCommitted)
		require.NoError(t, err)
		assert.Equal(t, map[int32]int64{0: 10, 1: 5, 2: 0}, numbers(got))
	})
}

// TestSP07_NothingIsSkippedWhileItIsLookedUp appends a record after each question
// that is put to the partition. No start may lie behind a record that came after
// it was looked for.
func TestSP07_NothingIsSkippedWhileItIsLookedUp(t *testing.T) {
	c := kafkatest.Fake(t)
	topic := filled(t, c)
	const wanted = 20_000
	p := kafkatest.NewProxy(t, c)
	h := p.HoldAnswers(kmsg.ListOffsets)
	type result struct {
		at  map[kafka.Partition]kafka.Position
		err error
	}
	done := make(chan result, 1)
	cl := kafkatest.Client(t, p)
	go func() {
		at, err := kafka.Start{From: kafka.AtTimestamp, Timestamp: time.UnixMilli(wanted)}.Resolve(bounded(t), cl, at(topic, 0), nil, kafka.ReadCommitted)
		done <- result{at, err}
	}()
	h.Await(t, 1, 10*time.Second) // answered by the broker, not yet known to us
	kafkatest.Produce(t, c, &kgo.Record{Topic: topic, Partition: 0, Value: []byte("between"), Timestamp: time.UnixMilli(wanted + 1)})
	h.Release()
	got := <-done
	require.NoError(t, got.err)
	assert.Equal(t, int64(10), got.at[kafka.Partition{Topic: topic}].Offset, "the record at offset 10 was appended in between")
}

func TestSP09_UncoveredPartitionsAreListed(t *testing.T) {
	start := kafka.Start{From: kafka.AtOffsets, Reset: kafka.ResetNone, Offsets: map[kafka.Partition]int64{{Topic: "a", ID: 0}: 5}}
	committed := map[kafka.Partition]kafka.Committed{{Topic: "a", ID: 1}: {Position: kafka.Position{Offset: 7, LeaderEpoch: 2}}}
	got, err := start.Resolve(bounded(t), nil, at("a", 0, 1), committed, kafka.ReadCommitted)
	require.NoError(t, err)
	assert.Equal(t, map[kafka.Partition]kafka.Position{
		{Topic: "a", ID: 0}: {Offset: 5, LeaderEpoch: kafka.UnknownEpoch}, {Topic: "a", ID: 1}: {Offset: 7, LeaderEpoch: 2},
	}, got)
	_, err = start.Resolve(bounded(t), nil, append(at("a", 0, 1, 3, 2), at("b", 0)...), committed, kafka.ReadCommitted)
	assert.ErrorContains(t, err, "no offset is known for a/2, a/3, b/0: add them to start_offsets")
}

func TestOffsetsAreAskedForAgainWhileLeadersMove(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := kafkatest.Virtual(t)
		topic := filled(t, c)
		for _, code := range []*kerr.Error{kerr.NotLeaderForPartition, kerr.LeaderNotAvailable, kerr.OffsetNotAvailable, kerr.UnknownTopicOrPartition} {
			c.Fail(kmsg.ListOffsets, 2, code)
			got, err := kafka.Start{From: kafka.Latest}.Resolve(bounded(t), kafkatest.Client(t, c), at(topic, 0, 1), nil, kafka.ReadCommitted)
			require.NoError(t, err, code)
			assert.Equal(t, map[int32]int64{0: 10, 1: 5}, numbers(got), code)
		}
		c.Fail(kmsg.ListOffsets, -1, kerr.LeaderNotAvailable)
		ctx, cancel := context.WithTimeout(context.Background(), 300*time.Millisecond)
		defer cancel()
		_, err := kafka.Start{From: kafka.Latest}.Resolve(ctx, kafkatest.Client(t, c), at(topic, 0, 1), nil, kafka.ReadCommitted)
		assert.ErrorContains(t, err, topic+"/0")
		assert.Equal(t, kafka.Temporary, kafka.Classify(kafka.Read, err).Meaning)
	})
}

func TestOffsetsThatMayNotBeReadAreFatal(t *testing.T) {
	c := kafkatest.Fake(t)
	topic := filled(t, c)
	c.Fail(kmsg.ListOffsets, -1, kerr.TopicAuthorizationFailed)
	_, err := kafka.Start{From: kafka.Earliest}.Resolve(bounded(t), kafkatest.Client(t, c), at(topic, 0), nil, kafka.ReadCommitted)
	assert.ErrorContains(t, err, "finding offsets of "+topic+"/0: TOPIC_AUTHORIZATION_FAILED")
	assert.Equal(t, kafka.Fatal, kafka.Classify(kafka.Read, err).Meaning)
}

func TestClampOrReset(t *testing.T) {
	onBoth(t, func(t *testing.T, e kafkatest.Endpoint) {
		topic, cl := filled(t, e), kafkatest.Client(t, e)
		kafkatest.Trim(t, e, topic, 0, 3)
		const none = int64(-1)
		for _, test := range []struct {
			name     string
			at, stop int64
			reset    kafka.Reset
			want     int64
			err      string
		}{
			{"inside", 5, none, kafka.ResetNone, 5, ""},
			{"at the start", 3, none, kafka.ResetNone, 3, ""},
			{"at the end", 10, none, kafka.ResetNone, 10, ""},
			{"deleted, earliest", 1, none, kafka.ResetEarliest, 3, ""},
			{"deleted, latest", 1, none, kafka.ResetLatest, 10, ""},
			{"deleted, none", 1, none, kafka.ResetNone, 0, "/0: offset 1 was deleted, the log starts at 3"},
			{"behind, earliest", 11, none, kafka.ResetEarliest, 3, ""},
			{"behind, latest", 11, none, kafka.ResetLatest, 10, ""},
			{"behind, none", 11, none, kafka.ResetNone, 0, "/0: offset 11 is behind the end of the log at 10"},
			{"BD09 deleted up to the stop", 1, 3, kafka.ResetNone, 3, ""},
			{"BD03 finished", 1, 1, kafka.ResetNone, 1, ""},
			{"finished behind the end", 12, 12, kafka.ResetNone, 12, ""},
			{"deleted in front of the stop", 1, 8, kafka.ResetNone, 0, "offset 1 was deleted"},
			{"deleted in front of the stop, earliest", 1, 8, kafka.ResetEarliest, 3, ""},
		} {
			t.Run(test.name, func(t *testing.T) {
				p := kafka.Partition{Topic: topic}
				stops := map[kafka.Partition]int64{}
				if test.stop != none {
					stops[p] = test.stop
				}
				at := map[kafka.Partition]kafka.Position{p: {Offset: test.at, LeaderEpoch: 0}}
				moved, err := kafka.ClampOrReset(bounded(t), cl, at, stops, test.reset, kafka.ReadCommitted)
				if test.err != "" {
					assert.ErrorContains(t, err, test.err)
					assert.Equal(t, kafka.Fatal, kafka.Classify(kafka.Read, err).Meaning)
					return
				}
				require.NoError(t, err)
				assert.Equal(t, test.want, at[p].Offset)
				if test.want == test.at {
					assert.Empty(t, moved)
				} else {
					assert.Equal(t, []kafka.Moved{{Partition: p, From: test.at, To: test.want, Log: kafka.Range{Start: 3, End: 10}}}, moved)
				}
			})
		}
	})
}
