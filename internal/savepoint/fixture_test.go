package savepoint_test

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"hash/fnv"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tidemarkhq/tidemark/checkpoint"
	"github.com/tidemarkhq/tidemark/internal/savepoint"
)

// memory is a snapshot in memory.
type memory struct {
	manifest checkpoint.Manifest
	origin   savepoint.Origin
	entries  []savepoint.Entry
}

func (m *memory) Origin() savepoint.Origin { return m.origin }
func (m *memory) Close() error             { return nil }

func (m *memory) Manifest() *checkpoint.Manifest {
	c := m.manifest
	c.Positions = maps.Clone(m.manifest.Positions)
	return &c
}

func (m *memory) Each(_ context.Context, fn func(savepoint.Entry) error) error {
	for _, e := range m.entries {
		if err := fn(e); err != nil {
			return err
		}
	}
	return nil
}

// contents is what a snapshot holds, its entries copied.
func contents(t testing.TB, s savepoint.Snapshot) *memory {
	t.Helper()
	m := &memory{manifest: *s.Manifest(), origin: s.Origin()}
	require.NoError(t, s.Each(context.Background(), func(e savepoint.Entry) error {
		e.Key, e.Value = append([]byte{}, e.Key...), append([]byte{}, e.Value...)
		m.entries = append(m.entries, e)
		return nil
	}))
	return m
}

func encode(t testing.TB, s savepoint.Snapshot) []byte {
	t.Helper()
	var b bytes.Buffer
	_, err := savepoint.Encode(context.Background(), &b, s)
	require.NoError(t, err)
	return b.Bytes()
}

func decode(b []byte) (*savepoint.File, error) {
	return savepoint.Decode(context.Background(), "x.savepoint", bytes.NewReader(b), int64(len(b)))
}

func file(t testing.TB, name string, s savepoint.Snapshot) *savepoint.File {
	t.Helper()
	b := encode(t, s)
	f, err := savepoint.Decode(context.Background(), name, bytes.NewReader(b), int64(len(b)))
	require.NoError(t, err)
	return f
}

// shardOf is like Kafka's shards: a hash modulo count.
func shardOf(topic string, id int32, count int) int {
	h := fnv.New64a()
	fmt.Fprintf(h, "%s/%d", topic, id)
	return int(h.Sum64() % uint64(count))
}

// sample is a checkpoint of random content with n partitions and at most so many values.
func sample(r *rand.Rand, n, values int) *memory {
	m := &memory{
		manifest: checkpoint.Manifest{
			Job: "orders", ID: checkpoint.ID(r.Int64N(1e6) + 1), Kind: checkpoint.Aligned, Final: r.IntN(2) == 0,
			Taken: time.Unix(r.Int64N(2e9), r.Int64N(1e9)).UTC(), Positions: checkpoint.Positions{},
		},
		origin: savepoint.Origin{Store: savepoint.FromDirectory, Place: "/data/orders"},
	}
	scopes := []checkpoint.Scope{{}}
	for i := range n {
		p := checkpoint.Partition{Source: []string{"", "in"}[r.IntN(2)], Topic: []string{"a", "a\x00b"}[r.IntN(2)], ID: int32(i)}
		scopes = append(scopes, p)
		pos := checkpoint.Position{Next: checkpoint.Offset(r.Int64()), LeaderEpoch: int32(r.IntN(9) - 1), Stop: checkpoint.Offset(r.IntN(9) - 1)}
		if r.IntN(2) == 0 {
			pos.Watermark = checkpoint.Watermark{Known: true, At: r.Int64() - 1<<40}
		}
		m.manifest.Positions[p] = pos
	}
	for range values {
		key, value := make([]byte, r.IntN(20)), make([]byte, r.IntN(60))
		for i := range key {
			key[i] = byte(r.IntN(3)) * 127
		}
		m.entries = append(m.entries, savepoint.Entry{
			Operator: []string{"seen", "totals", "totals\x00"}[r.IntN(3)], Scope: scopes[r.IntN(len(scopes))], Key: key, Value: value,
		})
	}
	slices.SortFunc(m.entries, byKey)
	m.entries = slices.CompactFunc(m.entries, func(a, b savepoint.Entry) bool { return byKey(a, b) == 0 })
	return m
}

func byKey(a, b savepoint.Entry) int {
	return cmp.Or(cmp.Compare(a.Operator, b.Operator), a.Scope.Compare(b.Scope), bytes.Compare(a.Key, b.Key))
}

// split is the part of a checkpoint that a shard has.
func split(m *memory, index, count int) *memory {
	part := &memory{manifest: *m.Manifest(), origin: m.origin}
	part.origin.Share.Shard = checkpoint.Shard{Index: index, Count: count}
	mine := func(p checkpoint.Partition) bool { return shardOf(p.Topic, p.ID, count) == index }
	for p := range m.manifest.Positions {
		if !mine(p) {
			delete(part.manifest.Positions, p)
		}
	}
	for _, e := range m.entries {
		if mine(e.Scope) {
			part.entries = append(part.entries, e)
		}
	}
	return part
}
