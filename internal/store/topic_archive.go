package store

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tidemarkhq/tidemark/checkpoint"
	"github.com/tidemarkhq/tidemark/internal/kafka"
	"github.com/tidemarkhq/tidemark/internal/savepoint"
)

// TopicArchive is what a topic holds of a job, as of one moment. It can be opened while the
// job runs.
//
// Position and state of a partition are always of one checkpoint. The partitions of one
// process are as well, those of several processes each of the last one of theirs, as the
// partitions of a job that is killed at that moment would be.
type TopicArchive struct {
	desk *topicDesk
	all  map[checkpoint.Scope]History
	last *checkpoint.Manifest
}

var _ savepoint.Archive = (*TopicArchive)(nil)

// OpenTopicArchive reads a job: it returns savepoint.ErrNoStore if there is no such topic, or
// no such job in it.
func OpenTopicArchive(ctx context.Context, p TopicPlace) (*TopicArchive, error) {
	a, err := p.openArchive(ctx)
	if err != nil {
		return nil, fmt.Errorf("opening the checkpoint store: %w", err)
	}
	return a, nil
}

func (p TopicPlace) openArchive(ctx context.Context) (*TopicArchive, error) {
	client, err := p.dial(ctx)
	if err != nil {
		return nil, err
	}
	count, err := countPartitions(ctx, client, p.Topic)
	if errors.Is(err, kerr.UnknownTopicOrPartition) {
		err = fmt.Errorf("%w: there is no topic %q", savepoint.ErrNoStore, p.Topic)
	}
	if err == nil {
		err = p.find(ctx, client)
	}
	if err != nil {
		client.Close()
		return nil, err
	}
	desk, err := p.open(client, count)
	if err != nil {
		return nil, err
	}
	a := &TopicArchive{desk: desk}
	if a.all, err = desk.restore(ctx); err != nil {
		return nil, errors.Join(err, desk.close())
	}
	if len(a.all) == 0 {
		return nil, errors.Join(fmt.Errorf("%w of job %q in topic %q", savepoint.ErrNoStore, p.Job, p.Topic), desk.close())
	}
	a.last = manifest(p.Job, a.all)
	return a, nil
}

// manifest puts the checkpoints of scopes together, nil if there is none. Its number is the
// highest of theirs.
func manifest(job string, all map[checkpoint.Scope]History) *checkpoint.Manifest {
	m := &checkpoint.Manifest{Job: job, Positions: checkpoint.Positions{}, Final: true}
	for s, h := range all {
		if l := h.Last; l != nil {
			m.ID, m.Kind = max(m.ID, l.Checkpoint), max(m.Kind, l.Cut)
			if l.Taken.After(m.Taken) {
				m.Taken = l.Taken
			}
		}
		if s == (checkpoint.Scope{}) || s == checkpoint.Everywhere {
			continue
		}
		m.Final = m.Final && h.Last != nil && h.Last.Final
		if at, ok := h.position(); ok {
			m.Positions[s] = at
		}
	}
	if m.ID == 0 {
		return nil
	}
	return m
}

// position is where a partition goes on: where nobody has taken a checkpoint of it yet, the
// first claim says what its beginning was resolved to.
func (h History) position() (checkpoint.Position, bool) {
	if h.Last != nil && h.Last.Position != nil {
		return *h.Last.Position, true
	}
	for _, e := range h.Events {
		if e.Kind == Claimed && e.Position != nil && h.Last == nil {
			return *e.Position, true
		}
	}
	return checkpoint.Position{}, false
}

// holder says who had a scope last, and whether that is over.
func (h History) holder() (o savepoint.Holder) {
	if l := h.Last; l != nil {
		o = savepoint.Holder{ID: l.ID, Checkpoint: l.Checkpoint, Free: l.Final}
	}
	for _, e := range h.Events { // in the order of the log
		switch e.Kind {
		case Claimed:
			l := h.Last
			o.ID, o.Free = e.ID, l != nil && l.ID == e.ID && l.Final && l.Offset > e.Offset
		case Released:
			o.Free = o.Free || e.ID == o.ID || o.ID == ""
		}
	}
	return o
}

// Job implements savepoint.Archive.
func (a *TopicArchive) Job() string { return a.desk.topic.conf.Job }

// Origin implements savepoint.Archive.
func (a *TopicArchive) Origin() savepoint.Origin { return a.desk.topic.origin() }

// List implements savepoint.Archive: a topic keeps one checkpoint.
func (a *TopicArchive) List(context.Context) ([]checkpoint.Manifest, error) {
	if a.last == nil {
		return nil, nil
	}
	return []checkpoint.Manifest{*cloneManifest(a.last)}, nil
}

// Snapshot implements savepoint.Archive.
func (a *TopicArchive) Snapshot(_ context.Context, id checkpoint.ID) (savepoint.Snapshot, error) {
	switch {
	case a.last == nil:
		return nil, fmt.Errorf("%w of job %q in topic %q yet", checkpoint.ErrNoCheckpoint, a.Job(), a.desk.place.Topic)
	case id != 0 && id != a.last.ID:
		return nil, fmt.Errorf("%w: %d; a topic keeps the last one only: %d", savepoint.ErrUnknownID, id, a.last.ID)
	}
	s, err := a.desk.topic.snapshot(a.last, a.Origin(), slices.Collect(maps.Keys(a.all)))
	if err != nil {
		return nil, err
	}
	return &heldSnapshot{s, a.all}, nil
}

// heldSnapshot knows who has the partitions.
type heldSnapshot struct {
	savepoint.Snapshot
	all map[checkpoint.Scope]History
}

var _ savepoint.Held = (*heldSnapshot)(nil)

// Holders implements savepoint.Held.
func (h *heldSnapshot) Holders() map[checkpoint.Partition]savepoint.Holder {
	holders := make(map[checkpoint.Partition]savepoint.Holder, len(h.all))
	for s, of := range h.all {
		holders[s] = of.holder()
	}
	return holders
}

// Delete implements savepoint.Archive: there is no earlier checkpoint.
func (a *TopicArchive) Delete(_ context.Context, id checkpoint.ID) error {
	if a.last != nil && a.last.ID == id {
		return fmt.Errorf("checkpoint %d is the last one, which the job goes on from: it can only be deleted with everything of the job (--all)", id)
	}
	return fmt.Errorf("%w: %d; a topic keeps the last one only", savepoint.ErrUnknownID, id)
}

// DeleteAll implements savepoint.Archive. Everything of the job goes in one transaction,
// claims included. If a partition was not given up in good order it is savepoint.ErrHeld,
// unless TopicPlace.Force: then the transactional ids in question are fenced first.
func (a *TopicArchive) DeleteAll(ctx context.Context) error {
	held := a.holding()
	if len(held) > 0 && !a.desk.place.Force {
		return fmt.Errorf("%w: its partitions were not given up by %s: stop the job; if it has died, start and stop it, or force the deletion (--force)",
			savepoint.ErrHeld, strings.Join(a.describe(ctx, held), ", "))
	}
	sum, err := a.measure(ctx)
	if err != nil {
		return err
	}
	w, id, err := a.desk.writer(ctx, sum.Bytes())
	if err != nil {
		return err
	}
	defer w.Close()
	for _, other := range held {
		if err := kafka.Fence(ctx, a.desk.client, other); err != nil {
			return err
		}
	}
	claimed := map[checkpoint.Scope]*checkpoint.Position{}
	for s := range a.all {
		claimed[s] = nil
	}
	err = inTransaction(ctx, w, func(write func([]*kgo.Record) error) error {
		if err := a.desk.hold(ctx, id, claimed, write); err != nil {
			return err
		}
		return a.desk.topic.Erase(ctx, write)
	})
	if err != nil {
		return fmt.Errorf("deleting job %q: %w", a.Job(), err)
	}
	left, err := a.desk.restore(ctx)
	if err == nil && len(left) > 0 {
		err = fmt.Errorf("%w: it has written to %d partitions again: stop it, and delete once more", savepoint.ErrHeld, len(left))
	}
	return err
}

// measure says how much the job has.
func (a *TopicArchive) measure(ctx context.Context) (savepoint.Summary, error) {
	if a.last == nil {
		return savepoint.Summary{}, nil
	}
	s, err := a.Snapshot(ctx, 0)
	if err != nil {
		return savepoint.Summary{}, err
	}
	sum, err := savepoint.Measure(ctx, s)
	return sum, errors.Join(err, s.Close())
}

// holding lists the transactional ids that may be at work.
func (a *TopicArchive) holding() (ids []string) {
	for s, h := range a.all {
		// What is no partition's goes along with those that are.
		if o := h.holder(); s.Topic != "" && s != checkpoint.Everywhere && !o.Free && !slices.Contains(ids, o.ID) {
			ids = append(ids, o.ID)
		}
	}
	slices.Sort(ids)
	return ids
}

// describe says of transactional ids what brokers know.
func (a *TopicArchive) describe(ctx context.Context, ids []string) []string {
	// Older brokers, or missing rights, keep that from us: then the ids have to do.
	known, _ := kadm.NewClient(a.desk.client).DescribeTransactions(ctx, ids...)
	texts := make([]string, len(ids))
	for i, id := range ids {
		texts[i] = fmt.Sprintf("%q", id)
		if known[id].State == "Ongoing" {
			texts[i] += " (which has a transaction open)"
		}
	}
	return texts
}

// Close implements savepoint.Archive.
func (a *TopicArchive) Close() error { return a.desk.close() }
