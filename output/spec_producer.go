package output

import "github.com/redpanda-data/benthos/v4/public/service"

// The names of the fields that tune the producer.
const (
	fieldPartitioner            = "partitioner"
	fieldWriterIndex            = "writer_index"
	fieldIdempotentWrite        = "idempotent_write"
	fieldAcks                   = "acks"
	fieldCompression            = "compression"
	fieldAllowAutoTopicCreation = "allow_auto_topic_creation"
	fieldTimeout                = "timeout"
	fieldMaxMessageBytes        = "max_message_bytes"
	fieldBrokerWriteMaxBytes    = "broker_write_max_bytes"
	fieldMaxBufferedRecords     = "max_buffered_records"
	fieldMaxBufferedBytes       = "max_buffered_bytes"
	fieldMaxInFlightRequests    = "max_in_flight_requests"
	fieldRecordRetries          = "record_retries"
	fieldRecordDeliveryTimeout  = "record_delivery_timeout"
	fieldLinger                 = "linger"
)

func producerFields() []*service.ConfigField {
	return []*service.ConfigField{
		service.NewStringField(fieldPartitioner).
			Description("What chooses the partition. Unset or `murmur2_hash`: the hash of the key, as all Kafka clients do it; records without a key stay on one partition until a batch is full. `sticky`: the latter for all records, whatever their key. `round_robin`: each record to the next partition. `least_backup`: the partition with the fewest records waiting. `fixed`: the partition that is `writer_index` modulo the number of partitions. `manual`: the field `partition`. A name with a dot is a partitioner that this build has registered.").
			Example("round_robin").Advanced().Optional(),
		service.NewIntField(fieldWriterIndex).
			Description("The number of this writer among several, from 0. Needs `partitioner: fixed`, which writes to the partition that is this number modulo the number of partitions. Unset: 0.").
			Example(3).Advanced().Optional(),
		service.NewBoolField(fieldIdempotentWrite).
			Description("Whether brokers recognise records that the client sends again after a lost answer, so that a retry neither repeats nor reorders records. Needs the permission `IDEMPOTENT_WRITE` on the cluster with brokers before 2.8.").
			Default(true).Example(false).Advanced(),
		service.NewStringAnnotatedEnumField(fieldAcks, map[string]string{
			acksAll:    "All in-sync replicas have the records. Required by `idempotent_write`.",
			acksLeader: "The leader has the records; they are lost if it dies before others have them.",
			acksNone:   "Nobody answers: records count as delivered when they were sent.",
		}).
			Description("Who must have a record for it to be delivered.").
			Default(acksAll).Example(acksLeader).Advanced(),
		service.NewStringEnumField(fieldCompression, "lz4", "snappy", "gzip", "none", "zstd").
			Description("How record batches are compressed. Unset: `snappy`, if the brokers know it.").
			Example("zstd").Optional().Advanced(),
		service.NewBoolField(fieldAllowAutoTopicCreation).
			Description("Whether brokers may create a topic that does not exist. Unset: a literal `topic` may be created, one that an expression chooses may not; records for it are rejected.").
			Example(false).Optional().Advanced(),
		service.NewDurationField(fieldTimeout).
			Description("How long a broker may take to have its replicas confirm a produce request, before the client sends it again. At least `100ms`.").
			Default("10s").Example("30s").Advanced(),
		service.NewStringField(fieldMaxMessageBytes).
			Description("The largest record batch, in bytes; a record that does not fit is rejected. Must not exceed the topic's `max.message.bytes`.").
			Default("1MiB").Example("100MB").Advanced(),
		service.NewStringField(fieldBrokerWriteMaxBytes).
			Description("The most bytes to send to a broker at once; Kafka's `socket.request.max.bytes` is its limit.").
			Default("100MiB").Example("50MiB").Advanced(),
		service.NewIntField(fieldMaxBufferedRecords).
			Description("How many records may wait for the brokers before the stream is held back.").
			Default(10000).Example(100000).Advanced(),
		service.NewStringField(fieldMaxBufferedBytes).
			Description("How many bytes of keys, values and headers may wait for the brokers before the stream is held back. `0` = no limit but `max_buffered_records`.").
			Default("0").Example("256MB").Advanced(),
		service.NewIntField(fieldMaxInFlightRequests).
			Description("How many produce requests are sent to a broker without waiting for its answer. More than 1 needs `idempotent_write: false`, and can change the order of records when a request is sent again.").
			Default(1).Example(5).Advanced(),
		service.NewIntField(fieldRecordRetries).
			Description("How often a record is sent again before it counts as undeliverable. 0 = any number of times: an outage of the brokers holds the stream back, and it goes on when they are back.").
			Default(0).Example(10).Advanced(),
		service.NewDurationField(fieldRecordDeliveryTimeout).
			Description("How long a record may wait for the brokers before it counts as undeliverable, from when it was handed to the client, whatever its timestamp. At least `1s`. `0s` = for ever.").
			Default("0s").Example("2m").Advanced(),
		service.NewDurationField(fieldLinger).
			Description("How long a record may wait for others to fill its batch, when nobody waits for it. From `0s` to `1m`.").
			Default("10ms").Example("0s").Advanced(),
	}
}
