package input

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tidemarkhq/tidemark/checkpoint"
	"github.com/tidemarkhq/tidemark/internal/kafka"
)

// lateRetry is how often partitions without a leader are looked at again.
const lateRetry = time.Second

// splitLed leaves out the partitions that have no leader at the moment: nobody can
// say where they start, and the others need not wait for them.
func (s *source) splitLed(ctx context.Context, parts []kafka.Partition) (led, late []kafka.Partition, err error) {
	listing, err := s.conf.Subscription.List(ctx, s.admin)
	if err != nil {
		return nil, nil, err
	}
	for _, p := range parts {
		if listing.Leaderless[p] {
			late = append(late, p)
		} else {
			led = append(led, p)
		}
	}
	return led, late, nil
}

// addPlaceholders adds late partitions to the starts of others: the client has to
// know that they are assigned, or else it would not take their starts later. They
// are paused until then.
func (s *source) addPlaceholders(late []kafka.Partition, begun map[string]map[int32]kgo.Offset) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range late {
		tp := topicPartition{p.Topic, p.ID}
		l := s.mu.lanes[tp]
		if l == nil || l.phase != resolving {
			continue
		}
		s.pauseLaneLocked(tp, l)
		if begun[p.Topic] == nil {
			begun[p.Topic] = map[int32]kgo.Offset{}
		}
		begun[p.Topic][p.ID] = kgo.NewOffset().At(0)
	}
}

// beginLater begins with partitions when they have leaders.
func (s *source) beginLater(late []kafka.Partition, committed map[kafka.Partition]kafka.Committed) {
	if len(late) == 0 {
		return
	}
	s.log.Warnf("%d partitions have no leader at the moment and are read as soon as they have one: %v", len(late), late)
	lanes := map[kafka.Partition]*lane{}
	s.mu.Lock()
	for _, p := range late {
		lanes[p] = s.mu.lanes[topicPartition{p.Topic, p.ID}]
	}
	s.mu.Unlock()
	s.background(func(ctx context.Context) {
		t := time.NewTicker(lateRetry)
		defer t.Stop()
		for len(lanes) > 0 {
			select {
			case <-t.C:
			case <-ctx.Done():
				return
			}
			if err := s.beginLed(ctx, lanes, committed); err != nil && ctx.Err() == nil {
				_ = s.resolveError(err)
			}
		}
	})
}

// beginLed begins with those of late lanes that have leaders now, and takes them out.
func (s *source) beginLed(ctx context.Context, late map[kafka.Partition]*lane, committed map[kafka.Partition]kafka.Committed) error {
	ctx, cancel := context.WithTimeout(ctx, kafka.ProbeTimeout)
	defer cancel()
	led, _, err := s.splitLed(ctx, s.waiting(late))
	if err != nil {
		return err
	}
	starts, err := s.resolve(ctx, led, committed)
	if err != nil {
		return err
	}
	s.assignMu.Lock()
	defer s.assignMu.Unlock()
	s.waiting(late)
	maps.DeleteFunc(starts, func(p kafka.Partition, _ starting) bool { return late[p] == nil })
	begun := s.beginLanes(starts)
	s.mu.Lock()
	client := s.mu.client
	s.mu.Unlock()
	if s.conf.Static {
		client.AddConsumePartitions(begun)
	} else {
		client.SetOffsets(offsetsOf(starts))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for p := range starts {
		s.resumeLocked(late[p])
		delete(late, p)
	}
	return nil
}

// waiting takes out lanes that were revoked meanwhile, and lists the others.
func (s *source) waiting(late map[kafka.Partition]*lane) []kafka.Partition {
	s.mu.Lock()
	defer s.mu.Unlock()
	maps.DeleteFunc(late, func(_ kafka.Partition, l *lane) bool { return l == nil || l.phase != resolving })
	return slices.Collect(maps.Keys(late))
}

func offsetsOf(starts map[kafka.Partition]starting) map[string]map[int32]kgo.EpochOffset {
	at := map[string]map[int32]kgo.EpochOffset{}
	for p, st := range starts {
		if at[p.Topic] == nil {
			at[p.Topic] = map[int32]kgo.EpochOffset{}
		}
		at[p.Topic][p.ID] = kgo.EpochOffset{Epoch: checkpoint.UnknownEpoch, Offset: int64(st.at)}
	}
	return at
}
