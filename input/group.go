package input

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/tidemarkhq/tidemark/checkpoint"
	"github.com/tidemarkhq/tidemark/internal/kafka"
)

// groupOptions are those of a member of a consumer group.
func (s *source) groupOptions() []kgo.Opt {
	opts := []kgo.Opt{
		kgo.ConsumerGroup(s.conf.Group),
		kgo.DisableAutoCommit(),
		kgo.BlockRebalanceOnPoll(),
		kgo.OnPartitionsAssigned(s.assigned),
		kgo.OnPartitionsRevoked(s.revoked),
		kgo.OnPartitionsLost(s.lost),
		kgo.OnOffsetsFetched(s.offsetsFetched),
		kgo.AdjustFetchOffsetsFn(s.adjust),
	}
	return append(opts, s.conf.Subscription.Consume()...)
}

// assigned is called by the client when partitions were assigned and before their
// offsets are fetched: lanes are born here and nowhere else.
func (s *source) assigned(ctx context.Context, client *kgo.Client, partitions map[string][]int32) {
	if s.InTransaction() {
		s.endPredecessors(ctx, partitions)
	}
	s.assignMu.Lock()
	defer s.assignMu.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mu.client = client // It may be here before whoever made it has it.
	for topic, ids := range partitions {
		for _, id := range ids {
			s.addLaneLocked(newLane(topic, id))
		}
	}
	if len(partitions) == 0 && len(s.mu.lanes) == 0 {
		s.mu.settled = true // A member without partitions has nothing to resolve.
		signal(s.wake)
	}
}

// revoked is called by the client when partitions go to another member. It drains
// their lanes and takes a checkpoint that covers them, while the client goes on
// with heartbeats.
func (s *source) revoked(ctx context.Context, client *kgo.Client, partitions map[string][]int32) {
	s.assignMu.Lock()
	defer s.assignMu.Unlock()
	lanes := s.drainLanes(partitions)
	ctx, cancel := context.WithTimeout(ctx, s.drainTimeout())
	defer cancel()
	if len(lanes) == 0 || s.isClosing() {
		s.awaitClosed(ctx, lanes)
		s.removeLanes(lanes) // At the end the final checkpoint has covered them.
		return
	}
	// Close does not wait for it longer than for its own checkpoint.
	defer context.AfterFunc(s.ctx, cancel)()
	err := s.awaitDrained(ctx, lanes)
	switch {
	case s.agreed.Interval <= 0:
		s.commitAcknowledged(ctx)
	case err == nil:
		err = s.handle.GiveUp(ctx, idsOf(lanes))
	}
	if err != nil {
		s.log.Warnf("Handing over %d partitions without a checkpoint of their own, their new owner repeats what came after the last one: %v",
			len(lanes), err)
		s.doom(lanes, fmt.Errorf("handing over %d partitions: %w", len(lanes), err))
	}
	s.removeLanes(lanes)
}

// idsOf names the partitions of lanes for the coordinator.
func idsOf(lanes []*lane) []checkpoint.Partition {
	ids := make([]checkpoint.Partition, len(lanes))
	for i, l := range lanes {
		ids[i] = l.id()
	}
	return ids
}

// awaitClosed waits for the final checkpoint of a source that is closing, if that is a
// transaction: it could not be committed by who has given up partitions before.
func (s *source) awaitClosed(ctx context.Context, lanes []*lane) {
	if len(lanes) == 0 || !s.transactional() {
		return
	}
	select {
	case <-s.ctx.Done():
	case <-ctx.Done():
		s.doom(lanes, fmt.Errorf("handing over %d partitions while closing: %w", len(lanes), ctx.Err()))
	}
}

// drainTimeout is what a revoke may take of the group's rebalance time-out; the
// rest is for the client to join again.
func (s *source) drainTimeout() time.Duration { return s.conf.RebalanceTimeout * 3 / 4 }

// lost is called by the client when the group has given partitions to others
// already: nothing may be committed for them any more.
func (s *source) lost(_ context.Context, _ *kgo.Client, partitions map[string][]int32) {
	s.endSession()
	s.assignMu.Lock()
	defer s.assignMu.Unlock()
	lanes := s.drainLanes(partitions)
	if len(lanes) > 0 {
		err := fmt.Errorf("lost %d partitions: the group's session has ended, by now they may be with other members", len(lanes))
		s.log.Warnf("%v", err)
		s.doom(lanes, err)
	}
	s.removeLanes(lanes)
}

// endSession gives up commits that are under way: the brokers would refuse them, and the
// client does not join the group again before they are over.
func (s *source) endSession() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mu.session.end()
	s.mu.session = newSession()
}

// session lasts as long as the group's, and then there is another.
type session struct {
	context.Context
	end context.CancelFunc
}

func newSession() session {
	ctx, end := context.WithCancel(context.Background())
	return session{ctx, end}
}

// drainLanes stops giving out records of lanes.
func (s *source) drainLanes(partitions map[string][]int32) []*lane {
	s.mu.Lock()
	defer s.mu.Unlock()
	var lanes []*lane
	for topic, ids := range partitions {
		for _, id := range ids {
			if l := s.mu.lanes[topicPartition{topic, id}]; l != nil {
				if l.phase == flowing {
					l.phase = draining
				}
				lanes = append(lanes, l)
			}
		}
	}
	return lanes
}

// awaitDrained waits until everything that lanes gave out was answered for.
func (s *source) awaitDrained(ctx context.Context, lanes []*lane) error {
	for {
		if s.drained(lanes) {
			return nil
		}
		select {
		case <-s.answered:
		case <-s.handle.Done():
			return checkpoint.ErrDead
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (s *source) drained(lanes []*lane) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, l := range lanes {
		// What waits to be delivered again is not under way, nor is what waits to enter the
		// ledger: it will not be let in any more, and in a rewind it waits for the rewind,
		// which waits for the end of the revoke.
		under := l.inflight
		if b := s.mu.entering; b != nil && b.lane == l && !b.stale() {
			under--
		}
		if under > 0 {
			return false
		}
	}
	return true
}

func (s *source) isClosing() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.mu.closing
}

// offsetsFetched is called by the client with the group's committed offsets of
// newly assigned partitions; they carry our marks, which adjust does not see.
func (s *source) offsetsFetched(_ context.Context, _ *kgo.Client, resp *kmsg.OffsetFetchResponse) error {
	s.assignMu.Lock()
	defer s.assignMu.Unlock()
	// A partition with an error was reported by the client and is not assigned.
	s.fetched, _ = kafka.CommittedOf(resp)
	return nil
}

// adjust is called by the client before newly assigned partitions are fetched: it
// answers with the exact offset of each. An error makes the client try again.
func (s *source) adjust(
	ctx context.Context, offsets map[string]map[int32]kgo.Offset,
) (map[string]map[int32]kgo.Offset, error) {
	var parts, unread []kafka.Partition
	for topic, ids := range offsets {
		for id := range ids {
			p := kafka.Partition{Topic: topic, ID: id}
			if s.discovers() || s.history.known[p] {
				parts = append(parts, p)
			} else {
				unread = append(unread, p)
			}
		}
	}
	s.leaveUnread(unread)
	s.assignMu.Lock()
	committed := s.fetched
	s.assignMu.Unlock()
	listing, err := s.list(ctx)
	if err != nil {
		return nil, s.failed(findingStarts, err)
	}
	starts, late, err := s.resolveLed(ctx, listing, parts, committed)
	if err != nil {
		return nil, s.failed(findingStarts, err)
	}
	if err := s.claim(ctx, starts, committed); err != nil {
		return nil, s.failed(findingStarts, err)
	}
	begun := s.beginLanes(starts)
	s.addPlaceholders(late, begun)
	s.beginLater(late, committed)
	return begun, nil
}

// discovers tells whether partitions that appear during the run are read. A
// bounded run reads what there was at its start, so that it can end.
func (s *source) discovers() bool { return s.conf.Discovery > 0 && !s.conf.Stop.Bounded() }

// leaveUnread drops the lanes of partitions that appeared during the run and are
// not to be read.
func (s *source) leaveUnread(parts []kafka.Partition) {
	if len(parts) == 0 {
		return
	}
	s.log.Infof("Not reading %v: they appeared after the start and discovery is off", parts)
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range parts {
		if l := s.mu.lanes[topicPartition{p.Topic, p.ID}]; l != nil {
			s.dropLaneLocked(l)
		}
	}
}

// failed stops the stream if an error is final, and otherwise says that what failed is
// tried again. It returns the error, marked if it is final.
func (s *source) failed(what string, err error) error {
	err = s.fatalIf(err)
	if errors.Is(err, checkpoint.ErrFatal) {
		s.handle.Fatal(err)
		return err
	}
	s.log.Warnf("%s failed and is tried again: %v", what, err)
	return err
}

// findingStarts is what failed to find out where partitions start.
const findingStarts = "Finding out where to start"
