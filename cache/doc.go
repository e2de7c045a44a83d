// Package cache has the cache checkpointed, whose contents are part of the checkpoints of
// the stream that uses it.
//
// It keeps nothing in memory: what is set goes into the state of the coordinator, where it
// counts from the next cut on and is undone by a rewind, together with the positions of
// the input. So whatever a processor has noted about a record is there exactly if the
// record counts as processed.
//
// Entries with a time to live have a timer beside them. Each change takes a few timers
// that are due, so that no cut has to wait for many.
package cache
