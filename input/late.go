package input

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tidemarkhq/tidemark/checkpoint"
	"github.com/tidemarkhq/tidemark/internal/kafka"
)

// lateRetry is how often partitions without a leader are looked at again.
const lateRetry = time.Second

// Finding out where partitions start gets this long for all of them together, and
// then, if one of them is in the way, for each by itself.
const (
	resolveAll  = kafka.ProbeTimeout / 2
	resolveEach = kafka.ProbeTimeout / 4
)

// resolveLed finds out where partitions start, and which of them cannot say so at the
// moment: those that have no leader, or one that does not answer. The others need not
// wait for them.
func (s *source) resolveLed(
	ctx context.Context, listing kafka.Listing, parts []kafka.Partition, committed map[kafka.Partition]kafka.Committed,
) (starts map[kafka.Partition]starting, late []kafka.Partition, err error) {
	s.noteAnew(listing, parts)
	var led []kafka.Partition
	for _, p := range parts {
		if listing.Leaderless[p] {
			late = append(late, p)
		} else {
			led = append(led, p)
		}
	}
	if err := s.acquire(ctx, led, committed, listing.IDs); err != nil {
		return nil, nil, err
	}
	all, cancel := context.WithTimeout(ctx, resolveAll)
	defer cancel()
	starts, err = s.resolve(all, led, committed, listing.IDs)
	if err == nil || errors.Is(s.fatalIf(err), checkpoint.ErrFatal) || ctx.Err() != nil {
		return starts, late, err
	}
	s.log.Warnf("Finding out where to start failed for some of %d partitions: %v", len(led), err)
	starts, err = s.resolveEach(ctx, led, committed, listing.IDs)
	for _, p := range led {
		if _, ok := starts[p]; !ok {
			late = append(late, p)
		}
	}
	return starts, late, err
}

// resolveEach is resolve for one partition at a time. The error is one that is final.
func (s *source) resolveEach(
	ctx context.Context, parts []kafka.Partition, committed map[kafka.Partition]kafka.Committed, ids map[string]kafka.TopicID,
) (map[kafka.Partition]starting, error) {
	ctx, cancel := context.WithTimeout(ctx, resolveEach)
	defer cancel()
	var mu sync.Mutex
	starts, final := map[kafka.Partition]starting{}, error(nil)
	// Without a limit: those that get no answer would take up the places of the others.
	var g sync.WaitGroup
	for _, p := range parts {
		g.Go(func() {
			found, err := s.resolve(ctx, []kafka.Partition{p}, committed, ids)
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				maps.Copy(starts, found)
			} else if err = s.fatalIf(err); errors.Is(err, checkpoint.ErrFatal) {
				final = err
			}
		})
	}
	g.Wait()
	return starts, final
}

// noteAnew notes which of the partitions are of a topic that took the place of
// another: a client that follows a pattern may be the first to see it.
func (s *source) noteAnew(listing kafka.Listing, parts []kafka.Partition) {
	for _, p := range parts {
		if id, ok := listing.IDs[p.Topic]; ok && s.tookPlace(p.Topic, id) {
			s.mu.Lock()
			s.mu.anew[p.Topic] = true
			s.mu.Unlock()
		}
	}
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
		put(begun, l, kgo.NewOffset().At(0))
	}
}

// beginLater begins with partitions when they have leaders.
func (s *source) beginLater(late []kafka.Partition, committed map[kafka.Partition]kafka.Committed) {
	if len(late) == 0 {
		return
	}
	s.log.Warnf("%d partitions have no leader at the moment, or one that does not answer, and are read as soon as it does: %v", len(late), late)
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
				_ = s.failed(findingStarts, err)
			}
		}
	})
}

// beginLed begins with those of late lanes that have leaders now, and takes them out.
func (s *source) beginLed(ctx context.Context, late map[kafka.Partition]*lane, committed map[kafka.Partition]kafka.Committed) error {
	listing, err := s.list(ctx)
	if err != nil {
		return err
	}
	starts, _, err := s.resolveLed(ctx, listing, s.waiting(late), committed)
	if err == nil {
		err = s.claim(ctx, starts, committed)
	}
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
		at := map[string]map[int32]kgo.EpochOffset{}
		for p, st := range starts {
			seek(at, late[p], st.at)
		}
		client.SetOffsets(at)
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
