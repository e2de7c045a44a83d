package engine

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tidemarkhq/tidemark/checkpoint"
	"github.com/tidemarkhq/tidemark/internal/store"
)

// openAgain opens a store after its stream has ended.
func openAgain(t testing.TB, dir string) *store.Directory {
	t.Helper()
	st, err := store.Open(context.Background(), store.Options{Directory: dir})
	require.NoError(t, err)
	return st
}

// pair is a line with a second source.
func pair(t testing.TB, conf checkpoint.Config) (*line, *feed) {
	t.Helper()
	l := construct(t, newRegistry(), conf, false)
	other := newFeed(l.journal, "in2", 0)
	h, err := l.c.JoinSource("in2", other, conf)
	require.NoError(t, err)
	other.handle = h
	l.start(t)
	other.restore(t)
	return l, other
}

func TestInvariant11_OnlyTheLastSourceMakesTheFinalCut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, other := pair(t, settings(t.TempDir()))
		l.move(t, 3)
		require.NoError(t, l.close(t))
		m := l.vault.last()
		require.False(t, m.Final)
		require.Equal(t, "0:3 0:0", offsets(m.Positions))
		require.Len(t, l.feed.committed(), 1, "the one that ends is told of its checkpoint")

		// The other goes on, and who ended stays in the checkpoints.
		_, err := l.feed.handle.Enter(t.Context(), partition)
		require.ErrorIs(t, err, checkpoint.ErrDead)
		for range 2 {
			r, err := other.emit(t.Context(), 0)
			require.NoError(t, err)
			require.NoError(t, l.drain.write(r))
			other.ack(r)
		}
		pass(1100 * time.Millisecond)
		require.Len(t, l.feed.committed(), 1)
		require.NoError(t, other.handle.Close(t.Context()))
		m = l.vault.last()
		require.True(t, m.Final)
		require.Equal(t, "0:3 0:2", offsets(m.Positions))
	})
}

// TestInvariant11_SourcesThatEndTogether ends two sources at the same moment: one
// of them makes the final cut, nothing comes after it, and both end well.
func TestInvariant11_SourcesThatEndTogether(t *testing.T) {
	for range 5 {
		synctest.Test(t, func(t *testing.T) {
			l, other := pair(t, settings(t.TempDir()))
			l.move(t, 3)
			ended := make(chan error, 2)
			for _, f := range []*feed{l.feed, other} {
				go func() { ended <- f.handle.Close(t.Context()) }()
			}
			require.NoError(t, <-ended)
			require.NoError(t, <-ended)
			m := l.vault.last()
			require.True(t, m.Final)
			require.Equal(t, "0:3 0:0", offsets(m.Positions))
		})
	}
}

// TestInvariant11_ASourceThatOnlyConnectsCounts ends one source while the other
// still waits to be restored: the stream goes on.
func TestInvariant11_ASourceThatOnlyConnectsCounts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := construct(t, newRegistry(), settings(t.TempDir()), false)
		other := newFeed(l.journal, "in2", 0)
		h, err := l.c.JoinSource("in2", other, settings(l.c.mu.conf.Directory))
		require.NoError(t, err)
		other.handle = h
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		_, err = other.handle.Restore(ctx)
		require.Error(t, err)
		l.start(t)
		require.NoError(t, l.close(t))
		require.False(t, l.vault.last().Final)
		other.restore(t)
		require.NoError(t, other.handle.Close(t.Context()))
		require.True(t, l.vault.last().Final)
	})
}

// A source that ends may have read a batch that nobody has seen. It says so, and then the
// cut does not wait for it.
func TestInvariant11_LeftoversAreDiscarded(t *testing.T) {
	for _, stateful := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			l := lay(t, newRegistry(), settings(t.TempDir()), stateful)
			l.move(t, 3)
			left := l.emit(t) // Benthos read it while it was stopping, and threw it away.
			if stateful {
				l.feed.handle.Leave(left.origin.Entry, nil)
			}
			require.NoError(t, l.close(t), "an aligned cut does not wait for it")
			require.Equal(t, "0:3", offsets(l.vault.last().Positions))
			l.feed.ack(left)
		})
	}
}

// A source that ends while the pipeline has batches of it leaves state behind that knows of
// them. That is in no checkpoint: the records come again, and would count twice, or be
// taken for seen.
func TestInvariant11_WhatIsCutOffIsNotInTheState(t *testing.T) {
	for name, during := range map[string]time.Duration{"between checkpoints": 0, "while a checkpoint waits for it": 1500 * time.Millisecond} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				reg, dir := newRegistry(), t.TempDir()
				listen(t)
				l := lay(t, reg, settings(dir), true)
				l.move(t, 3)
				pass(1100 * time.Millisecond)
				l.move(t, 1)
				require.NoError(t, l.tally.process(l.emit(t)))
				pass(during)
				err := l.close(t)
				require.ErrorContains(t, err, `"in" was closed while the pipeline still had 1 batches of it`)
				require.Equal(t, err, Failed())
				require.Equal(t, "0:3", offsets(l.vault.last().Positions))

				next := lay(t, reg, settings(dir), true)
				n, err := next.tally.stored(checkpoint.Partition{Source: "in", Topic: "t"})
				require.NoError(t, err)
				require.EqualValues(t, 3, n)
				next.move(t, 2)
				require.NoError(t, next.close(t))
				require.Equal(t, "0:5", offsets(next.vault.last().Positions))
			})
		})
	}
}

// Where others go on, they go on from the last checkpoint.
func TestInvariant11_WhoGoesOnGoesBackForOneThatIsCutOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := construct(t, newRegistry(), settings(t.TempDir()), true)
		other := newFeed(l.journal, "in2", 0)
		h, err := l.c.JoinSource("in2", other, settings(l.c.mu.conf.Directory))
		require.NoError(t, err)
		other.handle = h
		l.start(t)
		other.restore(t)
		l.move(t, 3)
		pass(1100 * time.Millisecond)
		l.move(t, 1)
		require.NoError(t, l.tally.process(l.emit(t)))
		cut := `"in" was closed while the pipeline still had 1 batches of it`
		require.ErrorContains(t, l.close(t), cut)
		pass(time.Second)
		r, err := other.emit(t.Context(), 0)
		require.NoError(t, err)
		l.feed = other
		l.deliver(t, r)
		require.ErrorContains(t, l.close(t), cut, "what the first had delivered comes again with the next start")
		require.Equal(t, "0:3 0:1", offsets(l.vault.last().Positions))
	})
}

func TestInvariant11_TheDeadlineHolds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		told := listen(t)
		reg, conf := newRegistry(), settings(t.TempDir())
		l := lay(t, reg, conf, true)
		l.move(t, 3)
		l.drain.set(func(d *drain) { d.holdFlush = make(chan struct{}) })
		began := time.Now()
		err := l.close(t)
		require.Equal(t, 5*time.Second, time.Since(began))
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.ErrorContains(t, err, "flushing 1")
		require.Equal(t, err, Failed())
		require.Empty(t, told)
		require.NotContains(t, l.journal.String(), "persist")
		require.NotContains(t, l.journal.String(), "commit")

		// Another stream changes nothing about it; a new build of this one goes on
		// where it stopped.
		lay(t, newRegistry(), settings(t.TempDir()), true)
		require.Equal(t, err, Failed())
		next := lay(t, reg, conf, true)
		require.NoError(t, Failed())
		require.NoError(t, next.close(t))
	})
}

// TestInvariant11_WhatWasDroppedAfterTheCloseIsNotCovered lets a record turn out
// to be undeliverable in the final flush: the rewind drops what the source had
// acknowledged, and nobody is there to read it again. Each case runs in a bubble.
func TestInvariant11_WhatWasDroppedAfterTheCloseIsNotCovered(t *testing.T) {
	for name, when := range map[string]func(*line, chan struct{}){
		"in the final flush": func(l *line, hold chan struct{}) {
			go func() {
				time.Sleep(time.Second)
				l.drain.handle.Fail(errors.New("record refused"))
				close(hold)
			}()
		},
		"before the close": func(l *line, hold chan struct{}) {
			l.drain.handle.Fail(errors.New("record refused"))
			close(hold)
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := lay(t, newRegistry(), settings(t.TempDir()), false)
				l.move(t, 3)
				pass(1100 * time.Millisecond)
				l.move(t, 4)
				hold := make(chan struct{})
				l.drain.set(func(d *drain) { d.holdFlush = hold })
				when(l, hold)
				require.ErrorContains(t, l.close(t), "record refused")
				require.Equal(t, "0:3", offsets(l.vault.last().Positions))
				require.False(t, l.drain.has(partition, 3))
			})
		})
	}
}

func TestInvariant11_AfterASourceEndedARewindOfWhatIsCoveredIsNoFault(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, other := pair(t, settings(t.TempDir()))
		l.move(t, 3)
		require.NoError(t, l.close(t))
		l.drain.handle.Fail(errors.New("record refused"))
		pass(time.Second)
		require.NoError(t, other.handle.Close(t.Context()))
		require.Equal(t, "0:3 0:0", offsets(l.vault.last().Positions))
	})
}

// TestInvariant12_TheFinalCheckpointDropsTheEnds covers what the engine has to do
// with bounded runs.
func TestInvariant12_TheFinalCheckpointDropsTheEnds(t *testing.T) {
	for name, test := range map[string]struct{ records, stop, want checkpoint.Offset }{
		"finished":    {3, 3, checkpoint.Unbounded},
		"interrupted": {2, 3, 3},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := lay(t, newRegistry(), settings(t.TempDir()), false)
				l.feed.set(func(f *feed) {
					for _, lane := range f.lanes {
						lane.stop = test.stop
					}
				})
				l.move(t, int(test.records))
				pass(1100 * time.Millisecond)
				require.Equal(t, test.stop, l.vault.last().Positions[partition].Stop, "until then it stands")
				require.NoError(t, l.close(t))
				require.Equal(t, test.want, l.vault.last().Positions[partition].Stop)
			})
		})
	}
}

func TestCloseWithCheckpointsOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := construct(t, newRegistry(), checkpoint.Config{Sets: true}, false)
		l.start(t)
		l.move(t, 2)
		require.NoError(t, l.close(t))
		require.NoError(t, l.close(t), "twice is once")
		require.Empty(t, l.feed.committed())
		require.Empty(t, l.journal.String())
	})
}

// Without checkpoints nothing was acknowledged that would have to come again, and
// there is no position to go back to but the lanes' first.
func TestNothingIsTakenBackWithCheckpointsOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := construct(t, newRegistry(), checkpoint.Config{Sets: true}, false)
		l.start(t)
		l.move(t, 3)
		l.drain.handle.Fail(errors.New("data lost"))
		r := l.emit(t)
		l.drain.handle.Refuse(&r.origin, errors.New("too large"))
		l.feed.handle.Fail(errors.New("gone"))
		require.True(t, l.feed.handle.Nack(errors.New("rejected")), "it is delivered again in place")
		pass(time.Minute)
		require.Empty(t, l.journal.String())
		l.deliver(t, r)
		require.True(t, l.drain.has(partition, 3) || len(l.drain.pending) == 4)
		require.NoError(t, l.close(t))
	})
}

// Without a store the commit is the checkpoint, and after the last one nothing makes
// up for it.
func TestWithoutAStoreTheLastCommitCounts(t *testing.T) {
	for name, recovers := range map[string]bool{"recovers": true, "stays": false} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				listen(t)
				l := lay(t, newRegistry(), settings(""), false)
				l.move(t, 3)
				l.feed.set(func(f *feed) { f.commitErr = errors.New("coordinator is moving") })
				if recovers {
					time.AfterFunc(2*time.Second, func() { l.feed.set(func(f *feed) { f.commitErr = nil }) })
				}
				err := l.close(t)
				if recovers {
					require.NoError(t, err)
					require.NoError(t, Failed())
					require.Equal(t, "0:3", offsets(l.feed.committed()[0].Positions))
					return
				}
				require.ErrorContains(t, err, "final checkpoint failed")
				require.Equal(t, err, Failed())
				require.Empty(t, l.feed.committed())
			})
		})
	}
}

// The end of a partition that nobody reads any more is carried along, and keeps no
// other from beginning anew.
func TestInvariant12_WhatIsCarriedAlongKeepsNoEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		conf := settings(t.TempDir())
		l, other := pair(t, conf)
		until := func(f *feed, stop checkpoint.Offset) {
			f.set(func(f *feed) {
				for _, lane := range f.lanes {
					lane.stop = stop
				}
			})
		}
		until(l.feed, 3)
		until(other, 5)
		l.move(t, 1)
		require.NoError(t, l.close(t))
		require.NoError(t, other.handle.Close(t.Context()))

		l = lay(t, newRegistry(), conf, false)
		until(l.feed, 3)
		l.move(t, 2)
		require.NoError(t, l.close(t))
		last := l.vault.last().Positions
		require.Len(t, last, 2, "the other is still there")
		require.Equal(t, checkpoint.Unbounded, last[partition].Stop)
	})
}

func TestCloseBeforeTheStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		l := construct(t, newRegistry(), settings(dir), false)
		require.NoError(t, l.close(t))
		_, err := l.feed.handle.Restore(t.Context())
		require.ErrorIs(t, err, checkpoint.ErrDead)
		require.NoError(t, openAgain(t, dir).Close(), "the store is not held")
	})
}

func TestFatalAfterTheEndChangesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := lay(t, newRegistry(), settings(""), false)
		require.NoError(t, l.close(t))
		l.drain.handle.Fatal(errors.New("fenced"))
		l.drain.handle.Fail(errors.New("late"))
		require.NoError(t, l.drain.handle.Failed())
	})
}
