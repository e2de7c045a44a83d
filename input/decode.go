package input

import (
	"context"
	"errors"
	"fmt"
	"time"
	"unicode/utf8"

	"github.com/redpanda-data/benthos/v4/public/service"
	"github.com/twmb/franz-go/pkg/kgo"

	public "github.com/tidemarkhq/tidemark/format"

	"github.com/tidemarkhq/tidemark/checkpoint"
	"github.com/tidemarkhq/tidemark/internal/format"
	"github.com/tidemarkhq/tidemark/output"
)

// decode gives the messages of a batch what their records hold, and does with records that
// cannot be read as on_bad_record says. It returns the keys that were decoded, nil if keys
// are not; an error is about all of the batch.
func (s *source) decode(ctx context.Context, b *batch, r *reading) ([]any, error) {
	var keys []any
	if s.conf.Format.Keys {
		keys = make([]any, 0, len(b.records))
	}
	n := 0
	for i, rec := range b.records {
		key, err := s.fill(ctx, r.msgs[i], rec, b.damage[checkpoint.Offset(rec.Offset)])
		switch {
		case err == nil:
		case public.IsUnavailable(err), ctx.Err() != nil:
			return nil, recordError(rec, err)
		case s.conf.OnBad == onBadFail && n > 0:
			return keys, s.cut(b, r, n)
		case s.conf.OnBad == onBadFail:
			s.stopAt(ctx, b, recordError(rec, err))
			return nil, errStopped
		default:
			r.bad = append(r.bad, badRecord{&r.origins[i], rec, err})
			if s.conf.OnBad != onBadFlag {
				if n == i {
					r.records = append([]*kgo.Record(nil), b.records[:i]...)
				}
				continue
			}
			r.msgs[i].SetBytes(rec.Value)
			r.msgs[i].SetError(recordError(rec, err))
			key = nil
		}
		if n < i {
			r.msgs[n] = r.msgs[i]
			r.records = append(r.records, rec)
		}
		if keys != nil {
			keys = append(keys, key)
		}
		n++
	}
	r.msgs = r.msgs[:n]
	return keys, nil
}

// fill gives a message what its record holds, and returns the decoded key, if it is.
func (s *source) fill(ctx context.Context, m *service.Message, rec *kgo.Record, damage error) (key any, err error) {
	f := &s.conf.Format
	switch {
	case damage != nil:
		return nil, damage
	case !f.Reads():
		return nil, nil
	case f.JSON:
		// The pipeline's own parser keeps the text beside what it makes of it.
		if rec.Value == nil {
			return nil, nil
		}
		if !utf8.Valid(rec.Value) {
			return nil, errors.New("the value is not json: it is not UTF-8")
		}
		if _, err := m.AsStructured(); err != nil {
			return nil, fmt.Errorf("the value is not json: %w", err)
		}
		return nil, nil
	}
	got, err := f.Reader.Read(ctx, &format.Record{
		Topic: rec.Topic, Partition: rec.Partition, Offset: rec.Offset, Timestamp: rec.Timestamp.UnixMilli(),
		Key: rec.Key, Value: rec.Value,
	})
	if err != nil {
		return nil, err
	}
	switch content := got.Content.(type) {
	case []byte:
		m.SetBytes(content)
	case nil:
		if rec.Value != nil {
			m.SetStructured(nil)
		}
	default:
		m.SetStructuredMut(content)
	}
	for name, v := range got.Metadata {
		m.MetaSetMut(name, v)
	}
	if !got.KeySet {
		return nil, nil
	}
	return got.Key, nil
}

// cut ends a batch before its n-th record, which the lane gives out next.
func (s *source) cut(b *batch, r *reading, n int) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if b.stale() {
		s.landLocked(b)
		return errStopped
	}
	l := b.lane
	rest := &batch{lane: l, turn: l.turn, records: b.records[n:], damage: b.damage, tries: b.tries}
	rest.span = l.prefix.Split(b.span, checkpoint.Offset(b.records[n].Offset))
	l.again = append([]*batch{rest}, l.again...)
	b.records = b.records[:n:n]
	r.msgs, r.records, r.origins = r.msgs[:n], b.records, r.origins[:n]
	r.bytes = 0
	for _, rec := range b.records {
		r.bytes += len(rec.Key) + len(rec.Value)
	}
	return nil
}

// stopAt ends an attempt at a record that cannot be read: the stream goes back to a
// checkpoint that has everything before it, as often as checkpoint.restart allows.
func (s *source) stopAt(ctx context.Context, b *batch, cause error) {
	cause = fmt.Errorf("%w; on_bad_record can skip such records, mark them or write them elsewhere", cause)
	s.meters.badRecords(b.lane, 1)
	if s.agreed.Interval <= 0 {
		s.giveUp(b)
		s.handle.Fatal(cause)
		return
	}
	s.putBack(b)
	if err := s.handle.Checkpoint(ctx); err != nil && !errors.Is(err, context.Canceled) {
		s.log.Debugf("No checkpoint before the bad record: %v", err)
	}
	s.handle.Fail(cause)
}

// putBack returns a batch to the head of its lane. It is not to be given out before the
// rewind that is about to begin.
func (s *source) putBack(b *batch) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.landLocked(b) {
		b.due = time.Now().Add(redeliverAfterMax)
		b.lane.again = append([]*batch{b}, b.lane.again...)
	}
}

// badRecord is a record that cannot be read, and why.
type badRecord struct {
	origin *checkpoint.Origin
	record *kgo.Record
	err    error
}

func recordError(r *kgo.Record, err error) error {
	return checkpoint.RecordError(checkpoint.Partition{Topic: r.Topic, ID: r.Partition}, checkpoint.Offset(r.Offset), err)
}

// dispose counts the bad records of a batch, which is in the ledger, and writes them to the
// dead letter topic if there is one.
func (s *source) dispose(ctx context.Context, b *batch, r *reading) error {
	if b.tries == 0 {
		s.meters.badRecords(b.lane, len(r.bad))
		first := r.bad[0]
		s.report("bad records of "+b.lane.place().String(), fmt.Errorf("%d bad records: %s; the first: %w",
			len(r.bad), s.conf.OnBad.done(), recordError(first.record, first.err)))
	}
	if s.letters != nil {
		letters := make([]output.Letter, len(r.bad))
		for i, bad := range r.bad {
			letters[i] = output.Letter{Origin: bad.origin, Reason: bad.err}
		}
		if err := s.letters.Write(ctx, letters); err != nil {
			return err
		}
	}
	b.records = r.records
	return nil
}
