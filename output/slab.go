package output

import (
	"context"
	"errors"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tidemarkhq/tidemark/checkpoint"
	"github.com/tidemarkhq/tidemark/internal/kafka"
)

// giveEvery is after how many records a slab makes room for others.
const giveEvery = 64

// slab is records that are enqueued together. The client settles them one at a
// time, so what settle changes needs no lock.
type slab struct {
	load
	p       *producer
	attempt *attempt
	// ack says whether the records are acknowledged already, and whom to tell of
	// failures then.
	ack ack
	// epoch that waits for the slab, nil if a writer does.
	epoch *epoch
	// started is when it was enqueued; cancel, if set, ends its time-out.
	started time.Time
	cancel  func()

	// left counts the records that are not settled; unpaid those, with their bytes,
	// that are and whose room was not given back.
	left        int
	unpaid      int
	unpaidBytes int64
	// bytes of the records that were not lost.
	bytes int64
	// errs holds what failed, by index; nil while nothing has. first is the first
	// error that the end of the attempt did not cause.
	errs  []error
	first error
	// told: the coordinator knows already.
	told bool
	// done is closed when all records are settled, if a writer waits for it.
	done chan struct{}
}

// ack is what became of a slab's messages.
type ack struct {
	// early: they were acknowledged when they were enqueued.
	early bool
	// handle of the coordinator whose checkpoints wait for them; nil if nobody
	// does.
	handle checkpoint.SinkHandle
}

func newSlab(p *producer, a *attempt, l load, bytes int64, ack ack) *slab {
	s := &slab{load: l, p: p, attempt: a, ack: ack, started: time.Now(), left: len(l.records), bytes: bytes}
	if ack.early {
		s.epoch = p.epochs.enter()
	} else {
		s.done = make(chan struct{})
	}
	return s
}

// start returns the context that bounds the delivery. The client has a time-out
// of its own, but counts it from the record's timestamp, which may be years ago.
func (s *slab) start() context.Context {
	if s.p.conf.DeliveryTimeout == 0 {
		return context.Background()
	}
	ctx, cancel := context.WithCancel(context.Background())
	timer := time.AfterFunc(s.p.conf.DeliveryTimeout, func() {
		// The client gives up when that is safe for the partition's sequence, which
		// may take until the broker answers. A source need not wait that long.
		cancel()
		if s.ack.early && s.p.lossless {
			s.p.epochs.fail(s.epoch, errDeliveryTimeout)
		}
		if h := s.ack.handle; h != nil && s.p.lossless && s.attempt.Err() == nil {
			h.Fail(errDeliveryTimeout)
		}
	})
	s.cancel = func() { timer.Stop(); cancel() }
	return ctx
}

// launch hands the slab to the client.
func (s *slab) launch(cl *kgo.Client) {
	if s.p.transaction != nil {
		s.p.transaction.Writing()
	}
	ctx := s.start()
	promise := s.settle
	for i := range s.records {
		cl.Produce(ctx, &s.records[i], promise)
	}
}

// settle is the client's promise for every record of the slab.
func (s *slab) settle(r *kgo.Record, err error) {
	s.left--
	s.unpaid++
	if s.p.room.maxBytes > 0 {
		s.unpaidBytes += int64(userSize(r))
	}
	if err != nil {
		s.bytes -= int64(userSize(r))
		s.fail(r, err)
	}
	switch {
	case s.left == 0:
		s.finish()
	case s.unpaid == giveEvery:
		s.pay()
	}
}

func (s *slab) pay() {
	s.p.room.give(s.unpaid, s.unpaidBytes)
	s.unpaid, s.unpaidBytes = 0, 0
}

func (s *slab) fail(r *kgo.Record, err error) {
	if errors.Is(err, context.Canceled) {
		err = errDeliveryTimeout // nothing else ends the context of a record
	}
	if s.errs == nil {
		s.errs = make([]error, len(s.records))
	}
	i := s.index(r)
	s.errs[i] = err
	if errors.Is(err, kerr.UnknownTopicOrPartition) || errors.Is(err, kerr.UnknownTopicID) {
		s.p.topics.forget(r.Topic)
	}
	if abandoned(err) {
		return
	}
	if s.first == nil {
		s.first = err
	}
	if s.ack.early && s.p.lossless {
		s.p.epochs.fail(s.epoch, err)
		s.report(i, err)
	}
}

// report tells the coordinator at once: the error must not wait for more records.
// Of an abandoned attempt only refusals matter, because their records come again.
func (s *slab) report(i int, err error) {
	h := s.ack.handle
	if h == nil {
		return
	}
	meaning := kafka.Classify(kafka.Write, err).Meaning
	if meaning == kafka.Permanent {
		if o := checkpoint.OriginOf(s.messages[i].Context()); o != nil && o.Entry != nil {
			h.Refuse(o, err)
			return
		}
	}
	if s.told || s.attempt.Err() != nil {
		return
	}
	s.told = true
	if s.p.final(meaning) {
		h.Fatal(err)
		return
	}
	h.Fail(err)
}

// index finds a record's place; the client gives back the pointer it was given.
func (s *slab) index(r *kgo.Record) int {
	for i := range s.records {
		if &s.records[i] == r {
			return i
		}
	}
	return 0
}

// finish runs when the last record is settled.
func (s *slab) finish() {
	if s.cancel != nil {
		s.cancel()
	}
	s.pay()
	failures := s.failures()
	if s.p.transaction != nil {
		s.p.transaction.Delivered(len(s.records) - failures)
	}
	s.p.stats.delivered(s, len(s.records)-failures)
	if !s.ack.early {
		close(s.done)
		return
	}
	if s.first != nil {
		s.p.stats.failed(s.records[0].Topic, failures)
		s.p.log.Errorf("%d of %d acknowledged records were not delivered: %v", failures, len(s.records), s.first)
	}
	err := s.first
	if !s.p.lossless {
		err = nil
	}
	s.p.epochs.leave(s.epoch, err)
}

func (s *slab) failures() int {
	n := 0
	for _, err := range s.errs {
		if err != nil {
			n++
		}
	}
	return n
}

// abandoned tells an error that the end of an attempt, or of the output, causes.
func abandoned(err error) bool {
	return errors.Is(err, kgo.ErrAborting) || errors.Is(err, kgo.ErrClientClosed) ||
		errors.Is(err, errDiscarded) || errors.Is(err, errClosed)
}

// final tells an error that stops the stream. Within a transaction one that was taken over
// does not yet: the brokers end one that took too long in the same way, and which it was
// only shows when it is aborted.
func (p *producer) final(m kafka.Meaning) bool {
	return m > kafka.Permanent && (m != kafka.Fenced || p.transaction == nil)
}
