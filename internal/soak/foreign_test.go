package soak_test

import (
	"testing"
	"time"

	"github.com/tidemarkhq/tidemark/internal/kafkatest"
	"github.com/tidemarkhq/tidemark/internal/soak"
)

// Commits of another tool neither move the start of the first run nor count after a
// crash: the checkpoint does.
func TestForeignCommits(t *testing.T) {
	p, v := soak.Begin(t, "foreign", 1)
	broker := kafkatest.Shared(t)
	records, foreign, first := int64(100), int64(50), int64(30)
	killAt := first + p.Random.Int64N(15)
	rig := soak.NewRig(t, broker, soak.Load{Partitions: 1})
	rig.Fill(records)
	kafkatest.CommitOffsets(t, broker, rig.Group, rig.Source, map[int32]int64{0: foreign})
	rig.Follow()

	// One record at a time, slowly, so that it can be killed on the way.
	slow := soak.Copy{Interval: 100 * time.Millisecond, MaxBatch: 1, Processors: "sleep: { duration: 30ms }"}
	c := rig.Start(slow)
	rig.Await(time.Minute, "the first records", func() bool { return rig.Audit.Next()[0] >= killAt })
	uncommitted := rig.Kill9(c)
	reached := rig.Audit.Next()[0]
	_, committed := rig.Audit.Commits()
	at := committed[0]
	if at == 0 || at >= foreign || reached >= foreign {
		rig.Audit.Violate(soak.Unhealthy, "killed at %d with %d committed: too early or too late to tell anything", reached, at)
	}
	v.Rounds, v.Counted, v.Kills = 1, 1, 1
	if uncommitted > 0 {
		v.KillsInFlight++
	}

	slow.Processors = ""
	rig.Start(slow)
	restarts := rig.Drain(time.Minute)
	v.Noted(restarts)
	for _, r := range restarts {
		if r.From != at {
			rig.Audit.Violate(soak.WrongRestart, "went on at %d, its checkpoint was at %d", r.From, at)
		}
	}
	v.Extra = map[string]any{"killed_at": reached, "checkpoint_at": at, "foreign_commit_at": foreign}
	v.Conclude(t, rig.Audit)
}
