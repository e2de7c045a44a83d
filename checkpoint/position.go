package checkpoint

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
)

// Offset counts the records of one partition, from 0. As in Kafka it may have
// gaps: compaction, transaction markers and aborted records take offsets too.
type Offset int64

// Unbounded is the Stop of a partition that has no end.
const Unbounded Offset = -1

// UnknownEpoch is the LeaderEpoch of a position whose epoch nobody told us.
const UnknownEpoch int32 = -1

// Partition names one ordered sub-stream of a source.
type Partition struct {
	// Source is the name that the source joined under. It keeps two inputs that
	// read the same topic of two clusters apart.
	Source string
	// Topic and ID are Kafka's. Sources of another kind use what names their
	// sub-streams best.
	Topic string
	ID    int32
}

// String gives topic/id, prefixed by the source where there is one.
func (p Partition) String() string {
	if p.Source == "" {
		return fmt.Sprintf("%s/%d", p.Topic, p.ID)
	}
	return fmt.Sprintf("%s:%s/%d", p.Source, p.Topic, p.ID)
}

// Compare orders partitions by source, topic and number.
func (p Partition) Compare(q Partition) int {
	return cmp.Or(cmp.Compare(p.Source, q.Source), cmp.Compare(p.Topic, q.Topic), cmp.Compare(p.ID, q.ID))
}

// Position says where the reading of a partition stands.
type Position struct {
	// Next is the offset of the first record that is not covered yet.
	Next Offset
	// LeaderEpoch is the epoch of the leader that the last covered record came
	// from, for truncation detection; UnknownEpoch where there is none.
	LeaderEpoch int32
	// Stop is the resolved end of a bounded run, exclusive; Unbounded if none.
	Stop Offset
	// Watermark is what the records below Next have led to.
	Watermark Watermark
}

// Watermark says how far event time has come in a partition: records below At are not
// expected any more. The zero value says nothing. How one comes about is the business of
// the package of that name.
type Watermark struct {
	Known bool
	// At is in milliseconds since 1970 UTC.
	At int64
}

// Max returns the later one.
func (w Watermark) Max(o Watermark) Watermark {
	if !w.Known || o.Known && o.At > w.At {
		return o
	}
	return w
}

// Finished tells whether a bounded partition was read to its end.
func (p Position) Finished() bool { return p.Stop != Unbounded && p.Next >= p.Stop }

// Positions maps partitions to where their reading stands.
type Positions map[Partition]Position

// Clone returns a copy that shares nothing with ps.
func (ps Positions) Clone() Positions { return maps.Clone(ps) }

// Of returns the positions of one source.
func (ps Positions) Of(source string) Positions {
	of := make(Positions)
	for p, pos := range ps {
		if p.Source == source {
			of[p] = pos
		}
	}
	return of
}

// Sorted returns the partitions in order.
func (ps Positions) Sorted() []Partition {
	return slices.SortedFunc(maps.Keys(ps), Partition.Compare)
}
