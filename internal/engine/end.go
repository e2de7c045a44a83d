package engine

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/tidemarkhq/tidemark/checkpoint"
	"github.com/tidemarkhq/tidemark/internal/savepoint"
)

// waiter waits for a checkpoint that begins after it asked.
type waiter struct {
	id   checkpoint.ID // 0 until one began
	done chan error    // buffered: the outcome, once

	// keep asks for a snapshot of the checkpoint, which is kept once it is persisted;
	// refused is why it is not. Guarded by the coordinator's mu.
	keep    bool
	kept    savepoint.Snapshot
	refused error
}

// checkpoint asks for a checkpoint and waits for its end.
func (c *Coordinator) checkpoint(ctx context.Context) error {
	c.mu.Lock()
	w, err := c.askLocked(false)
	c.mu.Unlock()
	if err != nil {
		return err
	}
	return c.await(ctx, w)
}

// askLocked asks for a checkpoint that begins from now on.
func (c *Coordinator) askLocked(final bool) (*waiter, error) {
	w := &waiter{done: make(chan error, 1)}
	if c.mu.finished {
		w.done <- nil // The final checkpoint covers all that ever will be.
		return w, nil
	}
	if err := c.refusalLocked(); err != nil {
		return nil, err
	}
	c.mu.waiters = append(c.mu.waiters, w)
	c.stepLocked(func(m *checkpoint.Machine, now time.Time, k checkpoint.Kind) []checkpoint.Action {
		return m.Request(now, k, final)
	})
	return w, nil
}

func (c *Coordinator) await(ctx context.Context, w *waiter) error {
	select {
	case err := <-w.done:
		return err
	case <-ctx.Done():
		return c.whyUnfinished(ctx.Err())
	case <-c.done:
	}
	select {
	case err := <-w.done: // Answered just before the end.
		return err
	default:
		return cmp.Or(c.Failed(), checkpoint.ErrDead)
	}
}

// refusalLocked tells why no checkpoint can be asked for at the moment.
func (c *Coordinator) refusalLocked() error {
	switch {
	case c.mu.failed != nil:
		return c.mu.failed
	case c.mu.closed || !c.mu.started:
		return checkpoint.ErrDead
	case c.mu.machine.Rewinding():
		return errRewinding
	}
	return nil
}

var errRewinding = errors.New("the stream is going back to its last checkpoint")

// whyUnfinished adds to an error who still has batches under way.
func (c *Coordinator) whyUnfinished(err error) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return fmt.Errorf("checkpoint not complete (%s, batches under way: %v): %w", c.mu.machine, c.mu.ledger.Owners(), err)
}

func (c *Coordinator) bindWaitersLocked(id checkpoint.ID) {
	for _, w := range c.mu.waiters {
		if w.id == 0 {
			w.id = id
		}
	}
}

func (c *Coordinator) answerLocked(id checkpoint.ID, err error) {
	kept := c.mu.waiters[:0]
	for _, w := range c.mu.waiters {
		if w.id == id {
			w.done <- err
			continue
		}
		kept = append(kept, w)
	}
	c.mu.waiters = kept
}

func (c *Coordinator) answerAllLocked(err error) {
	for _, w := range c.mu.waiters {
		w.done <- err
	}
	c.mu.waiters = nil
}

func (c *Coordinator) completedLocked(a checkpoint.Action) {
	c.mu.lastID = a.ID
	c.metrics.completed(a.ID, time.Since(c.mu.cutBegan))
	c.answerLocked(a.ID, nil)
	if a.Final {
		c.mu.finished = true
		c.answerAllLocked(nil)
	}
	for p := range c.mu.suspects {
		// A suspect that is covered was answered for: it does not come again.
		if pos, ok := c.mu.last.Positions[p.partition]; ok && pos.Next > p.offset {
			delete(c.mu.suspects, p)
		}
	}
	c.suspicious.Store(len(c.mu.suspects) > 0)
}

func (c *Coordinator) failedLocked(a checkpoint.Action) {
	err := a.Err
	if n := c.mu.ledger.Owners(); len(n) > 0 && c.kindLocked() == checkpoint.Aligned {
		err = fmt.Errorf("%w (batches under way: %v)", err, n)
	}
	c.metrics.failed()
	c.log.Warnf("Checkpoint %d failed: %v", a.ID, err)
	c.answerLocked(a.ID, err)
	t := c.mu.transaction
	if t == nil || errors.Is(err, checkpoint.ErrInDoubt) {
		return
	}
	c.releaseLocked() // The same transaction goes on.
	if t.expires(c.mu.conf) {
		err = fmt.Errorf("the transaction is near transaction_timeout (%v) and is given up: %w", t.conf.Timeout, err)
		c.goLocked(func() { c.step(c.failed(err)) })
	}
}

func (c *Coordinator) commitErrLocked(id checkpoint.ID, err error) {
	if err != nil {
		c.log.Warnf("Checkpoint %d stands, but committing its offsets failed and will be tried again with the next: %v", id, err)
	}
}

// Fatal stops the build for good because of an error that no repetition heals.
func (c *Coordinator) Fatal(err error) { c.kill(checkpoint.Fatal(err)) }

// kill stops the build for good.
func (c *Coordinator) kill(err error) {
	c.step(func(m *checkpoint.Machine, _ time.Time, _ checkpoint.Kind) []checkpoint.Action {
		return m.Kill(err)
	})
}

// dieLocked makes a fatal error loud: inputs end, outputs answer with it, and
// plugins.Main makes the process fail.
func (c *Coordinator) dieLocked(err error) {
	if c.mu.failed != nil {
		return
	}
	c.mu.failed = err
	// In this order: what sinks drop is answered with success, which must not count.
	c.mu.ledger.Abandon()
	for _, s := range c.mu.sinks {
		s.s.Discard()
	}
	c.answerAllLocked(err)
	c.cancel()
	close(c.done)
	if errors.Is(err, checkpoint.ErrDead) {
		c.log.Warnf("Stream stopped: %v", err)
		return
	}
	c.metrics.fatal()
	c.log.Errorf("Stream stopped for good: %v", err)
	process.report(err)
}

// Failed returns the error that stopped the build for good, or nil.
func (c *Coordinator) Failed() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.mu.failed
}

// closeSource ends a source's part; see checkpoint.SourceHandle.
func (c *Coordinator) closeSource(ctx context.Context, s *source) error {
	c.mu.Lock()
	if s.closed {
		c.mu.Unlock()
		return nil
	}
	cut := c.cutOffLocked(s)
	c.departLocked(s)
	last := c.desertedLocked()
	if last {
		c.stopping.Store(true)
	}
	var w *waiter
	err := cut
	ask := c.mu.started && c.mu.conf.Interval > 0 && (cut == nil || !last)
	if ask {
		// Under the same lock as the departure: else another source's final
		// checkpoint could come in between, and this one after it.
		w, err = c.askLocked(last)
	}
	c.mu.Unlock()
	if ask {
		err = c.lastCheckpoint(ctx, w, err)
	}
	c.mu.Lock()
	s.gone = true
	c.mu.Unlock()
	if err != nil && !errors.Is(err, checkpoint.ErrFatal) && !errors.Is(err, checkpoint.ErrDead) {
		err = fmt.Errorf("final checkpoint failed, the next start repeats what it would have covered: %w", err)
		c.log.Errorf("%v", err)
		if last || !c.stored() {
			// Of a source that ends before others a later checkpoint in the store covers
			// it. And before shut: a new build, which may begin then, takes it back.
			process.failedAtEnd(c, err)
		}
	}
	if last {
		c.shut()
	}
	return err
}

// cutOffLocked returns an error, and starts a rewind, if a source ends while the pipeline
// still has batches of it: operators have seen them, or some of what became of them, but
// they will not be covered. That must not be kept: they come again with the next start.
func (c *Coordinator) cutOffLocked(s *source) error {
	n := c.mu.ledger.LenOf(s.name)
	if n == 0 || c.kindLocked() != checkpoint.Aligned || !c.mu.started || c.mu.conf.Interval <= 0 || c.mu.machine.Rewinding() {
		return nil
	}
	err := fmt.Errorf("%q was closed while the pipeline still had %d batches of it, which state may know already", s.name, n)
	c.stepLocked(c.failed(err))
	return err
}

// departLocked takes a source out of the ledger and of further cuts.
func (c *Coordinator) departLocked(s *source) {
	if s.restored {
		for p, pos := range s.s.Positions() {
			p.Source = s.name
			c.mu.departed[p] = pos
		}
	}
	s.closed = true
	c.mu.ledger.DiscardOwner(s.name)
	c.settleLocked()
}

// desertedLocked tells that no source runs any more. One that was only
// constructed, by an attempt to build the stream that failed, does not count.
func (c *Coordinator) desertedLocked() bool {
	for _, other := range c.mu.sources {
		if !other.closed && other.alive {
			return false
		}
	}
	return true
}

// lastCheckpoint waits for the checkpoint of a source that ends. A failed one is
// tried again as long as there is time: the broker may come back.
func (c *Coordinator) lastCheckpoint(ctx context.Context, w *waiter, err error) error {
	var before error
	for {
		if err == nil {
			err = c.await(ctx, w)
		}
		if err != nil && ctx.Err() != nil && before != nil {
			return fmt.Errorf("%w; the attempt before it: %w", err, before)
		}
		before = err
		if spoiled := c.spoiled(); spoiled != nil {
			return spoiled
		}
		if err == nil || ctx.Err() != nil || c.Failed() != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(100 * time.Millisecond):
		}
		c.mu.Lock()
		if c.mu.closed && !c.mu.finished {
			c.mu.Unlock()
			return err
		}
		w, err = c.askLocked(c.desertedLocked())
		c.mu.Unlock()
	}
}

// stored tells whether checkpoints are kept in a store.
func (c *Coordinator) stored() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.mu.store != nil
}

func (c *Coordinator) spoiled() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.mu.spoiled
}

// shut ends the build: goroutines, store, place in the registry.
func (c *Coordinator) shut() {
	c.mu.Lock()
	if c.mu.closed {
		c.mu.Unlock()
		<-c.ended
		return
	}
	c.mu.closed = true
	c.cancel()
	select {
	case <-c.done:
	default:
		close(c.done)
	}
	c.openGateLocked()
	c.mu.Unlock()
	c.work.Wait()
	c.mu.Lock()
	transaction := c.mu.transaction
	c.mu.Unlock()
	if transaction != nil {
		transaction.close()
		c.releaseWriter()
	}
	if err := c.closeStore(); err != nil {
		c.log.Errorf("Closing the checkpoint store: %v", err)
	}
	c.reg.remove(c)
	process.over(c)
	close(c.ended)
}

func (c *Coordinator) closeStore() error {
	c.mu.Lock()
	store := c.mu.store
	c.mu.store = nil
	c.stateMu.Lock()
	c.below = nil
	c.stateMu.Unlock()
	c.mu.Unlock()
	if store == nil {
		return nil
	}
	return store.Close()
}

// supersede keeps a build that never started from starting.
func (c *Coordinator) supersede(why error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.mu.superseded = why
}
