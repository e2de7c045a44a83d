package checkpoint

import (
	"fmt"
	"strings"
)

// Fencing says what keeps a process from committing for a partition that another
// one owns by now.
type Fencing uint8

// The ways of fencing.
const (
	// FenceStatic: partitions are assigned by configuration. The last claim in the
	// store owns, and a partition that is lost is lost for good.
	FenceStatic Fencing = iota + 1
	// FenceGeneration: a consumer group on the output's cluster. The broker refuses a
	// commit of an old generation; claims tell ids, and what position was resolved.
	FenceGeneration
	// FenceStoreless: the same without a store. The group's committed offsets, with
	// the job's mark, are claim and checkpoint.
	FenceStoreless
	// FenceGroupClaims: a consumer group on another cluster than the output's, where
	// its generation keeps nobody from committing. Claims and releases do.
	FenceGroupClaims
)

var fencingNames = [...]string{"", "static", "generation", "storeless", "group-claims"}

// String names the way.
func (f Fencing) String() string { return fencingNames[f] }

// group tells whether a group assigns partitions.
func (f Fencing) group() bool { return f != FenceStatic }

// generation tells whether the group's generation is in every transaction.
func (f Fencing) generation() bool { return f == FenceGeneration || f == FenceStoreless }

// OwnerOp is something that an Owner asks for.
type OwnerOp uint8

// What an Owner asks for. Each comment names the answer it waits for, if any.
const (
	// LookUncommitted: read, uncommitted records included, who claims the partition
	// (storeless: who marked its committed offset), and who is a member of the group;
	// Looked.
	LookUncommitted OwnerOp = iota + 1
	// FenceIDs: InitProducerID on each of IDs, repeated while the broker answers that
	// a transaction is still ending; Fenced.
	FenceIDs
	// FetchOffset: OffsetFetch under the current generation. With Stable it waits for
	// transactions that have offsets pending, which clients do not ask for by
	// themselves; Fetched.
	FetchOffset
	// WriteClaim: commit a claim with exactly Position, in a transaction of its own or
	// in the one that ends next; storeless: a plain OffsetCommit with the job's mark;
	// Claimed.
	WriteClaim
	// ReadStore: take the high watermark of the store partition now, tell Observe of
	// every committed record below it, in order, from ClaimLog.Next on, waiting for
	// transactions that are open below it; Read.
	ReadStore
	// RestoreFrom: make Position and the state in the store what the process goes on
	// from; Restored.
	RestoreFrom
	// Own: records of the partition may go out from here on.
	Own
	// Suspend: nothing of the partition may go out; what was written since the last
	// checkpoint is being aborted, by InitProducer.
	Suspend
	// CommitTransaction: end the transaction with the checkpoint at Position and, if
	// asked for, the release; Ended.
	CommitTransaction
	// AbortTransaction: end the open transaction without effect. If that fails nothing
	// is wrong: the next use of the producer finds out.
	AbortTransaction
	// InitProducer: InitProducerID on the process's own id, with its producer id and
	// epoch, so that the broker refuses a fenced process; Fresh: without them. It is
	// one for all partitions of the process: all its owners are told Initialised or
	// Refused.
	InitProducer
	// AskGroup: is this process still the partition's owner, in the present
	// generation? Asked.
	AskGroup
	// BackOff: wait, with jitter, longer than another process waits before it repeats
	// an InitProducerID; BackedOff.
	BackOff
	// Rejoin: enter a new generation of the group, and drop the partition until it is
	// assigned in that.
	Rejoin
	// Drop: the partition is not ours any more. The group may assign it again, which
	// is Take.
	Drop
	// Stop: the partition is lost for good, for the reason in Err.
	Stop
)

var ownerOpNames = [...]string{
	"", "look", "fence", "fetch-offset", "write-claim", "read-store", "restore", "own", "suspend", "commit",
	"abort", "init-producer", "ask-group", "back-off", "rejoin", "drop", "stop",
}

// String names the operation.
func (o OwnerOp) String() string { return ownerOpNames[o] }

// OwnerAction is an operation with its arguments.
type OwnerAction struct {
	Op OwnerOp
	// Step numbers what waits for an answer; the answer carries it. The answer to an
	// abandoned step is ignored.
	Step uint64
	// IDs are whom to fence.
	IDs []string
	// Position is that of a claim, of a checkpoint, or where to go on from.
	Position Position
	// Release asks for a release beside the checkpoint, in the same transaction.
	Release bool
	Stable  bool
	Fresh   bool
	Err     error
}

// String prints the action for scripts and logs.
func (a OwnerAction) String() string {
	s := a.Op.String()
	switch a.Op {
	case FenceIDs:
		s += " " + strings.Join(a.IDs, ",")
	case WriteClaim, RestoreFrom, CommitTransaction:
		s += fmt.Sprintf(" %d", a.Position.Next)
	}
	for _, is := range []struct {
		set  bool
		name string
	}{{a.Release, "release"}, {a.Stable, "stable"}, {a.Fresh, "fresh"}} {
		if is.set {
			s += " " + is.name
		}
	}
	if a.Err != nil {
		s += ": " + a.Err.Error()
	}
	return s
}
