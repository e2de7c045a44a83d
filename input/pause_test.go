package input

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tidemarkhq/tidemark/checkpoint"
)

// TestPausedLaneIsResumedByThePipeline: while the poller waits inside a poll for
// partitions that have no more records, nobody else resumes a lane that was far
// ahead and is used up by now.
func TestPausedLaneIsResumedByThePipeline(t *testing.T) {
	client, err := kgo.NewClient(kgo.SeedBrokers("127.0.0.1:1"))
	require.NoError(t, err)
	defer client.Close()
	s := &source{conf: Config{MaxBatchRecords: 2}, wake: make(chan struct{}, 1), room: make(chan struct{}, 1)}
	s.mu.client = client
	s.mu.lanes = map[topicPartition]*lane{}
	ahead, hungry := flowingLane(0, checkpoint.Unbounded), newLane("t", 1)
	hungry.begin(starting{stop: checkpoint.Unbounded})
	for _, l := range []*lane{ahead, hungry} {
		s.mu.lanes[topicPartition{l.topic, l.partition}] = l
		s.mu.order = append(s.mu.order, l)
	}
	var all []int64
	for o := range int64(40) {
		all = append(all, o)
	}
	heavy, value := records(all...), make([]byte, 1<<20)
	for _, r := range heavy {
		r.Value = value
	}
	ahead.accept(heavy)
	hungry.end = 10
	require.True(t, s.wantsRecords(false), "one is short and has more")
	require.True(t, ahead.paused)
	require.Equal(t, map[string][]int32{"t": {0}}, client.PauseFetchPartitions(nil))
	for ahead.queued > 20 {
		b, _, _ := s.pick()
		require.NotNil(t, b)
	}
	require.True(t, ahead.paused)
	for ahead.queued > 4 {
		s.pick()
	}
	require.False(t, ahead.paused, "long before it is used up")
	require.Empty(t, client.PauseFetchPartitions(nil))
}

func TestPartitionsAtTheirEndDoNotMakeThePollerFetchOthersWithoutEnd(t *testing.T) {
	s := &source{conf: Config{MaxBatchRecords: 2}, wake: make(chan struct{}, 1), room: make(chan struct{}, 1)}
	full, over := flowingLane(0, checkpoint.Unbounded), newLane("t", 1)
	over.begin(starting{stop: checkpoint.Unbounded})
	s.mu.lanes = map[topicPartition]*lane{{"t", 0}: full, {"t", 1}: over}
	require.True(t, s.wantsRecords(false), "nobody has plenty")
	full.accept(records(0, 1, 2, 3, 4, 5))
	over.end = 0
	require.False(t, s.wantsRecords(false))
	require.True(t, s.wantsRecords(true), "after a while it is looked at")
	over.end = 1
	require.True(t, s.wantsRecords(false), "it has more")
	over.accept(records(0, 1, 2, 3))
	require.False(t, s.wantsRecords(true), "both have plenty")
}

// A batch that was picked when its partition is revoked is not emitted: nobody will
// answer for it, so the revoke must not wait. Nor must it wait until the batch has been
// refused: in a rewind that would be when the rewind is over, which waits for the revoke.
func TestABatchThatIsNotEmittedIsNotWaitedFor(t *testing.T) {
	for name, refused := range map[string]error{"not emitted": nil, "not let in": checkpoint.ErrDead} {
		t.Run(name, func(t *testing.T) {
			s := &source{conf: Config{MaxBatchRecords: 2, Ordered: true}, wake: make(chan struct{}, 1), room: make(chan struct{}, 1), answered: make(chan struct{}, 1)}
			l := flowingLane(0, checkpoint.Unbounded)
			s.mu.lanes = map[topicPartition]*lane{{"t", 0}: l}
			s.mu.order = []*lane{l}
			l.accept(records(0, 1, 2))
			var lanes []*lane
			s.handle = entering{enter: func() (*checkpoint.Entry, error) {
				lanes = s.drainLanes(map[string][]int32{"t": {0}})
				require.True(t, s.drained(lanes), "it was picked, and will not be let in")
				return &checkpoint.Entry{}, refused
			}}
			ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
			defer cancel()
			_, _, err := s.ReadBatch(ctx)
			require.Error(t, err, "there is nothing to emit")
			require.True(t, s.drained(lanes))
			require.Zero(t, l.inflight)
			require.Len(t, s.answered, 1, "who drains is woken")
			require.Equal(t, checkpoint.Offset(0), l.prefix.Position(), "its position does not move")
		})
	}
}

// What was emitted before is waited for.
func TestABatchThatIsEmittedIsWaitedFor(t *testing.T) {
	s := &source{conf: Config{MaxBatchRecords: 2}, wake: make(chan struct{}, 1), room: make(chan struct{}, 1), answered: make(chan struct{}, 1)}
	l := flowingLane(0, checkpoint.Unbounded)
	s.mu.lanes = map[topicPartition]*lane{{"t", 0}: l}
	s.mu.order = []*lane{l}
	l.accept(records(0, 1, 2, 3))
	b, _, _ := s.pick()
	require.True(t, s.emit(b, &checkpoint.Entry{}))
	second, _, _ := s.pick()
	lanes := s.drainLanes(map[string][]int32{"t": {0}})
	require.False(t, s.drained(lanes), "the first one is under way")
	s.giveUp(second)
	require.False(t, s.drained(lanes))
	s.giveUp(b)
	require.True(t, s.drained(lanes))
}

// entering is a handle whose Enter is replaced.
type entering struct {
	left
	enter func() (*checkpoint.Entry, error)
}

func (e entering) Enter(context.Context, checkpoint.Partition) (*checkpoint.Entry, error) {
	return e.enter()
}
func (entering) Stopping()             {}
func (entering) Failed() error         { return nil }
func (entering) Done() <-chan struct{} { return nil }

// What a sink drops of an abandoned attempt it answers with success.
func TestTheAnswerOfAnAbandonedAttemptDoesNotCount(t *testing.T) {
	ledger := checkpoint.NewLedger(nil, false)
	for _, abandoned := range []bool{false, true} {
		s := &source{
			conf: Config{MaxBatchRecords: 2}, handle: left{}, wake: make(chan struct{}, 1), room: make(chan struct{}, 1), answered: make(chan struct{}, 1),
		}
		l := flowingLane(0, checkpoint.Unbounded)
		s.mu.lanes = map[topicPartition]*lane{{"t", 0}: l}
		s.mu.order = []*lane{l}
		l.accept(records(0, 1))
		b, _, _ := s.pick()
		entry := ledger.Enter("in", checkpoint.Partition{Topic: "t"})
		if abandoned {
			ledger.Abandon()
		}
		require.NoError(t, s.ackFunc(b, entry, new(atomic.Bool))(t.Context(), nil))
		require.Equal(t, !abandoned, l.prefix.Position() == 2)
		require.Zero(t, l.inflight)
	}
}

// left is a handle of which only Leave is asked.
type left struct{ checkpoint.SourceHandle }

func (left) Leave(*checkpoint.Entry, error) {}

// What compaction leaves at the end of a log is delivered by nobody: a lane that stands
// short of the end is moved past it, and only one that is idle.
func TestALaneIsMovedPastAGapAtTheEndOfItsLog(t *testing.T) {
	s := &source{conf: Config{MaxBatchRecords: 10}, wake: make(chan struct{}, 1), room: make(chan struct{}, 1)}
	l := flowingLane(0, 20)
	l.end = 30
	s.mu.lanes = map[topicPartition]*lane{{"t", 0}: l}
	at := map[*lane]checkpoint.Offset{}
	l.accept(records(0, 1, 2))
	require.Empty(t, s.stuck(at), "it has records to give out")
	b := l.take(10)
	l.inflight++
	require.Empty(t, s.stuck(at), "they are under way")
	l.inflight--
	l.prefix.Done(b.span)
	require.Empty(t, s.stuck(at), "it came to a stand a moment ago")
	require.Equal(t, map[*lane]checkpoint.Offset{l: 3}, s.stuck(at))
	s.pass(l, 2, 9)
	require.Equal(t, checkpoint.Offset(3), l.next, "it has moved since")
	s.pass(l, 3, 9)
	require.Equal(t, checkpoint.Offset(9), l.next)
	require.False(t, l.finished())
	require.Empty(t, s.stuck(at), "it has moved")
	require.Equal(t, map[*lane]checkpoint.Offset{l: 9}, s.stuck(at))
	s.pass(l, 9, 30)
	require.Equal(t, checkpoint.Offset(20), l.next, "not beyond the end of the bounded run")
	require.True(t, l.finished())
	l.end = 20
	require.Empty(t, s.stuck(at))
}
