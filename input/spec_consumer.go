package input

import "github.com/redpanda-data/benthos/v4/public/service"

// The names of the fields that tune the consumer and its messages.
const (
	fieldIsolation              = "transaction_isolation_level"
	fieldRackID                 = "rack_id"
	fieldSessionTimeout         = "session_timeout"
	fieldRebalanceTimeout       = "rebalance_timeout"
	fieldHeartbeatInterval      = "heartbeat_interval"
	fieldFetchMaxBytes          = "fetch_max_bytes"
	fieldFetchMinBytes          = "fetch_min_bytes"
	fieldFetchMaxPartitionBytes = "fetch_max_partition_bytes"
	fieldFetchMaxWait           = "fetch_max_wait"
	fieldLagPeriod              = "topic_lag_refresh_period"
	fieldOrdering               = "ordering"
	fieldMaxBatchRecords        = "max_batch_records"
	fieldMetadata               = "metadata"
	fieldMultiHeader            = "multi_header"
	fieldCommitPeriod           = "commit_period"
	fieldAutoReplayNacks        = service.AutoRetryNacksToggleFieldName
)

// The values of fieldOrdering.
const (
	orderingPartition = "partition"
	orderingNone      = "none"
)

func consumerFields() []*service.ConfigField {
	return []*service.ConfigField{
		service.NewStringAnnotatedEnumField(fieldIsolation, map[string]string{
			"read_committed":   "Only records of committed transactions, and those outside of any.",
			"read_uncommitted": "All records, also those of transactions that are aborted later.",
		}).
			Description("Which records of transactions are read.").
			Default("read_committed").Example("read_uncommitted"),
		service.NewStringField(fieldRackID).
			Description("The rack of this process: records are fetched from the closest replica rather than from the leader, where the brokers offer that. Empty = from the leader.").
			Default("").Example("${RACK}").Advanced(),
		service.NewStringField(fieldFetchMaxBytes).
			Description("How much a broker sends at most in one fetch. A single larger batch of records is still sent. Kafka's `fetch.max.bytes`.").
			Default("50MiB").Example("100MiB").Advanced(),
		service.NewDurationField(fieldFetchMaxWait).
			Description("How long a broker waits for `fetch_min_bytes`. At least `10ms`. Kafka's `fetch.max.wait.ms`.").
			Default("5s").Example("500ms").Advanced(),
		service.NewStringField(fieldFetchMinBytes).
			Description("How much a broker has before it answers a fetch, unless `fetch_max_wait` is over. Kafka's `fetch.min.bytes`.").
			Default("1B").Example("64KiB").Advanced(),
		service.NewStringField(fieldFetchMaxPartitionBytes).
			Description("How much a broker sends at most of one partition in one fetch. A single larger batch of records is still sent. Kafka's `max.partition.fetch.bytes`.").
			Default("1MiB").Example("4MiB").Advanced(),
		service.NewDurationField(fieldLagPeriod).
			Description("How often the lag of each partition (`tidemark_lag`) is measured.").
			Default("5s").Example("30s").Advanced(),
	}
}

func messageFields() []*service.ConfigField {
	return []*service.ConfigField{
		service.NewStringAnnotatedEnumField(fieldOrdering, map[string]string{
			orderingPartition: "One batch of a partition is under way at a time, so records of a partition stay in order.",
			orderingNone:      "Several batches of a partition may be under way at a time.",
		}).
			Description("Whether records of a partition are delivered in order. Default: `partition`.").
			Example(orderingNone).Optional(),
		service.NewIntField(fieldMaxBatchRecords).
			Description("How many records a batch has at most. A batch never has records of two partitions.").
			Default(defaultMaxBatchRecords).Example(5000).Advanced(),
		service.NewStringListField(fieldMetadata).
			Description("Which metadata messages carry: any of `kafka_key`, `kafka_topic`, `kafka_partition`, `kafka_offset`, `kafka_timestamp_ms`, `kafka_timestamp_unix`, `kafka_tombstone_message`, `kafka_leader_epoch`, `kafka_timestamp_type`, and `headers` for the headers of the record; `all` of these; or `none`. Fewer are faster. A `kafka_checkpointed` output writes key, headers and timestamp of the source record in any case. Empty = all but `kafka_leader_epoch` and `kafka_timestamp_type`.").
			ShortDescription("Which metadata messages carry. Fewer are faster.").
			Default([]string{}).Example([]string{"kafka_key", "headers"}).Example([]string{"none"}),
		service.NewBoolField(fieldMultiHeader).
			Description("Whether the metadata of a header is the list of all its values. If not, it is the last one.").
			Default(false).Example(true).Advanced(),
		service.NewDurationField(fieldCommitPeriod).
			Description("With checkpoints off (`checkpoint.interval: 0s`): how often offsets of acknowledged records are committed to the group. `0s` = never. With checkpoints on it has no effect: every checkpoint commits. Default: `5s`.").
			Example("1s").Optional().Advanced(),
	}
}
