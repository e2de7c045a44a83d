package store

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/tidemarkhq/tidemark/checkpoint"
)

const (
	testJob      = "orders"
	testOperator = "totals"
	testKeys     = 13
)

var testScope = checkpoint.Scope{Source: "in", Topic: "orders", ID: 3}

// content is all that a store holds, for comparison.
type content struct {
	id        checkpoint.ID
	positions checkpoint.Positions
	state     map[string]string
}

// contentAt is what a store must hold after checkpoints 1 to id of step: each
// checkpoint changes a part of the state, so the whole depends on all of them.
func contentAt(id checkpoint.ID) content {
	c := content{id: id, positions: checkpoint.Positions{}, state: map[string]string{}}
	for i := checkpoint.ID(1); i <= id; i++ {
		m, changes := step(i)
		c.apply(m, changes)
	}
	return c
}

func (c *content) apply(m *checkpoint.Manifest, changes []checkpoint.Change) {
	c.id = m.ID
	c.positions = m.Positions.Clone()
	c.state = maps.Clone(c.state)
	for _, ch := range changes {
		if ch.Value == nil {
			delete(c.state, string(ch.Key))
		} else {
			c.state[string(ch.Key)] = string(ch.Value)
		}
	}
}

// step is checkpoint id of the test job.
func step(id checkpoint.ID) (*checkpoint.Manifest, []checkpoint.Change) {
	m := &checkpoint.Manifest{
		Job: testJob, ID: id, Kind: checkpoint.Aligned, Taken: time.Unix(int64(id), 5).UTC(),
		Positions: checkpoint.Positions{},
	}
	for p := range int32(4) {
		if (int64(id)+int64(p))%9 != 0 { // some partitions come and go
			m.Positions[checkpoint.Partition{Source: "in", Topic: "orders", ID: p}] = checkpoint.Position{
				Next: checkpoint.Offset(int64(id)/(1+int64(p))) * 10, LeaderEpoch: p, Stop: checkpoint.Unbounded,
			}
		}
	}
	var changes []checkpoint.Change
	for k := range int64(3) {
		key := fmt.Appendf(nil, "k%02d", (int64(id)*3+k)%testKeys)
		value := fmt.Appendf(nil, "%s is as of %d. %0200d", key, id, id)
		if (int64(id)+k)%7 == 0 {
			value = nil
		}
		changes = append(changes, checkpoint.Change{Operator: testOperator, Scope: testScope, Key: key, Value: value})
	}
	return m, changes
}

// read returns what the store holds by its interface.
func read(d *Directory) (content, error) {
	c := content{positions: checkpoint.Positions{}, state: map[string]string{}}
	m, err := d.Load(context.Background())
	if err == nil {
		c.id, c.positions = m.ID, m.Positions
	} else if !errors.Is(err, checkpoint.ErrNoCheckpoint) {
		return c, err
	}
	err = d.Scan(testOperator, testScope, nil, nil, func(key, value []byte) error {
		c.state[string(key)] = string(value)
		return nil
	})
	if err != nil {
		return c, err
	}
	for k, v := range c.state {
		got, err := d.Get(testOperator, testScope, []byte(k))
		if err != nil {
			return c, err
		}
		if string(got) != v {
			return c, fmt.Errorf("key %q: Get says %q, Scan %q", k, got, v)
		}
	}
	return c, nil
}

func requireContent(t testing.TB, d *Directory, want content) {
	t.Helper()
	got, err := read(d)
	require.NoError(t, err)
	require.Equal(t, want, got)
}

// harness opens stores in one folder with the same options.
type harness struct {
	testing.TB
	options Options
}

func newHarness(t testing.TB, change ...func(*Options)) *harness {
	o := Options{Directory: "data/store", Job: testJob, FS: vfs.NewMem(), Logf: t.Logf}
	for _, c := range change {
		c(&o)
	}
	return &harness{t, o}
}

func (h *harness) open(change ...func(*Options)) *Directory {
	h.Helper()
	d, err := h.tryOpen(change...)
	require.NoError(h, err)
	return d
}

func (h *harness) tryOpen(change ...func(*Options)) (*Directory, error) {
	o := h.options
	for _, c := range change {
		c(&o)
	}
	return Open(context.Background(), o)
}

func persist(t testing.TB, d *Directory, ids ...checkpoint.ID) {
	t.Helper()
	for _, id := range ids {
		require.NoError(t, tryPersist(d, id))
	}
}

func tryPersist(d *Directory, id checkpoint.ID) error {
	m, changes := step(id)
	_, err := d.Persist(context.Background(), m, changes)
	return err
}

func upTo(last checkpoint.ID) []checkpoint.ID {
	var ids []checkpoint.ID
	for id := checkpoint.ID(1); id <= last; id++ {
		ids = append(ids, id)
	}
	return ids
}

func restoreFrom(id checkpoint.ID) func(*Options) { return func(o *Options) { o.RestoreFrom = id } }
func retain(n int) func(*Options)                 { return func(o *Options) { o.Retain = n } }
func withFS(fs vfs.FS) func(*Options)             { return func(o *Options) { o.FS = fs } }
func in(directory string) func(*Options) {
	return func(o *Options) { o.Directory = directory; o.FS = nil }
}
