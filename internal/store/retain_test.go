package store

import (
	"context"
	"fmt"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tidemarkhq/tidemark/checkpoint"
)

func listed(t testing.TB, d *Directory) (ids []checkpoint.ID) {
	t.Helper()
	list, err := d.List(context.Background())
	require.NoError(t, err)
	for _, m := range list {
		require.Equal(t, contentAt(m.ID).positions, m.Positions)
		require.Equal(t, testJob, m.Job)
		ids = append(ids, m.ID)
	}
	return ids
}

// folders is how many stores there are in a folder: live and retained ones.
func folders(t testing.TB, d *Directory) (live, retained int) {
	t.Helper()
	lives, err := d.root.list()
	require.NoError(t, err)
	for _, name := range lives {
		if name[:min(len(name), len(livePrefix))] == livePrefix {
			live++
		}
	}
	kept, err := d.retained().list()
	require.NoError(t, err)
	return live, len(kept)
}

func TestRetainKeepsTheNewest(t *testing.T) {
	for n := range 4 {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			h := newHarness(t, retain(n))
			d := h.open()
			for id := checkpoint.ID(1); id <= 9; id++ {
				persist(t, d, id)
				want := upTo(id)[max(0, int(id)-max(n, 1)):]
				require.Equal(t, want, listed(t, d))
				live, retained := folders(t, d)
				require.Equal(t, 1, live)
				require.Equal(t, len(want)-1, retained)
			}
			require.NoError(t, d.Close())
		})
	}
}

func TestRetainMayChange(t *testing.T) {
	h := newHarness(t)
	d := h.open(retain(5))
	persist(t, d, upTo(7)...)
	require.NoError(t, d.Close())
	d = h.open(retain(2))
	persist(t, d, 8)
	require.Equal(t, []checkpoint.ID{7, 8}, listed(t, d))
	require.NoError(t, d.Close())
	d = h.open(retain(1))
	persist(t, d, 9)
	require.Equal(t, []checkpoint.ID{9}, listed(t, d))
	require.NoError(t, d.Close())
}

func TestRestoreFromAnyOfFive(t *testing.T) {
	for name, change := range map[string]func(*testing.T) func(*Options){
		"memory": func(*testing.T) func(*Options) { return func(*Options) {} },
		"disk":   func(t *testing.T) func(*Options) { return in(filepath.Join(t.TempDir(), "s")) },
	} {
		for from := checkpoint.ID(6); from <= 10; from++ {
			t.Run(fmt.Sprint(name, from), func(t *testing.T) {
				h := newHarness(t, change(t), retain(5))
				d := h.open()
				for _, id := range upTo(10) {
					persist(t, d, id)
					if id%3 == 0 { // tables as well as logs
						require.NoError(t, d.engine.db.Flush())
					}
				}
				require.NoError(t, d.Close())

				d = h.open(restoreFrom(from))
				requireContent(t, d, contentAt(from))
				require.EqualValues(t, 10, d.LastID())
				require.Equal(t, []checkpoint.ID{6, 7, 8, 9, 10}, listed(t, d))
				want := contentAt(from)
				m, changes := step(11)
				want.apply(m, changes)
				persist(t, d, 11)
				requireContent(t, d, want)
				require.NoError(t, d.Close())

				d = h.open()
				requireContent(t, d, want)
				list, err := d.List(context.Background())
				require.NoError(t, err)
				for _, m := range list[:len(list)-1] {
					require.LessOrEqual(t, m.ID, from)
				}
				live, _ := folders(t, d)
				require.Equal(t, 1, live)
				require.NoError(t, d.Close())
			})
		}
	}
}

func TestRestoreCanBeUndoneUntilPersisted(t *testing.T) {
	h := newHarness(t, retain(5))
	d := h.open()
	persist(t, d, upTo(10)...)
	require.NoError(t, d.Close())
	for _, from := range []checkpoint.ID{7, 6, 0, 10, 8} {
		d = h.open(restoreFrom(from))
		if from == 0 {
			from = 10
		}
		requireContent(t, d, contentAt(from))
		require.NoError(t, d.Close())
	}
	d = h.open()
	requireContent(t, d, contentAt(10))
	require.Equal(t, []checkpoint.ID{6, 7, 8, 9, 10}, listed(t, d))
	live, _ := folders(t, d)
	require.Equal(t, 1, live)
	require.NoError(t, d.Close())
}

func TestRestartWithSameRestoreFromGoesOn(t *testing.T) {
	h := newHarness(t, retain(5))
	d := h.open()
	persist(t, d, upTo(10)...)
	require.NoError(t, d.Close())
	want := contentAt(8)
	for id := checkpoint.ID(11); id <= 20; id++ {
		d = h.open(restoreFrom(8))
		requireContent(t, d, want)
		m, changes := step(id)
		want.apply(m, changes)
		persist(t, d, id)
		require.NoError(t, d.Close())
	}
	// 8 is long gone. Without it, and with it again, it is missed.
	d = h.open()
	requireContent(t, d, want)
	require.NoError(t, d.Close())
	_, err := h.tryOpen(restoreFrom(8))
	require.ErrorIs(t, err, ErrUnknownID)
}

func TestRestoreAfterRestore(t *testing.T) {
	h := newHarness(t, retain(5))
	d := h.open()
	persist(t, d, upTo(10)...)
	require.NoError(t, d.Close())
	d = h.open(restoreFrom(8))
	persist(t, d, 11, 12)
	require.Equal(t, []checkpoint.ID{6, 7, 8, 11, 12}, idsOf(t, d))
	require.NoError(t, d.Close())
	d = h.open(restoreFrom(7))
	requireContent(t, d, contentAt(7))
	require.EqualValues(t, 12, d.LastID())
	persist(t, d, 13)
	require.Equal(t, []checkpoint.ID{6, 7, 13}, idsOf(t, d))
	require.NoError(t, d.Close())
	// 11 belonged to a history that was dropped.
	_, err := h.tryOpen(restoreFrom(11))
	require.ErrorIs(t, err, ErrUnknownID)
}

func idsOf(t testing.TB, d *Directory) (ids []checkpoint.ID) {
	t.Helper()
	list, err := d.List(context.Background())
	require.NoError(t, err)
	for _, m := range list {
		ids = append(ids, m.ID)
	}
	return ids
}

func TestUnknownRestoreFromListsWhatThereIs(t *testing.T) {
	h := newHarness(t, retain(3))
	_, err := h.tryOpen(restoreFrom(1))
	require.ErrorIs(t, err, ErrUnknownID)
	require.ErrorContains(t, err, "there are: none")
	d := h.open()
	persist(t, d, upTo(5)...)
	require.NoError(t, d.Close())
	_, err = h.tryOpen(restoreFrom(1))
	require.ErrorIs(t, err, ErrUnknownID)
	require.ErrorIs(t, err, checkpoint.ErrFatal)
	require.ErrorContains(t, err, "checkpoint.restore_from is 1; there are: 3 4 5")
	d = h.open()
	requireContent(t, d, contentAt(5))
	require.NoError(t, d.Close())
}

func TestRestoreFromRescuesADamagedStore(t *testing.T) {
	h := newHarness(t, retain(3))
	d := h.open()
	persist(t, d, upTo(5)...)
	live := d.live()
	require.NoError(t, d.Close())
	require.NoError(t, live.fs.RemoveAll(live.path))
	_, err := h.tryOpen()
	require.ErrorIs(t, err, checkpoint.ErrCorrupt)
	require.ErrorIs(t, err, checkpoint.ErrFatal)
	require.ErrorContains(t, err, "(there are: 3 4)")

	d = h.open(restoreFrom(4))
	requireContent(t, d, contentAt(4))
	require.Greater(t, d.LastID(), checkpoint.ID(5))
	next := d.LastID() + 1
	persist(t, d, next)
	require.NoError(t, d.Close())
	want := contentAt(4)
	want.apply(step(next))
	d = h.open()
	requireContent(t, d, want)
	require.NoError(t, d.Close())
}

func TestDamagedRetainedCheckpointIsNamed(t *testing.T) {
	h := newHarness(t, retain(3))
	d := h.open()
	persist(t, d, upTo(5)...)
	require.NoError(t, d.retained().sub("3").create(checkpointFile, []byte("nonsense")))
	require.NoError(t, d.retained().sub("4").create(checkpointFile, encodeCheckpoint(checkpoint.Manifest{ID: 3})))
	require.Equal(t, []checkpoint.ID{5}, idsOf(t, d))
	require.NoError(t, d.Close())
	for from := checkpoint.ID(3); from <= 4; from++ {
		_, err := h.tryOpen(restoreFrom(from))
		require.ErrorIs(t, err, checkpoint.ErrCorrupt)
		require.ErrorContains(t, err, fmt.Sprint(from, "/CHECKPOINT"))
	}
	d = h.open()
	requireContent(t, d, contentAt(5))
	require.NoError(t, d.Close())
}
