package checkpoint

import (
	"fmt"
	"slices"
)

// ErrLost says that another process took a partition that is assigned by
// configuration. Who gets it stops the stream: two processes are configured to own
// the same partition.
var ErrLost = fmt.Errorf("%w: another process has taken the partition over", ErrFatal)

// End is how a transaction ended, or a commit without one.
type End uint8

// Ends of a transaction.
const (
	// EndedCommitted: the broker said so.
	EndedCommitted End = iota + 1
	// EndedUnknown: anything else, refusals included. A transaction may have been
	// committed; a plain OffsetCommit was refused.
	EndedUnknown
	// EndedUnanswered: a plain OffsetCommit got no answer. It may still be on its way,
	// and the broker takes it as long as the generation lasts, over later ones.
	EndedUnanswered
)

// OwnerConfig says who an Owner is.
type OwnerConfig struct {
	// ID is the transactional id of the process.
	ID string
	// Fencing says what protects the partition from other processes.
	Fencing Fencing
}

// Owner decides how one process takes a source partition under exactly-once, whether
// it still owns it after trouble, and how it gives it up. It is told what happened
// and answers with what to do; it does nothing itself.
//
// A takeover goes through these stages, those in brackets only where a group
// assigns:
//
//	[looking     who claims the partition and is no member of the group any more? → Looked]
//	[burying     fence those: their open transactions hold readers back → Fenced]
//	[fetching    only where the generation fences: offsets, pending ones waited for → Fetched]
//	claiming     say in the store who goes on, and from where → Claimed
//	reading      what the store says up to its high watermark → Read
//	fencing      everybody who may still write under an older claim → Fenced
//	reading      once more, up to a high watermark that is taken after the fencing
//	restoring    go back to what the store says → Restored
//	owning       records go out, checkpoints commit
//
// Trouble with the producer is one for all partitions of a process, because they
// share its transactional id:
//
//	initialising a new epoch ends the open transaction, whatever became of it →
//	             Initialised or Refused
//	backing off  refused: somebody fenced this process, perhaps by mistake → BackedOff
//	reading      (fetching) who owns, and where to go on from; never from memory
//	asking       somebody claimed later: what does the group say? → Asked
//
// The zero value is of no use; NewOwner makes an Owner. A copy is independent of the
// original.
type Owner struct {
	conf  OwnerConfig
	off   rulesOff
	log   ClaimLog
	stage ownerStage
	step  uint64

	// resolved is what a claim says.
	resolved Position
	// claimed tells that the claim at mine was written and perhaps committed. With a
	// store, mine tells it from those of another process that uses the same id.
	claimed bool
	mine    Offset
	// fenced tells that all whom the claim calls to fence were fenced since.
	fenced bool
	// refused tells that the process was fenced, and has no new epoch since.
	refused bool
	// restored tells that the process went on from somewhere under this claim,
	// committed how far it has come since, as far as it knows.
	restored  bool
	committed Position
	// pending is the position of the checkpoint under way, final that it is the last.
	pending Position
	final   bool
}

// rulesOff switches rules off, one by one, to prove that each is needed. Nothing
// outside of this package's tests can set it.
type rulesOff struct {
	// inclusive: fence also the last established claimant itself.
	inclusive bool
	// established: look back to the last established claim, not to the last claim.
	established bool
	// fence: fence at all.
	fence bool
	// highWatermark: take it anew after fencing.
	highWatermark bool
	// checkpointFirst: a claim's position counts only where there is no checkpoint.
	checkpointFirst bool
	// reread: read the claims after every InitProducerID on the own id.
	reread bool
	// memory: go back to what the store says, not to what memory says.
	memory bool
	// release: the own release ends ownership.
	release bool
	// stable: fetch offsets stable before claiming.
	stable bool
	// section: callbacks of the group wait while a commit is under way.
	section bool
	// stale: being fenced is final only if claims or the generation say so.
	stale bool
	// ask: a foreign claim makes a member ask the group, and claim anew.
	ask bool
	// rejoin: a plain commit that may still arrive must find another generation.
	rejoin bool
	// bury: fence former members before anything waits for them.
	bury bool
}

type ownerStage uint8

const (
	ownerIdle ownerStage = iota
	looking
	burying
	fetching
	claiming
	reading
	fencing
	ownerRestoring
	owning
	committingOwned
	initialising
	asking
	ownerBackingOff
	stopped
)

var ownerStageNames = [...]string{
	"idle", "looking", "burying", "fetching", "claiming", "reading", "fencing", "restoring", "owning",
	"committing", "initialising", "asking", "backing off", "stopped",
}

// NewOwner returns an owner of nothing.
func NewOwner(conf OwnerConfig) Owner { return Owner{conf: conf} }

// String prints the stage for scripts and logs.
func (o *Owner) String() string { return ownerStageNames[o.stage] }

// Owning tells whether records of the partition may go out.
func (o *Owner) Owning() bool { return o.stage == owning || o.stage == committingOwned }

// Idle tells whether the partition is not ours and nothing is done about that.
func (o *Owner) Idle() bool { return o.stage == ownerIdle || o.stage == stopped }

// Excludes tells whether the group's callbacks, and with them the client's rejoin,
// must wait: between the look at the lanes and the end of the transaction the
// generation must be the one that the lanes were assigned under. Otherwise the
// generation of a rejoin would be sent for a partition that is gone by then, and the
// broker, which does not know whose the partition is, would accept it. Where claims
// fence nothing would break, but a last checkpoint has to wait for the one under way.
func (o *Owner) Excludes() bool {
	if o.off.section || !o.conf.Fencing.group() {
		return false
	}
	return o.stage == committingOwned || o.stage == claiming && o.conf.Fencing.generation()
}

// Claims returns what is known of who owns the partition.
func (o *Owner) Claims() *ClaimLog { return &o.log }

// Overtaken tells that somebody claimed the partition after this process, as far as was
// observed.
func (o *Owner) Overtaken() bool {
	return o.claimed && o.log.Standing(o.conf.ID, o.mine) == Overtaken
}

// Observe takes a committed record of the store partition. All are told, in the order
// of the log, at the latest between ReadStore and Read.
func (o *Owner) Observe(r ClaimRecord) { o.log.Add(r) }

// Take begins a takeover: the process started, or the group assigned the partition.
// The producer has its epoch. resolved is where to start if nobody ever did: what was
// observed before, or will be read, goes first.
func (o *Owner) Take(resolved Position) []OwnerAction {
	if o.stage != ownerIdle {
		return nil
	}
	o.resolved = resolved
	if o.conf.Fencing.group() {
		return o.ask(looking, OwnerAction{Op: LookUncommitted})
	}
	return o.claim()
}

// Looked tells which ids have a claim on the partition, transactions that are not
// committed included, and which ids are members of the group. Nothing but the ids
// comes from there: what is not committed says nothing.
func (o *Owner) Looked(step uint64, claimants, members []string) []OwnerAction {
	if !o.awaits(looking, step) {
		return nil
	}
	var gone []string
	for _, id := range claimants {
		if id != o.conf.ID && !slices.Contains(members, id) && !slices.Contains(gone, id) {
			gone = append(gone, id)
		}
	}
	if len(gone) == 0 || o.off.bury {
		return o.fetchOrClaim()
	}
	return o.ask(burying, OwnerAction{Op: FenceIDs, IDs: gone})
}

// Fenced tells that every id asked for has a new epoch and no transaction under way.
func (o *Owner) Fenced(step uint64) []OwnerAction {
	switch {
	case o.awaits(burying, step):
		return o.fetchOrClaim()
	case !o.awaits(fencing, step):
		return nil
	}
	o.fenced = true
	if o.off.highWatermark {
		return o.restore()
	}
	// Until now they may have committed. Only from here on the log has an end.
	return o.read()
}

// Fetched tells the group's committed offset as of the present generation; found is
// false if it has none, or none with the job's mark.
func (o *Owner) Fetched(step uint64, committed Position, found bool) []OwnerAction {
	if !o.awaits(fetching, step) {
		return nil
	}
	if found {
		o.resolved = committed
	}
	if o.claimed {
		return o.restore()
	}
	return o.claim()
}

// Claimed tells how the claim ended, and the offset that the store gave it (with
// EndedUnknown: if it gave it one, else below 0).
func (o *Owner) Claimed(step uint64, at Offset, end End) []OwnerAction {
	if !o.awaits(claiming, step) {
		return nil
	}
	if o.conf.Fencing == FenceStoreless {
		switch end {
		case EndedUnanswered:
			return o.unanswered()
		case EndedUnknown:
			return o.fetchOrClaim()
		}
		o.claimed, o.fenced = true, true
		return o.restore()
	}
	o.claimed, o.mine = at >= 0, at
	// Where the generation fences, nobody else can commit any more.
	o.fenced = o.conf.Fencing.generation()
	if end != EndedCommitted {
		return o.initialise()
	}
	return o.read()
}

// Read tells that every committed record below the high watermark was observed.
func (o *Owner) Read(step uint64) []OwnerAction {
	if !o.awaits(reading, step) {
		return nil
	}
	standing := Unclaimed
	if o.claimed {
		standing = o.log.Standing(o.conf.ID, o.mine)
	}
	switch {
	case standing == GivenUp:
		return o.drop()
	case standing == Overtaken && !o.conf.Fencing.group():
		return o.stop(ErrLost)
	case standing == Overtaken && o.off.ask:
		return o.drop()
	case standing == Overtaken:
		return o.ask(asking, OwnerAction{Op: AskGroup})
	case o.refused:
		// The claim is still the last one: whoever fenced us looked at an older log.
		return o.initialise()
	case standing == Unclaimed:
		o.claimed = false
		return o.fetchOrClaim()
	}
	if ids := o.log.Fence(o.conf.ID, o.mine); !o.fenced && len(ids) > 0 && !o.off.fence {
		return o.ask(fencing, OwnerAction{Op: FenceIDs, IDs: ids})
	}
	o.fenced = true
	return o.restore()
}

// Asked tells whether the group says that this process owns the partition.
func (o *Owner) Asked(step uint64, owner bool) []OwnerAction {
	switch {
	case !o.awaits(asking, step):
		return nil
	case !owner:
		return o.drop()
	case o.refused:
		return o.initialise()
	}
	// The other claim is one of a process that has not noticed yet that the partition
	// is not its own any more.
	o.claimed, o.fenced, o.restored = false, false, false
	return o.fetchOrClaim()
}

// Restored tells that the process is back at the position and state asked for.
func (o *Owner) Restored(step uint64) []OwnerAction {
	if !o.awaits(ownerRestoring, step) {
		return nil
	}
	o.stage, o.restored = owning, true
	return []OwnerAction{{Op: Own}}
}
