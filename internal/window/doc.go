// Package window groups records by event time: tumbling, sliding and session windows, by
// key, with the records themselves or with running aggregates of them.
//
// A Windows is one scope's windows: those of a partition, or of the process. What it
// holds is in memory and in a Space, and after Freeze all of it is in the Space:
//
//	w, err := window.Open(conf, space)
//	late, err := w.Add(key, record)             // for each record
//	more, err := w.Advance(watermark, emit)     // fires what is complete
//	err = w.Freeze()                            // in a cut
//
// The duties of a caller: (1) add the records that a watermark is about before it
// advances to that watermark; (2) after a rewind open anew: what is in memory is wrong.
//
// A window that ends at E fires when the watermark is at E, because then every record
// below E is expected to have come. It is kept for the allowed lateness after that, and
// fires again, whole, with the records that come meanwhile. A record is late if every
// window that it belongs to is gone.
//
// The package starts no goroutine and reads no clock. Nothing in it is safe for
// concurrent use. The rules are those of Flink's WindowOperator and
// EventTimeSessionWindows.
package window
