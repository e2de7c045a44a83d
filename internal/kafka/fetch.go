package kafka

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// fetchRetry is the pause before a fetch is tried again that may succeed then.
const fetchRetry = 100 * time.Millisecond

// Log reads one partition fetch by fetch. A consumer delivers records; whoever has to know
// for certain that he has read up to an offset needs to hear of what is not delivered as
// well: markers, aborted records, gaps. It is for one goroutine at a time.
type Log struct {
	// Partition to read.
	Partition
	// Isolation of the reader.
	Isolation Isolation
	// Wait is how long a fetch waits at the end of what can be read, to the
	// millisecond; 0 = not at all.
	Wait time.Duration
	// MaxBytes bounds a fetch, in bytes; a batch that is larger comes whole. At least 1.
	MaxBytes int32
	// Control tells to return the markers of transactions among the records.
	Control bool

	client *kgo.Client
	leader int32
	id     [16]byte
	found  bool
}

// NewLog returns a Log that fetches by a client; it does not touch what the client itself
// consumes.
func NewLog(cl *kgo.Client, l Log) *Log {
	l.client = cl
	return &l
}

// Fetched is one answer.
type Fetched struct {
	// Records from the offset on that was asked for, in order; possibly none.
	Records []*kgo.Record
	// Next is where to go on: behind what was read, seen or not.
	Next int64
	// HighWatermark is the end of the log, LastStable the first offset that belongs to
	// a transaction which is still open, or else the end as well.
	HighWatermark, LastStable int64
}

// Fetch reads from an offset on. It tries again while errors are temporary and ctx lasts,
// and returns them then along with ctx's. An offset that the log does not hold is
// kerr.OffsetOutOfRange at once.
func (l *Log) Fetch(ctx context.Context, from int64) (Fetched, error) {
	var passed error
	for {
		f, err := l.fetch(ctx, from)
		if err == nil {
			return f, nil
		}
		// The next try asks anew who leads.
		l.found = false
		err = fmt.Errorf("reading %s from %d: %w", l.Partition, from, err)
		if ctx.Err() != nil {
			// That the time is over says less than what took it.
			return f, errors.Join(passed, err, ctx.Err())
		}
		if Classify(Read, err).Meaning != Temporary {
			return f, err
		}
		passed = err
		select {
		case <-ctx.Done():
			return f, errors.Join(err, ctx.Err())
		case <-time.After(fetchRetry):
		}
	}
}

func (l *Log) fetch(ctx context.Context, from int64) (Fetched, error) {
	if !l.found {
		leader, id, err := leaderOf(ctx, l.client, l.Partition)
		if err != nil {
			return Fetched{}, fmt.Errorf("finding the leader: %w", err)
		}
		l.leader, l.id, l.found = leader, id, true
	}
	resp, err := l.client.Broker(int(l.leader)).Request(ctx, l.request(from))
	if err != nil {
		return Fetched{}, err
	}
	return l.answer(resp.(*kmsg.FetchResponse), from)
}

func (l *Log) request(from int64) *kmsg.FetchRequest {
	req := kmsg.NewPtrFetchRequest()
	req.ReplicaID, req.MaxWaitMillis, req.MinBytes, req.MaxBytes = -1, int32(l.Wait.Milliseconds()), 1, l.MaxBytes
	req.IsolationLevel, req.SessionEpoch = l.Isolation.level(), -1
	t := kmsg.NewFetchRequestTopic()
	t.Topic, t.TopicID = l.Topic, l.id
	p := kmsg.NewFetchRequestTopicPartition()
	p.Partition, p.FetchOffset, p.PartitionMaxBytes = l.ID, from, l.MaxBytes
	p.CurrentLeaderEpoch, p.LastFetchedEpoch, p.LogStartOffset = -1, -1, -1
	t.Partitions = append(t.Partitions, p)
	req.Topics = append(req.Topics, t)
	return req
}

func (l *Log) answer(resp *kmsg.FetchResponse, from int64) (Fetched, error) {
	if err := kerr.ErrorForCode(resp.ErrorCode); err != nil {
		return Fetched{}, err
	}
	level := kgo.ReadUncommitted()
	if l.Isolation == ReadCommitted {
		level = kgo.ReadCommitted()
	}
	if len(resp.Topics) != 1 || len(resp.Topics[0].Partitions) != 1 {
		return Fetched{}, errors.New("the broker left the partition out of its answer")
	}
	got, next := kgo.ProcessFetchPartition(kgo.ProcessFetchPartitionOpts{
		KeepControlRecords: l.Control, Offset: from, IsolationLevel: level, Topic: l.Topic, Partition: l.ID,
	}, &resp.Topics[0].Partitions[0], kgo.DefaultDecompressor(), nil)
	// What came before a damaged batch is good.
	if got.Err != nil && next == from {
		return Fetched{}, got.Err
	}
	return Fetched{got.Records, next, got.HighWatermark, got.LastStableOffset}, nil
}
