package store

import (
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2"

	"github.com/tidemarkhq/tidemark/checkpoint"
)

// enter lets a read of a scope begin.
func (t *Topic) enter(s checkpoint.Scope) error {
	t.mu.RLock()
	defer t.mu.RUnlock()
	if t.mu.closed {
		return errClosed
	}
	if !t.mu.live[s] {
		return fmt.Errorf("reading state of %s: %w", s, checkpoint.ErrNotRestored)
	}
	t.reads.Add(1)
	return nil
}

// Get is as in checkpoint.Store. For a scope that was not restored, or that was forgotten,
// it returns checkpoint.ErrNotRestored.
func (t *Topic) Get(operator string, s checkpoint.Scope, key []byte) ([]byte, error) {
	if err := t.enter(s); err != nil {
		return nil, err
	}
	defer t.reads.Done()
	value, err := readRecord(t.engine.db, stateKey(operator, s, key))
	if err != nil {
		return nil, damage(fmt.Sprintf("reading state of %q, %s, key %q in %s", operator, s, key, t.engine.path), err)
	}
	return value, nil
}

// Scan is as in checkpoint.Store: it sees the state as it is when it begins. For a scope
// that was not restored, or that was forgotten, it returns checkpoint.ErrNotRestored.
func (t *Topic) Scan(operator string, s checkpoint.Scope, prefix, from []byte, fn func(key, value []byte) error) error {
	if err := t.enter(s); err != nil {
		return err
	}
	defer t.reads.Done()
	start := len(stateKey(operator, s, nil))
	// An error of fn is the caller's own and is returned as it is.
	var stopped error
	err := scanRecordsFrom(t.engine.db, stateKey(operator, s, prefix), stateKey(operator, s, from), func(key, value []byte) error {
		stopped = fn(key[start:], value)
		return stopped
	})
	if stopped != nil {
		return stopped
	}
	return damage(fmt.Sprintf("reading state of %q, %s in %s", operator, s, t.engine.path), err)
}

// Forget drops the local state of scopes that are not owned any more. What is known of
// their claims stays.
func (t *Topic) Forget(scopes ...checkpoint.Scope) error {
	var err error
	for _, s := range scopes {
		t.with(s, func(n *tenant) { err = errors.Join(err, t.drop(n)) })
	}
	if err != nil {
		return fmt.Errorf("dropping local state: %w", err)
	}
	return nil
}

// Only lets state of no other partitions be read until that is restored again. What is here
// of it stays, for that to begin with.
func (t *Topic) Only(owned func(checkpoint.Scope) bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for s := range t.mu.live {
		if s != (checkpoint.Scope{}) && s != checkpoint.Everywhere && !owned(s) {
			delete(t.mu.live, s)
		}
	}
}

// drop makes the local copy of a scope empty, its home locked.
func (t *Topic) drop(n *tenant) error {
	t.setLive(false, n.scope)
	// A read that is under way has its own view.
	b := t.engine.db.NewBatch()
	for operator := range n.operators {
		first := stateKey(operator, n.scope, nil)
		_ = b.DeleteRange(first, prefixEnd(first), nil)
	}
	n.upTo = NoOffset
	clear(n.split)
	clear(n.partial)
	return t.apply(b)
}

// apply makes a batch true, all of it at once.
func (t *Topic) apply(b *pebble.Batch) error {
	if b.Empty() {
		return b.Close()
	}
	if err := t.engine.guard(func() error { return t.engine.db.Apply(b, pebble.NoSync) }); err != nil {
		return t.engine.giveUp(err)
	}
	return b.Close()
}
