package savepoint_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tidemarkhq/tidemark/checkpoint"
	"github.com/tidemarkhq/tidemark/internal/savepoint"
)

func shard(index, count int) *savepoint.Share {
	return &savepoint.Share{Shard: checkpoint.Shard{Index: index, Count: count}}
}

func merge(files []*savepoint.File, to savepoint.Target) (savepoint.Snapshot, error) {
	to.ShardOf = shardOf
	return savepoint.Merge(files, to)
}

// withoutProcess drops what belongs to the process, which cannot be split.
func withoutProcess(m *memory) *memory {
	var kept []savepoint.Entry
	for _, e := range m.entries {
		if e.Scope != (checkpoint.Scope{}) {
			kept = append(kept, e)
		}
	}
	m.entries = kept
	return m
}

// From any number of shards to any other, each new one has what a hash of its own says.
func TestRescaleIsSorting(t *testing.T) {
	r := seeded(t)
	for range 100 {
		whole := withoutProcess(sample(r, r.IntN(50), r.IntN(400)))
		from, to := 1+r.IntN(6), 1+r.IntN(6)
		var files []*savepoint.File
		for i := range from {
			files = append(files, file(t, fmt.Sprint("shard", i), split(whole, i, from)))
		}
		r.Shuffle(len(files), func(i, j int) { files[i], files[j] = files[j], files[i] })
		for i := range to {
			s, err := merge(files, savepoint.Target{Share: shard(i, to)})
			require.NoError(t, err)
			require.Equal(t, split(whole, i, to), contents(t, s), "%d shards to shard %d of %d", from, i, to)
		}
		s, err := merge(files, savepoint.Target{Job: "other", Share: &savepoint.Share{}})
		require.NoError(t, err)
		want := *whole
		want.manifest.Job = "other"
		require.Equal(t, &want, contents(t, s))
	}
}

// Only those shards are needed that have a part in the new one.
func TestMissingShardsAreNoticed(t *testing.T) {
	whole := withoutProcess(sample(seeded(t), 60, 50))
	part := func(i, n int) *savepoint.File { return file(t, fmt.Sprintf("%d of %d", i, n), split(whole, i, n)) }
	for _, tc := range []struct {
		from  []*savepoint.File
		share *savepoint.Share
		want  string
	}{
		{from: []*savepoint.File{part(0, 2)}, share: shard(0, 4)},
		{from: []*savepoint.File{part(0, 2)}, share: shard(2, 4)},
		{from: []*savepoint.File{part(0, 2)}, share: shard(1, 4), want: "the savepoint of shard 1 is missing"},
		{from: []*savepoint.File{part(1, 2)}, share: shard(0, 3), want: "the savepoint of shard 0 is missing"},
		{from: []*savepoint.File{part(1, 4), part(3, 4)}, share: shard(1, 2)},
		{from: []*savepoint.File{part(1, 4)}, share: shard(1, 2), want: "the savepoint of shard 3 is missing"},
		{from: []*savepoint.File{part(0, 2)}, share: &savepoint.Share{}, want: "the savepoint of shard 1 is missing"},
		{from: []*savepoint.File{part(0, 3), part(2, 3)}, want: "the savepoint of shard 1 is missing"},
		{from: []*savepoint.File{part(0, 2), part(0, 2)}, want: "both are of shard 0 of 2"},
		{from: []*savepoint.File{part(0, 2), part(1, 3)}, want: "savepoints of one scale belong together"},
		{from: []*savepoint.File{part(1, 2)}},
	} {
		s, err := merge(tc.from, savepoint.Target{Share: tc.share})
		if tc.want != "" {
			require.ErrorIs(t, err, savepoint.ErrMismatch)
			require.ErrorContains(t, err, tc.want)
			continue
		}
		require.NoError(t, err)
		share := tc.share
		if share == nil {
			share = shard(1, 2)
		}
		require.Equal(t, split(whole, share.Shard.Index, share.Shard.Count), contents(t, s))
	}
}

func TestOverlapNamesBothFiles(t *testing.T) {
	p := checkpoint.Partition{Topic: "t", ID: 1}
	with := func(name string, positions checkpoint.Positions, state ...checkpoint.Scope) *savepoint.File {
		m := &memory{manifest: checkpoint.Manifest{Job: "j", ID: 1, Positions: positions}}
		for _, s := range state {
			m.entries = append(m.entries, savepoint.Entry{Operator: "o", Scope: s, Key: []byte("k"), Value: []byte(name)})
		}
		return file(t, name, m)
	}
	at := checkpoint.Positions{p: {Next: 1}}
	_, err := merge([]*savepoint.File{with("one", at), with("two", at)}, savepoint.Target{})
	require.ErrorIs(t, err, savepoint.ErrMismatch)
	require.ErrorContains(t, err, "one and two both hold partition t/1")

	// State without a position, which the other file has, or has state for as well.
	for _, two := range []*savepoint.File{with("two", at), with("two", nil, p)} {
		s, err := merge([]*savepoint.File{with("one", nil, p), two}, savepoint.Target{})
		require.NoError(t, err)
		err = s.Each(context.Background(), func(savepoint.Entry) error { return nil })
		require.ErrorIs(t, err, savepoint.ErrMismatch)
		require.ErrorContains(t, err, "both hold partition t/1")
	}

	other := &memory{manifest: checkpoint.Manifest{Job: "k", ID: 1}}
	_, err = merge([]*savepoint.File{with("one", at), file(t, "two", other)}, savepoint.Target{})
	require.ErrorContains(t, err, `one is of job "j", two of job "k"`)
	_, err = merge([]*savepoint.File{with("one", at), file(t, "two", other)}, savepoint.Target{Job: "l"})
	require.NoError(t, err)
}

// State of the process goes along where nothing is split, and is refused otherwise.
func TestStateOfTheProcess(t *testing.T) {
	whole := golden()
	whole.origin.Share = savepoint.Share{}
	f := file(t, "whole", whole)
	for _, share := range []*savepoint.Share{nil, {}, shard(0, 1)} {
		s, err := merge([]*savepoint.File{f}, savepoint.Target{Share: share})
		require.NoError(t, err)
		require.Equal(t, whole.entries, contents(t, s).entries)
	}
	_, err := merge([]*savepoint.File{f}, savepoint.Target{Share: shard(0, 2)})
	require.ErrorIs(t, err, savepoint.ErrMismatch)
	require.ErrorContains(t, err, `whole has state of "seen" that belongs to the whole process, which cannot be split`)

	second := golden()
	second.origin.Share = savepoint.Share{}
	second.manifest.Positions = nil
	_, err = merge([]*savepoint.File{f, file(t, "second", second)}, savepoint.Target{})
	require.ErrorContains(t, err, `whole and second both have state that belongs to a whole process ("seen")`)

	// A shard that stays what it is keeps what it has.
	s, err := merge([]*savepoint.File{file(t, "shard", golden())}, savepoint.Target{})
	require.NoError(t, err)
	require.Equal(t, golden(), contents(t, s))
}

func TestMergeStopsWhenAskedTo(t *testing.T) {
	r := seeded(t)
	a, b := withoutProcess(sample(r, 30, 3000)), checkpoint.Manifest{Job: "orders", ID: 1}
	s, err := merge([]*savepoint.File{file(t, "a", a), file(t, "b", &memory{manifest: b})}, savepoint.Target{})
	require.NoError(t, err)
	enough := errors.New("enough of it")
	var n int
	require.ErrorIs(t, s.Each(context.Background(), func(savepoint.Entry) error {
		if n++; n == 7 {
			return enough
		}
		return nil
	}), enough)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	require.ErrorIs(t, s.Each(ctx, func(savepoint.Entry) error { return nil }), context.Canceled)
}

// What holds everywhere is the same in all files, and every new shard has it once.
func TestStateOfEverywhere(t *testing.T) {
	whole := withoutProcess(sample(seeded(t), 12, 40))
	with := func(i, n int, value string) *savepoint.File {
		part := split(whole, i, n)
		part.entries = append(part.entries, savepoint.Entry{Operator: "zz", Scope: checkpoint.Everywhere, Key: []byte("k"), Value: []byte(value)})
		return file(t, fmt.Sprint("shard", i), part)
	}
	files := []*savepoint.File{with(0, 3, "v"), with(1, 3, "v"), file(t, "shard2", split(whole, 2, 3))}
	for i := range 2 {
		s, err := merge(files, savepoint.Target{Share: shard(i, 2)})
		require.NoError(t, err)
		want := split(whole, i, 2)
		want.entries = append(want.entries, savepoint.Entry{Operator: "zz", Scope: checkpoint.Everywhere, Key: []byte("k"), Value: []byte("v")})
		require.Equal(t, want, contents(t, s))
	}
	files[1] = with(1, 3, "w")
	s, err := merge(files, savepoint.Target{})
	require.NoError(t, err)
	err = s.Each(context.Background(), func(savepoint.Entry) error { return nil })
	require.ErrorIs(t, err, savepoint.ErrMismatch)
	require.ErrorContains(t, err, `shard0 and shard1 differ in what "zz" keeps for all partitions: "k" is "v" and "w"`)
}
