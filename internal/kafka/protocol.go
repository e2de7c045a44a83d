package kafka

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// ErrGroupProtocol says that the broker lacks the group protocol of KIP-848.
var ErrGroupProtocol = errors.New(`group_protocol is "consumer", which this broker does not offer (Apache Kafka 4.0 and later do, unless it is switched off): use classic`)

// RequireConsumerProtocol returns ErrGroupProtocol if the brokers cannot run the
// group with the protocol of KIP-848: the client would fall back to the classic
// one in silence.
//
// A version list alone does not tell, because the protocol can be switched off.
// So it sends what a member unknown to everybody sends to leave: that changes
// nothing, and every answer but "unsupported" proves the protocol.
func RequireConsumerProtocol(ctx context.Context, cl *kgo.Client, group string) error {
	heartbeat := kmsg.NewPtrConsumerGroupHeartbeatRequest()
	versions := kmsg.NewPtrApiVersionsRequest()
	versions.ClientSoftwareName, versions.ClientSoftwareVersion = "tidemark", "v1"
	known, err := versions.RequestWith(ctx, cl)
	if err == nil {
		err = kerr.ErrorForCode(known.ErrorCode)
	}
	if err != nil {
		return fmt.Errorf("asking the broker for its versions: %w", err)
	}
	if !slices.ContainsFunc(known.ApiKeys, func(k kmsg.ApiVersionsResponseApiKey) bool {
		return k.ApiKey == heartbeat.Key() && k.MaxVersion >= 1 // the client needs 1
	}) {
		return ErrGroupProtocol
	}
	heartbeat.Group = group
	heartbeat.MemberID = "tidemark-probe"
	heartbeat.MemberEpoch = -1 // leaves
	answer, err := heartbeat.RequestWith(ctx, cl)
	if err != nil {
		return fmt.Errorf("asking the broker for its group protocols: %w", err)
	}
	switch err := kerr.ErrorForCode(answer.ErrorCode); {
	case errors.Is(err, kerr.UnsupportedVersion):
		return ErrGroupProtocol
	case errors.Is(err, kerr.GroupAuthorizationFailed):
		return fmt.Errorf("joining group %q: %w", group, err)
	}
	return nil
}
