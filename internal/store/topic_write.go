package store

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"maps"
	"slices"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tidemarkhq/tidemark/checkpoint"
)

// key returns the key of a record of the job.
func (t *Topic) key(place ...[]byte) []byte {
	n := 1 + len(t.prefix)
	for _, p := range place {
		n += len(p)
	}
	key := append(append(make([]byte, 0, n), topicKeyVersion), t.prefix...)
	for _, p := range place {
		key = append(key, p...)
	}
	return key
}

// put makes the record of a payload, unset the tombstone of a key.
func (t *Topic) put(partition int32, key, payload []byte) *kgo.Record {
	r := t.unset(partition, key)
	r.Value = seal(make([]byte, 0, len(payload)+frameSize), key, payload)
	return r
}

func (t *Topic) unset(partition int32, key []byte) *kgo.Record {
	return &kgo.Record{Topic: t.conf.Topic, Partition: partition, Key: key}
}

func ownerPlace(s checkpoint.Scope, id string) []byte {
	return append(appendPartition([]byte{ownerTag}, s), id...)
}

// Claim returns the records by which a transactional id claims scopes, each with the
// position that was resolved for it, nil where there is none. All records of this type are
// written in a transaction, each to the Partition that it names.
func (t *Topic) Claim(id string, scopes map[checkpoint.Scope]*checkpoint.Position) []*kgo.Record {
	// The job's own record comes along each time: it says the same, and compaction
	// leaves one.
	var job encoder
	job.Uint(uint64(t.conf.Partitions))
	records := []*kgo.Record{t.put(0, t.key([]byte{jobTag}), job.B)}
	for _, s := range slices.SortedFunc(maps.Keys(scopes), checkpoint.Partition.Compare) {
		records = append(records, t.owner(Claimed, id, s, scopes[s]))
	}
	return records
}

// memberHeader is the header of a claim or release that names its writer in the group.
const memberHeader = "member"

// NameMember notes on a claim or release as which member of its group the writer has the scope,
// so that others can find out whether it is gone. Nothing else depends on that.
func NameMember(r *kgo.Record, member string) {
	r.Headers = []kgo.RecordHeader{{Key: memberHeader, Value: []byte(member)}}
}

// memberOf returns what NameMember noted, "" if nothing.
func memberOf(r *kgo.Record) string {
	for _, h := range r.Headers {
		if h.Key == memberHeader {
			return string(h.Value)
		}
	}
	return ""
}

// Release returns the records by which a transactional id gives scopes up.
func (t *Topic) Release(id string, scopes ...checkpoint.Scope) []*kgo.Record {
	records := make([]*kgo.Record, len(scopes))
	for i, s := range scopes {
		records[i] = t.owner(Released, id, s, nil)
	}
	return records
}

// Retire returns the tombstones of a transactional id's claims, which may go once a later
// claim is established. Whoever finds its own claim Retired by the time that it has fenced
// the others must claim anew: the tombstone was meant for the claim before.
func (t *Topic) Retire(id string, scopes ...checkpoint.Scope) []*kgo.Record {
	records := make([]*kgo.Record, len(scopes))
	for i, s := range scopes {
		records[i] = t.unset(t.PartitionOf(s), t.key(ownerPlace(s, id)))
	}
	return records
}

func (t *Topic) owner(kind EventKind, id string, s checkpoint.Scope, at *checkpoint.Position) *kgo.Record {
	e := Event{Kind: kind, Position: at, Taken: t.conf.Now()}
	return t.put(t.PartitionOf(s), t.key(ownerPlace(s, id)), encodeEvent(e, t.conf.Partitions))
}

// TopicWrite is what a checkpoint writes.
type TopicWrite struct {
	// Records to write, in this order, in one transaction, each to its Partition.
	Records []*kgo.Record
	// Bytes is the size of their keys and values.
	Bytes int64

	changes []checkpoint.Change
	events  []writtenEvent
	// split has the number of chunks that values take now, by local key, where they take
	// or took more than one.
	split map[string]uint64
	homes []*home
}

// writtenEvent is a checkpoint of one scope. Its record comes after those of the scope's
// state.
type writtenEvent struct {
	scope  checkpoint.Scope
	event  Event
	record *kgo.Record
}

func (w *TopicWrite) add(r *kgo.Record) {
	w.Records = append(w.Records, r)
	w.Bytes += int64(len(r.Key) + len(r.Value))
}

// Checkpoint returns what makes m the last checkpoint of its scopes, written by a
// transactional id: positions that the last one does not have like that, or that has not
// yet a checkpoint under the id's last claim as it was read, and the changes of state, as
// in checkpoint.Store. Nothing changes here before Applied. What m leaves out stays as it
// is.
//
// Something new about a scope that is not restored is checkpoint.ErrNotRestored, another
// job ErrOtherJob, and a key that is too large for a record is named.
func (t *Topic) Checkpoint(m *checkpoint.Manifest, changes []checkpoint.Change, id string) (*TopicWrite, error) {
	w, err := t.checkpoint(m, changes, id)
	if err != nil {
		return nil, fmt.Errorf("preparing checkpoint %d: %w", m.ID, err)
	}
	return w, nil
}

func (t *Topic) checkpoint(m *checkpoint.Manifest, changes []checkpoint.Change, id string) (*TopicWrite, error) {
	if m.Job != t.conf.Job {
		return nil, fmt.Errorf("%w: %q instead of %q", ErrOtherJob, m.Job, t.conf.Job)
	}
	// changed has the scopes in question, true for those whose state changes.
	changed := map[checkpoint.Scope]bool{}
	for p := range m.Positions {
		changed[p] = false
	}
	for i, c := range changes {
		if i == 0 || c.Scope != changes[i-1].Scope {
			changed[c.Scope] = true
		}
	}
	w := &TopicWrite{changes: changes, split: map[string]uint64{}}
	scopes := slices.SortedFunc(maps.Keys(changed), checkpoint.Partition.Compare)
	for _, s := range scopes {
		if !t.isLive(s) {
			if t.known(s, m.Positions[s]) && !changed[s] {
				delete(changed, s)
				continue
			}
			return nil, fmt.Errorf("%s: %w", s, checkpoint.ErrNotRestored)
		}
		if h := t.homeOf(s); !slices.Contains(w.homes, h) {
			w.homes = append(w.homes, h)
		}
	}
	defer lockHomes(w.homes)()
	for _, c := range changes {
		if err := t.change(w, c); err != nil {
			return nil, err
		}
	}
	for _, s := range scopes {
		if is, ok := changed[s]; ok {
			t.position(w, m, s, id, is)
		}
	}
	return w, nil
}

// known tells whether a position is that of the scope's last checkpoint.
func (t *Topic) known(s checkpoint.Scope, at checkpoint.Position) (same bool) {
	t.with(s, func(n *tenant) { same = n.last != nil && n.last.Position != nil && *n.last.Position == at })
	return same
}

// lockHomes locks homes and returns what unlocks them.
func lockHomes(homes []*home) (unlock func()) {
	slices.SortFunc(homes, func(a, b *home) int { return cmp.Compare(a.id, b.id) })
	for _, h := range homes {
		h.mu.Lock()
	}
	return func() {
		for _, h := range homes {
			h.mu.Unlock()
		}
	}
}

// change adds the records of one change of state.
func (t *Topic) change(w *TopicWrite, c checkpoint.Change) error {
	local := stateKey(c.Operator, c.Scope, c.Key)
	partition := t.PartitionOf(c.Scope)
	room := t.conf.MaxRecord - 1 - len(t.prefix) - len(local) - chunkSize - frameSize - chunkHead
	if room < minChunk {
		return fmt.Errorf("state of %q, %s: a key of %d bytes does not go into a record of at most %d: shorten it",
			c.Operator, c.Scope, len(c.Key), t.conf.MaxRecord)
	}
	key := func(i uint64) []byte {
		return t.key(local, binary.BigEndian.AppendUint32(nil, uint32(i)))
	}
	n := uint64(0)
	if c.Value != nil {
		for i, part := range split(c.Value, room) {
			w.add(t.put(partition, key(uint64(i)), part.encode()))
			n++
		}
	}
	before, known := w.split[string(local)]
	if !known {
		before = t.home(partition).scopes[string(scopeKey(c.Scope))].split[string(local)]
	}
	for i := n; i < max(before, 1); i++ {
		w.add(t.unset(partition, key(i)))
	}
	if known || before > 1 || n > 1 {
		w.split[string(local)] = n
	}
	return nil
}

// position adds the checkpoint record of a scope if there is something new to say.
func (t *Topic) position(w *TopicWrite, m *checkpoint.Manifest, s checkpoint.Scope, id string, changed bool) {
	n := t.homeOf(s).scopes[string(scopeKey(s))]
	e := Event{
		Kind: Checkpointed, ID: id, Taken: m.Taken.UTC(), Checkpoint: m.ID, Cut: m.Kind, Final: m.Final, Claim: NoOffset,
	}
	if c, ok := n.claims[id]; ok && c.Kind == Claimed {
		e.Claim = c.Offset
	}
	if pos, ok := m.Positions[s]; ok {
		e.Position = &pos
	} else if n.last != nil {
		e.Position = n.last.Position
	}
	if l := n.last; !changed && l != nil && l.ID == e.ID && l.Claim == e.Claim && l.Final == e.Final &&
		l.Position != nil && e.Position != nil && *l.Position == *e.Position {
		return
	}
	r := t.put(t.PartitionOf(s), t.key(positionKey(s)), encodeEvent(e, t.conf.Partitions))
	w.add(r)
	w.events = append(w.events, writtenEvent{s, e, r})
}

// Applied takes what a checkpoint wrote into the local copy, once its transaction is
// committed. It goes by the offsets that the client gave the records. A transaction that
// was aborted needs nothing; of one whose end is unknown, Restore finds out. Scopes that
// were forgotten meanwhile are left out. After an error nothing is known of the local copy
// any more: open the store anew.
func (t *Topic) Applied(w *TopicWrite) error {
	defer lockHomes(w.homes)()
	b := t.engine.db.NewBatch()
	var record []byte
	for _, c := range w.changes {
		if !t.isLive(c.Scope) {
			continue
		}
		key := stateKey(c.Operator, c.Scope, c.Key)
		n := t.homeOf(c.Scope).scopes[string(scopeKey(c.Scope))]
		n.operators[c.Operator] = true
		if chunks, ok := w.split[string(key)]; ok {
			delete(n.split, string(key))
			if chunks > 1 {
				n.split[string(key)] = chunks
			}
		}
		if c.Value == nil {
			_ = b.Delete(key, nil)
			continue
		}
		record = seal(record[:0], key, c.Value)
		_ = b.Set(key, record, nil)
	}
	if err := t.apply(b); err != nil {
		return fmt.Errorf("writing the local copy of the state: %w", err)
	}
	for _, e := range w.events {
		if t.isLive(e.scope) {
			t.homeOf(e.scope).scopes[string(scopeKey(e.scope))].wrote(e, t)
		}
	}
	return nil
}

// wrote notes a checkpoint of the scope: everything of it up to there is in the local copy.
func (n *tenant) wrote(e writtenEvent, t *Topic) {
	e.event.Offset = e.record.Offset
	if n.last != nil {
		e.event.Offset = max(e.event.Offset, n.last.Offset)
	}
	n.last = &e.event
	n.upTo = max(n.upTo, e.record.Offset+1)
	n.asOf = t.conf.Now()
}
