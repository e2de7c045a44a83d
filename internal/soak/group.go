package soak

import (
	"context"
	"errors"
	"fmt"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// member is one member of a group.
type member struct {
	id, client string
	partitions int
	// consumer tells that it is one of the consumer protocol.
	consumer bool
}

// members lists the members of a group, and whether it is settled.
func members(ctx context.Context, cl *kgo.Client, group string) (ms []member, stable bool, err error) {
	described, err := kadm.NewClient(cl).DescribeGroups(ctx, group)
	if err != nil {
		return nil, false, fmt.Errorf("describing group %q: %w", group, err)
	}
	d := described[group]
	if d.Err != nil {
		if errors.Is(d.Err, kerr.GroupIDNotFound) {
			return consumers(ctx, cl, group)
		}
		return nil, false, fmt.Errorf("describing group %q: %w", group, d.Err)
	}
	for _, m := range d.Members {
		owned := 0
		if c, ok := m.Assigned.AsConsumer(); ok {
			for _, t := range c.Topics {
				owned += len(t.Partitions)
			}
		}
		ms = append(ms, member{id: m.MemberID, client: m.ClientID, partitions: owned})
	}
	return ms, d.State == "Stable", nil
}

// consumers is members for a group of the consumer protocol, which only a request
// of its own describes.
func consumers(ctx context.Context, cl *kgo.Client, group string) (ms []member, stable bool, err error) {
	described, err := kadm.NewClient(cl).DescribeConsumerGroups(ctx, group)
	if err != nil {
		return nil, false, fmt.Errorf("describing group %q: %w", group, err)
	}
	d := described[group]
	if errors.Is(d.Err, kerr.GroupIDNotFound) {
		return nil, false, nil
	}
	if d.Err != nil {
		return nil, false, fmt.Errorf("describing group %q: %w", group, d.Err)
	}
	for _, m := range d.Members {
		owned := 0
		for _, partitions := range m.Assignment {
			owned += len(partitions)
		}
		ms = append(ms, member{id: m.MemberID, client: m.ClientID, partitions: owned, consumer: true})
	}
	return ms, d.State == "Stable", nil
}

// evict removes the members of a client from a group, as the end of their session
// would, so that nobody has to wait for that.
func evict(ctx context.Context, cl *kgo.Client, group, client string) error {
	ms, _, err := members(ctx, cl, group)
	if err != nil {
		return err
	}
	for _, m := range ms {
		if m.client != client {
			continue
		}
		out := leaveClassic
		if m.consumer {
			out = leave
		}
		if err := out(ctx, cl, group, m.id); err != nil {
			return err
		}
	}
	return nil
}

// leaveClassic ends a membership of the classic protocol in its stead.
func leaveClassic(ctx context.Context, cl *kgo.Client, group, id string) error {
	req := kmsg.NewPtrLeaveGroupRequest()
	req.Group, req.MemberID = group, id // brokers before 2.4 know one member by request
	m := kmsg.NewLeaveGroupRequestMember()
	m.MemberID = id
	req.Members = append(req.Members, m)
	resp, err := req.RequestWith(ctx, cl)
	if err == nil {
		err = kerr.ErrorForCode(resp.ErrorCode)
	}
	for i := 0; err == nil && i < len(resp.Members); i++ {
		err = kerr.ErrorForCode(resp.Members[i].ErrorCode)
	}
	if err != nil && !errors.Is(err, kerr.UnknownMemberID) {
		return fmt.Errorf("removing member %q from group %q: %w", id, group, err)
	}
	return nil
}

// leave ends a membership of the consumer protocol in its stead.
func leave(ctx context.Context, cl *kgo.Client, group, id string) error {
	req := kmsg.NewPtrConsumerGroupHeartbeatRequest()
	req.Group, req.MemberID, req.MemberEpoch = group, id, -1
	resp, err := req.RequestWith(ctx, cl)
	if err == nil {
		err = kerr.ErrorForCode(resp.ErrorCode)
	}
	if err != nil && !errors.Is(err, kerr.UnknownMemberID) {
		return fmt.Errorf("removing member %q from group %q: %w", id, group, err)
	}
	return nil
}
