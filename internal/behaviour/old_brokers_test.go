package behaviour

import (
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tidemarkhq/tidemark/internal/kafkatest"
)

// oldVersion is what a version does differently.
type oldVersion struct {
	version string
	// refused holds, by fields of the input or of the output, what is said of them.
	input, output map[string]string
	// group: there are groups. headers: records have them.
	group, headers bool
}

const (
	byTimestamp = "start_from: timestamp\n    start_timestamp: 0"
	tillThen    = "stop_at: timestamp\n    stop_timestamp: 0"
	asMember    = "assignment: group\n    consumer_group: member"
	keptInTopic = "consumer_group: member\n    assignment: static\n    checkpoint: { store: { topic: kept } }"
)

// oldVersions are those that differ from each other. Each lacks what the ones before it in
// the list lack, but for what it has got since.
func oldVersions() []oldVersion {
	needs := func(since string) string {
		return "needs brokers of version " + since + " or newer, and these are of version"
	}
	all := func(maps ...map[string]string) map[string]string {
		sum := map[string]string{}
		for _, m := range maps {
			for k, v := range m {
				sum[k] = v
			}
		}
		return sum
	}
	in40 := map[string]string{asMember + "\n    group_protocol: consumer": needs("4.0")}
	in25 := map[string]string{keptInTopic: needs("2.5")}
	in23 := map[string]string{asMember + "\n    instance_id: me": needs("2.3")}
	in0101 := map[string]string{byTimestamp: needs("0.10.1"), tillThen: needs("0.10.1")}
	in09 := map[string]string{asMember: needs("0.9")}
	out21 := map[string]string{"compression: zstd": needs("2.1")}
	out011 := map[string]string{"metadata: { include_prefixes: [ a ] }": needs("0.11")}
	out010 := map[string]string{"compression: lz4": needs("0.10"), "timestamp_ms: 5": needs("0.10")}
	return []oldVersion{
		{kafkatest.Kafka08, all(in25, in0101, in09), all(out21, out011, out010), false, false},
		{kafkatest.Kafka09, all(in40, in25, in23, in0101), all(out21, out011, out010), true, false},
		{kafkatest.Kafka010, all(in40, in25, in23, in0101), all(out21, out011), true, false},
		{kafkatest.Kafka0102, all(in40, in25, in23), all(out21, out011), true, false},
		{kafkatest.Kafka11, all(in40, in25, in23), out21, true, true},
		{kafkatest.Kafka28, in40, nil, true, true},
	}
}

func TestOldBrokers(t *testing.T) {
	for _, v := range oldVersions() {
		t.Run(v.version, func(t *testing.T) {
			t.Parallel() // Each has a broker of its own, and mostly waits for it.
			b := kafkatest.Old(t, v.version)
			target := kafkatest.Topic(t, b, 2)
			t.Run("copy", func(t *testing.T) { v.copies(t, b) })
			t.Run("starts", func(t *testing.T) { v.starts(t, b) })
			t.Run("refusals", func(t *testing.T) { v.refuses(t, b, target) })
			t.Run("headers", func(t *testing.T) { v.writesHeaders(t, b) })
			for p, end := range kafkatest.Ends(t, b, target) {
				assert.Zero(t, end, "%d: what was refused wrote nothing", p)
			}
		})
	}
}

// copies checks that a bounded run moves everything, keys included, ends by itself, and that
// the next one goes on behind it.
func (v oldVersion) copies(t *testing.T, b *kafkatest.Broker) {
	from, to := kafkatest.Topic(t, b, 2), kafkatest.Topic(t, b, 2)
	group := kafkatest.Unique(t)
	assignment := ""
	if !v.group {
		assignment = "assignment: static"
	}
	run := func() *gathered {
		s, g := startMeasured(t, b, fmt.Sprintf(`
input:
  kafka_checkpointed:
    seed_brokers: $SEEDS
    topics: [ %s ]
    consumer_group: %s
    %s
    topic_lag_refresh_period: 50ms
    stop_at: latest
output:
  kafka_checkpointed:
    seed_brokers: $SEEDS
    topic: %s
    %s
`, from, group, assignment, to, samePartition))
		s.ended()
		require.NoError(t, s.stop())
		return g
	}
	kafkatest.Fill(t, b, from, 100)
	run()
	kafkatest.Fill(t, b, from, 20)
	run()
	require.Equal(t, map[int32][]int64{0: span(0, 120), 1: span(0, 120)}, numbers(t, b, to))
	for p, rs := range kafkatest.ReadCommitted(t, b, to) {
		for i, r := range rs {
			require.Equal(t, fmt.Sprintf("%d-%d", p, i%10), string(r.Key))
		}
	}
}

// starts checks the start positions that every version has, without a group.
func (v oldVersion) starts(t *testing.T, b *kafkatest.Broker) {
	from := kafkatest.Topic(t, b, 1)
	kafkatest.Fill(t, b, from, 10)
	for start, first := range map[string]int64{
		"start_from: earliest": 0, "start_from: latest": 10,
		"start_from: offsets\n    start_offsets: { " + from + ": { 0: 7 } }": 7,
	} {
		to := kafkatest.Topic(t, b, 1)
		s := startCopy(t, b, from, start, to)
		kafkatest.Eventually(t, patience, "reading", func() bool { return strings.Contains(s.logs.String(), "Reading "+from+"/0 from offset") })
		end := kafkatest.Ends(t, b, from)[0]
		kafkatest.Fill(t, b, from, 1)
		if start == "start_from: latest" {
			first = end
		}
		awaitNumbers(t, b, to, map[int32][]int64{0: span(first, end+1)})
		require.NoError(t, s.stop())
	}
}

// startCopy copies from one topic to another without a group.
func startCopy(t *testing.T, b *kafkatest.Broker, from, fields, to string) *stream {
	t.Helper()
	return start(t, b, copyOf(from, fields, to, ""))
}

func copyOf(from, input, to, output string) string {
	return fmt.Sprintf(`
input:
  kafka_checkpointed:
    seed_brokers: $SEEDS
    topics: [ %s ]
    %s
output:
  kafka_checkpointed:
    seed_brokers: $SEEDS
    topic: %s
    %s
`, from, input, to, output)
}

// refuses checks that what the version lacks is refused before anything is written, by the
// broker's version and, where it is stated, when the stream is built.
func (v oldVersion) refuses(t *testing.T, b *kafkatest.Broker, target string) {
	from := kafkatest.Topic(t, b, 1)
	kafkatest.Fill(t, b, from, 1)
	stated := fmt.Sprintf("kafka_version: %q", v.version)
	check := func(input, output, want string) {
		s := start(t, b, copyOf(from, input, target, output))
		kafkatest.Eventually(t, patience, want, func() bool { return strings.Contains(s.logs.String(), want) })
		_ = s.stop()
	}
	for fields, want := range v.input {
		check(fields, "", want)
		_, err := build(t, b, copyOf(from, stated+"\n    "+fields, target, ""), io.Discard)
		assert.ErrorContains(t, err, want[:strings.Index(want, ",")], fields)
	}
	if _, lacks := v.input[keptInTopic]; lacks && v.group {
		check(asMember, "delivery: exactly_once", "delivery is exactly_once or checkpoint.store.topic is set, which needs brokers of version 2.5 or newer, and these are of version")
	}
	for fields, want := range v.output {
		check("start_from: earliest", fields, want)
		_, err := build(t, b, copyOf(from, "start_from: earliest", target, stated+"\n    "+fields), io.Discard)
		assert.ErrorContains(t, err, want[:strings.Index(want, ",")], fields)
	}
}

// writesHeaders checks that headers, where brokers would drop them, are an error of the one
// message.
func (v oldVersion) writesHeaders(t *testing.T, b *kafkatest.Broker) {
	e := kafkatest.Fake(t)
	from, to, rest := kafkatest.Topic(t, e, 1), kafkatest.Topic(t, b, 1), kafkatest.Topic(t, b, 1)
	kafkatest.Produce(t, e,
		&kgo.Record{Topic: from, Value: []byte("0/0")},
		&kgo.Record{Topic: from, Value: []byte("0/1"), Headers: []kgo.RecordHeader{{Key: "trace", Value: []byte("x")}}},
		&kgo.Record{Topic: from, Value: []byte("0/2")})
	start(t, b, fmt.Sprintf(`
input:
  kafka_checkpointed:
    seed_brokers: [ %s ]
    topics: [ %s ]
    start_from: earliest
output:
  fallback:
    - kafka_checkpointed:
        seed_brokers: $SEEDS
        topic: %s
    - kafka_checkpointed:
        seed_brokers: $SEEDS
        topic: %s
        metadata: { include_patterns: [ '^$' ] }
`, e.Seeds()[0], from, to, rest))
	want, others := []int64{0, 1, 2}, []int64(nil)
	if !v.headers {
		want, others = []int64{0, 2}, []int64{1}
	}
	awaitNumbers(t, b, to, map[int32][]int64{0: want})
	if others != nil {
		awaitNumbers(t, b, rest, map[int32][]int64{0: others})
	}
}

// Records of brokers before 0.10 have no timestamps: they say so, and get one where they go.
func TestRecordsWithoutTimestamps(t *testing.T) {
	b := kafkatest.Old(t, kafkatest.Kafka09)
	e := kafkatest.Fake(t)
	from, to := kafkatest.Topic(t, b, 1), kafkatest.Topic(t, e, 1)
	kafkatest.Fill(t, b, from, 3)
	began := time.Now()
	start(t, b, fmt.Sprintf(`
input:
  kafka_checkpointed:
    seed_brokers: $SEEDS
    topics: [ %s ]
    start_from: earliest
pipeline:
  processors:
    - mapping: |
        meta has = @.keys().contains("kafka_timestamp_ms") || @.keys().contains("kafka_timestamp_unix")
output:
  kafka_checkpointed:
    seed_brokers: [ %s ]
    topic: %s
    metadata: { include_prefixes: [ has ] }
`, from, e.Seeds()[0], to))
	awaitNumbers(t, e, to, map[int32][]int64{0: span(0, 3)})
	for _, r := range kafkatest.ReadCommitted(t, e, to)[0] {
		require.False(t, r.Timestamp.Before(began.Add(-time.Minute)), "%v", r.Timestamp)
		require.Equal(t, "false", string(r.Headers[0].Value))
	}
	s := start(t, b, fmt.Sprintf(`
input:
  kafka_checkpointed:
    seed_brokers: $SEEDS
    topics: [ %s ]
    start_from: earliest
  processors:
    - watermark_periodic: {}
output:
  drop: {}
`, from))
	kafkatest.Eventually(t, patience, "no event time", func() bool {
		return strings.Contains(s.logs.String(), "brokers before 0.10 keep none: set the field timestamp")
	})
}

func TestFieldKafkaVersion(t *testing.T) {
	b := kafkatest.Old(t, kafkatest.Kafka09)
	from, to := kafkatest.Topic(t, b, 1), kafkatest.Topic(t, b, 1)
	kafkatest.Fill(t, b, from, 3)
	p := kafkatest.NewProxy(t, b)
	s := start(t, p, copyOf(from, "kafka_version: \"0.9\"\n    start_from: earliest", to, "kafka_version: \"0.9\""))
	awaitNumbers(t, b, to, map[int32][]int64{0: span(0, 3)})
	require.NoError(t, s.stop())
	for r := range p.Requests() {
		require.NotEqual(t, "ApiVersions", r.Key.Name(), "what is stated is not asked for")
	}
	for version, want := range map[string]string{"0.1": "quotes", "0.7": "use one from", "new": "is not a version of Kafka"} {
		_, err := build(t, b, copyOf(from, fmt.Sprintf("kafka_version: %q", version), to, ""), io.Discard)
		require.ErrorContains(t, err, want)
	}
}

// Offsets in ZooKeeper are where the job goes on, whoever wrote them.
func TestFieldZooKeeper(t *testing.T) {
	b := kafkatest.Old(t, kafkatest.Kafka08)
	from, to := kafkatest.Topic(t, b, 2), kafkatest.Topic(t, b, 2)
	kafkatest.Fill(t, b, from, 100)
	kafkatest.SetNode(t, b, "/kafka", "")
	group := kafkatest.Unique(t)
	node := func(p int) string { return fmt.Sprintf("/kafka/consumers/%s/offsets/%s/%d", group, from, p) }
	kafkatest.SetNode(t, b, node(0), "40")
	conf := copyOf(from, fmt.Sprintf(`consumer_group: %s
    zookeeper_connect: %s/kafka
    zookeeper_auth: { username: u, password: p }
    checkpoint: { interval: 100ms }
    start_from: latest`, group, b.ZooKeeper()), to, samePartition)
	awaitNode := func(p int, text string) {
		t.Helper()
		kafkatest.Until(t, patience, func() error {
			if got, _ := kafkatest.Node(t, b, node(p)); got != text {
				return fmt.Errorf("%s holds %q, want %q", node(p), got, text)
			}
			return nil
		})
	}
	s := start(t, b, conf)
	awaitNode(0, "100")
	awaitNode(1, "100")
	// Partition 1 had no offset although the group was there: it counts as found later.
	require.Equal(t, map[int32][]int64{0: span(40, 100), 1: span(0, 100)}, numbers(t, b, to))

	t.Run("an outage is a failed commit", func(t *testing.T) {
		b.StopZooKeeper()
		kafkatest.Fill(t, b, from, 10)
		awaitNumbers(t, b, to, map[int32][]int64{0: span(40, 110), 1: span(0, 110)})
		kafkatest.Eventually(t, patience, "a commit has failed", func() bool { return strings.Contains(s.logs.String(), "committing offsets of group") })
		b.StartZooKeeper()
		awaitNode(0, "110")
		awaitNode(1, "110")
	})
	require.NoError(t, s.stop())

	t.Run("the next run goes on", func(t *testing.T) {
		kafkatest.Fill(t, b, from, 10)
		s := start(t, b, conf)
		awaitNode(0, "120")
		awaitNode(1, "120")
		require.NoError(t, s.stop())
		require.Equal(t, map[int32][]int64{0: span(40, 120), 1: span(0, 120)}, numbers(t, b, to))
	})

	t.Run("a wrong password is fatal", func(t *testing.T) {
		kafkatest.Fill(t, b, from, 1)
		s := start(t, b, strings.Replace(conf, "password: p", "password: wrong", 1))
		kafkatest.Eventually(t, patience, "refused", func() bool { return strings.Contains(s.logs.String(), "check zookeeper_auth") })
	})

	for fields, want := range map[string]string{
		"zookeeper_connect: a":                                                                 "zookeeper_connect is set, but consumer_group is not",
		"consumer_group: a/b\n    zookeeper_connect: a":                                        "cannot be the name of a node",
		"consumer_group: g\n    assignment: group\n    zookeeper_connect: a":                   "assignment is group, but zookeeper_connect is set",
		"consumer_group: g\n    zookeeper_auth: { username: u }":                               "zookeeper_auth is set, but zookeeper_connect is not",
		"consumer_group: g\n    zookeeper_connect: a\n    zookeeper_auth: { username: u }":     "needs both username and password",
		"consumer_group: g\n    zookeeper_connect: a\n    checkpoint: { store: { topic: t } }": "no transaction covers offsets in ZooKeeper",
	} {
		_, err := build(t, b, copyOf(from, fields, to, ""), io.Discard)
		assert.ErrorContains(t, err, want, fields)
	}
}
