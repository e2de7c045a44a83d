package engine

import (
	"context"
	"fmt"
	"slices"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tidemarkhq/tidemark/checkpoint"
)

// along makes the next transaction take records along.
func (k *keeper) along(records []*kgo.Record, gone []checkpoint.Scope) *extra {
	e := &extra{records: records, gone: gone}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.mu.extra = append(k.mu.extra, e)
	return e
}

// bind notes that a cut has come: what was to go along belongs to its checkpoint, or to the
// one that covers it. It returns the scopes that are given up with it.
func (k *keeper) bind() (gone []checkpoint.Scope) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, e := range k.mu.extra {
		if !e.cut {
			e.cut = true
			gone = append(gone, e.gone...)
		}
	}
	return gone
}

func (k *keeper) done(e *extra) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return e.written
}

// commit writes a checkpoint into the transaction, and whatever is to go along, and calls
// end to end it. It returns the number of bytes.
func (k *keeper) commit(ctx context.Context, m *checkpoint.Manifest, changes []checkpoint.Change, end func() error) (int64, error) {
	own := *m
	var err error
	if own.Positions, err = k.owned(m.Positions); err != nil {
		return 0, err
	}
	w, err := k.topic.Checkpoint(&own, changes, k.t.id)
	if err != nil {
		return 0, err
	}
	records := slices.Clone(w.Records)
	extras := k.bound()
	for _, e := range extras {
		records = append(records, e.records...)
	}
	k.begin(own.Positions)
	if err = k.write(ctx, records); err != nil {
		err = fmt.Errorf("writing the checkpoint store: %w", err)
	} else {
		err = end()
	}
	k.end(own.Positions, extras, err)
	if err != nil {
		return 0, err
	}
	if err := k.topic.Applied(w); err != nil {
		return 0, err
	}
	k.last = &own
	return w.Bytes, nil
}

// bound returns what goes along with the checkpoint that is being committed.
func (k *keeper) bound() (extras []*extra) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, e := range k.mu.extra {
		if e.cut {
			extras = append(extras, e)
		}
	}
	return extras
}

// write hands records to the client and waits for the brokers.
func (k *keeper) write(ctx context.Context, records []*kgo.Record) error {
	if len(records) == 0 {
		return nil
	}
	k.t.Writing()
	// The client may hold on to records for as long as the brokers are away.
	delivered := make(chan error, 1)
	go func() { delivered <- k.t.writer.Client().ProduceSync(ctx, records...).FirstErr() }()
	select {
	case err := <-delivered:
		if err != nil {
			return err
		}
		k.t.Delivered(len(records))
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// doom keeps the transaction from being committed: see lose.
func (k *keeper) doom(cause error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.mu.doomed = cause
}

// owned leaves out partitions that are not the process's own. It is an error if the
// transaction may hold records of one that was: whoever has it now writes them too, unless
// they are committed together with its position. What is lost after this is committed with
// it, or not at all, if somebody else has claimed it before.
func (k *keeper) owned(ps checkpoint.Positions) (checkpoint.Positions, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.mu.doomed != nil {
		return nil, fmt.Errorf("the transaction holds records of partitions that are gone: %w", k.mu.doomed)
	}
	own := checkpoint.Positions{}
	for s, pos := range ps {
		if o := k.mu.owners[s]; o != nil && o.Owning() {
			own[s] = pos
		}
	}
	return own, nil
}

// begin tells owners of a checkpoint, end how it ended.
func (k *keeper) begin(ps checkpoint.Positions) {
	k.mu.Lock()
	defer k.mu.Unlock()
	clear(k.mu.steps)
	for s, pos := range ps {
		o := k.mu.owners[s]
		if o == nil {
			continue // It was lost a moment ago.
		}
		for _, a := range o.Checkpoint(pos) {
			k.mu.steps[s] = a.Step
		}
	}
}

func (k *keeper) end(ps checkpoint.Positions, extras []*extra, err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	how := checkpoint.EndedCommitted
	if err != nil {
		how = checkpoint.EndedUnknown
	} else {
		for _, e := range extras {
			e.written = true
		}
		k.mu.extra = slices.DeleteFunc(k.mu.extra, func(e *extra) bool { return e.written })
	}
	for s := range ps {
		if o := k.mu.owners[s]; o != nil {
			o.Ended(k.mu.steps[s], how) // What to do about an unknown end is a rewind's business.
		}
	}
}
