package checkpoint

import (
	"fmt"
	"time"
)

// Op is something to do.
type Op uint8

// What a Machine asks for. Each comment names the answer it waits for, if any.
const (
	// Align: let nothing enter the ledger; Aligned when it is empty.
	Align Op = iota + 1
	// Unalign: let batches enter again.
	Unalign
	// Cut: take positions, freeze state, rotate sinks, under one lock; CutTaken.
	Cut
	// Flush: make everything up to the cut durable; Flushed. CancelFlush ends it.
	Flush
	CancelFlush
	// Persist: hand positions and state to the store; Persisted.
	Persist
	// Commit: tell the sources; Committed.
	Commit
	// Completed and Failed report the end of a checkpoint, to who waits for it, to
	// the log and to metrics. Failed carries the reason.
	Completed
	Failed
	// Discard: let nothing enter, make sinks discard, fail who waits for a
	// checkpoint; Drained when the ledger is empty.
	Discard
	// Abort: wait until sinks have nothing on its way, drop state; Aborted.
	Abort
	// Restore: operators forget, sources go back; Restored.
	Restore
	// Resume: sinks accept, batches may enter.
	Resume
	// Die: stop for good.
	Die
)

var opNames = [...]string{
	"", "align", "unalign", "cut", "flush", "cancel-flush", "persist", "commit", "completed", "failed",
	"discard", "abort", "restore", "resume", "die",
}

// String names the operation.
func (o Op) String() string { return opNames[o] }

// Action is an operation with its arguments.
type Action struct {
	Op    Op
	ID    ID
	Kind  Kind
	Final bool
	Err   error
	// Wait is the back-off that Discard announces.
	Wait time.Duration
}

// String prints the action for scripts and logs.
func (a Action) String() string {
	s := a.Op.String()
	if a.ID != 0 {
		s += fmt.Sprintf(" %d", a.ID)
	}
	if a.Op == Cut {
		s += " " + a.Kind.String()
	}
	if a.Final {
		s += " final"
	}
	if a.Err != nil {
		s += ": " + a.Err.Error()
	}
	return s
}
