package behaviour

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/tidemarkhq/tidemark/internal/kafkatest"
)

// describe is a mapping that writes the metadata of a record as its value.
const describe = `
pipeline:
  processors:
    - mapping: 'root = metadata().map_each(v -> v.value.string())'
`

// described returns the metadata of the records of a topic, in order.
func described(t testing.TB, e kafkatest.Endpoint, topic string, n int) []map[string]string {
	t.Helper()
	var all []map[string]string
	kafkatest.Eventually(t, patience, fmt.Sprintf("%d records are written", n), func() bool {
		all = nil
		for _, vs := range values(t, e, topic) {
			for _, v := range vs {
				m := map[string]string{}
				require.NoError(t, json.Unmarshal([]byte(v), &m))
				all = append(all, m)
			}
		}
		return len(all) == n
	})
	return all
}

func TestMD01_AllMetadataOfARecordIsAvailable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := kafkatest.Virtual(t)
		in, out := topics(t, e, 2)
		at := time.UnixMilli(1_700_000_000_123)
		kafkatest.Produce(t, e,
			&kgo.Record{Topic: in, Partition: 1, Key: []byte("k"), Value: []byte("v"), Timestamp: at,
				Headers: []kgo.RecordHeader{{Key: "h", Value: []byte("x")}}},
			&kgo.Record{Topic: in, Partition: 1, Timestamp: at})
		start(t, e, fanYAML(in, out, "metadata: [ all ]")+describe)
		all := described(t, e, out, 2)
		require.Equal(t, map[string]string{
			"kafka_key": "k", "kafka_topic": in, "kafka_partition": "1", "kafka_offset": "0",
			"kafka_timestamp_ms": "1700000000123", "kafka_timestamp_unix": "1700000000", "kafka_tombstone_message": "false",
			"kafka_leader_epoch": all[0]["kafka_leader_epoch"], "kafka_timestamp_type": "CreateTime", "h": "x",
		}, all[0])
		require.NotContains(t, all[1], "kafka_key", "no key, and no header, is none")
		require.NotContains(t, all[1], "h")
		require.Equal(t, "true", all[1]["kafka_tombstone_message"])
	})
}

func TestMD01_OnlyTheMetadataThatIsListed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := kafkatest.Virtual(t)
		in, out := topics(t, e, 1)
		kafkatest.Fill(t, e, in, 1)
		start(t, e, fanYAML(in, out, "metadata: [ kafka_offset, kafka_topic ]")+describe)
		require.Equal(t, []map[string]string{{"kafka_offset": "0", "kafka_topic": in}}, described(t, e, out, 1))
	})
}

func TestMD02_RecordsNameTheirTopicAndCanBeRoutedByIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := kafkatest.Virtual(t)
		for _, topic := range []string{"a", "b", "to-a", "to-b"} {
			kafkatest.CreateTopic(t, e, topic, 1)
		}
		produce(t, e, "a", "1", "2")
		produce(t, e, "b", "3")
		start(t, e, fanYAML("a, b", `to-${! meta("kafka_topic") }`, ""))
		kafkatest.Eventually(t, patience, "all are routed", func() bool {
			return strings.Join(values(t, e, "to-a")[0], " ") == "1 2" && strings.Join(values(t, e, "to-b")[0], " ") == "3"
		})
	})
}

func TestRH01_TimestampsPassThrough(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := kafkatest.Virtual(t)
		in, out := topics(t, e, 1)
		kafkatest.Fill(t, e, in, 10, func(r *kgo.Record) {
			_, n := kafkatest.Number(t, r)
			r.Timestamp = time.UnixMilli(1_600_000_000_000 + n)
		})
		start(t, e, fanYAML(in, out, ""))
		awaitNumbers(t, e, out, map[int32][]int64{0: span(0, 10)})
		for i, r := range kafkatest.ReadCommitted(t, e, out)[0] {
			require.Equal(t, int64(1_600_000_000_000+i), r.Timestamp.UnixMilli())
		}
	})
}

func TestSD06_EveryRecordKeepsItsOwnContent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := kafkatest.Virtual(t)
		in, out := topics(t, e, 4)
		kafkatest.Fill(t, e, in, 2000)
		start(t, e, fanYAML(in, out, "")+`
pipeline:
  threads: 4
  processors:
    - mapping: 'root = content().uppercase().lowercase()'
`)
		kafkatest.Eventually(t, patience, "all are written", func() bool {
			n := 0
			for _, ns := range numbers(t, e, out) {
				n += len(ns)
			}
			return n == 8000
		})
		for p, ns := range numbers(t, e, out) {
			seen := map[int64]bool{}
			for _, n := range ns {
				seen[n] = true
			}
			require.Len(t, seen, 2000, "partition %d", p)
		}
	})
}

func TestER02_NothingToReadCostsNothingAndARecordWakesIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := kafkatest.Virtual(t)
		in, out := topics(t, e, 1)
		start(t, e, fanYAML(in, out, "fetch_max_wait: 5s"))
		time.Sleep(time.Minute) // virtual
		before := e.Count(kmsg.Fetch)
		time.Sleep(time.Minute)
		require.LessOrEqual(t, e.Count(kmsg.Fetch)-before, 14, "it does not spin")
		sent := time.Now()
		kafkatest.Fill(t, e, in, 1)
		kafkatest.Eventually(t, patience, "the record is read", func() bool { return counts(t, e, out)[0] == 1 })
		require.Less(t, time.Since(sent), time.Second)
	})
}

func TestER01_AStopBreaksAWaitOffAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := kafkatest.Virtual(t)
		in, out := topics(t, e, 1)
		s := start(t, e, fanYAML(in, out, "fetch_max_wait: 1m"))
		time.Sleep(10 * time.Second) // virtual
		asked := time.Now()
		require.NoError(t, s.stop())
		require.Less(t, time.Since(asked), 2*time.Second)
		require.NotContains(t, s.logs.String(), "level=ERROR")
	})
}

func TestRH03_HeadersFollowTheMetadata(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := kafkatest.Virtual(t)
		in, out := topics(t, e, 1)
		header := func(key, value string) kgo.RecordHeader { return kgo.RecordHeader{Key: key, Value: []byte(value)} }
		kafkatest.Produce(t, e, &kgo.Record{Topic: in, Value: []byte("v"),
			Headers: []kgo.RecordHeader{header("kept", "a\x00b"), header("deleted", "x"), header("changed", "old")}})
		start(t, e, fanYAML(in, out, "")+`
pipeline:
  processors:
    - mapping: |
        meta deleted = deleted()
        meta changed = "new"
`)
		kafkatest.Eventually(t, patience, "it is written", func() bool { return len(values(t, e, out)[0]) == 1 })
		require.Equal(t, []kgo.RecordHeader{header("kept", "a\x00b"), header("changed", "new")},
			kafkatest.ReadCommitted(t, e, out)[0][0].Headers)
	})
}
