package input

import (
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redpanda-data/benthos/v4/public/service"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tidemarkhq/tidemark/checkpoint"
	"github.com/tidemarkhq/tidemark/internal/kafka"
)

// minimal is what every configuration of the tests has unless it says otherwise.
const minimal = "seed_brokers: [ localhost:9092 ]\ntopics: [ orders ]\n"

// parse builds the configuration as the constructor does.
func parse(t *testing.T, conf string) (Config, error) {
	t.Helper()
	parsed, err := spec().ParseYAML(conf, nil)
	require.NoError(t, err)
	return ParseConfig(parsed, service.MockResources())
}

var spec = sync.OnceValue(Spec)

// linter knows this component and nothing else: the rules must not need more.
var linter = sync.OnceValue(func() *service.ComponentConfigLinter {
	env := service.NewEmptyEnvironment()
	if err := env.RegisterBatchInput(Name, Spec(), func(*service.ParsedConfig, *service.Resources) (service.BatchInput, error) {
		return nil, errors.New("only linted")
	}); err != nil {
		panic(err)
	}
	return env.NewComponentConfigLinter()
})

func lint(t *testing.T, conf string) []string {
	t.Helper()
	lints, err := linter().LintInputYAML([]byte(Name + ":\n  " + strings.ReplaceAll(conf, "\n", "\n  ")))
	require.NoError(t, err, conf)
	var texts []string
	for _, l := range lints {
		texts = append(texts, l.What)
	}
	return texts
}

const (
	grouped = minimal + "consumer_group: g\n"
	stored  = minimal + "checkpoint: { store: { directory: d } }\n"
)

// configFaults has, for each contradiction, what the linter and what the
// constructor say, "=" for the same. An empty lint means that one field's value
// alone is wrong, which only the constructor can tell.
var configFaults = []struct{ name, conf, lint, build string }{
	{"group before 0.9", grouped + "kafka_version: '0.8.2'", "assignment is group, which needs brokers of version 0.9 or newer", `assignment is group, of consumer_group "g", which needs brokers of version 0.9 or newer`},
	{"timestamp before 0.10.1", minimal + "kafka_version: '0.10.0'\nstart_from: timestamp\nstart_timestamp: 5", "start_from is timestamp, which needs brokers of version 0.10.1 or newer", "="},
	{"stop timestamp before 0.10.1", minimal + "kafka_version: '0.9'\nstop_at: timestamp\nstop_timestamp: 5", "stop_at is timestamp, which needs brokers of version 0.10.1 or newer", "="},
	{"static member before 2.3", grouped + "kafka_version: '2.2.2'\ninstance_id: me", "needs brokers of version 2.3 or newer", "="},
	{"store topic before 2.5", grouped + "kafka_version: '2.4'\ncheckpoint: { store: { topic: t } }", "checkpoint.store.topic is set, which needs brokers of version 2.5 or newer", "="},
	{"consumer protocol before 4.0", grouped + "kafka_version: '3.6'\ngroup_protocol: consumer", "group_protocol is consumer, which needs brokers of version 4.0 or newer", "="},
	{"SASL before 0.10", minimal + "kafka_version: '0.9'\nsasl: [ { mechanism: PLAIN, username: u, password: p } ]", "sasl is set, which needs brokers of version 0.10 or newer", "="},
	{"schemas without a registry", minimal + "key_format: avro", "schema_registry.url is empty, but a format is by schemas", "="},
	{"registry without schemas", minimal + "schema_registry: { url: [ a ] }", "neither format nor key_format is by schemas", "="},
	{"two credentials for a registry", minimal + "format: avro\nschema_registry: { url: [ a ], bearer_token: t, inherit_sasl: true }", "inherit_sasl is true, and basic_auth or bearer_token is set", "="},
	{"no version", minimal + "kafka_version: '0.1'", "kafka_version: 0.1 is not a version of Kafka that can be used", `kafka_version: "0.1" is not a version of Kafka that can be used`},
	{"SP10 group offsets without a group", minimal + "start_from: group_offsets", "start_from is group_offsets, but consumer_group is not set", "="},
	{"SP10 stop at group offsets without a group", minimal + "stop_at: group_offsets", "stop_at is group_offsets, but consumer_group is not set", "="},
	{"SP10 timestamp without one", minimal + "start_from: timestamp", "start_timestamp is not set", "="},
	{"SP10 stop timestamp without one", minimal + "stop_at: timestamp", "stop_timestamp is not set", "="},
	{"SP10 offsets without any", minimal + "start_from: offsets\nstart_offsets: {}", "start_offsets is empty", "="},
	{"BD06 stop offsets without any", minimal + "stop_at: offsets", "stop_offsets is empty", "="},
	{"SP10 unknown reset policy", minimal + "offset_reset: soon", "value soon is not a valid option", `offset_reset is "soon"`},
	{"SP10 unknown start", minimal + "start_from: yesterday", "value yesterday is not a valid option", `start_from is "yesterday"`},
	{"SP10 unknown stop", minimal + "stop_at: earliest", "value earliest is not a valid option", `stop_at is "earliest"`},
	{"SP10 not a timestamp", minimal + "start_from: timestamp\nstart_timestamp: yesterday", "", `start_timestamp: "yesterday" is neither RFC 3339`},
	{"timestamp without start_from", minimal + "start_timestamp: 5", "start_timestamp is set, but start_from is not timestamp", `start_timestamp is "5", but start_from is not set`},
	{"offsets without start_from", minimal + "start_offsets: { orders: { 0: 1 } }", "start_offsets is set, but start_from is not offsets", "start_offsets is set, but start_from is not set"},
	{"stop timestamp without stop_at", minimal + "stop_timestamp: 5", "stop_timestamp is set, but stop_at is not timestamp", `stop_timestamp is "5", but stop_at is not set`},
	{"stop offsets without stop_at", minimal + "stop_offsets: { orders: { 0: 1 } }", "stop_offsets is set, but stop_at is not offsets", "stop_offsets is set, but stop_at is not set"},
	{"offsets of other topics", minimal + "start_from: offsets\nstart_offsets: { returns: { 0: 1 } }", "", "start_offsets lists returns/0, which topics does not"},
	{"offsets of no number", minimal + "start_from: offsets\nstart_offsets: { orders: { 0: -1, x: 2, 3: soon } }", "", `the offset of partition 0 is -1`},
	{"offsets in topics and start_from", "seed_brokers: [ a ]\ntopics: [ 'orders:0:5' ]\nstart_from: latest", "topics names offsets to start from, but start_from is latest", "="},
	{"offsets in topics and start_offsets", "seed_brokers: [ a ]\ntopics: [ 'orders:0:5' ]\nstart_from: offsets\nstart_offsets: { orders: { 0: 1 } }", "topics names offsets to start from, and start_offsets is set", "="},
	{"start_offset and start_from", grouped + "start_offset: latest\nstart_from: earliest", "start_offset is latest, and start_from", `start_offset is "latest", and start_from`},
	{"start_from_oldest and offset_reset", grouped + "start_from_oldest: true\noffset_reset: none", "start_from_oldest and start_from or offset_reset", "="},
	{"start_from_oldest against start_offset", grouped + "start_from_oldest: false\nstart_offset: earliest", "start_from_oldest is false, but start_offset is earliest", "="},
	{"start_offset committed without a group", minimal + "start_offset: committed", "start_offset is committed, but consumer_group is not set", "="},

	{"no broker", "topics: [ a ]", "seed_brokers is empty", "="},
	{"not an address", "seed_brokers: [ 'a:b' ]\ntopics: [ a ]", "", `seed_brokers: "a:b" is not an address`},
	{"no topic", "seed_brokers: [ a ]", "topics is empty", "="},
	{"both topics and patterns", minimal + "regexp_topics_include: [ a ]", "topics and regexp_topics_include are both set", "="},
	{"exclude without patterns", minimal + "regexp_topics_exclude: [ a ]", "regexp_topics_exclude is set without patterns", "="},
	{"DI10 partition among patterns", "seed_brokers: [ a ]\nregexp_topics: true\ntopics: [ 'a.*', 'b:0' ]", "a partition is named among patterns", "names a partition among patterns"},
	{"not a topic", "seed_brokers: [ a ]\ntopics: [ 'a*' ]", "", `topics: "a*": "a*" cannot be the name of a topic`},

	{"group assignment without a group", minimal + "assignment: group", "assignment is group, but consumer_group is not set", "="},
	{"group assignment of partitions", "seed_brokers: [ a ]\ntopics: [ 'a:0' ]\nconsumer_group: g\nassignment: group", "assignment is group, but topics names partitions", "="},
	{"group assignment with shards", grouped + "assignment: group\nshard: { index: 0, count: 2 }", "assignment is group, but shard is set", "="},
	{"group assignment with a store", grouped + "assignment: group\ncheckpoint: { store: { directory: d } }", "assignment is group, but checkpoint.store.directory is d", `checkpoint.store.directory is "d", which one process`},
	{"unknown assignment", grouped + "assignment: manual", "value manual is not a valid option", `assignment is "manual"`},
	{"shard without count", minimal + "shard: { index: 0 }", "shard needs both index and count", "="},
	{"shard of none", minimal + "shard: { index: 0, count: 0 }", "shard.count is 0", "="},
	{"shard out of range", minimal + "shard: { index: 2, count: 2 }", "shard.index is 2: use 0 to 1", "="},
	{"server side group without a group", minimal + "group_protocol: consumer", "group_protocol is consumer, but with static assignment", "="},
	{"server side group, static", grouped + "group_protocol: consumer\nassignment: static", "group_protocol is consumer, but with static assignment", "="},

	{"CM07 commits without a group", stored + "", "", ""},
	{"CM07 commit_offsets without a group", minimal + "checkpoint: { commit_offsets: true }", "checkpoint.commit_offsets is true, but consumer_group is not set", "="},
	{"CM07 auto commit without a group", minimal + "properties: { enable.auto.commit: 'true' }", "enable.auto.commit is true, but consumer_group is not set", "="},
	{"CM07 auto commit with checkpoints", grouped + "properties: { enable.auto.commit: 'true' }", "enable.auto.commit is true, but checkpoints commit", "="},
	{"no commits and no store", grouped + "checkpoint: { commit_offsets: false }", "so positions are kept nowhere", "="},
	{"store without checkpoints", minimal + "checkpoint: { interval: 0s, store: { directory: d } }", "checkpoint.interval is 0s, so nothing is kept", "="},
	{"negative interval", grouped + "checkpoint: { interval: -1s }", "checkpoint.interval is -1s", "="},
	{"restore without a store", grouped + "checkpoint: { restore_from: 3 }", "checkpoint.restore_from is 3, but checkpoint.store.directory is not set", "="},
	{"savepoints without checkpoints", minimal + "checkpoint: { savepoint_directory: d }", "checkpoint.savepoint_directory is d, but there are no checkpoints", "="},
	{"savepoints with checkpoints off", grouped + "checkpoint: { interval: 0s, savepoint_directory: d }", "checkpoint.savepoint_directory is d, but there are no checkpoints", "="},
	{"savepoints without a store", grouped + "checkpoint: { savepoint_directory: d }", "", ""},
	{"retain without a store", grouped + "checkpoint: { retain: 3 }", "checkpoint.retain is 3, but checkpoint.store.directory is not set", "="},
	{"retain nothing", grouped + "checkpoint: { retain: 0 }", "checkpoint.retain is 0: use 1 or more", "="},
	{"dropped messages with a store", minimal + "auto_replay_nacks: false\ncheckpoint: { store: { directory: d } }", "auto_replay_nacks is false, but checkpoint.store.directory is d", "auto_replay_nacks is false"},
	{"its own store", minimal + "checkpoint: { store: { topic: orders } }", "checkpoint.store.topic is orders, which the input reads itself", `checkpoint.store.topic is "orders", which the input reads itself`},
	{"partitions of its own store", "seed_brokers: [ a ]\ntopics: [ 't:3' ]\ncheckpoint: { store: { topic: t } }", "", "which the input reads itself"},
	{"a pattern for its own store", "seed_brokers: [ a ]\nregexp_topics_include: [ 't.*' ]\nconsumer_group: g\ncheckpoint: { store: { topic: t-store } }", "", "which the input reads itself"},
	{"a pattern without its own store", "seed_brokers: [ a ]\nregexp_topics_include: [ 't.*' ]\nregexp_topics_exclude: [ 't-store' ]\nconsumer_group: g\ncheckpoint: { store: { topic: t-store } }", "", ""},
	{"long job", grouped + "checkpoint: { job: " + strings.Repeat("j", 250) + " }", "checkpoint.job is 250 bytes long", "="},
	{"times of checkpoints", grouped + "checkpoint: { timeout: 0s, shutdown_timeout: 0s, min_pause: -1s, tolerable_failures: -2 }", "", "checkpoint.shutdown_timeout is 0s"},
	{"jitter", grouped + "checkpoint: { restart: { jitter: 1.5 } }", "checkpoint.restart.jitter is 1.5", "="},
	{"multiplier", grouped + "checkpoint: { restart: { multiplier: 0.5 } }", "checkpoint.restart.multiplier is 0.5", "="},
	{"restarts", grouped + "checkpoint: { restart: { max_restarts: -1 } }", "checkpoint.restart.max_restarts is -1", "="},
	{"back-off", grouped + "checkpoint: { restart: { initial_backoff: 5m } }", "", "checkpoint.restart.max_backoff is 1m0s, less than initial_backoff (5m0s)"},

	{"unordered against ordering", grouped + "ordering: partition\nunordered_processing: { enabled: true }", "unordered_processing.enabled is true, but ordering is partition", "="},
	{"ordered against ordering", grouped + "ordering: none\nunordered_processing: { enabled: false }", "unordered_processing.enabled is false, but ordering is none", "="},
	{"batching by check", grouped + "batching: { check: 'this.x' }", "batching.check is set", "="},
	{"batching processors", grouped + "unordered_processing: { batching: { processors: [ { noop: {} } ] } }", "batching.processors is set", "="},
	{"empty batches", grouped + "max_batch_records: 0", "max_batch_records is 0", "="},
	{"slow heartbeat", grouped + "heartbeat_interval: 1m", "", "heartbeat_interval is 1m"},
	{"unknown metadata", grouped + "metadata: [ kafka_kay ]", "", `metadata: "kafka_kay" is not metadata of this input`},
	{"fetch sizes", grouped + "fetch_max_bytes: 2GiB\nfetch_min_bytes: lots", "", `fetch_min_bytes: "lots" is not a size`},
	{"fetch less than least", grouped + "fetch_max_bytes: 1KiB\nfetch_min_bytes: 1MiB", "", "fetch_min_bytes is 1048576: use at most fetch_max_bytes (1024)"},
	{"fetch wait", grouped + "fetch_max_wait: 1ms", "", "fetch_max_wait is 1ms: use a value from 10ms"},
	{"unknown field", grouped + "formats: raw", "field formats not recognised", ""},
	{"kerberos", minimal + "sasl: [ { mechanism: GSSAPI, kerberos: { keytab: /k } } ]", "", "kerberos.keytab is set and kerberos.principal is not"},
	{"user name missing", minimal + "sasl: [ { mechanism: PLAIN } ]", "", "sasl.0: mechanism PLAIN needs a `username`"},
	{"refused property", minimal + "properties: { max.block.ms: '1' }", "", "properties: max.block.ms is not a property of a consumer"},
}

func TestConfigFaults(t *testing.T) {
	for _, test := range configFaults {
		t.Run(test.name, func(t *testing.T) {
			lints := strings.Join(lint(t, test.conf), "\n")
			if test.lint == "" {
				assert.Empty(t, lints)
			} else {
				assert.Contains(t, lints, test.lint)
			}
			if test.build == "=" {
				test.build = test.lint
			}
			_, err := parse(t, test.conf)
			if test.build == "" {
				assert.NoError(t, err)
				return
			}
			assert.ErrorContains(t, err, test.build)
		})
	}
}

func TestConfigReportsAllFaultsTogether(t *testing.T) {
	_, err := parse(t, "seed_brokers: []\ntopics: [ 'a:x', b ]\nfetch_max_bytes: lots\nmetadata_max_age: 2h")
	for _, want := range []string{"seed_brokers is empty", `"a:x"`, `fetch_max_bytes: "lots"`, "metadata_max_age is 2h0m0s"} {
		assert.ErrorContains(t, err, want)
	}
	_, err = parse(t, minimal+"start_from: timestamp\nstop_at: offsets\nshard: { index: 1 }\nmax_batch_records: 0")
	for _, want := range []string{"start_timestamp", "stop_offsets", "shard needs", "max_batch_records"} {
		assert.ErrorContains(t, err, want)
	}
}

func TestConfigDefaults(t *testing.T) {
	c, err := parse(t, minimal+"consumer_group: g")
	require.NoError(t, err)
	assert.False(t, c.Static)
	assert.True(t, c.Ordered)
	assert.True(t, c.AutoReplayNacks)
	assert.True(t, c.CommitOffsets)
	assert.Equal(t, kafka.ReadCommitted, c.Isolation)
	assert.Equal(t, kafka.Start{From: kafka.GroupOffsets, Reset: kafka.ResetEarliest}, c.Start)
	assert.False(t, c.Stop.Bounded())
	assert.Equal(t, 10*time.Second, c.Discovery)
	assert.Equal(t, 10*time.Second, c.Connection.MetadataMaxAge, "a group member discovers by its client's metadata")
	assert.Equal(t, "redpanda-connect", c.Connection.ClientID)
	assert.Equal(t, defaultMaxBatchRecords, c.MaxBatchRecords)
	assert.True(t, c.Metadata.headers && c.Metadata.key && c.Metadata.tombstone)
	assert.False(t, c.Metadata.epoch || c.Metadata.timestampType, "what Redpanda Connect does not have must be asked for")
	assert.Equal(t, checkpoint.Config{
		Interval: time.Second, Timeout: 30 * time.Second, TolerableFailures: -1, ShutdownTimeout: 10 * time.Second,
		Restart: checkpoint.DefaultRestart, Retain: 1, Group: c.Group, Instance: c.Checkpoint.Instance,
	}, c.Checkpoint)
	assert.False(t, c.Forgetful)

	c, err = parse(t, minimal)
	require.NoError(t, err)
	assert.True(t, c.Static)
	assert.Zero(t, c.Checkpoint.Interval)
	assert.Equal(t, kafka.Earliest, c.Start.From)
	assert.True(t, c.Forgetful)
}

func TestConfigEffectiveAssignment(t *testing.T) {
	for conf, static := range map[string]bool{
		minimal + "consumer_group: g": false,
		minimal:                       true,
		minimal + "consumer_group: g\nassignment: static":                                  true,
		minimal + "consumer_group: g\nshard: { index: 1, count: 3 }":                       true,
		minimal + "consumer_group: g\ncheckpoint: { store: { directory: d } }":             true,
		"seed_brokers: [ a ]\ntopics: [ 'a:0' ]\nconsumer_group: g":                        true,
		minimal + "properties: { group.id: g }":                                            false,
		"seed_brokers: [ a ]\nregexp_topics: true\ntopics: [ '(?:a)' ]\nconsumer_group: g": false,
	} {
		c, err := parse(t, conf)
		require.NoError(t, err, conf)
		assert.Equal(t, static, c.Static, conf)
		assert.Equal(t, static, c.Checkpoint.Static, conf)
		assert.Empty(t, lint(t, conf), conf)
	}
}

func TestConfigMapsConnectsFields(t *testing.T) {
	for conf, want := range map[string]kafka.Start{
		grouped + "start_offset: earliest":                                        {From: kafka.GroupOffsets, Reset: kafka.ResetEarliest},
		grouped + "start_offset: latest":                                          {From: kafka.GroupOffsets, Reset: kafka.ResetLatest},
		grouped + "start_offset: committed":                                       {From: kafka.GroupOffsets, Reset: kafka.ResetNone},
		grouped + "start_from_oldest: false":                                      {From: kafka.GroupOffsets, Reset: kafka.ResetLatest},
		grouped + "start_from_oldest: true":                                       {From: kafka.GroupOffsets, Reset: kafka.ResetEarliest},
		minimal + "start_offset: latest":                                          {From: kafka.Latest, Reset: kafka.ResetLatest},
		minimal + "start_offset: earliest":                                        {From: kafka.Earliest, Reset: kafka.ResetEarliest},
		minimal + "start_from_oldest: false":                                      {From: kafka.Latest, Reset: kafka.ResetLatest},
		minimal + "offset_reset: latest":                                          {From: kafka.Earliest, Reset: kafka.ResetLatest},
		grouped + "properties: { auto.offset.reset: none }\nstart_offset: latest": {From: kafka.GroupOffsets, Reset: kafka.ResetNone},
		minimal + "properties: { auto.offset.reset: latest }":                     {From: kafka.Latest, Reset: kafka.ResetLatest},
		"seed_brokers: [ a ]\ntopics: [ 'a:0:5' ]": {From: kafka.AtOffsets, Reset: kafka.ResetEarliest,
			Offsets: map[kafka.Partition]int64{{Topic: "a", ID: 0}: 5}},
	} {
		c, err := parse(t, conf)
		require.NoError(t, err, conf)
		assert.Equal(t, want, c.Start, conf)
	}
	c, err := parse(t, grouped+"ordering: none\nmetadata: [ none ]")
	require.NoError(t, err)
	assert.False(t, c.Ordered)
	assert.Zero(t, c.Metadata)
	c, err = parse(t, grouped+"unordered_processing: { enabled: true, checkpoint_limit: 5, batching: { count: 77, period: 1s } }\ncheckpoint_limit: 3\npartition_buffer_bytes: 1MB\nmax_yield_batch_bytes: 1MB\nmulti_header: true\ntopic_lag_refresh_period: 7s")
	require.NoError(t, err)
	assert.False(t, c.Ordered)
	assert.Equal(t, 77, c.MaxBatchRecords)
	assert.True(t, c.MultiHeader)
	assert.Equal(t, 7*time.Second, c.LagPeriod)
}

func TestConfigCommits(t *testing.T) {
	for _, test := range []struct {
		conf    string
		commits bool
		period  time.Duration
	}{
		{grouped, true, 5 * time.Second},
		{grouped + "checkpoint: { interval: 0s }", true, 5 * time.Second},
		{grouped + "checkpoint: { interval: 0s }\ncommit_period: 2s", true, 2 * time.Second},
		{grouped + "checkpoint: { interval: 0s }\ncommit_period: 0s", false, 0},
		{grouped + "checkpoint: { interval: 0s, commit_offsets: false }", false, 0},
		{grouped + "checkpoint: { interval: 0s }\nproperties: { enable.auto.commit: 'true', auto.commit.interval.ms: '700' }", true, 700 * time.Millisecond},
		{grouped + "checkpoint: { interval: 0s }\nproperties: { enable.auto.commit: false }", false, 0},
		{grouped + "checkpoint: { store: { directory: d }, commit_offsets: false }", false, 0},
		{minimal + "checkpoint: { store: { directory: d } }", false, 0},
	} {
		c, err := parse(t, test.conf)
		require.NoError(t, err, test.conf)
		assert.Equal(t, test.commits, c.CommitOffsets, test.conf)
		assert.Equal(t, test.period, c.CommitPeriod, test.conf)
	}
}

func TestConfigValues(t *testing.T) {
	c, err := parse(t, `
seed_brokers: [ "a:1,b:2", "c" ]
topics: [ orders ]
consumer_group: g
rack_id: r1
start_from: offsets
start_offsets: { orders: { 0: 100, "1": 200 } }
stop_at: timestamp
stop_timestamp: 2026-02-01T00:00:00Z
transaction_isolation_level: read_uncommitted
discovery_interval: -1s
instance_id: me
group_protocol: consumer
fetch_max_bytes: 200MiB
metadata: [ kafka_topic ]
checkpoint:
  interval: 3s
  timeout: 4s
  min_pause: 5s
  tolerable_failures: 6
  job: j
  shutdown_timeout: 7s
  restart: { initial_backoff: 2s, max_backoff: 3s, multiplier: 1.5, jitter: 0, reset_after: 4s, max_restarts: 5, window: 6s }
properties:
  client.id: me
  session.timeout.ms: 30000
  security.protocol: SASL_SSL
  sasl.mechanism: SCRAM-SHA-512
  sasl.jaas.config: org.apache.kafka.common.security.scram.ScramLoginModule required username="u" password="p\"w";
`)
	require.NoError(t, err)
	assert.Equal(t, []string{"a:1", "b:2", "c"}, c.Connection.SeedBrokers)
	assert.Equal(t, "me", c.Connection.ClientID)
	assert.Equal(t, "r1", c.Connection.Rack)
	assert.NotNil(t, c.Connection.TLS)
	require.Len(t, c.Connection.SASL, 1)
	assert.Equal(t, "SCRAM-SHA-512", c.Connection.SASL[0].Name())
	assert.Equal(t, map[kafka.Partition]int64{{Topic: "orders", ID: 0}: 100, {Topic: "orders", ID: 1}: 200}, c.Start.Offsets)
	assert.Equal(t, kafka.AtTimestamp, c.Stop.At)
	assert.True(t, c.Stop.Timestamp.Equal(time.Date(2026, 2, 1, 0, 0, 0, 0, time.UTC)))
	assert.Zero(t, c.Discovery)
	assert.Equal(t, kafka.ReadUncommitted, c.Isolation)
	assert.Equal(t, metadataSelection{topic: true}, c.Metadata)
	assert.Equal(t, checkpoint.Config{
		Interval: 3 * time.Second, Timeout: 4 * time.Second, MinPause: 5 * time.Second, TolerableFailures: 6,
		ShutdownTimeout: 7 * time.Second, Job: "j", Group: "g", Instance: "me", Retain: 1, Sets: true,
		Restart: checkpoint.Restart{InitialBackoff: 2 * time.Second, MaxBackoff: 3 * time.Second, Multiplier: 1.5,
			ResetAfter: 4 * time.Second, MaxRestarts: 5, Window: 6 * time.Second},
	}, c.Checkpoint)

	cl, err := c.Connection.NewClient(append(c.Consumer, kgo.ConsumerGroup("g"))...)
	require.NoError(t, err, "the client must accept what was found valid")
	defer cl.Close()
	assert.Equal(t, 30*time.Second, cl.OptValue(kgo.SessionTimeout))
	assert.Equal(t, int32(200<<20), cl.OptValue(kgo.FetchMaxBytes))
}

func TestFieldZooKeeperInherits(t *testing.T) {
	const conf = grouped + "zookeeper_connect: zk\nzookeeper_auth: { inherit_sasl: true }\nsasl: "
	c, err := parse(t, conf+"[ { mechanism: GSSAPI }, { mechanism: SCRAM-SHA-512, username: u, password: p } ]")
	require.NoError(t, err)
	assert.Equal(t, "u p", c.ZooKeeper.User+" "+c.ZooKeeper.Password)
	_, err = parse(t, conf+"[ { mechanism: OAUTHBEARER, token: t } ]")
	assert.ErrorContains(t, err, "zookeeper_auth.inherit_sasl is true, but sasl has no user and password")
	_, err = parse(t, strings.Replace(conf, "true }", "true, username: x, password: y }", 1)+"[]")
	assert.ErrorContains(t, err, "use one of them")
}
