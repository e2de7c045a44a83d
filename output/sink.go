package output

import (
	"context"
	"fmt"

	"github.com/tidemarkhq/tidemark/checkpoint"
)

// sink is what the coordinator calls.
type sink struct {
	p        *producer
	delivery Delivery
}

// transactional is the sink of an output that writes into a transaction, or that does if its
// stream has one.
type transactional struct {
	sink
	// shares tells that there is one; nil = always.
	shares func() bool
}

var (
	_ checkpoint.Sink          = (*sink)(nil)
	_ checkpoint.Transactional = (*transactional)(nil)
)

// Rotate implements checkpoint.Sink.
func (t *transactional) Rotate(id checkpoint.ID) {
	t.sink.Rotate(id)
	if t.shares == nil || t.shares() {
		t.p.holdBack()
	}
}

// Release implements checkpoint.Transactional.
func (t *transactional) Release() { t.p.release() }

// Rotate implements checkpoint.Sink.
func (s *sink) Rotate(id checkpoint.ID) { s.p.epochs.rotate(id) }

// Flush implements checkpoint.Sink. Where nothing is promised, nothing is waited
// for.
func (s *sink) Flush(ctx context.Context, id checkpoint.ID) error {
	if s.delivery == None {
		return nil
	}
	defer s.p.hurry()()
	if err := s.p.epochs.flush(ctx, id); err != nil {
		return fmt.Errorf("flushing the records of checkpoint %d, with %d on their way: %w", id, s.p.room.inUse(), err)
	}
	return nil
}

// Discard implements checkpoint.Sink.
func (s *sink) Discard() { s.p.discard() }

// Abort implements checkpoint.Sink.
func (s *sink) Abort(ctx context.Context) error { return s.p.abort(ctx) }

// Accept implements checkpoint.Sink.
func (s *sink) Accept() { s.p.accept() }
