package checkpoint

import "slices"

// ClaimKind says what a record of a store partition tells about its owner.
type ClaimKind uint8

// What a store partition holds about who owns a source partition.
const (
	// Claimed: a process with that transactional id is about to take the partition.
	// The position is where it would start if there were no checkpoint.
	Claimed ClaimKind = iota + 1
	// Checkpointed: a process with that id committed a checkpoint at the position.
	Checkpointed
	// Released: a process with that id gave the partition up in the transaction of
	// its last checkpoint, and writes nothing more under its claim.
	Released
)

var claimKindNames = [...]string{"", "claim", "checkpoint", "release"}

// String names the kind.
func (k ClaimKind) String() string { return claimKindNames[k] }

// ClaimRecord is one committed record of a store partition, about one source
// partition.
type ClaimRecord struct {
	Kind ClaimKind
	// ID is the transactional id of the process that wrote it.
	ID string
	// At is the record's own offset in the store partition.
	At Offset
	// Position is the resolved start of a claim and the position of a checkpoint;
	// a release has none.
	Position Position
}

// Standing is what a ClaimLog says about one claim.
type Standing uint8

// Standings of a claim.
const (
	// Unclaimed: it is not in the log, so its transaction was aborted.
	Unclaimed Standing = iota
	// Holding: it is the last claim, and not released.
	Holding
	// Overtaken: somebody claimed after it. That may be a process of the same
	// transactional id, so claims are told apart by their offsets.
	Overtaken
	// GivenUp: a release of the same id follows it.
	GivenUp
)

var standingNames = [...]string{"unclaimed", "holding", "overtaken", "given up"}

// String names the standing.
func (s Standing) String() string { return standingNames[s] }

// ClaimLog is what the committed records of a store partition say, in the order of
// the log, about who owns one source partition. It keeps no more than one claim per
// transactional id and the last established one, however many records it is fed.
//
// A claim is established by a committed checkpoint of the same id after it: only
// then is it proven that its claimant had fenced all who were before it. Whoever
// comes later need not look further back.
//
// The zero value is an empty log. A copy is independent of the original.
type ClaimLog struct {
	// claims are in log order. The established one, if any, is the first. The array
	// behind it is never written to, so that copies may share it.
	claims []claim
	next   Offset

	position Position
	known    bool
	complete bool

	off rulesOff
}

type claim struct {
	id                    string
	at                    Offset
	established, released bool
}

// Next returns the offset from which records are missing.
func (l *ClaimLog) Next() Offset { return l.next }

// Add takes the next committed record. Records below Next were taken before and
// change nothing, so that a reader may start anew anywhere.
func (l *ClaimLog) Add(r ClaimRecord) {
	if r.At < l.next {
		return
	}
	l.next = r.At + 1
	switch r.Kind {
	case Claimed:
		l.claimed(r)
	case Checkpointed:
		l.position, l.known, l.complete = r.Position, true, true
		l.establish(r.ID)
	case Released:
		if i := l.last(r.ID); i >= 0 && !l.claims[i].released {
			l.claims = slices.Clone(l.claims)
			l.claims[i].released = true
		}
	}
}

// claimed appends a claim. It takes the place of an earlier one of the same id, but
// not of the established one: that one is still where fencing starts from.
func (l *ClaimLog) claimed(r ClaimRecord) {
	// Of several claims without a checkpoint the first one counts: what it resolved
	// was promised once.
	if !l.known || l.off.checkpointFirst {
		l.position, l.known = r.Position, true
	}
	kept := make([]claim, 0, len(l.claims)+1)
	for _, c := range l.claims {
		if c.id != r.ID || c.established {
			kept = append(kept, c)
		}
	}
	if l.off.established && len(l.claims) > 0 {
		kept = append(kept[:0], l.claims[len(l.claims)-1])
	}
	l.claims = append(kept, claim{id: r.ID, at: r.At})
}

// establish forgets all claims before the last one of id.
func (l *ClaimLog) establish(id string) {
	i := l.last(id)
	if i < 0 || i == 0 && l.claims[0].established {
		return
	}
	l.claims = slices.Clone(l.claims[i:])
	l.claims[0].established = true
}

// last returns the index of the last claim of id, -1 if there is none.
func (l *ClaimLog) last(id string) int {
	for i := len(l.claims) - 1; i >= 0; i-- {
		if l.claims[i].id == id {
			return i
		}
	}
	return -1
}

// Fence returns the transactional ids, in log order, that the claimant of id at an
// offset must fence: all that claimed from the last established claim, inclusive,
// up to its own. An id whose last claim is released is at rest and its own id is
// its own, so these two are left out.
func (l *ClaimLog) Fence(id string, at Offset) []string {
	var ids []string
	for _, c := range l.claims {
		switch {
		case c.at >= at || c.id == id || slices.Contains(ids, c.id):
		case l.claims[l.last(c.id)].released:
		case c.established && l.off.inclusive:
		default:
			ids = append(ids, c.id)
		}
	}
	return ids
}

// Standing tells what became of a claim of id at an offset.
func (l *ClaimLog) Standing(id string, at Offset) Standing {
	own := slices.IndexFunc(l.claims, func(c claim) bool { return c.id == id && c.at == at })
	switch {
	case own >= 0 && l.claims[own].released && !l.off.release:
		return GivenUp
	case len(l.claims) > 0 && l.claims[len(l.claims)-1].at > at:
		return Overtaken
	case own >= 0:
		return Holding
	}
	return Unclaimed
}

// Position returns where to go on from: the last checkpoint's position, or where
// there is none the first claim's; false if there is neither.
//
// A claim says where its claimant would have started, before it had read what was
// there. Counted as a checkpoint it would take the position back.
func (l *ClaimLog) Position() (Position, bool) { return l.position, l.known }

// Claimants returns the ids whose last claim is not released, in log order. Of a log
// of its own that was fed uncommitted records too, that is what Owner.Looked wants.
func (l *ClaimLog) Claimants() []string {
	var ids []string
	for _, c := range l.claims {
		if !l.claims[l.last(c.id)].released && !slices.Contains(ids, c.id) {
			ids = append(ids, c.id)
		}
	}
	return ids
}
