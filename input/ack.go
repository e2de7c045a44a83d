package input

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redpanda-data/benthos/v4/public/service"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tidemarkhq/tidemark/checkpoint"
)

// Back-off of a rejected batch before it is delivered again in place.
const (
	redeliverAfter    = 50 * time.Millisecond
	redeliverAfterMax = 5 * time.Second
)

// offered is the batch that ReadBatch returned last. Benthos has passed it on when it asks
// for the next one; before that, it throws it away when it stops.
type offered struct {
	mu sync.Mutex
	// back takes it back; nil if there is none.
	back func()
}

func (o *offered) set(back func()) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.back = back
}

// takeBack gives the batch up: nobody has seen it, so it is not among those that a stop
// cuts off.
func (o *offered) takeBack() {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.back != nil {
		o.back()
		o.back = nil
	}
}

// offer notes that a batch is returned, and returns what answers for it. That counts once,
// and not after the batch was taken back.
func (s *source) offer(b *batch, entry *checkpoint.Entry) service.AckFunc {
	answered := new(atomic.Bool)
	s.offered.set(func() {
		if !answered.Swap(true) {
			s.giveUp(b)
			s.handle.Leave(entry, nil)
		}
	})
	return s.ackFunc(b, entry, answered)
}

// ackFunc answers for one delivery of a batch, once.
func (s *source) ackFunc(b *batch, entry *checkpoint.Entry, answered *atomic.Bool) service.AckFunc {
	return func(_ context.Context, err error) error {
		if answered.Swap(true) {
			return nil
		}
		switch {
		case entry.State() == checkpoint.Discarded:
			// Its attempt was abandoned, and a sink answers with success for what it
			// drops then: success says nothing.
			s.giveUp(b)
		case err == nil:
			s.acknowledge(b, entry)
		default:
			s.reject(b, entry, err)
		}
		s.handle.Leave(entry, err)
		return nil
	}
}

// giveUp forgets a batch that nobody will answer for, or whose answer does not
// count: its position does not move. Whoever drains the lane need not wait for it.
func (s *source) giveUp(b *batch) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.landLocked(b)
}

// landLocked takes a batch out of those under way, and tells whether it still
// counts for its lane.
func (s *source) landLocked(b *batch) bool {
	if s.mu.entering == b {
		s.mu.entering = nil
	}
	if b.stale() {
		return false
	}
	b.lane.inflight--
	signal(s.wake)
	signal(s.answered)
	return true
}

// acknowledge moves the lane's position. It comes before the batch leaves the
// ledger: an aligned cut that finds the ledger empty must find the position moved.
func (s *source) acknowledge(b *batch, entry *checkpoint.Entry) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.landLocked(b) {
		return
	}
	b.span.Watermark = b.span.Watermark.Max(entry.Watermark())
	b.lane.prefix.Done(b.span)
	if len(s.mu.permanent) > 0 {
		for _, r := range b.records {
			delete(s.mu.permanent, idOf(r))
		}
	}
}

func idOf(r *kgo.Record) recordID {
	return recordID{topicPartition{r.Topic, r.Partition}, r.Offset}
}

// reject decides what becomes of a batch that was not delivered.
func (s *source) reject(b *batch, entry *checkpoint.Entry, cause error) {
	if s.handle.Failed() != nil {
		s.giveUp(b) // The end of the stream takes care of it.
		return
	}
	rejected, errs := rejectedRecords(b, cause)
	if fatal := s.permanentTwice(rejected, errs); fatal != nil {
		s.handle.Fatal(fatal)
		return
	}
	if !s.conf.AutoReplayNacks {
		s.log.Errorf("Dropping %d rejected records of %s partition %d from offset %d, because auto_replay_nacks is false: %v",
			len(rejected), b.lane.topic, b.lane.partition, rejected[0].Offset, cause)
		s.meters.dropped(len(rejected))
		s.acknowledge(b, entry)
		return
	}
	if !s.handle.Nack(cause) {
		s.giveUp(b) // The coordinator rewinds.
		return
	}
	s.redeliver(b, rejected)
}

// redeliver puts what was rejected back at the head of its lane. In order, the
// redelivery runs from the first rejected record to the end of the batch, or else
// a later value of a key would be overtaken by an earlier one.
func (s *source) redeliver(b *batch, rejected []*kgo.Record) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.landLocked(b) {
		return
	}
	l := b.lane
	if s.conf.Ordered {
		for i, r := range b.records {
			if r == rejected[0] {
				rejected = b.records[i:]
				break
			}
		}
	}
	next := &batch{lane: l, turn: l.turn, records: rejected, span: b.span, damage: b.damage, tries: b.tries + 1}
	pause := min(redeliverAfter<<min(b.tries, 10), redeliverAfterMax)
	next.due = time.Now().Add(pause)
	l.again = append(l.again, next)
	s.meters.redelivered(len(rejected))
}

// rejectedRecords tells which records of a batch an error is about, in order, and
// why. Only an error that accounts for each record of the batch, one message
// each, can be taken apart: where the pipeline joined, split or dropped messages,
// all of them count as rejected.
func rejectedRecords(b *batch, cause error) ([]*kgo.Record, map[*kgo.Record]error) {
	var be *service.BatchError
	if !errors.As(cause, &be) || be.IndexedErrors() == 0 {
		return b.records, wholly(b, cause)
	}
	met := make(map[*kgo.Record]error, len(b.records))
	twice := false
	//nolint:staticcheck // Deprecated because of its indexes, which are not used: the message's origin says which record it was.
	be.WalkMessages(func(_ int, m *service.Message, err error) bool {
		o := checkpoint.OriginOf(m.Context())
		if o == nil {
			twice = true
			return false
		}
		r, ok := o.Record.(*kgo.Record)
		if _, again := met[r]; !ok || again {
			twice = true
			return false
		}
		met[r] = err
		return true
	})
	if twice || len(met) != len(b.records) {
		return b.records, wholly(b, cause)
	}
	var rejected []*kgo.Record
	for _, r := range b.records {
		err, ok := met[r]
		if !ok {
			return b.records, wholly(b, cause)
		}
		if err != nil {
			rejected = append(rejected, r)
		}
	}
	if len(rejected) == 0 {
		return b.records, wholly(b, cause)
	}
	return rejected, met
}

// wholly blames an error on the whole batch. If it is permanent its first record
// stands for all of them, so that a batch that can never go out does not loop.
func wholly(b *batch, cause error) map[*kgo.Record]error {
	return map[*kgo.Record]error{b.records[0]: cause}
}

// permanentTwice notes permanent errors and returns the one that came back for
// the second time: nothing in the pipeline routes it, so it would loop for ever.
func (s *source) permanentTwice(rejected []*kgo.Record, errs map[*kgo.Record]error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range rejected {
		err := errs[r]
		if err == nil || !checkpoint.IsPermanent(err) {
			continue
		}
		id := idOf(r)
		s.mu.permanent[id]++
		if s.mu.permanent[id] > 1 {
			return checkpoint.RecordError(checkpoint.Partition{Topic: r.Topic, ID: r.Partition},
				checkpoint.Offset(r.Offset), err)
		}
	}
	return nil
}
