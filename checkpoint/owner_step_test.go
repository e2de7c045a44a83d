package checkpoint

import "slices"

// step takes the next step of what a process performs. It returns false if it has to
// wait.
func (w *world) step(i int) bool {
	p := &w.procs[i]
	switch p.op.Op {
	case InitProducer:
		return w.stepInit(i)
	case LookUncommitted:
		w.look(i)
	case FenceIDs:
		return w.stepFence(i)
	case FetchOffset:
		if p.op.Stable && w.pendingOffsets() {
			return false
		}
		w.note("%s fetches the group's offset: %d", w.name(i), w.group.offset)
		w.perform(i, p.owner.Fetched(p.op.Step, Position{Next: Offset(w.group.offset)}, w.group.set))
	case ReadStore:
		return w.stepRead(i)
	case AskGroup:
		if p.member && !p.current {
			return false // It learns of the new generation first.
		}
		w.perform(i, p.owner.Asked(p.op.Step, p.member && w.group.holder == int8(i)))
	case WriteClaim, CommitTransaction:
		return w.stepTransaction(i)
	}
	return true
}

func (w *world) stepInit(i int) bool {
	p := &w.procs[i]
	if !(p.op.Fresh && !p.other) && p.session == fencedOff {
		w.note("%s: InitProducerID is refused", w.name(i))
		p.other = false
		w.perform(i, p.owner.Refused())
		return true
	}
	if s := w.txns[p.id].state; s == txnCommit || s == txnAbort {
		return false
	}
	if !w.initProducer(p.id, i) {
		return true
	}
	w.note("%s has a new epoch", w.name(i))
	p.session, p.other = valid, false
	if !p.booting {
		w.perform(i, p.owner.Initialised())
		return true
	}
	p.booting = false
	p.clear()
	if !w.conf.fencing.group() {
		w.perform(i, p.owner.Take(Position{}))
	}
	return true
}

func (w *world) look(i int) {
	p := &w.procs[i]
	var log ClaimLog
	for at, r := range w.store {
		if r.status != aborted {
			r.tell(Offset(at), log.Add)
		}
	}
	claimants := log.Claimants()
	if w.conf.fencing == FenceStoreless && w.group.set {
		claimants = []string{idNames[w.group.mark]}
	}
	var members []string
	for _, q := range w.procs {
		if q.member {
			members = append(members, idNames[q.id])
		}
	}
	w.note("%s looks: claims of %v, members %v", w.name(i), claimants, members)
	w.perform(i, p.owner.Looked(p.op.Step, claimants, members))
}

func (w *world) stepFence(i int) bool {
	p := &w.procs[i]
	id := uint8(slices.Index(idNames, p.op.IDs[p.mark]))
	if s := w.txns[id].state; s == txnCommit || s == txnAbort {
		return false
	}
	w.note("%s fences %s", w.name(i), idNames[id])
	if !w.initProducer(id, -1) {
		return true
	}
	if p.mark++; int(p.mark) == len(p.op.IDs) {
		w.perform(i, p.owner.Fenced(p.op.Step))
	}
	return true
}

// stepRead takes the high watermark, and reads as soon as nothing is open below it.
func (w *world) stepRead(i int) bool {
	p := &w.procs[i]
	if p.phase == 1 && w.openBelow(p.mark) {
		return false
	}
	if p.phase == 0 {
		p.phase, p.mark = 1, uint8(len(w.store))
		w.note("%s takes the high watermark of the store: %d", w.name(i), p.mark)
		if w.openBelow(p.mark) {
			return true
		}
	}
	w.note("%s reads the store up to %d", w.name(i), p.mark)
	for at, r := range w.store[:p.mark] {
		// The log takes each record once, so that it may be told from any offset on.
		if r.status == visible {
			r.tell(Offset(at), p.owner.Observe)
		}
	}
	w.perform(i, p.owner.Read(p.op.Step))
	return true
}

func (w *world) openBelow(mark uint8) bool {
	return slices.ContainsFunc(w.store[:mark], func(r stored) bool { return r.status == open })
}

// tell gives a record at an index as those that it stands for.
func (r stored) tell(at Offset, to func(ClaimRecord)) {
	to(ClaimRecord{Kind: r.kind, ID: idNames[r.id], At: 2 * at, Position: Position{Next: Offset(r.pos)}})
	if r.release {
		to(ClaimRecord{Kind: Released, ID: idNames[r.id], At: 2*at + 1})
	}
}

// Phases of a transaction's end: the record in the store, the group's offset, EndTxn.
const (
	phaseStore = iota
	phaseOffset
	phaseEnd
)

// phaseOf skips what a way of fencing does not have.
func (w *world) phaseOf(p *process) uint8 {
	phase := p.phase
	if phase == phaseOffset && !w.conf.fencing.generation() {
		phase = phaseEnd
	}
	return phase
}

// endsTxn tells whether the next step of a process is EndTxn.
func (w *world) endsTxn(p *process) bool {
	switch p.op.Op {
	case CommitTransaction:
		return w.phaseOf(p) == phaseEnd
	case WriteClaim:
		return w.conf.fencing != FenceStoreless && w.phaseOf(p) == phaseEnd
	}
	return false
}

func (w *world) stepTransaction(i int) bool {
	p := &w.procs[i]
	if p.op.Op == WriteClaim && w.conf.fencing == FenceStoreless {
		w.stepPlainClaim(i)
		return true
	}
	at := uint8(p.op.Position.Next)
	switch w.phaseOf(p) {
	case phaseStore:
		if w.conf.fencing == FenceStoreless {
			p.phase = phaseOffset // The lanes are alive: from here on it is on its way.
			return true
		}
		can, ok := w.begin(p, inStore)
		if !can || !ok {
			if can {
				w.note("%s: its record for the store is refused", w.name(i))
				w.endTxn(i, EndedUnknown)
			}
			return can
		}
		r := stored{kind: Claimed, id: p.id, pos: at, release: p.op.Release}
		if p.op.Op == CommitTransaction {
			r.kind = Checkpointed
		}
		w.note("%s writes to the store: %v %d", w.name(i), r.kind, at)
		p.at = Offset(2 * len(w.store))
		w.store = append(slices.Clip(w.store), r)
		p.phase = phaseOffset
	case phaseOffset:
		can, ok := true, false
		if p.member && p.current {
			can, ok = w.begin(p, inOffsets)
		}
		if !can || !ok {
			if can {
				w.note("%s: TxnOffsetCommit is refused", w.name(i))
				w.endTxn(i, EndedUnknown)
			}
			return can
		}
		w.note("%s adds the group's offset %d", w.name(i), at)
		w.txns[p.id].offset = at
		p.phase = phaseEnd
	case phaseEnd:
		if p.session != valid || w.txns[p.id].state != txnOngoing {
			w.note("%s: EndTxn is refused", w.name(i))
			w.endTxn(i, EndedUnknown)
			return true
		}
		w.note("%s: EndTxn, it is committed", w.name(i))
		w.decide(p.id)
		w.endTxn(i, EndedCommitted)
	}
	return true
}

func (w *world) stepPlainClaim(i int) {
	p := &w.procs[i]
	end := EndedUnknown
	if p.member && p.current {
		end = EndedCommitted
		w.note("%s commits the group's offset %d", w.name(i), p.op.Position.Next)
		w.plainCommit(uint8(p.op.Position.Next), p.id)
	} else {
		w.note("%s: OffsetCommit is refused", w.name(i))
	}
	w.endTxn(i, end)
}

// endTxn tells the owner how a claim or a checkpoint ended.
func (w *world) endTxn(i int, end End) {
	p := &w.procs[i]
	op, at, stale, abort := p.op, p.at, p.stale, p.abort
	if p.phase == 0 {
		at = -1
	}
	p.clear()
	if op.Op == WriteClaim {
		w.perform(i, p.owner.Claimed(op.Step, at, end))
	} else {
		if end == EndedCommitted && !stale {
			p.base = uint8(op.Position.Next)
		}
		w.perform(i, p.owner.Ended(op.Step, end))
	}
	if abort {
		w.abandon(i)
	}
}
