package main

import (
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tidemarkhq/tidemark/internal/kafkatest"
)

// Results bear the event time, and Kafka refuses what is more than an hour ahead. The job
// ends loudly instead of firing the same windows again and again, and with the output set
// right goes on where it was: each result is there once.
func TestResultsThatKafkaRefusesEndTheJob(t *testing.T) {
	e := kafkatest.Shared(t)
	base := kafkatest.Unique(t)
	in, out := base+"-in", base+"-out"
	kafkatest.CreateTopic(t, e, in, 2)
	kafkatest.CreateTopic(t, e, out, 2, "message.timestamp.after.max.ms=3600000")
	first := time.Now().Add(2 * time.Hour).Truncate(10 * time.Second).UnixMilli()
	var records []*kgo.Record
	want := map[string]int{}
	for i := range 3000 {
		user, at := i%50, first+int64(i)*20
		records = append(records, &kgo.Record{Topic: in, Partition: int32(user % 2), Value: fmt.Appendf(nil, `{"user":%d,"at":%d}`, user, at)})
		want[fmt.Sprintf(`%d %d`, user, at/10_000*10_000)]++
	}
	kafkatest.Produce(t, e, records...)

	dir := t.TempDir()
	run := func(name, more string) *child {
		path := write(t, name, fmt.Sprintf(`
http: { enabled: false }
input:
  kafka_checkpointed:
    seed_brokers: [ %[1]q ]
    topics: [ %[2]q ]
    start_from: earliest
    stop_at: latest
    checkpoint: { interval: 200ms, store: { directory: %[4]q } }
  processors:
    - watermark_periodic: { timestamp: this.at }
buffer:
  event_time_window: { type: tumbling, size: 10s, key: this.user, aggregate: { n: { count: {} } } }
pipeline:
  processors:
    - mapping: 'root = "%%v %%v %%v".format(@window_key, @window_start_ms, this.n)'
output:
  kafka_checkpointed:
    seed_brokers: [ %[1]q ]
    topic: %[3]q
%[5]s`, e.Seeds()[0], in, out, filepath.Join(dir, "store"), more))
		return start(t, dir, nil, "run", path)
	}
	refused := run("refused.yaml", "")
	require.Equal(t, 1, refused.code(), refused.text())
	require.Contains(t, refused.text(), "INVALID_TIMESTAMP")
	require.Contains(t, refused.text(), "cannot be delivered")
	require.Empty(t, contents(t, e, out))

	right := run("right.yaml", "    timestamp_ms: ${! timestamp_unix_milli() }\n")
	require.Equal(t, 0, right.code(), right.text())
	var results []string
	for key, n := range want {
		results = append(results, fmt.Sprintf("%s %d", key, n))
	}
	require.ElementsMatch(t, results, contents(t, e, out))
}

// contents are the values of a topic's records.
func contents(t *testing.T, e kafkatest.Endpoint, topic string) (all []string) {
	t.Helper()
	for _, partition := range kafkatest.ReadCommitted(t, e, topic) {
		for _, r := range partition {
			all = append(all, string(r.Value))
		}
	}
	return all
}
