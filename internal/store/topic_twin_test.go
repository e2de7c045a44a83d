package store

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tidemarkhq/tidemark/checkpoint"
	"github.com/tidemarkhq/tidemark/internal/kafkatest"
)

const smallRecord = 4 << 10

func smallRecords(o *TopicOptions) { o.MaxRecord = smallRecord }

// tenantry is a job of the random test: its owner, a reader that follows, and its twin.
type tenantry struct {
	*topicRig
	job      string
	rand     *rand.Rand
	scopes   []checkpoint.Scope
	owner    *Topic
	follower *Topic
	writer   *producer
	foreign  *producer
	twin     *twin
	id       checkpoint.ID
}

var twinOperators = []string{"totals", "t\x00", ""}

func newTenantry(r *topicRig, job string, rnd *rand.Rand, change ...func(*TopicOptions)) *tenantry {
	n := &tenantry{topicRig: r, job: job, rand: rnd, twin: newTwin(), scopes: []checkpoint.Scope{{}}}
	for id := range int32(5) {
		n.scopes = append(n.scopes, scopeOf(id))
	}
	n.owner, n.follower = r.open(job, append(change, smallRecords)...), r.open(job, change...)
	n.writer, n.foreign = r.producer(kafkatest.Unique(r)), r.producer(kafkatest.Unique(r))
	_, err := n.owner.Restore(patient(r), n.scopes)
	require.NoError(r, err)
	return n
}

// draw makes a checkpoint.
func (n *tenantry) draw() (*checkpoint.Manifest, []checkpoint.Change) {
	n.id++
	positions := checkpoint.Positions{}
	for _, s := range n.scopes[1:] {
		if n.rand.IntN(3) == 0 {
			positions[s] = at(checkpoint.Offset(n.rand.IntN(5)))
		}
	}
	var changes []checkpoint.Change
	for range n.rand.IntN(8) {
		c := checkpoint.Change{
			Operator: twinOperators[n.rand.IntN(len(twinOperators))], Scope: n.scopes[n.rand.IntN(len(n.scopes))],
			Key: fmt.Appendf(nil, "k\x00%d", n.rand.IntN(4)),
		}
		switch n.rand.IntN(4) {
		case 0: // a deletion
		case 1:
			c.Value = bytes.Repeat([]byte{byte('a' + n.rand.IntN(26))}, n.rand.IntN(5*smallRecord))
		default:
			c.Value = fmt.Appendf(nil, "%d", n.id)
		}
		changes = append(changes, c)
	}
	return manifestOf(n.job, n.id, positions), changes
}

func (n *tenantry) step() {
	n.Helper()
	m, changes := n.draw()
	w, err := n.owner.Checkpoint(m, changes, n.writer.id)
	require.NoError(n, err)
	for _, r := range w.Records {
		require.LessOrEqual(n, len(r.Key)+len(r.Value), smallRecord)
	}
	switch n.rand.IntN(8) {
	case 0:
		n.writer.abort(w.Records...)
	case 1: // of an unknown end that was none
		n.writer.abort(w.Records...)
		n.restoreOwner()
	case 2: // of an unknown end that was one
		n.writer.commit(w.Records...)
		n.twin.apply(m.Positions, changes)
		n.restoreOwner()
	case 3: // somebody else fails meanwhile
		n.writer.begin(w.Records...)
		m, changes := n.draw()
		other, err := n.owner.Checkpoint(m, changes, n.foreign.id)
		require.NoError(n, err)
		n.foreign.begin(other.Records...)
		n.commitAndApply(w)
		n.foreign.end(kgo.TryAbort)
	default:
		n.writer.begin(w.Records...)
		n.commitAndApply(w)
	}
}

// commitAndApply ends the transaction that wrote w.
func (n *tenantry) commitAndApply(w *TopicWrite) {
	n.Helper()
	n.writer.end(kgo.TryCommit)
	require.NoError(n, n.owner.Applied(w))
	positions := checkpoint.Positions{}
	for _, e := range w.events {
		if e.event.Position != nil {
			positions[e.scope] = *e.event.Position
		}
	}
	n.twin.apply(positions, w.changes)
}

func (n *tenantry) restoreOwner() {
	n.Helper()
	_, err := n.owner.Restore(patient(n), n.scopes)
	require.NoError(n, err)
}

// check compares a store's view of some scopes with the twin.
func (n *tenantry) check(t *Topic, scopes ...checkpoint.Scope) {
	n.Helper()
	histories, err := t.Restore(patient(n), scopes)
	require.NoError(n, err)
	for _, s := range scopes {
		n.twin.require(n, t, s, twinOperators...)
		want, ok := n.twin.positions[s]
		if last := histories[s].Last; ok {
			require.NotNil(n, last)
			require.Equal(n, want, *last.Position)
		} else if last != nil {
			require.Nil(n, last.Position)
		}
	}
}

func (n *tenantry) checkAll() {
	n.Helper()
	for _, s := range n.scopes {
		n.twin.require(n, n.owner, s, twinOperators...)
	}
	n.check(n.follower, n.scopes[:1+n.rand.IntN(len(n.scopes))]...)
	if s := n.scopes[n.rand.IntN(len(n.scopes))]; n.rand.IntN(2) == 0 {
		require.NoError(n, n.follower.Forget(s))
	}
	n.check(n.open(n.job, smallRecords), n.scopes...)
	n.check(n.rewritten(n.rand.IntN(2) == 0).open(n.job), n.scopes...)
}

// rewritten makes a topic of what compaction leaves of this one at most, tombstones or not:
// the last record of each key.
func (r *topicRig) rewritten(tombstones bool) *topicRig {
	r.Helper()
	to := compacted(r, r.e, r.partitions)
	var kept []*kgo.Record
	for p, records := range kafkatest.ReadCommitted(r, r.e, r.topic) {
		last := map[string]int64{}
		for _, rec := range records {
			last[string(rec.Key)] = rec.Offset
		}
		for _, rec := range records {
			if last[string(rec.Key)] == rec.Offset && (rec.Value != nil || tombstones) {
				kept = append(kept, &kgo.Record{Topic: to.topic, Partition: int32(p), Key: rec.Key, Value: rec.Value})
			}
		}
	}
	kafkatest.Produce(r, r.e, kept...)
	return to
}

func (r *topicRig) runTwins(job string, rounds int, change ...func(*TopicOptions)) {
	rnd := kafkatest.Random(r)
	jobs := []*tenantry{newTenantry(r, job, rnd, change...), newTenantry(r, job+"s", rnd, change...)}
	for i := range rounds {
		jobs[rnd.IntN(2)].step()
		if i%10 == 9 {
			jobs[rnd.IntN(2)].checkAll()
		}
	}
	for _, j := range jobs {
		j.checkAll()
	}
}

// compacted makes a topic without EnsureTopic, which would refuse the settings of some tests.
func compacted(t testing.TB, e kafkatest.Endpoint, partitions int, configs ...string) *topicRig {
	t.Helper()
	return &topicRig{t, e, kafkatest.Topic(t, e, partitions, append(configs, "cleanup.policy=compact")...), partitions}
}

// forgetful is a clock by which every local copy is too old to be brought up to date.
func forgetful(o *TopicOptions) {
	var calls atomic.Int64
	o.Now = func() time.Time { return time.Unix(0, 0).Add(time.Duration(calls.Add(1)) * 2 * staleAfter) }
}

// TestTopicHoldsWhatATwinHolds does at random what jobs do: checkpoints with small and large
// values, deletions, aborted transactions and ones of unknown end, with two jobs in the topic.
// What is left of it is compacted as well.
func TestTopicHoldsWhatATwinHolds(t *testing.T) {
	compacted(t, kafkatest.Fake(t), 3).runTwins("order", 150)
}

// Tombstones may be gone by the time that somebody reads on who has not done so for long.
func TestTopicDoesNotTrustAnOldCopy(t *testing.T) {
	c := kafkatest.Fake(t)
	r := compacted(t, c, 2, "delete.retention.ms=0")
	s := scopeOf(1)
	change := func(key, value string) checkpoint.Change {
		ch := checkpoint.Change{Operator: testOperator, Scope: s, Key: []byte(key)}
		if value != "" {
			ch.Value = []byte(value)
		}
		return ch
	}
	restore := func(topic *Topic) {
		_, err := topic.Restore(patient(t), []checkpoint.Scope{s})
		require.NoError(t, err)
	}
	owner, reader, p := r.open(testJob), r.open(testJob, forgetful), r.producer("a")
	restore(owner)
	p.persist(owner, manifestOf(testJob, 1, nil), change("k", "v"))
	restore(reader)
	p.persist(owner, manifestOf(testJob, 2, nil), change("k", ""))
	p.persist(owner, manifestOf(testJob, 3, nil), change("l", "w"))
	c.Compact()
	for _, records := range kafkatest.ReadCommitted(t, c, r.topic) {
		for _, rec := range records {
			require.NotNil(t, rec.Value, "the tombstone is gone")
		}
	}
	restore(reader)
	v, err := reader.Get(testOperator, s, []byte("k"))
	require.NoError(t, err)
	require.Nil(t, v)
	v, err = reader.Get(testOperator, s, []byte("l"))
	require.NoError(t, err)
	require.Equal(t, "w", string(v))
}

// The same on a real broker, whose cleaner runs all the time. (That of the fake one forgets
// which transactions were aborted.)
func TestTopicOnKafka(t *testing.T) {
	b := kafkatest.Real(t, kafkatest.Newest, "log.cleaner.backoff.ms=100", "log.initial.task.delay.ms=100")
	r := compacted(t, b, 3, "delete.retention.ms=100", "min.cleanable.dirty.ratio=0.001", "segment.ms=200", "max.compaction.lag.ms=100")
	r.runTwins("order", 60, forgetful)
	var held, ends int64
	kafkatest.Until(t, 30*time.Second, func() error {
		held, ends = 0, 0
		for p, records := range kafkatest.ReadCommitted(t, b, r.topic) {
			held += int64(len(records))
			ends += kafkatest.Ends(t, b, r.topic)[p]
		}
		if held > ends/2 {
			return fmt.Errorf("the cleaner has left %d records of %d offsets", held, ends)
		}
		return nil
	})
	t.Logf("%d records are left of %d offsets", held, ends)
	r.runTwins("bill", 20, forgetful)
}
