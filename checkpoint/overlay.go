package checkpoint

import (
	"bytes"
	"slices"
	"strings"
)

// Overlay holds what operators wrote since the last persisted checkpoint: one
// active layer that takes the writes, and below it the layers that cuts froze
// and no checkpoint has persisted yet. A checkpoint so costs what changed, not
// what is held.
type Overlay struct {
	active layer
	frozen []frozenLayer
}

type frozenLayer struct {
	id ID
	layer
}

// A layer maps a scope's keys to values; nil is a deletion.
type layer map[space]map[string][]byte

type space struct {
	operator string
	scope    Scope
}

// NewOverlay returns an empty overlay.
func NewOverlay() *Overlay { return &Overlay{active: layer{}} }

// Get looks a key up. known tells whether the overlay has anything to say: if
// not, the store has the value; if so, a nil value means deleted.
func (o *Overlay) Get(operator string, s Scope, key []byte) (value []byte, known bool) {
	sp := space{operator, s}
	if v, ok := o.active[sp][string(key)]; ok {
		return v, true
	}
	for i := len(o.frozen) - 1; i >= 0; i-- {
		if v, ok := o.frozen[i].layer[sp][string(key)]; ok {
			return v, true
		}
	}
	return nil, false
}

// Set writes a value, or deletes the key if value is nil. Both are copied.
func (o *Overlay) Set(operator string, s Scope, key, value []byte) {
	sp := space{operator, s}
	keys := o.active[sp]
	if keys == nil {
		keys = map[string][]byte{}
		o.active[sp] = keys
	}
	if value != nil {
		value = append([]byte{}, value...)
	}
	keys[string(key)] = value
}

// Entries returns what the overlay says about the keys with a prefix, in key
// order, deletions included.
func (o *Overlay) Entries(operator string, s Scope, prefix []byte) []Change {
	sp := space{operator, s}
	merged := map[string][]byte{}
	add := func(l layer) {
		for k, v := range l[sp] {
			if strings.HasPrefix(k, string(prefix)) {
				merged[k] = v
			}
		}
	}
	for _, f := range o.frozen {
		add(f.layer)
	}
	add(o.active)
	return sortedChanges(sp, merged)
}

// Freeze makes the active layer part of checkpoint id.
func (o *Overlay) Freeze(id ID) {
	if len(o.active) == 0 {
		return
	}
	o.frozen = append(o.frozen, frozenLayer{id: id, layer: o.active})
	o.active = layer{}
}

// Changes returns what a checkpoint has to persist: everything frozen for it or
// for earlier ones that failed, each key once.
func (o *Overlay) Changes(id ID) []Change {
	merged := layer{}
	for _, f := range o.frozen {
		if f.id > id {
			break
		}
		for sp, keys := range f.layer {
			if merged[sp] == nil {
				merged[sp] = map[string][]byte{}
			}
			for k, v := range keys {
				merged[sp][k] = v
			}
		}
	}
	spaces := make([]space, 0, len(merged))
	for sp := range merged {
		spaces = append(spaces, sp)
	}
	slices.SortFunc(spaces, func(a, b space) int {
		if c := strings.Compare(a.operator, b.operator); c != 0 {
			return c
		}
		return a.scope.Compare(b.scope)
	})
	var changes []Change
	for _, sp := range spaces {
		changes = append(changes, sortedChanges(sp, merged[sp])...)
	}
	return changes
}

// Persisted forgets what checkpoint id and earlier ones hold: the store has it.
func (o *Overlay) Persisted(id ID) {
	i := 0
	for i < len(o.frozen) && o.frozen[i].id <= id {
		i++
	}
	o.frozen = slices.Delete(o.frozen, 0, i)
}

// Drop forgets everything that no checkpoint has persisted: a rewind.
func (o *Overlay) Drop() {
	o.active = layer{}
	o.frozen = nil
}

func sortedChanges(sp space, keys map[string][]byte) []Change {
	changes := make([]Change, 0, len(keys))
	for k, v := range keys {
		changes = append(changes, Change{Operator: sp.operator, Scope: sp.scope, Key: []byte(k), Value: v})
	}
	slices.SortFunc(changes, func(a, b Change) int { return bytes.Compare(a.Key, b.Key) })
	return changes
}

// Merge calls fn in key order for what a store holds as changed by an overlay.
// scan is the store's Scan over the same prefix.
func Merge(over []Change, scan func(func(key, value []byte) error) error, fn func(key, value []byte) error) error {
	emit := func(c Change) error {
		if c.Value == nil {
			return nil
		}
		return fn(c.Key, c.Value)
	}
	err := scan(func(key, value []byte) error {
		for len(over) > 0 && bytes.Compare(over[0].Key, key) < 0 {
			if err := emit(over[0]); err != nil {
				return err
			}
			over = over[1:]
		}
		if len(over) > 0 && bytes.Equal(over[0].Key, key) {
			c := over[0]
			over = over[1:]
			return emit(c)
		}
		return fn(key, value)
	})
	if err != nil {
		return err
	}
	for _, c := range over {
		if err := emit(c); err != nil {
			return err
		}
	}
	return nil
}
