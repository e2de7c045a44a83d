package engine

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tidemarkhq/tidemark/checkpoint"
	"github.com/tidemarkhq/tidemark/internal/store"
)

// takeover does what the owners of some scopes ask for, until they ask for nothing more.
type takeover struct {
	k *keeper
	// rewinding tells that this is part of a rewind.
	rewinding bool
	// pending is what each waits for.
	pending map[checkpoint.Scope]checkpoint.OwnerAction
	// positions are where those go on that are owned now.
	positions checkpoint.Positions
	restored  checkpoint.Positions
	// last is the highest number of a checkpoint of theirs.
	last checkpoint.ID
	// dropped are those that are another process's.
	dropped []checkpoint.Scope
}

func newTakeover(k *keeper) *takeover {
	return &takeover{
		k: k, pending: map[checkpoint.Scope]checkpoint.OwnerAction{},
		positions: checkpoint.Positions{}, restored: checkpoint.Positions{},
	}
}

// add notes what an owner asks for. Of several actions at once the last one may wait.
func (d *takeover) add(s checkpoint.Scope, acts []checkpoint.OwnerAction) error {
	for _, a := range acts {
		switch a.Op {
		case checkpoint.Own:
			d.positions[s] = d.restored[s]
		case checkpoint.Drop, checkpoint.Rejoin:
			delete(d.positions, s)
			d.dropped = append(d.dropped, s)
		case checkpoint.Stop:
			return fmt.Errorf("%v: %w: two processes are configured to read it", s, a.Err)
		case checkpoint.Suspend, checkpoint.AbortTransaction:
			// The rewind that this is part of has done so.
		default:
			d.pending[s] = a
		}
	}
	return nil
}

// run performs actions, those of a kind together, in the order of their kinds: so all have
// claimed before any is read, and all are fenced before any is restored.
func (d *takeover) run(ctx context.Context) error {
	for len(d.pending) > 0 {
		op := slices.MinFunc(slices.Collect(maps.Values(d.pending)), func(a, b checkpoint.OwnerAction) int { return int(a.Op) - int(b.Op) }).Op
		batch := map[checkpoint.Scope]checkpoint.OwnerAction{}
		for s, a := range d.pending {
			if a.Op == op {
				batch[s] = a
				delete(d.pending, s)
			}
		}
		answer, err := d.perform(ctx, op, batch)
		if err != nil {
			return err
		}
		for s, a := range batch {
			if err := d.add(s, d.k.tell(s, func(o *checkpoint.Owner) []checkpoint.OwnerAction { return answer(s, o, a) })); err != nil {
				return err
			}
		}
	}
	return nil
}

// answered tells one owner how its action went.
type answered func(checkpoint.Scope, *checkpoint.Owner, checkpoint.OwnerAction) []checkpoint.OwnerAction

func (d *takeover) perform(
	ctx context.Context, op checkpoint.OwnerOp, batch map[checkpoint.Scope]checkpoint.OwnerAction,
) (answered, error) {
	scopes := slices.SortedFunc(maps.Keys(batch), checkpoint.Partition.Compare)
	switch op {
	case checkpoint.LookUncommitted:
		return d.look(ctx, scopes)
	case checkpoint.FenceIDs:
		return d.fence(ctx, batch)
	case checkpoint.FetchOffset:
		return d.fetch(ctx, scopes)
	case checkpoint.WriteClaim:
		return d.claim(ctx, batch)
	case checkpoint.ReadStore:
		return d.read(ctx, scopes)
	case checkpoint.RestoreFrom:
		return d.restore(ctx, scopes)
	case checkpoint.InitProducer:
		return d.initialise(ctx)
	case checkpoint.AskGroup:
		return func(s checkpoint.Scope, o *checkpoint.Owner, a checkpoint.OwnerAction) []checkpoint.OwnerAction {
			m := d.k.c.memberOf(s)
			return o.Asked(a.Step, m != nil && m.Owns(s))
		}, nil
	case checkpoint.BackOff:
		return d.backOff(ctx)
	}
	return nil, fmt.Errorf("nothing is known about %v", op)
}

func (d *takeover) look(ctx context.Context, scopes []checkpoint.Scope) (answered, error) {
	claimants, gone, err := d.k.claimants(ctx, scopes)
	if err != nil {
		return nil, err
	}
	return func(s checkpoint.Scope, o *checkpoint.Owner, a checkpoint.OwnerAction) []checkpoint.OwnerAction {
		var ids, members []string
		for _, c := range claimants[s] {
			ids = append(ids, c.ID)
			if !gone[c.ID] {
				members = append(members, c.ID)
			}
		}
		return o.Looked(a.Step, ids, members)
	}, nil
}

// claimants returns the transactional ids that name scopes, and which ids are gone.
func (k *keeper) claimants(ctx context.Context, scopes []checkpoint.Scope) (of map[checkpoint.Scope][]store.Claimant, gone map[string]bool, err error) {
	if of, err = k.topic.Look(ctx, scopes); err == nil {
		gone, err = k.gone(ctx, scopes)
	}
	return of, gone, err
}

// gone returns the transactional ids of those who had scopes before and have left their
// groups.
func (k *keeper) gone(ctx context.Context, scopes []checkpoint.Scope) (map[string]bool, error) {
	all := map[string]bool{}
	err := k.eachMember(scopes, func(m Member, ps []checkpoint.Partition) error {
		ids, err := m.Predecessors(ctx, ps)
		maps.Copy(all, ids)
		return err
	})
	return all, err
}

// eachMember calls fn for every member of a group that scopes are of, with those, until it
// fails.
func (k *keeper) eachMember(scopes []checkpoint.Scope, fn func(Member, []checkpoint.Partition) error) error {
	by := map[string][]checkpoint.Partition{}
	for _, s := range scopes {
		by[s.Source] = append(by[s.Source], s)
	}
	for _, ps := range by {
		if m := k.c.memberOf(ps[0]); m != nil {
			if err := fn(m, ps); err != nil {
				return err
			}
		}
	}
	return nil
}

func (d *takeover) fence(ctx context.Context, batch map[checkpoint.Scope]checkpoint.OwnerAction) (answered, error) {
	var ids []string
	for _, a := range batch {
		ids = append(ids, a.IDs...)
	}
	slices.Sort(ids)
	if err := d.k.fence(ctx, slices.Compact(ids)); err != nil {
		return nil, err
	}
	return func(_ checkpoint.Scope, o *checkpoint.Owner, a checkpoint.OwnerAction) []checkpoint.OwnerAction {
		return o.Fenced(a.Step)
	}, nil
}

// fetch waits for offsets that are about to be committed. Where a partition goes on is in
// the store.
func (d *takeover) fetch(ctx context.Context, scopes []checkpoint.Scope) (answered, error) {
	err := d.k.eachMember(scopes, func(m Member, ps []checkpoint.Partition) error { return m.Settle(ctx, ps) })
	if err != nil {
		return nil, err
	}
	return func(_ checkpoint.Scope, o *checkpoint.Owner, a checkpoint.OwnerAction) []checkpoint.OwnerAction {
		return o.Fetched(a.Step, checkpoint.Position{}, false)
	}, nil
}

// claim writes claims with the next checkpoint, and asks for that. In a rewind there is none;
// where the generation fences it would have to be in the transaction, but there nobody can
// have claimed what the process still owns.
func (d *takeover) claim(ctx context.Context, batch map[checkpoint.Scope]checkpoint.OwnerAction) (answered, error) {
	positions := map[checkpoint.Scope]*checkpoint.Position{}
	for s, a := range batch {
		if s == (checkpoint.Scope{}) {
			positions[s] = nil
			continue
		}
		positions[s] = &a.Position
	}
	records := d.k.topic.Claim(d.k.t.id, positions)
	at := map[checkpoint.Scope]*kgo.Record{}
	// The first one is the job's own.
	for i, s := range slices.SortedFunc(maps.Keys(batch), checkpoint.Partition.Compare) {
		at[s] = records[1+i]
		d.k.name(at[s], s)
	}
	write := func() error { return d.k.submit(ctx, records, nil) }
	if d.rewinding && !d.k.generation(batch) {
		write = func() error { return d.k.alone(ctx, records) }
	}
	if err := write(); err != nil {
		return nil, fmt.Errorf("claiming %d partitions: %w", len(batch), err)
	}
	return func(s checkpoint.Scope, o *checkpoint.Owner, a checkpoint.OwnerAction) []checkpoint.OwnerAction {
		return o.Claimed(a.Step, checkpoint.Offset(at[s].Offset), checkpoint.EndedCommitted)
	}, nil
}

// name says in a record about a scope who the process is in the scope's group, if it has one.
func (k *keeper) name(r *kgo.Record, s checkpoint.Scope) {
	if m := k.c.memberOf(s); m != nil {
		store.NameMember(r, m.Name())
	}
}

// generation tells whether the group's generation keeps others from any of some scopes.
func (k *keeper) generation(batch map[checkpoint.Scope]checkpoint.OwnerAction) bool {
	for s := range batch {
		if k.fencing(s) == checkpoint.FenceGeneration {
			return true
		}
	}
	return false
}

// blockedLook is how often it is looked who holds a read up.
const blockedLook = 2 * time.Second

func (d *takeover) read(ctx context.Context, scopes []checkpoint.Scope) (answered, error) {
	var histories map[checkpoint.Scope]store.History
	for {
		var err error
		if histories, err = d.k.readClaims(ctx, blockedLook, scopes); err == nil {
			break
		}
		if !isBlocked(err) || ctx.Err() != nil {
			return nil, err
		}
		d.k.observed(d.k.topic.Known(scopes))
		if err := d.k.unblock(ctx, scopes); err != nil {
			return nil, err
		}
	}
	d.k.observed(histories)
	return func(_ checkpoint.Scope, o *checkpoint.Owner, a checkpoint.OwnerAction) []checkpoint.OwnerAction {
		return o.Read(a.Step)
	}, nil
}

// observed tells owners of what has been read.
func (k *keeper) observed(found map[checkpoint.Scope]store.History) {
	for s, h := range found {
		k.tell(s, func(o *checkpoint.Owner) []checkpoint.OwnerAction {
			for _, e := range h.Events {
				observe(o, e)
			}
			return nil
		})
	}
}

// observe tells an owner of an event in the store.
func observe(o *checkpoint.Owner, e store.Event) {
	r := checkpoint.ClaimRecord{ID: e.ID, At: checkpoint.Offset(e.Offset)}
	switch e.Kind {
	case store.Claimed:
		r.Kind = checkpoint.Claimed
	case store.Checkpointed:
		r.Kind = checkpoint.Checkpointed
	case store.Released:
		r.Kind = checkpoint.Released
	default:
		return
	}
	if e.Position != nil {
		r.Position = *e.Position
	}
	o.Observe(r)
}

// unblock ends transactions that hold a read up and belong to those whom the scopes are
// being taken from. Those of neighbours end by themselves. So does what is open under our
// own id, unless brokers have refused it from us: what we had open then is ended by nobody
// else, and our id is taken back only when the claims have been read.
func (k *keeper) unblock(ctx context.Context, scopes []checkpoint.Scope) error {
	claimants, gone, err := k.claimants(ctx, scopes)
	if err != nil {
		return err
	}
	var ids []string
	if k.refused.Load() && !slices.ContainsFunc(scopes, k.overtaken) {
		ids = append(ids, k.t.id)
	}
	whole := slices.Contains(scopes, checkpoint.Scope{}) // then no other process has any
	for s, of := range claimants {
		if !whole && !slices.Contains(scopes, s) {
			continue
		}
		// Who is a member does not show if nobody commits offsets. But who has a scope does,
		// and whoever did not give it up is fenced anyway once the claims have been read.
		m := k.c.memberOf(s)
		ours := m == nil || m.Owns(s) && !m.InTransaction()
		for _, c := range of {
			// That somebody died giving it up shows in the group, and nowhere else.
			released := c.Released && (m != nil || !c.Unsettled)
			if c.ID != k.t.id && (gone[c.ID] || ours && !released) && !slices.Contains(ids, c.ID) {
				ids = append(ids, c.ID)
			}
		}
	}
	return k.fence(ctx, ids)
}

// overtaken tells that somebody has claimed a scope after this process, which may have the
// same id: then what is open under that is not ours to end.
func (k *keeper) overtaken(s checkpoint.Scope) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	o := k.mu.owners[s]
	return o != nil && o.Overtaken()
}

func (d *takeover) restore(ctx context.Context, scopes []checkpoint.Scope) (answered, error) {
	histories, err := d.k.topic.Restore(ctx, scopes)
	if err != nil {
		return nil, err
	}
	for _, h := range histories {
		if h.Last != nil {
			d.last = max(d.last, h.Last.Checkpoint)
		}
	}
	return func(s checkpoint.Scope, o *checkpoint.Owner, a checkpoint.OwnerAction) []checkpoint.OwnerAction {
		d.restored[s] = a.Position
		return o.Restored(a.Step)
	}, nil
}

// initialise takes the transactional id back. That concerns all partitions of the process.
func (d *takeover) initialise(ctx context.Context) (answered, error) {
	if err := d.k.t.renew(ctx); err != nil {
		return nil, err
	}
	for _, s := range d.k.scopes() {
		if err := d.add(s, d.k.tell(s, (*checkpoint.Owner).Initialised)); err != nil {
			return nil, err
		}
	}
	return func(checkpoint.Scope, *checkpoint.Owner, checkpoint.OwnerAction) []checkpoint.OwnerAction { return nil }, nil
}

// How long whoever was fenced waits before it looks whether that was a mistake: longer than
// whoever fenced it takes to try again.
const (
	fencedPause  = 3 * time.Second
	fencedJitter = 2 * time.Second
)

func fencedWait(ctx context.Context) error {
	select {
	case <-time.After(fencedPause + rand.N(fencedJitter)):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// takeBack takes the transactional id back, after a pause that is not the same for all: two
// processes that fence each other would keep each other from claiming for ever.
func (k *keeper) takeBack(ctx context.Context) error {
	if err := fencedWait(ctx); err != nil {
		return err
	}
	return k.t.renew(ctx)
}

func (d *takeover) backOff(ctx context.Context) (answered, error) {
	if err := fencedWait(ctx); err != nil {
		return nil, err
	}
	return func(_ checkpoint.Scope, o *checkpoint.Owner, a checkpoint.OwnerAction) []checkpoint.OwnerAction {
		return o.BackedOff(a.Step)
	}, nil
}
