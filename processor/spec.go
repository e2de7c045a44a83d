package processor

import (
	"slices"

	"github.com/redpanda-data/benthos/v4/public/service"
)

// The names of the components in a configuration.
const (
	NamePeriodic   = "watermark_periodic"
	NamePunctuated = "watermark_punctuated"
)

// The names of the fields.
const (
	fieldTimestamp    = "timestamp"
	fieldAssigner     = "timestamp_assigner"
	fieldWatermark    = "watermark"
	fieldGenerator    = "generator"
	fieldDisorder     = "max_out_of_orderness"
	fieldInterval     = "interval"
	fieldIdle         = "idle_timeout"
	fieldDrift        = "max_drift"
	fieldBadTimestamp = "on_bad_timestamp"
	fieldMetadata     = "metadata"
)

// What becomes of a message without a timestamp.
const (
	badFail = "fail"
	badSkip = "skip"
)

const descriptionOfBoth = `

A watermark W says that all records with an event time below W are expected to have come. Each Kafka partition has its own; event time in the stream is the lowest of those that are neither idle nor read to their end. Watermarks are part of checkpoints: what was late before a restart is late after it.

### Where to put it

Under the ` + "`processors`" + ` of the input, where the records of a partition pass in order. In ` + "`pipeline`" + ` it works too, also with several threads, as long as nothing in front of it mixes records of different batches; but the buffer ` + "`event_time_window`" + ` comes before that, and needs event times. With an input other than ` + "`kafka_checkpointed`" + ` messages get event times and watermarks by the metadata ` + "`kafka_topic` and `kafka_partition`" + `, or as one partition where that is missing; idle partitions and drift are not looked after there.

### Metadata

- event_time_ms: the event time, in milliseconds since 1970 UTC
- watermark_ms: the watermark of the partition, this record included; not set while there is none
- late: whether the event time is below the watermark in front of the record

The output ` + "`kafka_checkpointed`" + ` uses the event time as the timestamp of what it writes, unless told otherwise.

### Metrics

` + "`tidemark_watermark_ms` and `tidemark_watermark_lag_ms`" + ` for each topic and partition, ` + "`tidemark_partitions_idle`, `tidemark_late_records` and `tidemark_bad_records`" + `.`

func commonFields() []*service.ConfigField {
	return []*service.ConfigField{
		service.NewBloblangField(fieldTimestamp).
			Description("A mapping that returns the event time of a message: a timestamp, a number of milliseconds since 1970 UTC, or text as RFC 3339 has it. Unset: the timestamp of the Kafka record. A plain path, also multiplied or divided by a number, is read without parsing the whole document.").
			Example("this.created_ms").
			Example("this.created * 1000").
			Example(`this.created.ts_strptime("%Y-%m-%d %H:%M:%S")`).
			Optional(),
		service.NewStringField(fieldAssigner).
			Description("Instead of `timestamp`, the name of a timestamp assigner that a custom build has registered.").
			Example("acme.created").
			Default("").
			Advanced(),
		duration(fieldIdle, "A partition that has been read to its end, and has had nothing more for so long, does not hold the others back any more, until it has. `0s` = never. It is never idle while it has more to read, while it is held back by `max_drift`, or while its broker does not answer.", "1m"),
		duration(fieldDrift, "How far a partition may be ahead of the slowest one, in event time, before it is not read on until the slowest has caught up. Looked at once an `interval`, so it comes further by what is read in that time. That keeps what is in open windows small when partitions are read at different speeds; it counts across all inputs of a stream. `0s` = any distance.", "0s"),
		duration(fieldInterval, "How often idle partitions and those that are too far ahead are looked for, and how soon windows learn what moves without records.", "200ms").
			Advanced(),
		service.NewStringEnumField(fieldBadTimestamp, badFail, badSkip).
			Description("What becomes of a message whose event time cannot be had: `fail` marks it as failed, so that `catch`, `switch` or `reject_errored` deal with it, and lets it go on; `skip` drops it. Either way it is counted as `tidemark_bad_records`.").
			Default(badFail),
		service.NewStringListField(fieldMetadata).
			Description("Which metadata messages carry: any of `event_time_ms`, `watermark_ms` and `late`; or `none`. Empty = all. Fewer are faster. The buffer `event_time_window` and the output `kafka_checkpointed` know the event time of a message in any case; only mappings need it in metadata.").
			LintRule(`root = if this.type() == "array" && this.length() > 1 && this.contains("none") {
  "metadata: none is not alone: use any of event_time_ms, watermark_ms, late, or none"
} else if this.type() == "string" && !["event_time_ms", "watermark_ms", "late", "none"].contains(this) {
  "metadata: %v is not metadata of this processor: use any of event_time_ms, watermark_ms, late, or none alone".format(this)
}`).
			Default([]string{}).
			Example([]string{"none"}).
			Advanced(),
	}
}

func duration(name, description, otherwise string) *service.ConfigField {
	return service.NewDurationField(name).Description(description).Default(otherwise).
		LintRule(`root = if this.string().has_prefix("-") { "` + name + ` is negative: set it to 0s or more" }`)
}

func specPeriodic() *service.ConfigSpec {
	return spec("Assigns event times to messages, and follows how far event time has come by the highest one so far.",
		duration(fieldDisorder, "How far a record may come behind a later one of the same partition, in event time, without being late. `0s` = event times never decrease.", "0s"),
		service.NewStringField(fieldGenerator).
			Description("Instead of `max_out_of_orderness`, the name of a watermark generator that a custom build has registered.").
			Example("acme.histogram").
			Default("").
			Advanced(),
	).
		LintRule(lintAssigner+`, if this.generator.or("") != "" && !this.max_out_of_orderness.or("0s").string().re_match("^0+[a-zµ]*$") {
    "generator and max_out_of_orderness are both set: remove one of them"
  }]`).
		Example("Windows of ten seconds", "Orders come at most two seconds out of order; a partition that is empty for half a minute holds nobody back.", `
input:
  kafka_checkpointed:
    seed_brokers: [ "localhost:9092" ]
    topics: [ orders ]
    checkpoint:
      store:
        directory: ./checkpoints
  processors:
    - watermark_periodic:
        timestamp: this.created_ms
        max_out_of_orderness: 2s
        idle_timeout: 30s
`)
}

func specPunctuated() *service.ConfigSpec {
	return spec("Assigns event times to messages, and follows how far event time has come by what records say about it.",
		service.NewBloblangField(fieldWatermark).
			Description("A mapping that returns the watermark that a message carries, in the forms that `timestamp` has; null or nothing if it carries none. It counts for the messages that follow.").
			Example("this.complete_up_to_ms").
			Example("if this.type == \"heartbeat\" { this.at_ms }").
			Optional(),
		service.NewStringField(fieldGenerator).
			Description("Instead of `watermark`, the name of a punctuated watermark generator that a custom build has registered.").
			Example("acme.heartbeats").
			Default("").
			Advanced(),
	).
		LintRule(lintAssigner+`, if (this.generator.or("") == "") == (this.watermark.or("") == "") {
    "set one of watermark and generator"
  }]`).
		Example("Heartbeats", "A producer says from time to time that everything up to a time was sent.", `
input:
  kafka_checkpointed:
    seed_brokers: [ "localhost:9092" ]
    topics: [ readings ]
    consumer_group: readings
  processors:
    - watermark_punctuated:
        timestamp: this.at_ms
        watermark: this.complete_up_to_ms
`)
}

const lintAssigner = `root = [
  if this.timestamp_assigner.or("") != "" && this.timestamp.or("") != "" {
    "timestamp and timestamp_assigner are both set: remove one of them"
  }`

func spec(summary string, own ...*service.ConfigField) *service.ConfigSpec {
	return service.NewConfigSpec().
		Beta().
		Categories("Utility").
		Summary(summary).
		Description(descriptionOfBoth).
		Fields(slices.Concat(commonFields(), own)...)
}
