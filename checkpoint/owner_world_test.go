package checkpoint

import (
	"encoding/binary"
	"fmt"
)

// scenario is what a world is made of, and how much may go wrong in it.
type scenario struct {
	fencing Fencing
	off     rulesOff
	// procs is how many processes there are, records how many there are to copy.
	procs, records uint8
	// sameID: all processes have one transactional id.
	sameID bool
	// keepID: a member that starts again has the id it had.
	keepID bool
	// slow: nobody waits for the coordinator to time out the transaction of a process
	// that is gone.
	slow bool
	// How often a process may crash, the request or the answer of an EndTxn be lost, a
	// transaction of a living process time out, a living member be kicked out of the
	// group, the group take the partition away in order, another partition of a process
	// make it initialise its producer anew, an InitProducerID arrive from somebody who
	// has long gone on, and an OffsetCommit arrive late.
	faults [numFaults]uint8
}

type fault uint8

const (
	crashes fault = iota
	losses
	timeOuts
	kicks
	revokes
	others
	strays
	delays
	numFaults
)

func (s *scenario) String() string {
	str := fmt.Sprintf("%v, %d processes, %d records", s.fencing, s.procs, s.records)
	if s.sameID {
		str += ", same id"
	}
	if s.keepID {
		str += ", ids kept"
	}
	if s.slow {
		str += ", slow time-outs"
	}
	for f, name := range []string{"crash", "lost", "time-out", "kick", "revoke", "other partition", "stray fence", "delayed commit"} {
		if n := s.faults[f]; n > 0 {
			str += fmt.Sprintf(", %d %s", n, name)
		}
	}
	return str
}

// world is a state of everything. A copy is independent of the original: slices are
// never written to.
type world struct {
	conf  *scenario
	procs [3]process
	txns  [4]txn
	store []stored
	out   []sent
	group group
	late  late
	// decided is the number of records whose commit is decided, shown the number that
	// a consumer of the output has read.
	decided, shown uint8
	ids            uint8
	faults         [numFaults]uint8
	broken         string
	say            *[]string
}

type life uint8

const (
	notStartedYet life = iota
	up
	crashed
	stoppedForGood
)

// process is one of them: an Owner, and an engine that performs what it asks for, one
// step at a time.
type process struct {
	life    life
	id      uint8
	session session
	owner   Owner
	// op waits for its answer, phase counts its steps. booting: the process's first
	// InitProducerID. other: another partition's trouble goes first. stale: the owner has abandoned it, but it is on its way; abort: an
	// abort follows then.
	op      OwnerAction
	phase   uint8
	mark    uint8 // the high watermark, or the index of an id to fence
	booting bool
	other   bool
	stale   bool
	abort   bool
	// at is where the record of a claim went.
	at Offset
	// base is the last checkpoint, pos the next record to copy.
	base, pos uint8

	// member: the group coordinator counts it in. current: the client has learned of
	// the present generation. assigned: the callback said so. revoking: it is in the
	// revoked callback.
	member, current, assigned, revoking bool
}

func newWorld(s *scenario) world {
	w := world{conf: s, faults: s.faults, group: group{holder: -1}}
	w.ids = s.procs
	for i := range w.procs {
		w.procs[i].id = uint8(i)
		if s.sameID {
			w.procs[i].id = 0
		}
	}
	return w
}

func (w *world) note(format string, args ...any) {
	if w.say != nil {
		*w.say = append(*w.say, fmt.Sprintf(format, args...))
	}
}

// finished tells whether a consumer of the output has read everything.
func (w *world) finished() bool { return w.shown == w.conf.records }

// encode appends everything that the future depends on.
func (w *world) encode(b []byte) []byte {
	b = append(b, w.decided, w.shown, w.ids, byte(w.group.holder), bit(w.group.set), w.group.offset, w.group.mark)
	b = append(b, w.faults[:]...)
	b = append(b, bit(w.late.underWay)|w.late.at<<1|w.late.id<<4)
	for _, t := range w.txns {
		b = append(b, byte(t.state)|t.parts<<2|bit(t.superseded)<<5, t.offset)
	}
	b = append(b, byte(len(w.store)), byte(len(w.out)))
	for _, r := range w.store {
		b = append(b, byte(r.kind)|bit(r.release)<<3|byte(r.status)<<4, r.id|r.pos<<4)
	}
	for _, r := range w.out {
		b = append(b, r.seq|r.id<<3|byte(r.status)<<6)
	}
	for i := range w.procs[:w.conf.procs] {
		b = w.procs[i].encode(b)
	}
	return b
}

func (p *process) encode(b []byte) []byte {
	b = append(b, byte(p.life)|byte(p.session)<<2|p.id<<4, byte(p.op.Op), p.phase, p.mark, p.base, p.pos,
		bit(p.booting)|bit(p.stale)<<1|bit(p.abort)<<2|bit(p.member)<<3|bit(p.current)<<4|bit(p.assigned)<<5|bit(p.revoking)<<6|bit(p.other)<<7,
		byte(p.op.Position.Next), bit(p.op.Release)|bit(p.op.Fresh)<<1, byte(p.at))
	for _, id := range p.op.IDs {
		b = append(b, id...)
	}
	return p.owner.encode(append(b, byte(len(p.op.IDs))))
}

// encode appends the state of an owner but for the number of its step: a step that is
// awaited is the one in the process's op, any other is not. What its log holds
// follows from how far it was read.
func (o *Owner) encode(b []byte) []byte {
	b = append(b, byte(o.stage), bit(o.claimed)|bit(o.fenced)<<1|bit(o.refused)<<2|bit(o.restored)<<3|bit(o.final)<<4,
		byte(o.resolved.Next), byte(o.committed.Next), byte(o.pending.Next))
	b = binary.AppendVarint(b, int64(o.mine))
	return binary.AppendVarint(b, int64(o.log.next))
}

func bit(b bool) byte {
	if b {
		return 1
	}
	return 0
}
