// Package input provides kafka_checkpointed, a Benthos input that reads Kafka and
// commits its offsets with the checkpoints of its stream.
//
// The way of a record through it:
//
//	poll → dispatch → lane.accept → lane.take → ReadBatch → pipeline → acknowledge
//
// One goroutine polls the client and dispatches what it gets to lanes, one lane
// per assigned partition; Benthos's own goroutine takes batches from the lanes.
// Callbacks of the client (assign, revoke, lose) run while no poll holds records,
// because the client blocks rebalances from a poll's return to the end of its
// dispatch.
//
// Lock order: source.assignMu, then source.mu. The checkpoint handle is never
// called with mu held.
package input
