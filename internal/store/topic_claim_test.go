package store

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/tidemarkhq/tidemark/checkpoint"
	"github.com/tidemarkhq/tidemark/internal/kafkatest"
)

type claims = map[checkpoint.Scope]*checkpoint.Position

// said is what a history tells, without offsets and times.
func said(h History) []string {
	var all []string
	for _, e := range h.Events {
		all = append(all, e.Kind.String()+" "+e.ID)
	}
	return all
}

func (r *topicRig) claimsOf(t *Topic, s checkpoint.Scope) History {
	r.Helper()
	all, err := t.ReadClaims(patient(r), []checkpoint.Scope{s})
	require.NoError(r, err)
	return all[s]
}

func TestTopicClaims(t *testing.T) {
	r := newTopicRig(t, kafkatest.Fake(t), 4)
	s, other := scopeOf(1), scopeOf(2)
	pos := at(17)
	now := time.Unix(5, 6).UTC()
	a := r.open(testJob, func(o *TopicOptions) { o.Now = func() time.Time { return now } })
	require.Empty(t, r.claimsOf(a, s).Events)

	x, y := r.producer("x"), r.producer("y")
	x.commit(a.Claim("x", claims{s: &pos, other: nil})...)
	h := r.claimsOf(a, s)
	require.Equal(t, []Event{{Kind: Claimed, ID: "x", Offset: h.Events[0].Offset, Position: &pos, Taken: now, Claim: NoOffset}}, h.Events)
	require.Nil(t, h.Last)
	claimed := h.Events[0].Offset

	// The first checkpoint establishes the claim, although nothing has moved.
	_, err := a.Restore(patient(t), []checkpoint.Scope{s})
	require.NoError(t, err)
	m := manifestOf(testJob, 1, checkpoint.Positions{s: pos})
	x.persist(a, m)
	h = r.claimsOf(a, s)
	require.Equal(t, []string{"claimed x", "checkpointed x"}, said(h))
	require.Equal(t, Event{
		Kind: Checkpointed, ID: "x", Offset: h.Last.Offset, Position: &pos, Taken: m.Taken,
		Checkpoint: 1, Cut: checkpoint.Aligned, Claim: claimed,
	}, *h.Last)
	w, err := a.Checkpoint(manifestOf(testJob, 2, checkpoint.Positions{s: pos}), nil, "x")
	require.NoError(t, err)
	require.Empty(t, w.Records, "nothing has moved and the claim is established")
	require.Zero(t, w.Bytes)
	final := manifestOf(testJob, 2, checkpoint.Positions{s: pos})
	final.Final = true
	w, err = a.Checkpoint(final, nil, "x")
	require.NoError(t, err)
	require.Len(t, w.Records, 1, "that it is the final one is news")

	// A claim anew replaces the record of the one before; the checkpoint still tells of it.
	x.commit(a.Claim("x", claims{s: &pos})...)
	h = r.claimsOf(a, s)
	require.Equal(t, []string{"checkpointed x", "claimed x"}, said(h))
	require.Equal(t, claimed, h.Last.Claim)
	w, err = a.Checkpoint(manifestOf(testJob, 3, checkpoint.Positions{s: pos}), nil, "x")
	require.NoError(t, err)
	require.Len(t, w.Records, 1, "the new claim is not established yet")

	// Another process takes over, and the claims that it has no use for are retired.
	b := r.open(testJob)
	y.commit(b.Claim("y", claims{s: nil})...)
	require.Equal(t, []string{"checkpointed x", "claimed x", "claimed y"}, said(r.claimsOf(b, s)))
	x.commit(a.Release("x", s, other)...)
	require.Equal(t, []string{"checkpointed x", "claimed y", "released x"}, said(r.claimsOf(b, s)))
	y.commit(b.Retire("x", s)...)
	require.Equal(t, []string{"checkpointed x", "claimed y", "retired x"}, said(r.claimsOf(b, s)))
	require.Equal(t, []string{"released x"}, said(r.claimsOf(a, other)))
	require.Equal(t, []string{"checkpointed x", "claimed y", "retired x"}, said(r.claimsOf(r.open(testJob), s)))
}

func TestTopicLookDoesNotWait(t *testing.T) {
	r := newTopicRig(t, kafkatest.Fake(t), 4)
	s := scopeOf(1)
	topic := r.open(testJob)
	look := func(topic *Topic) (ids []string) {
		found, err := topic.Look(patient(t), []checkpoint.Scope{s})
		require.NoError(t, err)
		for _, c := range found[s] {
			ids = append(ids, strings.TrimSpace(c.ID+" "+map[bool]string{true: "released"}[c.Released]+map[bool]string{true: ", perhaps"}[c.Unsettled]))
		}
		return ids
	}
	require.Empty(t, look(topic))
	gone := r.producer("gone")
	gone.commit(topic.Claim("gone", claims{s: nil})...)
	r.producer("aborted").abort(topic.Claim("aborted", claims{s: nil})...)
	open := r.producer("open")
	open.begin(topic.Claim("open", claims{s: nil})...)
	late := r.producer("late")
	late.commit(topic.Claim("late", claims{s: nil})...)
	require.Equal(t, []string{"gone", "late", "open"}, look(topic), "what was aborted in front of what is open is known to be so")
	gone.commit(topic.Release("gone", s)...)
	late.commit(topic.Release("late", s)...)
	late.commit(topic.Claim("late", claims{s: nil})...)
	require.Equal(t, []string{"gone released, perhaps", "late", "open"}, look(topic), "also behind what is open")
	open.end(kgo.TryAbort)
	require.Equal(t, []string{"gone released", "late"}, look(topic))
	require.Equal(t, []string{"gone released", "late"}, look(r.open(testJob)))
}

// Claimants are asked for beside whatever reads, by who does not read the store otherwise.
func TestTopicClaimantsAreTheMembersInWhatIsNotStable(t *testing.T) {
	r := newTopicRig(t, kafkatest.Fake(t), 4)
	s, other := scopeOf(1), scopeOf(2)
	topic := r.open(testJob)
	claim := func(id, member string, of ...checkpoint.Scope) []*kgo.Record {
		wanted := claims{}
		for _, s := range of {
			wanted[s] = nil
		}
		records := topic.Claim(id, wanted)
		for _, c := range records[1:] {
			NameMember(c, member)
		}
		return records
	}
	of := func(scopes ...checkpoint.Scope) map[string][]string {
		found, err := topic.Claimants(patient(t), scopes)
		require.NoError(t, err)
		return found
	}
	require.Empty(t, of(s, other))
	r.producer("settled").commit(claim("settled", "m-0", s)...)
	require.Empty(t, of(s, other), "what is committed is told by other means")
	open := r.producer("open")
	open.begin(append(claim("open", "m-1", s, other), topic.Claim("unnamed", claims{s: nil})[1])...)
	r.producer("behind").commit(claim("behind", "m-2", s)...)
	require.Equal(t, map[string][]string{"open": {"m-1"}, "behind": {"m-2"}}, of(s))
	require.Equal(t, []string{"m-1"}, of(other)["open"])
	require.Empty(t, of(scopeOf(3)))
	open.end(kgo.TryAbort)
	require.Empty(t, of(s, other))
}

// blocked gives up what reads once it has asked in vain, and returns what it says then.
func (r *topicRig) blocked(read func(context.Context) error) (*BlockedError, error) {
	r.Helper()
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	c := r.e.(*kafkatest.Cluster)
	before := c.Count(kmsg.Fetch)
	result := make(chan error, 1)
	go func() { result <- read(ctx) }()
	// One of them may be for the first partition, and each follows the answer to another.
	kafkatest.Eventually(r, time.Minute, "it waits", func() bool { return c.Count(kmsg.Fetch) >= before+4 })
	cancel()
	err := <-result
	var blocked *BlockedError
	require.ErrorAs(r, err, &blocked)
	return blocked, err
}

// Reading waits for open transactions below the high watermark, says which, and goes on where
// it was.
func TestTopicSaysWhatItWaitsFor(t *testing.T) {
	r := newTopicRig(t, kafkatest.Fake(t), 2)
	s := scopeOf(1)
	topic := r.open(testJob)
	p, q := r.producer("p"), r.producer("q")
	p.commit(topic.Claim("p", claims{s: nil})...)
	q.begin(topic.Claim("q", claims{s: nil})...)
	p.commit(topic.Release("p", s)...)
	end := kafkatest.Ends(t, r.e, r.topic)[1]

	for _, read := range []func(context.Context, []checkpoint.Scope) (map[checkpoint.Scope]History, error){topic.ReadClaims, topic.Restore} {
		blocked, err := r.blocked(func(ctx context.Context) error {
			_, err := read(ctx, []checkpoint.Scope{s})
			return err
		})
		require.ErrorIs(t, err, context.Canceled)
		require.NotErrorIs(t, err, checkpoint.ErrFatal)
		require.Equal(t, BlockedError{Topic: r.topic, Partition: 1, LastStable: 2, HighWatermark: end, Cause: blocked.Cause}, *blocked)
		require.ErrorContains(t, err, "open transaction")
	}
	_, err := topic.Get(testOperator, s, nil)
	require.ErrorIs(t, err, checkpoint.ErrNotRestored)

	// Somebody ends it while it is waited for.
	result := make(chan error, 1)
	var h map[checkpoint.Scope]History
	go func() {
		var err error
		h, err = topic.Restore(t.Context(), []checkpoint.Scope{s})
		result <- err
	}()
	c := r.e.(*kafkatest.Cluster)
	fetches := c.Count(kmsg.Fetch)
	kafkatest.Eventually(t, 10*time.Second, "it waits", func() bool { return c.Count(kmsg.Fetch) > fetches })
	q.end(kgo.TryAbort)
	require.NoError(t, <-result)
	require.Equal(t, []string{"released p"}, said(h[s]))
}

// Markers and aborted records at the end are nothing to wait for.
func TestTopicIsReadToItsEnd(t *testing.T) {
	r := newTopicRig(t, kafkatest.Fake(t), 2)
	s := scopeOf(1)
	topic := r.open(testJob)
	p := r.producer("p")
	for range 3 {
		p.abort(topic.Claim("p", claims{s: nil})...)
		require.Empty(t, r.claimsOf(topic, s).Events)
		require.Equal(t, kafkatest.Ends(t, r.e, r.topic)[1], topic.homeOf(s).next)
	}
	fetches := r.e.(*kafkatest.Cluster).Count(kmsg.Fetch)
	require.Empty(t, r.claimsOf(topic, s).Events)
	require.Equal(t, fetches, r.e.(*kafkatest.Cluster).Count(kmsg.Fetch), "nothing is new, so nothing is fetched")
	require.Empty(t, r.claimsOf(r.open(testJob), s).Events)
}

// The owner's own copy does not go back while what it wrote itself is read again.
func TestTopicReadsOwnRecordsOnce(t *testing.T) {
	r := newTopicRig(t, kafkatest.Fake(t), 2)
	s := scopeOf(1)
	topic, p := r.open(testJob), r.producer("p")
	restore := func() {
		_, err := topic.Restore(patient(t), []checkpoint.Scope{s})
		require.NoError(t, err)
	}
	restore()
	set := func(v string) checkpoint.Change {
		return checkpoint.Change{Operator: testOperator, Scope: s, Key: []byte("k"), Value: []byte(v)}
	}
	p.persist(topic, manifestOf(testJob, 1, nil), set("1"))
	p.persist(topic, manifestOf(testJob, 2, nil), set("2"))
	n := topic.homeOf(s).scopes[string(scopeKey(s))]
	require.Equal(t, kafkatest.Ends(t, r.e, r.topic)[1]-1, n.upTo, "all but the marker")
	// What somebody else has written since is taken.
	foreign := r.open(testJob)
	_, err := foreign.Restore(patient(t), []checkpoint.Scope{s})
	require.NoError(t, err)
	r.producer("q").persist(foreign, manifestOf(testJob, 3, nil), set("3"))
	restore()
	v, err := topic.Get(testOperator, s, []byte("k"))
	require.NoError(t, err)
	require.Equal(t, "3", string(v))
	require.Equal(t, "q", n.last.ID)
}

// A scope that is here stays as it is while a neighbour in its partition is read from the
// start, also if that has to wait among the records that the scope has long since replaced.
func TestTopicDoesNotGoBackForANeighbour(t *testing.T) {
	r := newTopicRig(t, kafkatest.Fake(t), 2)
	s, neighbour := scopeOf(1), scopeOf(2)
	topic, p, q := r.open(testJob), r.producer("p"), r.producer("q")
	_, err := topic.Restore(patient(t), []checkpoint.Scope{s})
	require.NoError(t, err)
	persist := func(id checkpoint.ID, v string) {
		p.persist(topic, manifestOf(testJob, id, nil), checkpoint.Change{Operator: testOperator, Scope: s, Key: []byte("k"), Value: []byte(v)})
	}
	persist(1, "1")
	q.begin(topic.Claim("q", claims{neighbour: nil})...)
	persist(2, "2")
	r.blocked(func(ctx context.Context) error {
		_, err := topic.Restore(ctx, []checkpoint.Scope{s, neighbour})
		return err
	})
	v, err := topic.Get(testOperator, s, []byte("k"))
	require.NoError(t, err)
	require.Equal(t, "2", string(v))
	q.end(kgo.TryAbort)
}

func TestTopicRefusesWhatIsNotRestored(t *testing.T) {
	r := newTopicRig(t, kafkatest.Fake(t), 2)
	s := scopeOf(1)
	topic, p := r.open(testJob), r.producer("p")
	stop := errors.New("stop")
	scan := func() error {
		return topic.Scan(testOperator, s, nil, nil, func([]byte, []byte) error { return stop })
	}
	change := checkpoint.Change{Operator: testOperator, Scope: s, Key: []byte("k"), Value: []byte("v")}
	m := manifestOf(testJob, 1, checkpoint.Positions{s: at(1)})
	refused := func() {
		t.Helper()
		_, err := topic.Get(testOperator, s, []byte("k"))
		require.ErrorIs(t, err, checkpoint.ErrNotRestored)
		require.ErrorIs(t, scan(), checkpoint.ErrNotRestored)
		_, err = topic.Checkpoint(manifestOf(testJob, 1, nil), []checkpoint.Change{change}, "p")
		require.ErrorIs(t, err, checkpoint.ErrNotRestored)
		_, err = topic.Checkpoint(manifestOf(testJob, 1, checkpoint.Positions{s: at(2)}), nil, "p")
		require.ErrorIs(t, err, checkpoint.ErrNotRestored)
	}
	refused()
	_, err := topic.Restore(patient(t), []checkpoint.Scope{s})
	require.NoError(t, err)
	p.persist(topic, m, change)
	require.ErrorIs(t, scan(), stop)
	late, err := topic.Checkpoint(manifestOf(testJob, 2, nil), []checkpoint.Change{change}, "p")
	require.NoError(t, err)
	_, err = topic.Checkpoint(manifestOf("bills", 2, nil), nil, "p")
	require.ErrorIs(t, err, ErrOtherJob)
	change.Key = make([]byte, DefaultMaxRecord)
	_, err = topic.Checkpoint(manifestOf(testJob, 2, nil), []checkpoint.Change{change}, "p")
	require.ErrorContains(t, err, "a key of 900000 bytes")
	change.Key = []byte("k")

	require.NoError(t, topic.Forget(s))
	refused()
	require.NoError(t, topic.Applied(late))
	refused()
	w, err := topic.Checkpoint(m, nil, "p")
	require.NoError(t, err, "nothing new about it")
	require.Empty(t, w.Records)
	_, err = topic.Restore(patient(t), []checkpoint.Scope{s})
	require.NoError(t, err)
	require.ErrorIs(t, scan(), stop)
}

// A takeover reads while checkpoints go on: where the log ends may be older than what the
// process has written since.
func TestTopicReadBesideACheckpoint(t *testing.T) {
	r := newTopicRig(t, kafkatest.Fake(t), 1)
	p := r.producer("p")
	s, other := scopeOf(1), scopeOf(2)
	direct := r.e
	proxy := kafkatest.NewProxy(t, direct)
	r.e = proxy
	topic := r.open(testJob)
	p.commit(topic.Claim(p.id, claims{s: nil})...)
	_, err := topic.Restore(patient(t), []checkpoint.Scope{s})
	require.NoError(t, err)
	p.persist(topic, manifestOf(testJob, 1, checkpoint.Positions{s: at(10)}))
	start := proxy.HoldAnswers(kmsg.ListOffsets)
	read := make(chan error, 1)
	go func() {
		_, err := topic.ReadClaims(patient(t), []checkpoint.Scope{other})
		read <- err
	}()
	start.Await(t, 1, time.Minute)
	end := proxy.HoldAnswers(kmsg.ListOffsets)
	start.Release()
	end.Await(t, 1, time.Minute)
	p.persist(topic, manifestOf(testJob, 2, checkpoint.Positions{s: at(20)}))
	end.Release()
	require.NoError(t, <-read)
}
