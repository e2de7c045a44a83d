package checkpoint

import (
	"fmt"
	"math"
	"sync/atomic"
)

// Entry is one batch on its way from a source or an operator to its
// acknowledgement. Its state may be read from any goroutine.
type Entry struct {
	// Partition that the batch belongs to.
	Partition Partition
	// Attempt counts the rewinds before the batch was emitted.
	Attempt int
	// Lane tells assignments of the partition apart, where the source sets it before the
	// batch leaves: what was learnt in one may be of another log of the same name.
	Lane int

	ledger *Ledger
	owner  string
	state  atomic.Uint32
	// watermark is in milliseconds, noWatermark while it is not known.
	watermark atomic.Int64
}

const noWatermark = math.MinInt64

// Watermark returns how far event time has come in the partition: up to the batch, and,
// once whoever assigns event times has seen it, with the batch.
func (e *Entry) Watermark() Watermark {
	if at := e.watermark.Load(); at != noWatermark {
		return Watermark{Known: true, At: at}
	}
	return Watermark{}
}

// Advance raises the watermark; a lower one, and one that is not known, change nothing.
func (e *Entry) Advance(w Watermark) {
	for w.Known {
		at := e.watermark.Load()
		if w.At <= at || e.watermark.CompareAndSwap(at, w.At) {
			return
		}
	}
}

// EntryState says where a batch is.
type EntryState uint32

// The states of an entry.
const (
	// Live: emitted, not acknowledged; or rejected, so that its owner emits it again,
	// and whoever has a copy of it may still deliver that, as another output of a
	// `broker` does that was slower to fail.
	Live EntryState = iota
	// Left: acknowledged. Whoever still holds a message of it was bypassed: some
	// component acknowledged early.
	Left
	// Discarded: its attempt was abandoned by a rewind or at shutdown.
	Discarded
	// rejected: out of the ledger, and Live until the attempt is abandoned.
	rejected
)

// State returns the entry's state.
func (e *Entry) State() EntryState {
	s := EntryState(e.state.Load())
	switch {
	case s != rejected:
		return s
	case e.Attempt != e.ledger.Attempt():
		return Discarded
	}
	return Live
}

// Coordinator returns the coordinator whose ledger holds the entry.
func (e *Entry) Coordinator() Coordinator { return e.ledger.home }

// Covered tells that checkpoints are on: what is acknowledged need only be
// durable when the next checkpoint completes, because its source goes back to
// the last one if it is not.
func (e *Entry) Covered() bool { return e.ledger.covered }

// String prints the entry for tests and logs.
func (e *Entry) String() string {
	return fmt.Sprintf("%s %s#%d", e.owner, e.Partition, e.Attempt)
}

// Ledger holds every batch between its emission and its acknowledgement. All of it
// but Attempt needs a lock.
type Ledger struct {
	home    Coordinator
	covered bool
	attempt atomic.Int64
	abandon bool
	live    map[*Entry]struct{}
	count   map[string]int
}

// NewLedger returns an empty ledger. home is what its entries name as their
// coordinator; covered is what they say about checkpoints.
func NewLedger(home Coordinator, covered bool) *Ledger {
	return &Ledger{home: home, covered: covered, live: map[*Entry]struct{}{}, count: map[string]int{}}
}

// Enter adds a batch.
func (l *Ledger) Enter(owner string, p Partition) *Entry {
	e := &Entry{Partition: p, Attempt: l.Attempt(), ledger: l, owner: owner}
	e.watermark.Store(noWatermark)
	if l.abandon {
		e.state.Store(uint32(Discarded))
	}
	l.live[e] = struct{}{}
	l.count[owner]++
	return e
}

// Leave removes a batch and tells whether it was there.
func (l *Ledger) Leave(e *Entry) bool { return l.remove(e, Left) }

// Reject removes a batch that its owner emits again, and tells whether it was there.
func (l *Ledger) Reject(e *Entry) bool { return l.remove(e, rejected) }

// DiscardOwner removes whatever an owner still has and returns how many.
func (l *Ledger) DiscardOwner(owner string) int {
	return l.discard(func(e *Entry) bool { return e.owner == owner })
}

// Abandon ends the attempt. What is under way stays until it leaves, but counts
// as discarded, and so does what operators still emit because of it, until
// Renew.
func (l *Ledger) Abandon() {
	l.attempt.Add(1)
	l.abandon = true
	for e := range l.live {
		e.state.Store(uint32(Discarded))
	}
}

// Renew begins the next attempt.
func (l *Ledger) Renew() { l.abandon = false }

// Attempt returns the number of abandoned attempts.
func (l *Ledger) Attempt() int { return int(l.attempt.Load()) }

// Len returns the number of batches under way; LenOf those of one owner.
func (l *Ledger) Len() int { return len(l.live) }

// LenOf returns the number of batches of one owner.
func (l *Ledger) LenOf(owner string) int { return l.count[owner] }

// Owners returns who has batches under way, and how many, for failure messages.
func (l *Ledger) Owners() map[string]int {
	owners := make(map[string]int)
	for o, n := range l.count {
		if n > 0 {
			owners[o] = n
		}
	}
	return owners
}

func (l *Ledger) discard(which func(*Entry) bool) int {
	n := 0
	for e := range l.live {
		if which(e) && l.remove(e, Discarded) {
			n++
		}
	}
	return n
}

func (l *Ledger) remove(e *Entry, to EntryState) bool {
	if _, ok := l.live[e]; !ok {
		return false
	}
	delete(l.live, e)
	l.count[e.owner]--
	e.state.CompareAndSwap(uint32(Live), uint32(to))
	return true
}
