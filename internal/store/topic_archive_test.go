package store

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tidemarkhq/tidemark/checkpoint"
	"github.com/tidemarkhq/tidemark/internal/kafka"
	"github.com/tidemarkhq/tidemark/internal/kafkatest"
	"github.com/tidemarkhq/tidemark/internal/savepoint"
)

// A job writes its number everywhere with each checkpoint, of which archives are taken
// meanwhile: all of them hold one number, in state as in positions.
func TestTopicArchiveIsOfOneMoment(t *testing.T) {
	r := newTopicRig(t, kafkatest.Fake(t), 7)
	scopes := []checkpoint.Scope{{}, scopeOf(1), scopeOf(2), scopeOf(3), scopeOf(4)}
	topic, p := r.open(testJob), r.producer("p")
	_, err := topic.Restore(patient(t), scopes)
	require.NoError(t, err)
	p.commit(topic.Claim(p.id, claims{{}: nil})...)
	write := func(id checkpoint.ID) {
		positions := checkpoint.Positions{}
		var changes []checkpoint.Change
		for _, s := range scopes {
			if s.Topic != "" {
				positions[s] = at(checkpoint.Offset(id))
			}
			for k := range 20 {
				changes = append(changes, checkpoint.Change{
					Operator: testOperator, Scope: s, Key: []byte{byte(k)}, Value: binary.BigEndian.AppendUint64(nil, uint64(id)),
				})
			}
		}
		// One record at a time, so that there is something in between.
		w, err := topic.Checkpoint(manifestOf(testJob, id, positions), changes, p.id)
		require.NoError(t, err)
		require.NoError(t, p.cl.BeginTransaction())
		for _, rec := range w.Records {
			require.NoError(t, p.cl.ProduceSync(patient(t), rec).FirstErr())
		}
		p.end(kgo.TryCommit)
		require.NoError(t, topic.Applied(w))
	}
	write(1)
	ctx, stop := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		for id := checkpoint.ID(2); ctx.Err() == nil; id++ {
			write(id)
			// What is read is at rest now and then.
			select {
			case <-time.After(50 * time.Millisecond):
			case <-ctx.Done():
			}
		}
	})
	defer wg.Wait()
	defer stop()
	seen := map[checkpoint.ID]bool{}
	for len(seen) < 12 {
		m, changes := r.dumped(testJob)
		seen[m.ID] = true
		require.Len(t, changes, 20*len(scopes))
		for _, c := range changes {
			require.EqualValues(t, m.ID, binary.BigEndian.Uint64(c.Value), "state of %s", c.Scope)
		}
		for s, pos := range m.Positions {
			require.EqualValues(t, m.ID, pos.Next, "position of %s", s)
		}
	}
}

// What is not committed is not there, and who waits for it in vain is told what to do.
func TestTopicArchiveWaitsForOpenTransactions(t *testing.T) {
	r := newTopicRig(t, kafkatest.Fake(t), 3)
	p := r.run("orders", 3, false)
	p.begin(r.open("orders").Claim(p.id, claims{scopeOf(1): nil})...)
	impatient := func(o *TopicPlace) { o.Patience = 300 * time.Millisecond }
	err := errorOf(OpenTopicArchive(patient(t), r.place("orders", impatient)))
	var blocked *BlockedError
	require.ErrorAs(t, err, &blocked)
	require.ErrorContains(t, err, "or wait for transaction_timeout")
	p.end(kgo.TryAbort)
	m, _ := r.dumped("orders")
	require.Equal(t, checkpoint.ID(3), m.ID)
}

// Where there is no checkpoint of a partition yet, its beginning is what the first claim
// says.
func TestTopicArchiveOfAPartitionThatWasOnlyClaimed(t *testing.T) {
	r := newTopicRig(t, kafkatest.Fake(t), 3)
	p := r.run("orders", 3, true)
	first, second := at(41), at(43)
	p.commit(r.open("orders").Claim(p.id, claims{scopeOf(9): &first})...)
	r.producer("later").commit(r.open("orders").Claim("later", claims{scopeOf(9): &second})...)
	a := r.archive(r.place("orders"))
	s, err := a.Snapshot(patient(t), 0)
	require.NoError(t, err)
	defer s.Close()
	require.Equal(t, first, s.Manifest().Positions[scopeOf(9)])
	require.False(t, s.Manifest().Final)
	holders := s.(savepoint.Held).Holders()
	require.Equal(t, savepoint.Holder{ID: p.id, Checkpoint: 3, Free: true}, holders[scopeOf(1)])
	require.Equal(t, savepoint.Holder{ID: "later"}, holders[scopeOf(9)])
	_, err = a.Snapshot(patient(t), 2)
	require.ErrorIs(t, err, savepoint.ErrUnknownID)
	require.ErrorContains(t, a.Delete(patient(t), 3), "is the last one")
	require.ErrorIs(t, a.Delete(patient(t), 2), savepoint.ErrUnknownID)
}

func TestTopicArchiveSaysWhatIsMissing(t *testing.T) {
	r := newTopicRig(t, kafkatest.Fake(t), 3)
	for want, p := range map[string]TopicPlace{
		"it has no job":         r.place(""),
		"there is no topic \"x": r.place("", func(p *TopicPlace) { p.Topic = "x" }),
	} {
		err := errorOf(OpenTopicArchive(patient(t), p))
		require.ErrorIs(t, err, savepoint.ErrNoStore)
		require.ErrorContains(t, err, want)
	}
	r.run("orders", 3, true)
	require.ErrorContains(t, errorOf(OpenTopicArchive(patient(t), r.place("bills"))), `of job "bills" in topic "`+r.topic+`", which holds the jobs ["orders"]`)
}

// A job that was not stopped in good order is not deleted, unless that is forced: then it
// cannot write any more.
func TestTopicDeletesNoRunningJob(t *testing.T) {
	r := newTopicRig(t, kafkatest.Fake(t), 3)
	p := r.run("orders", 3, false)
	err := r.archive(r.place("orders")).DeleteAll(patient(t))
	require.ErrorIs(t, err, savepoint.ErrHeld)
	require.ErrorContains(t, err, fmt.Sprintf("%q: stop the job", p.id))
	p.begin(&kgo.Record{Topic: kafkatest.Topic(t, r.e, 1), Value: []byte("result")})
	err = r.archive(r.place("orders")).DeleteAll(patient(t))
	require.ErrorContains(t, err, fmt.Sprintf("%q (which has a transaction open)", p.id))
	_, all := r.dumped("orders")
	require.NotEmpty(t, all, "nothing was deleted")

	require.NoError(t, r.archive(r.place("orders", func(o *TopicPlace) { o.Force = true })).DeleteAll(patient(t)))
	r.gone("orders")
	require.Error(t, p.cl.EndTransaction(patient(t), kgo.TryCommit), "it was fenced")
}

// Each is what a source of a savepoint does while it is read for the n-th time.
type meddling struct {
	savepoint.Snapshot
	reads int
	each  func(n int)
}

func (m *meddling) Each(ctx context.Context, fn func(savepoint.Entry) error) error {
	m.reads++
	m.each(m.reads)
	return m.Snapshot.Each(ctx, fn)
}

// imported is a savepoint to import, and what it holds.
func (r *topicRig) imported(each func(n int)) (*meddling, []checkpoint.Change) {
	r.Helper()
	other := &topicRig{r, r.e, kafkatest.Unique(r), 3}
	_, err := EnsureTopic(patient(r), kafkatest.Client(r, r.e), other.topic, TopicSpec{Partitions: 3})
	require.NoError(r, err)
	other.run(testJob, 7, true)
	s, err := other.archive(other.place("")).Snapshot(patient(r), 0)
	require.NoError(r, err)
	r.Cleanup(func() { require.NoError(r, s.Close()) })
	_, all := dump(r, s)
	return &meddling{Snapshot: s, each: each}, all
}

func TestTopicImportsIntoNothingOnly(t *testing.T) {
	for name, there := range map[string]func(r *topicRig){
		"a checkpoint": func(r *topicRig) { r.run(testJob, 3, true) },
		"a claim":      func(r *topicRig) { r.producer("p").commit(r.open(testJob).Claim("p", claims{scopeOf(77): nil})...) },
	} {
		t.Run(name, func(t *testing.T) {
			r := newTopicRig(t, kafkatest.Fake(t), 3)
			there(r)
			before := kafkatest.ReadCommitted(t, r.e, r.topic)
			s, _ := r.imported(func(int) {})
			err := TopicImporter{r.place("")}.Import(patient(t), s)
			require.ErrorIs(t, err, savepoint.ErrNotEmpty)
			require.ErrorContains(t, err, fmt.Sprintf("it has job %q", testJob))
			require.Equal(t, before, kafkatest.ReadCommitted(t, r.e, r.topic), "nothing was changed")
		})
	}
}

// A job that starts while an import writes waits for its end, and finds all of it.
func TestTopicImportKeepsAJobWaiting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newTopicRig(t, kafkatest.Virtual(t), 17)
		topic := r.open(testJob)
		s, all := r.imported(func(n int) {
			if n < 2 {
				return
			}
			r.producer("job").commit(topic.Claim("job", claims{{}: nil, scopeOf(1): nil, scopeOf(2): nil})...)
			for _, scope := range []checkpoint.Scope{{}, checkpoint.Everywhere, scopeOf(1), scopeOf(2)} {
				ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
				defer cancel()
				_, err := topic.ReadClaims(ctx, []checkpoint.Scope{scope})
				var blocked *BlockedError
				require.ErrorAs(t, err, &blocked, scope)
				ids, err := topic.Look(patient(t), []checkpoint.Scope{scope})
				require.NoError(t, err)
				require.Contains(t, ids[scope], Claimant{ID: "tidemark-" + testJob + "-checkpoint-command"}, "it knows whom to fence")
			}
		})
		require.NoError(t, TopicImporter{r.place("")}.Import(patient(t), s))
		histories, err := topic.Restore(patient(t), []checkpoint.Scope{scopeOf(1), scopeOf(2), {}, checkpoint.Everywhere})
		require.NoError(t, err)
		require.Equal(t, at(10), *histories[scopeOf(1)].Last.Position)
		for _, c := range all {
			v, err := topic.Get(c.Operator, c.Scope, c.Key)
			require.NoError(t, err)
			require.Equal(t, c.Value, v)
		}
	})
}

// An import that is fenced, or whose source fails, leaves nothing, and can be done again.
func TestTopicImportIsWholeOrNotThere(t *testing.T) {
	errBad := errors.New("bad source")
	for name, break_ := range map[string]func(r *topicRig, s *meddling) savepoint.Snapshot{
		"fenced": func(r *topicRig, s *meddling) savepoint.Snapshot {
			s.each = func(n int) {
				if n == 2 {
					require.NoError(r, kafka.Fence(patient(r), kafkatest.Client(r, r.e), "tidemark-"+testJob+"-checkpoint-command"))
				}
			}
			return s
		},
		"source fails": func(_ *topicRig, s *meddling) savepoint.Snapshot { return &failing{s, errBad} },
	} {
		t.Run(name, func(t *testing.T) {
			r := newTopicRig(t, kafkatest.Fake(t), 3)
			s, all := r.imported(func(int) {})
			err := TopicImporter{r.place("")}.Import(patient(t), break_(r, s))
			require.Error(t, err)
			for _, records := range kafkatest.ReadCommitted(t, r.e, r.topic) {
				require.Empty(t, records)
			}
			r.gone(testJob)
			s.each = func(int) {}
			require.NoError(t, TopicImporter{r.place("")}.Import(patient(t), s))
			_, got := r.dumped(testJob)
			require.Equal(t, all, got)
		})
	}
}

// State that is prepared in several portions comes back as one, each value once.
func TestTopicImportsManyPortions(t *testing.T) {
	r := newTopicRig(t, kafkatest.Fake(t), 3)
	topic, p := r.open(testJob), r.producer("p")
	scopes := []checkpoint.Scope{scopeOf(1), scopeOf(2)}
	_, err := topic.Restore(patient(t), scopes)
	require.NoError(t, err)
	p.commit(topic.Claim(p.id, claims{scopes[0]: nil, scopes[1]: nil})...)
	var changes []checkpoint.Change
	for _, s := range scopes {
		for k := range 10 {
			changes = append(changes, checkpoint.Change{Operator: testOperator, Scope: s, Key: []byte{byte(k)}, Value: bytes.Repeat([]byte{byte(k)}, 1<<20)})
		}
	}
	p.persist(topic, manifestOf(testJob, 3, checkpoint.Positions{scopes[0]: at(1), scopes[1]: at(2)}), changes...)
	s, err := r.archive(r.place("")).Snapshot(patient(t), 0)
	require.NoError(t, err)
	defer s.Close()
	other := &topicRig{r, r.e, kafkatest.Unique(t), 4}
	require.NoError(t, TopicImporter{other.place("")}.Import(patient(t), s))
	m, all := other.dumped(testJob)
	require.Equal(t, s.Manifest(), m)
	require.Equal(t, changes, all)
}

// failing fails at the end of what is read for the second time.
type failing struct {
	*meddling
	err error
}

func (f *failing) Each(ctx context.Context, fn func(savepoint.Entry) error) error {
	err := f.meddling.Each(ctx, fn)
	if f.reads == 2 {
		return errors.Join(err, f.err)
	}
	return err
}

// Whoever claims between the look and the first record of an import or a deletion is seen.
func TestTopicHoldSeesWhoeverWasFaster(t *testing.T) {
	for name, claim := range map[string]func(p *producer, records []*kgo.Record){
		"committed": func(p *producer, records []*kgo.Record) { p.commit(records...) },
		"open":      func(p *producer, records []*kgo.Record) { p.begin(records...) },
	} {
		for _, mine := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s, %v", name, mine), func(t *testing.T) {
				r := newTopicRig(t, kafkatest.Fake(t), 3)
				owner := r.run(testJob, 3, true)
				a := r.archive(r.place(testJob))
				require.Empty(t, a.holding())
				// The id may be the one that had the partitions before.
				by := owner
				if !mine {
					by = r.producer("another")
				}
				claim(by, a.desk.topic.Claim(by.id, claims{scopeOf(1): nil}))
				require.ErrorIs(t, a.DeleteAll(patient(t)), savepoint.ErrHeld)
				if name == "open" {
					by.end(kgo.TryAbort)
				}
				_, all := r.dumped(testJob)
				require.NotEmpty(t, all)
				require.False(t, slices.ContainsFunc(all, func(c checkpoint.Change) bool { return c.Value == nil }))
			})
		}
	}
}

// Partitions of a snapshot that went away meanwhile are not made up for.
func TestTopicSnapshotOfARunningJob(t *testing.T) {
	r := newTopicRig(t, kafkatest.Fake(t), 3)
	scopes, changes := sampleState()
	topic, p := r.open(testJob), r.producer("p")
	_, err := topic.Restore(patient(t), append(scopes, scopeOf(3)))
	require.NoError(t, err)
	foreign := checkpoint.Change{Operator: "a", Scope: scopeOf(3), Key: []byte("k"), Value: []byte("v")}
	p.persist(topic, manifestOf(testJob, 4, checkpoint.Positions{scopeOf(3): at(5)}), foreign)
	m := manifestOf(testJob, 5, checkpoint.Positions{scopes[2]: at(10), scopes[3]: at(20)})
	p.persist(topic, m, changes...)
	share := savepoint.Share{Shard: checkpoint.Shard{Index: 1, Count: 2}}
	s, err := topic.Snapshot(m, share, true, checkpoint.Scope{}, checkpoint.Everywhere)
	require.NoError(t, err)
	require.Equal(t, savepoint.Origin{Store: savepoint.FromTopic, Place: r.topic, Share: share, Group: true}, s.Origin())

	// What comes later is not in it.
	p.persist(topic, manifestOf(testJob, 6, checkpoint.Positions{scopes[2]: at(11)}), checkpoint.Change{Operator: "a", Scope: scopes[2], Key: []byte("k9"), Value: []byte("x")})
	require.NoError(t, topic.Forget(scopes[3]))
	got, all := dump(t, s)
	require.Equal(t, m, got)
	require.Equal(t, changes, all)
	require.NoError(t, s.Close())

	_, err = topic.Snapshot(m, share, true)
	require.ErrorIs(t, err, checkpoint.ErrMoved, "one has gone on, one is gone")
	s, err = topic.Snapshot(manifestOf(testJob, 6, checkpoint.Positions{scopes[2]: at(11)}), share, true)
	require.NoError(t, err)
	require.NoError(t, s.Close())
}
