package input

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tidemarkhq/tidemark/checkpoint"
	"github.com/tidemarkhq/tidemark/internal/kafka"
)

// history is what the job did before this run, as far as it says where partitions
// start.
type history struct {
	restored checkpoint.Restored
	// job is the name that marks carry.
	job string
	// known are the partitions that existed when the run started.
	known map[kafka.Partition]bool
	// counts holds, for topics that the job knew on its very first start, how many
	// partitions they had then; since is when that was. Both are in every mark.
	counts map[string]int32
	since  time.Time
	// marked tells that the job has committed before, checkpoint the highest number.
	marked     bool
	checkpoint int64
	// began is when this process began; run is when the bounded run did that it takes
	// part in: one that was interrupted, or that others have begun, or a new one.
	began, run time.Time
}

// initialGrace is how long after the first start of a job a topic without any
// mark still counts as one that was there: another member of the group, that
// started at the same time, has not committed for it yet.
const initialGrace = time.Minute

// learnHistory reads what previous runs left behind. Without a store that is in
// the marks of the group's commits.
func (s *source) learnHistory(
	ctx context.Context, restored checkpoint.Restored, parts []kafka.Partition, ids map[string]kafka.TopicID,
) (*history, error) {
	h := &history{
		restored: restored, job: s.jobName(restored), known: map[kafka.Partition]bool{},
		counts: map[string]int32{}, since: time.Now(), began: time.Now(),
	}
	h.run = h.began
	for _, p := range parts {
		h.known[p] = true
	}
	if s.conf.Static {
		parts = slices.DeleteFunc(slices.Clone(parts), func(p kafka.Partition) bool { return !s.ours(p) })
	}
	if s.conf.Group == "" || restored.Stored || !s.conf.CommitOffsets {
		h.count(parts)
		return h, nil
	}
	committed, err := s.lookCommitted(ctx, parts)
	if err != nil {
		return nil, fmt.Errorf("reading the offsets of group %q: %w", s.conf.Group, err)
	}
	if s.zooKeeper != nil {
		if h.marked = len(committed) > 0; !h.marked {
			h.count(parts)
		} // Else the first checkpoint wrote all that was there: what has no node came later.
		return h, nil
	}
	for p, c := range committed {
		m, ok, err := h.mark(c)
		if err != nil {
			return nil, checkpoint.Fatal(fmt.Errorf("reading the offset that group %q committed for %v: %w", s.conf.Group, p, err))
		}
		if !ok || replaced(m.Topic, ids[p.Topic]) {
			continue
		}
		h.marked = true
		h.checkpoint = max(h.checkpoint, m.Checkpoint)
		h.counts[p.Topic] = m.Partitions
		if unfinished := m.Stop != kafka.NoStop && c.Offset < m.Stop; unfinished && (h.run.Equal(h.began) || m.Run.After(h.run)) {
			h.run = m.Run
		}
		if m.Since.Before(h.since) {
			h.since = m.Since
		}
	}
	h.count(parts)
	return h, nil
}

// jobName is what marks name the job: as configured, else as the store knows it,
// else the group.
func (s *source) jobName(r checkpoint.Restored) string {
	return cmp.Or(s.conf.Checkpoint.Job, r.Job, s.conf.Group)
}

// ended tells that a partition was read to the end of a bounded run before the one
// that this process takes part in: it gets a new end.
func (h *history) ended(c kafka.Committed, m kafka.Mark) bool {
	return c.Offset >= m.Stop && !m.Run.Equal(h.run.Truncate(time.Millisecond)) && m.At.Before(h.began)
}

// count adds how many partitions topics have that no mark says anything about.
func (h *history) count(parts []kafka.Partition) {
	if h.marked && time.Since(h.since) > initialGrace {
		return // A topic without a mark was not there at the first start.
	}
	counts := map[string]int32{}
	for _, p := range parts {
		counts[p.Topic] = max(counts[p.Topic], p.ID+1)
	}
	for topic, n := range counts {
		if _, ok := h.counts[topic]; !ok {
			h.counts[topic] = n
		}
	}
}

// mark returns the mark of a committed offset if it is one of this job.
func (h *history) mark(c kafka.Committed) (kafka.Mark, bool, error) {
	m, ok, err := kafka.ParseMark(c.Metadata)
	if err != nil || !ok || m.Job != h.job {
		return kafka.Mark{}, false, err
	}
	return m, true, nil
}

// later tells that a partition was not there when the job first started, so that
// it begins with its first record, whatever start_from says.
func (h *history) later(p kafka.Partition) bool {
	switch {
	case !h.known[p]:
		return true
	case h.restored.Stored:
		return len(h.restored.Positions) > 0 // else no checkpoint knew any start yet
	case h.marked:
		return p.ID >= h.counts[p.Topic]
	}
	return false
}

// starting is where a lane starts and ends, and how far event time had come there.
type starting struct {
	at, stop  checkpoint.Offset
	watermark checkpoint.Watermark
}

// resolve finds out where partitions start and end: where the last checkpoint
// left them, else where the configuration says. A number, once found, is in the
// first checkpoint, also if nothing was read.
func (s *source) resolve(
	ctx context.Context, parts []kafka.Partition, committed map[kafka.Partition]kafka.Committed, ids map[string]kafka.TopicID,
) (map[kafka.Partition]starting, error) {
	starts := map[kafka.Partition]starting{}
	var fresh, later []kafka.Partition
	for _, p := range parts {
		pos, how, err := s.saved(p, committed, ids[p.Topic])
		switch {
		case err != nil:
			return nil, err
		case how == ours:
			starts[p] = starting{pos.Next, pos.Stop, pos.Watermark}
		case how == gone || s.isAnew(p.Topic):
			later = append(later, p)
		case how == theirs && s.conf.Start.From == kafka.GroupOffsets:
			fresh = append(fresh, p) // also of a partition that was discovered later
		case s.history.later(p):
			later = append(later, p)
		default:
			fresh = append(fresh, p)
		}
	}
	if err := s.resolveWith(ctx, s.conf.Start, fresh, committed, starts); err != nil {
		return nil, err
	}
	if err := s.resolveWith(ctx, kafka.Start{From: kafka.Earliest}, later, nil, starts); err != nil {
		return nil, err
	}
	if err := s.resolveStops(ctx, parts, committed, starts); err != nil {
		return nil, err
	}
	return starts, s.clamp(ctx, starts)
}

// origin is whose a saved position is.
type origin uint8

const (
	// none: there is no position.
	none origin = iota
	// ours: the last checkpoint holds it.
	ours
	// theirs: somebody else has committed it.
	theirs
	// gone: it is ours, of a topic in whose place there is another now.
	gone
)

// saved returns the position that the last checkpoint holds for a partition of the
// topic with that id.
func (s *source) saved(
	p kafka.Partition, committed map[kafka.Partition]kafka.Committed, id kafka.TopicID,
) (checkpoint.Position, origin, error) {
	h, no := s.history, checkpoint.Position{}
	if h.restored.Stored {
		pos, ok := h.restored.Positions[s.named(p)]
		switch {
		case !ok:
			return no, none, nil
		case s.isAnew(p.Topic):
			return no, gone, nil
		}
		return pos, ours, nil
	}
	if s.zooKeeper != nil {
		pos, how := s.inZooKeeper(p, committed)
		return pos, how, nil
	}
	c, there := committed[p]
	m, ok, err := h.mark(c)
	switch {
	case err != nil:
		return no, none, checkpoint.Fatal(
			fmt.Errorf("reading the offset that group %q committed for %v: %w", s.conf.Group, p, err))
	case !there || c.Offset < 0:
		return no, none, nil
	case !ok:
		return no, theirs, nil
	case replaced(m.Topic, id):
		return no, gone, nil
	}
	pos := positionOf(c, m)
	if m.Stop != kafka.NoStop && h.ended(c, m) {
		pos.Stop = checkpoint.Unbounded
	}
	return pos, ours, nil
}

// positionOf is where a commit with a mark leaves a partition.
func positionOf(c kafka.Committed, m kafka.Mark) checkpoint.Position {
	return checkpoint.Position{
		Next: checkpoint.Offset(c.Offset), LeaderEpoch: c.LeaderEpoch, Stop: checkpoint.Offset(m.Stop), Watermark: m.Watermark,
	}
}

// replaced tells that a position of the topic with one id says nothing about the topic
// with the other.
func replaced(was, is kafka.TopicID) bool {
	return was != is && was != kafka.TopicID{} && is != kafka.TopicID{}
}

// clamp applies the reset policy to starts that the logs do not hold.
func (s *source) clamp(ctx context.Context, starts map[kafka.Partition]starting) error {
	at, stops := map[kafka.Partition]kafka.Position{}, map[kafka.Partition]int64{}
	for p, st := range starts {
		at[p] = kafka.Position{Offset: int64(st.at), LeaderEpoch: kafka.UnknownEpoch}
		if st.stop != checkpoint.Unbounded {
			stops[p] = int64(st.stop)
		}
	}
	moved, err := kafka.ClampOrReset(ctx, s.admin, at, stops, s.conf.Start.Reset, s.conf.Isolation)
	if err != nil {
		return err
	}
	for _, m := range moved {
		s.warnMoved(m)
		st := starts[m.Partition]
		st.at = checkpoint.Offset(m.To)
		starts[m.Partition] = st
	}
	return nil
}

func (s *source) warnMoved(m kafka.Moved) {
	s.log.Warnf("The log of %v does not hold offset %d, only %d to %d; going on at %d (offset_reset is %q)",
		m.Partition, m.From, m.Log.Start, m.Log.End, m.To, s.conf.Start.Reset)
}

func (s *source) resolveWith(
	ctx context.Context, start kafka.Start, parts []kafka.Partition,
	committed map[kafka.Partition]kafka.Committed, into map[kafka.Partition]starting,
) error {
	if len(parts) == 0 {
		return nil
	}
	offsets, err := start.Resolve(ctx, s.admin, parts, committed, s.conf.Isolation)
	if err != nil {
		return err
	}
	for p, o := range offsets {
		into[p] = starting{at: checkpoint.Offset(o.Offset), stop: checkpoint.Unbounded}
	}
	return nil
}

// resolveStops resolves the ends of a bounded run, of partitions whose end no
// interrupted run has left behind.
func (s *source) resolveStops(
	ctx context.Context, parts []kafka.Partition, committed map[kafka.Partition]kafka.Committed,
	starts map[kafka.Partition]starting,
) error {
	if !s.conf.Stop.Bounded() {
		for p, st := range starts {
			st.stop = checkpoint.Unbounded
			starts[p] = st
		}
		return nil
	}
	var open []kafka.Partition
	for _, p := range parts {
		if starts[p].stop == checkpoint.Unbounded {
			open = append(open, p)
		}
	}
	if len(open) == 0 {
		return nil
	}
	stops, err := s.conf.Stop.Resolve(ctx, s.admin, open, committed, s.conf.Isolation)
	if err != nil {
		return err
	}
	for p, stop := range stops {
		st := starts[p]
		st.stop = checkpoint.Offset(stop)
		starts[p] = st
	}
	return nil
}

// beginLanes gives lanes their starts and tells the client. Partitions that were
// revoked meanwhile are left out, and with discovery off those found later.
func (s *source) beginLanes(starts map[kafka.Partition]starting) map[string]map[int32]kgo.Offset {
	s.mu.Lock()
	defer s.mu.Unlock()
	offsets := map[string]map[int32]kgo.Offset{}
	for p, st := range starts {
		l := s.mu.lanes[topicPartition{p.Topic, p.ID}]
		if l == nil || l.phase != resolving {
			continue
		}
		l.begin(st)
		l.reset = s.mu.anew[p.Topic]
		s.log.Debugf("Reading %v from offset %d", p, st.at)
		put(offsets, l, kgo.NewOffset().At(int64(st.at)))
	}
	s.mu.settled = true
	signal(s.wake)
	signal(s.room)
	return offsets
}

func (s *source) addLaneLocked(l *lane) {
	tp := topicPartition{l.topic, l.partition}
	if old := s.mu.lanes[tp]; old != nil {
		s.dropLaneLocked(old)
	}
	s.mu.made++
	l.number = s.mu.made
	l.meters = s.meters.lane(l.topic, l.partition)
	l.reset = s.mu.anew[l.topic]
	s.mu.lanes[tp] = l
	s.mu.order = append(s.mu.order, l)
}

func (s *source) removeLanes(lanes []*lane) {
	s.publishing <- struct{}{}
	defer func() { <-s.publishing }()
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, l := range lanes {
		s.dropLaneLocked(l)
	}
	signal(s.wake)
}

func (s *source) dropLaneLocked(l *lane) {
	if l.paused {
		// The client keeps a pause when a partition leaves: the lane that it comes back
		// to would never get a record.
		s.mu.client.ResumeFetchPartitions(map[string][]int32{l.topic: {l.partition}})
		l.paused = false
	}
	l.die()
	l.meters.gone()
	delete(s.mu.lanes, topicPartition{l.topic, l.partition})
	for i, o := range s.mu.order {
		if o == l {
			s.mu.order = append(s.mu.order[:i:i], s.mu.order[i+1:]...)
			return
		}
	}
}
