package store

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/tidemarkhq/tidemark/checkpoint"
)

// setting returns a number from the environment, so that one test runs short in
// everyday work and long before a release.
func setting(t testing.TB, name string, otherwise int) int {
	t.Helper()
	s := os.Getenv(name)
	if s == "" {
		return otherwise
	}
	n, err := strconv.Atoi(s)
	require.NoError(t, err, name)
	return n
}

// seeded returns a random source; a failure prints how to replay it.
func seeded(t *testing.T) *rand.Rand {
	t.Helper()
	seed := setting(t, "TIDEMARK_SEED", int(time.Now().UnixNano()))
	t.Logf("replay with TIDEMARK_SEED=%d go test ./internal/store -run '^%s$'", seed, t.Name())
	return rand.New(rand.NewPCG(uint64(seed), 0))
}

// historied makes a store that has tables, several logs and version edits behind
// it, and ends at the checkpoint that is returned. Nothing holds only what the
// last log has, so that losing any part shows.
func historied(t testing.TB, h *harness, shape int) checkpoint.ID {
	const last = 40
	d := h.open()
	for id := checkpoint.ID(1); id <= last; id++ {
		persist(t, d, id)
		switch {
		case id%(11+checkpoint.ID(shape)) == 0:
			require.NoError(t, d.engine.db.Flush())
		case id == 30 && shape%2 == 0:
			require.NoError(t, d.engine.db.Compact(t.Context(), []byte("a"), []byte("z"), false))
		case id == 17 || (id == 39 && shape == 3):
			require.NoError(t, d.Close())
			d = h.open()
		}
	}
	require.NoError(t, d.Close())
	return last
}

// files returns every file below a folder.
func files(t testing.TB, fs vfs.FS, path string) (all []string) {
	names, err := fs.List(path)
	require.NoError(t, err)
	slices.Sort(names)
	for _, name := range names {
		full := fs.PathJoin(path, name)
		info, err := fs.Stat(full)
		require.NoError(t, err)
		if info.IsDir() {
			all = append(all, files(t, fs, full)...)
		} else {
			all = append(all, full)
		}
	}
	return all
}

func clone(t testing.TB, fs vfs.FS, path string) *vfs.MemFS {
	mem := vfs.NewMem()
	require.NoError(t, mem.MkdirAll(mem.PathDir(path), 0o755))
	_, err := vfs.Clone(fs, mem, path, path)
	require.NoError(t, err)
	return mem
}

// alter damages one file at one place and says how; "" if there is nothing in it.
func alter(t testing.TB, r *rand.Rand, fs vfs.FS, path string) string {
	f := folder{fs, fs.PathDir(path)}
	name := fs.PathBase(path)
	content, err := f.read(name)
	require.NoError(t, err)
	how := r.IntN(8)
	if how == 0 {
		require.NoError(t, fs.Remove(path))
		return "remove " + path
	}
	if len(content) == 0 {
		return ""
	}
	at := r.IntN(len(content))
	if r.IntN(3) == 0 { // the end is where crashes leave their mark
		at = len(content) - 1 - r.IntN(min(len(content), 64))
	}
	altered := bytes.Clone(content)
	var what string
	switch {
	case how <= 4:
		flip := byte(1 + r.IntN(255))
		altered[at] ^= flip
		what = fmt.Sprintf("flip %#x at %d of %d in %s", flip, at, len(content), path)
	case how <= 6:
		altered = altered[:at]
		what = fmt.Sprintf("cut %s from %d to %d", path, len(content), at)
	default:
		n := min(len(content)-at, 1+r.IntN(512))
		clear(altered[at : at+n])
		what = fmt.Sprintf("zero %d at %d of %d in %s", n, at, len(content), path)
	}
	if bytes.Equal(altered, content) {
		return ""
	}
	require.NoError(t, f.create(name, altered))
	return what
}

// TestDamageIsNamedOrHarmless alters the newest store at random places. Opening it
// and reading everything must end in a named error or in exactly what was there.
func TestDamageIsNamedOrHarmless(t *testing.T) {
	samples := setting(t, "TIDEMARK_DAMAGE_SAMPLES", 240)
	r := seeded(t)
	const shapes = 4
	var named, harmless int
	for shape := range shapes {
		h := newHarness(t, func(o *Options) { o.Logf = nil })
		last := historied(t, h, shape)
		want := contentAt(last)
		all := files(t, h.options.FS, h.options.Directory)
		for range samples / shapes {
			fs := clone(t, h.options.FS, h.options.Directory)
			var what string
			for what == "" {
				what = alter(t, r, fs, all[r.IntN(len(all))])
			}
			err := compare(h, fs, want)
			switch {
			case err == nil:
				harmless++
			case errors.Is(err, checkpoint.ErrCorrupt) || errors.Is(err, checkpoint.ErrVersion):
				named++
			default:
				t.Errorf("shape %d, %s: %v", shape, what, err)
			}
		}
	}
	t.Logf("%d samples: %d named, %d harmless", samples, named, harmless)
	require.Positive(t, named)
	require.Positive(t, harmless)
}

// compare opens a store and reads everything.
func compare(h *harness, fs vfs.FS, want content) error {
	d, err := h.tryOpen(withFS(fs))
	if err != nil {
		if errors.Is(err, checkpoint.ErrFatal) {
			return err
		}
		return fmt.Errorf("not fatal: %w", err)
	}
	got, err := read(d)
	if err = errors.Join(err, d.Close()); err != nil {
		return err
	}
	if !equalContent(got, want) {
		return fmt.Errorf("a third state: checkpoint %d, positions %v, %d keys", got.id, got.positions, len(got.state))
	}
	return nil
}

func equalContent(a, b content) bool {
	return a.id == b.id && fmt.Sprint(a.positions) == fmt.Sprint(b.positions) && fmt.Sprint(a.state) == fmt.Sprint(b.state)
}

// TestEachFileIsMissed removes, one at a time, every file of a store.
func TestEachFileIsMissed(t *testing.T) {
	h := newHarness(t, func(o *Options) { o.Logf = nil })
	last := historied(t, h, 1)
	needed := map[string]bool{}
	for _, path := range files(t, h.options.FS, h.options.Directory) {
		fs := clone(t, h.options.FS, h.options.Directory)
		require.NoError(t, fs.Remove(path))
		if err := compare(h, fs, contentAt(last)); err != nil {
			require.ErrorIs(t, err, checkpoint.ErrCorrupt, path)
			require.ErrorIs(t, err, checkpoint.ErrFatal, path)
			needed[strings.TrimRight(fs.PathBase(path), "0123456789")] = true
		}
	}
	for _, name := range []string{identityFile, acknowledgedFile, "MANIFEST-"} {
		require.True(t, needed[name], "%s: %v", name, needed)
	}
}

// TestLostEndIsNoticed cuts the log to what it was before the last checkpoint:
// what a crash before the sync would have left, but it was acknowledged.
func TestLostEndIsNoticed(t *testing.T) {
	h := newHarness(t)
	d := h.open()
	persist(t, d, upTo(5)...)
	before := clone(t, h.options.FS, h.options.Directory)
	persist(t, d, 6)
	acknowledged, err := d.root.read(acknowledgedFile)
	require.NoError(t, err)
	require.NoError(t, d.Close())
	require.NoError(t, compare(h, clone(t, before, h.options.Directory), contentAt(5)))
	require.NoError(t, folder{before, h.options.Directory}.create(acknowledgedFile, acknowledged))
	err = compare(h, before, contentAt(5))
	require.ErrorIs(t, err, checkpoint.ErrCorrupt)
	require.ErrorContains(t, err, "holds checkpoint 5, but 6 was acknowledged")
}

// TestLostMiddleIsNoticed takes batches out of the middle: the last checkpoint is
// there, and what it says of itself is right, but state before it is not.
func TestLostMiddleIsNoticed(t *testing.T) {
	h := newHarness(t)
	d := h.open()
	persist(t, d, 1, 2)
	lost := newHarness(t, withFS(clone(t, h.options.FS, h.options.Directory)))
	persist(t, d, 3, 4, 5)
	positions := d.last.Positions
	require.NoError(t, d.Close())

	d = lost.open()
	m, changes := step(6)
	m.Positions = positions
	d.last.ID, d.last.Positions = 5, nil // as if 3 to 5 had been written
	_, err := d.Persist(t.Context(), m, changes)
	require.NoError(t, err)
	require.NoError(t, d.Close())
	_, err = lost.tryOpen()
	require.ErrorIs(t, err, checkpoint.ErrCorrupt)
	require.ErrorContains(t, err, "not all that came before it")
}

// TestLostVersionEditIsNoticed does the same by damage: Pebble takes the end of its
// manifest for a crash and so forgets the table that the start before had made of
// the log, and the log is gone. Positions do not move here, so they prove nothing.
func TestLostVersionEditIsNoticed(t *testing.T) {
	h := newHarness(t, func(o *Options) { o.Logf = nil })
	for last := range checkpoint.ID(3) {
		d := h.open()
		for i := range checkpoint.ID(3) {
			m, changes := step(3*last + i + 1)
			m.Positions = nil
			_, err := d.Persist(t.Context(), m, changes)
			require.NoError(t, err)
		}
		require.NoError(t, d.Close())
	}
	fs, live := h.options.FS, folder{h.options.FS, h.options.FS.PathJoin(h.options.Directory, liveFolder(1))}
	names, err := live.list()
	require.NoError(t, err)
	slices.Sort(names)
	i := slices.IndexFunc(names, func(s string) bool { return strings.HasPrefix(s, "marker.manifest.") })
	manifest := names[i][strings.LastIndex(names[i], ".")+1:]
	content, err := live.read(manifest)
	require.NoError(t, err)
	require.NoError(t, live.create(manifest, content[:len(content)-20]))
	err = compare(h, fs, content9())
	require.ErrorIs(t, err, checkpoint.ErrCorrupt)
	require.ErrorContains(t, err, "not all that came before it")
}

// TestLostBeginningIsNoticed cuts Pebble's first manifest at every length: where it
// forgets all tables, the last log alone may still hold a chain link and a manifest.
func TestLostBeginningIsNoticed(t *testing.T) {
	h := newHarness(t, func(o *Options) { o.Logf = nil })
	d := h.open()
	for id := checkpoint.ID(1); id <= 9; id++ {
		m, changes := step(id)
		m.Positions = nil
		_, err := d.Persist(t.Context(), m, changes)
		require.NoError(t, err)
		if id%2 == 0 { // until the first log was used again
			require.NoError(t, d.engine.db.Flush())
		}
	}
	require.NoError(t, d.Close())
	live := d.live()
	content, err := live.read("MANIFEST-000001")
	require.NoError(t, err)
	for n := range content {
		fs := clone(t, live.fs, h.options.Directory)
		require.NoError(t, folder{fs, live.path}.create("MANIFEST-000001", content[:n]))
		if err := compare(h, fs, content9()); err != nil {
			require.ErrorIs(t, err, checkpoint.ErrCorrupt, "cut to %d", n)
		}
	}
}

func content9() content {
	c := contentAt(9)
	c.positions = checkpoint.Positions{}
	return c
}

// TestDamagedStoreIsLeftAsItWas shows that a failed start destroys no evidence.
func TestDamagedStoreIsLeftAsItWas(t *testing.T) {
	h := newHarness(t, func(o *Options) { o.Logf = nil })
	historied(t, h, 0)
	root := folder{h.options.FS, h.options.Directory}
	require.NoError(t, root.writeAcknowledgements(acknowledgement{1, 41}))
	before := snapshotOf(t, h)
	_, err := h.tryOpen()
	require.ErrorIs(t, err, checkpoint.ErrCorrupt)
	require.Equal(t, before, snapshotOf(t, h))
}

func snapshotOf(t testing.TB, h *harness) map[string]string {
	all := map[string]string{}
	for _, path := range files(t, h.options.FS, h.options.Directory) {
		fs := h.options.FS
		if name := fs.PathBase(path); name == holderFile || name == lockFile {
			continue
		}
		b, err := folder{fs, fs.PathDir(path)}.read(fs.PathBase(path))
		require.NoError(t, err)
		all[path] = string(b)
	}
	return all
}

// TestDamagedStateIsFoundWhenRead alters a value under a checksum of Pebble that
// is right.
func TestDamagedStateIsFoundWhenRead(t *testing.T) {
	h := newHarness(t, func(o *Options) { o.Verify = -1 })
	d := h.open()
	persist(t, d, upTo(4)...)
	key := stateKey(testOperator, testScope, []byte("k06"))
	require.NoError(t, d.engine.db.Set(key, []byte("not sealed"), pebble.Sync))
	require.NoError(t, d.Close())
	d = h.open()
	_, err := d.Get(testOperator, testScope, []byte("k06"))
	require.ErrorIs(t, err, checkpoint.ErrCorrupt)
	require.ErrorContains(t, err, `key "k06"`)
	err = d.Scan(testOperator, testScope, nil, nil, func(_, _ []byte) error { return nil })
	require.ErrorIs(t, err, checkpoint.ErrCorrupt)
	require.NoError(t, d.Close())
	_, err = h.tryOpen(func(o *Options) { o.Verify = 0 })
	require.ErrorIs(t, err, checkpoint.ErrCorrupt)
}

func TestVerifyIsBounded(t *testing.T) {
	h := newHarness(t)
	d := h.open()
	m, _ := step(1)
	var changes []checkpoint.Change
	for i := range 5000 {
		changes = append(changes, checkpoint.Change{Operator: "o", Key: fmt.Append(nil, i), Value: []byte("v")})
	}
	_, err := d.Persist(t.Context(), m, changes)
	require.NoError(t, err)
	require.NoError(t, d.Close())
	now := time.Unix(0, 0)
	var said []string
	d = h.open(func(o *Options) {
		o.Now = func() time.Time { now = now.Add(time.Second); return now }
		o.Logf = func(format string, args ...any) { said = append(said, fmt.Sprintf(format, args...)) }
	})
	require.Len(t, said, 1)
	require.Contains(t, said[0], "checked 3072 values of state")
	require.NoError(t, d.Close())
}
