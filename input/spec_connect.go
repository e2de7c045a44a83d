package input

import "github.com/redpanda-data/benthos/v4/public/service"

// The names of fields of Redpanda Connect's inputs that are something else here.
const (
	fieldStartOffset       = "start_offset"
	fieldStartFromOldest   = "start_from_oldest"
	fieldCheckpointLimit   = "checkpoint_limit"
	fieldBatching          = "batching"
	fieldPartitionBuffer   = "partition_buffer_bytes"
	fieldMaxYieldBytes     = "max_yield_batch_bytes"
	fieldUnordered         = "unordered_processing"
	fieldUnorderedEnabled  = "enabled"
	fieldUnorderedLimit    = "checkpoint_limit"
	fieldUnorderedBatching = "batching"
)

// connectFields are accepted so that a configuration of Redpanda Connect can be
// taken over by a change of the component's name. They have no defaults, so that
// a contradiction between one of them and what replaces it is seen.
func connectFields() []*service.ConfigField {
	batching := "`count` becomes `max_batch_records`. `byte_size` and `period` have no effect: a batch is what was fetched, without a wait for more. `check` and `processors` are refused: put processors under `input.processors`."
	limit := "No effect: with `ordering: partition` one batch of a partition is under way; with `ordering: none` the threads of the pipeline and `max_in_flight` of the output are the limit."
	return []*service.ConfigField{
		service.NewStringEnumField(fieldStartOffset, "earliest", "latest", "committed").
			Description("Use `start_from` and `offset_reset` instead. With a group or a store, `earliest`, `latest` and `committed` are `start_from: group_offsets` with `offset_reset` `earliest`, `latest` and `none`; without, `earliest` and `latest` are `start_from`.").
			Example("latest").Optional().Deprecated(),
		service.NewBoolField(fieldStartFromOldest).
			Description("Use `offset_reset` instead: `true` is `earliest`, `false` is `latest`.").
			Example(true).Optional().Deprecated(),
		service.NewIntField(fieldCheckpointLimit).
			Description(limit).Example(1024).Optional().Deprecated(),
		service.NewBatchPolicyField(fieldBatching).
			Description(batching).Optional().Deprecated(),
		service.NewStringField(fieldPartitionBuffer).
			Description("No effect: records are buffered as they were fetched, see `fetch_max_partition_bytes`.").
			Example("1MB").Optional().Deprecated(),
		service.NewStringField(fieldMaxYieldBytes).
			Description("No effect: `max_batch_records` bounds a batch.").
			Example("32KB").Optional().Deprecated(),
		service.NewObjectField(fieldUnordered,
			service.NewBoolField(fieldUnorderedEnabled).
				Description("Use `ordering` instead: `true` is `none`, `false` is `partition`.").
				Example(true).Optional(),
			service.NewIntField(fieldUnorderedLimit).
				Description(limit).Example(1024).Optional(),
			service.NewBatchPolicyField(fieldUnorderedBatching).
				Description(batching).Optional(),
		).
			Description("Use `ordering` instead.").Optional().Deprecated(),
	}
}
