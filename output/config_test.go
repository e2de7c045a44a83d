package output

import (
	"bufio"
	"crypto/rand"
	"os"
	"strings"
	"testing"

	"github.com/redpanda-data/benthos/v4/public/service"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tidemarkhq/tidemark/internal/kafkatest"
)

// lint returns what a configuration file is told.
func lint(t *testing.T, yaml string) string {
	t.Helper()
	env := service.NewEmptyEnvironment()
	require.NoError(t, Register(env, nil))
	lints, err := env.NewComponentConfigLinter().LintOutputYAML([]byte(Name + ":\n  " + strings.ReplaceAll(strings.TrimSpace(yaml), "\n", "\n  ")))
	require.NoError(t, err)
	var all []string
	for _, l := range lints {
		all = append(all, l.Error())
	}
	return strings.Join(all, "\n")
}

func TestRH08_ContradictorySettings(t *testing.T) {
	for name, tc := range map[string]struct {
		yaml string
		// lint and build are what the two must say; empty = nothing.
		lint, build string
	}{
		"minimal":                 {"topic: t", "", ""},
		"lz4 before 0.10":         {"topic: t\nkafka_version: '0.9'\ncompression: lz4", "compression is lz4, which needs brokers of version 0.10", "compression is lz4, which needs brokers of version 0.10"},
		"zstd before 2.1":         {"topic: t\nkafka_version: '2.0'\ncompression: zstd", "compression is zstd, which needs brokers of version 2.1", "compression is zstd, which needs brokers of version 2.1"},
		"zstd in time":            {"topic: t\nkafka_version: '2.1'\ncompression: zstd", "", ""},
		"timestamp before 0.10":   {"topic: t\nkafka_version: '0.8'\ntimestamp_ms: 5", "which needs brokers of version 0.10", "which needs brokers of version 0.10"},
		"headers before 0.11":     {"topic: t\nkafka_version: '0.10.2'\nmetadata: { include_patterns: [ a ] }", "metadata is set, to write headers, which needs brokers of version 0.11", "metadata is set, to write headers, which needs brokers of version 0.11"},
		"no headers before 0.11":  {"topic: t\nkafka_version: '0.10.2'\nmetadata: { include_patterns: [ '^$' ] }", "", ""},
		"once before 2.5":         {"topic: t\nkafka_version: '2.4'\ndelivery: exactly_once", "delivery is exactly_once, which needs brokers of version 2.5", "delivery is exactly_once, which needs brokers of version 2.5"},
		"no topic":                {`topic: ""`, "topic is empty", "topic is empty"},
		"impossible topic":        {"topic: a/b", "", `topic "a/b" is not a topic's name`},
		"unknown partitioner":     {"topic: t\npartitioner: random", "partitioner random is unknown", `partitioner "random" is unknown`},
		"unregistered":            {"topic: t\npartitioner: acme.x", "", `partitioner "acme.x" is unknown`},
		"round robin and key":     {"topic: t\npartitioner: round_robin\nkey: x", "partitioner is round_robin but key is set", "partitioner is round_robin but key is set"},
		"manual alone":            {"topic: t\npartitioner: manual", "partition is not set", "partition is not set"},
		"partition alone":         {"topic: t\npartition: 3", "partition is set but partitioner is murmur2_hash", "partition is set but partitioner is murmur2_hash"},
		"index without fixed":     {"topic: t\nwriter_index: 1", "writer_index is set but partitioner is murmur2_hash", "writer_index is set but partitioner is murmur2_hash"},
		"negative index":          {"topic: t\npartitioner: fixed\nwriter_index: -1", "writer_index is -1", "writer_index is -1"},
		"allowed but literal":     {"topic: t\ntopics_allowed: [ t ]", "topics_allowed is set but topic is always t", `topics_allowed is set but topic is always "t"`},
		"allowed":                 {"topic: ${! @t }\ntopics_allowed: [ t, 'a-.*' ]", "", ""},
		"allowed broken":          {"topic: ${! @t }\ntopics_allowed: [ '(' ]", "", `topics_allowed: "(" is neither`},
		"both timestamps":         {"topic: t\ntimestamp: ${! 1 }\ntimestamp_ms: ${! 1 }", "both timestamp and timestamp_ms", "both timestamp and timestamp_ms"},
		"idempotent acks":         {"topic: t\nacks: leader", "idempotent_write is true but acks is leader", "idempotent_write is true but acks is leader"},
		"idempotent requests":     {"topic: t\nmax_in_flight_requests: 5", "idempotent_write is true but max_in_flight_requests is 5", "idempotent_write is true but max_in_flight_requests is 5"},
		"not idempotent":          {"topic: t\nidempotent_write: false\nacks: none\nmax_in_flight_requests: 5", "", ""},
		"once, not idempotent":    {"topic: t\ndelivery: exactly_once\nidempotent_write: false", "remove idempotent_write", "idempotent_write is false: remove idempotent_write"},
		"once, few acks":          {"topic: t\ndelivery: exactly_once\nacks: leader\nidempotent_write: false", "acks is leader", "acks is leader: set acks to all"},
		"once, dropping":          {"topic: t\ndelivery: exactly_once\nlog_failures_only: true", "log_failures_only is true", "log_failures_only is true"},
		"once, flushed on ack":    {"topic: t\ndelivery: exactly_once\nflush: on_ack", "flush is on_ack", "flush is on_ack"},
		"no prefix":               {"topic: t\ndelivery: exactly_once\ntransactional_id_prefix: \"\"", "transactional_id_prefix is empty", "transactional_id_prefix is empty"},
		"short transactions":      {"topic: t\ndelivery: exactly_once\ntransaction_timeout: 10ms", "", "transaction_timeout is 10ms"},
		"unknown delivery":        {"topic: t\ndelivery: best", "best", `delivery "best" is unknown`},
		"unknown flush":           {"topic: t\nflush: never", "never", `flush "never" is unknown`},
		"none flushed":            {"topic: t\ndelivery: none\nflush: on_ack", "delivery is none but flush is on_ack", "delivery is none but flush is on_ack"},
		"no room":                 {"topic: t\nmax_buffered_records: 0", "max_buffered_records is 0", "max_buffered_records is 0"},
		"no flight":               {"topic: t\nmax_in_flight: 0", "max_in_flight is 0", "max_in_flight is 0"},
		"retries":                 {"topic: t\nrecord_retries: -1", "record_retries is -1", "record_retries is -1"},
		"short delivery timeout":  {"topic: t\nrecord_delivery_timeout: 10ms", "", "record_delivery_timeout is 10ms"},
		"short timeout":           {"topic: t\ntimeout: 1ms", "", "timeout is 1ms"},
		"linger":                  {"topic: t\nlinger: 2m", "", "linger is 2m0s"},
		"codec":                   {"topic: t\ncompression: brotli", "brotli", `compression "brotli" is unknown`},
		"size":                    {"topic: t\nmax_message_bytes: big", "", `max_message_bytes: "big" is not a size`},
		"sizes":                   {"topic: t\nmax_message_bytes: 2MiB\nbroker_write_max_bytes: 1MiB", "", "broker_write_max_bytes is 1048576, less than max_message_bytes"},
		"tiny batches":            {"topic: t\nmax_message_bytes: 10", "", "max_message_bytes is 10"},
		"tiny writes":             {"topic: t\nbroker_write_max_bytes: 10", "", "broker_write_max_bytes is 10"},
		"unknown acks":            {"topic: t\nidempotent_write: false\nacks: some", "some", `acks "some" is unknown`},
		"properties win":          {"topic: t\nproperties: { acks: \"1\" }", "", "idempotent_write is true but acks is leader"},
		"consumer's property":     {"topic: t\nproperties: { group.id: g }", "", "group.id is not a property of a producer"},
		"fault of the connection": {"topic: t\nclient_id: " + strings.Repeat("x", 300), "", "client_id"},
	} {
		t.Run(name, func(t *testing.T) {
			c := kafkatest.At("localhost:9092")
			got := lint(t, "seed_brokers: [ localhost:9092 ]\n"+tc.yaml)
			if tc.lint == "" {
				require.Empty(t, got)
			} else {
				require.Contains(t, got, tc.lint)
			}
			conf, err := parse(t, c, tc.yaml)
			if tc.build == "" {
				require.NoError(t, err)
				_, err = New(conf, service.MockResources(), newStream("a", true))
				require.NoError(t, err)
				return
			}
			require.ErrorContains(t, err, tc.build)
		})
	}
}

func TestAllFaultsAreReportedTogether(t *testing.T) {
	_, err := parse(t, kafkatest.At("localhost:9092"), "topic: \"\"\npartitioner: x\nlinger: 2m\nacks: leader\ndelivery: y")
	for _, want := range []string{"topic is empty", `partitioner "x"`, "linger is 2m0s", "acks is leader", `delivery "y"`} {
		require.ErrorContains(t, err, want)
	}
}

func TestMaxInFlightDefaults(t *testing.T) {
	for yaml, want := range map[string]struct{ covered, unchecked int }{
		"":                                {1, 10},
		"delivery: none":                  {1, 1},
		"flush: on_ack":                   {10, 10},
		"flush: on_ack\nmax_in_flight: 3": {3, 3},
		"max_in_flight: 64":               {64, 64},
	} {
		conf, err := parse(t, kafkatest.At("localhost:9092"), "topic: t\n"+yaml)
		require.NoError(t, err)
		require.Equal(t, want.covered, conf.maxInFlight(false), yaml)
		require.Equal(t, want.unchecked, conf.maxInFlight(true), yaml)
	}
}

// Moving over is changing the component's name: testdata holds the fields of
// Redpanda Connect v4.105.0's outputs kafka_franz and redpanda.
func TestEveryFieldOfConnectIsThere(t *testing.T) {
	ours := specFields(t)
	f, err := os.Open("testdata/connect_fields.txt")
	require.NoError(t, err)
	defer f.Close()
	n := 0
	for lines := bufio.NewScanner(f); lines.Scan(); {
		line := strings.TrimSpace(lines.Text())
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		n++
		if old, ok := strings.CutPrefix(line, "deprecated "); ok {
			require.NotContains(t, lint(t, "seed_brokers: [ x ]\ntopic: t\n"+old+": x"), "not recognised", old)
			continue
		}
		if _, ok := ours[line]; !ok {
			t.Errorf("field %q of Connect is unknown here", line)
		}
	}
	require.Greater(t, n, 40)
}

func specFields(t *testing.T) map[string]service.TemplateDataPluginField {
	t.Helper()
	env := service.NewEmptyEnvironment()
	require.NoError(t, Register(env, nil))
	all := map[string]service.TemplateDataPluginField{}
	env.WalkOutputs(func(_ string, view *service.ConfigView) {
		data, err := view.TemplateData()
		require.NoError(t, err)
		for _, f := range data.Fields {
			all[f.FullName] = f
		}
	})
	return all
}

// Fields of Benthos itself are described there.
func TestEveryFieldIsExplained(t *testing.T) {
	for name, f := range specFields(t) {
		top, _, nested := strings.Cut(name, ".")
		if nested && (top == "tls" || top == "batching" || top == "metadata") || top == "batching" || top == "tls" || top == "inject_tracing_map" {
			continue
		}
		if f.Type == "object" || strings.Contains(name, ".tls.") {
			continue
		}
		require.NotEmpty(t, f.Description, name)
		require.NotEmpty(t, f.ExamplesMarshalled, "field %s has no example", name)
	}
}

func TestRegisteredPartitioner(t *testing.T) {
	require.ErrorContains(t, RegisterPartitioner("nodot", kgo.RoundRobinPartitioner), "must have a dot")
	require.ErrorContains(t, RegisterPartitioner("test.nil", nil), "is nil")
	// What is registered stays, also when the test runs again.
	name := "test." + strings.ToLower(rand.Text())
	require.NoError(t, RegisterPartitioner(name, func() kgo.Partitioner {
		return kgo.BasicConsistentPartitioner(func(string) func(*kgo.Record, int) int {
			return func(_ *kgo.Record, n int) int { return n - 1 }
		})
	}))
	require.ErrorContains(t, RegisterPartitioner(name, kgo.RoundRobinPartitioner), "already")
	require.Empty(t, lint(t, "seed_brokers: [ x ]\ntopic: t\npartitioner: "+name))

	c := kafkatest.Fake(t)
	topic := kafkatest.Topic(t, c, 3)
	o := open(t, c, newStream("a", true), "topic: "+topic+"\npartitioner: "+name)
	require.NoError(t, o.WriteBatch(t.Context(), foreign("a", "b")))
	require.Equal(t, []int64{0, 0, 2}, kafkatest.Ends(t, c, topic))
}
