package engine

import (
	"errors"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tidemarkhq/tidemark/checkpoint"
)

// owning makes an owner of a scope that is fenced by claims, and has come to its end of
// taking it over.
func owning(t *testing.T, k *keeper, s checkpoint.Scope) {
	t.Helper()
	o := checkpoint.NewOwner(checkpoint.OwnerConfig{ID: "me", Fencing: checkpoint.FenceGroupClaims})
	acts := o.Take(checkpoint.Position{})
	for !o.Owning() {
		require.NotEmpty(t, acts)
		a := acts[len(acts)-1]
		switch a.Op {
		case checkpoint.LookUncommitted:
			acts = o.Looked(a.Step, nil, nil)
		case checkpoint.FenceIDs:
			acts = o.Fenced(a.Step)
		case checkpoint.WriteClaim:
			acts = o.Claimed(a.Step, 7, checkpoint.EndedCommitted)
		case checkpoint.ReadStore:
			o.Observe(checkpoint.ClaimRecord{ID: "me", At: 7, Kind: checkpoint.Claimed})
			acts = o.Read(a.Step)
		case checkpoint.RestoreFrom:
			acts = o.Restored(a.Step)
		default:
			t.Fatalf("nobody answers %v", a.Op)
		}
	}
	k.mu.owners[s] = &o
}

// Where no generation is in the transaction, what was written of partitions that are gone
// must not be committed without their positions: whoever has them now writes it again.
func TestATransactionWithRecordsOfLostPartitionsIsNotCommitted(t *testing.T) {
	c := &Coordinator{}
	c.mu.closed = true // The rewind is somebody else's business.
	k := newKeeper(c, &Transaction{id: "me"}, nil, nil)
	c.mu.transaction = &Transaction{keeper: k}
	src := &source{c: c, name: "in"}
	kept, lost := checkpoint.Scope{Source: "in", Topic: "t", ID: 0}, checkpoint.Scope{Source: "in", Topic: "t", ID: 1}
	owning(t, k, kept)
	owning(t, k, lost)
	m := &checkpoint.Manifest{Positions: checkpoint.Positions{kept: {Next: 5}, lost: {Next: 6}}}
	both, err := k.owned(m.Positions)
	require.NoError(t, err)
	require.Equal(t, m.Positions, both)

	src.Lost([]checkpoint.Partition{{Topic: "t", ID: 1}}, nil)
	rest, err := k.owned(m.Positions)
	require.NoError(t, err, "nothing of it was written")
	require.Equal(t, checkpoint.Positions{kept: {Next: 5}}, rest)

	gone := errors.New("the group has it")
	src.Lost([]checkpoint.Partition{{Topic: "t", ID: 0}}, gone)
	_, err = k.commit(t.Context(), m, nil, func() error {
		t.Fatal("the transaction is being ended")
		return nil
	})
	require.ErrorIs(t, err, gone)
}
