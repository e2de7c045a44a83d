package input

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/tidemarkhq/tidemark/checkpoint"
	"github.com/tidemarkhq/tidemark/internal/kafka"
)

// refreshCommits is how often an unchanged position is committed again: brokers
// forget the offsets of quiet partitions (offsets.retention.minutes).
const refreshCommits = time.Hour

// Commit implements checkpoint.Source: it publishes the positions of a complete
// checkpoint, of partitions that are still ours.
func (s *source) Commit(ctx context.Context, cp *checkpoint.Manifest) error {
	s.mu.Lock()
	for _, l := range s.mu.lanes {
		if cp.Taken.After(l.born) {
			l.reset = false
		}
	}
	s.mu.Unlock()
	if !s.conf.CommitOffsets {
		return nil
	}
	if s.InTransaction() {
		// What was in a transaction is committed by now. The rest led to nothing that was
		// written, and so may be committed without one, by who has the partitions.
		s.publishing <- struct{}{}
		defer func() { <-s.publishing }()
	}
	return s.commit(ctx, cp.ID, cp.Taken, cp.Positions)
}

// commitAcknowledged publishes what is acknowledged now: with checkpoints off,
// an acknowledgement means that the output is done.
func (s *source) commitAcknowledged(ctx context.Context) {
	if !s.conf.CommitOffsets {
		return
	}
	positions := checkpoint.Positions{}
	for p, pos := range s.Positions() {
		p.Source = s.name
		positions[p] = pos
	}
	if err := s.commit(ctx, 0, time.Now(), positions); err != nil {
		s.log.Warnf("Committing offsets failed and is tried again in %v: %v", s.conf.CommitPeriod, err)
	}
}

func (s *source) commitPeriodically(ctx context.Context) {
	every(ctx, s.conf.CommitPeriod, func() {
		ctx, cancel := context.WithTimeout(ctx, max(s.conf.CommitPeriod, 10*time.Second))
		defer cancel()
		s.commitAcknowledged(ctx)
	})
}

func (s *source) commit(ctx context.Context, id checkpoint.ID, taken time.Time, positions checkpoint.Positions) error {
	commits, lanes := s.pending(id, taken, positions)
	if len(commits) == 0 {
		return nil
	}
	s.mu.Lock()
	client, session := s.mu.client, s.mu.session
	s.mu.Unlock()
	var err error
	switch {
	case s.zooKeeper != nil:
		err = s.zooKeeper.Commit(ctx, commits)
	case s.conf.Static:
		err = kafka.CommitStatic(ctx, s.admin, s.conf.Group, commits)
	case s.InTransaction():
		err = s.commitPlain(ctx, commits)
	default:
		err = whileOpen(ctx, session, func(ctx context.Context) error { return kafka.CommitGroup(ctx, client, commits) })
	}
	s.noteCommits(commits, lanes, err)
	if err != nil {
		return fmt.Errorf("committing offsets of group %q: %w", s.conf.Group, err)
	}
	return nil
}

var errSessionEnded = errors.New("the group's session ended meanwhile")

// whileOpen calls f and cancels it when session is over.
func whileOpen(ctx, session context.Context, f func(context.Context) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(session, func() { cancel(errSessionEnded) })()
	err := f(ctx)
	if err != nil && errors.Is(context.Cause(ctx), errSessionEnded) {
		return fmt.Errorf("%w: %w", errSessionEnded, err)
	}
	return err
}

// pending returns what is worth committing: positions that moved, or that the
// broker may be about to forget, of lanes that live. A lane that was born since
// the positions were taken is left alone: they are those of the partition's
// assignment before.
func (s *source) pending(
	id checkpoint.ID, taken time.Time, positions checkpoint.Positions,
) (map[kafka.Partition]kafka.Committed, map[kafka.Partition]*lane) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	commits, lanes := map[kafka.Partition]kafka.Committed{}, map[kafka.Partition]*lane{}
	for _, l := range s.mu.lanes {
		key := l.id()
		key.Source = s.name
		pos, ok := positions[key]
		if !ok || l.phase != flowing && l.phase != draining || l.born.After(taken) || pos.Next < l.committed {
			continue
		}
		if pos.Next == l.committed && now.Sub(l.committedAt) < refreshCommits {
			continue
		}
		p := l.place()
		lanes[p] = l
		commits[p] = s.committedOf(id, l, pos)
	}
	return commits, lanes
}

func (s *source) committedOf(id checkpoint.ID, l *lane, pos checkpoint.Position) kafka.Committed {
	return kafka.Committed{
		Position: kafka.Position{Offset: int64(pos.Next), LeaderEpoch: pos.LeaderEpoch},
		Metadata: s.markOf(id, l, pos),
	}
}

// markOf writes the mark by which the job knows its own commits again. With a store
// a commit is not the checkpoint and has none.
//
// The end of a bounded run stays in the mark also when the run is over: another
// member of the group, that is given the partition, must know that it was read.
// The next run gets a new end all the same: see history.ended.
func (s *source) markOf(id checkpoint.ID, l *lane, pos checkpoint.Position) string {
	if s.history.restored.Stored && (s.conf.Static || !s.transactional()) {
		return ""
	}
	m := kafka.Mark{
		Job: s.history.job, Checkpoint: int64(id), Stop: int64(l.stop),
		Partitions: s.history.counts[l.topic], Since: s.history.since, Run: s.history.run, At: time.Now(),
		Topic: s.mu.ids[l.topic], Watermark: pos.Watermark,
	}
	if s.transactional() {
		m.Writer = s.writing.Load().id
		m.Member, _ = s.mu.client.GroupMetadata()
	}
	return m.String()
}

// noteCommits notes which commits the broker took.
func (s *source) noteCommits(commits map[kafka.Partition]kafka.Committed, lanes map[kafka.Partition]*lane, err error) {
	var failed *kafka.CommitError
	if err != nil && !errors.As(err, &failed) {
		s.meters.commitFailed()
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	for p, c := range commits {
		if failed != nil && failed.Partitions[p] != nil {
			continue
		}
		if l := lanes[p]; s.mu.lanes[topicPartition{p.Topic, p.ID}] == l {
			l.committed, l.committedAt = checkpoint.Offset(c.Offset), now
			l.meters.committed(c.Offset)
		}
	}
	if err != nil {
		s.meters.commitFailed()
	} else {
		s.meters.committed()
	}
}
