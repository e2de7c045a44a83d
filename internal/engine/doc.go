// Package engine runs the coordinator of a Benthos stream: it drives the pure
// state machines of package checkpoint with goroutines and timers, finds the
// coordinator that belongs to a component's resources, and reports what happens
// through the stream's logger and metrics.
//
// Adapters call For in their constructor and join:
//
//	coord := engine.For(res)
//	handle, err := coord.JoinSource(name, src, conf)
//
// Nothing here may be called with a lock held that a participant's methods take.
package engine
