package kafka

import (
	"context"
	"fmt"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// gapFetchBytes bounds the answer of one look behind a position.
const gapFetchBytes = 1 << 20

// SkipGap looks behind a position at which the client delivers nothing although
// the log goes on, and returns the first offset that may hold something: from
// itself if there is a record or nothing at all. Compaction and aborted
// transactions leave such gaps; at the end of a log the client passes over them
// without a word, because there is no record to deliver along with the news.
func SkipGap(ctx context.Context, cl *kgo.Client, p Partition, from int64, iso Isolation) (int64, error) {
	l := NewLog(cl, Log{Partition: p, Isolation: iso, MaxBytes: gapFetchBytes, Control: true})
	f, err := l.fetch(ctx, from)
	if err != nil {
		return from, fmt.Errorf("looking behind %s at %d: %w", p, from, err)
	}
	if len(f.Records) == 0 {
		return f.Next, nil
	}
	return from, nil
}

func leaderOf(ctx context.Context, cl *kgo.Client, p Partition) (leader int32, id [16]byte, err error) {
	req := kmsg.NewPtrMetadataRequest()
	req.AllowAutoTopicCreation = false
	t := kmsg.NewMetadataRequestTopic()
	t.Topic = kmsg.StringPtr(p.Topic)
	req.Topics = append(req.Topics, t)
	resp, err := req.RequestWith(ctx, cl)
	if err != nil {
		return 0, id, err
	}
	for _, t := range resp.Topics {
		if err := kerr.ErrorForCode(t.ErrorCode); err != nil {
			return 0, id, err
		}
		for _, mp := range t.Partitions {
			if mp.Partition == p.ID && mp.Leader >= 0 {
				return mp.Leader, t.TopicID, nil
			}
		}
	}
	return 0, id, kerr.LeaderNotAvailable
}
