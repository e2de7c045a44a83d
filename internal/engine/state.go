package engine

import (
	"bytes"
	"fmt"

	"github.com/tidemarkhq/tidemark/checkpoint"
)

// state implements checkpoint.State over the overlay and the store.
type state struct {
	c        *Coordinator
	operator string
}

// Get implements checkpoint.State.
func (s *state) Get(scope checkpoint.Scope, key []byte) ([]byte, error) {
	store, err := s.c.openStore()
	if err != nil {
		return nil, err
	}
	s.c.stateMu.RLock()
	v, known := s.c.overlay.Get(s.operator, scope, key)
	s.c.stateMu.RUnlock()
	if known {
		return bytes.Clone(v), nil // Empty stays empty, and nil nil: not there.
	}
	if v, err = store.Get(s.operator, scope, key); err != nil {
		return nil, fmt.Errorf("reading state of %q: %w", s.operator, err)
	}
	return v, nil
}

// Put implements checkpoint.State.
func (s *state) Put(scope checkpoint.Scope, key, value []byte) error {
	if value == nil {
		value = []byte{}
	}
	return s.set(scope, key, value)
}

// Delete implements checkpoint.State.
func (s *state) Delete(scope checkpoint.Scope, key []byte) error { return s.set(scope, key, nil) }

func (s *state) set(scope checkpoint.Scope, key, value []byte) error {
	if _, err := s.c.openStore(); err != nil {
		return err
	}
	s.c.stateMu.Lock()
	defer s.c.stateMu.Unlock()
	s.c.overlay.Set(s.operator, scope, key, value)
	return nil
}

// Scan implements checkpoint.State.
func (s *state) Scan(scope checkpoint.Scope, prefix []byte, fn func(key, value []byte) error) error {
	store, err := s.c.openStore()
	if err != nil {
		return err
	}
	s.c.stateMu.RLock()
	over := s.c.overlay.Entries(s.operator, scope, prefix)
	s.c.stateMu.RUnlock()
	return checkpoint.Merge(over, func(emit func(key, value []byte) error) error {
		return store.Scan(s.operator, scope, prefix, emit)
	}, func(key, value []byte) error { return fn(bytes.Clone(key), bytes.Clone(value)) })
}

func (c *Coordinator) openStore() (checkpoint.Store, error) {
	c.stateMu.RLock()
	defer c.stateMu.RUnlock()
	if c.below == nil {
		return nil, checkpoint.ErrNotRestored
	}
	return c.below, nil
}
