package checkpoint_test

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tidemarkhq/tidemark/checkpoint"
)

// content is the dumb twin's view: full copies of all keys, "operator/scope/key".
type content map[string]string

// twin keeps a whole copy per checkpoint where Overlay keeps what changed.
type twin struct {
	now    content
	frozen map[checkpoint.ID]content
	stored content
}

// TestOverlayIsLikeWholeCopies runs writes, cuts, persists and rewinds through an
// overlay on a store, and through whole copies.
func TestOverlayIsLikeWholeCopies(t *testing.T) {
	random(t, func(t require.TestingT, r *rand.Rand) {
		o := checkpoint.NewOverlay()
		store := content{}
		dumb := &twin{now: content{}, frozen: map[checkpoint.ID]content{}, stored: content{}}
		var id checkpoint.ID
		for range 80 {
			switch r.IntN(12) {
			case 0:
				id++
				o.Freeze(id)
				dumb.frozen[id] = maps.Clone(dumb.now)
			case 1:
				if id > 0 {
					at := checkpoint.ID(1 + r.IntN(int(id)))
					dumb.persist(at, o, store)
				}
			case 2:
				if r.IntN(3) == 0 {
					o.Drop()
					dumb.now = maps.Clone(dumb.stored)
					clear(dumb.frozen)
				}
			default:
				dumb.write(r, o)
			}
			dumb.compare(t, r, o, store)
		}
	})
}

var (
	operators = []string{"a", "b"}
	scopes    = []checkpoint.Scope{{}, {Topic: "t"}, {Topic: "t", ID: 1}, {Source: "in", Topic: "t", ID: 1}}
)

func name(operator string, s checkpoint.Scope, key string) string {
	return fmt.Sprintf("%s|%s|%s", operator, s, key)
}

func (d *twin) write(r *rand.Rand, o *checkpoint.Overlay) {
	op, scope, key := pick(r, operators...), pick(r, scopes...), pick(r, "", "k", "k1", "k2", "l")
	if r.IntN(3) == 0 {
		o.Set(op, scope, []byte(key), nil)
		delete(d.now, name(op, scope, key))
		return
	}
	v := []byte(pick(r, "", fmt.Sprint(r.IntN(1000))))
	o.Set(op, scope, []byte(key), v)
	d.now[name(op, scope, key)] = string(v)
	if len(v) > 0 {
		v[0] = 'X' // What is written is copied: the caller may go on with it.
	}
}

// persist does what a coordinator does. One that was given up for a later one, or
// dropped, has nothing to persist any more.
func (d *twin) persist(id checkpoint.ID, o *checkpoint.Overlay, store content) {
	frozen, ok := d.frozen[id]
	if !ok {
		return
	}
	for _, c := range o.Frozen(id).Changes() {
		if c.Value == nil {
			delete(store, name(c.Operator, c.Scope, string(c.Key)))
			continue
		}
		store[name(c.Operator, c.Scope, string(c.Key))] = string(c.Value)
	}
	o.Persisted(id)
	d.stored = frozen
	maps.DeleteFunc(d.frozen, func(other checkpoint.ID, _ content) bool { return other <= id })
}

// compare looks at one space, at random: the next steps look at the others.
func (d *twin) compare(t require.TestingT, r *rand.Rand, o *checkpoint.Overlay, store content) {
	if !maps.Equal(d.stored, store) {
		require.Equal(t, d.stored, store, "what was persisted")
	}
	op, scope := pick(r, operators...), pick(r, scopes...)
	for _, key := range []string{"", "k", "k1", "k2", "l"} {
		full := name(op, scope, key)
		v, known := o.Get(op, scope, []byte(key))
		got, there := string(v), v != nil
		if !known {
			got, there = store[full], has(store, full)
		}
		if there != has(d.now, full) || got != d.now[full] {
			require.Fail(t, "Get differs", "%s: there %v, value %q, want %q", full, there, got, d.now[full])
		}
	}
	prefix := pick(r, "", "k", "k1", "z")
	from := pick(r, "", "", "k", "k2", "zz")
	want, got := listed(d.now, op, scope, prefix, from), merged(t, o, store, op, scope, prefix, from)
	if !slices.Equal(want, got) {
		require.Equal(t, want, got, "scan of %q", prefix)
	}
}

func has(c content, k string) bool { _, ok := c[k]; return ok }

// listed returns what a scan has to yield, "key=value" in order.
func listed(c content, op string, s checkpoint.Scope, prefix, from string) []string {
	var keys []string
	for k := range c {
		if strings.HasPrefix(k, name(op, s, prefix)) && k >= name(op, s, from) {
			keys = append(keys, k)
		}
	}
	slices.Sort(keys)
	out := []string{}
	for _, k := range keys {
		out = append(out, strings.TrimPrefix(k, name(op, s, ""))+"="+c[k])
	}
	return out
}

func merged(t require.TestingT, o *checkpoint.Overlay, store content, op string, s checkpoint.Scope, prefix, from string) []string {
	out := []string{}
	err := checkpoint.Merge(o.Entries(op, s, []byte(prefix), []byte(from)), func(emit func(k, v []byte) error) error {
		for _, kv := range listed(store, op, s, prefix, from) {
			k, v, _ := strings.Cut(kv, "=")
			if err := emit([]byte(k), []byte(v)); err != nil {
				return err
			}
		}
		return nil
	}, func(k, v []byte) error {
		out = append(out, string(k)+"="+string(v))
		return nil
	})
	require.NoError(t, err)
	return out
}

// TestChangesAreInOrder holds stores to what they may rely on: sorted, each key
// once, nothing of a later cut.
func TestChangesAreInOrder(t *testing.T) {
	o := checkpoint.NewOverlay()
	p1 := checkpoint.Scope{Topic: "t", ID: 1}
	o.Set("b", p1, []byte("k"), []byte("1"))
	o.Set("b", p1, []byte("k"), []byte("2"))
	o.Set("b", checkpoint.Scope{}, []byte("z"), []byte{})
	o.Freeze(1)
	o.Set("b", p1, []byte("k"), []byte("3"))
	o.Set("a", p1, []byte("y"), nil)
	o.Set("a", p1, []byte("x"), []byte("4"))
	o.Freeze(3)
	o.Freeze(4)
	o.Set("a", p1, []byte("x"), []byte("5"))
	require.Equal(t, []checkpoint.Change{
		{Operator: "b", Key: []byte("z"), Value: []byte{}},
		{Operator: "b", Scope: p1, Key: []byte("k"), Value: []byte("2")},
	}, o.Frozen(1).Changes())
	require.Equal(t, o.Frozen(1).Changes(), o.Frozen(2).Changes())
	require.Equal(t, []checkpoint.Change{
		{Operator: "a", Scope: p1, Key: []byte("x"), Value: []byte("4")},
		{Operator: "a", Scope: p1, Key: []byte("y")},
		{Operator: "b", Key: []byte("z"), Value: []byte{}},
		{Operator: "b", Scope: p1, Key: []byte("k"), Value: []byte("3")},
	}, o.Frozen(4).Changes())
}

// TestMergeEndsWithTheError checks that an error of the callback ends a merge at
// once wherever it comes from: a key of the overlay before, among or after those
// of the store, or one of the store.
func TestMergeEndsWithTheError(t *testing.T) {
	over := func() *checkpoint.Entries {
		o := checkpoint.NewOverlay()
		for k, v := range map[string][]byte{"a": {}, "b": []byte("new"), "c": nil, "e": {}} {
			o.Set("op", checkpoint.Scope{}, []byte(k), v)
		}
		return o.Entries("op", checkpoint.Scope{}, nil, nil)
	}
	stored := []string{"b", "c", "d"}
	scan := func(emit func(k, v []byte) error) error {
		for _, k := range stored {
			if err := emit([]byte(k), nil); err != nil {
				return err
			}
		}
		return nil
	}
	full := []string{"a", "b", "d", "e"}
	for stop := range full {
		var got []string
		boom := errors.New("enough")
		err := checkpoint.Merge(over(), scan, func(k, _ []byte) error {
			got = append(got, string(bytes.Clone(k)))
			if len(got) > stop {
				return boom
			}
			return nil
		})
		require.ErrorIs(t, err, boom)
		require.Equal(t, full[:stop+1], got)
	}
	boom := errors.New("disk")
	err := checkpoint.Merge(over(), func(func(k, v []byte) error) error { return boom }, func(_, _ []byte) error { return nil })
	require.ErrorIs(t, err, boom)
}
