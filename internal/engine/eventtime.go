package engine

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/tidemarkhq/tidemark/checkpoint"
	"github.com/tidemarkhq/tidemark/watermark"
)

// eventTime follows how far event time has come in what the stream reads: assigners say
// what records have led to, sources how far they are, operators are told what follows
// without a record.
//
// Its lock is taken after that of the coordinator and before those of participants.
type eventTime struct {
	c *Coordinator
	// turn holds one token while somebody looks around: the loop, or a source at the end
	// of a bounded run. It is no mutex, because that may take long.
	turn chan struct{}

	mu struct {
		sync.Mutex
		assigners []*Assigner
		tracker   *watermark.Tracker[checkpoint.Partition]
		// rules are those of the partitions that the tracker has, lanes their assignments;
		// reached is what records of partitions have led to.
		rules   map[checkpoint.Partition]watermark.Rules
		lanes   map[checkpoint.Partition]int
		reached map[checkpoint.Partition]reached
		// fastest is the highest of them.
		fastest watermark.Time
		// life counts how often all was forgotten.
		life int
		// every is how often to look around; 0 = never: there is no assigner.
		every time.Duration
	}
	// changed tells the loop that every has; capacity 1, one look is enough.
	changed chan struct{}
}

// reached is what records of a partition have led to, in which assignment of it, and who
// said so.
type reached struct {
	watermark watermark.Time
	lane      int
	by        *Assigner
}

func newEventTime(c *Coordinator) *eventTime {
	et := &eventTime{c: c, turn: make(chan struct{}, 1), changed: make(chan struct{}, 1)}
	et.forget()
	return et
}

// forget drops all that is known: a rewind goes back to what a checkpoint holds.
func (et *eventTime) forget() {
	et.mu.Lock()
	defer et.mu.Unlock()
	et.mu.life++
	et.mu.tracker = watermark.NewTracker[checkpoint.Partition]()
	et.mu.rules = map[checkpoint.Partition]watermark.Rules{}
	et.mu.lanes = map[checkpoint.Partition]int{}
	et.mu.reached = map[checkpoint.Partition]reached{}
	et.mu.fastest = watermark.None
}

// assigned tells whether anything assigns event times.
func (et *eventTime) assigned() bool {
	et.mu.Lock()
	defer et.mu.Unlock()
	return len(et.mu.assigners) > 0
}

// loop looks around as long as the build lives.
func (et *eventTime) loop() {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		et.mu.Lock()
		every := et.mu.every
		et.mu.Unlock()
		timer.Stop()
		if every > 0 {
			timer.Reset(every)
		}
		select {
		case <-timer.C:
			if err := et.look(et.c.ctx); err != nil && et.c.ctx.Err() == nil {
				et.c.log.Debugf("Following event time: %v", err)
			}
		case <-et.changed:
		case <-et.c.done:
			return
		}
	}
}

// report is what a source says, with an assigner that its records may pass.
type report struct {
	paced    checkpoint.Paced
	progress map[checkpoint.Partition]checkpoint.Progress
	assigner *Assigner
}

// reports asks the sources how far they are; settled is false while one of them does not
// know yet what it reads.
//
// over tells that a source ends, or has ended, before it was read to the end of a bounded
// run. Then event time stays where it is: what the source has not read yet would be late
// in the next run.
func (et *eventTime) reports() (all []report, settled, over bool) {
	c := et.c
	c.mu.Lock()
	var open []*source
	for _, s := range c.mu.sources {
		over = over || (s.closed || s.stopping) && !s.finished
		if !s.closed {
			open = append(open, s)
		}
	}
	c.mu.Unlock()
	et.mu.Lock()
	assigners := slices.Clone(et.mu.assigners)
	et.mu.Unlock()
	settled = true
	for _, s := range open {
		i := slices.IndexFunc(assigners, func(a *Assigner) bool { return a.serves(s.path) })
		paced, ok := s.s.(checkpoint.Paced)
		if i < 0 || !ok {
			continue
		}
		progress, known := paced.Progress()
		settled = settled && known
		named := make(map[checkpoint.Partition]checkpoint.Progress, len(progress))
		for p, pr := range progress {
			p.Source = s.name
			named[p] = pr
		}
		all = append(all, report{paced, named, assigners[i]})
	}
	return all, settled, over
}

// look finds out how far all have come, lets those wait that are too far ahead, and tells
// operators.
func (et *eventTime) look(ctx context.Context) error {
	select {
	case et.turn <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { <-et.turn }()
	et.mu.Lock()
	life := et.mu.life
	et.mu.Unlock()
	all, _, _ := et.reports()
	et.mu.Lock()
	if life != et.mu.life {
		et.mu.Unlock()
		return errRewinding // What was reported is not so any more.
	}
	et.trackLocked(all)
	et.mu.tracker.Decide()
	held := et.heldLocked(all)
	et.mu.Unlock()
	for i, r := range all {
		r.paced.Hold(held[i], lookEvery(r.assigner.rules))
	}
	et.measure(all)
	return et.tell(ctx)
}

// lookEvery is how often the ends of partitions have to be looked at to find idle ones in
// time; 0 = it does not matter.
func lookEvery(r watermark.Rules) time.Duration {
	if r.IdleAfter == 0 {
		return 0
	}
	return max(r.IdleAfter/4, 50*time.Millisecond)
}

// trackLocked brings the tracker up to date.
func (et *eventTime) trackLocked(all []report) {
	there := map[checkpoint.Partition]bool{}
	fresh := map[watermark.Rules]map[checkpoint.Partition]watermark.Progress{}
	for _, r := range all {
		for p, pr := range r.progress {
			there[p] = true
			if et.mu.lanes[p] != pr.Lane {
				delete(et.mu.rules, p) // Assigned anew, perhaps with another log.
				et.mu.lanes[p] = pr.Lane
			}
			own, rules := et.reachedLocked(p, pr, r.assigner)
			if had, ok := et.mu.rules[p]; ok && had == rules {
				et.mu.tracker.Advance(p, own)
				continue
			}
			if fresh[rules] == nil {
				fresh[rules] = map[checkpoint.Partition]watermark.Progress{}
			}
			fresh[rules][p] = watermark.Progress{Own: own, Seen: watermark.None}
			et.mu.rules[p] = rules
		}
	}
	for p := range et.mu.rules {
		if !there[p] {
			et.mu.tracker.Remove(p)
			delete(et.mu.rules, p)
			delete(et.mu.lanes, p)
			delete(et.mu.reached, p)
		}
	}
	for rules, from := range fresh {
		et.mu.tracker.Add(from, rules)
	}
	for _, r := range all {
		for p, pr := range r.progress {
			if pr.Finished() {
				et.mu.tracker.Finish(p)
				continue
			}
			et.mu.tracker.Quiet(p, pr.Quiet)
		}
	}
}

// reachedLocked returns how far records of a partition have led, also those that are under
// way, and the rules of whoever they pass.
func (et *eventTime) reachedLocked(
	p checkpoint.Partition, pr checkpoint.Progress, first *Assigner,
) (watermark.Time, watermark.Rules) {
	own := watermark.None
	if pr.Watermark.Known {
		own = watermark.Time(pr.Watermark.At)
	}
	if r, ok := et.mu.reached[p]; ok && r.lane == pr.Lane {
		return max(own, r.watermark), r.by.rules
	}
	return own, first.rules
}

// heldLocked returns, for each report, which of its partitions have to wait.
func (et *eventTime) heldLocked(all []report) []map[checkpoint.Partition]bool {
	held := make([]map[checkpoint.Partition]bool, len(all))
	for i, r := range all {
		held[i] = map[checkpoint.Partition]bool{}
		for p := range r.progress {
			if et.mu.tracker.Held(p) {
				p.Source = ""
				held[i][p] = true
			}
		}
	}
	return held
}

// tell tells the operators that follow event time how far partitions have come, as far as
// that is behind all of their records: it is in the ledger while they are told, so that
// no cut comes in between.
func (et *eventTime) tell(ctx context.Context) error {
	for _, o := range et.c.clocked() {
		entry, err := o.Enter(ctx, checkpoint.Partition{})
		if err != nil {
			return err
		}
		all, settled, over := et.reports()
		if over {
			o.Leave(entry, nil)
			return nil
		}
		arrived := et.c.readToEnd()
		et.mu.Lock()
		for _, r := range all {
			for p, pr := range r.progress {
				arrived[p] = checkpoint.Arrived{
					Watermark: pr.Watermark, Finished: pr.Finished(), Lane: pr.Lane,
					Idle: pr.Quiet > 0 && et.mu.tracker.Merged().IsIdle(p),
				}
			}
		}
		et.mu.Unlock()
		err = o.o.(checkpoint.Clocked).Arrived(ctx, arrived, settled)
		o.Leave(entry, err)
		if err != nil {
			return err
		}
	}
	return nil
}

// readToEnd returns the partitions of sources that have ended because they had read all of
// them to the end of a bounded run. Operators that went back to a checkpoint may have
// forgotten them.
func (c *Coordinator) readToEnd() map[checkpoint.Partition]checkpoint.Arrived {
	c.mu.Lock()
	defer c.mu.Unlock()
	all := map[checkpoint.Partition]checkpoint.Arrived{}
	for p, pos := range c.mu.departed {
		if pos.Finished() {
			all[p] = checkpoint.Arrived{Watermark: pos.Watermark, Finished: true, Ended: true}
		}
	}
	return all
}

// clocked returns the operators that follow event time.
func (c *Coordinator) clocked() (all []*operator) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, o := range c.mu.operators {
		if _, ok := o.o.(checkpoint.Clocked); ok {
			all = append(all, o)
		}
	}
	return all
}
