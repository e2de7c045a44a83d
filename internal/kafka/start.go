package kafka

import (
	"context"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// Where says where a partition starts or stops; the values are those of the
// configuration.
type Where string

// The places.
const (
	// Unbounded never stops.
	Unbounded Where = ""
	// GroupOffsets is what the group has committed.
	GroupOffsets Where = "group_offsets"
	// Earliest is the first record that the log holds.
	Earliest Where = "earliest"
	// Latest is the end of the log: see Isolation for which.
	Latest Where = "latest"
	// AtTimestamp is the first record with that timestamp or a later one, the end
	// of the log if there is none.
	AtTimestamp Where = "timestamp"
	// AtOffsets are given numbers.
	AtOffsets Where = "offsets"
)

// Reset says what happens to a partition that has no position, or one that its
// log does not hold.
type Reset string

// The reset policies.
const (
	// ResetEarliest starts at the first record; the default.
	ResetEarliest Reset = "earliest"
	// ResetLatest starts at the end of the log.
	ResetLatest Reset = "latest"
	// ResetNone makes it an error.
	ResetNone Reset = "none"
)

// Start says where the partitions of a first run begin.
type Start struct {
	From Where
	// Timestamp of AtTimestamp.
	Timestamp time.Time
	// Offsets of AtOffsets; a partition that is not in it starts at its group
	// offset.
	Offsets map[Partition]int64
	// Reset of partitions without a group offset; empty = ResetEarliest.
	Reset Reset
}

// NoPositionError says which partitions have no position to start or stop at.
type NoPositionError struct {
	// Setting is the field that asks for a position, with its value.
	Setting    string
	Partitions []Partition
	Remedy     string
}

// Error implements error.
func (e *NoPositionError) Error() string {
	return fmt.Sprintf("%s: no offset is known for %s: %s", e.Setting, names(e.Partitions), e.Remedy)
}

// Resolve turns the start into a number for each partition. committed is what the
// group has for them, if there is a group. Brokers are asked only where it takes
// them; ctx bounds the asking, also over leader changes. The number may lie
// outside of the log: see ClampOrReset.
func (s Start) Resolve(ctx context.Context, cl *kgo.Client, parts []Partition, committed map[Partition]Committed, iso Isolation) (map[Partition]Position, error) {
	switch s.From {
	case Earliest:
		return listOffsets(ctx, cl, parts, logStart, iso)
	case Latest:
		return listOffsets(ctx, cl, parts, logEnd, iso)
	case AtTimestamp:
		return atTimestamp(ctx, cl, parts, s.Timestamp, iso)
	case GroupOffsets, AtOffsets:
	default:
		return nil, fmt.Errorf("start_from: %q is not a start position", s.From)
	}
	at := make(map[Partition]Position, len(parts))
	var uncovered []Partition
	for _, p := range parts {
		if offset, ok := s.Offsets[p]; ok && s.From == AtOffsets {
			at[p] = Position{Offset: offset, LeaderEpoch: UnknownEpoch}
		} else if c, ok := committed[p]; ok {
			at[p] = c.Position
		} else {
			uncovered = append(uncovered, p)
		}
	}
	return at, s.reset(ctx, cl, uncovered, iso, at)
}

func (s Start) reset(ctx context.Context, cl *kgo.Client, uncovered []Partition, iso Isolation, at map[Partition]Position) error {
	if len(uncovered) == 0 {
		return nil
	}
	var where int64
	switch s.Reset {
	case ResetEarliest, "":
		where = logStart
	case ResetLatest:
		where = logEnd
	case ResetNone:
		remedy := "commit one, or set offset_reset to earliest or latest"
		if s.From == AtOffsets {
			remedy = "add them to start_offsets, or set offset_reset to earliest or latest"
		}
		return &NoPositionError{Setting: fmt.Sprintf("start_from %q with offset_reset %q", s.From, s.Reset), Partitions: uncovered, Remedy: remedy}
	default:
		return fmt.Errorf("offset_reset: %q is not a reset policy", s.Reset)
	}
	found, err := listOffsets(ctx, cl, uncovered, where, iso)
	for p, pos := range found {
		at[p] = pos
	}
	return err
}

// atTimestamp asks for the end first: a record that is appended between the two
// questions would otherwise lie in front of an end that was taken after it, and
// be skipped.
func atTimestamp(ctx context.Context, cl *kgo.Client, parts []Partition, t time.Time, iso Isolation) (map[Partition]Position, error) {
	ends, err := listOffsets(ctx, cl, parts, logEnd, iso)
	if err != nil {
		return nil, err
	}
	found, err := listOffsets(ctx, cl, parts, max(t.UnixMilli(), 0), iso)
	if err != nil {
		return nil, err
	}
	for p, pos := range found {
		if pos.Offset < 0 {
			found[p] = ends[p]
		}
	}
	return found, nil
}

// OutOfRangeError says that a partition's log does not hold a position.
type OutOfRangeError struct {
	Partition Partition
	Offset    int64
	Log       Range
}

// Error implements error.
func (e *OutOfRangeError) Error() string {
	if e.Offset < e.Log.Start {
		return fmt.Sprintf("%s: offset %d was deleted, the log starts at %d: set offset_reset to earliest or latest to go on without what is gone",
			e.Partition, e.Offset, e.Log.Start)
	}
	return fmt.Sprintf("%s: offset %d is behind the end of the log at %d, which was cut back or created anew: set offset_reset to earliest or latest to go on",
		e.Partition, e.Offset, e.Log.End)
}

// Moved is a position that ClampOrReset changed.
type Moved struct {
	Partition Partition
	From, To  int64
	Log       Range
}

// ClampOrReset holds positions against the logs. One that its log does not hold
// goes where reset says, in place in at, and is returned so that it can be logged;
// with ResetNone it is an OutOfRangeError. A partition whose stop, in stops, is
// not behind what its log holds is finished and not out of range: it is put at
// its stop.
func ClampOrReset(ctx context.Context, cl *kgo.Client, at map[Partition]Position, stops map[Partition]int64, reset Reset, iso Isolation) ([]Moved, error) {
	parts := sorted(at)
	// Not the last stable offset: a position behind it can be right, after a
	// switch of the isolation level.
	logs, err := Ranges(ctx, cl, parts, ReadUncommitted)
	if err != nil {
		return nil, err
	}
	var moved []Moved
	var latest []Partition
	for _, p := range parts {
		log, from := logs[p], at[p].Offset
		stop, bounded := stops[p]
		switch {
		case from >= log.Start && from <= log.End, bounded && from >= stop:
			continue
		case bounded && stop <= log.Start && from < log.Start:
			at[p] = Position{Offset: stop, LeaderEpoch: UnknownEpoch}
		case reset == ResetNone:
			return nil, &OutOfRangeError{Partition: p, Offset: from, Log: log}
		case reset == ResetLatest:
			latest = append(latest, p)
		default:
			at[p] = Position{Offset: log.Start, LeaderEpoch: UnknownEpoch}
		}
		moved = append(moved, Moved{Partition: p, From: from, To: at[p].Offset, Log: log})
	}
	ends, err := listOffsets(ctx, cl, latest, logEnd, iso)
	if err != nil {
		return nil, err
	}
	for i, m := range moved {
		if end, ok := ends[m.Partition]; ok {
			at[m.Partition], moved[i].To = end, end.Offset
		}
	}
	return moved, nil
}
