// Package processor has the processors watermark_periodic and watermark_punctuated, which
// assign event times to messages and derive from them how far event time has come in the
// partition that they were read from.
//
// They belong under the processors of the input, where the records of a partition pass in
// order:
//
//	ProcessBatch → walk.turn (the partition's lock) → TimestampAssigner or mapping
//	  → partition.begin / pass.observe (the generator) → metadata
//	  → Entry.Advance (the checkpoint), Assigner.Advance (idleness, alignment)
//
// The instances in the threads of a pipeline share their partitions. A batch that comes
// again passes a generator of its own, from where its partition was before the batch, so
// that its records are as late as they were.
//
// A custom build adds timestamp assigners and watermark generators of its own with
// RegisterTimestampAssigner, RegisterGenerator and RegisterPunctuatedGenerator, from an
// init function.
package processor
