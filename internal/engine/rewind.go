package engine

import (
	"context"
	"fmt"
	"time"

	"github.com/tidemarkhq/tidemark/checkpoint"
)

// discardLocked begins a rewind. The order of the steps is invariant 10: sinks
// drop first, or else a full queue would never let the ledger drain.
func (c *Coordinator) discardLocked(a checkpoint.Action) {
	c.metrics.restarted()
	c.log.Warnf("Going back to checkpoint %d in %v, because of: %v",
		c.mu.machine.LastComplete(), a.Wait.Round(time.Millisecond), a.Err)
	c.closeGateLocked()
	c.mu.ledger.Abandon()
	for _, s := range c.mu.sinks {
		s.s.Discard()
	}
	c.mu.cause = a.Err
	c.answerAllLocked(fmt.Errorf("%w: %w", errRewinding, a.Err))
}

// abortLocked waits until nothing of the abandoned attempt is on its way, and
// drops the state it wrote.
func (c *Coordinator) abortLocked() {
	sinks, transaction := append([]*sink(nil), c.mu.sinks...), c.mu.transaction
	c.goLocked(func() {
		err := sideBySide(sinks, func(s *sink) error { return s.s.Abort(c.ctx) })
		if err == nil && transaction != nil {
			err = transaction.abort(c.ctx)
		}
		c.stateMu.Lock()
		c.overlay.Drop()
		c.stateMu.Unlock()
		c.step(func(m *checkpoint.Machine, now time.Time, k checkpoint.Kind) []checkpoint.Action {
			return m.Aborted(now, k, err)
		})
	})
}

// restoreLocked brings operators and sources back to the last checkpoint.
func (c *Coordinator) restoreLocked() {
	operators := append([]*operator(nil), c.mu.operators...)
	var open []*source
	for _, s := range c.mu.sources {
		if !s.closed {
			s.finished = false // There may be more to read again.
			open = append(open, s)
		}
	}
	timeout, published, keeper := c.mu.conf.Timeout, c.mu.transaction != nil && c.mu.store == nil, c.keeperLocked()
	c.goLocked(func() {
		ctx, cancel := context.WithTimeout(c.ctx, timeout)
		defer cancel()
		var err error
		switch {
		case published:
			err = c.readPublished(ctx, open)
		case keeper != nil:
			err = keeper.recover(ctx)
		}
		if err == nil {
			err = restore(ctx, operators, open, c.lastPositions())
		}
		c.eventTime.forget()
		if err != nil && c.ctx.Err() == nil {
			c.log.Errorf("Going back to the last checkpoint failed: %v", err)
		}
		c.step(func(m *checkpoint.Machine, now time.Time, _ checkpoint.Kind) []checkpoint.Action {
			return m.Restored(now, err)
		})
	})
}

// readPublished finds out which checkpoint is the last one: how the transaction before ended
// nobody may know, and what is remembered here may not be true any more.
func (c *Coordinator) readPublished(ctx context.Context, open []*source) error {
	for _, s := range open {
		ps, id, err := s.s.(Member).Published(ctx)
		if err != nil {
			return fmt.Errorf("asking what is committed for %q: %w", s.name, err)
		}
		c.correct(func(last *checkpoint.Manifest) {
			last.ID = max(last.ID, id)
			for p, pos := range ps {
				p.Source = s.name
				last.Positions[p] = pos
			}
			c.mu.machine.Found(id)
		})
	}
	return nil
}

// correct changes what is taken for the last complete checkpoint, with mu held. Whoever has
// it keeps it as it was.
func (c *Coordinator) correct(change func(last *checkpoint.Manifest)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	last := checkpoint.Manifest{Job: c.mu.job, Positions: checkpoint.Positions{}}
	if c.mu.last != nil {
		last = *c.mu.last
		last.Positions = last.Positions.Clone()
	}
	change(&last)
	c.mu.last = &last
}

// lastPositions are those of the last complete checkpoint.
func (c *Coordinator) lastPositions() checkpoint.Positions {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.mu.last == nil {
		return checkpoint.Positions{}
	}
	return c.mu.last.Positions.Clone()
}

func restore(ctx context.Context, operators []*operator, sources []*source, to checkpoint.Positions) error {
	for _, o := range operators {
		if err := o.o.Restore(ctx); err != nil {
			return fmt.Errorf("restoring %q: %w", o.name, err)
		}
	}
	for _, s := range sources {
		if err := s.s.Rewind(ctx, to.Of(s.name)); err != nil {
			return fmt.Errorf("taking %q back: %w", s.name, err)
		}
	}
	return nil
}

// resumeLocked ends a rewind: only now does anything move.
func (c *Coordinator) resumeLocked(a checkpoint.Action) {
	for _, s := range c.mu.sinks {
		s.s.Accept()
	}
	c.undepartLocked()
	c.mu.ledger.Renew()
	c.openGateLocked()
	c.log.Infof("Resumed from checkpoint %d", a.ID)
}

// undepartLocked takes back the positions of sources that have ended: what they
// had delivered since the last checkpoint was dropped, and they cannot read it
// again. The next start of the job will. Only now is it known for certain which
// checkpoint is the last, and who else ended during the rewind.
func (c *Coordinator) undepartLocked() {
	for p, pos := range c.mu.departed {
		delete(c.mu.departed, p)
		var back checkpoint.Position
		if c.mu.last != nil {
			back = c.mu.last.Positions[p]
		}
		if back.Next < pos.Next {
			c.mu.spoiled = c.mu.cause
			c.unfinishLocked(p.Source)
		}
		if back != (checkpoint.Position{}) {
			c.mu.departed[p] = back
		}
	}
}

// unfinishLocked notes that a source that has ended was not read to the end after all:
// event time stays where it is.
func (c *Coordinator) unfinishLocked(name string) {
	for _, s := range c.mu.sources {
		if s.name == name {
			s.finished = false
		}
	}
}
