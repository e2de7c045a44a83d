package checkpoint_test

import (
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tidemarkhq/tidemark/checkpoint"
)

func claimRecord(kind checkpoint.ClaimKind, id string, at, position checkpoint.Offset) checkpoint.ClaimRecord {
	return checkpoint.ClaimRecord{Kind: kind, ID: id, At: at, Position: checkpoint.Position{Next: position}}
}

// TestClaimLogIsLikeTheWholeLog compares a ClaimLog, which forgets, with the rules
// applied to all records there ever were.
func TestClaimLogIsLikeTheWholeLog(t *testing.T) {
	random(t, func(t require.TestingT, r *rand.Rand) {
		var log checkpoint.ClaimLog
		var all wholeLog
		at := checkpoint.Offset(0)
		for range 60 {
			at += checkpoint.Offset(1 + r.IntN(3))
			kind := pick(r, checkpoint.Claimed, checkpoint.Claimed, checkpoint.Checkpointed, checkpoint.Checkpointed, checkpoint.Released)
			rec := claimRecord(kind, pick(r, "a", "b", "c", "d"), at, checkpoint.Offset(r.IntN(100)))
			if kind != checkpoint.Claimed && all.lastClaim(rec.ID) < 0 {
				continue // Nobody writes without a claim.
			}
			copied := log
			before := copied.Claimants()
			log.Add(rec)
			require.Equal(t, before, copied.Claimants(), "a copy has changed")
			log.Add(claimRecord(checkpoint.Claimed, "late", checkpoint.Offset(r.IntN(int(at)+1)), 0))
			all = append(all, rec)
			all.compare(t, &log)
		}
	})
}

type wholeLog []checkpoint.ClaimRecord

// followed tells whether a record of a kind and an id comes after an offset.
func (l wholeLog) followed(kind checkpoint.ClaimKind, id string, at checkpoint.Offset) bool {
	return slices.ContainsFunc(l, func(r checkpoint.ClaimRecord) bool { return r.Kind == kind && r.ID == id && r.At > at })
}

func (l wholeLog) lastClaim(id string) checkpoint.Offset {
	last := checkpoint.Offset(-1)
	for _, r := range l {
		if r.Kind == checkpoint.Claimed && r.ID == id {
			last = r.At
		}
	}
	return last
}

func (l wholeLog) compare(t require.TestingT, log *checkpoint.ClaimLog) {
	var established, last checkpoint.ClaimRecord
	var first, complete *checkpoint.ClaimRecord
	for i, r := range l {
		switch r.Kind {
		case checkpoint.Claimed:
			last = r
			if first == nil {
				first = &l[i]
			}
			if l.followed(checkpoint.Checkpointed, r.ID, r.At) {
				established = r
			}
		case checkpoint.Checkpointed:
			complete = &l[i]
		}
	}
	position, known := log.Position()
	require.Equal(t, first != nil, known)
	if complete == nil {
		complete = first
	}
	if complete != nil {
		require.Equal(t, complete.Position, position)
	}
	if last.Kind == 0 {
		return
	}
	want := checkpoint.Holding
	if l.followed(checkpoint.Released, last.ID, last.At) {
		want = checkpoint.GivenUp
	}
	require.Equal(t, want, log.Standing(last.ID, last.At), "%v", l)
	require.Equal(t, checkpoint.Unclaimed, log.Standing(last.ID, last.At+1))
	fence := map[string]bool{}
	for _, r := range l {
		if r.Kind == checkpoint.Claimed && r.At >= established.At && r.At < last.At && r.ID != last.ID &&
			!l.followed(checkpoint.Released, r.ID, l.lastClaim(r.ID)) {
			fence[r.ID] = true
		}
		if r.Kind == checkpoint.Claimed && r.At < last.At && !l.followed(checkpoint.Released, r.ID, r.At) {
			require.Equal(t, checkpoint.Overtaken, log.Standing(r.ID, r.At))
		}
	}
	got := log.Fence(last.ID, last.At)
	require.Len(t, got, len(fence), "%v", l)
	for _, id := range got {
		require.True(t, fence[id], "%s, %v", id, l)
	}
}

func TestClaimLogStaysSmall(t *testing.T) {
	var log checkpoint.ClaimLog
	at := checkpoint.Offset(0)
	add := func(kind checkpoint.ClaimKind, id string) {
		log.Add(claimRecord(kind, id, at, at))
		at++
	}
	// Restarts that never get to a checkpoint, and others that do.
	for i := range 1000 {
		add(checkpoint.Claimed, pick(rand.New(rand.NewPCG(uint64(i), 0)), "a", "b", "c"))
	}
	require.Len(t, log.Claimants(), 3)
	for _, id := range []string{"v", "w", "x", "y"} {
		add(checkpoint.Claimed, id)
		add(checkpoint.Checkpointed, id)
	}
	require.Equal(t, []string{"y"}, log.Claimants())
	require.Equal(t, at, log.Next())
	require.Zero(t, testing.AllocsPerRun(1000, func() { add(checkpoint.Checkpointed, "y") }))
}

func TestClaimLogPrints(t *testing.T) {
	require.Equal(t, "claim", checkpoint.Claimed.String())
	require.Equal(t, "release", checkpoint.Released.String())
	require.Equal(t, "given up", checkpoint.GivenUp.String())
	require.Equal(t, "overtaken", checkpoint.Overtaken.String())
}
