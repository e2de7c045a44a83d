package checkpoint

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
)

// Origin rides in the context of every message that a source emits, and tells
// whoever meets the message which record it came from. It survives mappings,
// branches, archives and the like, because they keep the context.
//
// It is itself a context, so that the origins of a batch can be one slab:
//
//	origins := make([]checkpoint.Origin, n)
//	origins[i] = checkpoint.Origin{Context: parent, Entry: e, Offset: o}
//	msg := service.NewMessageWithContext(&origins[i], value)
type Origin struct {
	context.Context
	// Entry is the batch's place in the ledger.
	Entry *Entry
	// Offset of the record in Entry.Partition.
	Offset Offset
	// Headers tells that the source put the headers of Record into the message's
	// metadata: one that is not there any more was deleted by the pipeline.
	Headers bool
	// Record is the source's own record (for kafka_checkpointed a *kgo.Record),
	// so that a sink can keep what a message does not carry; nil if none.
	Record any

	// stage tells what is there of the event time, which is written once.
	stage       atomic.Uint32
	at, reached int64
}

// EventTime is where a message is in event time, for who comes after those who found out.
// The zero value says that it has no event time.
type EventTime struct {
	// At is the time in milliseconds since 1970 UTC, if Known.
	At    int64
	Known bool
	// Watermark is how far the partition has come, this message included.
	Watermark Watermark
}

// The stages of an origin's event time.
const (
	stageTaken = 1 << iota
	stageSet
	stageKnown
	stageWatermark
)

// SetEventTime says where the record is in event time, once and for good. It is false, and
// changes nothing, if that was said before: several messages may be of one record, each
// with a time of its own, and then need origins of their own. It may be called at once with
// itself and EventTime.
func (o *Origin) SetEventTime(t EventTime) bool {
	if !o.stage.CompareAndSwap(0, stageTaken) {
		return false
	}
	stage := uint32(stageTaken | stageSet)
	if t.Known {
		o.at, stage = t.At, stage|stageKnown
	}
	if t.Watermark.Known {
		o.reached, stage = t.Watermark.At, stage|stageWatermark
	}
	o.stage.Store(stage)
	return true
}

// EventTime returns what SetEventTime has said.
func (o *Origin) EventTime() EventTime {
	stage := o.stage.Load()
	if stage&stageSet == 0 {
		return EventTime{}
	}
	return EventTime{
		At: o.at, Known: stage&stageKnown != 0,
		Watermark: Watermark{At: o.reached, Known: stage&stageWatermark != 0},
	}
}

// Derived returns an origin of the same record in another context, for a message that has an
// event time of its own, or is in the ledger as something else. Nobody has said yet where it
// is in event time.
func (o *Origin) Derived(ctx context.Context, entry *Entry) *Origin {
	return &Origin{Context: ctx, Entry: entry, Offset: o.Offset, Headers: o.Headers, Record: o.Record}
}

type originKey struct{}

// Value implements context.Context.
func (o *Origin) Value(key any) any {
	if _, ok := key.(originKey); ok {
		return o
	}
	return o.Context.Value(key)
}

// OriginOf returns the origin in ctx, or nil.
func OriginOf(ctx context.Context) *Origin {
	if o, ok := ctx.(*Origin); ok {
		return o
	}
	o, _ := ctx.Value(originKey{}).(*Origin)
	return o
}

// PermanentError marks an error that no repetition heals: the record is too
// large, its topic does not exist, the broker refused it. A sink returns it for
// the message; a source that gets it back a second time for the same record
// knows that nothing in the pipeline routes it, and stops the stream.
type PermanentError struct{ Err error }

// Permanent marks err; nil stays nil.
func Permanent(err error) error {
	if err == nil {
		return nil
	}
	return &PermanentError{Err: err}
}

// IsPermanent tells whether err is marked.
func IsPermanent(err error) bool {
	var p *PermanentError
	return errors.As(err, &p)
}

// Error implements error.
func (e *PermanentError) Error() string { return e.Err.Error() }

// Unwrap returns the marked error.
func (e *PermanentError) Unwrap() error { return e.Err }

// FatalError is why a stream was stopped for good. It wraps ErrFatal.
type FatalError struct{ Err error }

// Fatal marks err as final; nil stays nil, and what is marked already too.
func Fatal(err error) error {
	if err == nil || errors.Is(err, ErrFatal) {
		return err
	}
	return &FatalError{Err: err}
}

// Error implements error.
func (e *FatalError) Error() string { return e.Err.Error() }

// Unwrap returns the cause.
func (e *FatalError) Unwrap() []error { return []error{ErrFatal, e.Err} }

// RecordError names the record that an error is about.
func RecordError(p Partition, o Offset, err error) error {
	return fmt.Errorf("topic %q partition %d offset %d: %w", p.Topic, p.ID, o, err)
}
