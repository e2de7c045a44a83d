package store

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"time"

	"github.com/tidemarkhq/tidemark/checkpoint"
	"github.com/tidemarkhq/tidemark/internal/payload"
)

// EventKind says what a record about a scope is.
type EventKind uint8

// The kinds of event. Their numbers are stored.
const (
	// Claimed: a transactional id wants the scope.
	Claimed EventKind = iota + 1
	// Released: the id that had the scope has given it up in good order.
	Released
	// Checkpointed: a checkpoint of the scope was committed by the id.
	Checkpointed
	// Retired: the id's claim was removed, because a later one is established.
	Retired
)

// String names the kind.
func (k EventKind) String() string {
	switch k {
	case Claimed:
		return "claimed"
	case Released:
		return "released"
	case Checkpointed:
		return "checkpointed"
	case Retired:
		return "retired"
	}
	return "unknown"
}

// NoOffset stands where there is no record.
const NoOffset int64 = -1

// Event is what the store holds about a scope, apart from its state.
type Event struct {
	Kind EventKind
	// ID is the transactional id of the writer.
	ID string
	// Offset of the record in the store's topic: it orders the events of a scope.
	Offset int64
	// Position that was resolved before the claim, or that the checkpoint holds; nil
	// where there is none, as for the process's own scope.
	Position *checkpoint.Position
	// Taken is when, by the writer's clock, to the nanosecond, in UTC.
	Taken time.Time

	// Checkpoint is the id of the checkpoint, Cut how it was taken, and Final whether it
	// was the last one of an orderly end; of checkpoints only.
	Checkpoint checkpoint.ID
	Cut        checkpoint.Kind
	Final      bool
	// Claim is the Offset of the writer's claim that the checkpoint was written under,
	// which is established by it, even if a later claim of the same id has replaced its
	// record; NoOffset if the writer knew none.
	Claim int64
}

// encodeEvent makes the payload of a claim, a release or a checkpoint; count is that of the
// topic's partitions.
func encodeEvent(e Event, count int) []byte {
	var enc encoder
	enc.Uint(uint64(e.Kind))
	enc.Uint(uint64(count))
	enc.Int(e.Taken.Unix())
	enc.Uint(uint64(e.Taken.Nanosecond()))
	var position []byte
	if e.Position != nil {
		position = encodePosition(*e.Position)
	}
	enc.Bytes(position)
	if e.Kind == Checkpointed {
		enc.String(e.ID)
		enc.Int(int64(e.Checkpoint))
		enc.Uint(uint64(e.Cut))
		enc.Bool(e.Final)
		enc.Int(e.Claim)
	}
	return enc.B
}

func decodeEvent(b []byte) (e Event, count int, err error) {
	d := decoderOf(b)
	e.Kind = EventKind(d.Uint())
	count = int(d.Uint())
	sec, nsec := d.Int(), d.Uint()
	e.Taken = time.Unix(sec, int64(nsec)).UTC()
	if position := d.Bytes(); len(position) > 0 {
		at := decoderOf(position)
		pos := at.position()
		if len(at.B) > 0 || at.Err != nil {
			d.Err = payload.ErrMalformed
		}
		e.Position = &pos
	}
	e.Claim = NoOffset
	if e.Kind == Checkpointed {
		e.ID = d.String()
		e.Checkpoint = checkpoint.ID(d.Int())
		e.Cut = checkpoint.Kind(d.Uint())
		e.Final = d.Bool()
		e.Claim = d.Int()
	}
	if len(d.B) > 0 || e.Kind < Claimed || e.Kind > Checkpointed {
		d.Err = payload.ErrMalformed
	}
	return e, count, d.Err
}

// chunk is one record of a value. A value that fits into one record is one chunk, and says
// nothing of the whole.
type chunk struct {
	// of is how many chunks make the value, at least 1.
	of uint64
	// size and sum (CRC-32C) of the whole value, by which the chunks of one value are told
	// from those of another.
	size uint64
	sum  uint32
	part []byte
}

// chunkHead bounds, in bytes, what a chunk says besides its part.
const chunkHead = 2*binary.MaxVarintLen64 + 4

func (c chunk) encode() []byte {
	e := encoder{payload.Encoder{B: make([]byte, 0, chunkHead+len(c.part))}}
	e.Uint(c.of)
	if c.of > 1 {
		e.Uint(c.size)
		e.B = binary.LittleEndian.AppendUint32(e.B, c.sum)
	}
	return append(e.B, c.part...)
}

// decodeChunk shares its bytes.
func decodeChunk(b []byte) (chunk, error) {
	d := decoderOf(b)
	c := chunk{of: d.Uint()}
	if c.of > 1 {
		c.size = d.Uint()
		if len(d.B) < 4 || d.Err != nil {
			return c, payload.ErrMalformed
		}
		c.sum = binary.LittleEndian.Uint32(d.B)
		d.B = d.B[4:]
	}
	if d.Err != nil || c.of == 0 {
		return c, payload.ErrMalformed
	}
	c.part = d.B
	return c, nil
}

// same tells whether two chunks belong to one value.
func (c chunk) same(o chunk) bool { return c.of == o.of && c.size == o.size && c.sum == o.sum }

// split makes the chunks of a value, each with at most room bytes of it.
func split(value []byte, room int) []chunk {
	if len(value) <= room {
		return []chunk{{of: 1, part: value}}
	}
	n := (len(value) + room - 1) / room
	whole := chunk{of: uint64(n), size: uint64(len(value)), sum: crc32.Checksum(value, castagnoli)}
	chunks := make([]chunk, n)
	for i := range chunks {
		chunks[i] = whole
		chunks[i].part = value[i*room : min((i+1)*room, len(value))]
	}
	return chunks
}

var errTorn = errors.New("not all chunks of the value are there")

// join puts a value together again.
func join(chunks []chunk) ([]byte, error) {
	value := make([]byte, 0, chunks[0].size)
	for _, c := range chunks {
		value = append(value, c.part...)
	}
	if uint64(len(value)) != chunks[0].size || crc32.Checksum(value, castagnoli) != chunks[0].sum {
		return nil, fmt.Errorf("%w: %w", checkpoint.ErrCorrupt, errTorn)
	}
	return value, nil
}
