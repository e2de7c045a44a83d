package input

import "github.com/redpanda-data/benthos/v4/public/service"

// The names of the fields that say where reading starts and stops.
const (
	fieldStartFrom      = "start_from"
	fieldStartTimestamp = "start_timestamp"
	fieldStartOffsets   = "start_offsets"
	fieldOffsetReset    = "offset_reset"
	fieldStopAt         = "stop_at"
	fieldStopTimestamp  = "stop_timestamp"
	fieldStopOffsets    = "stop_offsets"
)

func positionFields() []*service.ConfigField {
	offsets := map[string]any{"orders": map[string]any{"0": 100, "1": 250}}
	return []*service.ConfigField{
		service.NewStringAnnotatedEnumField(fieldStartFrom, map[string]string{
			"group_offsets": "What the consumer group has committed, `offset_reset` where it has nothing.",
			"earliest":      "The first record that there is.",
			"latest":        "The end: only records that come later. With `read_committed` the last stable offset.",
			"timestamp":     "The first record at or after `start_timestamp`, the end if there is none.",
			"offsets":       "The numbers in `start_offsets`, group offsets for partitions that are not listed.",
		}).
			Description("Where the first run starts. Once the job has taken a checkpoint, that is where it goes on, and this field only counts for partitions that the checkpoint does not hold; with checkpoints off, where the job's commits to the group are. Default: `group_offsets`, or `earliest` without a `consumer_group`.").
			ShortDescription("Where the first run starts; later runs go on from the last checkpoint.").
			Example("latest").Optional(),
		service.NewStringField(fieldStartTimestamp).
			Description("Where `start_from: timestamp` starts: RFC 3339, or milliseconds since 1970.").
			Example("2026-01-31T12:00:00Z").Example("1769860800000").Optional(),
		service.NewAnyMapField(fieldStartOffsets).
			Description("Where `start_from: offsets` starts: offsets by topic and partition.").
			Example(offsets).Optional(),
		service.NewStringAnnotatedEnumField(fieldOffsetReset, map[string]string{
			"earliest": "The first record that there is.",
			"latest":   "The end.",
			"none":     "It is an error that names the partition, and the stream does not run.",
		}).
			Description("Where a partition starts that has no group offset, and where one goes on whose position its log does not hold any more. Default: `earliest`.").
			Example("none").Optional(),
		service.NewStringAnnotatedEnumField(fieldStopAt, map[string]string{
			"latest":        "The end as it is when the run starts. With `read_committed` the last stable offset.",
			"group_offsets": "What the consumer group has committed when the run starts.",
			"timestamp":     "The first record at or after `stop_timestamp`, which is not read, or the end as it is when the run starts.",
			"offsets":       "The numbers in `stop_offsets`, whose records are not read.",
		}).
			Description("Makes the run a bounded one: it reads every partition up to there, takes a final checkpoint and ends. The numbers are found once and hold for a run that is interrupted and started again. Unset = the run does not end.").
			ShortDescription("Makes the run end by itself, and says where.").
			Example("latest").Optional(),
		service.NewStringField(fieldStopTimestamp).
			Description("Where `stop_at: timestamp` ends: RFC 3339, or milliseconds since 1970.").
			Example("2026-02-01T00:00:00Z").Optional(),
		service.NewAnyMapField(fieldStopOffsets).
			Description("Where `stop_at: offsets` ends: offsets by topic and partition. Every partition that is read must be listed.").
			Example(offsets).Optional(),
	}
}
