package kafka

import (
	"context"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// Stop says where the partitions of a bounded run end.
type Stop struct {
	// At is where; Earliest is not a place to stop at.
	At Where
	// Timestamp of AtTimestamp.
	Timestamp time.Time
	// Offsets of AtOffsets; the record at the offset is not read any more.
	Offsets map[Partition]int64
}

// Bounded tells whether the run ends by itself.
func (s Stop) Bounded() bool { return s.At != Unbounded }

// Resolve turns the stop into a number for each partition: the offset after the
// last record to read. It is empty for an unbounded run. committed is what the
// group has at the start of the run. A stop behind the end of the log is kept: the
// run waits for the records.
func (s Stop) Resolve(ctx context.Context, cl *kgo.Client, parts []Partition, committed map[Partition]Committed, iso Isolation) (map[Partition]int64, error) {
	var at map[Partition]Position
	var err error
	switch s.At {
	case Unbounded:
		return map[Partition]int64{}, nil
	case Latest:
		at, err = listOffsets(ctx, cl, parts, logEnd, iso)
	case AtTimestamp:
		at, err = atTimestamp(ctx, cl, parts, s.Timestamp, iso)
	case GroupOffsets, AtOffsets:
		return s.known(parts, committed)
	default:
		return nil, fmt.Errorf("stop_at: %q is not a place to stop at", s.At)
	}
	if err != nil {
		return nil, err
	}
	stops := make(map[Partition]int64, len(at))
	for p, pos := range at {
		stops[p] = pos.Offset
	}
	return stops, nil
}

// known is Resolve for numbers that no broker has to be asked for. There is no
// reset policy for a stop: to guess one would read too much or nothing.
func (s Stop) known(parts []Partition, committed map[Partition]Committed) (map[Partition]int64, error) {
	stops := make(map[Partition]int64, len(parts))
	var uncovered []Partition
	for _, p := range parts {
		offset, ok := s.Offsets[p]
		if s.At == GroupOffsets {
			var c Committed
			c, ok = committed[p]
			offset = c.Offset
		}
		if !ok {
			uncovered = append(uncovered, p)
			continue
		}
		stops[p] = offset
	}
	if len(uncovered) == 0 {
		return stops, nil
	}
	remedy := "commit one, or stop elsewhere"
	if s.At == AtOffsets {
		remedy = "add them to stop_offsets"
	}
	return nil, &NoPositionError{Setting: fmt.Sprintf("stop_at %q", s.At), Partitions: uncovered, Remedy: remedy}
}
