package engine

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"time"

	"github.com/tidemarkhq/tidemark/checkpoint"
)

// loop tells the machine the time. It runs from start to the end of the build.
func (c *Coordinator) loop() {
	defer c.work.Done()
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		c.mu.Lock()
		at := c.mu.machine.Wake()
		c.mu.Unlock()
		timer.Stop()
		if !at.IsZero() {
			timer.Reset(max(time.Until(at), 0))
		}
		select {
		case <-c.done:
			return
		case <-c.wake:
		case <-timer.C:
			c.step(func(m *checkpoint.Machine, now time.Time, k checkpoint.Kind) []checkpoint.Action {
				return m.Tick(now, k)
			})
		}
	}
}

type event = func(m *checkpoint.Machine, now time.Time, k checkpoint.Kind) []checkpoint.Action

// step tells the machine what happened and does what it answers.
func (c *Coordinator) step(ev event) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stepLocked(ev)
}

func (c *Coordinator) stepLocked(ev event) {
	if c.mu.closed {
		return // The build has ended; nobody would wait for what this starts.
	}
	c.performLocked(ev(c.mu.machine, time.Now(), c.kindLocked()))
	c.settleLocked()
	c.wakeLocked()
}

// wakeLocked makes the loop ask the machine when it wants to be told the time.
func (c *Coordinator) wakeLocked() {
	select {
	case c.wake <- struct{}{}:
	default: // The loop has not looked since the last time: once is enough.
	}
}

// settleLocked tells the machine that the ledger is empty, if it is. The machine
// ignores it unless it waits for that.
func (c *Coordinator) settleLocked() {
	for c.mu.ledger.Len() == 0 && !c.mu.closed {
		acts := c.mu.machine.Aligned(time.Now())
		acts = append(acts, c.mu.machine.Drained(time.Now())...)
		if len(acts) == 0 {
			return
		}
		c.performLocked(acts)
		c.wakeLocked()
	}
}

func (c *Coordinator) performLocked(acts []checkpoint.Action) {
	for _, a := range acts {
		switch a.Op {
		case checkpoint.Align:
			c.mu.cutBegan = time.Now()
			c.closeGateLocked()
			c.bindWaitersLocked(a.ID)
		case checkpoint.Unalign:
			c.openGateLocked()
		case checkpoint.Cut:
			c.cutLocked(a)
		case checkpoint.Flush:
			c.flushLocked(a.ID)
		case checkpoint.CancelFlush:
			if c.mu.cancelFlush != nil {
				c.mu.cancelFlush()
			}
		case checkpoint.Persist:
			c.persistLocked(a.ID)
		case checkpoint.Commit:
			c.commitLocked(a.ID)
		case checkpoint.Completed:
			c.completedLocked(a)
		case checkpoint.Failed:
			c.failedLocked(a)
		case checkpoint.Discard:
			c.discardLocked(a)
		case checkpoint.Abort:
			c.abortLocked()
		case checkpoint.Restore:
			c.restoreLocked()
		case checkpoint.Resume:
			c.resumeLocked(a)
		case checkpoint.Die:
			c.dieLocked(a.Err)
		}
	}
}

func (c *Coordinator) closeGateLocked() {
	if c.mu.gate == nil {
		c.mu.gate = make(chan struct{})
	}
}

func (c *Coordinator) openGateLocked() {
	if c.mu.gate != nil {
		close(c.mu.gate)
		c.mu.gate = nil
	}
}

// cutLocked takes positions, freezes state and rotates sinks. Order matters in a
// running cut: what is below the positions was handed to a sink before, so it
// belongs to the epoch that the rotation ends.
func (c *Coordinator) cutLocked(a checkpoint.Action) {
	if a.Kind == checkpoint.Running {
		c.mu.cutBegan = time.Now()
		c.bindWaitersLocked(a.ID)
	} else {
		c.metrics.aligned(time.Since(c.mu.cutBegan))
	}
	// Once: positions move while this goes on.
	read := c.readLocked()
	m := &checkpoint.Manifest{
		Job: c.mu.job, ID: a.ID, Kind: a.Kind, Taken: time.Now(), Final: a.Final,
		Positions: c.positionsLocked(read),
	}
	if a.Final {
		dropStops(m.Positions, read)
	}
	err := c.freezeLocked(a)
	if err == nil {
		c.giveUpLocked()
	}
	for _, s := range c.mu.sinks {
		s.s.Rotate(a.ID)
		s.joined.Store(true)
	}
	c.mu.cut = m
	c.performLocked(c.mu.machine.CutTaken(time.Now(), c.kindLocked(), err))
}

// giveUpLocked makes operators forget what is another process's from this cut on.
func (c *Coordinator) giveUpLocked() {
	k := c.keeperLocked()
	if k == nil {
		return
	}
	gone := k.bind()
	if len(gone) == 0 {
		return
	}
	for _, o := range c.mu.operators {
		if p, ok := o.o.(checkpoint.Partitioned); ok {
			p.Forget(gone)
		}
	}
}

func (c *Coordinator) freezeLocked(a checkpoint.Action) error {
	if a.Kind != checkpoint.Aligned {
		return nil
	}
	for _, o := range c.mu.operators {
		if err := o.o.Freeze(a.ID); err != nil {
			return fmt.Errorf("freezing the state of %q: %w", o.name, err)
		}
	}
	c.stateMu.Lock()
	defer c.stateMu.Unlock()
	c.overlay.Freeze(a.ID)
	return nil
}

// positionsLocked collects the positions of a cut. With a store, a partition that
// nobody reads at the moment keeps its saved position.
func (c *Coordinator) positionsLocked(read checkpoint.Positions) checkpoint.Positions {
	ps := checkpoint.Positions{}
	if c.mu.store != nil && c.mu.last != nil && c.keeperLocked() == nil {
		ps = c.mu.last.Positions.Clone()
	}
	maps.Copy(ps, read)
	return ps
}

// readLocked returns the positions of what this build reads or has read, without
// those that are only carried along from a checkpoint before it.
func (c *Coordinator) readLocked() checkpoint.Positions {
	ps := c.mu.departed.Clone()
	for _, s := range c.mu.sources {
		if s.closed {
			continue
		}
		for p, pos := range s.s.Positions() {
			p.Source = s.name
			ps[p] = pos
		}
	}
	return ps
}

// dropStops forgets the ends of a bounded run that has reached all of them, so
// that the next run resolves them anew. A partition that is not read any more, and
// is carried along, does not keep the others from it.
func dropStops(ps, read checkpoint.Positions) {
	for _, pos := range read {
		if pos.Stop != checkpoint.Unbounded && !pos.Finished() {
			return
		}
	}
	for p, pos := range ps {
		pos.Stop = checkpoint.Unbounded
		ps[p] = pos
	}
}

// flushLocked starts the flush of all sinks, side by side.
func (c *Coordinator) flushLocked(id checkpoint.ID) {
	ctx, cancel := context.WithCancel(c.ctx)
	c.mu.cancelFlush = cancel
	sinks := append([]*sink(nil), c.mu.sinks...)
	c.goLocked(func() {
		defer cancel()
		err := sideBySide(sinks, func(s *sink) error {
			if err := s.s.Flush(ctx, id); err != nil {
				return fmt.Errorf("flushing %q: %w", s.name, err)
			}
			return nil
		})
		c.step(func(m *checkpoint.Machine, now time.Time, k checkpoint.Kind) []checkpoint.Action {
			return m.Flushed(now, k, id, err)
		})
	})
}

func (c *Coordinator) persistLocked(id checkpoint.ID) {
	m, store, metrics, transaction := c.mu.cut, c.mu.store, c.metrics, c.mu.transaction
	open := c.openSourcesLocked()
	c.goLocked(func() {
		n, err := c.persist(m.ID, func(changes []checkpoint.Change) (int64, error) {
			switch {
			case transaction != nil:
				return transaction.commit(c.ctx, m, changes, open)
			case store == nil:
				return 0, nil // The commit is the checkpoint; nothing else to make durable.
			}
			n, err := store.Persist(c.ctx, m, changes)
			if err != nil {
				err = fmt.Errorf("persisting checkpoint %d: %w", m.ID, err)
			}
			return n, err
		})
		if err == nil && store != nil {
			metrics.persisted(n)
		}
		if err == nil && transaction != nil {
			c.beginNext(transaction)
		}
		if err == nil {
			c.keepSnapshot(m, store)
		}
		c.step(func(machine *checkpoint.Machine, now time.Time, k checkpoint.Kind) []checkpoint.Action {
			if err == nil {
				c.mu.last = m
			}
			return machine.Persisted(now, k, id, c.fencedLocked(err))
		})
	})
}

// persist makes what was frozen for a checkpoint durable by write, and forgets it then.
func (c *Coordinator) persist(id checkpoint.ID, write func([]checkpoint.Change) (int64, error)) (int64, error) {
	c.stateMu.RLock()
	frozen := c.overlay.Frozen(id)
	c.stateMu.RUnlock()
	n, err := write(frozen.Changes())
	if err != nil {
		return 0, err
	}
	c.stateMu.Lock()
	c.overlay.Persisted(id)
	c.stateMu.Unlock()
	return n, nil
}

// beginNext begins the transaction after one that was committed.
func (c *Coordinator) beginNext(t *Transaction) {
	if err := t.next(c.ctx); err != nil {
		c.step(c.failed(err))
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.releaseLocked()
}

// releaseLocked lets sinks write what they have held back.
func (c *Coordinator) releaseLocked() {
	for _, s := range c.mu.sinks {
		if t, ok := s.s.(checkpoint.Transactional); ok {
			t.Release()
		}
	}
}

// commitLocked tells the sources, side by side. A source that cannot publish its
// offsets counts it and tries again with the next checkpoint.
func (c *Coordinator) commitLocked(id checkpoint.ID) {
	m, open := c.mu.cut, c.openSourcesLocked()
	timeout, stored := c.mu.conf.Timeout, c.mu.store != nil
	c.goLocked(func() {
		ctx, cancel := context.WithTimeout(c.ctx, timeout)
		defer cancel()
		commit := func(s *source) error { return s.commit(ctx, m) }
		err := sideBySide(open, commit)
		// Without a store the commit is the checkpoint, and at the end of the stream
		// there is no next one that could make up for it: the checkpoint is not
		// complete before it, and whoever waits for it gives up when its time is over.
		for err != nil && !stored && c.stopping.Load() {
			select {
			case <-time.After(commitAgain):
				err = sideBySide(open, commit)
			case <-c.ctx.Done():
				return
			}
		}
		c.step(func(machine *checkpoint.Machine, now time.Time, k checkpoint.Kind) []checkpoint.Action {
			c.commitErrLocked(id, err)
			return machine.Committed(now, k, id)
		})
	})
}

// openSourcesLocked returns the sources that are told of checkpoints.
func (c *Coordinator) openSourcesLocked() []*source {
	var open []*source
	for _, s := range c.mu.sources {
		if !s.gone {
			open = append(open, s)
		}
	}
	return open
}

// commitAgain is how long the last commit of a stream waits after it has failed.
const commitAgain = 200 * time.Millisecond

// sideBySide calls f for all of them at the same time, and returns what went wrong.
func sideBySide[T any](all []T, f func(T) error) error {
	errs := make(chan error, len(all))
	for _, one := range all {
		go func() { errs <- f(one) }()
	}
	var err error
	for range all {
		err = errors.Join(err, <-errs)
	}
	return err
}

// goLocked starts a goroutine that belongs to the build: shut waits for it.
func (c *Coordinator) goLocked(f func()) {
	c.work.Add(1)
	go func() {
		defer c.work.Done()
		f()
	}()
}
