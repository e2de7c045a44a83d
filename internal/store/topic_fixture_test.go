package store

import (
	"context"
	"fmt"
	"maps"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tidemarkhq/tidemark/checkpoint"
	"github.com/tidemarkhq/tidemark/internal/kafkatest"
)

// topicRig has a store's topic on a broker.
type topicRig struct {
	testing.TB
	e          kafkatest.Endpoint
	topic      string
	partitions int
}

func newTopicRig(t testing.TB, e kafkatest.Endpoint, partitions int) *topicRig {
	t.Helper()
	r := &topicRig{t, e, kafkatest.Unique(t), partitions}
	n, err := EnsureTopic(patient(t), kafkatest.Client(t, e), r.topic, TopicSpec{Partitions: partitions})
	require.NoError(t, err)
	require.Equal(t, partitions, n)
	return r
}

// patient bounds what a test waits for.
func patient(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

func (r *topicRig) open(job string, change ...func(*TopicOptions)) *Topic {
	r.Helper()
	o := TopicOptions{Topic: r.topic, Partitions: r.partitions, Job: job, Logf: r.Logf}
	for _, c := range change {
		c(&o)
	}
	topic, err := OpenTopic(kafkatest.Client(r, r.e), o)
	require.NoError(r, err)
	r.Cleanup(func() { require.NoError(r, topic.Close()) })
	return topic
}

// producer writes transactions.
type producer struct {
	testing.TB
	cl *kgo.Client
	id string
}

func (r *topicRig) producer(id string) *producer {
	r.Helper()
	return &producer{r, kafkatest.Client(r, r.e, kgo.TransactionalID(id), kgo.RecordPartitioner(kgo.ManualPartitioner())), id}
}

// begin writes records and leaves the transaction open.
func (p *producer) begin(records ...*kgo.Record) {
	p.Helper()
	require.NoError(p, p.cl.BeginTransaction())
	require.NoError(p, p.cl.ProduceSync(patient(p), records...).FirstErr())
}

func (p *producer) end(how kgo.TransactionEndTry) {
	p.Helper()
	require.NoError(p, p.cl.EndTransaction(patient(p), how))
}

func (p *producer) commit(records ...*kgo.Record) {
	p.Helper()
	p.begin(records...)
	p.end(kgo.TryCommit)
}

func (p *producer) abort(records ...*kgo.Record) {
	p.Helper()
	p.begin(records...)
	p.end(kgo.TryAbort)
}

// persist is what the owner of a store does for each checkpoint.
func (p *producer) persist(t *Topic, m *checkpoint.Manifest, changes ...checkpoint.Change) {
	p.Helper()
	w, err := t.Checkpoint(m, changes, p.id)
	require.NoError(p, err)
	p.commit(w.Records...)
	require.NoError(p, t.Applied(w))
}

func manifestOf(job string, id checkpoint.ID, positions checkpoint.Positions) *checkpoint.Manifest {
	return &checkpoint.Manifest{
		Job: job, ID: id, Kind: checkpoint.Aligned, Taken: time.Unix(int64(id), 7).UTC(), Positions: positions,
	}
}

func at(next checkpoint.Offset) checkpoint.Position {
	return checkpoint.Position{Next: next, LeaderEpoch: 1, Stop: checkpoint.Unbounded}
}

func scopeOf(id int32) checkpoint.Scope {
	return checkpoint.Scope{Source: "in", Topic: "orders", ID: id}
}

// twin is what a topic store must hold of a job, kept by a plain map.
type twin struct {
	positions checkpoint.Positions
	// state by operator, scope and key.
	state map[checkpoint.Scope]map[string]map[string]string
}

func newTwin() *twin {
	return &twin{checkpoint.Positions{}, map[checkpoint.Scope]map[string]map[string]string{}}
}

func (w *twin) apply(positions checkpoint.Positions, changes []checkpoint.Change) {
	maps.Copy(w.positions, positions)
	for _, c := range changes {
		of := w.state[c.Scope]
		if of == nil {
			of = map[string]map[string]string{}
			w.state[c.Scope] = of
		}
		if of[c.Operator] == nil {
			of[c.Operator] = map[string]string{}
		}
		if c.Value == nil {
			delete(of[c.Operator], string(c.Key))
		} else {
			of[c.Operator][string(c.Key)] = string(c.Value)
		}
	}
}

// require compares a scope of a store with the twin.
func (w *twin) require(t testing.TB, topic *Topic, s checkpoint.Scope, operators ...string) {
	t.Helper()
	for _, operator := range operators {
		found := map[string]string{}
		last := ""
		require.NoError(t, topic.Scan(operator, s, nil, nil, func(key, value []byte) error {
			if len(found) > 0 && string(key) <= last {
				return fmt.Errorf("key %q after %q", key, last)
			}
			last = string(key)
			found[last] = string(value)
			return nil
		}))
		want := w.state[s][operator]
		if want == nil {
			want = map[string]string{}
		}
		require.True(t, maps.Equal(want, found), "state of %s, %s: want %s, found %s", operator, s, sizes(want), sizes(found))
		for k, v := range want {
			got, err := topic.Get(operator, s, []byte(k))
			require.NoError(t, err)
			require.Equal(t, v, string(got))
		}
	}
}

// sizes shows state by the lengths of its values, which are long.
func sizes(state map[string]string) string {
	short := map[string]string{}
	for k, v := range state {
		short[k] = fmt.Sprintf("%d×%.1s", len(v), v)
	}
	return fmt.Sprint(short)
}
