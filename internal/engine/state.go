package engine

import (
	"bytes"
	"errors"
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
		return nil, s.failed(err)
	}
	return v, nil
}

// failed says whose state could not be read. What is damaged stays so, and a
// rewind would meet it again: the stream stops. An operator may hold locks that
// the coordinator takes then, or be called with the coordinator's, so that happens
// beside it.
func (s *state) failed(err error) error {
	err = fmt.Errorf("reading state of %q: %w", s.operator, err)
	if errors.Is(err, checkpoint.ErrCorrupt) || errors.Is(err, checkpoint.ErrVersion) {
		err = checkpoint.Fatal(err)
		go s.c.kill(err)
	}
	return err
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
func (s *state) Scan(scope checkpoint.Scope, prefix, from []byte, fn func(key, value []byte) error) error {
	store, err := s.c.openStore()
	if err != nil {
		return err
	}
	s.c.stateMu.RLock()
	over := s.c.overlay.Entries(s.operator, scope, prefix, from)
	s.c.stateMu.RUnlock()
	return checkpoint.Merge(over, func(emit func(key, value []byte) error) error {
		var stopped error
		err := store.Scan(s.operator, scope, prefix, from, func(key, value []byte) error {
			stopped = emit(key, value)
			return stopped
		})
		if err != nil && stopped == nil {
			err = s.failed(err)
		}
		return err
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
