package input

import (
	"context"
	"maps"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tidemarkhq/tidemark/checkpoint"
	"github.com/tidemarkhq/tidemark/internal/kafka"
)

// damaged handles an error of fetching that is about what was fetched. If the log is found to
// be damaged, one record stands for the batch from then on: it has its bytes and last offset,
// and on_bad_record says what becomes of it, in its place in the order of the partition.
func (s *source) damaged(f kgo.FetchError) {
	tp := topicPartition{f.Topic, f.Partition}
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
		ctx, cancel := context.WithTimeout(ctx, kafka.ProbeTimeout)
		defer cancel()
		d, err := kafka.FindDamage(ctx, s.admin, l.place(), int64(next))
		if err == nil && d != nil {
			err = s.standIn(ctx, l, turn, next, d)
		}
		if err == nil && d == nil {
			err = f.Err // Another reading was whole: the client tries again.
		}
		s.mu.Lock()
		s.setResettingLocked(l, false)
		s.mu.Unlock()
		if err != nil {
			s.hold(tp)
			s.reportFetch(kgo.FetchError{Topic: f.Topic, Partition: f.Partition, Err: err})
		}
	})
}

// standIn queues the record for a damaged batch, and lets the client go on behind it.
func (s *source) standIn(ctx context.Context, l *lane, turn int, next checkpoint.Offset, d *kafka.DamageError) error {
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
	l.damage = maps.Clone(l.damage)
	if l.damage == nil {
		l.damage = map[checkpoint.Offset]error{}
	}
	l.damage[checkpoint.Offset(d.Last)] = d
	l.accept([]*kgo.Record{{Topic: l.topic, Partition: l.partition, Offset: d.Last, LeaderEpoch: d.Epoch, Value: d.Bytes}})
	behind := map[string]map[int32]kgo.EpochOffset{}
	seek(behind, l, l.next)
	client := s.mu.client
	s.mu.Unlock()
	client.SetOffsets(behind)
	signal(s.wake)
	return nil
}
