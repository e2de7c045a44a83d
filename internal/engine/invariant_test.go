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

func TestInvariant02_NothingIsCommittedBeforePersist(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := lay(t, newRegistry(), settings(t.TempDir()), false)
		hold := make(chan struct{})
		l.vault.set(func(v *vault) { v.hold = hold })
		l.move(t, 3)
		pass(1500 * time.Millisecond)
		l.move(t, 4)
		pass(time.Minute)
		require.Equal(t, []string{"out: flush 1", "store: persist 1 0:3"}, l.journal.take())
		require.Empty(t, l.feed.committed())

		// Committed is what was persisted, not what was acknowledged since.
		l.vault.set(func(v *vault) { v.hold = nil })
		close(hold)
		synctest.Wait()
		require.Equal(t, []string{"in: commit 1 0:3", "out: flush 2", "store: persist 2 0:7", "in: commit 2 0:7"}, l.journal.take())

		// What could not be persisted is not committed at all.
		l.vault.set(func(v *vault) { v.err = errors.New("disk full") })
		l.move(t, 1)
		pass(1100 * time.Millisecond)
		require.Equal(t, []string{"out: flush 3", "store: persist 3 0:8"}, l.journal.take())
		l.vault.set(func(v *vault) { v.err = nil })
		require.NoError(t, l.close(t))
		require.Equal(t, checkpoint.Offset(8), l.vault.last().Positions[partition].Next)
	})
}

var partition = checkpoint.Partition{Source: "in", Topic: "t", ID: 0}

func TestInvariant03_TheCheckpointIsTheTruth(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		reg := newRegistry()
		conf := settings(dir)
		conf.Retain = 5
		l := construct(t, reg, conf, true)
		first := l.start(t)
		require.Zero(t, first.ID)
		require.True(t, first.Stored)
		require.Empty(t, first.Positions)
		for range 3 {
			l.move(t, 5)
			pass(time.Second)
		}
		l.move(t, 2) // Acknowledged, in no checkpoint.
		l.crash()

		l = construct(t, reg, conf, true)
		r := l.start(t)
		require.EqualValues(t, 3, r.ID)
		require.Equal(t, "0:15", offsets(r.Positions))
		n, err := l.tally.stored(partition)
		require.NoError(t, err)
		require.EqualValues(t, 15, n)
		l.move(t, 1)
		require.NoError(t, l.close(t))

		conf.RestoreFrom = 2
		l = construct(t, reg, conf, true)
		r = l.start(t)
		require.EqualValues(t, 2, r.ID)
		require.Equal(t, "0:10", offsets(r.Positions))
		n, err = l.tally.stored(partition)
		require.NoError(t, err)
		require.EqualValues(t, 10, n)
		l.move(t, 1)
		require.NoError(t, l.close(t))
		require.Greater(t, l.vault.last().ID, checkpoint.ID(4), "ids are never used again")
		require.Equal(t, "0:11", offsets(l.vault.last().Positions))
	})
}

func TestInvariant03_APartitionThatIsNotListedKeepsItsPosition(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		reg, conf := newRegistry(), settings(t.TempDir())
		l := lay(t, reg, conf, false)
		l.move(t, 5)
		require.NoError(t, l.close(t))

		l = construct(t, reg, conf, false)
		l.feed.lanes = newFeed(nil, "", 1).lanes
		l.start(t)
		require.NoError(t, l.close(t))
		require.Equal(t, "0:5 1:0", offsets(l.vault.last().Positions))
	})
}

func TestInvariant08_AFailedFlushIsAFailedCheckpoint(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := lay(t, newRegistry(), settings(t.TempDir()), false)
		l.drain.set(func(d *drain) { d.flushErr = errors.New("broker said no") })
		l.move(t, 3)
		pass(5500 * time.Millisecond) // Nothing follows, and it fails again and again.
		require.Equal(t, []string{"out: flush 1", "out: flush 2", "out: flush 3", "out: flush 4", "out: flush 5"}, l.journal.take())
		require.ErrorContains(t, l.feed.handle.Checkpoint(t.Context()), `flushing "out": broker said no`)
		require.Zero(t, l.vault.last().ID)

		l.drain.set(func(d *drain) { d.flushErr = nil })
		pass(time.Second)
		require.Equal(t, "0:3", offsets(l.vault.last().Positions))
		require.True(t, l.drain.has(partition, 2))
		require.NoError(t, l.close(t))
	})
}

func TestInvariant08_AFailedFlushAtShutdownIsLoud(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := lay(t, newRegistry(), settings(t.TempDir()), false)
		told := listen(t)
		l.drain.set(func(d *drain) { d.flushErr = errors.New("broker away") })
		l.move(t, 3)
		began := time.Now()
		err := l.close(t)
		require.ErrorContains(t, err, "final checkpoint failed")
		require.ErrorContains(t, err, "broker away")
		require.Equal(t, err, Failed())
		require.Empty(t, told, "other streams go on")
		require.Equal(t, 5*time.Second, time.Since(began), "it is tried until the deadline")
		require.Empty(t, l.feed.committed())
		require.Zero(t, l.vault.last().ID)
	})
}

func TestInvariant09_AFailedCommitGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := lay(t, newRegistry(), settings(t.TempDir()), false)
		l.feed.set(func(f *feed) { f.commitErr = errors.New("coordinator not available") })
		l.move(t, 3)
		pass(1500 * time.Millisecond)
		require.Equal(t, "0:3", offsets(l.vault.last().Positions), "the checkpoint stands")
		l.feed.set(func(f *feed) { f.commitErr = nil })
		l.journal.take()
		l.move(t, 2)
		pass(time.Second)
		require.Equal(t, []string{"out: flush 2", "store: persist 2 0:5", "in: commit 2 0:5"}, l.journal.take())
		require.Zero(t, l.feed.handle.Attempt(), "nothing rewinds")
		require.NoError(t, l.close(t))
	})
}

func TestInvariant13_FatalIsLoud(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := lay(t, newRegistry(), settings(t.TempDir()), true)
		told := listen(t)
		r := l.emit(t)

		// Whoever waits for anything is told.
		l.drain.set(func(d *drain) { d.holdFlush = make(chan struct{}) })
		asked := make(chan error, 1)
		go func() { asked <- l.feed.handle.Checkpoint(context.Background()) }()
		synctest.Wait()
		entered := make(chan error, 1)
		go func() {
			_, err := l.feed.emit(context.Background(), 0)
			entered <- err
		}()
		synctest.Wait()
		l.drain.handle.Fatal(errors.New("not authorised for topic out"))

		for _, err := range []error{<-told, <-asked, <-entered, l.feed.handle.Failed(), l.drain.handle.Failed(), l.drain.write(r)} {
			require.ErrorIs(t, err, checkpoint.ErrFatal)
			require.ErrorContains(t, err, "not authorised for topic out")
		}
		<-l.feed.handle.Done()
		require.ErrorIs(t, Failed(), checkpoint.ErrFatal)
		_, err := l.tally.handle.Enter(t.Context(), partition)
		require.ErrorIs(t, err, checkpoint.ErrFatal)
		l.feed.ack(r)
		l.journal.take()
		require.ErrorIs(t, l.close(t), checkpoint.ErrFatal)
		require.Empty(t, l.journal.take(), "nothing is persisted or committed any more")
	})
}

// A rewind would meet what is damaged again, and so would the next start.
func TestInvariant13_DamagedStateIsFatal(t *testing.T) {
	for name, use := range map[string]func(checkpoint.State, checkpoint.Scope) error{
		"get": func(s checkpoint.State, p checkpoint.Scope) error {
			_, err := s.Get(p, []byte("damaged"))
			return err
		},
		"scan": func(s checkpoint.State, p checkpoint.Scope) error {
			return s.Scan(p, nil, nil, func([]byte, []byte) error { return nil })
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				told := listen(t)
				l := lay(t, newRegistry(), settings(t.TempDir()), true)
				l.move(t, 3)
				l.c.stateMu.Lock()
				l.c.below = damaged{l.c.below}
				l.c.stateMu.Unlock()
				own := errors.New("enough")
				require.ErrorIs(t, l.tally.handle.State().Scan(checkpoint.Partition{Topic: "t"}, nil, nil, func([]byte, []byte) error { return own }), own)
				synctest.Wait()
				require.NoError(t, l.c.Failed(), "an operator's own error is its own")
				require.ErrorIs(t, use(l.tally.handle.State(), second), checkpoint.ErrCorrupt)
				synctest.Wait()
				require.ErrorIs(t, l.c.Failed(), checkpoint.ErrCorrupt)
				require.ErrorContains(t, <-told, `reading state of "tally"`)
			})
		})
	}
}

var second = checkpoint.Partition{Topic: "t", ID: 1}

// damaged is a store that cannot read the second partition.
type damaged struct{ checkpoint.Store }

func (d damaged) Get(operator string, s checkpoint.Scope, key []byte) ([]byte, error) {
	if s == second {
		return nil, checkpoint.ErrCorrupt
	}
	return d.Store.Get(operator, s, key)
}

func (d damaged) Scan(operator string, s checkpoint.Scope, prefix, from []byte, fn func(key, value []byte) error) error {
	if s == second {
		return checkpoint.ErrCorrupt
	}
	return fn([]byte("k"), []byte("v"))
}

func TestInvariant13_TooManyRestartsAreFatal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		conf := settings("")
		conf.Restart.MaxRestarts, conf.Restart.Window = 2, time.Minute
		l := lay(t, newRegistry(), conf, false)
		for range 2 {
			l.feed.handle.Fail(errors.New("sink gone"))
			pass(time.Second)
			require.NoError(t, l.feed.handle.Failed())
		}
		l.feed.handle.Fail(errors.New("sink gone again"))
		require.ErrorIs(t, l.feed.handle.Failed(), checkpoint.ErrFatal)
		require.ErrorContains(t, l.feed.handle.Failed(), "restarted 2 times within 1m0s, the last time because of: sink gone again")
		require.ErrorIs(t, l.close(t), checkpoint.ErrFatal)
	})
}
