package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tidemarkhq/tidemark/checkpoint"
	"github.com/tidemarkhq/tidemark/internal/kafka"
	"github.com/tidemarkhq/tidemark/internal/savepoint"
)

// TopicImporter makes checkpoints of a job in a topic out of a savepoint.
type TopicImporter struct{ Place TopicPlace }

var _ savepoint.Importer = TopicImporter{}

// Import implements savepoint.Importer. Everything is written in one transaction, which
// begins by claiming the partitions and ends by giving them up: a job that is started
// meanwhile waits for its end and finds all of it, or fences it, and there is nothing of it.
// The topic is made if it is not there.
func (i TopicImporter) Import(ctx context.Context, s savepoint.Snapshot) error {
	if err := i.importing(ctx, s); err != nil {
		return fmt.Errorf("importing into topic %q: %w", i.Place.Topic, err)
	}
	return nil
}

func (i TopicImporter) importing(ctx context.Context, s savepoint.Snapshot) (err error) {
	m := s.Manifest()
	switch share := s.Origin().Share; {
	case m.ID <= 0 || m.Job == "":
		return fmt.Errorf("%w: checkpoint %d of job %q", checkpoint.ErrCorrupt, m.ID, m.Job)
	case share.Shard.Count > 1:
		return fmt.Errorf("%w: a topic is for all partitions of a job, not for %s", savepoint.ErrMismatch, share)
	}
	place := i.Place
	place.Job = m.Job
	client, err := place.dial(ctx)
	if err != nil {
		return err
	}
	count, err := EnsureTopic(ctx, client, place.Topic, place.Spec)
	if err != nil {
		client.Close()
		return err
	}
	desk, err := place.open(client, count)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, desk.close()) }()
	in := &topicImport{topicDesk: desk, m: m, s: s}
	return in.run(ctx)
}

// topicImport is one import.
type topicImport struct {
	*topicDesk
	m  *checkpoint.Manifest
	s  savepoint.Snapshot
	w  *kafka.Transactions
	id string
	// claimed are the scopes that are imported, with their positions where they have one.
	claimed map[checkpoint.Scope]*checkpoint.Position
	// bytes is how much state there is.
	bytes int64
}

func (in *topicImport) run(ctx context.Context) error {
	if err := in.list(ctx); err != nil {
		return err
	}
	var err error
	// From here on no other import of the job writes anything.
	if in.w, in.id, err = in.writer(ctx, in.bytes); err != nil {
		return err
	}
	defer in.w.Close()
	if err := in.empty(ctx); err != nil {
		return err
	}
	err = inTransaction(ctx, in.w, func(write func([]*kgo.Record) error) error {
		if err := in.hold(ctx, in.id, in.claimed, write); err != nil {
			return err
		}
		return in.fill(ctx, write)
	})
	if !errors.Is(err, checkpoint.ErrInDoubt) {
		return err
	}
	// It is over by now, one way or the other.
	all, looked := in.restore(ctx)
	if m := manifest(in.m.Job, all); looked == nil && m != nil && m.ID >= in.m.ID {
		return nil
	}
	return errors.Join(err, looked)
}

// list finds out which scopes there are, and how much state.
func (in *topicImport) list(ctx context.Context) error {
	// What holds everywhere is nobody's, but whoever reads it has to wait, too.
	in.claimed = map[checkpoint.Scope]*checkpoint.Position{checkpoint.Everywhere: nil}
	for p, at := range in.m.Positions {
		in.claimed[p] = &at
	}
	return in.s.Each(ctx, func(e savepoint.Entry) error {
		in.bytes += int64(len(e.Key) + len(e.Value))
		if _, known := in.claimed[e.Scope]; !known {
			in.claimed[e.Scope] = nil
		}
		return nil
	})
}

// empty returns an error if there is anything of the job.
func (in *topicImport) empty(ctx context.Context) error {
	all, err := in.restore(ctx)
	if err != nil {
		return err
	}
	for s, h := range all {
		return fmt.Errorf("%w: it has job %q (%s, of %q): name another job or topic, or delete what is there (checkpoint delete --all)",
			savepoint.ErrNotEmpty, in.m.Job, s, h.holder().ID)
	}
	_, err = in.topic.Restore(ctx, slices.Collect(maps.Keys(in.claimed)))
	return err
}

// portion is how much state is prepared at a time, in bytes, at least.
const portion = 4 << 20

// fill writes all state, then the positions, which make a checkpoint of it.
func (in *topicImport) fill(ctx context.Context, write func([]*kgo.Record) error) error {
	var changes []checkpoint.Change
	size := 0
	prepare := func(m checkpoint.Manifest) error {
		w, err := in.topic.Checkpoint(&m, changes, in.id)
		if err != nil {
			return err
		}
		changes, size = nil, 0
		return write(w.Records)
	}
	state := *in.m
	state.Positions = nil
	err := in.s.Each(ctx, func(e savepoint.Entry) error {
		// An empty value is not a deletion.
		value := append(make([]byte, 0, len(e.Value)), e.Value...)
		changes = append(changes, checkpoint.Change{Operator: e.Operator, Scope: e.Scope, Key: bytes.Clone(e.Key), Value: value})
		if size += len(e.Key) + len(e.Value); size < portion {
			return nil
		}
		return prepare(state)
	})
	if err == nil {
		err = prepare(*in.m)
	}
	if err != nil {
		return err
	}
	return write(in.topic.Release(in.id, slices.Collect(maps.Keys(in.claimed))...))
}
