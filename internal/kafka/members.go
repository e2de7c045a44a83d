package kafka

import (
	"context"
	"errors"
	"fmt"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// Members returns the ids of the members that a consumer group of the classic protocol
// has now.
func Members(ctx context.Context, cl *kgo.Client, group string) (map[string]bool, error) {
	described, err := kadm.NewClient(cl).DescribeGroups(ctx, group)
	if err == nil {
		err = described.Error()
	}
	if err != nil {
		return nil, fmt.Errorf("asking for the members of group %q: %w", group, err)
	}
	members := map[string]bool{}
	for _, g := range described {
		for _, m := range g.Members {
			members[m.MemberID] = true
		}
	}
	return members, nil
}

// ErrUnanswered says that nobody knows whether a request arrived, or will.
var ErrUnanswered = errors.New("the brokers did not answer")

// CommitMember commits offsets as the member and under the generation that c names, which
// the brokers check. cl is any client of the cluster; topics are the ids of the topics,
// where they have any. Partitions that failed are in a *CommitError.
//
// The request is sent once. After an error that wraps ErrUnanswered it may arrive at any
// time, also after later ones, as long as the group has the member: see LeaveGroup.
func CommitMember(ctx context.Context, cl *kgo.Client, c GroupCommit, topics map[string]TopicID) error {
	req := kmsg.NewPtrOffsetCommitRequest()
	req.Group, req.MemberID, req.InstanceID, req.Generation = c.Group, c.Member, c.instance(), c.Generation
	for topic, ids := range byTopic(sorted(c.Offsets)) {
		rt := kmsg.NewOffsetCommitRequestTopic()
		rt.Topic, rt.TopicID = topic, topics[topic]
		for _, id := range ids {
			o := c.Offsets[Partition{topic, id}]
			rp := kmsg.NewOffsetCommitRequestTopicPartition()
			rp.Partition, rp.Offset, rp.LeaderEpoch, rp.Metadata = id, o.Offset, o.LeaderEpoch, kmsg.StringPtr(o.Metadata)
			rt.Partitions = append(rt.Partitions, rp)
		}
		req.Topics = append(req.Topics, rt)
	}
	return retried(ctx, fmt.Sprintf("committing offsets of group %q", c.Group), func() error {
		found := kadm.NewClient(cl).FindGroupCoordinators(ctx, c.Group)
		if err := found.Error(); err != nil {
			return fmt.Errorf("looking for its coordinator: %w", err)
		}
		// A client repeats what it sends through no broker in particular, and says nothing
		// of the first time.
		resp, err := cl.Broker(int(found[c.Group].NodeID)).Request(ctx, req)
		if err != nil {
			return fmt.Errorf("%w: %w", ErrUnanswered, err)
		}
		return commitFailures(c.Group, c.Offsets, req, resp.(*kmsg.OffsetCommitResponse))
	})
}

// LeaveGroup makes a group forget the member that c names, so that nothing that it has sent
// is accepted any more. It is no error if the group does not know it.
func LeaveGroup(ctx context.Context, cl *kgo.Client, c GroupCommit) error {
	req := kmsg.NewPtrLeaveGroupRequest()
	req.Group, req.MemberID = c.Group, c.Member
	m := kmsg.NewLeaveGroupRequestMember()
	m.MemberID, m.InstanceID = c.Member, c.instance()
	req.Members = append(req.Members, m)
	resp, err := req.RequestWith(ctx, cl)
	if err == nil {
		err = kerr.ErrorForCode(resp.ErrorCode)
	}
	for i := 0; err == nil && i < len(resp.Members); i++ {
		err = kerr.ErrorForCode(resp.Members[i].ErrorCode)
	}
	if err != nil && !errors.Is(err, kerr.UnknownMemberID) && !errors.Is(err, kerr.FencedInstanceID) {
		return fmt.Errorf("leaving group %q: %w", c.Group, err)
	}
	return nil
}
