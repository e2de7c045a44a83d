package kafka

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// UnknownEpoch is the leader epoch of a position that came without one.
const UnknownEpoch int32 = -1

// Position is a place in a partition's log.
type Position struct {
	// Offset of the next record to read.
	Offset int64
	// LeaderEpoch of the record before it, for the detection of a log that was
	// cut back; UnknownEpoch if nobody said.
	LeaderEpoch int32
}

// Isolation says which records a reader sees, and with them where a log ends.
type Isolation bool

// The isolation levels.
const (
	// ReadUncommitted sees every record; a log ends at the high watermark.
	ReadUncommitted Isolation = false
	// ReadCommitted sees records of committed transactions and those outside of
	// any; a log ends at the last stable offset, in front of the first record of
	// a transaction that is still open. Java's consumer seeks there too. Nothing
	// that was visible is read after a start there, a transaction is never read in
	// half, and a run that stops there ends although a transaction of somebody
	// else stays open.
	ReadCommitted Isolation = true
)

// level is the isolation as requests have it.
func (i Isolation) level() int8 {
	if i == ReadCommitted {
		return 1
	}
	return 0
}

// Special timestamps of a ListOffsets request.
const (
	logEnd   int64 = -1
	logStart int64 = -2
)

// offsetsRetry is the pause before partitions are asked for again whose leader
// was moving.
const offsetsRetry = 100 * time.Millisecond

// listOffsets asks the partitions' leaders, by raw requests: the admin client
// answers -1 without an error for brokers before 0.10.1. at is a timestamp in
// milliseconds, logEnd or logStart; a timestamp after which there is no record
// gives offset -1. It tries again while errors are temporary and ctx lasts.
func listOffsets(ctx context.Context, cl *kgo.Client, parts []Partition, at int64, iso Isolation) (map[Partition]Position, error) {
	found := make(map[Partition]Position, len(parts))
	for pending := parts; len(pending) > 0; {
		failed := askOffsets(ctx, cl, pending, at, iso, found)
		if len(failed) == 0 {
			break
		}
		for _, err := range failed {
			if Classify(Read, err).Meaning != Temporary {
				return nil, offsetsError(failed)
			}
		}
		pending = slices.Collect(maps.Keys(failed))
		select {
		case <-ctx.Done():
			return nil, errors.Join(offsetsError(failed), context.Cause(ctx))
		case <-time.After(offsetsRetry):
		}
	}
	return found, nil
}

// askOffsets asks once. What was answered comes into found; of each of the others it returns
// why.
func askOffsets(
	ctx context.Context, cl *kgo.Client, parts []Partition, at int64, iso Isolation, found map[Partition]Position,
) (failed map[Partition]error) {
	failed = make(map[Partition]error)
	for _, shard := range cl.RequestSharded(ctx, listRequest(parts, at, iso)) {
		collectOffsets(shard, at, found, failed)
	}
	for _, p := range parts {
		if _, ok := found[p]; ok {
			delete(failed, p)
		} else if failed[p] == nil {
			failed[p] = errors.New("the broker left it out of its answer")
		}
	}
	return failed
}

func listRequest(parts []Partition, at int64, iso Isolation) *kmsg.ListOffsetsRequest {
	req := kmsg.NewPtrListOffsetsRequest()
	req.ReplicaID = -1
	req.IsolationLevel = iso.level()
	for topic, ids := range byTopic(parts) {
		t := kmsg.NewListOffsetsRequestTopic()
		t.Topic = topic
		for _, id := range ids {
			p := kmsg.NewListOffsetsRequestTopicPartition()
			p.Partition = id
			p.Timestamp = at
			p.MaxNumOffsets = 1
			t.Partitions = append(t.Partitions, p)
		}
		req.Topics = append(req.Topics, t)
	}
	return req
}

func collectOffsets(shard kgo.ResponseShard, at int64, found map[Partition]Position, failed map[Partition]error) {
	if shard.Err != nil {
		for _, t := range shard.Req.(*kmsg.ListOffsetsRequest).Topics {
			for _, p := range t.Partitions {
				failed[Partition{t.Topic, p.Partition}] = shard.Err
			}
		}
		return
	}
	resp := shard.Resp.(*kmsg.ListOffsetsResponse)
	for _, t := range resp.Topics {
		for i := range t.Partitions {
			p := Partition{t.Topic, t.Partitions[i].Partition}
			pos, err := answeredOffset(resp.Version, at, &t.Partitions[i])
			if err != nil {
				failed[p] = err
				continue
			}
			found[p] = pos
		}
	}
}

var errNoTimestamps = fmt.Errorf("this broker, before 0.10.1, cannot find offsets by timestamp: %w", kerr.UnsupportedVersion)

func answeredOffset(version int16, at int64, p *kmsg.ListOffsetsResponseTopicPartition) (Position, error) {
	if err := kerr.ErrorForCode(p.ErrorCode); err != nil {
		return Position{}, err
	}
	pos := Position{Offset: p.Offset, LeaderEpoch: p.LeaderEpoch}
	if version == 0 {
		if at >= 0 {
			return pos, errNoTimestamps
		}
		pos = Position{Offset: -1, LeaderEpoch: UnknownEpoch}
		if len(p.OldStyleOffsets) > 0 {
			pos.Offset = p.OldStyleOffsets[0]
		}
	}
	if at < 0 && pos.Offset < 0 {
		return pos, errors.New("the broker answered without an offset")
	}
	return pos, nil
}

// offsetsError names partitions with their errors, those with the same error
// together.
func offsetsError(failed map[Partition]error) error {
	texts := make(map[string][]Partition)
	causes := make(map[string]error)
	for p, err := range failed {
		texts[err.Error()] = append(texts[err.Error()], p)
		causes[err.Error()] = err
	}
	var errs []error
	for _, text := range slices.Sorted(maps.Keys(texts)) {
		errs = append(errs, fmt.Errorf("finding offsets of %s: %w", names(texts[text]), causes[text]))
	}
	return errors.Join(errs...)
}

// Range is what a partition's log holds.
type Range struct {
	// Start is the first offset, End the one after the last.
	Start, End int64
}

// Ranges returns what the logs hold as a reader of the isolation level sees it.
func Ranges(ctx context.Context, cl *kgo.Client, parts []Partition, iso Isolation) (map[Partition]Range, error) {
	starts, err := listOffsets(ctx, cl, parts, logStart, iso)
	if err != nil {
		return nil, err
	}
	ends, err := listOffsets(ctx, cl, parts, logEnd, iso)
	if err != nil {
		return nil, err
	}
	ranges := make(map[Partition]Range, len(parts))
	for _, p := range parts {
		ranges[p] = Range{Start: starts[p].Offset, End: ends[p].Offset}
	}
	return ranges, nil
}

// Ends asks once where logs end, as a reader of the isolation level sees them, and returns
// what it was told. Of the others the error tells why; missing are those of them that do not
// exist, because their topic was deleted.
func Ends(ctx context.Context, cl *kgo.Client, parts []Partition, iso Isolation) (ends map[Partition]int64, missing []Partition, err error) {
	if len(parts) == 0 {
		return nil, nil, nil
	}
	found := make(map[Partition]Position, len(parts))
	failed := askOffsets(ctx, cl, parts, logEnd, iso, found)
	ends = make(map[Partition]int64, len(found))
	for p, pos := range found {
		ends[p] = pos.Offset
	}
	for p, err := range failed {
		if errors.Is(err, kerr.UnknownTopicOrPartition) || errors.Is(err, kerr.UnknownTopicID) {
			missing = append(missing, p)
		}
	}
	return ends, missing, offsetsError(failed)
}
