package store

import (
	"fmt"
	"maps"
	"slices"

	"github.com/tidemarkhq/tidemark/checkpoint"
	"github.com/tidemarkhq/tidemark/internal/savepoint"
)

// Snapshot returns a checkpoint that was just Applied, while the job goes on: the state of
// the partitions that it has positions of, and of others that are no partition's. Partitions
// that went to another process meanwhile are an error that wraps checkpoint.ErrMoved: what
// that one has is not known here. It is closed before the store is.
func (t *Topic) Snapshot(m *checkpoint.Manifest, share savepoint.Share, group bool, others ...checkpoint.Scope) (savepoint.Snapshot, error) {
	scopes := append(slices.Collect(maps.Keys(m.Positions)), others...)
	homes := t.homesOf(scopes)
	// With these locked nothing is applied, restored or dropped, so that all is of one
	// checkpoint.
	defer lockHomes(homes)()
	for _, s := range scopes {
		n := t.homeOf(s).tenant(s, scopeKey(s))
		at, positioned := m.Positions[s]
		if !t.isLive(s) || n.reading || positioned && (n.last == nil || n.last.Position == nil || *n.last.Position != at) {
			return nil, fmt.Errorf("%s: %w", s, checkpoint.ErrMoved)
		}
	}
	origin := t.origin()
	origin.Share, origin.Group = share, group
	return t.snapshot(m, origin, scopes)
}

func (t *Topic) origin() savepoint.Origin {
	return savepoint.Origin{Store: savepoint.FromTopic, Place: t.conf.Topic}
}

// snapshot is what the local copy holds of scopes.
func (t *Topic) snapshot(m *checkpoint.Manifest, origin savepoint.Origin, scopes []checkpoint.Scope) (*snapshot, error) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	if t.mu.closed {
		return nil, errClosed
	}
	s := &snapshot{engine: t.engine, manifest: cloneManifest(m), origin: origin, scopes: make(map[checkpoint.Scope]bool, len(scopes))}
	for _, scope := range scopes {
		s.scopes[scope] = true
	}
	view := t.engine.db.NewSnapshot()
	s.reader, s.close = view, view.Close
	return s, nil
}
