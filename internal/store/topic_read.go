package store

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tidemarkhq/tidemark/checkpoint"
	"github.com/tidemarkhq/tidemark/internal/kafka"
	"github.com/tidemarkhq/tidemark/internal/payload"
)

// How the topic is read.
const (
	// readWait is how long a fetch waits for an open transaction to end.
	readWait = 500 * time.Millisecond
	// readBytes bounds a fetch, in bytes.
	readBytes = 4 << 20
	// readers is how many partitions are read at the same time.
	readers = 4
	// staleAfter is when the local copy is too old to be brought up to date: a deletion
	// could have come and gone. It is well below minDeleteRetention.
	staleAfter = 20 * time.Minute
)

// BlockedError says that reading did not come to its end in time because of a transaction
// that is still open. Whoever opened it ends it, is fenced, or its time runs out.
type BlockedError struct {
	// Topic and Partition of the store.
	Topic     string
	Partition int32
	// LastStable is the first offset that belongs to an open transaction, HighWatermark
	// the one up to which has to be read.
	LastStable, HighWatermark int64
	// Cause is why waiting ended, the context's error.
	Cause error
}

// Error implements error.
func (e *BlockedError) Error() string {
	return fmt.Sprintf("waiting for an open transaction in partition %d of topic %q: records up to offset %d are needed, it begins at %d: %v",
		e.Partition, e.Topic, e.HighWatermark, e.LastStable, e.Cause)
}

// Unwrap returns the cause.
func (e *BlockedError) Unwrap() error { return e.Cause }

// History is what the store holds of a scope, apart from its state.
type History struct {
	// Events in the order of the log: the last claim, release or retirement of each
	// transactional id, and the last checkpoint. Earlier ones may be gone.
	Events []Event
	// Last is the last checkpoint, nil if there is none: only then do the positions of
	// claims count.
	Last *Event
}

func (n *tenant) history() History {
	var h History
	for _, e := range n.claims {
		h.Events = append(h.Events, e)
	}
	if n.last != nil {
		last := *n.last
		h.Last = &last
		h.Events = append(h.Events, last)
	}
	slices.SortFunc(h.Events, func(a, b Event) int { return cmp.Compare(a.Offset, b.Offset) })
	return h
}

// ReadClaims returns what is committed about scopes, up to the high watermark at the time of
// the call; it touches no state. It goes on where the last reading ended.
//
// If transactions of others are open below that, it waits for them as long as ctx lasts; then
// the error wraps a *BlockedError for each partition concerned, and ctx's. What was read
// until then stays read, so that trying again is cheap. Damaged records, and those of a
// version unknown to this build, are fatal and named by partition and offset.
func (t *Topic) ReadClaims(ctx context.Context, scopes []checkpoint.Scope) (map[checkpoint.Scope]History, error) {
	if err := t.readHomes(ctx, t.homesOf(scopes), true); err != nil {
		return nil, fmt.Errorf("reading claims: %w", err)
	}
	return t.Known(scopes), nil
}

// Known returns what has been read about scopes so far: after a BlockedError, what is stable.
func (t *Topic) Known(scopes []checkpoint.Scope) map[checkpoint.Scope]History {
	all := make(map[checkpoint.Scope]History, len(scopes))
	for _, s := range scopes {
		t.with(s, func(n *tenant) { all[s] = n.history() })
	}
	return all
}

// Restore is ReadClaims that also brings the state of the scopes into the local copy, after
// which Get, Scan and Checkpoint take them. A scope that is here is brought up to date with
// what was committed since its last Applied, by whomever; a new one, or one whose copy is
// older than 20 minutes, is read from the start. Values whose chunks are not all there are
// checkpoint.ErrCorrupt.
func (t *Topic) Restore(ctx context.Context, scopes []checkpoint.Scope) (map[checkpoint.Scope]History, error) {
	return t.restore(ctx, scopes, t.homesOf(scopes), true)
}

// RestoreStable is Restore that waits for nobody: what is behind the first transaction that
// is open is not seen.
func (t *Topic) RestoreStable(ctx context.Context, scopes []checkpoint.Scope) (map[checkpoint.Scope]History, error) {
	return t.restore(ctx, scopes, t.homesOf(scopes), false)
}

// restore is Restore or RestoreStable; homes are read, in which there may be others as well.
func (t *Topic) restore(ctx context.Context, scopes []checkpoint.Scope, homes []*home, wait bool) (map[checkpoint.Scope]History, error) {
	began := t.conf.Now()
	var err error
	for _, s := range scopes {
		t.with(s, func(n *tenant) { err = errors.Join(err, t.beginReading(n, began)) })
	}
	if err == nil {
		err = t.readHomes(ctx, homes, wait)
	}
	for _, s := range scopes {
		t.with(s, func(n *tenant) {
			n.reading = false
			if err == nil {
				err = n.complete(began)
			}
		})
	}
	if err != nil {
		return nil, fmt.Errorf("restoring state: %w", err)
	}
	t.setLive(true, scopes...)
	return t.Known(scopes), nil
}

// beginReading lets state of a scope be read, from where the local copy ends if that is
// good for anything.
func (t *Topic) beginReading(n *tenant, now time.Time) error {
	n.reading = true
	if n.upTo >= 0 && now.Sub(n.asOf) <= staleAfter {
		return nil
	}
	n.asOf = now
	return t.drop(n)
}

// Claimant is a transactional id that has to do with a scope.
type Claimant struct {
	ID string
	// Released tells that the last it said is that it gives the scope up. Unsettled tells that
	// it said so in what is not stable yet, so that this may come to nothing.
	Released, Unsettled bool
}

// Look reads what is there without waiting for anybody and returns the transactional ids
// that claims and checkpoints of the scopes name, sorted, those of transactions that are
// open or were aborted included: whoever may have to be fenced before ReadClaims can come
// to its end. It decides nothing else. What is not stable yet of the job's other scopes, in the
// same partitions of the topic, is in the answer as well: it holds readers up alike.
func (t *Topic) Look(ctx context.Context, scopes []checkpoint.Scope) (map[checkpoint.Scope][]Claimant, error) {
	found, err := t.unstable(ctx, t.homesOf(scopes))
	if err != nil {
		return nil, fmt.Errorf("looking for claims: %w", err)
	}
	all := make(map[checkpoint.Scope][]Claimant, len(scopes))
	for _, s := range scopes {
		last := lastWords{}
		maps.Copy(last, found[s])
		t.with(s, func(n *tenant) {
			for _, e := range n.history().Events {
				if e.Kind != Retired {
					last.before(e.ID, e.Kind)
				}
			}
		})
		all[s] = last.claimants(found[s])
	}
	for s, last := range found {
		if _, asked := all[s]; !asked {
			all[s] = last.claimants(last)
		}
	}
	return all, nil
}

// lastWords has the last that transactional ids say of a scope: that they claim or release it,
// or no more than that a checkpoint of it is theirs.
type lastWords map[string]EventKind

// then notes what came later than all that is known, before what came earlier.
func (l lastWords) then(id string, kind EventKind) {
	if _, known := l[id]; !known || kind != Checkpointed {
		l[id] = kind
	}
}

func (l lastWords) before(id string, kind EventKind) {
	if last, known := l[id]; !known || last == Checkpointed {
		l[id] = kind
	}
}

func (l lastWords) claimants(unsettled lastWords) (all []Claimant) {
	for _, id := range slices.Sorted(maps.Keys(l)) {
		all = append(all, Claimant{id, l[id] == Released, unsettled[id] == Released})
	}
	return all
}

// unstable reads on as far as homes are stable, and returns what the rest says, by what it is
// about.
func (t *Topic) unstable(ctx context.Context, homes []*home) (map[checkpoint.Scope]lastWords, error) {
	found := map[checkpoint.Scope]lastWords{}
	var mu sync.Mutex
	err := t.each(ctx, homes, func(ctx context.Context, h *home, in kafka.Range) error {
		if err := t.follow(ctx, h, in, false); err != nil {
			return err
		}
		h.mu.Lock()
		in.Start = max(h.next, in.Start)
		h.mu.Unlock()
		return t.scanEvents(ctx, h.id, in, func(_ *kgo.Record, s checkpoint.Scope, e Event) {
			mu.Lock()
			defer mu.Unlock()
			if found[s] == nil {
				found[s] = lastWords{}
			}
			found[s].then(e.ID, e.Kind)
		})
	})
	return found, err
}

// scanEvents calls fn for what the records of a range say of scopes of the job.
func (t *Topic) scanEvents(ctx context.Context, id int32, in kafka.Range, fn func(*kgo.Record, checkpoint.Scope, Event)) error {
	return t.scan(ctx, id, in, func(r *kgo.Record) error {
		s, e, err := t.eventIn(r)
		if err != nil {
			return t.recordError(r, err)
		}
		if e.ID != "" {
			fn(r, s, e)
		}
		return nil
	})
}

// eventIn returns what a record says of a scope, with an empty ID if nothing.
func (t *Topic) eventIn(r *kgo.Record) (s checkpoint.Scope, e Event, err error) {
	p, ok, err := t.placeOf(r)
	if err != nil || !ok || r.Value == nil || p.tag != ownerTag && p.tag != positionTag {
		return s, e, err
	}
	s, ok = parseScope(p.scope)
	if !ok {
		return s, e, p.malformed(payload.ErrMalformed)
	}
	e, err = t.decode(p, r)
	if p.tag == ownerTag {
		e.ID = string(p.id)
	}
	return s, e, err
}

// Claimants returns, by transactional id, as which members of a group claims and releases of
// scopes were written that are not stable yet. Unlike Look it leaves what is read as it is, so
// it may be called beside whatever reads.
func (t *Topic) Claimants(ctx context.Context, scopes []checkpoint.Scope) (map[string][]string, error) {
	homes := t.homesOf(scopes)
	parts := make([]kafka.Partition, len(homes))
	for i, h := range homes {
		parts[i] = t.partition(h.id)
	}
	stable, err := kafka.Ranges(ctx, t.client, parts, kafka.ReadCommitted)
	if err != nil {
		return nil, fmt.Errorf("looking for claimants: %w", err)
	}
	all, err := kafka.Ranges(ctx, t.client, parts, kafka.ReadUncommitted)
	if err != nil {
		return nil, fmt.Errorf("looking for claimants: %w", err)
	}
	found := map[string][]string{}
	for i, p := range parts {
		in := kafka.Range{Start: stable[p].End, End: all[p].End}
		err := t.scanEvents(ctx, homes[i].id, in, func(r *kgo.Record, s checkpoint.Scope, e Event) {
			if member := memberOf(r); member != "" && slices.Contains(scopes, s) {
				found[e.ID] = append(found[e.ID], member)
			}
		})
		if err != nil {
			return nil, fmt.Errorf("looking for claimants: %w", err)
		}
	}
	return found, nil
}

// scan calls fn for the records of a range, uncommitted ones included, until it returns an
// error, which scan returns.
func (t *Topic) scan(ctx context.Context, id int32, in kafka.Range, fn func(*kgo.Record) error) error {
	log := kafka.NewLog(t.client, kafka.Log{Partition: t.partition(id), MaxBytes: readBytes, Wait: readWait})
	for at := in.Start; at < in.End; {
		f, err := log.Fetch(ctx, at)
		if err != nil {
			return err
		}
		for _, r := range f.Records {
			if err := fn(r); err != nil {
				return err
			}
		}
		at = f.Next
	}
	return nil
}

// readHomes reads what is committed in homes; without wait, up to the first transaction that
// is open.
func (t *Topic) readHomes(ctx context.Context, homes []*home, wait bool) error {
	return t.each(ctx, homes, func(ctx context.Context, h *home, in kafka.Range) error {
		return t.follow(ctx, h, in, wait)
	})
}

func (t *Topic) homesOf(scopes []checkpoint.Scope) []*home {
	var homes []*home
	for _, s := range scopes {
		if h := t.homeOf(s); !slices.Contains(homes, h) {
			homes = append(homes, h)
		}
	}
	return homes
}

// each calls fn for homes, several at a time, with what their logs hold now, committed or
// not, after a look at the job's record. All are read although one fails.
func (t *Topic) each(ctx context.Context, homes []*home, fn func(context.Context, *home, kafka.Range) error) error {
	parts := []kafka.Partition{t.partition(0)}
	before := make([]int64, len(homes)) // checkpoints go on meanwhile
	for i, h := range homes {
		_, before[i] = h.progress()
		if h.id != 0 {
			parts = append(parts, t.partition(h.id))
		}
	}
	ranges, err := kafka.Ranges(ctx, t.client, parts, kafka.ReadUncommitted)
	if err != nil {
		return err
	}
	for i, h := range homes {
		if end := ranges[t.partition(h.id)].End; end < before[i] {
			return checkpoint.Fatal(fmt.Errorf("%w: partition %d of topic %q ends at offset %d, but was read up to %d before: "+
				"it was deleted and made anew, or cut back by an unclean leader election",
				checkpoint.ErrCorrupt, h.id, t.conf.Topic, end, before[i]))
		}
	}
	if err := t.readJob(ctx, ranges[parts[0]]); err != nil {
		return err
	}
	errs := make([]error, len(homes))
	var wg sync.WaitGroup
	free := make(chan struct{}, readers) // holds one for each that reads
	for i, h := range homes {
		free <- struct{}{}
		wg.Go(func() {
			errs[i] = fn(ctx, h, ranges[t.partition(h.id)])
			<-free
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

// readJob reads on in the partition that says which jobs there are, and checks what it says
// of this one. It reads what is not committed as well, so that it never waits: the record
// says the same whoever writes it.
func (t *Topic) readJob(ctx context.Context, in kafka.Range) error {
	in.Start = max(in.Start, t.jobs)
	err := t.scan(ctx, 0, in, func(r *kgo.Record) error {
		if err := t.checkJob(r); err != nil {
			return t.recordError(r, err)
		}
		return nil
	})
	if err != nil {
		return err
	}
	t.jobs = max(t.jobs, in.End)
	return nil
}

// checkJob checks what a record says of the job, if it does.
func (t *Topic) checkJob(r *kgo.Record) error {
	p, ok, err := t.placeOf(r)
	if err != nil || !ok || p.tag != jobTag || r.Value == nil {
		return err
	}
	b, err := p.payload(r)
	if err != nil {
		return err
	}
	d := decoderOf(b)
	count := int(d.Uint())
	if d.Err != nil || len(d.B) > 0 {
		return p.malformed(payload.ErrMalformed)
	}
	return t.checkCount(p, count)
}
