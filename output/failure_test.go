package output

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redpanda-data/benthos/v4/public/service"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/tidemarkhq/tidemark/checkpoint"
	"github.com/tidemarkhq/tidemark/internal/kafkatest"
)

// refusePoison makes the cluster refuse every batch with a record that contains
// poison, as a broker does: whole.
func refusePoison(c *kafkatest.Cluster, code *kerr.Error) {
	c.ControlKey(int16(kmsg.Produce), func(kreq kmsg.Request) (kmsg.Response, error, bool) {
		c.KeepControl()
		req := kreq.(*kmsg.ProduceRequest)
		poisoned := false
		for _, t := range req.Topics {
			for _, p := range t.Partitions {
				poisoned = poisoned || bytes.Contains(p.Records, []byte("poison"))
			}
		}
		if !poisoned {
			return nil, nil, false
		}
		resp := req.ResponseKind().(*kmsg.ProduceResponse)
		for _, t := range req.Topics {
			rt := kmsg.NewProduceResponseTopic()
			rt.Topic, rt.TopicID = t.Topic, t.TopicID
			for _, p := range t.Partitions {
				rp := kmsg.NewProduceResponseTopicPartition()
				rp.Partition, rp.ErrorCode = p.Partition, code.Code
				rt.Partitions = append(rt.Partitions, rp)
			}
			resp.Topics = append(resp.Topics, rt)
		}
		return resp, nil, true
	})
}

// failed lists the places of messages that a batch error names.
func failed(t *testing.T, batch service.MessageBatch, err error) map[int]error {
	t.Helper()
	var be *service.BatchError
	require.ErrorAs(t, err, &be)
	found := map[int]error{}
	be.WalkMessagesIndexedBy(batch.Index(), func(int, *service.Message, error) bool { return true })
	be.WalkMessages(func(i int, _ *service.Message, err error) bool { //nolint:staticcheck // the batch is as it was
		if err != nil {
			found[i] = err
		}
		return true
	})
	return found
}

func TestOnAckOnlyTheRefusedRecordFails(t *testing.T) {
	c := kafkatest.Fake(t)
	topic := kafkatest.Topic(t, c, 1)
	refusePoison(c, kerr.InvalidRecord)
	s := newStream("a", true)
	o := open(t, c, s, "topic: "+topic+"\ncompression: none\nflush: on_ack")
	rs := numbered(0, 100)
	rs[17].Value, rs[60].Value = []byte("poison 1"), []byte("poison 2")
	batch, _ := s.batch(0, rs...)
	found := failed(t, batch, o.WriteBatch(t.Context(), batch))
	require.Len(t, found, 2)
	for _, i := range []int{17, 60} {
		require.ErrorIs(t, found[i], kerr.InvalidRecord)
		require.True(t, checkpoint.IsPermanent(found[i]))
	}
	want := values(rs)
	want = slices.DeleteFunc(want, func(v string) bool { return strings.HasPrefix(v, "poison") })
	require.Equal(t, want, topicValues(t, c, topic), "all others once and in order")
	require.Zero(t, s.failures())
	require.Empty(t, s.refused)
}

func TestRefusedAfterAcknowledgement(t *testing.T) {
	c := kafkatest.Fake(t)
	topic := kafkatest.Topic(t, c, 1)
	refusePoison(c, kerr.InvalidRecord)
	s := newStream("a", true)
	o := open(t, c, s, "topic: "+topic+"\ncompression: none")
	rs := numbered(0, 100)
	rs[50].Value = []byte("poison")
	batch, _ := s.batch(0, rs...)
	require.NoError(t, o.WriteBatch(t.Context(), batch))
	s.sink.Rotate(1)
	require.ErrorIs(t, s.sink.Flush(within(t, 10*time.Second), 1), kerr.InvalidRecord)
	require.ErrorIs(t, s.sink.Flush(within(t, 10*time.Second), 1), kerr.InvalidRecord, "a failed epoch stays failed")
	s.sink.Rotate(2)
	require.Error(t, s.sink.Flush(within(t, 10*time.Second), 2), "and fails all later checkpoints")

	s.ledger.Abandon()
	s.sink.Discard()
	require.NoError(t, s.sink.Abort(t.Context()))
	s.sink.Accept()
	s.ledger.Renew()
	require.True(t, s.suspects[50])
	before := len(topicValues(t, c, topic))

	again, _ := s.batch(0, rs...)
	found := failed(t, again, o.WriteBatch(t.Context(), again))
	require.Len(t, found, 1)
	require.True(t, checkpoint.IsPermanent(found[50]))
	s.sink.Rotate(3)
	require.NoError(t, s.sink.Flush(within(t, 10*time.Second), 3))
	require.Equal(t, values(slices.Delete(slices.Clone(rs), 50, 51)), standing(topicValues(t, c, topic)[before:]))
}

func TestSG04_LostRecordIsReportedAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := kafkatest.Virtual(t)
		topic := kafkatest.Topic(t, c, 1)
		s := newStream("a", true)
		o := open(t, c, s, "topic: "+topic+"\nrecord_delivery_timeout: 30s")
		c.Fail(kmsg.Produce, -1, kerr.NotLeaderForPartition)
		batch, _ := s.batch(0, numbered(0, 10)...) // timestamps of 1970
		start := time.Now()
		require.NoError(t, o.WriteBatch(t.Context(), batch))
		kafkatest.Eventually(t, time.Hour, "no failure was reported", func() bool { return s.failures() > 0 })
		require.InDelta(t, 30, time.Since(start).Seconds(), 3)
		s.locked(func() { require.ErrorIs(t, s.fails[0], errDeliveryTimeout) })
		s.sink.Rotate(1)
		require.ErrorIs(t, s.sink.Flush(within(t, time.Minute), 1), errDeliveryTimeout)
		s.sink.Discard()
		require.NoError(t, s.sink.Abort(within(t, time.Minute)))
	})
}

func TestDeliveryTimeoutCountsFromTheWrite(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := kafkatest.Virtual(t)
		topic := kafkatest.Topic(t, c, 1)
		s := newStream("a", true)
		o := open(t, c, s, "topic: "+topic+"\nrecord_delivery_timeout: 30s\nflush: on_ack")
		outage := c.Fail(kmsg.Produce, -1, kerr.NotLeaderForPartition)
		old, _ := s.batch(0, numbered(0, 10)...) // timestamps of 1970
		answer := make(chan error, 1)
		go func() { answer <- o.WriteBatch(t.Context(), old) }()
		time.Sleep(15 * time.Second)
		outage.Remove()
		require.NoError(t, <-answer, "old timestamps must not count")

		c.Fail(kmsg.Produce, -1, kerr.NotLeaderForPartition)
		start := time.Now()
		err := o.WriteBatch(t.Context(), old)
		require.ErrorContains(t, err, "record_delivery_timeout")
		require.False(t, checkpoint.IsPermanent(failed(t, old, err)[0]))
		require.InDelta(t, 30, time.Since(start).Seconds(), 10)
	})
}

func TestOutageIsRiddenOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := kafkatest.Virtual(t)
		topic := kafkatest.Topic(t, c, 1)
		s := newStream("a", true)
		o := open(t, c, s, "topic: "+topic+"\nmax_buffered_records: 50")
		outage := c.Fail(kmsg.Produce, -1, kerr.NotLeaderForPartition)
		answer := make(chan error, 1)
		batch, _ := s.batch(0, numbered(0, 200)...)
		go func() { answer <- o.WriteBatch(t.Context(), batch) }()
		time.Sleep(10 * time.Minute)
		s.sink.Rotate(1)
		require.Error(t, s.sink.Flush(within(t, 10*time.Second), 1))
		outage.Remove()
		require.NoError(t, <-answer)
		s.sink.Rotate(2)
		require.NoError(t, s.sink.Flush(within(t, time.Minute), 2))
		require.Equal(t, values(numbered(0, 200)), topicValues(t, c, topic))
		require.Zero(t, s.failures())
	})
}

func TestKnownBeforehand(t *testing.T) {
	c := kafkatest.Fake(t)
	topic := kafkatest.Topic(t, c, 2)
	for name, tc := range map[string]struct{ yaml, want string }{
		"too large":           {"topic: " + topic + "\nmax_message_bytes: 1000", "max_message_bytes allows 1000"},
		"unknown topic":       {`topic: ${! @topic.or("missing") }`, `topic "missing" does not exist`},
		"failing expression":  {"topic: " + topic + "\nkey: ${! @key.not_null() }", "evaluating key"},
		"bad timestamp":       {"topic: " + topic + "\ntimestamp_ms: ${! @key.or(\"1\") }x", "is not a whole number"},
		"unknown partition":   {"topic: " + topic + "\npartitioner: manual\npartition: ${! @partition.or(7) }", "has no partition 7"},
		"impossible topic":    {"topic: ${! @topic.or(\"no/topic\") }", "is not a topic's name"},
		"partition not a one": {"topic: " + topic + "\npartitioner: manual\npartition: ${! @partition.or(\"x\") }", "is not a partition's number"},
	} {
		t.Run(name, func(t *testing.T) {
			for _, flush := range []string{"auto", "on_ack"} {
				s := newStream("a", true)
				o := open(t, c, s, tc.yaml+"\nflush: "+flush)
				rs := numbered(0, 4)
				batch, _ := s.batch(0, rs...)
				for i, m := range batch {
					if i != 3 {
						m.MetaSetMut("key", "1")
						m.MetaSetMut("topic", topic)
						m.MetaSetMut("partition", 0)
						continue
					}
					if name == "too large" {
						m.SetBytes(bytes.Repeat([]byte{'x'}, 1001))
					}
				}
				before := kafkatest.Ends(t, c, topic)
				err := o.WriteBatch(t.Context(), batch)
				if name == "bad timestamp" {
					require.Len(t, failed(t, batch, err), 4)
					require.ErrorContains(t, err, tc.want)
					continue
				}
				found := failed(t, batch, err)
				require.Len(t, found, 1, "%v", err)
				require.ErrorContains(t, found[3], tc.want)
				require.True(t, checkpoint.IsPermanent(found[3]))
				s.sink.Rotate(1)
				require.NoError(t, s.sink.Flush(within(t, 10*time.Second), 1))
				after := kafkatest.Ends(t, c, topic)
				require.EqualValues(t, 3, after[0]+after[1]-before[0]-before[1], "the others are written")
				require.Zero(t, s.failures())
			}
		})
	}
	require.NotContains(t, kafkatest.Topics(t, c), "missing")
}

func TestLogFailuresOnly(t *testing.T) {
	c := kafkatest.Fake(t)
	topic := kafkatest.Topic(t, c, 1)
	refusePoison(c, kerr.InvalidRecord)
	for _, flush := range []string{"auto", "on_ack"} {
		s := newStream("a", true)
		o := open(t, c, s, "topic: "+topic+"\ncompression: none\nlog_failures_only: true\nflush: "+flush)
		batch, _ := s.batch(0, &kgo.Record{Value: []byte("poison")})
		require.NoError(t, o.WriteBatch(t.Context(), batch))
		s.sink.Rotate(1)
		require.NoError(t, s.sink.Flush(within(t, 10*time.Second), 1))
		require.Zero(t, s.failures())
		require.Empty(t, s.refused)
	}
	require.Empty(t, topicValues(t, c, topic))
}

func TestFatalErrorsStopTheStream(t *testing.T) {
	c := kafkatest.Fake(t)
	topic := kafkatest.Topic(t, c, 1)
	s := newStream("a", true)
	o := open(t, c, s, "topic: "+topic)
	c.Fail(kmsg.Produce, 1, kerr.ClusterAuthorizationFailed)
	batch, _ := s.batch(0, numbered(0, 1)...)
	require.NoError(t, o.WriteBatch(t.Context(), batch))
	kafkatest.Eventually(t, 10*time.Second, "the stream goes on", func() bool { return s.Failed() != nil })
	require.ErrorIs(t, o.WriteBatch(t.Context(), batch), kerr.ClusterAuthorizationFailed)
	require.NoError(t, o.Connect(t.Context()), "or Benthos would try for ever and the stream could not end")
}

func TestConnectReportsWhatIsWrong(t *testing.T) {
	c := kafkatest.Fake(t, kfake.EnableSASL(), kfake.Superuser("PLAIN", "user", "right"))
	conf, err := parse(t, c, "topic: t")
	require.NoError(t, err)
	s := newStream("a", true)
	o, err := New(conf, service.MockResources(), s)
	require.NoError(t, err)
	err = o.Connect(t.Context())
	require.Error(t, err)
	require.Error(t, s.Failed(), "missing credentials do not heal: %v", err)
	require.Error(t, o.ConnectionTest(t.Context())[0].Err)

	conf, err = parse(t, kafkatest.At("127.0.0.1:1"), "topic: t")
	require.NoError(t, err)
	s = newStream("a", true)
	o, err = New(conf, service.MockResources(), s)
	require.NoError(t, err)
	require.ErrorContains(t, o.Connect(t.Context()), "127.0.0.1:1")
	require.NoError(t, s.Failed(), "a broker that is away may come back")
	require.NoError(t, o.Close(t.Context()))
}

func TestManyErrorsNameOneSample(t *testing.T) {
	c := kafkatest.Fake(t)
	o := open(t, c, newStream("a", true), `topic: ${! "missing" }`)
	err := o.WriteBatch(t.Context(), foreign("a", "b", "c"))
	require.ErrorContains(t, err, "3 of 3 messages were not written")
	single := o.WriteBatch(t.Context(), foreign("a"))
	require.True(t, checkpoint.IsPermanent(single))
	require.NotErrorAs(t, single, new(*service.BatchError))
}

// standing returns the values in the order in which they stand at the end: of one that
// is there more than once, the last counts.
func standing(values []string) []string {
	seen := map[string]bool{}
	var last []string
	for _, v := range slices.Backward(values) {
		if !seen[v] {
			seen[v] = true
			last = append(last, v)
		}
	}
	slices.Reverse(last)
	return last
}

// While a writer is still handing over a batch, the broker refuses some of it for one
// record: what is handed over later is delivered, and must not stand before those that
// were refused along with that record.
func TestOrderStandsAroundRefusedRecords(t *testing.T) {
	for name, test := range map[string]struct {
		yaml    string
		records int
		size    int
	}{
		"no linger":    {"linger: 0s", 20_000, 10},
		"many batches": {"max_message_bytes: 20KB\nmax_in_flight_requests: 1", 3_000, 1000},
	} {
		t.Run(name, func(t *testing.T) {
			c := kafkatest.Fake(t)
			topic := kafkatest.Topic(t, c, 1)
			refusePoison(c, kerr.InvalidRecord)
			o := open(t, c, newStream("a", true), "topic: "+topic+"\ncompression: none\nflush: on_ack\n"+test.yaml)
			var all, want []string
			for i := range test.records {
				v := fmt.Sprintf("%0*d", test.size, i)
				if i == 70 || i == 2500 {
					v = "poison" + v
				} else {
					want = append(want, v)
				}
				all = append(all, v)
			}
			batch := foreign(all...)
			found := failed(t, batch, o.WriteBatch(within(t, time.Minute), batch))
			require.Len(t, found, 2)
			require.True(t, checkpoint.IsPermanent(found[70]) && checkpoint.IsPermanent(found[2500]))
			got := topicValues(t, c, topic)
			t.Logf("%d repeats", len(got)-len(want))
			require.True(t, slices.Equal(want, standing(got)), "order at the end")
		})
	}
}
