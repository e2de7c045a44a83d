package input

import (
	"context"
	"time"

	"github.com/tidemarkhq/tidemark/internal/kafka"
)

// othersPeriod is how often a member without partitions asks how far the others
// have come.
const othersPeriod = time.Second

// awaitOthers keeps a member of a group that has no partition in a bounded run
// until all partitions were read to their ends, by the marks of whoever reads
// them, or until it is given one. A member alone may be without partitions for a
// moment; if it ended then, nobody would read anything, and the run would look
// like a success.
func (s *source) awaitOthers(ctx context.Context) error {
	for !s.conf.Static && s.conf.CommitOffsets && s.idle() {
		done, err := s.othersDone(ctx)
		if err != nil && ctx.Err() == nil {
			s.log.Warnf("Asking how far the group has come failed and is tried again: %v", err)
		}
		if done {
			return nil
		}
		if err := s.wait(ctx, time.Now().Add(othersPeriod)); err != nil {
			return err
		}
	}
	return nil
}

// idle tells that no partition is assigned.
func (s *source) idle() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.mu.lanes) == 0
}

func (s *source) othersDone(ctx context.Context) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, kafka.ProbeTimeout)
	defer cancel()
	parts := make([]kafka.Partition, 0, len(s.history.known))
	for p := range s.history.known {
		parts = append(parts, p)
	}
	committed, err := kafka.FetchCommitted(ctx, s.admin, s.conf.Group, parts)
	if err != nil {
		return false, err
	}
	for _, p := range parts {
		m, ok, err := s.history.mark(committed[p])
		if err != nil || !ok || m.Stop == kafka.NoStop || committed[p].Offset < m.Stop || s.history.ended(committed[p], m) {
			return false, err
		}
	}
	return true, nil
}
