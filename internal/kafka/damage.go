package kafka

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// DamageError is a batch of records that a log holds and nobody can read: its checksum is wrong, or
// it cannot be decompressed or taken apart.
type DamageError struct {
	// First and Last are its offsets; First is where it was looked for at least.
	First, Last int64
	// Epoch of the leader that it was written under.
	Epoch int32
	// Bytes of the batch.
	Bytes []byte
	// Err says what is wrong.
	Err error
}

// Error implements error.
func (d *DamageError) Error() string {
	return fmt.Sprintf("the record batch of offsets %d to %d is damaged: %v", d.First, d.Last, d.Err)
}

// Unwrap returns what is wrong.
func (d *DamageError) Unwrap() error { return d.Err }

// MayBeDamage tells errors of fetching that are about what was fetched: the client has no type
// for them. FindDamage says for certain.
func MayBeDamage(err error) bool {
	var known *kerr.Error
	var lost *kgo.ErrDataLoss
	var network net.Error
	return err != nil && !errors.As(err, &known) && !errors.As(err, &lost) && !errors.As(err, &network) &&
		!errors.Is(err, kgo.ErrClientClosed) && !errors.Is(err, context.Canceled) && !errors.Is(err, context.DeadlineExceeded)
}

// damageBytes bounds the fetch that looks for damage; a batch that is larger comes whole.
const damageBytes = 1 << 20

// FindDamage fetches a partition once more from an offset on, and returns the batch there if
// it is damaged; nil if it is not, or there is none.
func FindDamage(ctx context.Context, cl *kgo.Client, p Partition, from int64) (*DamageError, error) {
	l := NewLog(cl, Log{Partition: p, MaxBytes: damageBytes})
	leader, id, err := leaderOf(ctx, cl, p)
	if err != nil {
		return nil, fmt.Errorf("finding the leader of %s: %w", p, err)
	}
	l.leader, l.id = leader, id
	resp, err := cl.Broker(int(leader)).Request(ctx, l.request(from))
	if err != nil {
		return nil, fmt.Errorf("reading %s from %d: %w", p, from, err)
	}
	topics := resp.(*kmsg.FetchResponse).Topics
	if len(topics) != 1 || len(topics[0].Partitions) != 1 {
		return nil, fmt.Errorf("reading %s from %d: the broker left the partition out of its answer", p, from)
	}
	got := &topics[0].Partitions[0]
	if err := kerr.ErrorForCode(got.ErrorCode); err != nil {
		return nil, fmt.Errorf("reading %s from %d: %w", p, from, err)
	}
	return damageIn(got, p, from)
}

// Where the fields of a batch are, of whatever version: base offset, length, version; and of a
// batch of version 2 the last offset, counted from the first.
const (
	atLength    = 8
	atEpoch     = 12
	atVersion   = 16
	atLastDelta = 23
	headerBytes = 27
)

// damageIn looks at the first batch of an answer that has anything at an offset or after it.
func damageIn(got *kmsg.FetchResponseTopicPartition, p Partition, from int64) (*DamageError, error) {
	for in := got.RecordBatches; len(in) > headerBytes; {
		base := int64(binary.BigEndian.Uint64(in))
		length := int64(int32(binary.BigEndian.Uint32(in[atLength:]))) + atEpoch
		if length < headerBytes || length > int64(len(in)) {
			return nil, nil // cut off by the end of the answer
		}
		d := &DamageError{First: max(base, from), Last: base, Epoch: -1, Bytes: in[:length:length]}
		if in[atVersion] >= 2 {
			d.Last += int64(int32(binary.BigEndian.Uint32(in[atLastDelta:])))
			d.Epoch = int32(binary.BigEndian.Uint32(in[atEpoch:]))
		}
		rest := in[length:]
		if len(rest) > atLength {
			// What the next one says is as good as anything.
			d.Last = int64(binary.BigEndian.Uint64(rest)) - 1
		}
		if d.Last < from && d.Last >= base {
			in = rest
			continue
		}
		alone := *got
		alone.RecordBatches = d.Bytes
		read, _ := kgo.ProcessFetchPartition(kgo.ProcessFetchPartitionOpts{
			KeepControlRecords: true, Offset: from, IsolationLevel: kgo.ReadUncommitted(), Topic: p.Topic, Partition: p.ID,
		}, &alone, kgo.DefaultDecompressor(), nil)
		if read.Err == nil {
			return nil, nil
		}
		d.Err = read.Err
		if d.Last < from || d.Last >= got.HighWatermark {
			return nil, fmt.Errorf("%s: the record batch at offset %d is damaged, so that not even its end is known: %w", p, d.First, d.Err)
		}
		return d, nil
	}
	return nil, nil
}
