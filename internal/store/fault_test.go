package store

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"github.com/stretchr/testify/require"

	"github.com/tidemarkhq/tidemark/checkpoint"
)

// faults fails writes by number.
type faults struct {
	first int64
	// sticky fails all from the first on, until it is healed.
	sticky bool
	errno  syscall.Errno
	seen   atomic.Int64
	hit    atomic.Bool
	healed atomic.Bool
}

func (f *faults) String() string {
	return fmt.Sprintf("%v at write %d (sticky: %t)", f.errno, f.first, f.sticky)
}

// MaybeError implements errorfs.Injector.
func (f *faults) MaybeError(op errorfs.Op) error {
	if op.Kind.ReadOrWrite() != errorfs.OpIsWrite || op.Kind == errorfs.OpFileClose || op.Kind == errorfs.OpLock {
		return nil
	}
	n := f.seen.Add(1) - 1
	if f.healed.Load() || n < f.first || (n > f.first && !f.sticky) {
		return nil
	}
	f.hit.Store(true)
	return &fs.PathError{Op: "write", Path: op.Path, Err: f.errno}
}

// job is a run of a store's life that any write may interrupt. It keeps what the
// store may hold after that.
type job struct {
	h     *harness
	d     *Directory
	acked content
	// allowed are what a start without restore_from may find. It is read by faults
	// too, which strike in any goroutine.
	allowed atomic.Pointer[[]content]
	next    checkpoint.ID
}

func newJobRun(h *harness) *job {
	j := &job{h: h, next: 1, acked: contentAt(0)}
	j.allow(contentAt(0))
	return j
}

func (j *job) allow(c ...content) { j.allowed.Store(&c) }

func (j *job) open(change ...func(*Options)) (err error) {
	if j.d != nil {
		d := j.d
		j.d = nil
		if err := d.Close(); err != nil {
			return err
		}
	}
	j.d, err = j.h.tryOpen(change...)
	return err
}

// persist takes checkpoints, each from the last acknowledged content, as a stream
// does that rewinds when one fails.
func (j *job) persist(n int) error {
	for range n {
		m, changes := step(j.next)
		want := j.acked
		want.apply(m, changes)
		j.next++
		j.allow(append([]content{want}, *j.allowed.Load()...)...)
		if _, err := j.d.Persist(context.Background(), m, changes); err != nil {
			return err
		}
		j.acked = want
		j.allow(want)
	}
	return nil
}

func (j *job) run() error {
	if err := j.open(retain(3)); err != nil {
		return err
	}
	if err := j.persist(4); err != nil {
		return err
	}
	if err := j.open(retain(3)); err != nil {
		return err
	}
	if err := j.persist(2); err != nil {
		return err
	}
	// Into a table, as a full memory table is.
	if err := j.d.engine.guard(j.d.engine.db.Flush); err != nil {
		return err
	}
	if err := j.persist(2); err != nil {
		return err
	}
	from := j.acked.id - 1
	if err := j.open(retain(3), restoreFrom(from)); err != nil {
		return err
	}
	j.acked = contentAt(from)
	if err := j.persist(3); err != nil {
		return err
	}
	return j.open(retain(3), restoreFrom(from))
}

// sweep fails one write after the other (each tenth, from a random one, unless told
// otherwise) until a run gets by without, and hands each failed run to check.
func sweep(t *testing.T, sticky bool, errno syscall.Errno, check func(f *faults, j *job, mem *vfs.MemFS, err error)) {
	stride := int64(setting(t, "TIDEMARK_FAULT_STRIDE", 10))
	for i := seeded(t).Int64N(stride); ; i += stride {
		mem := vfs.NewMem()
		f := &faults{first: i, sticky: sticky, errno: errno}
		h := newHarness(t, withFS(errorfs.Wrap(mem, f)), func(o *Options) { o.Logf = nil })
		j := newJobRun(h)
		err := j.run()
		if err == nil {
			err = j.d.Close()
			j.d = nil
		}
		if !f.hit.Load() {
			require.NoError(t, err)
			t.Logf("%d writes", i)
			return
		}
		check(f, j, mem, err)
		if t.Failed() {
			t.Fatalf("failed with %v", f)
		}
	}
}

// requireAllowed opens a copy of what is on disk, as a new process would.
func requireAllowed(t *testing.T, f fmt.Stringer, j *job, mem vfs.FS) content {
	t.Helper()
	d, err := j.h.tryOpen(withFS(clone(t, mem, j.h.options.Directory)))
	require.NoError(t, err, "%v", f)
	got, err := read(d)
	require.NoError(t, err, "%v", f)
	require.NoError(t, d.Close(), "%v", f)
	for _, want := range *j.allowed.Load() {
		if equalContent(want, got) {
			return got
		}
	}
	require.Failf(t, "a third state", "%v: checkpoint %d, acknowledged %d", f, got.id, j.acked.id)
	return got
}

// TestFailedWriteLeavesOldOrNewCheckpoint sweeps a single failure over every write
// of a store's life.
func TestFailedWriteLeavesOldOrNewCheckpoint(t *testing.T) {
	for _, errno := range []syscall.Errno{syscall.ENOSPC, syscall.EIO} {
		for _, sticky := range []bool{false, true} {
			t.Run(fmt.Sprint(errno, sticky), func(t *testing.T) {
				sweep(t, sticky, errno, func(f *faults, j *job, mem *vfs.MemFS, err error) {
					require.NotErrorIs(t, err, checkpoint.ErrCorrupt, "%v", f)
					requireAllowed(t, f, j, mem)
					if j.d == nil {
						return
					}
					if got, err := read(j.d); err == nil {
						require.True(t, equalContent(j.acked, got), "%v: reads %d, acknowledged %d", f, got.id, j.acked.id)
					}
					_ = j.d.Close()
				})
			})
		}
	}
}

// TestStoreGoesOnAfterTheFault shows that the same process can persist again once
// the disk takes writes, unless the failed checkpoint got into the store.
func TestStoreGoesOnAfterTheFault(t *testing.T) {
	var went, fatal int
	sweep(t, true, syscall.ENOSPC, func(f *faults, j *job, mem *vfs.MemFS, err error) {
		f.healed.Store(true)
		if j.d == nil {
			return
		}
		switch err := j.persist(3); {
		case err == nil:
			went++
			requireContent(t, j.d, j.acked)
		case errors.Is(err, checkpoint.ErrFatal):
			fatal++
		default:
			require.NoError(t, err, "%v", f)
		}
		_ = j.d.Close()
		requireAllowed(t, f, j, mem)
	})
	t.Logf("went on %d times, fatal %d times", went, fatal)
	require.Positive(t, went)
}

// TestCrashLeavesOldOrNewCheckpoint takes the power away before every write: what
// was not synced is there or not, at random.
func TestCrashLeavesOldOrNewCheckpoint(t *testing.T) {
	r := seeded(t)
	stride := int64(setting(t, "TIDEMARK_FAULT_STRIDE", 10))
	seeds := r.Perm(1 << 16)
	for i := r.Int64N(stride); ; i += stride {
		mem := vfs.NewCrashableMem()
		c := &crash{at: i, mem: mem, r: rand.New(rand.NewPCG(uint64(seeds[i]), 1))}
		h := newHarness(t, withFS(errorfs.Wrap(mem, c)), func(o *Options) { o.Logf = nil })
		j := newJobRun(h)
		c.job = j
		err := j.run()
		require.NoError(t, err)
		require.NoError(t, j.d.Close())
		if c.after == nil {
			t.Logf("%d writes", i)
			return
		}
		j.allow(c.then...)
		requireAllowed(t, c, j, c.after)
	}
}

// crash copies the file system as a crash before a write would leave it.
type crash struct {
	at    int64
	mem   *vfs.MemFS
	r     *rand.Rand
	job   *job
	seen  atomic.Int64
	after *vfs.MemFS
	then  []content
	path  string
}

func (c *crash) String() string { return fmt.Sprintf("crash before write %d to %s", c.at, c.path) }

// MaybeError implements errorfs.Injector.
func (c *crash) MaybeError(op errorfs.Op) error {
	if op.Kind.ReadOrWrite() == errorfs.OpIsWrite && c.seen.Add(1)-1 == c.at {
		c.path = op.Path
		c.then = *c.job.allowed.Load()
		c.after = c.mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: c.r.IntN(101), RNG: c.r})
	}
	return nil
}

// TestFullDiskIsSeenBeforeItHurts shows that nothing is begun without room.
func TestFullDiskIsSeenBeforeItHurts(t *testing.T) {
	mem := vfs.NewMem()
	h := newHarness(t, withFS(mem))
	d := h.open()
	persist(t, d, 1)
	mem.TestingSetDiskUsage(vfs.DiskUsage{AvailBytes: diskReserve, TotalBytes: 1 << 40})
	err := tryPersist(d, 2)
	require.ErrorIs(t, err, ErrDiskFull)
	require.NotErrorIs(t, err, checkpoint.ErrFatal)
	requireContent(t, d, contentAt(1))
	mem.TestingSetDiskUsage(vfs.DiskUsage{AvailBytes: 2 * diskReserve, TotalBytes: 1 << 40})
	persist(t, d, 2)
	requireContent(t, d, contentAt(2))
	require.NoError(t, d.Close())
}
