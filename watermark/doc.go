// Package watermark derives from the event times of records how far event time has
// come: for one partition (Generator), and for all that are read together (Merger,
// Tracker).
//
// A watermark W says that every record with an event time below W is expected to have
// come. A record below the watermark of its own partition is late.
//
// The smallest use, for two partitions of which records are up to five seconds out of
// order:
//
//	t := watermark.NewTracker[int]()
//	t.Add(map[int]watermark.Progress{0: watermark.Start, 1: watermark.Start}, watermark.Rules{IdleAfter: time.Minute})
//	g := watermark.BoundedOutOfOrderness(5 * time.Second) // one for each partition
//	g.Observe(eventTime)
//	t.Advance(0, g.Watermark())
//	t.Merged().Now() // as far as the slowest of them
//
// The duties of a caller: (1) add partitions before a record of them may be read, with
// what the last checkpoint says of them, so that they hold the others back; (2) observe its
// records in the order of their offsets; (3) say for how long it has had nothing to read,
// because only then it may become idle; (4) call Decide from time to time: nothing becomes
// idle by itself; (5) remove it when somebody else reads it.
//
// The package imports nothing but the standard library, starts no goroutine and reads
// no clock. Nothing in it is safe for concurrent use. The ideas are Flink's (watermark
// strategies FLIP-126, per split FLIP-27, alignment FLIP-182 and 217, its
// StatusWatermarkValve), and go back to Akidau et al., "The Dataflow Model", VLDB 2015.
package watermark
