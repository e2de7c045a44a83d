package input

import (
	"context"
	"slices"

	"github.com/tidemarkhq/tidemark/internal/kafka"
)

// endPredecessors ends the transactions of members that had partitions before and are not
// in the group any more: what they have open would be in the way until it times out, of
// readers of what they wrote, and of us, if their offsets were on the way.
func (s *source) endPredecessors(ctx context.Context, partitions map[string][]int32) {
	bounded, cancel := context.WithTimeout(ctx, kafka.ProbeTimeout)
	defer cancel()
	var parts []kafka.Partition
	for topic, ids := range partitions {
		for _, id := range ids {
			parts = append(parts, kafka.Partition{Topic: topic, ID: id})
		}
	}
	gone, err := s.predecessors(bounded, parts)
	for id := range gone {
		if err == nil {
			s.log.Infof("Ending what %q has left open: it is not in the group any more", id)
			err = kafka.Fence(bounded, s.admin, id)
		}
	}
	if err != nil && ctx.Err() == nil {
		// It is safe all the same: offsets are waited for, until the brokers end them.
		s.log.Warnf("Ending what earlier owners of partitions have left open: %v", err)
	}
}

// predecessors returns the transactional ids of those who had the partitions, or were about to,
// and are gone.
func (s *source) predecessors(ctx context.Context, parts []kafka.Partition) (map[string]bool, error) {
	committed, err := kafka.LookCommitted(ctx, s.admin, s.conf.Group, parts)
	if err != nil {
		return nil, err
	}
	owners, err := s.handle.Claimants(ctx, s.allNamed(parts))
	if err != nil {
		return nil, err
	}
	if owners == nil {
		owners = map[string][]string{}
	}
	for _, c := range committed {
		if m, ok, err := s.history.mark(c); err == nil && ok && m.Writer != "" {
			owners[m.Writer] = append(owners[m.Writer], m.Member)
		}
	}
	delete(owners, s.writing.Load().id)
	if len(owners) == 0 {
		return nil, nil
	}
	members, err := kafka.Members(ctx, s.admin, s.conf.Group)
	if err != nil {
		return nil, err
	}
	gone := map[string]bool{}
	for id, as := range owners {
		if !slices.ContainsFunc(as, func(member string) bool { return members[member] }) {
			gone[id] = true
		}
	}
	return gone, nil
}
