package main

import (
	"context"
	"fmt"
	"sync"

	"github.com/redpanda-data/benthos/v4/public/service"

	"github.com/tidemarkhq/tidemark"
	"github.com/tidemarkhq/tidemark/checkpoint"
	"github.com/tidemarkhq/tidemark/internal/soak"
)

// sink acknowledges at once, and delivers to its trace when it is flushed.
type sink struct {
	handle checkpoint.SinkHandle
	trace  *trace
	life   int
	every  int

	mu struct {
		sync.Mutex
		discarding bool
		// discards counts the rewinds that have begun.
		discards int
		flushes  int
		current  []soak.Event
		// closed holds what belongs to checkpoints that were not flushed yet.
		closed []soak.Event
	}
}

func sinkSpec() *service.ConfigSpec {
	return service.NewConfigSpec().
		Summary("Delivers to a trace, and fails every n-th flush.").
		Field(service.NewStringField("trace").Description("The file for events.")).
		Field(service.NewIntField("life").Description("The number of this process.")).
		Field(service.NewIntField("fail_every").Description("Which flush fails, counted from the start of the process; 0 = none."))
}

func newSink(conf *service.ParsedConfig, res *service.Resources) (service.BatchOutput, service.BatchPolicy, int, error) {
	s := &sink{}
	fail := func(err error) (service.BatchOutput, service.BatchPolicy, int, error) {
		return nil, service.BatchPolicy{}, 0, err
	}
	path, err := conf.FieldString("trace")
	if err != nil {
		return fail(err)
	}
	if s.life, err = conf.FieldInt("life"); err != nil {
		return fail(err)
	}
	if s.every, err = conf.FieldInt("fail_every"); err != nil {
		return fail(err)
	}
	if s.trace, err = openTrace(path); err != nil {
		return fail(err)
	}
	if s.handle, err = tidemark.Coordinator(res).JoinSink("tally_sink", s); err != nil {
		return fail(fmt.Errorf("joining checkpoints: %w", err))
	}
	return s, service.BatchPolicy{}, 1, nil
}

// Connect implements service.BatchOutput.
func (s *sink) Connect(context.Context) error { return nil }

// WriteBatch implements service.BatchOutput.
func (s *sink) WriteBatch(_ context.Context, batch service.MessageBatch) error {
	if err := s.handle.Failed(); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.mu.discarding {
		return nil
	}
	for _, m := range batch {
		value, err := m.AsBytes()
		if err != nil {
			return err
		}
		p, n, err := soak.ParseValue(value)
		if err != nil {
			return err
		}
		entry := checkpoint.OriginOf(m.Context()).Entry
		if entry.State() != checkpoint.Live {
			// Abandoned a moment ago, Discard is about to come; or long ago.
			if entry.Attempt < s.mu.discards {
				s.trace.add(soak.Event{Kind: soak.Abandoned, Life: s.life, Attempt: entry.Attempt, Partition: p, Number: n})
			}
			continue
		}
		s.keep(soak.Event{Kind: soak.Wrote, Life: s.life, Attempt: entry.Attempt, Partition: p, Number: n, To: n})
	}
	return nil
}

// keep adds a record to the current epoch, as part of a run where it is one.
func (s *sink) keep(e soak.Event) {
	if k := len(s.mu.current) - 1; k >= 0 {
		last := &s.mu.current[k]
		if last.Partition == e.Partition && last.Attempt == e.Attempt && last.To+1 == e.Number {
			last.To = e.Number
			return
		}
	}
	s.mu.current = append(s.mu.current, e)
}

// Close implements service.BatchOutput.
func (s *sink) Close(context.Context) error {
	s.handle.Leave()
	return nil
}

// Rotate implements checkpoint.Sink.
func (s *sink) Rotate(checkpoint.ID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mu.closed = append(s.mu.closed, s.mu.current...)
	s.mu.current = nil
}

// Flush implements checkpoint.Sink.
func (s *sink) Flush(context.Context, checkpoint.ID) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mu.flushes++
	if s.every > 0 && s.mu.flushes%s.every == 0 {
		return fmt.Errorf("flush %d fails, as the harness wants it", s.mu.flushes)
	}
	for _, e := range s.mu.closed {
		s.trace.add(e)
	}
	s.mu.closed = nil
	return nil
}

// Discard implements checkpoint.Sink.
func (s *sink) Discard() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mu.discarding = true
	s.mu.discards++
	s.mu.current, s.mu.closed = nil, nil
	s.trace.add(soak.Event{Kind: soak.Discarded, Life: s.life})
}

// Abort implements checkpoint.Sink: what was not flushed is in memory only.
func (s *sink) Abort(context.Context) error { return nil }

// Accept implements checkpoint.Sink.
func (s *sink) Accept() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mu.discarding = false
	s.trace.add(soak.Event{Kind: soak.Accepted, Life: s.life})
}
