package store

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tidemarkhq/tidemark/checkpoint"
	"github.com/tidemarkhq/tidemark/internal/kafka"
)

// allHomes returns the partitions in which scopes can be.
func (t *Topic) allHomes() []*home {
	first := min(int32(1), int32(t.conf.Partitions)-1)
	var homes []*home
	for id := first; id < int32(t.conf.Partitions); id++ {
		homes = append(homes, t.home(id))
	}
	return homes
}

// learned returns what was read of the job so far.
func (t *Topic) learned() map[checkpoint.Scope]History {
	all := map[checkpoint.Scope]History{}
	for _, h := range t.allHomes() {
		h.mu.Lock()
		for _, n := range h.scopes {
			// What was retired is gone.
			if found := n.history(); found.Last != nil || slices.ContainsFunc(found.Events, func(e Event) bool { return e.Kind != Retired }) {
				all[n.scope] = found
			}
		}
		h.mu.Unlock()
	}
	return all
}

// restoreAll brings in everything that is committed of the job. Nothing of it is there in
// part: it ends when all that is in the topic was read and decided upon by the time that the
// topic was asked for its end. A transaction of which a record was read was committed before
// that, and so were all of its records, which were read then, too.
//
// A job that writes without a pause keeps it from that until ctx is over.
func (t *Topic) restoreAll(ctx context.Context) (map[checkpoint.Scope]History, error) {
	homes := t.allHomes()
	for {
		found := slices.Collect(maps.Keys(t.learned()))
		if _, err := t.restore(ctx, found, homes, true); err != nil {
			return nil, err
		}
		all := t.learned()
		complete, err := t.atEnd(ctx, homes)
		for s := range all {
			complete = complete && slices.Contains(found, s)
		}
		if err != nil || complete {
			return all, err
		}
	}
}

// atEnd tells that nothing is in homes that was not read.
func (t *Topic) atEnd(ctx context.Context, homes []*home) (bool, error) {
	var parts []kafka.Partition
	for _, h := range homes {
		parts = append(parts, t.partition(h.id))
	}
	ranges, err := kafka.Ranges(ctx, t.client, parts, kafka.ReadUncommitted)
	if err != nil {
		return false, err
	}
	for _, h := range homes {
		if read, _ := h.progress(); read < ranges[t.partition(h.id)].End {
			return false, nil
		}
	}
	return true, nil
}

// Erase calls fn with the tombstones of everything that the job has in the topic, some at a
// time; a key may come more than once. The job must not run. What is known here of the job
// is right again only in a Topic that is opened after that.
func (t *Topic) Erase(ctx context.Context, fn func([]*kgo.Record) error) error {
	homes := t.allHomes()
	if homes[0].id != 0 {
		// The job's own record goes last: as long as there is something, it is known.
		homes = append(homes, t.home(0))
	}
	for _, h := range homes {
		ranges, err := kafka.Ranges(ctx, t.client, []kafka.Partition{t.partition(h.id)}, kafka.ReadUncommitted)
		if err == nil {
			err = t.erase(ctx, h, ranges[t.partition(h.id)], fn)
		}
		if err != nil {
			return fmt.Errorf("erasing job %q: %w", t.conf.Job, err)
		}
	}
	return nil
}

// eraseGroup is how many tombstones are handed out at a time, at least.
const eraseGroup = 1000

func (t *Topic) erase(ctx context.Context, h *home, in kafka.Range, fn func([]*kgo.Record) error) error {
	var group []*kgo.Record
	err := t.scan(ctx, h.id, in, func(r *kgo.Record) error {
		if _, _, mine := ours(r.Key, t.prefix); !mine || r.Value == nil {
			return nil
		}
		group = append(group, t.unset(h.id, r.Key))
		if len(group) < eraseGroup {
			return nil
		}
		err := fn(group)
		group = nil
		return err
	})
	if err != nil || len(group) == 0 {
		return err
	}
	return fn(group)
}
