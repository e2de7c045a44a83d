package checkpoint

import (
	"fmt"
	"slices"
)

// A model of what brokers do, as far as ownership depends on it: one partition of the
// store's topic, one of the output's, the group's committed offset of one source
// partition, a transaction coordinator and a group coordinator. Its steps are atomic
// and come in any order.

var idNames = []string{"x", "y", "z", "w"}

// status is that of a record, by the marker of its transaction.
type status uint8

const (
	open status = iota
	visible
	aborted
)

// stored is a record of the store partition. A checkpoint with a release stands for
// the two records that they are.
type stored struct {
	kind    ClaimKind
	release bool
	id, pos uint8
	status  status
}

// sent is a record of the output partition.
type sent struct {
	seq, id uint8
	status  status
}

type txnState uint8

const (
	txnEmpty txnState = iota
	txnOngoing
	// Prepared: decided, but not all partitions have their marker.
	txnCommit
	txnAbort
)

// What takes part in a transaction.
const (
	inStore = 1 << iota
	inOutput
	inOffsets
)

var partNames = map[uint8]string{inStore: "store", inOutput: "output", inOffsets: "offsets"}

// txn is what the coordinator knows of one transactional id.
type txn struct {
	state txnState
	// parts have no marker yet.
	parts uint8
	// offset is a pending TxnOffsetCommit. A plain commit that came after it makes it
	// superseded: it has no effect any more.
	offset     uint8
	superseded bool
}

// session is a process's producer, as the brokers see it.
type session uint8

const (
	noSession session = iota
	valid
	// timedOut: the coordinator aborted the transaction; the producer id and epoch are
	// good for an InitProducerID only.
	timedOut
	fencedOff
)

// group is what the group coordinator knows. Who is a member and who has learned of
// the present generation is in the processes.
type group struct {
	holder int8 // the partition's owner, -1 if none
	set    bool
	offset uint8
	mark   uint8 // who marked the offset
}

// late is a plain OffsetCommit that its sender has given up, until it arrives or
// another generation begins, in which the broker refuses it.
type late struct {
	underWay bool
	at, id   uint8
}

// begin lets a process write to a part of its transaction. It tells whether that is
// possible at the moment, and whether the broker lets it.
func (w *world) begin(p *process, part uint8) (can, ok bool) {
	t := &w.txns[p.id]
	if p.session != valid {
		return true, false
	}
	if t.state == txnCommit || t.state == txnAbort {
		return false, false // CONCURRENT_TRANSACTIONS: the client tries again.
	}
	t.state = txnOngoing
	t.parts |= part
	return true, true
}

// fence takes an epoch away from whoever has it.
func (w *world) fence(id uint8, except int) {
	for i := range w.procs {
		q := &w.procs[i]
		if i != except && q.id == id && q.session != noSession {
			q.session = fencedOff
		}
	}
}

// initProducer is one InitProducerID on an id, by whom it belongs to (by >= 0) or by
// somebody who fences it. It tells whether there is a new epoch already: a transaction
// under way is aborted first.
func (w *world) initProducer(id uint8, by int) (done bool) {
	t := &w.txns[id]
	switch t.state {
	case txnOngoing:
		w.fence(id, by)
		w.note("the coordinator aborts the transaction of %s", idNames[id])
		t.state = txnAbort
		return false
	case txnCommit, txnAbort:
		return false
	}
	w.fence(id, by)
	return true
}

// decide is the point of no return of a commit. Records and positions must be the
// next ones.
func (w *world) decide(id uint8) {
	t := &w.txns[id]
	t.state = txnCommit
	for _, r := range w.out {
		if r.id != id || r.status != open {
			continue
		}
		if r.seq != w.decided {
			w.fail("record %d is committed where record %d is due", r.seq, w.decided)
		}
		w.decided++
	}
	for _, r := range w.store {
		if r.id == id && r.status == open && r.kind == Checkpointed && r.pos != w.decided {
			w.fail("position %d is committed, output up to %d", r.pos, w.decided)
		}
	}
	if t.parts&inOffsets != 0 && t.offset != w.decided {
		w.fail("offset %d is committed to the group, output up to %d", t.offset, w.decided)
	}
}

// marker writes the marker of a decided transaction to one part.
func (w *world) marker(id, part uint8) {
	t := &w.txns[id]
	to := aborted
	if t.state == txnCommit {
		to = visible
	}
	w.note("a marker of %s (%s) reaches the %s", idNames[id], map[status]string{aborted: "abort", visible: "commit"}[to], partNames[part])
	switch part {
	case inStore:
		w.store = slices.Clone(w.store)
		for i := len(w.store) - 1; i >= 0; i-- {
			if r := &w.store[i]; r.id == id && r.status == open {
				r.status = to
				if to == aborted {
					w.forget(i)
				}
			}
		}
	case inOutput:
		w.out = slices.Clone(w.out)
		for i := range w.out {
			if r := &w.out[i]; r.id == id && r.status == open {
				r.status = to
			}
		}
		w.out = slices.DeleteFunc(w.out, func(r sent) bool { return r.status == aborted })
		w.show()
	case inOffsets:
		if to == visible && !t.superseded {
			w.commitOffset(t.offset, id)
		}
		t.offset, t.superseded = 0, false
	}
	t.parts &^= part
	if t.parts == 0 {
		t.state = txnEmpty
	}
}

// forget takes an aborted record out of the store, so that attempts without effect
// lead back to the same state. Nobody has read beyond a record that was open until
// now; but offsets that are known otherwise move down with what they stand for.
func (w *world) forget(i int) {
	w.store = slices.Delete(w.store, i, i+1)
	for j := range w.procs {
		p := &w.procs[j]
		if int(p.mark) > i && p.op.Op == ReadStore {
			p.mark--
		}
		p.at = moved(p.at, i)
		p.owner.mine = moved(p.owner.mine, i)
	}
}

// moved is an offset in the store after record i was taken out. That of the record
// itself goes between those of its neighbours.
func moved(at Offset, i int) Offset {
	switch gone := Offset(2 * i); {
	case at > gone:
		return at - 2
	case at == gone:
		return at - 1
	}
	return at
}

// show lets a read-committed consumer of the output read on, up to the first open
// transaction.
func (w *world) show() {
	for len(w.out) > 0 && w.out[0].status != open {
		r := w.out[0]
		w.out = w.out[1:]
		if r.seq != w.shown {
			w.fail("a consumer reads record %d where record %d is due", r.seq, w.shown)
		}
		w.shown++
	}
}

func (w *world) commitOffset(at, id uint8) {
	if w.group.set && at < w.group.offset {
		w.fail("the group's offset goes back from %d to %d", w.group.offset, at)
	}
	w.group.set, w.group.offset, w.group.mark = true, at, id
}

// plainCommit is an OffsetCommit without a transaction.
func (w *world) plainCommit(at, id uint8) {
	for i := range w.txns {
		if t := &w.txns[i]; t.parts&inOffsets != 0 {
			t.superseded = true
		}
	}
	w.commitOffset(at, id)
}

// pendingOffsets tells whether a stable OffsetFetch would have to wait.
func (w *world) pendingOffsets() bool {
	return slices.ContainsFunc(w.txns[:], func(t txn) bool { return t.parts&inOffsets != 0 })
}

// timeOut is the coordinator's: it aborts a transaction that takes too long.
func (w *world) timeOut(id uint8) {
	w.note("the coordinator aborts the transaction of %s, which takes too long", idNames[id])
	w.txns[id].state = txnAbort
	for i := range w.procs {
		if q := &w.procs[i]; q.id == id && q.session == valid {
			q.session = timedOut
		}
	}
}

// rebalance begins a new generation.
func (w *world) rebalance() {
	w.late = late{}
	for i := range w.procs {
		w.procs[i].current = false
	}
}

// leave takes a member out of the group.
func (w *world) leave(p int) {
	w.procs[p].member = false
	if w.group.holder == int8(p) {
		w.group.holder = w.otherMember(p)
	}
	w.rebalance()
}

func (w *world) otherMember(p int) int8 {
	for i := range w.procs {
		if i != p && w.procs[i].member {
			return int8(i)
		}
	}
	return -1
}

func (w *world) fail(format string, args ...any) {
	if w.broken == "" {
		w.broken = fmt.Sprintf(format, args...)
	}
}
