package input

import (
	"context"
	"time"

	"github.com/tidemarkhq/tidemark/checkpoint"
)

// wait blocks until there may be something to pick.
func (s *source) wait(ctx context.Context, due time.Time) error {
	var timer <-chan time.Time
	if !due.IsZero() {
		t := time.NewTimer(time.Until(due))
		defer t.Stop()
		timer = t.C
	}
	select {
	case <-s.wake:
	case <-timer:
	case <-s.handle.Done():
		return checkpoint.ErrDead
	case <-ctx.Done():
		return ctx.Err()
	}
	return nil
}

// watch notes when Benthos asks the input to end. ReadBatch's context is the same
// in all calls, and is cancelled then, also between calls.
func (s *source) watch(ctx context.Context) {
	s.askedMu.Lock()
	defer s.askedMu.Unlock()
	if s.watching {
		return
	}
	s.watching = true
	context.AfterFunc(ctx, func() {
		s.handle.Stopping()
		s.askedMu.Lock()
		defer s.askedMu.Unlock()
		if s.asked.IsZero() {
			s.asked = time.Now()
		}
	})
}
