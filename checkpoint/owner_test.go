package checkpoint_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tidemarkhq/tidemark/checkpoint"
)

// told is an owner and what it answered.
type told struct {
	checkpoint.Owner
	t    require.TestingT
	step uint64
}

func newTold(t require.TestingT, fencing checkpoint.Fencing) *told {
	return &told{t: t, Owner: checkpoint.NewOwner(checkpoint.OwnerConfig{ID: "x", Fencing: fencing})}
}

// answers compares actions with their text, separated by semicolons, and the stage
// that the owner is in afterwards.
func (o *told) answers(acts []checkpoint.OwnerAction, want, stage string) {
	var got []string
	for _, a := range acts {
		got = append(got, a.String())
		if a.Step != 0 {
			require.Greater(o.t, a.Step, o.step)
			o.step = a.Step
		}
	}
	require.Equal(o.t, want, strings.Join(got, "; "))
	require.Equal(o.t, stage, o.String())
}

func at(n checkpoint.Offset) checkpoint.Position { return checkpoint.Position{Next: n} }

func TestOwnerTakesOverByClaim(t *testing.T) {
	o := newTold(t, checkpoint.FenceStatic)
	o.answers(o.Take(at(3)), "write-claim 3", "claiming")
	o.answers(o.Take(at(3)), "", "claiming")
	o.answers(o.Claimed(o.step, 7, checkpoint.EndedCommitted), "read-store", "reading")
	o.Observe(claimRecord(checkpoint.Claimed, "y", 0, 0))
	o.Observe(claimRecord(checkpoint.Checkpointed, "y", 2, 20))
	o.Observe(claimRecord(checkpoint.Claimed, "z", 4, 0))
	o.Observe(claimRecord(checkpoint.Claimed, "x", 7, 3))
	o.answers(o.Read(o.step), "fence y,z", "fencing")
	o.answers(o.Fenced(o.step), "read-store", "reading")
	o.Observe(claimRecord(checkpoint.Checkpointed, "y", 9, 21))
	o.answers(o.Read(o.step), "restore 21", "restoring")
	o.answers(o.Restored(o.step), "own", "owning")
	require.True(t, o.Owning())
	o.answers(o.Checkpoint(at(25)), "commit 25", "committing")
	require.False(t, o.Excludes(), "there is no group")
	o.answers(o.Checkpoint(at(26)), "", "committing")
	o.answers(o.Ended(o.step, checkpoint.EndedCommitted), "", "owning")
	o.answers(o.Checkpoint(at(30)), "commit 30", "committing")
	o.answers(o.Ended(o.step, checkpoint.EndedUnknown), "suspend; init-producer", "initialising")
	o.answers(o.Refused(), "back-off", "backing off")
	o.answers(o.BackedOff(o.step), "read-store", "reading")
	o.answers(o.Read(o.step), "init-producer fresh", "initialising")
	o.answers(o.Initialised(), "read-store", "reading")
	o.Observe(claimRecord(checkpoint.Claimed, "x", 12, 3))
	o.answers(o.Read(o.step), "stop: "+checkpoint.ErrLost.Error(), "stopped")
	require.ErrorIs(t, checkpoint.ErrLost, checkpoint.ErrFatal)
	require.True(t, o.Idle())
	o.answers(o.Take(at(0)), "", "stopped")
	o.answers(o.Initialised(), "", "stopped")
}

func TestOwnerOfAGroupOnAnotherCluster(t *testing.T) {
	o := newTold(t, checkpoint.FenceGroupClaims)
	o.answers(o.Take(at(0)), "look", "looking")
	o.answers(o.Looked(o.step, []string{"y", "x", "z", "y"}, []string{"x", "z"}), "fence y", "burying")
	o.answers(o.Fenced(o.step), "write-claim 0", "claiming")
	o.answers(o.Claimed(o.step, 5, checkpoint.EndedCommitted), "read-store", "reading")
	o.Observe(claimRecord(checkpoint.Claimed, "x", 5, 0))
	o.Observe(claimRecord(checkpoint.Claimed, "z", 6, 0))
	o.answers(o.Read(o.step), "ask-group", "asking")
	o.answers(o.Asked(o.step, true), "write-claim 0", "claiming")
	o.answers(o.Claimed(o.step, 8, checkpoint.EndedCommitted), "read-store", "reading")
	o.Observe(claimRecord(checkpoint.Claimed, "x", 8, 0))
	o.answers(o.Read(o.step), "fence z", "fencing")
	o.answers(o.Fenced(o.step), "read-store", "reading")
	o.answers(o.Read(o.step), "restore 0", "restoring")
	o.answers(o.Restored(o.step), "own", "owning")
	o.answers(o.Revoke(at(4)), "commit 4 release", "committing")
	require.True(t, o.Excludes())
	o.answers(o.Ended(o.step, checkpoint.EndedUnknown), "suspend; init-producer", "initialising")
	o.answers(o.Initialised(), "read-store", "reading")
	o.Observe(claimRecord(checkpoint.Checkpointed, "x", 10, 4))
	o.Observe(claimRecord(checkpoint.Released, "x", 11, 0))
	o.answers(o.Read(o.step), "drop", "idle")
	o.answers(o.Take(at(0)), "look", "looking")
}

func TestOwnerWithoutAStore(t *testing.T) {
	o := newTold(t, checkpoint.FenceStoreless)
	o.answers(o.Take(at(2)), "look", "looking")
	o.answers(o.Looked(o.step, nil, []string{"x"}), "fetch-offset stable", "fetching")
	o.answers(o.Fetched(o.step, at(9), true), "write-claim 9", "claiming")
	require.True(t, o.Excludes())
	o.answers(o.Claimed(o.step, -1, checkpoint.EndedUnknown), "fetch-offset stable", "fetching")
	o.answers(o.Fetched(o.step, at(9), true), "write-claim 9", "claiming")
	o.answers(o.Claimed(o.step, -1, checkpoint.EndedCommitted), "restore 9", "restoring")
	o.answers(o.Restored(o.step), "own", "owning")
	o.answers(o.Uncertain(), "suspend; init-producer", "initialising")
	o.answers(o.Refused(), "back-off", "backing off")
	o.answers(o.BackedOff(o.step), "ask-group", "asking")
	o.answers(o.Asked(o.step, true), "init-producer fresh", "initialising")
	o.answers(o.Initialised(), "fetch-offset stable", "fetching")
	o.answers(o.Fetched(o.step, at(11), true), "restore 11", "restoring")
	o.answers(o.Restored(o.step), "own", "owning")
	o.answers(o.Checkpoint(at(12)), "commit 12", "committing")
	o.answers(o.Ended(o.step, checkpoint.EndedUnanswered), "rejoin; drop", "idle")
	o.answers(o.Lost(), "", "idle")
	o.answers(o.Take(at(0)), "look", "looking")
	o.answers(o.Lost(), "abort; drop", "idle")
}

// TestOwnerIgnoresLateAnswers tells owners anything in any order: only the answer
// that is awaited counts, and only under its own number.
func TestOwnerIgnoresLateAnswers(t *testing.T) {
	random(t, func(t require.TestingT, r *rand.Rand) {
		o := newTold(t, pick(r, checkpoint.FenceStatic, checkpoint.FenceGeneration, checkpoint.FenceStoreless, checkpoint.FenceGroupClaims))
		var offset checkpoint.Offset
		own := false
		for range 150 {
			late := r.IntN(3) == 0
			step := o.step
			if late {
				step -= min(step, uint64(1+r.IntN(3)))
			}
			before, event := o.Owner, r.IntN(16)
			acts := tell(o, r, event, step, &offset)
			if late && event < 8 {
				require.Equal(t, before, o.Owner, "event %d", event)
				require.Empty(t, acts)
			}
			for _, a := range acts {
				switch a.Op {
				case checkpoint.Own:
					require.False(t, own)
					own = true
				case checkpoint.Suspend, checkpoint.Drop, checkpoint.Stop:
					own = false
				case checkpoint.CommitTransaction:
					require.True(t, own, "%v of what is not owned", a)
				}
				o.step = max(o.step, a.Step)
			}
			require.Equal(t, own, o.Owning(), "%v: %v", o, fmt.Sprint(acts))
		}
	})
}

// tell tells one event. The first eight are answers.
func tell(o *told, r *rand.Rand, event int, step uint64, offset *checkpoint.Offset) []checkpoint.OwnerAction {
	end := pick(r, checkpoint.EndedCommitted, checkpoint.EndedCommitted, checkpoint.EndedUnknown, checkpoint.EndedUnanswered)
	switch event {
	case 0:
		return o.Looked(step, []string{"x", "y"}, []string{pick(r, "x", "y")})
	case 1:
		return o.Fenced(step)
	case 2:
		return o.Fetched(step, at(checkpoint.Offset(r.IntN(9))), r.IntN(2) == 0)
	case 3:
		return o.Claimed(step, *offset-1, end)
	case 4:
		return o.Read(step)
	case 5:
		return o.Asked(step, r.IntN(2) == 0)
	case 6:
		return o.Restored(step)
	case 7:
		return o.Ended(step, end)
	case 8, 9:
		kind := pick(r, checkpoint.Claimed, checkpoint.Claimed, checkpoint.Checkpointed, checkpoint.Released)
		o.Observe(claimRecord(kind, pick(r, "x", "x", "y"), *offset, *offset))
		*offset++
		return nil
	case 10, 11:
		return o.Take(at(0))
	case 12:
		return o.Checkpoint(at(1))
	case 13:
		return pick(r, o.Uncertain, o.Initialised, o.Refused, func() []checkpoint.OwnerAction { return o.BackedOff(o.step) })()
	case 14:
		return o.Revoke(at(1))
	}
	return pick(r, o.Initialised, o.Lost)()
}

func TestFencingPrints(t *testing.T) {
	for f, want := range map[checkpoint.Fencing]string{
		checkpoint.FenceStatic: "static", checkpoint.FenceGeneration: "generation",
		checkpoint.FenceStoreless: "storeless", checkpoint.FenceGroupClaims: "group-claims",
	} {
		require.Equal(t, want, f.String())
	}
}
