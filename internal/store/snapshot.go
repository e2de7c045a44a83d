package store

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"

	"github.com/cockroachdb/pebble/v2"

	"github.com/tidemarkhq/tidemark/checkpoint"
	"github.com/tidemarkhq/tidemark/internal/savepoint"
)

// snapshot is a checkpoint in Pebble, as a savepoint takes it: that of a directory store, or
// of a topic's local copy.
type snapshot struct {
	engine   *engine
	reader   pebble.Reader
	manifest *checkpoint.Manifest
	origin   savepoint.Origin
	// scopes are those whose state counts, where there may be others; nil = all.
	scopes map[checkpoint.Scope]bool
	close  func() error
}

var (
	_ savepoint.Snapshotter = (*Directory)(nil)
	_ savepoint.Snapshot    = (*snapshot)(nil)
)

// Snapshot implements savepoint.Snapshotter: it is the last checkpoint, and stays
// so while others are persisted. As long as it is open a broken store is not opened
// anew, so reading it ends when the store breaks.
func (d *Directory) Snapshot() (savepoint.Snapshot, error) {
	if d.last == nil {
		return nil, checkpoint.ErrNoCheckpoint
	}
	v, err := d.acquireView()
	if err != nil {
		return nil, err
	}
	return &snapshot{
		engine: v.engine, reader: v.snapshot, manifest: cloneManifest(d.last), origin: d.origin(),
		close: func() error { d.releaseView(v); return nil },
	}, nil
}

func (d *Directory) origin() savepoint.Origin {
	return savepoint.Origin{Store: savepoint.FromDirectory, Place: d.root.path, Share: d.identity.share}
}

// Origin implements savepoint.Snapshot.
func (s *snapshot) Origin() savepoint.Origin { return s.origin }

// Manifest implements savepoint.Snapshot.
func (s *snapshot) Manifest() *checkpoint.Manifest { return cloneManifest(s.manifest) }

// Close implements savepoint.Snapshot.
func (s *snapshot) Close() error { return s.close() }

// Each implements savepoint.Snapshot.
func (s *snapshot) Each(ctx context.Context, fn func(savepoint.Entry) error) error {
	// An error of fn is the caller's own and is returned as it is.
	var stopped error
	err := s.engine.guard(func() error {
		var names stateNames
		var n int
		return scanRecords(s.reader, []byte{stateTag}, func(key, value []byte) error {
			const stride = 256
			if n++; n%stride == 0 {
				if err := s.interrupted(ctx); err != nil {
					return err
				}
			}
			e, err := names.entry(key, value)
			if err != nil || s.scopes != nil && !s.scopes[e.Scope] {
				return err
			}
			stopped = fn(e)
			return stopped
		})
	})
	switch {
	case stopped != nil:
		return stopped
	case ctx.Err() != nil:
		return ctx.Err()
	}
	return damage("reading state in "+s.engine.path, err)
}

func (s *snapshot) interrupted(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	return s.engine.failure()
}

// stateNames takes state keys apart. Many in a row belong to the same operator and
// scope, whose names are made once.
type stateNames struct {
	prefix   []byte
	operator string
	scope    checkpoint.Scope
}

func (n *stateNames) entry(key, value []byte) (e savepoint.Entry, err error) {
	if len(n.prefix) == 0 || !bytes.HasPrefix(key, n.prefix) {
		operator, scope, size, ok := parseStateKey(key)
		if !ok {
			return e, fmt.Errorf("%w: state key %x", checkpoint.ErrCorrupt, key)
		}
		n.operator, n.scope = operator, scope
		n.prefix = append(n.prefix[:0], key[:size]...)
	}
	if value == nil {
		value = []byte{}
	}
	return savepoint.Entry{Operator: n.operator, Scope: n.scope, Key: key[len(n.prefix):], Value: value}, nil
}

// parseStateKey returns whose state a key is, and where the operator's own key begins.
// Names are terminated, so no key begins with the names of another.
func parseStateKey(key []byte) (operator string, s checkpoint.Scope, size int, ok bool) {
	if len(key) == 0 || key[0] != stateTag {
		return "", s, 0, false
	}
	rest := key[1:]
	if operator, rest, ok = cutName(rest); !ok {
		return "", s, 0, false
	}
	if s.Source, rest, ok = cutName(rest); !ok {
		return "", s, 0, false
	}
	if s.Topic, rest, ok = cutName(rest); !ok || len(rest) < 4 {
		return "", s, 0, false
	}
	s.ID = int32(binary.BigEndian.Uint32(rest) ^ 1<<31)
	return operator, s, len(key) - len(rest) + 4, true
}
