package buffer

import "github.com/redpanda-data/benthos/v4/public/service"

// Name is what the component is called in a configuration.
const Name = "event_time_window"

// The names of the fields.
const (
	fieldType      = "type"
	fieldSize      = "size"
	fieldSlide     = "slide"
	fieldGap       = "gap"
	fieldOffset    = "offset"
	fieldKey       = "key"
	fieldLateness  = "allowed_lateness"
	fieldLate      = "late"
	fieldScope     = "scope"
	fieldMaxKeys   = "max_keys_in_memory"
	fieldAggregate = "aggregate"
)

// What becomes of late messages, and whose windows a key's are.
const (
	lateEmit       = "emit"
	lateDrop       = "drop"
	scopePartition = "partition"
	scopeProcess   = "process"
)

const description = `
Event times and watermarks come from ` + "`watermark_periodic` or `watermark_punctuated`" + ` under the processors of the input. A window fires when every record below its end is expected to have come. What is in open windows is part of the checkpoint of the stream, which needs a store: after a crash nothing is missing and nothing is counted twice. At a shutdown open windows are kept, neither fired nor lost; at the end of a bounded run all of them fire.

Without ` + "`aggregate`" + ` the messages of a window leave as one batch, as those of ` + "`system_window`" + ` do, so that ` + "`archive`, `group_by_value`" + ` and the like work on it. They are as they came in: with their metadata and event times, and the key, headers and timestamp of their records. With ` + "`aggregate`" + ` only running results are kept, and one JSON object leaves for each window and key; its event time is the last millisecond of the window, and its key that of the window.

### Late messages

A message is late if all windows that it belongs to are over, by ` + "`allowed_lateness`" + ` or more. Until then a window that has fired fires again, whole, with each late message. Later ones leave as batches of their own with the metadata ` + "`late: true`" + `, or are dropped; either way they are counted as ` + "`tidemark_late_records`" + `.

### Whose windows

With ` + "`scope: partition`" + ` each partition has windows of its own, so a key must live in one partition, as it does where the producer partitions by it; the windows move along with their partition. With ` + "`scope: process`" + ` a key may be in any partition, but the process has to read all of them. To group by something else than what a topic is partitioned by, and in several processes, copy it first to a topic that is.

### Failed messages

A message without an event time, with a mapping that fails, or with a value that cannot be added is in no window: it leaves as a batch of its own, marked as failed, so that ` + "`catch`, `switch` or `reject_errored`" + ` deal with it. So do messages of other inputs, which a crash would take out of their windows.

### Metadata

- window_start_ms and window_end_ms: the window's times, in milliseconds since 1970 UTC, the end exclusive
- window_key: the key, if ` + "`key`" + ` is set
- window_again: true if the window has fired before and this replaces that result
- event_time_ms: of a result, the window's end minus one
- kafka_key: of a result, the key; it is the key of the record that the output writes
- kafka_topic and kafka_partition: of a result with ` + "`scope: partition`" + `, whose it is

Results of one key leave in the order of their windows, also with several threads.`

func spec() *service.ConfigSpec {
	return service.NewConfigSpec().
		Beta().
		Categories("Windowing").
		Summary("Groups messages by event time into tumbling, sliding or session windows, whose contents are part of the checkpoints of the stream.").
		Description(description).
		Fields(
			service.NewStringAnnotatedEnumField(fieldType, map[string]string{
				"tumbling": "Windows of `size` that follow each other.",
				"sliding":  "Windows of `size`, of which one begins with every `slide`.",
				"session":  "Windows that last as long as records of a key follow each other within `gap`.",
			}).Description("How windows follow each other."),
			optionalDuration(fieldSize, "The length of tumbling and sliding windows.").Example("10s"),
			optionalDuration(fieldSlide, "How often a sliding window begins; at most `size`.").Example("1s"),
			optionalDuration(fieldGap, "How long nothing comes before a session is over.").Example("30m"),
			service.NewDurationField(fieldOffset).
				Description("Moves tumbling and sliding windows, which otherwise begin at whole multiples of their size since 1970 UTC. `-8h` gives windows of a day that begin at midnight in UTC+8.").
				Default("0s"),
			service.NewBloblangField(fieldKey).
				Description("A mapping that returns what messages are grouped by. Unset: all are in one group. A plain path is read without parsing the whole document.").
				Example("this.user").Example("@kafka_key").Optional(),
			service.NewDurationField(fieldLateness).
				Description("How long a window is kept after it has fired, in event time.").
				Default("0s"),
			service.NewStringEnumField(fieldLate, lateEmit, lateDrop).
				Description("What becomes of messages that are too late for `allowed_lateness`.").
				Default(lateEmit),
			service.NewStringEnumField(fieldScope, scopePartition, scopeProcess).
				Description("Whether a key lives in one partition, or in any of them. Unset: `process` if this process reads all partitions (static assignment, no shard, no named partitions), else `partition`.").
				Optional(),
			service.NewIntField(fieldMaxKeys).
				Description("How many keys of a scope stay in memory between checkpoints; the others are read from the store when they are needed. `0` = all.").
				Default(100000).Advanced(),
			service.NewObjectMapField(fieldAggregate, aggregateFields()...).
				Description("What is computed of a window, by name. Unset: the messages themselves are kept.").
				Example(map[string]any{"n": map[string]any{"count": map[string]any{}}, "total": map[string]any{"sum": "this.amount"}}).
				Optional(),
		).
		LintRule(lintRule).
		Example("Counts and sums", "What each user spends in ten seconds.", exampleCounts).
		Example("Sessions", "All clicks of a visit as one message.", exampleSessions)
}

func optionalDuration(name, description string) *service.ConfigField {
	return service.NewDurationField(name).Description(description).Optional()
}

func aggregateFields() []*service.ConfigField {
	value := func(name, description string) *service.ConfigField {
		return service.NewBloblangField(name).Description(description).Example("this.amount").Optional()
	}
	mapping := func(name, description, example string) *service.ConfigField {
		return service.NewBloblangField(name).Description(description).Example(example)
	}
	return []*service.ConfigField{
		service.NewObjectField("count").Description("The number of messages. It has no fields: `count: {}`.").Optional(),
		value("sum", "The sum of a value. Whole numbers are added exactly as long as they fit into 64 bits."),
		value("min", "The lowest number."),
		value("max", "The highest number."),
		value("avg", "The mean."),
		value("first", "The value with the lowest event time; of several the one that came first."),
		value("last", "The value with the highest event time; of several the one that came last."),
		service.NewObjectField("fold",
			mapping("init", "The state of an empty window.", "root = []"),
			mapping("add", "The state with a message added: `this.state` is the state before, `this.message` the message's content.", "root = this.state.append(this.message.page)"),
			mapping("merge", "The state of two sessions that became one, `this.first` and `this.second`. Needed for sessions only.", "root = this.first.concat(this.second)").Optional(),
			mapping("emit", "What is emitted of `this.state`. Unset: the state itself.", "root = this.state.length()").Optional(),
		).Description("A state that mappings compute.").Optional(),
	}
}

const exampleCounts = `
input:
  kafka_checkpointed:
    seed_brokers: [ "localhost:9092" ]
    topics: [ payments ]
    checkpoint:
      store:
        directory: ./checkpoints
  processors:
    - watermark_periodic:
        timestamp: this.at_ms
        max_out_of_orderness: 2s

buffer:
  event_time_window:
    type: tumbling
    size: 10s
    key: this.user
    aggregate:
      payments: { count: {} }
      spent: { sum: this.amount }

output:
  kafka_checkpointed:
    seed_brokers: [ "localhost:9092" ]
    topic: spending
`

const exampleSessions = `
input:
  kafka_checkpointed:
    seed_brokers: [ "localhost:9092" ]
    topics: [ clicks ]
    checkpoint:
      store:
        directory: ./checkpoints
  processors:
    - watermark_periodic:
        timestamp: this.at_ms
        max_out_of_orderness: 5s

buffer:
  event_time_window:
    type: session
    gap: 30m
    key: this.visitor
    late: drop

pipeline:
  processors:
    # What failed is in no window, and leaves by itself.
    - switch:
        - check: '@window_start_ms != null'
          processors:
            - archive: { format: json_array }

output:
  kafka_checkpointed:
    seed_brokers: [ "localhost:9092" ]
    topic: visits
    key: ${! @window_key }
`

const lintRule = `
let sized = this.type == "tumbling" || this.type == "sliding"
let known = $sized || this.type == "session"
root = [
  if $sized && this.size == null { "size is not set, and type %v needs it".format(this.type) },
  if this.type == "session" && this.size != null { "size has no meaning for type session: remove it, or set gap" },
  if this.type == "sliding" && this.slide == null { "slide is not set, and type sliding needs it" },
  if $known && this.type != "sliding" && this.slide != null { "slide has no meaning for type %v: remove it".format(this.type) },
  if this.type == "session" && this.gap == null { "gap is not set, and type session needs it" },
  if $sized && this.gap != null { "gap has no meaning for type %v: remove it".format(this.type) },
  if this.allowed_lateness.or("0s").string().has_prefix("-") { "allowed_lateness is negative: set it to 0s or more" },
  if this.max_keys_in_memory.or(0).number() < 0 { "max_keys_in_memory is %v: set it to 1 or more, or to 0 for no limit".format(this.max_keys_in_memory) }
]`
