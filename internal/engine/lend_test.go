package engine

import (
	"context"
	"errors"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tidemarkhq/tidemark/checkpoint"
	"github.com/tidemarkhq/tidemark/internal/savepoint"
)

// lender is a store whose snapshots are read slowly.
type lender struct {
	*vault
	// reading is closed when a snapshot is being read; that ends when the context does or
	// release is closed.
	reading, release chan struct{}
}

func (l *lender) Snapshot() (savepoint.Snapshot, error) {
	s, err := l.vault.Store.(savepoint.Snapshotter).Snapshot()
	return &lent{s, l}, err
}

type lent struct {
	savepoint.Snapshot
	l *lender
}

func (s *lent) Each(ctx context.Context, fn func(savepoint.Entry) error) error {
	close(s.l.reading)
	select {
	case <-s.l.release:
		return s.Snapshot.Each(ctx, fn)
	case <-ctx.Done():
		return ctx.Err()
	}
}

func lend(l *line) *lender {
	lent := &lender{vault: l.vault, reading: make(chan struct{}), release: make(chan struct{})}
	l.c.mu.Lock()
	defer l.c.mu.Unlock()
	l.c.mu.store = lent
	return lent
}

func saving(t testing.TB, dir string) checkpoint.Config {
	conf := settings(t.TempDir())
	conf.SavepointDirectory = dir
	return conf
}

// ask takes a savepoint beside the test.
func (l *line) ask(t testing.TB) <-chan Savepoint {
	outcome := make(chan Savepoint, 1)
	go func() { outcome <- l.c.Savepoint(t.Context()) }()
	return outcome
}

// However long a savepoint takes, checkpoints go on beside it, and it is of the one that
// was asked for.
func TestCheckpointsGoOnBesideASavepoint(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := lay(t, newRegistry(), saving(t, t.TempDir()), true)
		store := lend(l)
		l.move(t, 3)
		first := l.ask(t)
		<-store.reading
		second := l.ask(t) // waits for its turn
		before := l.vault.last().ID
		for range 10 {
			l.move(t, 1)
			pass(time.Second)
		}
		require.Equal(t, before+10, l.vault.last().ID)
		store.reading = make(chan struct{})
		close(store.release)
		for _, want := range []struct {
			got   Savepoint
			id    checkpoint.ID
			count byte
		}{{<-first, before, 3}, {<-second, before + 11, 13}} {
			require.NoError(t, want.got.Err)
			require.Equal(t, want.id, want.got.ID)
			f, err := savepoint.Open(t.Context(), want.got.File)
			require.NoError(t, err)
			require.Equal(t, checkpoint.Positions{{Source: "in", Topic: "t"}: {
				Next: checkpoint.Offset(want.count), LeaderEpoch: checkpoint.UnknownEpoch, Stop: checkpoint.Unbounded,
			}}, f.Manifest().Positions)
			require.NoError(t, f.Each(t.Context(), func(e savepoint.Entry) error {
				require.Equal(t, []byte{0, 0, 0, 0, 0, 0, 0, want.count}, e.Value)
				return nil
			}))
			require.NoError(t, f.Close())
		}
		require.NoError(t, l.close(t))
	})
}

// A stream that stops, or dies, while its savepoint is written does so at once; the
// savepoint is given up, said to be, and leaves nothing behind.
func TestTheEndOfAStreamEndsItsSavepoint(t *testing.T) {
	for name, end := range map[string]func(*testing.T, *line){
		"stop":  func(t *testing.T, l *line) { t.Helper(); require.NoError(t, l.close(t)) },
		"crash": func(_ *testing.T, l *line) { l.crash() },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				dir := t.TempDir()
				conf := saving(t, dir)
				l := lay(t, newRegistry(), conf, true)
				store := lend(l)
				l.move(t, 3)
				outcome := l.ask(t)
				<-store.reading
				l.move(t, 4)
				begun := time.Now()
				end(t, l)
				require.Less(t, time.Since(begun), time.Second)
				got := <-outcome
				require.ErrorContains(t, got.Err, "the stream ended before it was written")
				require.Empty(t, got.File)
				left, err := os.ReadDir(dir)
				require.NoError(t, err)
				require.Empty(t, left)

				l = lay(t, newRegistry(), conf, true)
				want := map[string]uint64{"stop": 7, "crash": 3}[name]
				count, err := l.tally.stored(checkpoint.Partition{Source: "in", Topic: "t"})
				require.NoError(t, err)
				require.Equal(t, want, count)
				require.NoError(t, l.close(t))
			})
		})
	}
}

// A caller that does not wait, and a checkpoint that fails or is overtaken by a rewind,
// leave nothing that the end of the stream would wait for.
func TestSavepointsThatAreNotTaken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := lay(t, newRegistry(), saving(t, t.TempDir()), true)
		l.move(t, 1)
		hold := make(chan struct{})
		l.vault.set(func(v *vault) { v.hold = hold })
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		got := l.c.Savepoint(ctx)
		require.ErrorIs(t, got.Err, context.DeadlineExceeded)

		rewound := l.ask(t)
		synctest.Wait()
		l.feed.handle.Fail(errors.New("undeliverable"))
		require.ErrorContains(t, (<-rewound).Err, "undeliverable")
		l.vault.set(func(v *vault) { v.hold = nil })
		close(hold)
		pass(5 * time.Second)

		l.vault.set(func(v *vault) { v.err = errors.New("no room") })
		require.ErrorContains(t, l.c.Savepoint(t.Context()).Err, "no room")
		l.vault.set(func(v *vault) { v.err = nil })

		// The vault gives nothing out, as another store might.
		require.ErrorContains(t, l.c.Savepoint(t.Context()).Err, "the store gives out no savepoints")
		require.NoError(t, l.close(t))
		require.ErrorIs(t, l.c.Savepoint(t.Context()).Err, checkpoint.ErrDead)
	})
}

func TestSavepointsAreRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := lay(t, newRegistry(), settings(t.TempDir()), false)
		require.ErrorContains(t, l.c.Savepoint(t.Context()).Err, "checkpoint.savepoint_directory is not set")
		require.NoError(t, l.close(t))
		conf := saving(t, t.TempDir())
		conf.Interval = 0
		l = lay(t, newRegistry(), conf, false)
		require.ErrorContains(t, l.c.Savepoint(t.Context()).Err, "checkpoint.interval is 0s")
		require.NoError(t, l.close(t))
	})
}

func TestSavepointNames(t *testing.T) {
	m := &checkpoint.Manifest{Job: "a/b é", ID: 7, Taken: time.Date(2026, 2, 3, 4, 5, 6, 7e6, time.UTC)}
	require.Equal(t, "a_b__-7-20260203T040506.007Z.savepoint", savepointName(m, savepoint.Origin{}))
	shard := savepoint.Origin{Share: savepoint.Share{Shard: checkpoint.Shard{Index: 1, Count: 3}}}
	require.Equal(t, "a_b__-shard-1-of-3-7-20260203T040506.007Z.savepoint", savepointName(m, shard))
}
