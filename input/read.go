package input

import (
	"context"
	"errors"
	"time"

	"github.com/redpanda-data/benthos/v4/public/service"
	"github.com/twmb/franz-go/pkg/kgo"
	"go.opentelemetry.io/otel/trace"

	public "github.com/tidemarkhq/tidemark/format"

	"github.com/tidemarkhq/tidemark/checkpoint"
)

// rootless is the context that messages come into the pipeline with. The engine
// opens a span for every message at every step, also where no tracer is set, and
// then remembers each in a new context, unless the one that it finds has a span
// context other than the zero value. This one has, and is as invalid as the zero
// value: a tracer begins a new trace, and propagators pass nothing on.
var rootless = trace.ContextWithSpanContext(context.Background(), trace.SpanContext{}.WithRemote(true))

// reading is a batch on its way out.
type reading struct {
	msgs service.MessageBatch
	// records are those that the messages are of, origins what they carry in their contexts.
	records []*kgo.Record
	origins []checkpoint.Origin
	// bad are the records that could not be read.
	bad   []badRecord
	bytes int
}

// send makes the messages of a batch and puts them into the ledger. It returns none where
// there are none to go out.
func (s *source) send(ctx context.Context, b *batch) (service.MessageBatch, service.AckFunc, error) {
	r, err := s.read(ctx, b)
	if errors.Is(err, errStopped) {
		return nil, nil, nil
	}
	if err != nil {
		s.giveUp(b)
		return nil, nil, err
	}
	entry, err := s.handle.Enter(ctx, b.lane.id())
	if err != nil {
		s.giveUp(b)
		return nil, nil, err
	}
	if !s.emit(b, entry) {
		s.giveUp(b)
		s.handle.Leave(entry, nil)
		return nil, nil, nil
	}
	for i := range r.origins {
		r.origins[i].Entry = entry
	}
	if b.tries == 0 {
		s.meters.read(b.lane, len(b.records), r.bytes, b.records[len(b.records)-1].Offset)
	}
	ack := s.offer(b, entry)
	if len(r.bad) > 0 {
		if err := s.dispose(ctx, b, r); err != nil {
			if ctx.Err() != nil {
				s.offered.takeBack()
				return nil, nil, ctx.Err()
			}
			return nil, nil, ack(ctx, err)
		}
	}
	if len(r.msgs) == 0 {
		return nil, nil, ack(ctx, nil)
	}
	return r.msgs, ack, nil
}

// errStopped says that a batch does not go out, and that whoever has to know does.
var errStopped = errors.New("stopped at a bad record")

// unavailableAfter is how long a batch waits whose format depends on something that cannot be
// reached.
const unavailableAfter = time.Second

// read makes the messages of a batch, and waits while its format cannot.
func (s *source) read(ctx context.Context, b *batch) (*reading, error) {
	for {
		r, err := s.messages(ctx, b)
		if err == nil || !public.IsUnavailable(err) {
			return r, err
		}
		s.report("reading "+b.lane.place().String(), err)
		for due := time.Now().Add(unavailableAfter); time.Now().Before(due); {
			if err := s.wait(ctx, due); err != nil {
				return nil, err
			}
			if s.overtaken(b) {
				s.giveUp(b)
				return nil, errStopped
			}
		}
	}
}

// overtaken tells that a batch cannot go out any more.
func (s *source) overtaken(b *batch) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return b.stale() || b.lane.phase != flowing
}

// messages makes the messages of a batch. Their contexts are one slab, and values
// that repeat in a batch are boxed once.
func (s *source) messages(ctx context.Context, b *batch) (*reading, error) {
	r := &reading{
		records: b.records, origins: make([]checkpoint.Origin, len(b.records)), msgs: make(service.MessageBatch, len(b.records)),
	}
	for i, rec := range b.records {
		r.origins[i] = checkpoint.Origin{
			Context: rootless, Offset: checkpoint.Offset(rec.Offset), Record: rec, Headers: s.conf.Metadata.headers,
		}
		r.msgs[i] = service.NewMessageWithContext(&r.origins[i], rec.Value)
		r.bytes += len(rec.Key) + len(rec.Value)
	}
	var keys []any
	if s.conf.Format.Reads() || b.damage != nil {
		var err error
		if keys, err = s.decode(ctx, b, r); err != nil || len(r.msgs) == 0 {
			return r, err
		}
	}
	s.conf.Metadata.set(r.msgs, r.records)
	if s.conf.MultiHeader && s.conf.Metadata.headers {
		setMultiHeaders(r.msgs, r.records)
	}
	if keys != nil && s.conf.Metadata.key {
		for i, key := range keys {
			if key != nil {
				r.msgs[i].MetaSetMut(metaKey, key)
			}
		}
	}
	return r, nil
}
