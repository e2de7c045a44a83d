package input

import (
	"slices"

	"github.com/redpanda-data/benthos/v4/public/service"

	"github.com/tidemarkhq/tidemark/internal/connection"
)

// Name is what the component is called in a configuration.
const Name = "kafka_checkpointed"

// Spec returns the specification of the component.
func Spec() *service.ConfigSpec {
	return service.NewConfigSpec().
		Beta().
		Categories("Services").
		Summary("Reads Kafka topics and goes on, after a restart, exactly where the last checkpoint of the stream left off.").
		Description(`
Positions are kept in checkpoints: at every `+"`checkpoint.interval`"+` the stream notes how far each partition was read and delivered, and only then commits those offsets to the consumer group. Nothing is ever committed that was not delivered.

Partitions are shared out by the consumer group among all processes that run with the same `+"`consumer_group`"+`, or are assigned statically: all of them, those of one shard, or those that `+"`topics`"+` names.

### Moving from Redpanda Connect

Every field of the `+"`kafka_franz` and `redpanda`"+` inputs is accepted. Fields without a meaning here say so. Three things differ: patterns match whole topic names; `+"`transaction_isolation_level`"+` is `+"`read_committed`"+` unless set; and order within a partition is kept unless `+"`ordering: none`"+` is set.

### Metadata

This input adds the following metadata to each message, as far as `+"`metadata`"+` asks for it:

- kafka_key (not on a record without a key)
- kafka_topic
- kafka_partition
- kafka_offset
- kafka_timestamp_ms
- kafka_timestamp_unix
- kafka_tombstone_message
- kafka_leader_epoch (if `+"`metadata`"+` asks for it)
- kafka_timestamp_type (if `+"`metadata`"+` asks for it)
- all record headers`).
		Fields(fields()...).
		LintRule(lintRule).
		Example("A checkpointed copy", "Moves records from one topic to another; killed at any moment, it loses nothing.", `
input:
  kafka_checkpointed:
    seed_brokers: [ "localhost:9092" ]
    topics: [ orders ]
    consumer_group: enrich

output:
  kafka_checkpointed:
    seed_brokers: [ "localhost:9092" ]
    topic: orders-enriched
`).
		Example("A bounded run", "Reads what the topic holds now, then ends.", `
input:
  kafka_checkpointed:
    seed_brokers: [ "localhost:9092" ]
    topics: [ orders ]
    start_from: earliest
    stop_at: latest
    checkpoint:
      store:
        directory: ./checkpoints
`)
}

func fields() []*service.ConfigField {
	return slices.Concat(
		connection.Fields(),
		topicFields(),
		assignmentFields(),
		zooKeeperFields(),
		positionFields(),
		consumerFields(),
		messageFields(),
		formatFields(),
		[]*service.ConfigField{checkpointField()},
		connectFields(),
		[]*service.ConfigField{
			service.NewAutoRetryNacksToggleField().
				Description("Whether messages that are rejected are delivered again. If `false` they are dropped, logged and counted; that cannot be combined with a checkpoint store.").
				Example(true),
			service.NewForceTimelyNacksField().Example("1m"),
			service.NewExtractTracingSpanMappingField(),
		},
	)
}
