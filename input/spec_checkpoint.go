package input

import "github.com/redpanda-data/benthos/v4/public/service"

// The names of the fields below `checkpoint`.
const (
	fieldCheckpoint        = "checkpoint"
	fieldInterval          = "interval"
	fieldTimeout           = "timeout"
	fieldMinPause          = "min_pause"
	fieldTolerableFailures = "tolerable_failures"
	fieldStore             = "store"
	fieldDirectory         = "directory"
	fieldStoreTopic        = "topic"
	fieldStorePartitions   = "partitions"
	fieldLocalCopy         = "local_copy"
	fieldJob               = "job"
	fieldShutdownTimeout   = "shutdown_timeout"
	fieldCommitOffsets     = "commit_offsets"
	fieldRetain            = "retain"
	fieldRestoreFrom       = "restore_from"
	fieldRestart           = "restart"
	fieldInitialBackoff    = "initial_backoff"
	fieldMaxBackoff        = "max_backoff"
	fieldMultiplier        = "multiplier"
	fieldJitter            = "jitter"
	fieldResetAfter        = "reset_after"
	fieldMaxRestarts       = "max_restarts"
	fieldWindow            = "window"
	fieldCaches            = "caches"
	fieldSavepoints        = "savepoint_directory"
)

// checkpointField has no defaults that Benthos fills in: an input that sets
// nothing here takes what another input of the stream sets, so it must be known
// what is set.
func checkpointField() *service.ConfigField {
	return service.NewObjectField(fieldCheckpoint,
		service.NewDurationField(fieldInterval).
			Description("The time between the starts of two checkpoints. `0s` = no checkpoints: offsets of acknowledged records are committed every `commit_period`, and the output delivers before it acknowledges. Default: `1s`, or `0s` without `consumer_group` and `store`.").
			Example("10s").Optional(),
		service.NewDurationField(fieldTimeout).
			Description("How long a checkpoint may take before it counts as failed. Default: `30s`.").
			Example("1m").Optional(),
		service.NewDurationField(fieldMinPause).
			Description("The time at least between the end of a checkpoint and the start of the next. Default: `0s`, none.").
			Example("500ms").Optional().Advanced(),
		service.NewIntField(fieldTolerableFailures).
			Description("How many checkpoints in a row may fail before the stream goes back to the last one. Default: -1, any number.").
			Example(3).Optional().Advanced(),
		service.NewObjectField(fieldStore,
			service.NewStringField(fieldDirectory).
				Description("A folder that keeps checkpoints, with the state of operators. One process at a time can use it, so the assignment is static. Without it the offsets that the group has committed are the checkpoint.").
				Example("./checkpoints").Optional(),
			service.NewStringField(fieldStoreTopic).
				Description("A compacted topic that keeps checkpoints, with the state of operators, for any number of processes: state moves along with its partition. It lies on the cluster of an output with `delivery: exactly_once`, else on this input's, and is created if it is not there. Several jobs can share it. It is written in transactions, so the processes need rights on transactional ids.").
				Example("enrich-checkpoints").Optional(),
			service.NewIntField(fieldStorePartitions).
				Description("How many partitions the `topic` is created with. It must never be changed afterwards. Default: 16.").
				Example(48).Optional().Advanced(),
			service.NewStringField(fieldLocalCopy).
				Description("A folder for this process's copy of the state that is in the `topic`, for state that is larger than memory. It is emptied at the start. Unset: memory.").
				Example("/var/cache/enrich").Optional().Advanced(),
		).Description("Where checkpoints are kept.").Optional(),
		service.NewStringField(fieldJob).
			Description("The name of the job: it marks the checkpoint as its own. Change it and the job starts afresh. At most 249 bytes. Default: the `consumer_group`, else the stream's id, else, with a store, the one in the store.").
			Example("enrich-orders").Optional().Advanced(),
		service.NewDurationField(fieldShutdownTimeout).
			Description("How long the final checkpoint may take when the stream stops. At most three quarters of the service's `shutdown_timeout`. Default: `10s`.").
			Example("15s").Optional().Advanced(),
		service.NewBoolField(fieldCommitOffsets).
			Description("Whether offsets are committed to the `consumer_group`. Without a store they are the checkpoint, so they have to be. Default: `true` with a `consumer_group`.").
			Example(false).Optional().Advanced(),
		service.NewIntField(fieldRetain).
			Description("How many checkpoints the store keeps for `restore_from`. Default: 1.").
			Example(5).Optional().Advanced(),
		service.NewIntField(fieldRestoreFrom).
			Description("The number of a checkpoint in the store to start from. Unset or 0 = the last one.").
			Example(17).Optional().Advanced(),
		service.NewStringListField(fieldCaches).
			Description("Labels of `checkpointed` caches among the resources that belong to this stream. Needed in streams mode only, where a cache cannot tell whose it is.").
			Example([]string{"seen"}).Optional().Advanced(),
		service.NewStringField(fieldSavepoints).
			Description("A folder that takes savepoints of the running stream, which are taken on request. It is made if it is not there. Default: unset, requests are refused.").
			Example("./savepoints").Optional().Advanced(),
		restartField(),
	).Description("When checkpoints are taken and where they are kept. Several inputs of a stream share its checkpoints and must agree; one that sets nothing takes what another sets.").
		Optional()
}

func restartField() *service.ConfigField {
	return service.NewObjectField(fieldRestart,
		service.NewDurationField(fieldInitialBackoff).
			Description("The pause before the first restart. Default: `1s`.").Example("5s").Optional(),
		service.NewDurationField(fieldMaxBackoff).
			Description("The longest pause. Default: `1m`.").Example("5m").Optional(),
		service.NewFloatField(fieldMultiplier).
			Description("How much longer each pause is than the one before. At least 1. Default: 2.").Example(1.5).Optional(),
		service.NewFloatField(fieldJitter).
			Description("The share of a pause that is random, from 0 to 1. Default: 0.1.").Example(0.2).Optional(),
		service.NewDurationField(fieldResetAfter).
			Description("How long the stream has to run without a restart for the pause to be `initial_backoff` again. Default: `max_backoff`.").Example("10m").Optional(),
		service.NewIntField(fieldMaxRestarts).
			Description("How many restarts within `window` end the stream for good. Default: 0, no limit.").Example(10).Optional(),
		service.NewDurationField(fieldWindow).
			Description("The time in which `max_restarts` counts. Default: `10m`.").Example("1h").Optional(),
	).Description("How the stream goes back to its last checkpoint when something cannot be delivered.").
		Optional().Advanced()
}
