package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/tidemarkhq/tidemark/checkpoint"
)

// Options of a directory store.
type Options struct {
	// Directory to keep checkpoints in; it is made if it is not there.
	Directory string
	// Job whose checkpoints these are. Empty takes the one that the store is kept
	// for, which is invented when the store is made; any other is ErrOtherJob.
	Job string
	// Share of the partitions that this process owns. A store is bound to the one
	// that its first checkpoint was written for; any other is ErrOtherShare. The
	// zero Share is all partitions.
	Share Share
	// Retain is how many checkpoints can be restored from, the last one among
	// them; 0 means 1. Each further one costs Persist a handful of syncs, and disk
	// space for what changed since.
	Retain int
	// RestoreFrom is the id of the checkpoint to start from, 0 for the last one.
	// One that is not there is ErrUnknownID. See the package comment for what
	// happens to the newer ones.
	RestoreFrom checkpoint.ID
	// Verify bounds the check of all state by Open; what is left is checked when it
	// is read. 0 means 2s, negative means that only positions are checked.
	Verify time.Duration
	// Logf takes what cannot be returned: housekeeping that failed and is tried
	// again, a RestoreFrom without effect. nil = silence.
	Logf func(format string, args ...any)
	// Now is the clock, for Verify and for the name of the holder; nil = time.Now.
	Now func() time.Time
	// FS is the file system, nil = the operating system's.
	FS vfs.FS
}

const defaultVerify = 2 * time.Second

func (o Options) withDefaults() (Options, error) {
	var faults []error
	if o.Directory == "" {
		faults = append(faults, errors.New("checkpoint.store.directory is empty: name a folder"))
	}
	if o.Retain < 0 {
		faults = append(faults, fmt.Errorf("checkpoint.retain is %d: it must be at least 1", o.Retain))
	}
	if o.RestoreFrom < 0 {
		faults = append(faults, fmt.Errorf("checkpoint.restore_from is %d: it must be the id of a checkpoint, from 1", o.RestoreFrom))
	}
	if s := o.Share.Shard; s.Count < 0 || s.Index < 0 || (s.Index >= s.Count && s != checkpoint.Shard{}) {
		faults = append(faults, fmt.Errorf("shard.index is %d and shard.count %d: the index goes from 0 to the count - 1", s.Index, s.Count))
	}
	if len(faults) > 0 {
		return o, checkpoint.Fatal(errors.Join(faults...))
	}
	o.Retain = max(o.Retain, 1)
	if o.Verify == 0 {
		o.Verify = defaultVerify
	}
	if o.Logf == nil {
		o.Logf = func(string, ...any) {}
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.FS == nil {
		o.FS = vfs.Default
	}
	return o, nil
}

// Directory is a checkpoint.Store in a folder. Load, Persist, List and Close are
// called by one goroutine at a time; everything else is safe beside them.
type Directory struct {
	conf     Options
	root     folder
	lock     io.Closer
	identity identity
	engine   *engine
	acks     *acknowledgements

	// last is the checkpoint that counts, nil if there is none.
	last *checkpoint.Manifest
	// superseded is the last checkpoint of the newer history while a restore from
	// an earlier one is not persisted yet, else nil.
	superseded *checkpoint.Manifest
	// staged tells that engine works in a live folder that STORE does not name
	// yet: the one of a restore. The first Persist makes it count.
	staged bool
	// dead is set when it cannot be known any more which folder counts.
	dead error

	// reading is held for writing while a broken store is opened anew: Get and Scan
	// wait instead of failing. It is taken before mu.
	reading sync.RWMutex
	// reads counts calls of Get and Scan; one begins with mu held and a view there.
	reads sync.WaitGroup
	mu    struct {
		sync.Mutex
		// view is what Get and Scan read: the state as of last. nil once closed, or
		// if the store could not be opened anew; unreadable then says which.
		view       *view
		unreadable error
		// reading is how many calls of Get and Scan are under way.
		reading int
		// used is the highest id that ever was.
		used checkpoint.ID
	}
}

var _ checkpoint.Store = (*Directory)(nil)

// Open opens the store in a folder, or makes one. Errors that wrap
// checkpoint.ErrFatal are final; checkpoint.ErrLocked, and errors of the system
// such as a full disk, may pass. ctx bounds the opening only.
func Open(ctx context.Context, o Options) (*Directory, error) {
	conf, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	path, err := resolve(conf.FS, conf.Directory)
	if err != nil {
		return nil, fmt.Errorf("opening the checkpoint store: %w", err)
	}
	d := &Directory{conf: conf, root: folder{conf.FS, path}}
	if d.lock, err = d.root.acquire(conf.Now()); err != nil {
		return nil, fmt.Errorf("opening the checkpoint store: %w", err)
	}
	if err = d.open(ctx); err == nil {
		return d, nil
	}
	err = errors.Join(fmt.Errorf("opening the checkpoint store: %w", err), d.Close())
	if damaged(err) {
		err = checkpoint.Fatal(err)
	}
	return nil, err
}

// Job returns the job whose checkpoints these are.
func (d *Directory) Job() string { return d.identity.job }

// LastID returns the highest id that was ever used, 0 if none was. After a
// restore it is above that of the checkpoint loaded; the next one has to be above
// LastID.
func (d *Directory) LastID() checkpoint.ID {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.mu.used
}

// Load implements checkpoint.Store.
func (d *Directory) Load(ctx context.Context) (*checkpoint.Manifest, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if d.last == nil {
		return nil, checkpoint.ErrNoCheckpoint
	}
	return cloneManifest(d.last), nil
}

// readsEnd is how long Close waits for reads that are under way.
const readsEnd = 5 * time.Second

// Close implements checkpoint.Store. Reads that are under way end first. It returns
// an error if they do not, or if the store is broken and Pebble does not end; then
// the folder stays locked until the process ends, because nobody else may write to
// it before.
func (d *Directory) Close() error {
	d.endView(errClosed)
	if !awaitReads(&d.reads) {
		return fmt.Errorf("closing the checkpoint store: its state is still being read after %v", readsEnd)
	}
	var errs []error
	if d.acks != nil {
		errs = append(errs, d.acks.file.Close())
		d.acks = nil
	}
	if d.engine != nil {
		if err := d.engine.close(); err != nil {
			errs = append(errs, fmt.Errorf("closing the checkpoint store: %w", err))
		}
		if !d.engine.ended {
			return errors.Join(errs...)
		}
		d.engine = nil
	}
	if d.lock != nil {
		errs = append(errs, d.lock.Close())
		d.lock = nil
	}
	return errors.Join(errs...)
}

// awaitReads waits until reads that are under way have ended, and tells whether they have.
func awaitReads(reads *sync.WaitGroup) bool {
	ended := make(chan struct{})
	go func() {
		reads.Wait()
		close(ended)
	}()
	t := time.NewTimer(readsEnd)
	defer t.Stop()
	select {
	case <-ended:
		return true
	case <-t.C:
		return false
	}
}

func cloneManifest(m *checkpoint.Manifest) *checkpoint.Manifest {
	c := *m
	c.Positions = m.Positions.Clone()
	return &c
}

func idOf(m *checkpoint.Manifest) checkpoint.ID {
	if m == nil {
		return 0
	}
	return m.ID
}
