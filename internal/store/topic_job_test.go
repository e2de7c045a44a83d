package store

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tidemarkhq/tidemark/checkpoint"
	"github.com/tidemarkhq/tidemark/internal/kafka"
	"github.com/tidemarkhq/tidemark/internal/kafkatest"
	"github.com/tidemarkhq/tidemark/internal/savepoint"
)

// place is where a job is, as who works on it from outside names it.
func (r *topicRig) place(job string, change ...func(*TopicPlace)) TopicPlace {
	p := TopicPlace{
		Connection: kafka.Connection{SeedBrokers: r.e.Seeds()}, Topic: r.topic, Job: job,
		Spec: TopicSpec{Partitions: r.partitions}, Patience: 30 * time.Second,
	}
	if d, ok := r.e.(interface {
		Dial(ctx context.Context, network, address string) (net.Conn, error)
	}); ok {
		p.Connection.Dial = d.Dial
	}
	for _, c := range change {
		c(&p)
	}
	return p
}

func (r *topicRig) archive(p TopicPlace) *TopicArchive {
	r.Helper()
	a, err := OpenTopicArchive(patient(r), p)
	require.NoError(r, err)
	r.Cleanup(func() { require.NoError(r, a.Close()) })
	return a
}

// dumped is the checkpoint of a job, with its state in order.
func (r *topicRig) dumped(job string) (*checkpoint.Manifest, []checkpoint.Change) {
	r.Helper()
	s, err := r.archive(r.place(job)).Snapshot(patient(r), 0)
	require.NoError(r, err)
	m, changes := dump(r, s)
	require.NoError(r, s.Close())
	return m, changes
}

// dump is what a snapshot holds.
func dump(t testing.TB, s savepoint.Snapshot) (*checkpoint.Manifest, []checkpoint.Change) {
	t.Helper()
	var changes []checkpoint.Change
	require.NoError(t, s.Each(patient(t), func(e savepoint.Entry) error {
		changes = append(changes, checkpoint.Change{Operator: e.Operator, Scope: e.Scope, Key: bytes.Clone(e.Key), Value: bytes.Clone(e.Value)})
		return nil
	}))
	return s.Manifest(), changes
}

func (r *topicRig) gone(job string) {
	r.Helper()
	_, err := OpenTopicArchive(patient(r), r.place(job))
	require.ErrorIs(r, err, savepoint.ErrNoStore)
}

// sampleState has state of the process, of what is everywhere and of two partitions, with
// values of several chunks and empty ones.
func sampleState() (scopes []checkpoint.Scope, changes []checkpoint.Change) {
	scopes = []checkpoint.Scope{{}, checkpoint.Everywhere, scopeOf(1), scopeOf(2)}
	for _, operator := range []string{"a", "b"} {
		for i, s := range scopes {
			for k := range 3 {
				changes = append(changes, checkpoint.Change{
					Operator: operator, Scope: s, Key: fmt.Appendf(nil, "k%d", k), Value: bytes.Repeat([]byte{byte('a' + i)}, k*smallRecord),
				})
			}
		}
	}
	return scopes, changes
}

// run is a job that claims, writes one checkpoint and, if asked to, gives up in good order.
func (r *topicRig) run(job string, id checkpoint.ID, final bool) *producer {
	r.Helper()
	scopes, changes := sampleState()
	topic, p := r.open(job, smallRecords), r.producer("tidemark-"+job+"-0-of-1")
	_, err := topic.Restore(patient(r), scopes)
	require.NoError(r, err)
	first := at(1)
	p.commit(topic.Claim(p.id, claims{{}: nil, scopes[2]: &first, scopes[3]: &first})...)
	m := manifestOf(job, id, checkpoint.Positions{scopes[2]: at(10), scopes[3]: at(20)})
	m.Final = final
	p.persist(topic, m, changes...)
	return p
}

// What is exported and imported is the same, wherever it goes, and what is deleted is gone;
// other jobs in the topic stay as they are.
func TestTopicMovesAndIsDeleted(t *testing.T) {
	c := kafkatest.Fake(t)
	for _, partitions := range []int{1, 2, 5} {
		t.Run(fmt.Sprint(partitions), func(t *testing.T) {
			r := newTopicRig(t, c, partitions)
			r.run("orders", 7, true)
			_, want := sampleState()
			m, all := r.dumped("orders")
			require.Equal(t, checkpoint.Positions{scopeOf(1): at(10), scopeOf(2): at(20)}, m.Positions)
			require.Equal(t, checkpoint.ID(7), m.ID)
			require.True(t, m.Final)
			require.Equal(t, want, all, "in order")

			// To a folder, by a file, and back to another topic, with another number of partitions.
			a := r.archive(r.place(""))
			require.Equal(t, "orders", a.Job(), "it is the only one")
			s, err := a.Snapshot(patient(t), 7)
			require.NoError(t, err)
			path := filepath.Join(t.TempDir(), "file")
			sum, err := savepoint.Write(patient(t), path, s)
			require.NoError(t, err)
			require.EqualValues(t, len(want), sum.Keys())
			require.NoError(t, s.Close())
			file, err := savepoint.Open(patient(t), path)
			require.NoError(t, err)
			defer file.Close()
			require.Equal(t, savepoint.Origin{Store: savepoint.FromTopic, Place: r.topic}, file.Origin())
			folder := filepath.Join(t.TempDir(), "store")
			require.NoError(t, Importer{Options{Directory: folder}}.Import(patient(t), file))
			dir, err := OpenArchive(Options{Directory: folder})
			require.NoError(t, err)
			defer dir.Close()
			back, err := dir.Snapshot(patient(t), 0)
			require.NoError(t, err)
			defer back.Close()
			elsewhere := &topicRig{r, c, kafkatest.Unique(t), partitions + 3}
			small := func(p *TopicPlace) { p.MaxRecord = smallRecord }
			require.NoError(t, TopicImporter{elsewhere.place("", small)}.Import(patient(t), back))
			n, all := elsewhere.dumped("orders")
			require.Equal(t, m, n)
			require.Equal(t, want, all)
			require.Empty(t, elsewhere.archive(elsewhere.place("orders")).holding(), "nobody has it")

			// Imported into another job of the same topic it leaves the first one alone.
			renamed, err := savepoint.Merge([]*savepoint.File{file}, savepoint.Target{Job: "bills"})
			require.NoError(t, err)
			require.NoError(t, TopicImporter{r.place("")}.Import(patient(t), renamed))
			_, all = r.dumped("bills")
			require.Equal(t, want, all)
			require.ErrorContains(t, errorOf(OpenTopicArchive(patient(t), r.place(""))), `holds the jobs ["bills" "orders"]`)

			require.NoError(t, r.archive(r.place("orders")).DeleteAll(patient(t)))
			r.gone("orders")
			for _, records := range kafkatest.ReadCommitted(t, c, r.rewritten(false).topic) {
				for _, rec := range records {
					require.Contains(t, string(rec.Key), "bills")
				}
			}
			_, all = r.dumped("bills")
			require.Equal(t, want, all)
		})
	}
}

func errorOf(_ *TopicArchive, err error) error { return err }

// What others committed since is in what the store knew before it read that they erased it.
func TestTopicSeesThatAJobWasErased(t *testing.T) {
	r := newTopicRig(t, kafkatest.Fake(t), 2)
	s := scopeOf(1)
	topic, p := r.open(testJob), r.producer("p")
	_, err := topic.Restore(patient(t), []checkpoint.Scope{s})
	require.NoError(t, err)
	p.persist(topic, manifestOf(testJob, 1, checkpoint.Positions{s: at(1)}))
	require.NotNil(t, r.claimsOf(topic, s).Last)
	require.NoError(t, topic.Erase(patient(t), func(records []*kgo.Record) error {
		p.commit(records...)
		return nil
	}))
	require.Nil(t, r.claimsOf(topic, s).Last)
}

// The local copy is never trusted, and another process is kept out of its folder.
func TestTopicEmptiesItsFolder(t *testing.T) {
	r := newTopicRig(t, kafkatest.Fake(t), 2)
	s, fs := scopeOf(1), vfs.NewMem()
	inFolder := func(o *TopicOptions) { o.Directory, o.FS = "data/copy-of-topic", fs }
	topic, p := r.open(testJob, inFolder), r.producer("p")
	restore := func(topic *Topic) string {
		_, err := topic.Restore(patient(t), []checkpoint.Scope{s})
		require.NoError(t, err)
		v, err := topic.Get(testOperator, s, []byte("k"))
		require.NoError(t, err)
		return string(v)
	}
	require.Empty(t, restore(topic))
	_, err := OpenTopic(nil, TopicOptions{Topic: "t", Partitions: 1, Job: "j", Directory: "data/copy-of-topic", FS: fs})
	require.ErrorIs(t, err, checkpoint.ErrLocked)
	w, err := topic.Checkpoint(manifestOf(testJob, 1, nil), []checkpoint.Change{{Operator: testOperator, Scope: s, Key: []byte("k"), Value: []byte("v")}}, "p")
	require.NoError(t, err)
	p.abort(w.Records...)
	require.NoError(t, topic.Applied(w)) // a lie, to tell the copy from the topic
	require.NoError(t, topic.Close())
	_, err = topic.Get(testOperator, s, []byte("k"))
	require.ErrorIs(t, err, errClosed)

	// A process that was killed leaves its copy behind.
	require.NoError(t, fs.MkdirAll("data/copy-of-topic/copy/sub", 0o755))
	topic = r.open(testJob, inFolder)
	require.Empty(t, restore(topic))
}

func TestTopicOptionsAreChecked(t *testing.T) {
	_, err := OpenTopic(nil, TopicOptions{MaxRecord: 100})
	require.ErrorIs(t, err, checkpoint.ErrFatal)
	for _, text := range []string{"checkpoint.store.topic is empty", "checkpoint.job is empty", "number of partitions is 0", "bounded to 100 bytes"} {
		require.ErrorContains(t, err, text)
	}
}

// State is read beside checkpoints of the same scope and the restoring of others, and is
// always that of one checkpoint.
func TestTopicIsReadBesideChanges(t *testing.T) {
	r := newTopicRig(t, kafkatest.Fake(t), 3)
	mine, others := scopeOf(1), []checkpoint.Scope{scopeOf(2), scopeOf(3), scopeOf(4)}
	topic, p := r.open(testJob, smallRecords), r.producer("p")
	for _, s := range append(others, mine) {
		_, err := topic.Restore(patient(t), []checkpoint.Scope{s})
		require.NoError(t, err)
	}
	var wg sync.WaitGroup
	ctx, stop := context.WithCancel(t.Context())
	errs := make(chan error, 10)
	report := func(err error) {
		if err != nil && ctx.Err() == nil {
			errs <- err
			stop()
		}
	}
	wg.Go(func() {
		for ctx.Err() == nil {
			values := map[string]bool{}
			report(topic.Scan(testOperator, mine, nil, nil, func(_, value []byte) error {
				values[string(value)] = true
				return nil
			}))
			if len(values) > 1 {
				report(fmt.Errorf("values of %d checkpoints", len(values)))
			}
			_, err := topic.Get(testOperator, mine, []byte("k1"))
			report(err)
		}
	})
	wg.Go(func() {
		for i := 0; ctx.Err() == nil; i++ {
			s := others[i%len(others)]
			report(topic.Forget(s))
			_, err := topic.Restore(ctx, []checkpoint.Scope{s})
			report(err)
		}
	})
	for id := range checkpoint.ID(40) {
		var changes []checkpoint.Change
		for k := range 5 {
			changes = append(changes, checkpoint.Change{
				Operator: testOperator, Scope: mine, Key: fmt.Appendf(nil, "k%d", k), Value: bytes.Repeat([]byte{byte(id)}, int(id)*300),
			})
		}
		p.persist(topic, manifestOf(testJob, id+1, checkpoint.Positions{mine: at(checkpoint.Offset(id))}), changes...)
	}
	stop()
	wg.Wait()
	select {
	case err := <-errs:
		require.NoError(t, err)
	case <-time.After(0):
	}
}
