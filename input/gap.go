package input

import (
	"context"
	"time"

	"github.com/tidemarkhq/tidemark/checkpoint"
	"github.com/tidemarkhq/tidemark/internal/kafka"
)

// gapPeriod is how long a lane must have got nothing, short of the end of its
// log, before the log is looked at for a gap.
const gapPeriod = 500 * time.Millisecond

// skipGaps moves lanes past gaps at the end of their logs, which the client does
// not tell of: else a bounded run would not end, and a fully read partition would
// never have lag 0.
func (s *source) skipGaps(ctx context.Context) {
	at := map[*lane]checkpoint.Offset{}
	every(ctx, gapPeriod, func() {
		for l, next := range s.stuck(at) {
			p := l.place()
			ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
			to, err := kafka.SkipGap(ctx, s.admin, p, int64(next), s.conf.Isolation)
			cancel()
			if err != nil {
				s.log.Debugf("%v", err)
				continue
			}
			s.pass(l, next, checkpoint.Offset(to))
		}
	})
}

// stuck returns the lanes that stand where they stood at the last call, idle, with
// more of the log to come.
func (s *source) stuck(at map[*lane]checkpoint.Offset) map[*lane]checkpoint.Offset {
	s.mu.Lock()
	defer s.mu.Unlock()
	stuck := map[*lane]checkpoint.Offset{}
	now := map[*lane]checkpoint.Offset{}
	for _, l := range s.mu.lanes {
		goal := max(l.end, l.stop)
		if l.phase != flowing || l.paused || l.resetting || l.queued > 0 || l.inflight > 0 || l.next >= goal {
			continue
		}
		now[l] = l.next
		if before, ok := at[l]; ok && before == l.next {
			stuck[l] = l.next
		}
	}
	clear(at)
	for l, next := range now {
		at[l] = next
	}
	return stuck
}

// pass moves an idle lane over a gap. The client is past it already, or passes it
// by itself with the next record.
func (s *source) pass(l *lane, from, to checkpoint.Offset) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if l.phase != flowing || l.next != from || to <= from {
		return
	}
	if l.stop != checkpoint.Unbounded {
		to = min(to, l.stop)
	}
	l.next = to
	l.prefix.Pass(to)
	signal(s.wake)
}
