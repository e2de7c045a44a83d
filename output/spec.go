package output

import (
	"slices"

	"github.com/redpanda-data/benthos/v4/public/service"

	"github.com/tidemarkhq/tidemark/internal/connection"
	"github.com/tidemarkhq/tidemark/internal/formats"
)

// Name is what the component is called in a configuration.
const Name = "kafka_checkpointed"

// The names of the fields that say what a record looks like.
const (
	fieldTopic         = "topic"
	fieldTopicsAllowed = "topics_allowed"
	fieldKey           = "key"
	fieldPartition     = "partition"
	fieldMetadata      = "metadata"
	fieldTimestamp     = "timestamp"
	fieldTimestampMs   = "timestamp_ms"
)

// The names of the fields that say when a record counts as delivered.
const (
	fieldDelivery        = "delivery"
	fieldFlush           = "flush"
	fieldLogFailuresOnly = "log_failures_only"
	fieldMaxInFlight     = "max_in_flight"
	fieldBatching        = "batching"
	fieldRackID          = "rack_id"

	fieldTransactionalIDPrefix = "transactional_id_prefix"
	fieldTransactionTimeout    = "transaction_timeout"
)

// Spec returns the specification of the component.
func Spec() *service.ConfigSpec {
	return service.NewConfigSpec().
		Beta().
		Categories("Services").
		Summary("Writes messages to Kafka topics and takes part in the checkpoints of its stream.").
		Description(`
Messages that a `+"`kafka_checkpointed`"+` input of the same stream has read are acknowledged as soon as the Kafka client has taken them; the next checkpoint waits until the brokers have them, and only then commits the input's offsets. This is several times faster than waiting for every batch, and loses nothing: if the process dies or a record cannot be delivered, the stream goes on from the last checkpoint. All other messages are acknowledged when the brokers have them.

Key, headers and timestamp of a message that was read from Kafka are written again as they were, unless the fields below say otherwise. A header whose metadata the pipeline has changed follows the metadata. A record without a key stays without one, and a tombstone stays a tombstone; the metadata `+"`kafka_tombstone_message: true`"+` makes one of any message with empty content. Messages from elsewhere get the key and the timestamp in their metadata `+"`kafka_key` and `kafka_timestamp_ms`"+`, if they have it.

A record that can never be delivered (too large, to a topic that does not exist or is not allowed, with an expression that fails) is rejected by itself; the other messages of its batch are written. So `+"`fallback`, `drop_on` and `reject_errored`"+` work as with any other output.`).
		Fields(fields()...).
		LintRule(lintRule).
		Example("Dead letters", "Records that Kafka refuses go to another topic.", `
input:
  kafka_checkpointed:
    seed_brokers: [ "localhost:9092" ]
    topics: [ orders ]
    consumer_group: enrich

output:
  fallback:
    - kafka_checkpointed:
        seed_brokers: [ "localhost:9092" ]
        topic: orders-enriched
    - kafka_checkpointed:
        seed_brokers: [ "localhost:9092" ]
        topic: orders-dead
`)
}

func fields() []*service.ConfigField {
	return slices.Concat(
		connection.Fields(),
		recordFields(),
		formats.Fields(),
		deliveryFields(),
		producerFields(),
		[]*service.ConfigField{
			service.NewStringField(fieldRackID).
				Description("No effect; accepted because Redpanda Connect's outputs accept it.").
				Example("rack-1").Optional().Deprecated(),
			service.NewInjectTracingSpanMappingField(),
		},
	)
}

func recordFields() []*service.ConfigField {
	return []*service.ConfigField{
		service.NewInterpolatedStringField(fieldTopic).
			Description("The topic to write to. An expression chooses it for each record.").
			Example("orders-enriched").Example(`${! @kafka_topic }-enriched`),
		service.NewStringListField(fieldTopicsAllowed).
			Description("The topics that an expression in `topic` may choose: names, and regular expressions that match the whole name. An item made of letters, digits, `.`, `_` and `-` alone is a name. A record for any other topic is rejected. Empty = any topic.").
			Default([]any{}).Example([]string{"orders-enriched", "returns-.*"}),
		service.NewInterpolatedStringField(fieldKey).
			Description("The key of each record. Unset: the key of the record that was read. A literal empty string writes no key, an expression that yields an empty string writes an empty key.").
			Example(`${! json("customer") }`).Optional(),
		service.NewInterpolatedStringField(fieldPartition).
			Description("The number of the partition to write each record to. Needs `partitioner: manual`.").
			Example(`${! @kafka_partition }`).Optional(),
		service.NewMetadataFilterField(fieldMetadata).
			Description("The metadata to write as headers. Unset: the headers of the record that was read, with the values that their metadata has now. To write no headers use a pattern that matches nothing, `include_patterns: [ '^$' ]`.").
			Example(map[string]any{"include_prefixes": []any{"trace_"}}).
			Optional(),
		service.NewInterpolatedStringField(fieldTimestamp).
			Description("The timestamp of each record in seconds since 1970. Use `timestamp_ms` instead.").
			Example(`${! @kafka_timestamp_unix }`).Optional().Advanced().Deprecated(),
		service.NewInterpolatedStringField(fieldTimestampMs).
			Description("The timestamp of each record in milliseconds since 1970. Unset: the event time that a watermark processor has assigned, else the timestamp of the record that was read, else now.").
			Example(`${! timestamp_unix_milli() }`).Optional().Advanced(),
	}
}

func deliveryFields() []*service.ConfigField {
	return []*service.ConfigField{
		service.NewStringAnnotatedEnumField(fieldDelivery, map[string]string{
			string(AtLeastOnce): "A checkpoint completes when the brokers have every record that was read before it.",
			string(ExactlyOnce): "What was written becomes visible to readers with `isolation.level: read_committed` when the checkpoint that covers it completes, all of it together with the input's positions and state, and never twice. Without `checkpoint.store.topic` the input has to be a member of a consumer group on the same cluster, and nothing may keep state.",
			string(None):        "Checkpoints do not wait for the brokers: what was still under way when the process dies is lost. At the end of the stream everything is written.",
		}).
			Description("What is promised about records.").
			Default(string(AtLeastOnce)).Example(string(None)),
		service.NewStringAnnotatedEnumField(fieldFlush, map[string]string{
			string(FlushAuto):         "With the checkpoint where there is one for the message, before the acknowledgement otherwise.",
			string(FlushOnCheckpoint): "As `auto`, with a warning if a message comes that no checkpoint covers.",
			string(FlushOnAck):        "Before the acknowledgement, always.",
		}).
			Description("When to wait for the brokers.").
			Default(string(FlushAuto)).Example(string(FlushOnAck)),
		service.NewBoolField(fieldLogFailuresOnly).
			Description("Whether records that cannot be delivered are logged, counted in `tidemark_producer_errors` and dropped, instead of stopping or repeating anything.").
			Default(false).Example(true).Advanced(),
		service.NewIntField(fieldMaxInFlight).
			Description("How many batches are written at a time. More than one can change the order of records. Unset: 1, or 10 where every batch waits for the brokers: with `flush: on_ack`, or with `checkpoint.interval: 0s` at the inputs.").
			Example(64).Optional(),
		service.NewBatchPolicyField(fieldBatching),
		service.NewStringField(fieldTransactionalIDPrefix).
			Description("How the transactional id begins under which records are written with `delivery: exactly_once`. The name of the job follows, and what tells its processes apart. Brokers that check rights need `WRITE` and `DESCRIBE` on such ids.").
			Default("tidemark").Example("payments").Advanced(),
		service.NewDurationField(fieldTransactionTimeout).
			Description("After how long brokers abort the transaction of a process that has died, or cannot be reached, with `delivery: exactly_once`. More than `checkpoint.interval` and `checkpoint.timeout` together, at most the brokers' `transaction.max.timeout.ms`. A process that follows on a dead one does not wait for it.").
			Default("1m").Example("5m").Advanced(),
	}
}
