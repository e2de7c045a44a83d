package engine

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tidemarkhq/tidemark/checkpoint"
)

func TestInvariant10_RewindIsComplete(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := lay(t, newRegistry(), settings(t.TempDir()), true)
		l.move(t, 3)
		pass(1100 * time.Millisecond)
		require.EqualValues(t, 1, l.vault.last().ID)
		l.journal.take()

		// Two records fill the sink's queue, a third waits for room.
		l.drain.set(func(d *drain) { d.capacity = 2 })
		l.move(t, 2)
		stuck := l.emit(t)
		go func() {
			_ = l.tally.process(stuck)
			_ = l.drain.write(stuck)
			l.feed.ack(stuck)
		}()
		synctest.Wait()
		l.feed.set(func(f *feed) { f.holdRewind = make(chan struct{}) })
		l.drain.handle.Fail(errors.New("record refused"))
		moved := make(chan *record, 1)
		go func() {
			r, _ := l.feed.emit(context.Background(), 0)
			moved <- r
		}()
		pass(time.Second)
		require.Empty(t, moved, "a source moves before everybody is back")
		require.Equal(t, []string{
			"out: discard",
			"out: drop in:t/0@5",
			"out: abort",
			"tally: restore",
			"in: rewind to 0:3",
		}, l.journal.take())
		close(l.feed.holdRewind)
		l.feed.set(func(f *feed) { f.holdRewind = nil })
		again := <-moved
		require.Equal(t, []string{"out: accept"}, l.journal.take())
		require.Equal(t, checkpoint.Discarded, stuck.origin.Entry.State())
		require.Equal(t, checkpoint.Offset(3), again.origin.Offset)
		require.Equal(t, 1, again.origin.Entry.Attempt)

		// Nothing of what was dropped is counted or comes out.
		l.deliver(t, again)
		l.move(t, 1)
		require.NoError(t, l.close(t))
		require.Equal(t, "0:5", offsets(l.vault.last().Positions))
		for o := range checkpoint.Offset(5) {
			require.Equal(t, 1, l.drain.durable[place{partition, o}], "offset %d", o)
		}
		require.Len(t, l.drain.durable, 5)
		n, err := l.vault.Get("tally", partition, countKey)
		require.ErrorContains(t, err, "closed", "the store is closed after the end: %v", n)
	})
}

// TestInvariant10_WhatArrivesWhileDiscardingIsDropped holds an operator's emission
// of the abandoned attempt against a sink that has not been told about it.
func TestInvariant10_WhatArrivesWhileDiscardingIsDropped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := lay(t, newRegistry(), settings(t.TempDir()), true)
		cause := l.emit(t)
		l.feed.handle.Fail(errors.New("mapping failed"))
		e, err := l.tally.handle.Enter(t.Context(), partition)
		require.NoError(t, err, "what the ledger's batches cause must get in, or they never leave")
		require.Equal(t, checkpoint.Discarded, e.State())
		fired := &record{origin: checkpoint.Origin{Entry: e}}
		require.NoError(t, l.drain.write(fired))
		l.feed.ack(cause)
		pass(time.Second)
		require.NotContains(t, l.journal.String(), "abort", "the ledger is not empty yet")
		l.tally.handle.Leave(e, nil)
		pass(time.Second)
		require.Contains(t, l.journal.String(), "accept")
		require.NoError(t, l.close(t))
		require.Empty(t, l.drain.durable)
	})
}

// TestInvariant10_ARewindWaitsForThePersistUnderWay goes back to the checkpoint
// that is being written if it comes true, and to the one before it if not.
func TestInvariant10_ARewindWaitsForThePersistUnderWay(t *testing.T) {
	for name, outcome := range map[string]error{"complete": nil, "failed": errors.New("disk full")} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := lay(t, newRegistry(), settings(t.TempDir()), true)
				l.move(t, 3)
				pass(1100 * time.Millisecond)
				hold := make(chan struct{})
				l.vault.set(func(v *vault) { v.hold, v.err = hold, outcome })
				l.move(t, 2)
				pass(time.Second)
				l.move(t, 4)
				l.feed.handle.Fail(errors.New("sink gone"))
				pass(time.Minute)
				require.NotContains(t, l.journal.String(), "rewind", "the outcome is not known yet")
				l.vault.set(func(v *vault) { v.hold, v.err = nil, nil })
				close(hold)
				pass(100 * time.Millisecond)
				want := "0:5"
				if outcome != nil {
					want = "0:3"
				}
				require.Contains(t, l.journal.String(), "in: rewind to "+want)
				n, err := l.tally.stored(partition)
				require.NoError(t, err)
				require.Equal(t, want[2:], string('0'+rune(n)), "state and positions go back together")
				require.NoError(t, l.close(t))
				require.Equal(t, want, offsets(l.vault.last().Positions))
			})
		})
	}
}

func TestInvariant10_WhatCannotGoBackTriesAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := lay(t, newRegistry(), settings(""), false)
		l.move(t, 2)
		l.feed.set(func(f *feed) { f.rewindErr = errors.New("broker away") })
		l.feed.handle.Fail(errors.New("sink gone"))
		pass(10 * time.Second)
		require.NotContains(t, l.journal.String(), "accept")
		l.feed.set(func(f *feed) { f.rewindErr = nil })
		pass(time.Second)
		require.Contains(t, l.journal.String(), "accept")
		l.move(t, 2)
		require.NoError(t, l.close(t))
	})
}

func TestInvariant10_AFailedAbortIsFatal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := lay(t, newRegistry(), settings(""), false)
		l.drain.set(func(d *drain) { d.abortErr = errors.New("producer does not answer") })
		l.feed.handle.Fail(errors.New("sink gone"))
		synctest.Wait()
		require.ErrorContains(t, l.feed.handle.Failed(), "aborting what was not checkpointed: producer does not answer")
		require.ErrorIs(t, l.close(t), checkpoint.ErrFatal)
	})
}

func TestNackRewindsWithStateOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := lay(t, newRegistry(), settings(""), false)
		require.True(t, l.feed.handle.Nack(errors.New("no")), "redelivered in place")
		require.Zero(t, l.feed.handle.Attempt())
		l = lay(t, newRegistry(), settings(t.TempDir()), true)
		r := l.emit(t)
		require.False(t, l.feed.handle.Nack(errors.New("no")))
		require.False(t, l.feed.handle.Nack(errors.New("no")), "one rewind, not two")
		require.Equal(t, 1, l.feed.handle.Attempt())
		l.feed.ack(r)
	})
}

func TestRefusedRecordsAreSuspectUntilCovered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := lay(t, newRegistry(), settings(""), false)
		l.move(t, 2)
		r := l.emit(t)
		other := l.emit(t)
		require.False(t, l.drain.handle.Suspect(&r.origin))
		l.drain.handle.Refuse(&r.origin, errors.New("too large"))
		l.feed.ack(r)
		l.feed.ack(other)
		pass(time.Second)
		require.Equal(t, 1, l.feed.handle.Attempt())
		l.move(t, 2)
		r = l.emit(t)
		require.Equal(t, checkpoint.Offset(2), r.origin.Offset)
		require.True(t, l.drain.handle.Suspect(&r.origin))
		require.False(t, l.drain.handle.Suspect(&other.origin))
		l.deliver(t, r)
		pass(2 * time.Second)
		require.False(t, l.drain.handle.Suspect(&r.origin), "covered: it does not come again")
		require.NoError(t, l.close(t))
	})
}
