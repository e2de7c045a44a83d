package checkpoint

// Checkpoint asks for the end of the transaction, with a checkpoint at a position:
// everything of the partition is flushed up to there. Nothing is answered unless the
// partition is owned and no other checkpoint is under way.
func (o *Owner) Checkpoint(at Position) []OwnerAction {
	if o.stage != owning {
		return nil
	}
	return o.commit(at, false)
}

// Revoke tells that the group takes the partition away in order: the last checkpoint
// at a position, with the release where claims fence. If the partition is not owned
// at the moment there is nothing to commit, and it is dropped; as long as the group
// waits, a caller may rather wait until it is owned again after trouble.
func (o *Owner) Revoke(at Position) []OwnerAction {
	if o.stage != owning {
		return o.Lost()
	}
	return o.commit(at, true)
}

func (o *Owner) commit(at Position, final bool) []OwnerAction {
	o.pending, o.final = at, final
	return o.ask(committingOwned, OwnerAction{
		Op: CommitTransaction, Position: at, Release: final && o.conf.Fencing == FenceGroupClaims,
	})
}

// Ended tells how the transaction of a checkpoint ended, or the plain OffsetCommit of
// one that has nothing to write.
func (o *Owner) Ended(step uint64, end End) []OwnerAction {
	switch {
	case !o.awaits(committingOwned, step):
		return nil
	case end == EndedUnanswered && o.conf.Fencing.generation():
		return o.unanswered()
	case end != EndedCommitted:
		return o.initialise()
	case o.final:
		return o.drop()
	}
	o.committed, o.pending = o.pending, Position{}
	o.stage = owning
	return nil
}

// Lost tells that the partition is gone without notice: nothing of it may be
// committed.
func (o *Owner) Lost() []OwnerAction {
	if o.Idle() {
		return nil
	}
	return append([]OwnerAction{{Op: AbortTransaction}}, o.drop()...)
}

// Uncertain tells that the producer was refused or failed outside of what was asked
// for: records of the transaction cannot be delivered. It is told to every Owner of the
// process, because they share the transaction.
func (o *Owner) Uncertain() []OwnerAction {
	if !o.Owning() {
		return nil
	}
	return o.initialise()
}

// Initialised tells that the process has a new epoch for its id, whichever of its
// partitions asked for it. It is told after every one, before anything else is
// written.
func (o *Owner) Initialised() []OwnerAction {
	o.refused = false
	switch o.stage {
	case ownerIdle, stopped, looking, burying:
		return nil
	case fetching:
		if !o.claimed {
			return nil
		}
	}
	// Between the old epoch and the new one somebody may have fenced this process,
	// read what it had committed, and gone on from there; and what it had under way
	// may have been committed after all.
	if o.off.reread && o.restored {
		return o.restore()
	}
	acts := o.suspend()
	if o.conf.Fencing == FenceStoreless {
		return append(acts, o.fetchOrClaim()...)
	}
	return append(acts, o.read()...)
}

// Refused tells that the broker refused a new epoch with PRODUCER_FENCED: somebody
// else initialised the process's id. That is final only if the claims or the
// generation say that the partition is lost. Otherwise it was decided on an older
// log: two processes that both take it for final would both stop.
func (o *Owner) Refused() []OwnerAction {
	if o.Idle() {
		return nil
	}
	if o.off.stale {
		return o.stop(ErrLost)
	}
	o.refused = true
	return append(o.suspend(), o.ask(ownerBackingOff, OwnerAction{Op: BackOff})...)
}

// BackedOff tells that the pause is over.
func (o *Owner) BackedOff(step uint64) []OwnerAction {
	if !o.awaits(ownerBackingOff, step) {
		return nil
	}
	if o.conf.Fencing.generation() {
		return o.ask(asking, OwnerAction{Op: AskGroup})
	}
	return o.read()
}

// suspend stops what goes out, if anything does.
func (o *Owner) suspend() []OwnerAction {
	if !o.Owning() {
		return nil
	}
	return []OwnerAction{{Op: Suspend}}
}

// initialise asks for a new epoch.
func (o *Owner) initialise() []OwnerAction {
	return append(o.suspend(), o.ask(initialising, OwnerAction{Op: InitProducer, Fresh: o.refused})...)
}

func (o *Owner) fetchOrClaim() []OwnerAction {
	if !o.conf.Fencing.generation() {
		return o.claim()
	}
	// A transaction of the generation before may be about to end. Its offsets become
	// visible then; a claim in between would take the position back.
	return o.ask(fetching, OwnerAction{Op: FetchOffset, Stable: !o.off.stable})
}

func (o *Owner) claim() []OwnerAction {
	from := o.resolved
	if at, known := o.log.Position(); known && !o.conf.Fencing.generation() {
		// What was resolved before stands, even if the store keeps no more than the
		// last claim of an id.
		from = at
	}
	return o.ask(claiming, OwnerAction{Op: WriteClaim, Position: from})
}

func (o *Owner) read() []OwnerAction { return o.ask(reading, OwnerAction{Op: ReadStore}) }

// restore goes back to the last checkpoint.
func (o *Owner) restore() []OwnerAction {
	from := o.resolved
	if o.conf.Fencing != FenceStoreless {
		if at, known := o.log.Position(); known {
			from = at
		}
	}
	if o.restored && (o.off.memory || o.off.reread) {
		from = o.committed
	}
	o.committed = from
	return append(o.suspend(), o.ask(ownerRestoring, OwnerAction{Op: RestoreFrom, Position: from})...)
}

func (o *Owner) drop() []OwnerAction {
	*o = Owner{conf: o.conf, off: o.off, log: o.log, step: o.step + 1}
	return []OwnerAction{{Op: Drop}}
}

// unanswered leaves the generation in which a plain commit may still arrive: after
// anything that is committed later in it the position would go back.
func (o *Owner) unanswered() []OwnerAction {
	if o.off.rejoin {
		return o.fetchOrClaim()
	}
	return append([]OwnerAction{{Op: Rejoin}}, o.drop()...)
}

func (o *Owner) stop(err error) []OwnerAction {
	o.drop()
	o.stage = stopped
	return []OwnerAction{{Op: Stop, Err: err}}
}

// ask goes to a stage that waits for an answer.
func (o *Owner) ask(stage ownerStage, a OwnerAction) []OwnerAction {
	o.step++
	o.stage = stage
	a.Step = o.step
	return []OwnerAction{a}
}

func (o *Owner) awaits(stage ownerStage, step uint64) bool { return o.stage == stage && o.step == step }
