package input

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tidemarkhq/tidemark/checkpoint"
	"github.com/tidemarkhq/tidemark/internal/engine"
	"github.com/tidemarkhq/tidemark/internal/kafka"
)

// With exactly-once delivery the offsets are committed in the transaction that holds what
// became of the records. The group's generation keeps a member that has lost its partitions
// from it. Whoever gets a partition commits, before it reads, where it starts and under
// which transactional id it writes, its claim: so the next one knows whose transaction to
// end if this one dies.

var (
	_ engine.Member    = (*source)(nil)
	_ engine.Connected = (*source)(nil)
)

// writing is how the stream writes transactions.
type writing struct {
	// id is the transactional id.
	id string
	// offsets tells that offsets are committed in them.
	offsets bool
}

// transactional tells that the stream writes transactions.
func (s *source) transactional() bool { return s.writing.Load() != nil }

// InTransaction implements engine.Member: offsets of a member of a group are committed in
// the transactions of the stream if these are on the same cluster.
func (s *source) InTransaction() bool {
	w := s.writing.Load()
	return w != nil && w.offsets
}

// Connection implements engine.Connected.
func (s *source) Connection() kafka.Connection { return s.conf.Connection }

// joinTransaction finds out whether the offsets can be committed in the transactions of the
// stream.
func (s *source) joinTransaction(ctx context.Context, restored checkpoint.Restored) error {
	if restored.Writer == "" {
		return nil
	}
	refused := func(why, remedy string) error {
		return checkpoint.Fatal(fmt.Errorf("checkpoints are transactions here, because an output's delivery is exactly_once, or checkpoint.store.topic is set, but %s: %s",
			why, remedy))
	}
	switch {
	case !s.conf.Static && s.conf.GroupProtocol == protocolConsumer:
		return refused("group_protocol of the input is consumer, whose members the brokers cannot fence in a transaction", "set it to classic")
	case !s.conf.AutoReplayNacks:
		return refused("auto_replay_nacks of the input is false, which drops messages", "remove it")
	}
	cluster, err := kafka.ClusterID(ctx, s.admin)
	if err != nil {
		return s.fatalIf(err)
	}
	if cluster != restored.Cluster && !restored.Stored {
		return refused(fmt.Sprintf("the output writes to another cluster (%s) than the input reads from (%s), and offsets of one cannot be committed on the other",
			restored.Cluster, cluster), "set checkpoint.store.topic, which is kept on the output's cluster, or read and write on one cluster")
	}
	s.writing.Store(&writing{restored.Writer, !s.conf.Static && cluster == restored.Cluster})
	return nil
}

// acquire makes partitions this process's own, where the store is one that several share,
// and notes where they go on.
func (s *source) acquire(
	ctx context.Context, parts []kafka.Partition, committed map[kafka.Partition]kafka.Committed, ids map[string]kafka.TopicID,
) error {
	if !s.history.restored.Stored || !s.transactional() || len(parts) == 0 {
		return nil
	}
	ps := s.allNamed(parts)
	found, err := s.handle.Acquire(ctx, ps, func(ctx context.Context, saved checkpoint.Positions, fresh []checkpoint.Partition) (resolved checkpoint.Positions, err error) {
		maps.Copy(s.history.restored.Positions, saved)
		defer func() { s.noteClaims(saved, resolved) }()
		starts, err := s.resolve(ctx, places(fresh), committed, ids)
		resolved = checkpoint.Positions{}
		for p, st := range starts {
			resolved[s.named(p)] = checkpoint.Position{
				Next: st.at, LeaderEpoch: checkpoint.UnknownEpoch, Stop: st.stop, Watermark: st.watermark,
			}
		}
		return resolved, err
	})
	if err != nil {
		return err
	}
	for _, p := range ps {
		if pos, ok := found[p]; ok {
			s.history.restored.Positions[p] = pos
		}
	}
	return nil
}

// noteClaims keeps the positions of partitions that are being claimed: the transaction that
// does so needs an offset to carry the generation, and there may be no lane yet.
func (s *source) noteClaims(all ...checkpoint.Positions) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mu.claims = map[kafka.Partition]kafka.Position{}
	for _, ps := range all {
		for p, pos := range ps {
			s.mu.claims[kafka.Partition{Topic: p.Topic, ID: p.ID}] = kafka.Position{Offset: int64(pos.Next), LeaderEpoch: pos.LeaderEpoch}
		}
	}
}

// Predecessors implements engine.Member.
func (s *source) Predecessors(ctx context.Context, ps []checkpoint.Partition) (map[string]bool, error) {
	return s.predecessors(ctx, places(ps))
}

// Settle implements engine.Member. What is committed by then is what a claim may commit
// again.
func (s *source) Settle(ctx context.Context, ps []checkpoint.Partition) error {
	committed, err := kafka.FetchCommitted(ctx, s.admin, s.conf.Group, places(ps))
	s.mu.Lock()
	defer s.mu.Unlock()
	for p, c := range committed {
		if s.mu.claims != nil {
			s.mu.claims[p] = c.Position
		}
	}
	return err
}

// Name implements engine.Member.
func (s *source) Name() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	member, _ := s.mu.client.GroupMetadata()
	return member
}

// Owns implements engine.Member.
func (s *source) Owns(p checkpoint.Partition) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	l := s.mu.lanes[topicPartition{p.Topic, p.ID}]
	return l != nil && l.phase != dead
}

// claim commits where partitions start, and who writes what becomes of them, before they
// are read.
func (s *source) claim(ctx context.Context, starts map[kafka.Partition]starting, committed map[kafka.Partition]kafka.Committed) error {
	if !s.InTransaction() || s.history.restored.Stored || len(starts) == 0 {
		return nil
	}
	s.publishing <- struct{}{}
	defer func() { <-s.publishing }()
	offsets, lanes := map[kafka.Partition]kafka.Committed{}, map[kafka.Partition]*lane{}
	s.mu.Lock()
	for p, st := range starts {
		l := s.mu.lanes[topicPartition{p.Topic, p.ID}]
		if l == nil || l.phase != resolving {
			continue
		}
		m, _, _ := s.history.mark(committed[p])
		l.stop = st.stop
		lanes[p] = l
		offsets[p] = kafka.Committed{
			Position: kafka.Position{Offset: int64(st.at), LeaderEpoch: kafka.UnknownEpoch},
			Metadata: s.markOf(checkpoint.ID(m.Checkpoint), l, checkpoint.Position{Watermark: st.watermark}),
		}
	}
	s.mu.Unlock()
	if len(offsets) == 0 {
		return nil
	}
	err := s.commitPlain(ctx, offsets)
	s.noteCommits(offsets, lanes, err)
	if err != nil {
		return fmt.Errorf("claiming partitions: %w", err)
	}
	return nil
}

// commitPlain commits offsets beside the transactions, as the member that the client is.
//
// One that is not answered may still be on its way, and would take positions back that are
// committed later in the same generation. So the member leaves the group, and comes back as
// another one, under whose name nothing is on its way.
func (s *source) commitPlain(ctx context.Context, commits map[kafka.Partition]kafka.Committed) error {
	s.mu.Lock()
	client, ids, leaving := s.mu.client, maps.Clone(s.mu.ids), s.mu.leaving
	s.mu.Unlock()
	if leaving != nil {
		return leaving
	}
	var sent kafka.GroupCommit
	err := s.sendCurrent(ctx, client, commits, func(ctx context.Context, c kafka.GroupCommit) error {
		sent = c
		return kafka.CommitMember(ctx, s.admin, c, ids)
	})
	if errors.Is(err, kafka.ErrUnanswered) {
		s.leave(sent, err)
	}
	return err
}

// leave makes the group forget a member, and lets nothing be committed before it has.
func (s *source) leave(member kafka.GroupCommit, cause error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.mu.closing {
		return // It leaves anyway, and nothing is committed after the last checkpoint.
	}
	s.log.Warnf("Leaving group %q, to come back as another member: %v", member.Group, cause)
	s.mu.leaving = fmt.Errorf("%w: leaving group %q: %w", checkpoint.ErrMoved, member.Group, cause)
	s.background(func(ctx context.Context) {
		for {
			err := kafka.LeaveGroup(ctx, s.admin, member)
			if err == nil {
				break
			}
			s.log.Warnf("%v", err)
			select {
			case <-time.After(leaveAgain):
			case <-ctx.Done():
				return
			}
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		s.mu.leaving = nil
	})
}

// leaveAgain is how long to wait before a member tries again to leave.
const leaveAgain = time.Second

// doom says that a partition was taken from us of which something may be in the transaction
// that is open: it must not be committed. It is over with the rewind that it begins.
func (s *source) doom(lanes []*lane, cause error) {
	if !s.transactional() {
		return
	}
	if !s.gaveOut(lanes) {
		s.handle.Lost(idsOf(lanes), nil)
		return
	}
	cause = fmt.Errorf("%w: %w", checkpoint.ErrMoved, cause)
	s.publishing <- struct{}{}
	s.mu.Lock()
	s.mu.doomed = cause
	s.mu.Unlock()
	<-s.publishing
	s.handle.Lost(idsOf(lanes), cause)
}

// gaveOut tells whether records of any of the lanes can be under way.
func (s *source) gaveOut(lanes []*lane) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.ContainsFunc(lanes, func(l *lane) bool { return l.prefix != nil })
}

// Publish implements engine.Member. The callbacks of the client take partitions from
// the source with publishing held, and the client joins the group again only when they have
// returned: so whatever generation it has now is one in which nobody else has got one of
// ours.
func (s *source) Publish(
	ctx context.Context, cp *checkpoint.Manifest, send func(context.Context, kafka.GroupCommit) error,
) error {
	s.publishing <- struct{}{}
	defer func() { <-s.publishing }()
	s.mu.Lock()
	doomed, client := cmp.Or(s.mu.doomed, s.mu.leaving), s.mu.client
	s.mu.Unlock()
	if doomed != nil {
		return doomed
	}
	commits, lanes := s.pending(cp.ID, cp.Taken, cp.Positions)
	if len(commits) == 0 {
		commits, lanes = s.anyone(cp)
	}
	if len(commits) == 0 {
		return errors.New("the group has taken all partitions, and the transaction holds records of some")
	}
	err := s.sendCurrent(ctx, client, commits, send)
	s.noteCommits(commits, lanes, err)
	return err
}

// How long a generation may be old while the client is joining the group again, and how
// often it is looked at.
const (
	regroupPatience = 10 * time.Second
	regroupLook     = 20 * time.Millisecond
)

// sendCurrent sends offsets under the generation that the client has, when it has one. That the
// group has put this member out is no failure: whoever joins it anew goes on.
func (s *source) sendCurrent(
	ctx context.Context, client *kgo.Client, commits map[kafka.Partition]kafka.Committed, send func(context.Context, kafka.GroupCommit) error,
) error {
	began := time.Now()
	for {
		member, generation := client.GroupMetadata()
		err := send(ctx, kafka.GroupCommit{
			Group: s.conf.Group, Member: member, Instance: s.conf.Checkpoint.Instance, Generation: generation, Offsets: commits,
		})
		if errors.Is(err, kerr.UnknownMemberID) {
			return fmt.Errorf("%w: %w", checkpoint.ErrMoved, err)
		}
		old := errors.Is(err, kerr.IllegalGeneration) || errors.Is(err, kerr.RebalanceInProgress)
		if !old || time.Since(began) > regroupPatience {
			return err
		}
		select {
		case <-time.After(regroupLook):
		case <-ctx.Done():
			return errors.Join(err, context.Cause(ctx))
		}
	}
}

// anyone returns the position of one lane, which has not moved, or of one that is being
// claimed: without an offset no generation would be in the transaction.
func (s *source) anyone(cp *checkpoint.Manifest) (map[kafka.Partition]kafka.Committed, map[kafka.Partition]*lane) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, l := range s.mu.order {
		id := l.id()
		id.Source = s.name
		pos, ok := cp.Positions[id]
		if !ok || l.phase != flowing && l.phase != draining || pos.Next < l.committed {
			continue
		}
		p := l.place()
		return map[kafka.Partition]kafka.Committed{p: s.committedOf(cp.ID, l, pos)}, map[kafka.Partition]*lane{p: l}
	}
	for _, l := range s.mu.order {
		p := l.place()
		at, ok := s.mu.claims[p]
		if !ok || l.phase != resolving {
			continue
		}
		c := s.committedOf(cp.ID, l, checkpoint.Position{Next: checkpoint.Offset(at.Offset), LeaderEpoch: at.LeaderEpoch})
		return map[kafka.Partition]kafka.Committed{p: c}, map[kafka.Partition]*lane{p: l}
	}
	return nil, nil
}

// Published implements engine.Member.
func (s *source) Published(ctx context.Context) (checkpoint.Positions, checkpoint.ID, error) {
	s.mu.Lock()
	var parts []kafka.Partition
	for _, l := range s.mu.lanes {
		if l.phase == flowing {
			parts = append(parts, l.place())
		}
	}
	s.mu.Unlock()
	committed, err := kafka.FetchCommitted(ctx, s.admin, s.conf.Group, parts)
	if err != nil {
		return nil, 0, err
	}
	ps, last := checkpoint.Positions{}, checkpoint.ID(0)
	for p, c := range committed {
		m, ok, err := s.history.mark(c)
		if err != nil {
			return nil, 0, checkpoint.Fatal(err)
		}
		if !ok {
			continue
		}
		last = max(last, checkpoint.ID(m.Checkpoint))
		ps[s.named(p)] = positionOf(c, m)
	}
	return ps, last, nil
}
