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
	leader, id, err := leaderOf(ctx, cl, p)
	if err != nil {
		return from, fmt.Errorf("finding the leader of %s: %w", p, err)
	}
	req := kmsg.NewPtrFetchRequest()
	req.ReplicaID, req.MaxWaitMillis, req.MinBytes, req.MaxBytes = -1, 0, 0, gapFetchBytes
	req.IsolationLevel, req.SessionEpoch = iso.level(), -1
	t := kmsg.NewFetchRequestTopic()
	t.Topic, t.TopicID = p.Topic, id
	fp := kmsg.NewFetchRequestTopicPartition()
	fp.Partition, fp.FetchOffset, fp.PartitionMaxBytes = p.ID, from, gapFetchBytes
	fp.CurrentLeaderEpoch, fp.LastFetchedEpoch, fp.LogStartOffset = -1, -1, -1
	t.Partitions = append(t.Partitions, fp)
	req.Topics = append(req.Topics, t)
	resp, err := cl.Broker(int(leader)).Request(ctx, req)
	if err != nil {
		return from, fmt.Errorf("looking behind %s at %d: %w", p, from, err)
	}
	return behind(resp.(*kmsg.FetchResponse), p, from, iso)
}

func behind(resp *kmsg.FetchResponse, p Partition, from int64, iso Isolation) (int64, error) {
	if err := kerr.ErrorForCode(resp.ErrorCode); err != nil {
		return from, fmt.Errorf("looking behind %s at %d: %w", p, from, err)
	}
	level := kgo.ReadUncommitted()
	if iso == ReadCommitted {
		level = kgo.ReadCommitted()
	}
	for i := range resp.Topics {
		for j := range resp.Topics[i].Partitions {
			got, next := kgo.ProcessFetchPartition(kgo.ProcessFetchPartitionOpts{
				KeepControlRecords: true, Offset: from, IsolationLevel: level, Topic: p.Topic, Partition: p.ID,
			}, &resp.Topics[i].Partitions[j], kgo.DefaultDecompressor(), nil)
			if got.Err != nil {
				return from, fmt.Errorf("looking behind %s at %d: %w", p, from, got.Err)
			}
			if len(got.Records) == 0 && next > from {
				return next, nil
			}
		}
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
