package output

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/tidemarkhq/tidemark/checkpoint"
	"github.com/tidemarkhq/tidemark/internal/kafkatest"
)

func TestCoveredRecordsAreAcknowledgedBeforeTheyAreDelivered(t *testing.T) {
	c := kafkatest.Fake(t)
	topic := kafkatest.Topic(t, c, 1)
	s := newStream("a", true)
	o := open(t, c, s, "topic: "+topic)
	hold := c.Hold(t, kmsg.Produce)

	batch, _ := s.batch(0, numbered(0, 100)...)
	require.NoError(t, o.WriteBatch(within(t, 5*time.Second), batch))
	s.sink.Rotate(1)

	require.Error(t, s.sink.Flush(within(t, 50*time.Millisecond), 1), "a flush must wait for the broker")
	hold.Release()
	require.NoError(t, s.sink.Flush(within(t, 10*time.Second), 1))
	require.Len(t, topicValues(t, c, topic), 100)
	require.Zero(t, s.failures())
}

func TestFlushWaitsForItsOwnEpochOnly(t *testing.T) {
	c := kafkatest.Fake(t)
	topic := kafkatest.Topic(t, c, 1)
	s := newStream("a", true)
	o := open(t, c, s, "topic: "+topic)

	first, _ := s.batch(0, numbered(0, 10)...)
	require.NoError(t, o.WriteBatch(t.Context(), first))
	s.sink.Rotate(1)
	require.NoError(t, s.sink.Flush(within(t, 10*time.Second), 1))

	c.Hold(t, kmsg.Produce)
	second, _ := s.batch(10, numbered(10, 10)...)
	require.NoError(t, o.WriteBatch(t.Context(), second))
	require.NoError(t, s.sink.Flush(within(t, time.Second), 1), "records after the cut are not the checkpoint's")
	s.sink.Rotate(2)
	s.sink.Rotate(3)
	require.Error(t, s.sink.Flush(within(t, 50*time.Millisecond), 3), "an earlier epoch counts too")
}

func TestUncoveredRecordsAreDeliveredFirst(t *testing.T) {
	c := kafkatest.Fake(t)
	topic := kafkatest.Topic(t, c, 1)
	s := newStream("a", true)
	off := newStream("off", false)
	o := open(t, c, s, "topic: "+topic)
	unjoined := newStream("late", true)
	unjoined.late = true
	late := open(t, c, unjoined, "topic: "+topic)
	hold := c.Hold(t, kmsg.Produce)

	offBatch, _ := off.batch(0, numbered(0, 1)...)
	lateBatch, _ := unjoined.batch(0, numbered(0, 1)...)
	require.Error(t, o.WriteBatch(within(t, 50*time.Millisecond), foreign("x")))
	require.Error(t, o.WriteBatch(within(t, 50*time.Millisecond), offBatch))
	require.Error(t, late.WriteBatch(within(t, 50*time.Millisecond), lateBatch))
	hold.Release()
	require.NoError(t, o.WriteBatch(within(t, 10*time.Second), foreign("y")))
	require.Contains(t, topicValues(t, c, topic), "y")
}

func TestAbandonedAttemptNeverReachesTheTopic(t *testing.T) {
	c := kafkatest.Fake(t)
	topic := kafkatest.Topic(t, c, 1)
	s := newStream("a", true)
	o := open(t, c, s, "topic: "+topic+"\nmax_buffered_records: 20\nlinger: 1s")
	hold := c.Hold(t, kmsg.Produce)

	batch, _ := s.batch(0, numbered(0, 100)...)
	answer := make(chan error, 1)
	go func() { answer <- o.WriteBatch(t.Context(), batch) }()
	hold.Await(t, 1, 10*time.Second)
	select {
	case err := <-answer:
		t.Fatalf("a batch of five times the room was accepted: %v", err)
	default:
	}
	s.sink.Rotate(1)
	flush := make(chan error, 1)
	go func() { flush <- s.sink.Flush(t.Context(), 1) }()

	s.ledger.Abandon()
	s.sink.Discard()
	require.NoError(t, <-answer, "a blocked write of the abandoned attempt is answered with success")
	require.ErrorIs(t, <-flush, errDiscarded)
	require.ErrorIs(t, s.sink.Flush(t.Context(), 1), errDiscarded, "a flush that comes too late must not succeed")
	require.NoError(t, o.WriteBatch(t.Context(), batch), "arriving writes too")

	aborted := make(chan error, 1)
	go func() { aborted <- s.sink.Abort(t.Context()) }()
	hold.Release()
	require.NoError(t, <-aborted)
	before := len(topicValues(t, c, topic))
	require.NoError(t, o.WriteBatch(t.Context(), batch))
	s.sink.Accept()
	require.NoError(t, o.WriteBatch(t.Context(), batch), "entries of the abandoned attempt are dropped for ever")

	s.ledger.Renew()
	next, _ := s.batch(0, numbered(1000, 5)...)
	require.NoError(t, o.WriteBatch(t.Context(), next))
	s.sink.Rotate(2)
	require.NoError(t, s.sink.Flush(within(t, 10*time.Second), 2))
	got := topicValues(t, c, topic)
	require.Equal(t, []string{"v1000", "v1001", "v1002", "v1003", "v1004"}, got[before:])
	require.LessOrEqual(t, before, 20)
	require.Zero(t, s.failures(), "an abort is nobody's failure")
}

func TestNothingIsEnqueuedAfterADiscard(t *testing.T) {
	c := kafkatest.Fake(t)
	topic := kafkatest.Topic(t, c, 1)
	s := newStream("a", true)
	p := open(t, c, s, "topic: "+topic).producer
	one := load{[]kgo.Record{{Topic: topic}}, foreign("x")}

	a, _ := p.current()
	s.sink.Discard()
	require.Nil(t, p.produce(a, one, 0, ack{}), "the attempt has ended")
	s.sink.Accept()
	require.Nil(t, p.produce(a, one, 0, ack{}), "the attempt is not the current one")
	again, _ := p.current()
	slabs, err := p.enqueue(t.Context(), again, one, ack{})
	require.NoError(t, err)
	<-slabs[0].done
	require.Len(t, topicValues(t, c, topic), 1)
}

func TestForeignRecordsOutliveADiscard(t *testing.T) {
	c := kafkatest.Fake(t)
	topic := kafkatest.Topic(t, c, 1)
	s := newStream("a", true)
	o := open(t, c, s, "topic: "+topic)
	s.sink.Discard()
	answer := make(chan error, 1)
	go func() { answer <- o.WriteBatch(within(t, 10*time.Second), foreign("x")) }()
	require.NoError(t, s.sink.Abort(t.Context()))
	require.Empty(t, topicValues(t, c, topic))
	s.sink.Accept()
	require.NoError(t, <-answer)
	require.Equal(t, []string{"x"}, topicValues(t, c, topic))
}

func TestEarlyAcknowledgementIsFatal(t *testing.T) {
	c := kafkatest.Fake(t)
	s := newStream("a", true)
	o := open(t, c, s, "topic: "+kafkatest.Topic(t, c, 1))
	batch, entry := s.batch(7, numbered(0, 1)...)
	s.ledger.Leave(entry)
	require.ErrorContains(t, o.WriteBatch(t.Context(), batch), `topic "in" partition 0 offset 7`)
	require.ErrorIs(t, s.Failed(), checkpoint.ErrFatal)
	require.ErrorIs(t, o.WriteBatch(t.Context(), foreign("x")), checkpoint.ErrFatal, "from then on every write answers with the error")
}

func TestResourceJoinsTheStreamOfItsFirstRecord(t *testing.T) {
	c := kafkatest.Fake(t)
	topic := kafkatest.Topic(t, c, 1)
	a, b := newStream("a", true), newStream("b", true)
	o := open(t, c, nil, "topic: "+topic)
	a.late = true
	batch, _ := a.batch(0, numbered(0, 1)...)
	require.NoError(t, o.WriteBatch(t.Context(), batch))
	require.NotNil(t, a.sink)
	require.Equal(t, []string{"v0"}, topicValues(t, c, topic), "delivered before it was acknowledged")

	other, _ := b.batch(0, numbered(1, 1)...)
	err := o.WriteBatch(t.Context(), other)
	require.ErrorContains(t, err, `stream "a"`)
	require.ErrorContains(t, err, `stream "b"`)
	a.ended = true
	require.NoError(t, o.WriteBatch(t.Context(), other), "the next build of a stream takes the place of the one before")
	require.True(t, a.left)
}

// The build before died with checkpoints open whose numbers the next one uses again:
// its flushes are about its own records, and its writes are not answered with the
// old error.
func TestResourceBeginsAfreshWithANewBuild(t *testing.T) {
	c := kafkatest.Fake(t)
	topic := kafkatest.Topic(t, c, 1)
	a, b := newStream("a", true), newStream("a", true)
	o := open(t, c, nil, "topic: "+topic)
	first, _ := a.batch(0, numbered(0, 1)...)
	require.NoError(t, o.WriteBatch(t.Context(), first))
	for id := range checkpoint.ID(3) {
		a.sink.Rotate(498 + id)
	}
	a.sink.Discard()
	a.locked(func() { a.fatal, a.ended = checkpoint.ErrDead, true })

	hold := c.Hold(t, kmsg.Produce)
	again, _ := b.batch(0, numbered(0, 10)...)
	require.NoError(t, o.WriteBatch(within(t, 10*time.Second), again))
	b.sink.Rotate(499)
	require.Error(t, b.sink.Flush(within(t, 50*time.Millisecond), 499), "nothing is delivered yet")
	hold.Release()
	require.NoError(t, b.sink.Flush(within(t, 10*time.Second), 499))
	require.Contains(t, topicValues(t, c, topic), "v9")
}

func TestSG01_NoneFlushesAtTheEnd(t *testing.T) {
	c := kafkatest.Fake(t)
	topic := kafkatest.Topic(t, c, 1)
	s := newStream("a", true)
	o := open(t, c, s, "topic: "+topic+"\ndelivery: none\nlinger: 1m")
	batch, _ := s.batch(0, numbered(0, 50)...)
	require.NoError(t, o.WriteBatch(t.Context(), batch))
	require.NoError(t, o.WriteBatch(t.Context(), foreign("x")))
	s.sink.Rotate(1)
	require.NoError(t, s.sink.Flush(t.Context(), 1))
	require.NoError(t, o.Close(t.Context()))
	require.Len(t, topicValues(t, c, topic), 51)
	require.True(t, s.left)
}

func TestSG05_CloseReportsWhatItCouldNotDeliver(t *testing.T) {
	c := kafkatest.Fake(t)
	s := newStream("a", true)
	o := open(t, c, s, "topic: "+kafkatest.Topic(t, c, 1))
	hold := c.Hold(t, kmsg.Produce)
	batch, _ := s.batch(0, numbered(0, 10)...)
	require.NoError(t, o.WriteBatch(t.Context(), batch))
	s.sink.Rotate(1)
	hold.Await(t, 1, 10*time.Second)
	require.ErrorContains(t, o.Close(within(t, 50*time.Millisecond)), "10 records were not delivered")
	require.Equal(t, 1, s.failures(), "no later checkpoint may cover them, and none asks this output any more")
	require.ErrorContains(t, s.fails[0], "10 records were not delivered")
	require.Error(t, s.sink.Flush(t.Context(), 1))
	s.sink.Rotate(2)
	require.Error(t, s.sink.Flush(t.Context(), 2), "no checkpoint may complete after that")
}

// What may be dropped makes nothing go back.
func TestCloseWithLogFailuresOnlyFailsNothing(t *testing.T) {
	c := kafkatest.Fake(t)
	s := newStream("a", true)
	o := open(t, c, s, "topic: "+kafkatest.Topic(t, c, 1)+"\nlog_failures_only: true")
	hold := c.Hold(t, kmsg.Produce)
	batch, _ := s.batch(0, numbered(0, 10)...)
	require.NoError(t, o.WriteBatch(t.Context(), batch))
	hold.Await(t, 1, 10*time.Second)
	require.ErrorContains(t, o.Close(within(t, 50*time.Millisecond)), "10 records were not delivered")
	require.Zero(t, s.failures())
	require.True(t, s.left)
}

func TestSG07_OneProducerSessionForAllCheckpoints(t *testing.T) {
	c := kafkatest.Fake(t)
	s := newStream("a", true)
	o := open(t, c, s, "topic: "+kafkatest.Topic(t, c, 1))
	for i := range 50 {
		batch, _ := s.batch(i, numbered(i, 1)...)
		require.NoError(t, o.WriteBatch(t.Context(), batch))
		s.sink.Rotate(checkpoint.ID(i + 1))
		require.NoError(t, s.sink.Flush(within(t, 10*time.Second), checkpoint.ID(i+1)))
	}
	require.Equal(t, 1, c.Count(kmsg.InitProducerID))
}
