package checkpoint

import (
	"bytes"
	"slices"
	"sort"
	"strings"
	"sync"
)

// Overlay holds what operators wrote since the last persisted checkpoint: one
// active layer that takes the writes, and below it the layers that cuts froze
// and no checkpoint has persisted yet. A checkpoint so costs what changed, not
// what is held.
type Overlay struct {
	active layer
	frozen []*frozenLayer
	// last is where the last write went; its keys are nil if none went to active.
	last struct {
		space
		keys map[string][]byte
	}
}

// frozenLayer does not change any more. What is sorted of it is kept, because scans and
// the checkpoint need it that way.
type frozenLayer struct {
	id ID
	layer
	mu     sync.Mutex
	sorted map[space][]Change
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
	if o.last.keys == nil || o.last.space != sp {
		keys := o.active[sp]
		if keys == nil {
			keys = map[string][]byte{}
			o.active[sp] = keys
		}
		o.last.space, o.last.keys = sp, keys
	}
	if value != nil {
		value = append(make([]byte, 0, len(value)), value...)
	}
	o.last.keys[string(key)] = value
}

// Entries returns what the overlay says about the keys with a prefix, from a key on (nil:
// from the first). It stays what it is when the overlay changes.
func (o *Overlay) Entries(operator string, s Scope, prefix, from []byte) *Entries {
	sp := space{operator, s}
	e := &Entries{}
	for _, f := range o.frozen {
		e.add(cut(f.of(sp), prefix, from))
	}
	active := map[string][]byte{}
	for k, v := range o.active[sp] {
		if strings.HasPrefix(k, string(prefix)) && k >= string(from) {
			active[k] = v
		}
	}
	e.add(sortedChanges(sp, active))
	return e
}

// Entries are changes in key order, deletions included, each key once.
type Entries struct {
	// lists are in key order each; a later one counts where several have a key.
	lists [][]Change
}

func (e *Entries) add(list []Change) {
	if len(list) > 0 {
		e.lists = append(e.lists, list)
	}
}

// peek returns the next change without taking it.
func (e *Entries) peek() (c Change, ok bool) {
	for _, list := range e.lists {
		if len(list) > 0 && (!ok || bytes.Compare(list[0].Key, c.Key) <= 0) {
			c, ok = list[0], true
		}
	}
	return c, ok
}

// take takes the change of a key from all lists.
func (e *Entries) take(key []byte) {
	for i, list := range e.lists {
		if len(list) > 0 && bytes.Equal(list[0].Key, key) {
			e.lists[i] = list[1:]
		}
	}
}

// cut returns the part of sorted changes that have a prefix, from a key on.
func cut(sorted []Change, prefix, from []byte) []Change {
	if bytes.Compare(from, prefix) < 0 {
		from = prefix
	}
	first, _ := slices.BinarySearchFunc(sorted, from, func(c Change, k []byte) int { return bytes.Compare(c.Key, k) })
	sorted = sorted[first:]
	behind := sort.Search(len(sorted), func(i int) bool { return !bytes.HasPrefix(sorted[i].Key, prefix) })
	return sorted[:behind]
}

// of returns what the layer has of a space, in order.
func (f *frozenLayer) of(sp space) []Change {
	f.mu.Lock()
	defer f.mu.Unlock()
	changes, ok := f.sorted[sp]
	if !ok {
		changes = sortedChanges(sp, f.layer[sp])
		f.sorted[sp] = changes
	}
	return changes
}

// Freeze makes the active layer part of checkpoint id.
func (o *Overlay) Freeze(id ID) {
	if len(o.active) == 0 {
		return
	}
	o.frozen = append(o.frozen, &frozenLayer{id: id, layer: o.active, sorted: map[space][]Change{}})
	o.active, o.last.keys = layer{}, nil
}

// Frozen is what a checkpoint has to persist: everything frozen for it or for earlier
// ones that failed.
type Frozen struct{ layers []*frozenLayer }

// Frozen returns what checkpoint id has to persist. It stays what it is when the overlay
// changes.
func (o *Overlay) Frozen(id ID) Frozen {
	i := 0
	for i < len(o.frozen) && o.frozen[i].id <= id {
		i++
	}
	return Frozen{slices.Clone(o.frozen[:i])}
}

// Changes lists it, sorted by operator, scope and key, each key once. It takes its time:
// call it with no lock held.
func (f Frozen) Changes() []Change {
	seen := map[space]bool{}
	var spaces []space
	for _, l := range f.layers {
		for sp := range l.layer {
			if !seen[sp] {
				seen[sp] = true
				spaces = append(spaces, sp)
			}
		}
	}
	slices.SortFunc(spaces, func(a, b space) int {
		if c := strings.Compare(a.operator, b.operator); c != 0 {
			return c
		}
		return a.scope.Compare(b.scope)
	})
	var changes []Change
	for _, sp := range spaces {
		e := &Entries{}
		for _, l := range f.layers {
			e.add(l.of(sp))
		}
		if len(e.lists) == 1 && changes == nil {
			changes = slices.Clip(e.lists[0]) // Appending copies, so the list stays what it is.
			continue
		}
		for c, ok := e.peek(); ok; c, ok = e.peek() {
			changes = append(changes, c)
			e.take(c.Key)
		}
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
	o.active, o.last.keys = layer{}, nil
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

// Merge calls fn in key order for what a store holds as changed by entries of an overlay,
// which it uses up. scan is the store's Scan over the same keys.
func Merge(over *Entries, scan func(func(key, value []byte) error) error, fn func(key, value []byte) error) error {
	// upTo passes the changes of keys before one, and of it; nil = of all.
	upTo := func(key []byte) (same bool, err error) {
		for {
			c, ok := over.peek()
			order := -1
			if key != nil {
				order = bytes.Compare(c.Key, key)
			}
			if !ok || order > 0 {
				return false, nil
			}
			over.take(c.Key)
			if c.Value != nil {
				err = fn(c.Key, c.Value)
			}
			if err != nil || order == 0 {
				return order == 0, err
			}
		}
	}
	err := scan(func(key, value []byte) error {
		if same, err := upTo(key); same || err != nil {
			return err
		}
		return fn(key, value)
	})
	if err == nil {
		_, err = upTo(nil)
	}
	return err
}
