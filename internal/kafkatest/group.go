package kafkatest

import (
	"context"
	"errors"
	"testing"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
)

// Commit is what a group has committed for one partition.
type Commit struct {
	Offset      int64
	LeaderEpoch int32
	Metadata    string
}

// Committed returns what a group has committed for a topic, by partition;
// partitions without a commit are left out.
func Committed(t testing.TB, e Endpoint, group, topic string) map[int32]Commit {
	t.Helper()
	commits := map[int32]Commit{}
	withAdmin(t, e, "reading offsets of group "+group, func(ctx context.Context, a *kadm.Client) error {
		rs, err := a.FetchOffsets(ctx, group)
		if errors.Is(err, kerr.GroupIDNotFound) {
			return nil
		}
		if err != nil {
			return err
		}
		for p, r := range rs[topic] {
			if r.Err != nil {
				return r.Err
			}
			if r.At >= 0 {
				commits[p] = Commit{Offset: r.At, LeaderEpoch: r.LeaderEpoch, Metadata: r.Metadata}
			}
		}
		return nil
	})
	return commits
}

// CommitOffsets commits offsets for a group without members, as a foreign tool
// would.
func CommitOffsets(t testing.TB, e Endpoint, group, topic string, offsets map[int32]int64) {
	t.Helper()
	withAdmin(t, e, "committing offsets of group "+group, func(ctx context.Context, a *kadm.Client) error {
		os := kadm.Offsets{}
		for p, at := range offsets {
			os.Add(kadm.Offset{Topic: topic, Partition: p, At: at, LeaderEpoch: -1})
		}
		return a.CommitAllOffsets(ctx, group, os)
	})
}

// Groups lists the groups that the brokers know.
func Groups(t testing.TB, e Endpoint) []string {
	t.Helper()
	var names []string
	withAdmin(t, e, "listing groups", func(ctx context.Context, a *kadm.Client) error {
		gs, err := a.ListGroups(ctx)
		names = gs.Groups()
		return err
	})
	return names
}
