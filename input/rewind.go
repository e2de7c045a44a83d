package input

import (
	"context"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tidemarkhq/tidemark/checkpoint"
	"github.com/tidemarkhq/tidemark/internal/kafka"
)

// Positions implements checkpoint.Source.
func (s *source) Positions() checkpoint.Positions {
	s.mu.Lock()
	defer s.mu.Unlock()
	ps := make(checkpoint.Positions, len(s.mu.lanes))
	for _, l := range s.mu.lanes {
		if pos, ok := l.position(); ok && l.phase != dead {
			ps[l.id()] = pos
		} else if s.conf.Static && l.phase == resolving && l.reset {
			// The last checkpoint has one of the topic in whose place this one is.
			ps[l.id()] = checkpoint.Position{LeaderEpoch: checkpoint.UnknownEpoch, Stop: checkpoint.Unbounded}
		}
	}
	return ps
}

// Rewind implements checkpoint.Source. The poller is parked first: see poller.
func (s *source) Rewind(ctx context.Context, to checkpoint.Positions) error {
	s.mu.Lock()
	poller, client := s.poller, s.mu.client
	s.mu.Unlock()
	if poller == nil {
		return nil // Nothing was read yet.
	}
	if err := poller.park(ctx); err != nil {
		return fmt.Errorf("waiting for a poll to end: %w", err)
	}
	defer poller.unpark()
	s.assignMu.Lock()
	defer s.assignMu.Unlock()
	s.mu.Lock()
	s.mu.doomed = nil // What was open is over.
	back := map[string]map[int32]kgo.EpochOffset{}
	for _, l := range s.mu.lanes {
		if l.phase != flowing {
			continue
		}
		target, reached := l.start, l.from
		id := l.id()
		id.Source = s.name
		if pos, ok := to[id]; ok && !l.reset {
			target, reached = max(pos.Next, l.start), pos.Watermark.Max(l.from)
		}
		if l.next != target {
			seek(back, l, target)
		}
		l.back(target, reached)
	}
	s.mu.Unlock()
	client.SetOffsets(back)
	signal(s.wake)
	signal(s.room)
	return nil
}

func seek(back map[string]map[int32]kgo.EpochOffset, l *lane, to checkpoint.Offset) {
	put(back, l, kgo.EpochOffset{Epoch: -1, Offset: int64(to)})
}

// put adds what is said of a lane's partition to a map as the client takes them.
func put[V any](to map[string]map[int32]V, l *lane, v V) {
	if to[l.topic] == nil {
		to[l.topic] = map[int32]V{}
	}
	to[l.topic][l.partition] = v
}

// outOfRange handles a partition whose log does not hold the next offset: it was
// trimmed, or the topic was made anew.
func (s *source) outOfRange(tp topicPartition) {
	s.reposition(tp, func(ctx context.Context, p kafka.Partition, next checkpoint.Offset) (*kafka.Moved, error) {
		at := map[kafka.Partition]kafka.Position{p: {Offset: int64(next), LeaderEpoch: kafka.UnknownEpoch}}
		moved, err := kafka.ClampOrReset(ctx, s.admin, at, nil, s.conf.Start.Reset, s.conf.Isolation)
		if err != nil || len(moved) == 0 {
			return nil, err // It was in range after all: the client fetches again.
		}
		return &moved[0], nil
	})
}

// logCutBack handles a partition whose log was cut back below the next offset, by
// the election of a leader that had less. The client goes on where the logs part;
// without the lane going there too, it would take what was written since for a
// repetition.
func (s *source) logCutBack(lost *kgo.ErrDataLoss) {
	s.log.Errorf("The brokers have lost records: %v", lost)
	s.reposition(topicPartition{lost.Topic, lost.Partition}, func(_ context.Context, p kafka.Partition, next checkpoint.Offset) (*kafka.Moved, error) {
		log := kafka.Range{End: lost.ResetTo}
		if s.conf.Start.Reset == kafka.ResetNone {
			return nil, &kafka.OutOfRangeError{Partition: p, Offset: int64(next), Log: log}
		}
		if lost.ResetTo >= int64(next) {
			return nil, nil
		}
		return &kafka.Moved{Partition: p, From: int64(next), To: lost.ResetTo, Log: log}, nil
	})
}

// locate finds out where a lane goes on that cannot go on at its next offset; nil
// if it can.
type locate func(ctx context.Context, p kafka.Partition, next checkpoint.Offset) (*kafka.Moved, error)

// reposition moves a lane to another offset. What is under way is waited for,
// because afterwards nobody would know what to do if it were rejected.
func (s *source) reposition(tp topicPartition, to locate) {
	s.mu.Lock()
	l := s.mu.lanes[tp]
	if l == nil || l.phase != flowing || l.resetting || l.read() {
		s.mu.Unlock()
		return
	}
	s.setResettingLocked(l, true)
	turn, next := l.turn, l.next
	s.mu.Unlock()
	s.background(func(ctx context.Context) {
		defer func() {
			s.mu.Lock()
			s.setResettingLocked(l, false)
			s.mu.Unlock()
		}()
		if err := s.resetLane(ctx, l, turn, next, to); err != nil && ctx.Err() == nil {
			_ = s.failed(fmt.Sprintf("Finding a new position for %s/%d", l.topic, l.partition), err)
		}
	})
}

func (s *source) resetLane(ctx context.Context, l *lane, turn int, next checkpoint.Offset, find locate) error {
	moved, err := find(ctx, l.place(), next)
	if err != nil || moved == nil {
		return err
	}
	to := checkpoint.Offset(moved.To)
	if err := s.awaitEmptied(ctx, l); err != nil {
		return err
	}
	if err := s.poller.park(ctx); err != nil {
		return err
	}
	defer s.poller.unpark()
	s.assignMu.Lock()
	defer s.assignMu.Unlock()
	s.mu.Lock()
	if l.phase != flowing || l.turn != turn || l.next != next {
		s.mu.Unlock()
		return nil // A rewind or a revoke came first.
	}
	back := map[string]map[int32]kgo.EpochOffset{}
	seek(back, l, to)
	reached := l.prefix.Watermark()
	l.back(to, reached)
	l.start, l.from, l.committed = to, reached, -1
	// Positions of before are of the log as it was, also in a checkpoint under way.
	l.born, l.reset = time.Now(), true
	client := s.mu.client
	s.mu.Unlock()
	s.warnMoved(*moved)
	client.SetOffsets(back)
	return nil
}

// setResettingLocked pauses a lane whose position is in doubt, or lets it go on.
func (s *source) setResettingLocked(l *lane, is bool) {
	if l.resetting = is; is && l.phase == flowing {
		s.pauseLaneLocked(topicPartition{l.topic, l.partition}, l)
		return
	}
	s.resumeLocked(l)
}

// awaitEmptied waits until a lane has given out everything and was answered for
// all of it.
func (s *source) awaitEmptied(ctx context.Context, l *lane) error {
	t := time.NewTicker(50 * time.Millisecond)
	defer t.Stop()
	for {
		s.mu.Lock()
		empty := l.phase != flowing || l.queued == 0 && l.inflight == 0 && len(l.again) == 0
		s.mu.Unlock()
		if empty {
			return nil
		}
		select {
		case <-t.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
