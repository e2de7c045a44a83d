package store

import (
	"bytes"
	"errors"
	"fmt"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tidemarkhq/tidemark/checkpoint"
	"github.com/tidemarkhq/tidemark/internal/payload"
)

// intake takes the records of one partition in: events always, state of the scopes that are
// being read. It is used by one goroutine.
type intake struct {
	t     *Topic
	home  *home
	batch *pebble.Batch
	buf   []byte
}

func (t *Topic) newIntake(h *home) *intake {
	return &intake{t: t, home: h, batch: t.engine.db.NewBatch()}
}

// take takes records, after which a reader goes on at next. What it returns is final,
// unless it is about the local copy.
func (in *intake) take(records []*kgo.Record, next int64) error {
	in.home.mu.Lock()
	defer in.home.mu.Unlock()
	for _, r := range records {
		if err := in.record(r); err != nil {
			return in.t.recordError(r, err)
		}
		// Nobody needs all of a fetch at once, and compressed records can be many.
		if in.batch.Len() < intakeBatch {
			continue
		}
		if err := in.apply(); err != nil {
			return err
		}
	}
	if err := in.apply(); err != nil {
		return err
	}
	in.home.next = max(in.home.next, next)
	for _, n := range in.home.scopes {
		if n.reading {
			n.upTo = max(n.upTo, next)
		}
	}
	return nil
}

// intakeBatch is how much is written to the local copy at a time, in bytes, at least. Pebble
// makes a table of a batch of that size as it is, which is cheaper than key by key.
const intakeBatch = 8 << 20

func (in *intake) apply() error {
	batch := in.batch
	in.batch = in.t.engine.db.NewBatch()
	if err := in.t.apply(batch); err != nil {
		return fmt.Errorf("writing the local copy of the state: %w", err)
	}
	return nil
}

// recordError says which record of the topic an error is about.
func (t *Topic) recordError(r *kgo.Record, err error) error {
	return checkpoint.Fatal(checkpoint.RecordError(
		checkpoint.Partition{Topic: r.Topic, ID: r.Partition}, checkpoint.Offset(r.Offset), err))
}

// placeOf takes the key of a record apart; ok is false for records of other jobs, and for
// what is no record of a store at all.
func (t *Topic) placeOf(r *kgo.Record) (p place, ok bool, err error) {
	rest, known, mine := ours(r.Key, t.prefix)
	if !mine {
		return p, false, nil
	}
	if !known {
		return p, false, fmt.Errorf("%w: a key of job %q has version %d, this build knows versions up to %d; use the build that wrote it",
			checkpoint.ErrVersion, t.conf.Job, r.Key[0], topicKeyVersion)
	}
	if p, ok = parsePlace(rest); !ok {
		return p, false, fmt.Errorf("%w: malformed key %q", checkpoint.ErrCorrupt, r.Key)
	}
	return p, true, nil
}

// payload checks the value of a record that is at a place.
func (p place) payload(r *kgo.Record) ([]byte, error) {
	b, err := unseal(r.Key, r.Value)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", p.describe(), err)
	}
	return b, nil
}

func (p place) malformed(err error) error {
	return fmt.Errorf("%s: %w: %w", p.describe(), checkpoint.ErrCorrupt, err)
}

func (in *intake) record(r *kgo.Record) error {
	p, ok, err := in.t.placeOf(r)
	if err != nil || !ok {
		return err
	}
	switch p.tag {
	case stateTag:
		return in.state(p, r)
	case positionTag, ownerTag:
		return in.event(p, r)
	}
	return nil // the job's record is looked at elsewhere
}

// tenant returns whom a scope's record is about.
func (in *intake) tenant(encoded []byte) (*tenant, error) {
	if n := in.home.scopes[string(encoded)]; n != nil {
		return n, nil
	}
	s, ok := parseScope(encoded)
	if !ok {
		return nil, fmt.Errorf("%w: malformed scope %q", checkpoint.ErrCorrupt, encoded)
	}
	if home := in.t.PartitionOf(s); home != in.home.id {
		return nil, fmt.Errorf("%s belongs to partition %d of a topic with %d partitions: %w",
			s, home, in.t.conf.Partitions, ErrPartitionsChanged)
	}
	return in.home.tenant(s, encoded), nil
}

func (in *intake) event(p place, r *kgo.Record) error {
	n, err := in.tenant(p.scope)
	if err != nil {
		return err
	}
	e := Event{Kind: Retired, Claim: NoOffset}
	if r.Value != nil {
		if e, err = in.t.decode(p, r); err != nil {
			return err
		}
	}
	e.Offset = r.Offset
	if p.tag == ownerTag {
		e.ID = string(p.id)
		if old, ok := n.claims[e.ID]; !ok || old.Offset <= e.Offset {
			n.claims[e.ID] = e
		}
		return nil
	}
	if n.last != nil && n.last.Offset > e.Offset {
		return nil
	}
	n.last = &e
	if r.Value == nil {
		n.last = nil
	}
	return nil
}

// decode reads a claim, release or checkpoint.
func (t *Topic) decode(p place, r *kgo.Record) (Event, error) {
	b, err := p.payload(r)
	if err != nil {
		return Event{}, err
	}
	e, count, err := decodeEvent(b)
	if err == nil && (e.Kind == Checkpointed) != (p.tag == positionTag) {
		err = payload.ErrMalformed
	}
	if err != nil {
		return Event{}, p.malformed(err)
	}
	return e, t.checkCount(p, count)
}

// ErrPartitionsChanged says that the number of partitions of a store's topic is not what
// the job's records were written for. It is fatal: scopes would be looked for where they
// are not.
var ErrPartitionsChanged = errors.New("the number of partitions of the store's topic was changed: " +
	"export the job with the build and the topic that wrote it, if that is still there, and import it into a new topic")

func (t *Topic) checkCount(p place, count int) error {
	if count == t.conf.Partitions {
		return nil
	}
	return fmt.Errorf("%s was written for %d partitions, topic %q has %d: %w",
		p.describe(), count, t.conf.Topic, t.conf.Partitions, ErrPartitionsChanged)
}

func (in *intake) state(p place, r *kgo.Record) error {
	sp := in.home.spaces[string(p.space)]
	if sp == nil {
		n, err := in.tenant(p.scope)
		if err != nil {
			return err
		}
		operator, _, _ := cutName(p.space)
		sp = &tenantSpace{n, operator}
		in.home.spaces[string(p.space)] = sp
	}
	if !sp.reading || r.Offset < sp.upTo {
		return nil
	}
	sp.operators[sp.operator] = true
	if r.Value == nil {
		in.gone(sp.tenant, p)
		return nil
	}
	b, err := p.payload(r)
	if err != nil {
		return err
	}
	c, err := decodeChunk(b)
	if err != nil || uint64(p.chunk) >= max(c.of, 1) && c.of == 1 {
		return p.malformed(payload.ErrMalformed)
	}
	if c.of == 1 {
		sp.lose(p.local, 0)
		delete(sp.split, string(p.local))
		in.set(p.local, c.part)
		return nil
	}
	value, err := sp.gather(p, c)
	if err != nil {
		return p.malformed(err)
	}
	if value != nil {
		in.set(p.local, value)
		sp.split[string(p.local)] = c.of
	}
	return nil
}

// gone takes a tombstone in. The one of the first chunk is that of the value.
func (in *intake) gone(n *tenant, p place) {
	n.lose(p.local, p.chunk)
	if p.chunk == 0 {
		delete(n.split, string(p.local))
		_ = in.batch.Delete(p.local, nil)
	}
}

func (in *intake) set(local, value []byte) {
	in.buf = seal(in.buf[:0], local, value)
	_ = in.batch.Set(local, in.buf, nil)
}

// lose forgets a chunk of an incomplete value.
func (n *tenant) lose(local []byte, chunk uint32) {
	if len(n.partial) == 0 {
		return
	}
	if parts := n.partial[string(local)]; parts != nil {
		delete(parts, chunk)
		if len(parts) == 0 {
			delete(n.partial, string(local))
		}
	}
}

// gather keeps a chunk until all of its value are there, and returns the value then.
// Compaction may have taken chunks of an earlier value and left others: those wait for
// what replaces them.
func (n *tenant) gather(p place, c chunk) ([]byte, error) {
	c.part = bytes.Clone(c.part)
	parts := n.partial[string(p.local)]
	if parts == nil {
		parts = map[uint32]chunk{}
		n.partial[string(p.local)] = parts
	}
	parts[p.chunk] = c
	if uint64(len(parts)) < c.of {
		return nil, nil
	}
	chunks := make([]chunk, 0, c.of)
	for i := range uint32(c.of) {
		part, ok := parts[i]
		if !ok || !part.same(c) {
			return nil, nil
		}
		chunks = append(chunks, part)
	}
	for i := range uint32(c.of) {
		n.lose(p.local, i)
	}
	return join(chunks)
}

// complete ends the reading of a scope's state, which is all there now.
func (n *tenant) complete(now time.Time) error {
	n.reading = false
	n.asOf = now
	for local := range n.partial {
		operator, rest, _ := cutName([]byte(local)[1:])
		key := rest[len(scopeKey(n.scope)):]
		return checkpoint.Fatal(fmt.Errorf("state of %q, %s, key %q: %w: %w", operator, n.scope, key, checkpoint.ErrCorrupt, errTorn))
	}
	return nil
}
