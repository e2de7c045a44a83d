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
	c.answerAllLocked(fmt.Errorf("the stream goes back to its last checkpoint: %w", a.Err))
}

// abortLocked waits until nothing of the abandoned attempt is on its way, and
// drops the state it wrote.
func (c *Coordinator) abortLocked() {
	sinks := append([]*sink(nil), c.mu.sinks...)
	c.goLocked(func() {
		err := sideBySide(sinks, func(s *sink) error { return s.s.Abort(c.ctx) })
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
	to := checkpoint.Positions{}
	if c.mu.last != nil {
		to = c.mu.last.Positions.Clone()
	}
	timeout := c.mu.conf.Timeout
	c.goLocked(func() {
		ctx, cancel := context.WithTimeout(c.ctx, timeout)
		defer cancel()
		err := restore(ctx, operators, open, to)
		c.eventTime.forget()
		if err != nil && c.ctx.Err() == nil {
			c.log.Errorf("Going back to the last checkpoint failed: %v", err)
		}
		c.step(func(m *checkpoint.Machine, now time.Time, _ checkpoint.Kind) []checkpoint.Action {
			return m.Restored(now, err)
		})
	})
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
