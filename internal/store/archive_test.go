package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"syscall"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"github.com/stretchr/testify/require"

	"github.com/tidemarkhq/tidemark/checkpoint"
	"github.com/tidemarkhq/tidemark/internal/savepoint"
)

func (h *harness) archive() *Archive {
	h.Helper()
	a, err := OpenArchive(h.options)
	require.NoError(h, err)
	return a
}

// exported is a checkpoint as a savepoint file, in memory.
func exported(t testing.TB, s savepoint.Snapshot, err error) *savepoint.File {
	t.Helper()
	require.NoError(t, err)
	f := encoded(t, s)
	require.NoError(t, s.Close())
	return f
}

func encoded(t testing.TB, s savepoint.Snapshot) *savepoint.File {
	t.Helper()
	var b bytes.Buffer
	_, err := savepoint.Encode(t.Context(), &b, s)
	require.NoError(t, err)
	f, err := savepoint.Decode(t.Context(), "file", bytes.NewReader(b.Bytes()), int64(b.Len()))
	require.NoError(t, err)
	return f
}

func TestExportAndImportKeepEverything(t *testing.T) {
	h := newHarness(t, retain(4))
	d := h.open()
	persist(t, d, upTo(20)...)
	p := checkpoint.Partition{Source: "in", Topic: "orders", ID: 2}
	m, changes := step(21)
	m.Final = true
	m.Positions[p] = checkpoint.Position{Next: 7, LeaderEpoch: 4, Stop: 99, Watermark: checkpoint.Watermark{Known: true, At: -5}}
	changes = append(changes, checkpoint.Change{Operator: "a\x00b", Key: []byte{}, Value: []byte{}})
	_, err := d.Persist(t.Context(), m, changes)
	require.NoError(t, err)
	require.NoError(t, d.Close())

	a := h.archive()
	list, err := a.List(t.Context())
	require.NoError(t, err)
	require.Len(t, list, 4)
	for _, id := range []checkpoint.ID{0, 21, 20, 18} {
		s, err := a.Snapshot(t.Context(), id)
		f := exported(t, s, err)
		to := newHarness(t)
		require.NoError(t, Importer{to.options}.Import(t.Context(), f))
		d := to.open()
		want := contentAt(id)
		if id == 0 || id == 21 {
			want = contentAt(20)
			want.apply(m, changes)
			delete(want.state, "") // of another operator
			last, err := d.Load(t.Context())
			require.NoError(t, err)
			require.Equal(t, m, last)
			v, err := d.Get("a\x00b", checkpoint.Scope{}, nil)
			require.NoError(t, err)
			require.NotNil(t, v)
		}
		requireContent(t, d, want)
		require.Equal(t, want.id, d.LastID())

		// It is a store like any other: it goes on, and tells what it holds once more.
		persist(t, d, 22)
		require.NoError(t, d.Close())
		d = to.open()
		next, more := step(22)
		want.apply(next, more)
		requireContent(t, d, want)
		require.NoError(t, d.Close())
	}
	require.NoError(t, a.Close())
	d = h.open()
	require.EqualValues(t, 21, d.LastID(), "the archive has changed nothing")
	require.NoError(t, d.Close())
}

func TestArchiveSaysWhatItDoesNotHave(t *testing.T) {
	h := newHarness(t, retain(3))
	_, err := OpenArchive(h.options)
	require.ErrorIs(t, err, savepoint.ErrNoStore)
	names, err := h.options.FS.List("")
	require.NoError(t, err)
	require.Empty(t, names, "looking makes no folder")

	d := h.open()
	_, err = OpenArchive(h.options)
	require.ErrorIs(t, err, checkpoint.ErrLocked)
	require.ErrorContains(t, err, "is in use by process")
	require.NoError(t, d.Close())
	a := h.archive()
	_, err = a.Snapshot(t.Context(), 0)
	require.ErrorIs(t, err, checkpoint.ErrNoCheckpoint)
	list, err := a.List(t.Context())
	require.NoError(t, err)
	require.Empty(t, list)
	require.NoError(t, a.Close())

	d = h.open()
	persist(t, d, upTo(5)...)
	require.NoError(t, d.Close())
	a = h.archive()
	_, err = a.Snapshot(t.Context(), 2)
	require.ErrorIs(t, err, savepoint.ErrUnknownID)
	require.ErrorContains(t, err, "2; there are: 3 4 5")
	require.NoError(t, a.Close())
}

func TestDelete(t *testing.T) {
	h := newHarness(t, retain(4))
	d := h.open()
	persist(t, d, upTo(9)...)
	require.NoError(t, d.Close())
	a := h.archive()
	require.NoError(t, a.Delete(t.Context(), 7))
	require.ErrorIs(t, a.Delete(t.Context(), 7), savepoint.ErrUnknownID)
	require.ErrorContains(t, a.Delete(t.Context(), 9), "checkpoint 9 is the last one")
	list, err := a.List(t.Context())
	require.NoError(t, err)
	var ids []checkpoint.ID
	for _, m := range list {
		ids = append(ids, m.ID)
	}
	require.Equal(t, []checkpoint.ID{6, 8, 9}, ids)
	s, err := a.Snapshot(t.Context(), 0)
	f := exported(t, s, err)
	require.ErrorIs(t, Importer{h.options}.Import(t.Context(), f), savepoint.ErrNotEmpty)
	require.NoError(t, a.DeleteAll(t.Context()))
	require.NoError(t, a.Close())
	_, err = OpenArchive(h.options)
	require.ErrorIs(t, err, savepoint.ErrNoStore)

	// What was deleted can be imported again, and another job may begin there too.
	require.NoError(t, Importer{h.options}.Import(t.Context(), f))
	err = Importer{h.options}.Import(t.Context(), f)
	require.ErrorIs(t, err, savepoint.ErrNotEmpty)
	require.ErrorContains(t, err, `it holds a store of job "orders"`)
	d = h.open()
	requireContent(t, d, contentAt(9))
	require.NoError(t, d.Close())
	a = h.archive()
	require.NoError(t, a.DeleteAll(t.Context()))
	require.NoError(t, a.Close())
	d = h.open(func(o *Options) { o.Job = "another" })
	requireContent(t, d, contentAt(0))
	require.Zero(t, d.LastID())
	require.NoError(t, d.Close())
}

func TestImportLeavesOtherFilesAlone(t *testing.T) {
	h := newHarness(t)
	d := h.open()
	persist(t, d, 1)
	require.NoError(t, d.Close())
	a := h.archive()
	s, err := a.Snapshot(t.Context(), 0)
	f := exported(t, s, err)
	require.NoError(t, a.Close())
	to := newHarness(t)
	fs := to.options.FS
	require.NoError(t, fs.MkdirAll(to.options.Directory, 0o755))
	require.NoError(t, folder{fs, to.options.Directory}.create("notes.txt", []byte("mine")))
	err = Importer{to.options}.Import(t.Context(), f)
	require.ErrorIs(t, err, savepoint.ErrNotEmpty)
	require.ErrorContains(t, err, "notes.txt")
	names, err := folder{fs, to.options.Directory}.list()
	require.NoError(t, err)
	require.Equal(t, []string{"notes.txt"}, names)
}

// One shard of one is no shard, for a store as for the input.
func TestOneShardIsAllPartitions(t *testing.T) {
	h := newHarness(t)
	d := h.open()
	persist(t, d, 1)
	require.NoError(t, d.Close())
	d = h.open(func(o *Options) { o.Share.Shard.Count = 1 })
	requireContent(t, d, contentAt(1))
	require.NoError(t, d.Close())
	_, err := h.tryOpen(func(o *Options) { o.Share.Shard.Count = 2 })
	require.ErrorIs(t, err, ErrOtherShare)
}

// A snapshot is of its own checkpoint, however far the store goes on beside it, and
// nothing waits for it.
func TestSnapshotStaysWhileTheStoreGoesOn(t *testing.T) {
	h := newHarness(t)
	d := h.open()
	_, err := d.Snapshot()
	require.ErrorIs(t, err, checkpoint.ErrNoCheckpoint)
	persist(t, d, upTo(10)...)
	s, err := d.Snapshot()
	require.NoError(t, err)
	// In the middle of reading too.
	var n int
	require.NoError(t, s.Each(t.Context(), func(savepoint.Entry) error {
		n++
		persist(t, d, checkpoint.ID(10+n))
		return nil
	}))
	require.NoError(t, d.engine.db.Compact(t.Context(), []byte("a"), []byte("z"), false))
	f := exported(t, s, nil)
	requireContent(t, d, contentAt(checkpoint.ID(10+n)))
	require.NoError(t, d.Close())

	to := newHarness(t)
	require.NoError(t, Importer{to.options}.Import(t.Context(), f))
	d = to.open()
	requireContent(t, d, contentAt(10))
	require.NoError(t, d.Close())
}

// A store that breaks while it is read is read to no end: it can only be opened anew
// when nobody reads it.
func TestSnapshotEndsWhenTheStoreBreaks(t *testing.T) {
	h := newHarness(t)
	d := h.open()
	m, _ := step(1)
	var changes []checkpoint.Change
	for i := range 2000 {
		changes = append(changes, checkpoint.Change{Operator: testOperator, Scope: testScope, Key: fmt.Append(nil, i), Value: []byte("v")})
	}
	_, err := d.Persist(t.Context(), m, changes)
	require.NoError(t, err)
	s, err := d.Snapshot()
	require.NoError(t, err)
	cause := errors.New("gone")
	err = s.Each(t.Context(), func(savepoint.Entry) error {
		_ = d.engine.giveUp(cause)
		return nil
	})
	require.ErrorIs(t, err, cause)
	require.NoError(t, s.Close())
	persist(t, d, 2)
	require.NoError(t, d.Close())
}

// Whatever write fails, the folder holds the whole checkpoint or counts as empty, and
// can be imported into again.
func TestFailedImportIsNoImport(t *testing.T) {
	src := newHarness(t)
	d := src.open()
	persist(t, d, upTo(12)...)
	require.NoError(t, d.Close())
	a := src.archive()
	s, err := a.Snapshot(t.Context(), 0)
	f := exported(t, s, err)
	for _, sticky := range []bool{false, true} {
		for first := int64(0); ; first++ {
			mem := vfs.NewMem()
			hurt := &faults{first: first, sticky: sticky, errno: syscall.EIO}
			h := newHarness(t, withFS(errorfs.Wrap(mem, hurt)), func(o *Options) { o.Logf = nil })
			err := Importer{h.options}.Import(context.Background(), f)
			hurt.healed.Store(true)
			if !hurt.hit.Load() {
				require.NoError(t, err)
				break
			}
			again := newHarness(t, withFS(mem))
			if err != nil {
				d, openErr := again.tryOpen()
				require.NoError(t, openErr, "%v: %v", hurt, err)
				got, readErr := read(d)
				require.NoError(t, readErr, hurt)
				// Where nothing can be written any more, nothing can be undone.
				if !sticky || got.id != 12 {
					require.Equal(t, contentAt(0), got, "%v: %v", hurt, err)
				}
				require.NoError(t, d.Close())
				a := again.archive()
				require.NoError(t, a.DeleteAll(t.Context()), hurt)
				require.NoError(t, a.Close())
				require.NoError(t, Importer{again.options}.Import(t.Context(), f), hurt)
			}
			d := again.open()
			requireContent(t, d, contentAt(12))
			require.NoError(t, d.Close())
		}
	}
	require.NoError(t, a.Close())
}
