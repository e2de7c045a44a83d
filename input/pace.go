package input

import (
	"time"

	"github.com/tidemarkhq/tidemark/checkpoint"
)

var _ checkpoint.Paced = (*source)(nil)

// Progress implements checkpoint.Paced.
func (s *source) Progress() (map[checkpoint.Partition]checkpoint.Progress, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make(map[checkpoint.Partition]checkpoint.Progress, len(s.mu.lanes))
	for _, l := range s.mu.lanes {
		pos, ok := l.position()
		if !ok {
			// It is ours, and holds the others back: nothing is known of it yet.
			pos = checkpoint.Position{LeaderEpoch: checkpoint.UnknownEpoch, Stop: checkpoint.Unbounded}
		}
		all[l.id()] = checkpoint.Progress{Position: pos, Lane: l.number, Quiet: l.quietFor()}
	}
	return all, s.mu.settled
}

// Hold implements checkpoint.Paced.
func (s *source) Hold(ps map[checkpoint.Partition]bool, look time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if look != s.mu.look {
		s.mu.look = look
		signal(s.hurry)
	}
	freed, here := false, 0
	for _, l := range s.mu.lanes {
		held := ps[l.id()]
		if held {
			here++
		}
		if held == l.waits {
			continue
		}
		l.waits, l.quiet = held, time.Time{}
		s.resumeLocked(l)
		freed = freed || !held
	}
	if here < len(ps) {
		s.log.Debugf("%d partitions that were to wait for others are not read here any more", len(ps)-here)
	}
	if freed {
		signal(s.wake)
		signal(s.room)
	}
}

// lookPeriod is how often the ends of partitions are looked at.
func (s *source) lookPeriod() time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.mu.look > 0 {
		return min(s.mu.look, s.conf.LagPeriod)
	}
	return s.conf.LagPeriod
}

// look notes where the log ended when the broker was asked, and what was known of the
// answer by now. What is written later is not known: a broker that does not answer must
// not make a partition quiet.
func (l *lane) look(end checkpoint.Offset, asked, now time.Time) {
	l.end = end
	if l.waits || l.phase != flowing || l.prefix.Position() < end {
		l.quiet = time.Time{}
		return
	}
	if l.quiet.IsZero() || l.quietAt != l.prefix.Position() {
		l.quiet, l.quietAt = now, l.prefix.Position()
	}
	l.looked = asked
}

// quietFor returns for how long there was nothing to read, as far as was looked.
func (l *lane) quietFor() time.Duration {
	if l.quiet.IsZero() || l.prefix == nil || l.quietAt != l.prefix.Position() {
		return 0
	}
	return max(l.looked.Sub(l.quiet), 0)
}
