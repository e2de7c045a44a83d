package engine

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/tidemarkhq/tidemark/checkpoint"
	"github.com/tidemarkhq/tidemark/internal/kafka"
)

// source implements checkpoint.SourceHandle.
type source struct {
	c    *Coordinator
	name string
	s    checkpoint.Source
	conf checkpoint.Config
	// path is where the source is in the stream's configuration; nil if nobody knows.
	path []string

	// Guarded by c.mu. alive: Benthos runs it, it was not only constructed;
	// stopping: it was asked to end; finished: it was read to the end of a bounded run;
	// closed: no longer part of cuts; gone: no longer told of checkpoints either.
	alive, restored, stopping, finished, closed, gone bool
}

// Restore implements checkpoint.SourceHandle.
func (s *source) Restore(ctx context.Context) (checkpoint.Restored, error) {
	s.c.mu.Lock()
	s.alive = true
	s.c.mu.Unlock()
	if err := s.c.start(ctx); err != nil {
		if errors.Is(err, checkpoint.ErrFatal) {
			s.c.kill(err)
		}
		return checkpoint.Restored{}, err
	}
	c := s.c
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.mu.failed; err != nil {
		return checkpoint.Restored{}, err
	}
	s.restored = true
	r := checkpoint.Restored{Stored: c.mu.store != nil, ID: c.mu.lastID, Job: c.mu.job,
		Positions: checkpoint.Positions{}, Config: c.mu.conf}
	if c.mu.last != nil {
		r.Positions = c.mu.last.Positions.Of(s.name)
	}
	if t := c.mu.transaction; t != nil {
		r.Writer, r.Cluster = t.id, t.writer.Cluster
	}
	return r, nil
}

// Acquire implements checkpoint.SourceHandle.
func (s *source) Acquire(
	ctx context.Context, ps []checkpoint.Partition,
	resolve func(context.Context, checkpoint.Positions, []checkpoint.Partition) (checkpoint.Positions, error),
) (checkpoint.Positions, error) {
	k := s.c.keeper()
	if k == nil {
		return s.c.lastPositions().Of(s.name), nil
	}
	found, err := k.acquire(ctx, s.named(ps), resolve)
	if errors.Is(err, checkpoint.ErrFatal) {
		s.c.kill(err)
	}
	return found, err
}

// Claimants implements checkpoint.SourceHandle.
func (s *source) Claimants(ctx context.Context, ps []checkpoint.Partition) (map[string][]string, error) {
	if k := s.c.keeper(); k != nil {
		return k.topic.Claimants(ctx, s.named(ps))
	}
	return nil, nil
}

// GiveUp implements checkpoint.SourceHandle.
func (s *source) GiveUp(ctx context.Context, ps []checkpoint.Partition) error {
	if k := s.c.keeper(); k != nil {
		return k.giveUp(ctx, s.named(ps))
	}
	return s.c.checkpoint(ctx)
}

// Lost implements checkpoint.SourceHandle.
func (s *source) Lost(ps []checkpoint.Partition, cause error) {
	if k := s.c.keeper(); k != nil {
		if cause != nil {
			k.doom(cause) // Before their positions are forgotten.
		}
		k.lose(s.named(ps))
	}
	if cause != nil {
		s.Fail(cause)
	}
}

// named adds the name of the source to partitions.
func (s *source) named(ps []checkpoint.Partition) []checkpoint.Scope {
	scopes := make([]checkpoint.Scope, len(ps))
	for i, p := range ps {
		p.Source = s.name
		scopes[i] = p
	}
	return scopes
}

// keeper returns who makes partitions the process's own, nil if nobody need to.
func (c *Coordinator) keeper() *keeper {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.keeperLocked()
}

func (c *Coordinator) keeperLocked() *keeper {
	if c.mu.transaction == nil {
		return nil
	}
	return c.mu.transaction.keeper
}

// Enter implements checkpoint.SourceHandle.
func (s *source) Enter(ctx context.Context, p checkpoint.Partition) (*checkpoint.Entry, error) {
	p.Source = s.name
	c := s.c
	for {
		c.mu.Lock()
		if c.mu.failed != nil || c.mu.closed || s.closed {
			err := c.mu.failed
			c.mu.Unlock()
			if err == nil {
				err = checkpoint.ErrDead
			}
			return nil, err
		}
		gate := c.mu.gate
		if gate == nil {
			e := c.mu.ledger.Enter(s.name, p)
			c.mu.Unlock()
			return e, nil
		}
		c.mu.Unlock()
		select {
		case <-gate:
		case <-c.done:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// Leave implements checkpoint.SourceHandle.
func (s *source) Leave(e *checkpoint.Entry, cause error) { s.c.leave(e, cause) }

func (c *Coordinator) leave(e *checkpoint.Entry, cause error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	take := c.mu.ledger.Leave
	if cause != nil {
		take = c.mu.ledger.Reject
	}
	if take(e) && c.mu.ledger.Len() == 0 {
		c.settleLocked()
	}
}

// Attempt implements checkpoint.SourceHandle.
func (s *source) Attempt() int {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	return s.c.mu.ledger.Attempt()
}

// Nack implements checkpoint.SourceHandle: without state a rejected message can
// be delivered again in place; with it, operators have seen it already.
func (s *source) Nack(cause error) bool {
	c := s.c
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.kindLocked() == checkpoint.Running && !c.mu.machine.Rewinding() {
		return true
	}
	c.stepLocked(c.failed(cause))
	return false
}

// failed is the event that starts a rewind. Without checkpoints there is nothing to
// go back to, and nothing was acknowledged that would have to come again.
func (c *Coordinator) failed(cause error) event {
	return func(m *checkpoint.Machine, now time.Time, _ checkpoint.Kind) []checkpoint.Action {
		if c.mu.conf.Interval <= 0 {
			return nil
		}
		return m.Fail(now, c.fencedLocked(cause))
	}
}

// fencedLocked marks errors that members of a group cause each other when they take
// partitions over.
func (c *Coordinator) fencedLocked(err error) error {
	k := c.keeperLocked()
	if k == nil || !k.group || kafka.Classify(kafka.Write|kafka.Commit, err).Meaning != kafka.Fenced {
		return err
	}
	return fmt.Errorf("%w: %w", checkpoint.ErrFenced, err)
}

// Fail, Fatal and Failed implement checkpoint.SourceHandle.
func (s *source) Fail(cause error) { s.c.step(s.c.failed(cause)) }

// Fatal implements checkpoint.SourceHandle.
func (s *source) Fatal(cause error) { s.c.Fatal(cause) }

// Failed implements checkpoint.SourceHandle.
func (s *source) Failed() error { return s.c.Failed() }

// Done implements checkpoint.SourceHandle.
func (s *source) Done() <-chan struct{} { return s.c.done }

// Checkpoint implements checkpoint.SourceHandle.
func (s *source) Checkpoint(ctx context.Context) error { return s.c.checkpoint(ctx) }

// Finished implements checkpoint.SourceHandle.
func (s *source) Finished(ctx context.Context) error {
	s.c.mu.Lock()
	s.finished = true
	s.c.mu.Unlock()
	return s.c.eventTime.look(ctx)
}

// Continue implements checkpoint.SourceHandle.
func (s *source) Continue(id checkpoint.ID) {
	c := s.c
	c.mu.Lock()
	defer c.mu.Unlock()
	c.mu.machine.Continue(id)
	c.mu.lastID = max(c.mu.lastID, id)
}

// Stopping implements checkpoint.SourceHandle.
func (s *source) Stopping() {
	s.c.stopping.Store(true)
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	s.stopping = true
}

// Close implements checkpoint.SourceHandle.
func (s *source) Close(ctx context.Context) error { return s.c.closeSource(ctx, s) }

// commit tells the source of a checkpoint.
func (s *source) commit(ctx context.Context, m *checkpoint.Manifest) error {
	return s.s.Commit(ctx, s.own(m))
}

// own is a manifest with the partitions of the source only.
func (s *source) own(m *checkpoint.Manifest) *checkpoint.Manifest {
	own := *m
	own.Positions = m.Positions.Of(s.name)
	return &own
}

// operator implements checkpoint.OperatorHandle.
type operator struct {
	c    *Coordinator
	name string
	o    checkpoint.Operator
}

// State implements checkpoint.OperatorHandle.
func (o *operator) State() checkpoint.State { return &state{c: o.c, operator: o.name} }

// Enter implements checkpoint.OperatorHandle. What an operator emits while the
// ledger holds its cause must get in, or the cause could never leave: the gate
// holds it back only when the ledger is empty.
func (o *operator) Enter(ctx context.Context, p checkpoint.Partition) (*checkpoint.Entry, error) {
	c := o.c
	for {
		c.mu.Lock()
		if c.mu.failed != nil || c.mu.closed {
			err := c.mu.failed
			c.mu.Unlock()
			if err == nil {
				err = checkpoint.ErrDead
			}
			return nil, err
		}
		gate := c.mu.gate
		if gate == nil || c.mu.ledger.Len() > 0 {
			e := c.mu.ledger.Enter(o.name, p)
			c.mu.Unlock()
			return e, nil
		}
		c.mu.Unlock()
		select {
		case <-gate:
		case <-c.done:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// Leave implements checkpoint.OperatorHandle.
func (o *operator) Leave(e *checkpoint.Entry, cause error) {
	if cause != nil && e.State() == checkpoint.Live {
		o.Fail(cause)
	}
	o.c.leave(e, cause)
}

// Fail implements checkpoint.OperatorHandle.
func (o *operator) Fail(cause error) { o.c.step(o.c.failed(cause)) }

// Fatal implements checkpoint.OperatorHandle.
func (o *operator) Fatal(cause error) { o.c.Fatal(cause) }

// sink implements checkpoint.SinkHandle.
type sink struct {
	c      *Coordinator
	name   string
	s      checkpoint.Sink
	joined atomic.Bool
}

// Joined implements checkpoint.SinkHandle.
func (s *sink) Joined() bool { return s.joined.Load() }

// Fail implements checkpoint.SinkHandle.
func (s *sink) Fail(cause error) { s.c.step(s.c.failed(cause)) }

// Refuse implements checkpoint.SinkHandle.
func (s *sink) Refuse(o *checkpoint.Origin, cause error) {
	c := s.c
	c.mu.Lock()
	defer c.mu.Unlock()
	c.mu.suspects[suspect{o.Entry.Partition, o.Offset}] = struct{}{}
	c.suspicious.Store(true)
	c.stepLocked(c.failed(checkpoint.RecordError(o.Entry.Partition, o.Offset, cause)))
}

// Suspect implements checkpoint.SinkHandle.
func (s *sink) Suspect(o *checkpoint.Origin) bool {
	if !s.c.suspicious.Load() {
		return false
	}
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	_, is := s.c.mu.suspects[suspect{o.Entry.Partition, o.Offset}]
	return is
}

// Fatal implements checkpoint.SinkHandle.
func (s *sink) Fatal(cause error) { s.c.Fatal(cause) }

// Failed implements checkpoint.SinkHandle.
func (s *sink) Failed() error { return s.c.Failed() }

// Leave implements checkpoint.SinkHandle.
func (s *sink) Leave() {
	c := s.c
	c.mu.Lock()
	defer c.mu.Unlock()
	kept := c.mu.sinks[:0]
	for _, other := range c.mu.sinks {
		if other != s {
			kept = append(kept, other)
		}
	}
	c.mu.sinks = kept
}
