package checkpoint

import (
	"fmt"
	"slices"
)

// move is a step that somebody can take.
type move struct {
	kind moveKind
	who  uint8 // a process, or a transactional id
	part uint8
	// cost is the fault that it is, numFaults if none.
	cost fault
}

type moveKind uint8

const (
	mStart moveKind = iota
	mCrash
	mStep // the next step of what a process performs
	mLoseRequest
	mLoseAnswer
	mEmit
	mCheckpoint
	mMarker
	mTimeOut
	mKick
	mExpire
	mJoin
	mSync
	mAssigned
	mLost
	mRevoke
	mRevoked
	mOther
	mOtherStep
	mStray
	mDelay
	mArrive
)

// moves appends all steps that may be possible. What a step needs beyond this shows
// when it is taken.
func (w *world) moves(ms []move) []move {
	for i := range w.procs[:w.conf.procs] {
		ms = w.processMoves(ms, uint8(i))
		if w.conf.fencing.group() {
			ms = w.groupMoves(ms, uint8(i))
		}
	}
	if w.late.underWay {
		ms = append(ms, move{mArrive, 0, 0, numFaults})
	}
	for id := range w.txns[:max(w.ids, w.conf.procs)] {
		t := &w.txns[id]
		if t.state == txnEmpty || t.state == txnOngoing {
			ms = append(ms, move{mStray, uint8(id), 0, strays})
		}
		switch t.state {
		case txnCommit, txnAbort:
			for _, part := range []uint8{inStore, inOutput, inOffsets} {
				if t.parts&part != 0 {
					ms = append(ms, move{mMarker, uint8(id), part, numFaults})
				}
			}
		case txnOngoing:
			cost := numFaults
			if slices.ContainsFunc(w.procs[:], func(p process) bool { return p.life == up && int(p.id) == id && p.session == valid }) {
				cost = timeOuts
			} else if w.conf.slow {
				continue
			}
			ms = append(ms, move{mTimeOut, uint8(id), 0, cost})
		}
	}
	return slices.DeleteFunc(ms, func(m move) bool { return m.cost != numFaults && w.faults[m.cost] == 0 })
}

func (w *world) processMoves(ms []move, i uint8) []move {
	p := &w.procs[i]
	if p.life == notStartedYet || p.life == crashed {
		if !p.member && int(w.ids) < len(w.txns) {
			ms = append(ms, move{mStart, i, 0, numFaults})
		}
		return ms
	}
	if p.life != up {
		return ms
	}
	ms = append(ms, move{mCrash, i, 0, crashes})
	if p.other {
		return append(ms, move{mOtherStep, i, 0, numFaults})
	}
	if !p.booting && p.op.Op != InitProducer && p.op.Op != WriteClaim && p.op.Op != CommitTransaction {
		ms = append(ms, move{mOther, i, 0, others})
	}
	if p.op.Op != 0 {
		ms = append(ms, move{mStep, i, 0, numFaults})
		if p.op.Op == WriteClaim && w.conf.fencing == FenceStoreless && p.member && p.current {
			ms = append(ms, move{mDelay, i, 0, delays})
		}
		if w.endsTxn(p) && p.session == valid {
			ms = append(ms, move{mLoseRequest, i, 0, losses}, move{mLoseAnswer, i, 0, losses})
		}
		return ms
	}
	if p.owner.stage == owning && !p.revoking {
		if p.pos < w.conf.records {
			ms = append(ms, move{mEmit, i, 0, numFaults})
		}
		if p.pos > p.base {
			ms = append(ms, move{mCheckpoint, i, 0, numFaults})
		}
	}
	return ms
}

func (w *world) groupMoves(ms []move, i uint8) []move {
	p := &w.procs[i]
	add := func(when bool, kind moveKind, cost fault) {
		if when {
			ms = append(ms, move{kind, i, 0, cost})
		}
	}
	if p.life != up {
		add(p.member, mExpire, numFaults)
		return ms
	}
	holds := w.group.holder == int8(i)
	rest := (p.op.Op == 0 || p.stale) && p.owner.Idle()
	add(p.member, mKick, kicks)
	add(!p.member && !p.assigned && rest, mJoin, numFaults)
	add(p.member && !p.current && !p.owner.Excludes(), mSync, numFaults)
	add(p.member && p.current && holds && !p.assigned && rest && !p.stale, mAssigned, numFaults)
	add(!p.member && p.assigned && !p.revoking && !p.owner.Excludes(), mLost, numFaults)
	add(p.member && p.current && holds && p.assigned && !p.revoking && w.otherMember(int(i)) >= 0 && !p.owner.Excludes(), mRevoke, revokes)
	add(p.revoking && !p.owner.Excludes() && !p.stale, mRevoked, numFaults)
	return ms
}

// apply takes a step. It returns false if it is not possible yet.
func (w *world) apply(m move) bool {
	if m.cost != numFaults {
		w.faults[m.cost]--
	}
	switch m.kind {
	case mMarker:
		w.marker(m.who, m.part)
		return true
	case mTimeOut:
		w.timeOut(m.who)
		return true
	case mStray:
		w.note("a late InitProducerID fences %s", idNames[m.who])
		w.initProducer(m.who, -1)
		return true
	case mArrive:
		w.note("the delayed OffsetCommit arrives: %d", w.late.at)
		w.plainCommit(w.late.at, w.late.id)
		w.late = late{}
		return true
	}
	i := int(m.who)
	p := &w.procs[i]
	switch m.kind {
	case mStart:
		w.start(i)
	case mCrash:
		w.note("%s crashes", w.name(i))
		*p = process{life: crashed, id: p.id, member: p.member}
	case mStep:
		return w.step(i)
	case mLoseRequest:
		w.note("%s: the request of EndTxn is lost", w.name(i))
		w.endTxn(i, EndedUnknown)
	case mLoseAnswer:
		w.note("%s: the answer of EndTxn is lost, it is committed", w.name(i))
		w.decide(p.id)
		w.endTxn(i, EndedUnknown)
	case mEmit:
		return w.emit(i)
	case mDelay:
		w.note("%s: its OffsetCommit gets no answer", w.name(i))
		w.late = late{true, uint8(p.op.Position.Next), p.id}
		w.endTxn(i, EndedUnanswered)
	case mOther:
		w.note("%s: another partition needs a new epoch", w.name(i))
		p.other = true
	case mOtherStep:
		return w.stepInit(i)
	case mCheckpoint:
		w.note("%s takes a checkpoint at %d", w.name(i), p.pos)
		w.perform(i, p.owner.Checkpoint(Position{Next: Offset(p.pos)}))
		w.step(i)
	default:
		w.applyGroup(m.kind, i)
	}
	return true
}

func (w *world) applyGroup(kind moveKind, i int) {
	p := &w.procs[i]
	switch kind {
	case mKick, mExpire:
		w.note("the group takes %s for dead", w.name(i))
		w.leave(i)
	case mJoin:
		w.note("%s joins the group", w.name(i))
		w.rebalance()
		p.member, p.current = true, true
		if w.group.holder < 0 {
			w.group.holder = int8(i)
		}
	case mSync:
		w.note("%s learns of the new generation", w.name(i))
		p.current = true
	case mAssigned:
		w.note("%s is assigned the partition", w.name(i))
		p.assigned = true
		w.perform(i, p.owner.Take(Position{}))
	case mLost:
		w.note("%s is told that the partition is lost", w.name(i))
		p.assigned = false
		w.perform(i, p.owner.Lost())
	case mRevoke:
		w.note("the group revokes the partition from %s", w.name(i))
		p.revoking = true
		w.revoked(i)
	case mRevoked:
		w.revoked(i)
	}
}

// revoked goes on in the revoked callback: it ends when the owner has ended.
func (w *world) revoked(i int) {
	p := &w.procs[i]
	switch {
	case p.owner.Idle():
		w.note("%s: the revoked callback returns", w.name(i))
		p.revoking, p.assigned = false, false
		if p.member && w.group.holder == int8(i) {
			if other := w.otherMember(i); other >= 0 {
				w.group.holder = other
			}
			w.rebalance()
		}
	case p.owner.stage == owning:
		w.note("%s takes its last checkpoint at %d", w.name(i), p.pos)
		w.perform(i, p.owner.Revoke(Position{Next: Offset(p.pos)}))
		w.step(i)
	default:
		w.note("%s has waited long enough in the revoked callback", w.name(i))
		w.perform(i, p.owner.Revoke(Position{}))
	}
}

func (w *world) name(i int) string {
	return fmt.Sprintf("%c(%s)", 'A'+i, idNames[w.procs[i].id])
}

func (w *world) start(i int) {
	p := &w.procs[i]
	id := p.id
	if p.life == crashed && w.conf.fencing.group() && !w.conf.sameID && !w.conf.keepID {
		// An id of a group's process has a random part.
		id = w.ids
		w.ids++
	}
	*p = process{life: up, id: id, booting: true, op: OwnerAction{Op: InitProducer, Fresh: true}}
	p.owner = NewOwner(OwnerConfig{ID: idNames[id], Fencing: w.conf.fencing})
	p.owner.off, p.owner.log.off = w.conf.off, w.conf.off
	w.note("%s starts", w.name(i))
}

// emit copies the next record.
func (w *world) emit(i int) bool {
	p := &w.procs[i]
	can, ok := w.begin(p, inOutput)
	if !can {
		return false
	}
	if !ok {
		w.note("%s: record %d is refused", w.name(i), p.pos)
		w.perform(i, p.owner.Uncertain())
		return true
	}
	w.note("%s writes record %d", w.name(i), p.pos)
	w.out = append(slices.Clip(w.out), sent{seq: p.pos, id: p.id})
	p.pos++
	return true
}

// perform does what an owner asks for: at once, or as the process's op.
func (w *world) perform(i int, acts []OwnerAction) {
	p := &w.procs[i]
	for _, a := range acts {
		w.note("  %s: %v", w.name(i), a)
		switch a.Op {
		case Own, Suspend:
		case AbortTransaction:
			w.abandon(i)
		case Rejoin:
			p.assigned = false
			w.leave(i)
		case Drop:
			if !p.stale {
				p.clear()
			}
			p.base, p.pos = 0, 0
		case Stop:
			p.clear()
			*p = process{life: stoppedForGood, id: p.id, session: p.session}
		case RestoreFrom:
			p.clear()
			p.base = uint8(a.Position.Next)
			p.pos = p.base
			w.perform(i, p.owner.Restored(a.Step))
		case BackOff:
			w.perform(i, p.owner.BackedOff(a.Step))
		default:
			p.clear()
			p.op = a
		}
	}
}

func (p *process) clear() {
	p.op, p.phase, p.mark, p.stale, p.abort, p.at = OwnerAction{}, 0, 0, false, false, 0
}

// abandon aborts the transaction, after what is on its way already.
func (w *world) abandon(i int) {
	p := &w.procs[i]
	if (p.op.Op == WriteClaim || p.op.Op == CommitTransaction) && p.phase > 0 {
		p.stale, p.abort = true, true
		return
	}
	p.clear()
	if t := &w.txns[p.id]; p.session == valid && t.state == txnOngoing {
		t.state = txnAbort
	}
}
