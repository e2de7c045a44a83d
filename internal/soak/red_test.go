package soak_test

import (
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/stretchr/testify/require"

	"github.com/tidemarkhq/tidemark/internal/kafkatest"
	"github.com/tidemarkhq/tidemark/internal/soak"
)

// noFlush makes checkpoints complete without the records that they cover.
var noFlush = soak.Sabotage{
	File: "output/sink.go",
	Old:  "if err := s.p.epochs.flush(ctx, id); err != nil {",
	New:  "if err := ctx.Err(); err != nil {",
}

// oneTooFar commits one record more than the checkpoint holds.
var oneTooFar = soak.Sabotage{
	File: "input/commit.go",
	Old:  "Offset: int64(pos.Next), LeaderEpoch",
	New:  "Offset: int64(pos.Next) + 1, LeaderEpoch",
}

// Without the flush an offset is committed while its records are still under way,
// and a kill at that moment loses them.
func TestHarnessTurnsRed_WithoutFlush(t *testing.T) {
	rig := turnRed(t, noFlush)
	_, counts := rig.Audit.Violations()
	require.Positive(t, counts[soak.EarlyCommit], "%v", rig.Audit)
	require.Positive(t, counts[soak.Lost]+counts[soak.Disorder], "%v", rig.Audit)
}

// A commit that is one record too far loses that record at a kill.
func TestHarnessTurnsRed_OneRecordTooFar(t *testing.T) {
	rig := turnRed(t, oneTooFar)
	_, counts := rig.Audit.Violations()
	require.Positive(t, counts[soak.EarlyCommit], "%v", rig.Audit)
	require.Positive(t, counts[soak.Lost]+counts[soak.Disorder], "%v", rig.Audit)
}

// turnRed plays rounds of the kill harness with a broken binary, until it has found
// both a commit that comes too early and what a kill makes of it.
func turnRed(t *testing.T, s soak.Sabotage) *soak.Rig {
	t.Helper()
	p, v := soak.Begin(t, t.Name(), 1)
	rig := soak.NewRig(t, kafkatest.Shared(t), soak.Load{})
	rig.Follow()
	binary := soak.Broken(t, s)
	// Produce requests that take a while show what does not wait for them.
	rig.Proxy.Delay(100*time.Millisecond, kmsg.Produce)
	k := &killer{rig: rig, random: p.Random, v: v, scale: scaleOf(p, v), binary: binary, places: map[placement]int{}}
	rig.Feed(k.scale.rate)
	for range 10 {
		// Records that are under way when the commit is done are what is lost.
		c := rig.Start(soak.Copy{Interval: 300 * time.Millisecond, Binary: binary})
		if !rig.AwaitCommit(c, time.Minute) {
			break
		}
		rig.Kill9(c)
		rig.Audit.Settle()
		_, counts := rig.Audit.Violations()
		if counts[soak.EarlyCommit] > 0 && counts[soak.Lost]+counts[soak.Disorder] > 0 {
			break
		}
	}
	t.Logf("with %q in place of %q: %v", s.New, s.Old, rig.Audit)
	return rig
}
