package engine

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redpanda-data/benthos/v4/public/service"
	"github.com/stretchr/testify/require"

	"github.com/tidemarkhq/tidemark/checkpoint"
)

func TestKindIsDecidedAnewAtEachCut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := lay(t, newRegistry(), settings(t.TempDir()), false)
		stuck := l.emit(t)
		pass(1100 * time.Millisecond)
		require.Equal(t, checkpoint.Running, l.vault.last().Kind)
		op := newTally(l.journal, "late")
		h, err := l.c.JoinOperator("late", op)
		require.NoError(t, err)
		op.handle = h
		require.NoError(t, op.process(stuck))
		pass(time.Second)
		require.EqualValues(t, 1, l.vault.last().ID, "it waits for the ledger to empty")
		l.deliver(t, stuck)
		synctest.Wait()
		require.Equal(t, checkpoint.Aligned, l.vault.last().Kind)
		require.Contains(t, l.journal.String(), "late: freeze 2")
		n, err := l.vault.Get("late", partition, countKey)
		require.NoError(t, err)
		require.NotNil(t, n)
		require.NoError(t, l.close(t))
	})
}

// TestOperatorEntersDuringAlignment lets an operator emit something because of a
// batch that the cut waits for: it gets in, and the cut waits for it too.
func TestOperatorEntersDuringAlignment(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := lay(t, newRegistry(), settings(t.TempDir()), true)
		cause := l.emit(t)
		pass(1100 * time.Millisecond) // It aligns.
		held := make(chan *record, 1)
		go func() {
			r, _ := l.feed.emit(context.Background(), 0)
			held <- r
		}()
		synctest.Wait()
		require.Empty(t, held, "sources do not get in")
		e, err := l.tally.handle.Enter(t.Context(), partition)
		require.NoError(t, err)
		l.deliver(t, cause)
		pass(time.Second)
		require.NotContains(t, l.journal.String(), "freeze")
		l.tally.handle.Leave(e, nil)
		synctest.Wait()
		require.Contains(t, l.journal.String(), "freeze 1")
		l.deliver(t, <-held)

		// Without anything under way there is no cause either: the gate holds.
		cause = l.emit(t)
		pass(time.Second)
		l.feed.handle.Leave(cause.origin.Entry, nil)
		require.NoError(t, l.close(t))
	})
}

func TestAlignmentTimesOutAndSourcesResume(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := lay(t, newRegistry(), settings(t.TempDir()), true)
		stuck := l.emit(t)
		asked := make(chan error, 1)
		go func() { asked <- l.feed.handle.Checkpoint(context.Background()) }()
		synctest.Wait()
		began := time.Now()
		r := l.emit(t) // Held until the checkpoint is given up.
		require.Equal(t, 10*time.Second, time.Since(began))
		err := <-asked
		require.ErrorContains(t, err, "batches still under way after 10s")
		require.ErrorContains(t, err, "map[in:1]", "who has them")
		l.deliver(t, stuck)
		l.deliver(t, r)
		require.NoError(t, l.close(t))
	})
}

// TestACutThatFailsLeavesTheGateRight fails to freeze while the next checkpoint
// was already asked for, or while the failure is one too many.
func TestACutThatFailsLeavesTheGateRight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		conf := settings(t.TempDir())
		conf.TolerableFailures = 0
		l := lay(t, newRegistry(), conf, true)
		l.tally.set(func(o *tally) { o.freezeErr = errors.New("no room") })
		l.feed.set(func(f *feed) { f.holdRewind = make(chan struct{}) })
		pass(1500 * time.Millisecond)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		_, err := l.feed.emit(ctx, 0)
		require.ErrorIs(t, err, context.DeadlineExceeded, "a rewind is under way")
		l.tally.set(func(o *tally) { o.freezeErr = nil })
		close(l.feed.holdRewind)
		l.feed.set(func(f *feed) { f.holdRewind = nil })
		l.move(t, 1)
		require.NoError(t, l.close(t))
	})
}

func TestLateSinkJoinsAtTheNextCut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := lay(t, newRegistry(), settings(""), false)
		require.True(t, l.drain.handle.Joined())
		late := newDrain(l.journal, "late")
		h, err := l.c.JoinSink("late", late)
		require.NoError(t, err)
		require.False(t, h.Joined())
		pass(1100 * time.Millisecond)
		require.True(t, h.Joined())
		require.Contains(t, l.journal.String(), "late: flush 1")
		h.Leave()
		l.journal.take()
		require.NoError(t, l.close(t))
		require.NotContains(t, l.journal.String(), "late")
	})
}

func TestSourcesMustAgree(t *testing.T) {
	join := func(c *Coordinator, name string, conf checkpoint.Config) (checkpoint.SourceHandle, error) {
		return c.JoinSource(name, newFeed(&journal{}, name, 0), conf)
	}
	t.Run("conflict", func(t *testing.T) {
		c := newRegistry().build()
		_, err := join(c, "orders", checkpoint.Config{Sets: true, Interval: time.Second})
		require.NoError(t, err)
		_, err = join(c, "payments", checkpoint.Config{Sets: true, Interval: time.Minute})
		require.EqualError(t, err, "inputs of one stream must agree on checkpoint settings: "+
			`checkpoint.interval is 1s for "orders" and 1m0s for "payments"; set it for one of them only, or alike`)
	})
	for name, order := range map[string][]bool{"the first sets": {true, false}, "the second sets": {false, true}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newRegistry().build()
				for i, sets := range order {
					conf := settings("")
					conf.Interval, conf.Sets = time.Minute, sets
					if sets {
						conf.Interval = 7 * time.Second
					}
					h, err := join(c, string(rune('a'+i)), conf)
					require.NoError(t, err)
					if i == 1 {
						r, err := h.Restore(t.Context())
						require.NoError(t, err)
						require.Equal(t, 7*time.Second, r.Config.Interval)
						require.NoError(t, h.Close(t.Context()))
					}
				}
			})
		})
	}
}

func TestNamesMustDiffer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := lay(t, newRegistry(), settings(t.TempDir()), true)
		_, err := l.c.JoinSource("in", l.feed, settings(""))
		require.ErrorContains(t, err, `two inputs of the stream join checkpoints as "in"`)
		_, err = l.c.JoinOperator("tally", l.tally)
		require.ErrorContains(t, err, `two operators of the stream join checkpoints as "tally"`)
		require.NoError(t, l.close(t))
	})
}

func TestStateNeedsAStore(t *testing.T) {
	for want, change := range map[string]func(*checkpoint.Config){
		`"tally" keeps state, but checkpoints are off: set checkpoint.interval`:             func(c *checkpoint.Config) { c.Interval = 0 },
		`"tally" keeps state, but there is no store for it: set checkpoint.store.directory`: func(c *checkpoint.Config) { c.Directory = "" },
	} {
		synctest.Test(t, func(t *testing.T) {
			conf := settings(t.TempDir())
			change(&conf)
			l := construct(t, newRegistry(), conf, true)
			_, err := l.tally.handle.State().Get(partition, countKey)
			require.ErrorIs(t, err, checkpoint.ErrNotRestored)
			_, err = l.feed.handle.Restore(t.Context())
			require.ErrorIs(t, err, checkpoint.ErrFatal)
			require.ErrorContains(t, err, want)
			require.ErrorIs(t, l.drain.handle.Failed(), checkpoint.ErrFatal)

			l = lay(t, newRegistry(), conf, false)
			_, err = l.c.JoinOperator("tally", newTally(l.journal, "tally"))
			require.ErrorContains(t, err, want, "also for one that joins late")
		})
	}
}

func TestStateReadsThroughTheOverlay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := lay(t, newRegistry(), settings(t.TempDir()), true)
		s := l.tally.handle.State()
		put := func(k, v string) { require.NoError(t, s.Put(partition, []byte(k), []byte(v))) }
		put("a", "1")
		put("b", "2")
		pass(1100 * time.Millisecond)
		put("c", "")
		require.NoError(t, s.Delete(partition, []byte("a")))
		v, err := s.Get(partition, []byte("c"))
		require.NoError(t, err)
		require.NotNil(t, v, "empty is not nothing")
		v, err = s.Get(partition, []byte("a"))
		require.NoError(t, err)
		require.Nil(t, v)
		var seen []string
		require.NoError(t, s.Scan(partition, nil, nil, func(k, v []byte) error {
			seen = append(seen, string(k)+"="+string(v))
			for i := range v {
				v[i] = 'X' // What is read is the caller's.
			}
			return nil
		}))
		require.Equal(t, []string{"b=2", "c="}, seen)
		v, err = s.Get(partition, []byte("b"))
		require.NoError(t, err)
		require.Equal(t, "2", string(v))
		require.NoError(t, l.close(t))
		_, err = s.Get(partition, []byte("b"))
		require.ErrorIs(t, err, checkpoint.ErrNotRestored)
	})
}

func TestStreamsApart(t *testing.T) {
	r := newRegistry()
	log := service.MockResources().Logger()
	a, b := r.coordinator("a", log), r.coordinator("b", log)
	require.NotSame(t, a, b)
	require.Same(t, a, r.coordinator("a", log))
	a.kill(errors.New("a is broken"))
	require.NoError(t, b.Failed())

	res, other := service.MockResources(), service.MockResources()
	first := For(res)
	require.Same(t, first, For(res))
	require.NotSame(t, For(res), For(other), "the same id in another manager is another stream")
}

// TestReloadWaitsForTheOldBuild constructs a new build while the old one ends.
func TestReloadWaitsForTheOldBuild(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		reg, conf := newRegistry(), settings(t.TempDir())
		old := lay(t, reg, conf, true)
		old.move(t, 3)
		require.Same(t, old.c, reg.build())
		old.feed.handle.Stopping()
		l := construct(t, reg, conf, true)
		require.NotSame(t, old.c, l.c)
		go func() {
			time.Sleep(2 * time.Second)
			old.move(t, 2) //nolint:testifylint // it only fails if the fixture is broken
			_ = old.close(t)
		}()
		began := time.Now()
		r := l.start(t)
		require.Equal(t, 2*time.Second, time.Since(began))
		require.Equal(t, "0:5", offsets(r.Positions))
		l.move(t, 1)
		require.NoError(t, l.close(t))
	})
}

// TestReloadMakesAStuckBuildDead reloads while the old build's sink is blocked.
func TestReloadMakesAStuckBuildDead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		told := listen(t)
		reg, conf := newRegistry(), settings(t.TempDir())
		old := lay(t, reg, conf, true)
		old.move(t, 3)
		pass(1100 * time.Millisecond)
		hold := make(chan struct{})
		old.drain.set(func(d *drain) { d.holdFlush = hold })
		old.move(t, 2)
		ended := make(chan error, 1)
		go func() {
			ctx, cancel := context.WithTimeout(context.Background(), time.Hour)
			defer cancel()
			ended <- old.feed.handle.Close(ctx)
		}()
		synctest.Wait()
		l := construct(t, reg, conf, true)
		r := l.start(t)
		require.Equal(t, "0:3", offsets(r.Positions))
		require.ErrorIs(t, <-ended, checkpoint.ErrDead)
		require.Empty(t, told, "it is no failure of the process")
		require.ErrorIs(t, old.drain.handle.Failed(), checkpoint.ErrDead)

		// The sink comes back to life: too late.
		old.journal.take()
		close(hold)
		old.drain.set(func(d *drain) { d.holdFlush = nil })
		pass(time.Minute)
		require.Empty(t, old.journal.take())
		_, err := old.feed.emit(t.Context(), 0)
		require.ErrorIs(t, err, checkpoint.ErrDead)
		l.move(t, 2)
		require.NoError(t, l.close(t))
		require.Equal(t, "0:5", offsets(l.vault.last().Positions))
	})
}

// TestReloadTwice builds a third time before the second one has started: it waits
// for the first all the same.
func TestReloadTwice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		reg, conf := newRegistry(), settings(t.TempDir())
		first := lay(t, reg, conf, false)
		first.feed.handle.Stopping()
		second := construct(t, reg, conf, false)
		require.NoError(t, second.close(t))
		third := construct(t, reg, conf, false)
		go func() {
			time.Sleep(time.Second)
			first.move(t, 3) //nolint:testifylint // it only fails if the fixture is broken
			_ = first.close(t)
		}()
		require.Equal(t, "0:3", offsets(third.start(t).Positions))
		require.NoError(t, third.close(t))
	})
}

// TestRenewAfterAFailedConstruction builds a stream again whose first construction
// failed half way: nothing of it takes part, nothing has to be waited for.
func TestRenewAfterAFailedConstruction(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		reg, conf := newRegistry(), settings(t.TempDir())
		failed := construct(t, reg, conf, true)
		l := construct(t, reg, conf, false)
		require.NotSame(t, failed.c, l.c)
		l.start(t)
		l.move(t, 2)
		pass(1100 * time.Millisecond)
		require.Equal(t, checkpoint.Running, l.vault.last().Kind)
		require.Empty(t, failed.journal.take())

		// If it was not a construction that failed, but a name given twice, then
		// the first of them must not run beside the other.
		_, err := failed.feed.handle.Restore(t.Context())
		require.ErrorIs(t, err, checkpoint.ErrFatal)
		require.ErrorContains(t, err, `two inputs of the stream join checkpoints as "in"`)
		require.NoError(t, l.close(t))
	})
}
