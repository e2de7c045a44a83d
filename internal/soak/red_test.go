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
	turnRed(t, "red/without flush", noFlush, (*killer).round)
}

// A commit that is one record too far loses that record at a kill. While much is under
// way it takes luck to kill before the record is delivered, so there are also kills when
// nothing is left to do.
func TestHarnessTurnsRed_OneRecordTooFar(t *testing.T) {
	turnRed(t, "red/one record too far", oneTooFar, func(k *killer) bool { return k.round() && k.rest() })
}

// rest kills the pipeline when all of the source is delivered and committed.
func (k *killer) rest() bool {
	c := k.rig.Start(soak.Copy{Interval: 200 * time.Millisecond, Binary: k.binary})
	if !k.rig.AwaitCommitted(k.rig.Fed(), time.Minute) {
		return false
	}
	k.rig.Kill9(c)
	k.v.Rounds++
	k.v.Kills++
	k.rig.Feed(k.scale.rate)
	k.settle(k.rig.Audit.Settle())
	return true
}

// turnRed plays rounds of the kill harness with a broken binary, until it has found
// both a commit that comes too early and what a kill makes of it.
func turnRed(t *testing.T, name string, s soak.Sabotage, play func(*killer) bool) {
	t.Helper()
	p, v := soak.Begin(t, name, 1)
	rig := soak.NewRig(t, kafkatest.Shared(t), soak.Load{})
	rig.Follow()
	// Produce requests that take a while make the moments longer at which it shows.
	rig.Proxy.Delay(300*time.Millisecond, kmsg.Produce)
	k := &killer{rig: rig, random: p.Random, v: v, binary: soak.Broken(t, s), places: map[placement]int{}}
	k.scale = scaleOf(p, v)
	v.Extra = map[string]any{"sabotage": s}
	rig.Feed(k.scale.rate)
	found := func() bool {
		_, counts := rig.Audit.Violations()
		return counts[soak.EarlyCommit] > 0 && counts[soak.Lost]+counts[soak.Disorder] > 0
	}
	for v.Rounds < 12 && !found() && play(k) {
	}
	v.ConcludeRed(t, rig.Audit)
	require.True(t, found(), "%v", rig.Audit)
}
