package engine

import (
	"context"
	"errors"
	"fmt"

	"github.com/tidemarkhq/tidemark/checkpoint"
	"github.com/tidemarkhq/tidemark/internal/savepoint"
)

// keptTopic is a topic as the store that operators read their state from.
type keptTopic struct{ k *keeper }

var (
	_ checkpoint.Store      = keptTopic{}
	_ savepoint.Snapshotter = keptTopic{}
)

// Load implements checkpoint.Store: what there is shows when partitions are acquired.
func (keptTopic) Load(context.Context) (*checkpoint.Manifest, error) {
	return nil, checkpoint.ErrNoCheckpoint
}

// Persist implements checkpoint.Store; the stream's transaction does it.
func (keptTopic) Persist(context.Context, *checkpoint.Manifest, []checkpoint.Change) (int64, error) {
	return 0, errors.ErrUnsupported
}

// Get implements checkpoint.Store.
func (s keptTopic) Get(operator string, scope checkpoint.Scope, key []byte) ([]byte, error) {
	v, err := s.k.topic.Get(operator, scope, key)
	if scope == (checkpoint.Scope{}) && errors.Is(err, checkpoint.ErrNotRestored) {
		return nil, nil // One of several processes has no state of the process.
	}
	return v, err
}

// Scan implements checkpoint.Store.
func (s keptTopic) Scan(operator string, scope checkpoint.Scope, prefix, from []byte, fn func(key, value []byte) error) error {
	return s.k.topic.Scan(operator, scope, prefix, from, fn)
}

// List implements checkpoint.Store: a topic keeps the last one.
func (keptTopic) List(context.Context) ([]checkpoint.Manifest, error) { return nil, nil }

// Snapshot implements savepoint.Snapshotter: it is what the process had at its last
// checkpoint.
func (s keptTopic) Snapshot() (savepoint.Snapshot, error) {
	k := s.k
	if k.last == nil {
		return nil, checkpoint.ErrNoCheckpoint
	}
	others := []checkpoint.Scope{checkpoint.Everywhere}
	if process := (checkpoint.Scope{}); k.owning(process) {
		others = append(others, process)
	}
	snap, err := k.topic.Snapshot(k.last, k.share, k.group, others...)
	if errors.Is(err, checkpoint.ErrMoved) {
		err = fmt.Errorf("%w: ask for the savepoint again", err)
	}
	return snap, err
}

// Close implements checkpoint.Store.
func (s keptTopic) Close() error { return s.k.close() }
