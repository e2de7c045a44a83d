package checkpoint

import (
	"context"
	"time"
)

// ID numbers the checkpoints of a job: 1, 2, 3 …, never reused. 0 is none.
type ID int64

// Coordinator is one build of one stream, as its participants see it.
//
// Components in the stream's own tree join while they are constructed. One that
// joins later takes part from the next cut on.
type Coordinator interface {
	// JoinSource adds a source under a name that is unique in the stream and
	// stable over restarts (the component's label, else its path): positions are
	// stored under it. It returns an error if conf contradicts what another
	// source of the stream asked for, naming both.
	JoinSource(name string, s Source, conf Config) (SourceHandle, error)
	// JoinOperator adds an operator under a name that is unique in the stream and
	// stable over restarts: its state is stored under it.
	JoinOperator(name string, o Operator) (OperatorHandle, error)
	// JoinSink adds a sink; the name is for logs only.
	JoinSink(name string, s Sink) (SinkHandle, error)
}

// Source is a participant that emits batches. The coordinator calls it; it calls
// its SourceHandle. No method is called with a lock of the source held, so a
// source must not call its handle while it holds a lock that these methods take.
type Source interface {
	// Positions reports, for each partition that the source owns, the position
	// after its acknowledged prefix, also if nothing was read yet. Partitions
	// whose start is not resolved are left out.
	Positions() Positions
	// Commit tells the source that cp is complete; it may now publish positions,
	// never later ones than cp's. An error is counted, and tried again with the
	// next checkpoint; ctx bounds the attempt.
	Commit(ctx context.Context, cp *Manifest) error
	// Rewind drops everything read but not acknowledged and goes back to the
	// positions given; a partition that is owned and not in to goes back to where
	// it started. Nothing of the source is in the ledger while it runs.
	Rewind(ctx context.Context, to Positions) error
}

// Paced is a source that says how far it has come, so that what follows event time knows
// which partitions hold it back, and which are so far ahead that they have to wait. A
// source that is not is taken for one that always has more to read.
type Paced interface {
	Source
	// Progress reports each partition that the source owns; false as long as it does
	// not know which those are.
	Progress() (map[Partition]Progress, bool)
	// Hold says which partitions must not be read on. Those that are left out may be
	// again. One that the source does not own any more is left alone. look is how often
	// the source has to find out whether there is more to read; 0 = as it likes.
	Hold(ps map[Partition]bool, look time.Duration)
}

// Progress says where a partition stands at the moment.
type Progress struct {
	// Position is what Positions reports.
	Position
	// Lane is as in Entry.
	Lane int
	// Quiet is for how long all that there is was read and acknowledged, as far as is
	// known for certain; 0 while there is more, and while the partition is held.
	Quiet time.Duration
}

// SourceHandle is what a source calls.
type SourceHandle interface {
	// Restore waits until the stream may start (an earlier build has ended, the
	// store is open) and returns what the last checkpoint holds. Call it before
	// the first read. An error that wraps ErrFatal is final; any other may be
	// tried again.
	Restore(ctx context.Context) (Restored, error)
	// Acquire makes partitions this process's own, where the store is one that several
	// processes share, and returns where each goes on; with any other store, or none, it
	// returns what Restore did. It may be called before the first read and later, and waits
	// for a checkpoint. resolve says where those begin that no checkpoint holds, given the
	// positions of those that one does. An error may be tried again unless it wraps
	// ErrFatal.
	Acquire(ctx context.Context, ps []Partition, resolve func(ctx context.Context, saved Positions, fresh []Partition) (Positions, error)) (Positions, error)
	// Claimants returns, by transactional id, as which members of their group processes are
	// about to make partitions their own, or were when they died.
	Claimants(ctx context.Context, ps []Partition) (map[string][]string, error)
	// GiveUp lets partitions go that Acquire has made this process's own, with a checkpoint.
	// Nothing of them may be in the ledger. Lost lets them go without one: they are another
	// process's already. A rewind begins, unless cause is nil because nothing of them was
	// emitted.
	GiveUp(ctx context.Context, ps []Partition) error
	Lost(ps []Partition, cause error)
	// Enter puts a batch into the ledger. It blocks while a cut aligns or a
	// rewind runs. What the source prepared before a rewind must not be emitted
	// after it: compare attempt with Attempt at the time of preparation.
	Enter(ctx context.Context, p Partition) (*Entry, error)
	// Leave takes a batch out again. A nil cause means that it was acknowledged, and
	// the source's position has moved, or that it was never emitted; any other that
	// it was rejected: it is Live still, for whoever has a copy of it.
	Leave(e *Entry, cause error)
	// Attempt counts the rewinds so far; it is an Entry's Attempt.
	Attempt() int
	// Nack tells whether a rejected batch may be redelivered in place. If not, a
	// rewind has been started and the source only has to Leave.
	Nack(cause error) (redeliver bool)
	// Fail starts a rewind.
	Fail(cause error)
	// Fatal stops the stream for good.
	Fatal(cause error)
	// Failed returns the error that stopped the stream for good, if any.
	Failed() error
	// Done is closed when the stream was stopped for good.
	Done() <-chan struct{}
	// Checkpoint asks for a checkpoint now and waits until it is complete and
	// committed.
	Checkpoint(ctx context.Context) error
	// Finished says that every partition of the source was read to the end of a
	// bounded run, and waits until those that follow event time know it. What they emit
	// because of it is in the ledger then.
	Finished(ctx context.Context) error
	// Continue tells the id of a checkpoint of the job that the source found outside
	// of the store, so that ids go on from there.
	Continue(id ID)
	// Stopping tells that the source was asked to end: a component constructed
	// from now on belongs to a new build of the stream.
	Stopping()
	// Close ends the source's part: a checkpoint is taken and waited for, the final one
	// if this is the last source. Its positions stay in later checkpoints. What it still
	// has in the ledger is discarded: it was cut off in the pipeline. If the stream has
	// state, that may know of it already, so the stream goes back to its last checkpoint
	// then, and if this is the last source there is no final one. A batch that was never
	// emitted has to Leave before.
	Close(ctx context.Context) error
}

// Restored is what a source learns when it starts.
type Restored struct {
	// Stored tells that there is a store, so that committed offsets of a group
	// are not the checkpoint.
	Stored bool
	// ID is the checkpoint restored from, 0 if there is none.
	ID ID
	// Job is the name of the job in the store; empty if nobody named it.
	Job string
	// Positions holds the source's partitions; empty on the first run.
	Positions Positions
	// Config is what the sources of the stream have agreed on.
	Config Config
	// Writer is the transactional id under which the stream writes, empty if it writes
	// without transactions; Cluster is the id of the cluster that it writes to then.
	Writer, Cluster string
}

// Operator is a participant with state.
type Operator interface {
	// Freeze is called in an aligned cut, with the ledger empty. What the
	// operator holds in memory only must be in its State when it returns.
	Freeze(id ID) error
	// Restore is called before the first record and after every rewind: whatever
	// the operator remembers apart from its State is wrong and must be dropped. An
	// operator that joined while the stream runs already is called for rewinds
	// only: its State can be read at once.
	Restore(ctx context.Context) error
}

// Partitioned is an operator whose state moves along with partitions to other processes.
type Partitioned interface {
	Operator
	// Forget is called in a cut, after Freeze: from now on the scopes are another process's,
	// and nothing may be emitted because of what the operator remembers of them. They may
	// come back, with another Lane. It must not block.
	Forget(scopes []Scope)
}

// Clocked is an operator that follows event time, also while no records come.
type Clocked interface {
	Operator
	// Arrived says how far partitions have come, as far as all of their records up to
	// there have been acknowledged, and so have met the operator, if they were not
	// filtered. Partitions that are left out are not read here any more. settled is
	// false while there may be partitions that nobody knows yet. Nothing of the
	// coordinator's is cut meanwhile; what the operator emits because of it, it enters
	// into the ledger before it returns. An error is a rewind.
	Arrived(ctx context.Context, ps map[Partition]Arrived, settled bool) error
}

// Arrived says how far a partition has come.
type Arrived struct {
	Watermark Watermark
	// Idle: there is nothing to read, and has not been for some time. Finished: the
	// partition was read to the end of a bounded run.
	Idle, Finished bool
	// Ended: so was all that its source reads, and the source is not there any more.
	Ended bool
	// Lane counts the assignments of the partition, as Entry.Lane does: another one may be
	// of another log.
	Lane int
}

// OperatorHandle is what an operator calls.
type OperatorHandle interface {
	// State returns the operator's state. It can be read and written from the
	// first record on; before that its methods return ErrNotRestored.
	State() State
	// Enter puts a batch that the operator emits by itself into the ledger; it
	// blocks like SourceHandle.Enter.
	Enter(ctx context.Context, p Partition) (*Entry, error)
	// Leave takes it out again. A nil cause means delivered; any other starts a
	// rewind.
	Leave(e *Entry, cause error)
	// Fail starts a rewind; Fatal stops the stream for good.
	Fail(cause error)
	Fatal(cause error)
}

// Scope is the part of an operator's state that belongs to one partition and
// moves along with it. The zero Scope belongs to the process.
type Scope = Partition

// Everywhere is the scope of what holds for an operator's state wherever that is, such
// as the settings that it was written with. All processes of a job write the same there
// or nothing, and when the job is rescaled each gets a copy; what is in the zero Scope
// cannot be split.
var Everywhere = Scope{Topic: "\x00everywhere"}

// State is the key-value space of one operator. Values read are the caller's;
// keys and values written are copied. Writes count from the next cut on and are
// undone by a rewind. All methods are safe for concurrent use.
type State interface {
	// Get returns nil, nil for a key that is not there.
	Get(s Scope, key []byte) ([]byte, error)
	Put(s Scope, key, value []byte) error
	Delete(s Scope, key []byte) error
	// Scan calls fn for every key with the prefix, in order, from a key on (nil: from
	// the first), until fn returns an error, which it returns. fn must not write.
	Scan(s Scope, prefix, from []byte, fn func(key, value []byte) error) error
}

// Sink is a participant that delivers.
type Sink interface {
	// Rotate starts a new epoch: what was accepted before belongs to checkpoint
	// id. It must not block.
	Rotate(id ID)
	// Flush returns nil when everything of checkpoint id and of all earlier ones
	// is durable; else the first error, or ctx's.
	Flush(ctx context.Context, id ID) error
	// Discard makes the sink drop what it holds and what arrives, and answer with
	// success, until Accept. It must not block.
	Discard()
	// Abort returns when nothing of what was discarded can reach the target any
	// more.
	Abort(ctx context.Context) error
	// Accept ends Discard.
	Accept()
}

// Transactional is a sink that writes into the transaction of its stream, which ends with
// the checkpoint. From Rotate on it holds back what it accepts, because that belongs to the
// next transaction.
type Transactional interface {
	Sink
	// Release lets what was held back go on, in order: the next transaction has begun, or
	// the checkpoint failed and the same one goes on. It must not block.
	Release()
}

// SinkHandle is what a sink calls.
type SinkHandle interface {
	// Joined tells whether the sink takes part already; one that joined late does
	// not until the next cut, and delivers before it acknowledges.
	Joined() bool
	// Fail reports that something accepted cannot be delivered: a rewind.
	Fail(cause error)
	// Refuse reports that the target refused, for good, a record that had been
	// acknowledged. Its origin is remembered and a rewind starts; when the record
	// comes again, Suspect is true for it, and the sink must wait for the target
	// before it acknowledges.
	Refuse(o *Origin, cause error)
	Suspect(o *Origin) bool
	// Fatal stops the stream for good; Failed returns the error that did.
	Fatal(cause error)
	Failed() error
	// Leave ends the sink's part. If it has accepted what it could not deliver it
	// calls Fail first: later checkpoints do not ask it any more.
	Leave()
}

// Kind says how a cut was taken.
type Kind uint8

// The kinds of cut. Nobody configures which: see Machine.
const (
	// Running cuts pause nobody.
	Running Kind = iota + 1
	// Aligned cuts are taken with the ledger empty.
	Aligned
)

// String names the kind.
func (k Kind) String() string {
	switch k {
	case Running:
		return "running"
	case Aligned:
		return "aligned"
	}
	return "unknown"
}

// Config is what the sources of a stream ask of its checkpoints. The zero value
// asks for nothing and takes what another source asked for.
type Config struct {
	// Interval between the starts of two checkpoints; 0 = no checkpoints.
	Interval time.Duration
	// Timeout of one checkpoint, from its start to the end of the flush, and of the
	// commit after it; 0 = 30s.
	Timeout time.Duration
	// MinPause between the end of one and the start of the next; 0 = none.
	MinPause time.Duration
	// TolerableFailures is how many checkpoints in a row may fail before the
	// stream rewinds; negative = any number.
	TolerableFailures int
	// ShutdownTimeout bounds the final checkpoint; 0 = 10s.
	ShutdownTimeout time.Duration
	// Restart says how rewinds are spaced; the zero value is DefaultRestart.
	Restart Restart
	// Directory keeps checkpoints in a folder; empty = store none.
	Directory string
	// Topic keeps checkpoints in a compacted topic, for any number of processes; empty =
	// not in one. TopicPartitions is how many partitions it is made with, 0 = 16; LocalCopy
	// a folder for a copy of the state in this process, empty = memory.
	Topic           string
	TopicPartitions int
	LocalCopy       string
	// Job names the job in a store; empty = Group, else the stream's id, else what
	// the store holds.
	Job string
	// Group is the consumer group of the source, if it has one, and Instance the name of
	// this member that is stable over restarts, if it has that.
	Group, Instance string
	// Retain is how many checkpoints the store keeps, at least 1.
	Retain int
	// RestoreFrom names a retained checkpoint to start from; 0 = the last one.
	RestoreFrom ID
	// SavepointDirectory is the folder that takes savepoints of the running stream;
	// empty = none are taken.
	SavepointDirectory string
	// Static tells that this process alone owns its partitions, with the shard it
	// reads (Count 0 = all of them).
	Static bool
	Shard  Shard
	// Partitions names the explicit partitions that the source reads, in any form
	// that is stable over restarts; empty = all of its topics. A store is bound to
	// them.
	Partitions []string
	// Sets tells that the source's configuration sets checkpoint fields at all.
	Sets bool
}

// Shard is one of Count equal shares of all partitions, by hash; Count 0 = all.
type Shard struct{ Index, Count int }
