package kafka

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"net"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// batches are n batches of two records each, as a broker holds them.
func batches(n int) []byte {
	var all []byte
	for i := range n {
		var records []byte
		for j := range 2 {
			r := kmsg.Record{OffsetDelta: int32(j), Value: fmt.Appendf(nil, "%d/%d", i, j)}
			r.Length = int32(len(r.AppendTo(nil)) - 1)
			records = r.AppendTo(records)
		}
		b := kmsg.RecordBatch{
			FirstOffset: int64(2 * i), PartitionLeaderEpoch: 7, Magic: 2, LastOffsetDelta: 1,
			ProducerID: -1, ProducerEpoch: -1, FirstSequence: -1, NumRecords: 2, Records: records,
		}
		b.Length = int32(len(b.AppendTo(nil)) - 12)
		raw := b.AppendTo(nil)
		binary.BigEndian.PutUint32(raw[17:], crc32.Checksum(raw[21:], crc32.MakeTable(crc32.Castagnoli)))
		all = append(all, raw...)
	}
	return all
}

func TestDamageInABatch(t *testing.T) {
	whole := batches(3)
	size := len(whole) / 3
	answer := func(raw []byte) *kmsg.FetchResponseTopicPartition {
		p := kmsg.NewFetchResponseTopicPartition()
		p.RecordBatches, p.HighWatermark, p.LastStableOffset = raw, 6, 6
		return &p
	}
	flipped := func(at int) []byte {
		raw := append([]byte(nil), whole...)
		raw[at] ^= 1
		return raw
	}
	p := Partition{Topic: "t", ID: 1}
	for from := range int64(6) {
		d, err := damageIn(answer(whole), p, from)
		require.NoError(t, err)
		require.Nil(t, d, "nothing is damaged")
	}

	second := flipped(2*size - 1)
	d, err := damageIn(answer(second), p, 0)
	require.NoError(t, err)
	require.Nil(t, d, "the batch at the offset is not")
	d, err = damageIn(answer(second), p, 2)
	require.NoError(t, err)
	require.Equal(t, []int64{2, 3, 7}, []int64{d.First, d.Last, int64(d.Epoch)})
	require.Equal(t, second[size:2*size], d.Bytes)
	require.ErrorContains(t, d, "offsets 2 to 3")
	require.ErrorContains(t, d, "crc")
	d, err = damageIn(answer(second), p, 3)
	require.NoError(t, err)
	require.Equal(t, []int64{3, 3}, []int64{d.First, d.Last}, "from the offset on")

	// The header is what is damaged. The next batch says where this one ends; without one
	// nothing does.
	d, err = damageIn(answer(flipped(size+25)), p, 2)
	require.NoError(t, err)
	require.Equal(t, []int64{2, 3}, []int64{d.First, d.Last})
	_, err = damageIn(answer(flipped(2*size+25)), p, 4)
	require.ErrorContains(t, err, "not even its end is known")

	for cut := range size {
		d, err := damageIn(answer(whole[:cut]), p, 0)
		require.NoError(t, err)
		require.Nil(t, d, "%d bytes: the answer ends, not the batch", cut)
	}
}

func TestWhatMayBeDamage(t *testing.T) {
	for _, err := range []error{
		nil, kerr.NotLeaderForPartition, fmt.Errorf("reading: %w", kerr.OffsetOutOfRange), context.Canceled, kgo.ErrClientClosed,
		&kgo.ErrDataLoss{}, &net.OpError{Op: "read", Err: errors.New("reset")},
	} {
		require.False(t, MayBeDamage(err), "%v", err)
	}
	require.True(t, MayBeDamage(errors.New("encoded crc 1 does not match calculated crc 2")))
}
