package output

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redpanda-data/benthos/v4/public/service"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/tidemarkhq/tidemark/checkpoint"
	"github.com/tidemarkhq/tidemark/internal/kafkatest"
)

func TestRH07_TopicPerRecord(t *testing.T) {
	c := kafkatest.Fake(t, kfake.AllowAutoTopicCreation())
	for _, topic := range []string{"orders", "returns-eu", "secret"} {
		kafkatest.CreateTopic(t, c, topic, 1)
	}
	s := newStream("a", true)
	o := open(t, c, s, "topic: ${! @topic }\ntopics_allowed: [ orders, 'returns-.*', gone ]")
	wishes := []string{"orders", "returns-eu", "secret", "gone", "xreturns-eu", "orders"}
	batch, _ := s.batch(0, numbered(0, len(wishes))...)
	for i, m := range batch {
		m.MetaSetMut("topic", wishes[i])
	}
	found := failed(t, batch, o.WriteBatch(t.Context(), batch))
	require.Len(t, found, 3)
	for i, want := range map[int]string{2: `"secret" is not among topics_allowed`, 3: `"gone" does not exist`, 4: `"xreturns-eu" is not among`} {
		require.ErrorContains(t, found[i], want)
		require.True(t, checkpoint.IsPermanent(found[i]))
	}
	s.sink.Rotate(1)
	require.NoError(t, s.sink.Flush(within(t, 10*time.Second), 1))
	require.Equal(t, []string{"v0", "v5"}, topicValues(t, c, "orders"))
	require.Equal(t, []string{"v1"}, topicValues(t, c, "returns-eu"))
	require.Empty(t, topicValues(t, c, "secret"))
	require.ElementsMatch(t, []string{"orders", "returns-eu", "secret"}, kafkatest.Topics(t, c), "no stray topic")
}

func TestFixedTopicIgnoresTheRecordsWish(t *testing.T) {
	c := kafkatest.Fake(t)
	topic := kafkatest.Topic(t, c, 1)
	o := open(t, c, newStream("a", true), "topic: "+topic)
	batch := foreign("x")
	batch[0].MetaSetMut("kafka_topic", "other")
	require.NoError(t, o.WriteBatch(t.Context(), batch))
	require.Equal(t, []string{"x"}, topicValues(t, c, topic))
}

func TestTopicCreation(t *testing.T) {
	for name, tc := range map[string]struct {
		yaml    string
		brokers []kfake.Opt
		want    string
	}{
		"literal":               {"topic: new", []kfake.Opt{kfake.AllowAutoTopicCreation()}, ""},
		"literal, off":          {"topic: new\nallow_auto_topic_creation: false", []kfake.Opt{kfake.AllowAutoTopicCreation()}, "may not be created"},
		"expression":            {`topic: ${! "new" }`, []kfake.Opt{kfake.AllowAutoTopicCreation()}, "may not be created"},
		"expression, on":        {"topic: ${! \"new\" }\nallow_auto_topic_creation: true", []kfake.Opt{kfake.AllowAutoTopicCreation()}, ""},
		"brokers do not create": {"topic: new", nil, "the brokers do not create it"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := kafkatest.Virtual(t, tc.brokers...)
				o := open(t, c, newStream("a", true), tc.yaml)
				err := o.WriteBatch(t.Context(), foreign("x"))
				if tc.want == "" {
					require.NoError(t, err)
					require.Equal(t, 1, len(kafkatest.ReadCommitted(t, c, "new")[0])+others(t, c, "new"))
					return
				}
				require.ErrorContains(t, err, tc.want)
				require.True(t, checkpoint.IsPermanent(err))
				require.Empty(t, kafkatest.Topics(t, c))
			})
		})
	}
}

// others counts the records of all partitions but the first.
func others(t *testing.T, c kafkatest.Endpoint, topic string) (n int) {
	for _, rs := range kafkatest.ReadCommitted(t, c, topic)[1:] {
		n += len(rs)
	}
	return n
}

func TestTopicThatAppearsLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := kafkatest.Virtual(t)
		o := open(t, c, newStream("a", true), `topic: ${! "later" }`)
		require.Error(t, o.WriteBatch(t.Context(), foreign("x")))
		kafkatest.CreateTopic(t, c, "later", 1)
		require.Error(t, o.WriteBatch(t.Context(), foreign("x")), "the brokers are not asked for every record")
		time.Sleep(forgetAfter + time.Second)
		require.NoError(t, o.WriteBatch(t.Context(), foreign("y")))
		require.Equal(t, []string{"y"}, topicValues(t, c, "later"))
	})
}

func TestPartitionThatAppearsLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := kafkatest.Virtual(t)
		topic := kafkatest.Topic(t, c, 1)
		o := open(t, c, newStream("a", true), "topic: "+topic+"\npartitioner: manual\npartition: ${! 1 }")
		require.ErrorContains(t, o.WriteBatch(t.Context(), foreign("x")), "has no partition 1")
		kafkatest.AddPartitions(t, c, topic, 2)
		require.NoError(t, o.WriteBatch(t.Context(), foreign("y")))
		require.Equal(t, []string{"y"}, values(kafkatest.ReadCommitted(t, c, topic)[1]))
	})
}

// The client refuses a record for a partition that it has not loaded for good, and it
// loads a topic that it has only now and then.
func TestARecordForAPartitionThatAppearedWhileTheTopicIsWritten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := kafkatest.Virtual(t)
		topic := kafkatest.Topic(t, c, 1)
		o := open(t, c, newStream("a", true), "topic: "+topic+"\npartitioner: manual\npartition: ${! content() }")
		require.NoError(t, o.WriteBatch(t.Context(), foreign("0")))
		kafkatest.AddPartitions(t, c, topic, 3)
		began := time.Now()
		err := o.WriteBatch(t.Context(), foreign("0", "2", "9", "9", "1", "8"))
		var be *service.BatchError
		require.ErrorAs(t, err, &be)
		require.Equal(t, 3, be.IndexedErrors(), "9, 9 and 8")
		require.LessOrEqual(t, time.Since(began), growthAfter+time.Second, "one look for all of them")
		require.Equal(t, []int64{2, 1, 1}, kafkatest.Ends(t, c, topic))
	})
}

// route writes n records with keys and returns the topic's partitions.
func route(t *testing.T, c *kafkatest.Cluster, partitions, n int, yaml string) [][]string {
	t.Helper()
	topic := kafkatest.Topic(t, c, partitions)
	s := newStream("a", true)
	o := open(t, c, s, "topic: "+topic+"\n"+yaml)
	batch, _ := s.batch(0, numbered(0, n)...)
	for i, m := range batch {
		m.MetaSetMut("wish", int64(i%partitions))
	}
	require.NoError(t, o.WriteBatch(t.Context(), batch))
	s.sink.Rotate(1)
	require.NoError(t, s.sink.Flush(within(t, 10*time.Second), 1))
	var got [][]string
	for _, rs := range kafkatest.ReadCommitted(t, c, topic) {
		got = append(got, values(rs))
	}
	return got
}

func TestRH05_EachRecordInItsPartition(t *testing.T) {
	c := kafkatest.Fake(t)
	got := route(t, c, 3, 9, "partitioner: manual\npartition: ${! @wish }")
	require.Equal(t, [][]string{{"v0", "v3", "v6"}, {"v1", "v4", "v7"}, {"v2", "v5", "v8"}}, got)
}

func TestRH06_FixedWriters(t *testing.T) {
	c := kafkatest.Fake(t)
	for i, yaml := range []string{"", "\nwriter_index: 1", "\nwriter_index: 2", "\nwriter_index: 3"} {
		got := route(t, c, 3, 50, "partitioner: fixed"+yaml)
		for p, vs := range got {
			if p == i%3 {
				require.Len(t, vs, 50)
				continue
			}
			require.Empty(t, vs)
		}
	}
}

func TestFixedWriterStaysWhenPartitionsAreAdded(t *testing.T) {
	c := kafkatest.Fake(t)
	topic := kafkatest.Topic(t, c, 2)
	o := open(t, c, newStream("a", true), "topic: "+topic+"\npartitioner: fixed\nwriter_index: 2\nmetadata_max_age: 10ms")
	require.NoError(t, o.WriteBatch(t.Context(), foreign("x")))
	kafkatest.AddPartitions(t, c, topic, 3)
	requests := c.Count(kmsg.Metadata)
	kafkatest.Eventually(t, 10*time.Second, "the client does not refresh", func() bool { return c.Count(kmsg.Metadata) > requests+3 })
	require.NoError(t, o.WriteBatch(t.Context(), foreign("y")))
	require.Equal(t, []int64{2, 0, 0}, kafkatest.Ends(t, c, topic))
}

func TestPartitioners(t *testing.T) {
	c := kafkatest.Fake(t)
	for _, yaml := range []string{"", "partitioner: murmur2_hash"} {
		seen := map[string]int{}
		for p, vs := range route(t, c, 4, 70, yaml) {
			for _, v := range vs {
				var n int
				_, err := fmt.Sscanf(v, "v%d", &n)
				require.NoError(t, err)
				key := fmt.Sprintf("k%d", n%7)
				if first, ok := seen[key]; ok {
					require.Equal(t, first, p, "a key stays on its partition")
				}
				seen[key] = p
			}
		}
	}
	for p, vs := range route(t, c, 4, 40, "partitioner: round_robin") {
		require.Len(t, vs, 10, "partition %d", p)
	}
	for _, name := range []string{sticky, leastBackup} {
		n := 0
		for _, vs := range route(t, c, 4, 40, "partitioner: "+name) {
			n += len(vs)
		}
		require.Equal(t, 40, n)
	}
}

// The hashes are those of the tests of Kafka's own client.
func TestDefaultPartitionIsThatOfAllClients(t *testing.T) {
	hashes := map[string]int32{
		"21": -973932308, "foobar": -790332482, "a-little-bit-long-string": -985981536,
		"a-little-bit-longer-string": -1486304829, "abc": 479470107,
	}
	c := kafkatest.Fake(t)
	topic := kafkatest.Topic(t, c, 7)
	o := open(t, c, newStream("a", true), "topic: "+topic+"\nkey: ${! content() }")
	var batch service.MessageBatch
	for key := range hashes {
		batch = append(batch, foreign(key)...)
	}
	require.NoError(t, o.WriteBatch(t.Context(), batch))
	for p, rs := range kafkatest.ReadCommitted(t, c, topic) {
		for _, r := range rs {
			require.EqualValues(t, p, (hashes[string(r.Key)]&0x7fffffff)%7, "%s", r.Key)
		}
	}
}

func TestMD02_RoutedByTheTopicItCameFrom(t *testing.T) {
	c := kafkatest.Fake(t)
	kafkatest.CreateTopic(t, c, "a-copy", 1)
	kafkatest.CreateTopic(t, c, "b-copy", 1)
	s := newStream("a", true)
	o := open(t, c, s, "topic: ${! @kafka_topic }-copy\nmetadata: { include_patterns: [ '^kafka_topic$' ] }")
	batch, _ := s.batch(0, numbered(0, 4)...)
	for i, m := range batch {
		m.MetaSetMut("kafka_topic", []string{"a", "b"}[i%2])
	}
	require.NoError(t, o.WriteBatch(t.Context(), batch))
	s.sink.Rotate(1)
	require.NoError(t, s.sink.Flush(within(t, 10*time.Second), 1))
	for topic, want := range map[string][]string{"a": {"v0", "v2"}, "b": {"v1", "v3"}} {
		rs := kafkatest.ReadCommitted(t, c, topic+"-copy")[0]
		require.Equal(t, want, values(rs))
		require.Equal(t, topic, string(rs[0].Headers[0].Value))
	}
}

var _ service.BatchOutput = (*Output)(nil)
