package engine

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tidemarkhq/tidemark/checkpoint"
	"github.com/tidemarkhq/tidemark/internal/kafka"
	"github.com/tidemarkhq/tidemark/internal/savepoint"
	"github.com/tidemarkhq/tidemark/internal/store"
)

// Member is a source that can be a member of a consumer group, so that what it has read can
// be committed in the transaction that holds what became of it.
type Member interface {
	checkpoint.Source
	// InTransaction tells whether its offsets are committed in the stream's transaction.
	InTransaction() bool
	// Publish calls send with what is to be committed for a checkpoint. No partition can be
	// taken from the source before send has returned; if one was taken since the checkpoint
	// before, of which something may be in the transaction, that is an error instead.
	Publish(ctx context.Context, cp *checkpoint.Manifest, send func(context.Context, kafka.GroupCommit) error) error
	// Published reads what is committed for the partitions that the source owns, and the
	// number of the checkpoint that did it, 0 if none did.
	Published(ctx context.Context) (checkpoint.Positions, checkpoint.ID, error)
	// Predecessors returns the transactional ids of those who had partitions before and are
	// not in the group any more.
	Predecessors(ctx context.Context, ps []checkpoint.Partition) (map[string]bool, error)
	// Settle waits until no transaction is about to commit offsets for partitions.
	Settle(ctx context.Context, ps []checkpoint.Partition) error
	// Name is the one by which the group knows this process.
	Name() string
	// Owns tells whether the group still has a partition with this process.
	Owns(p checkpoint.Partition) bool
}

// keeper makes partitions the process's own in a store that several processes share, and
// writes their checkpoints into the stream's transaction.
//
// What an Owner asks for is done for all partitions that ask for the same at the same time.
// busy is held meanwhile, so that a takeover, a rewind and a revoke do not meet.
type keeper struct {
	c      *Coordinator
	t      *Transaction
	topic  *store.Topic
	client *kgo.Client
	// busy is held by whoever has put something into it.
	busy chan struct{}
	// refused tells that the transactional id was taken from us.
	refused atomic.Bool
	// share and group say which partitions the process is for. last is the checkpoint that
	// was committed last, with the partitions that were the process's own; it belongs to
	// whoever persists.
	share savepoint.Share
	group bool
	last  *checkpoint.Manifest

	mu struct {
		sync.Mutex
		owners map[checkpoint.Scope]*checkpoint.Owner
		// steps are the commits that owners wait for.
		steps map[checkpoint.Scope]uint64
		extra []*extra
		// doomed says why the transaction must not be committed: it may hold records of
		// scopes that are not the process's own any more. A rewind ends it.
		doomed error
	}
}

// extra is records that the transaction of the next cut takes along.
type extra struct {
	records []*kgo.Record
	// gone are scopes that the records give up, from the cut on.
	gone []checkpoint.Scope
	// cut tells that a cut has come, written that the transaction was committed.
	cut, written bool
}

func newKeeper(c *Coordinator, t *Transaction, topic *store.Topic, client *kgo.Client) *keeper {
	k := &keeper{c: c, t: t, topic: topic, client: client, busy: make(chan struct{}, 1)}
	k.mu.owners, k.mu.steps = map[checkpoint.Scope]*checkpoint.Owner{}, map[checkpoint.Scope]uint64{}
	return k
}

func (k *keeper) lock(ctx context.Context) error {
	select {
	case k.busy <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (k *keeper) unlock() { <-k.busy }

// tell tells the owner of a scope something; nothing if there is none.
func (k *keeper) tell(s checkpoint.Scope, what func(*checkpoint.Owner) []checkpoint.OwnerAction) []checkpoint.OwnerAction {
	k.mu.Lock()
	defer k.mu.Unlock()
	if o := k.mu.owners[s]; o != nil {
		return what(o)
	}
	return nil
}

// take makes an owner for a scope and begins the takeover. One of an attempt that did not
// come to its end is given up.
func (k *keeper) take(s checkpoint.Scope, resolved checkpoint.Position) []checkpoint.OwnerAction {
	fencing := k.fencing(s)
	k.mu.Lock()
	defer k.mu.Unlock()
	o := checkpoint.NewOwner(checkpoint.OwnerConfig{ID: k.t.id, Fencing: fencing})
	k.mu.owners[s] = &o
	return o.Take(resolved)
}

func (k *keeper) owning(s checkpoint.Scope) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	o := k.mu.owners[s]
	return o != nil && o.Owning()
}

// scopes are those that the process owns, or is about to.
func (k *keeper) scopes() []checkpoint.Scope {
	k.mu.Lock()
	defer k.mu.Unlock()
	return slices.SortedFunc(maps.Keys(k.mu.owners), checkpoint.Partition.Compare)
}

// fencing says what keeps others from a scope's checkpoints.
func (k *keeper) fencing(s checkpoint.Scope) checkpoint.Fencing {
	m := k.c.memberOf(s)
	switch {
	case m == nil:
		return checkpoint.FenceStatic
	case m.InTransaction():
		return checkpoint.FenceGeneration
	}
	return checkpoint.FenceGroupClaims
}

// memberOf returns the source of a scope if it is a member of a group, else nil.
func (c *Coordinator) memberOf(s checkpoint.Scope) Member {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, src := range c.mu.sources {
		if m, ok := src.s.(Member); ok && src.name == s.Source && !src.conf.Static {
			return m
		}
	}
	return nil
}

// resolveFunc is as in checkpoint.SourceHandle.
type resolveFunc = func(ctx context.Context, saved checkpoint.Positions, fresh []checkpoint.Partition) (checkpoint.Positions, error)

// acquire takes scopes over. resolve says where those begin that have no checkpoint, given
// the positions of those that have one.
func (k *keeper) acquire(ctx context.Context, scopes []checkpoint.Scope, resolve resolveFunc) (checkpoint.Positions, error) {
	for {
		found, err := k.tryAcquire(ctx, scopes, resolve)
		if !errors.Is(err, errRewinding) {
			return found, err
		}
		select {
		case <-time.After(acquireAgain):
		case <-ctx.Done():
			return nil, errors.Join(err, ctx.Err())
		case <-k.c.done:
			return nil, cmp.Or(k.c.Failed(), checkpoint.ErrDead)
		}
	}
}

// acquireAgain is how long a takeover waits for a rewind that came in between.
const acquireAgain = 100 * time.Millisecond

func (k *keeper) tryAcquire(ctx context.Context, scopes []checkpoint.Scope, resolve resolveFunc) (checkpoint.Positions, error) {
	// Whoever closes the store waits for this one.
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(k.c.ctx, cancel)()
	if err := k.lock(ctx); err != nil {
		return nil, err
	}
	defer k.unlock()
	scopes = slices.DeleteFunc(slices.Clone(scopes), k.owning)
	starts, err := k.starts(ctx, scopes, resolve)
	if err != nil {
		return nil, err
	}
	d := newTakeover(k)
	for _, s := range scopes {
		if err := d.add(s, k.take(s, starts[s])); err != nil {
			return nil, err
		}
	}
	if err := d.run(ctx); err != nil {
		k.drop(scopes)
		return nil, err
	}
	k.drop(d.dropped)
	k.adopt(d.positions, d.last)
	return d.positions, nil
}

// adopt makes positions those that a rewind goes back to; id is the last checkpoint of
// theirs.
func (k *keeper) adopt(positions checkpoint.Positions, id checkpoint.ID) {
	k.c.correct(func(last *checkpoint.Manifest) {
		for s, pos := range positions {
			if s != (checkpoint.Scope{}) {
				last.Positions[s] = pos
			}
		}
		last.ID = max(last.ID, id)
		k.c.mu.machine.Continue(id)
		k.c.mu.machine.Found(id)
		k.c.mu.lastID = max(k.c.mu.lastID, id)
	})
}

// drop forgets scopes that are not, or not any more, the process's own. It is called with
// busy held.
func (k *keeper) drop(scopes []checkpoint.Scope) {
	k.lose(scopes)
	if err := k.topic.Forget(scopes...); err != nil {
		k.c.log.Warnf("%v", err)
	}
}

// lose takes scopes that somebody else owns by now out of what is committed and gone back
// to. A takeover may be under way, so that their state stays.
func (k *keeper) lose(scopes []checkpoint.Scope) {
	k.mu.Lock()
	for _, s := range scopes {
		delete(k.mu.owners, s)
		delete(k.mu.steps, s)
	}
	k.mu.Unlock()
	k.c.correct(func(last *checkpoint.Manifest) {
		for _, s := range scopes {
			delete(last.Positions, s)
		}
	})
}

// recover finds out, after whatever was open is over, which scopes are still the process's
// own and where they go on: what is remembered here may not be true any more.
func (k *keeper) recover(ctx context.Context) error {
	if err := k.lock(ctx); err != nil {
		return err
	}
	defer k.unlock()
	k.mu.Lock()
	k.mu.extra, k.mu.doomed = nil, nil
	k.mu.Unlock()
	scopes := k.scopes()
	d := newTakeover(k)
	d.rewinding = true
	if len(scopes) == 0 && k.refused.Load() {
		// Nothing is owned, so there is nothing to look at before the id is taken back. Whoever
		// took it may have taken this member for one that is gone, as this one took that.
		if err := k.takeBack(ctx); err != nil {
			return err
		}
	}
	told := (*checkpoint.Owner).Initialised
	if len(scopes) > 0 && k.refused.Load() {
		told = (*checkpoint.Owner).Refused
	}
	for _, s := range scopes {
		if err := d.add(s, k.tell(s, told)); err != nil {
			return err
		}
	}
	if err := d.run(ctx); err != nil {
		return err
	}
	k.refused.Store(false)
	k.drop(d.dropped)
	// Of what was lost meanwhile there is state still, and others have gone on with it. It may
	// be ours again already: operators must not read it before it is taken over.
	k.topic.Only(k.owning)
	k.adopt(d.positions, d.last)
	return nil
}

// giveUp lets scopes go, with a last checkpoint that says so.
func (k *keeper) giveUp(ctx context.Context, scopes []checkpoint.Scope) error {
	if err := k.lock(ctx); err != nil {
		return err
	}
	defer k.unlock()
	owned := slices.DeleteFunc(slices.Clone(scopes), func(s checkpoint.Scope) bool { return !k.owning(s) })
	records := k.topic.Release(k.t.id, owned...)
	for i, s := range owned {
		k.name(records[i], s)
	}
	err := k.submit(ctx, records, owned)
	if err != nil {
		k.doom(err)
	}
	k.drop(scopes)
	return err
}

// close gives the local copy of the state up, once nobody is at it any more.
func (k *keeper) close() error {
	k.busy <- struct{}{}
	err := k.topic.Close()
	k.client.Close()
	return err
}

// fence ends what transactional ids have open, and keeps their processes from going on.
func (k *keeper) fence(ctx context.Context, ids []string) error {
	for _, id := range ids {
		k.c.log.Infof("Taking over from %q", id)
		if err := kafka.Fence(ctx, k.client, id); err != nil {
			return err
		}
	}
	return nil
}

// openKeeper opens the store in a topic on the cluster that the stream writes to.
func (c *Coordinator) openKeeper(ctx context.Context, t *Transaction, conf checkpoint.Config) (*keeper, error) {
	t.conf.Connection.Learn(ctx)
	if err := t.conf.Connection.Brokers.Meet(kafka.StoreTopic); err != nil {
		return nil, err
	}
	client, err := t.conf.Connection.NewClient()
	if err != nil {
		return nil, err
	}
	count, err := store.EnsureTopic(ctx, client, conf.Topic, store.TopicSpec{Partitions: conf.TopicPartitions})
	if err != nil {
		client.Close()
		return nil, err
	}
	topic, err := store.OpenTopic(client, store.TopicOptions{
		Topic: conf.Topic, Partitions: count, Job: c.jobName(conf), Directory: conf.LocalCopy,
		MaxRecord: int(min(store.DefaultMaxRecord, t.conf.MaxBytes*9/10)), Logf: c.log.Debugf,
	})
	if err != nil {
		client.Close()
		return nil, err
	}
	k := newKeeper(c, t, topic, client)
	k.share, k.group = savepoint.ShareOf(conf.Shard, conf.Partitions), !conf.Static
	if err := k.prepare(ctx); err != nil {
		return nil, errors.Join(err, k.close())
	}
	return k, nil
}
