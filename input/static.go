package input

import (
	"context"

	"github.com/tidemarkhq/tidemark/checkpoint"
	"github.com/tidemarkhq/tidemark/internal/kafka"
)

// startStatic begins with the partitions that are ours and exist now.
func (s *source) startStatic(ctx context.Context, listing kafka.Listing) error {
	parts := make([]kafka.Partition, 0, len(s.history.known))
	for p := range s.history.known {
		if s.ours(p) {
			parts = append(parts, p)
		}
	}
	return s.addPartitions(ctx, listing, parts)
}

// ours tells whether a partition belongs to the shard of this process. That is a
// matter of the partition alone, never of its place in a list.
func (s *source) ours(p kafka.Partition) bool {
	sh := s.conf.Checkpoint.Shard
	return sh.Count == 0 || kafka.ShardOf(p.Topic, p.ID, sh.Count) == sh.Index
}

// addPartitions resolves where partitions of a listing start and begins to read them.
func (s *source) addPartitions(ctx context.Context, listing kafka.Listing, parts []kafka.Partition) error {
	var committed map[kafka.Partition]kafka.Committed
	var err error
	if s.conf.Group != "" {
		if committed, err = s.fetchCommitted(ctx, parts); err != nil {
			return err
		}
	}
	starts, late, err := s.resolveLed(ctx, listing, parts, committed)
	if err != nil {
		return err
	}
	s.assignMu.Lock()
	defer s.assignMu.Unlock()
	s.mu.Lock()
	for _, p := range parts {
		s.addLaneLocked(newLane(p.Topic, p.ID))
	}
	client := s.mu.client
	s.mu.Unlock()
	client.AddConsumePartitions(s.beginLanes(starts))
	s.beginLater(late, committed)
	return nil
}

// discover looks for topics that took the place of others, and, where no group does
// it, for partitions that were not there before. A partition that vanished keeps its
// position: it may come back.
func (s *source) discover(ctx context.Context) {
	s.anewMu.Lock()
	defer s.anewMu.Unlock()
	listing, err := s.list(ctx)
	if err == nil {
		err = s.readAnew(ctx, listing)
	}
	if err == nil && s.conf.Static && !s.conf.Subscription.Explicit() {
		err = s.addNew(ctx, listing)
	}
	if err != nil && ctx.Err() == nil {
		_ = s.failed(watching, err)
	}
}

// addNew begins with the partitions of a listing that are ours and not read yet.
func (s *source) addNew(ctx context.Context, listing kafka.Listing) error {
	var found []kafka.Partition
	s.mu.Lock()
	for _, p := range listing.Partitions {
		if s.mu.lanes[topicPartition{p.Topic, p.ID}] == nil && s.ours(p) {
			found = append(found, p)
		}
	}
	s.mu.Unlock()
	if len(found) == 0 {
		return nil
	}
	s.log.Infof("Discovered %d partitions, reading them from their first record: %v", len(found), found)
	ctx, cancel := context.WithTimeout(ctx, kafka.ProbeTimeout)
	defer cancel()
	return s.addPartitions(ctx, listing, found)
}

// id names the lane's partition for the coordinator, which adds the source.
func (l *lane) id() checkpoint.Partition {
	return checkpoint.Partition{Topic: l.topic, ID: l.partition}
}

// place names the lane's partition for the brokers.
func (l *lane) place() kafka.Partition { return kafka.Partition{Topic: l.topic, ID: l.partition} }

// named is a partition as positions in a checkpoint name it.
func (s *source) named(p kafka.Partition) checkpoint.Partition {
	return checkpoint.Partition{Source: s.name, Topic: p.Topic, ID: p.ID}
}

// allNamed is named for each of parts.
func (s *source) allNamed(parts []kafka.Partition) []checkpoint.Partition {
	ps := make([]checkpoint.Partition, len(parts))
	for i, p := range parts {
		ps[i] = s.named(p)
	}
	return ps
}

// places are partitions as the brokers name them.
func places(ps []checkpoint.Partition) []kafka.Partition {
	parts := make([]kafka.Partition, len(ps))
	for i, p := range ps {
		parts[i] = kafka.Partition{Topic: p.Topic, ID: p.ID}
	}
	return parts
}
