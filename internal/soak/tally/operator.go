package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"

	"github.com/redpanda-data/benthos/v4/public/service"

	"github.com/tidemarkhq/tidemark"
	"github.com/tidemarkhq/tidemark/checkpoint"
	"github.com/tidemarkhq/tidemark/internal/soak"
)

// operator counts and adds up. What it holds in memory goes into its state when a
// checkpoint freezes it, and not before.
type operator struct {
	handle checkpoint.OperatorHandle
	trace  *trace
	life   int

	mu      sync.Mutex
	tallies map[checkpoint.Partition]*soak.Tally
}

func operatorSpec() *service.ConfigSpec {
	return service.NewConfigSpec().
		Summary("Counts records and adds their amounts up, by partition.").
		Field(service.NewStringField("trace").Description("The file for events.")).
		Field(service.NewIntField("life").Description("The number of this process, which messages carry in the metadata `attempt`."))
}

func newOperator(conf *service.ParsedConfig, res *service.Resources) (service.BatchProcessor, error) {
	path, err := conf.FieldString("trace")
	if err != nil {
		return nil, err
	}
	o := &operator{tallies: map[checkpoint.Partition]*soak.Tally{}}
	if o.life, err = conf.FieldInt("life"); err != nil {
		return nil, err
	}
	if o.trace, err = openTrace(path); err != nil {
		return nil, err
	}
	if o.handle, err = tidemark.Coordinator(res).JoinOperator(soak.TallyOperator, o); err != nil {
		return nil, fmt.Errorf("joining checkpoints: %w", err)
	}
	return o, nil
}

// ProcessBatch implements service.BatchProcessor.
func (o *operator) ProcessBatch(_ context.Context, batch service.MessageBatch) ([]service.MessageBatch, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, m := range batch {
		origin := checkpoint.OriginOf(m.Context())
		if origin == nil || origin.Entry == nil {
			return nil, errors.New("a message has no origin")
		}
		if origin.Entry.State() == checkpoint.Discarded {
			continue // Its attempt is over: what it would change is dropped anyway.
		}
		if err := o.count(m, origin); err != nil {
			return nil, err
		}
		m.MetaSetMut("attempt", strconv.Itoa(o.life)+"."+strconv.Itoa(origin.Entry.Attempt))
	}
	return []service.MessageBatch{batch}, nil
}

func (o *operator) count(m *service.Message, origin *checkpoint.Origin) error {
	value, err := m.AsBytes()
	if err != nil {
		return err
	}
	p, n, err := soak.ParseValue(value)
	if err != nil {
		return err
	}
	t, known := o.tallies[origin.Entry.Partition]
	if !known {
		if t, err = o.load(origin.Entry.Partition); err != nil {
			return err
		}
		o.tallies[origin.Entry.Partition] = t
		o.trace.add(soak.Event{Kind: soak.Loaded, Life: o.life, Attempt: origin.Entry.Attempt, Partition: p, Number: n, Tally: *t})
	}
	if t.Count != n {
		o.trace.add(soak.Event{Kind: soak.Mismatch, Life: o.life, Attempt: origin.Entry.Attempt, Partition: p, Number: n, Tally: *t})
	}
	t.Add(p, n)
	return nil
}

func (o *operator) load(p checkpoint.Partition) (*soak.Tally, error) {
	stored, err := o.handle.State().Get(p, []byte(soak.TallyKey))
	if err != nil {
		return nil, fmt.Errorf("reading state: %w", err)
	}
	t := &soak.Tally{}
	return t, t.Decode(stored)
}

// Close implements service.BatchProcessor.
func (o *operator) Close(context.Context) error { return nil }

// Freeze implements checkpoint.Operator.
func (o *operator) Freeze(checkpoint.ID) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	for p, t := range o.tallies {
		if err := o.handle.State().Put(p, []byte(soak.TallyKey), t.Encode()); err != nil {
			return fmt.Errorf("writing state: %w", err)
		}
	}
	return nil
}

// Restore implements checkpoint.Operator.
func (o *operator) Restore(context.Context) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	clear(o.tallies)
	o.trace.add(soak.Event{Kind: soak.Restored, Life: o.life})
	return nil
}
