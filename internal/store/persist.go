package store

import (
	"context"
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2"

	"github.com/tidemarkhq/tidemark/checkpoint"
)

// diskReserve is what must be free, in bytes, beside twice the batch: Pebble moves
// what is in memory to tables in the background, and cannot go on if that fails.
const diskReserve = 16 << 20

// ErrDiskFull says that a checkpoint was not begun because there is no room for
// it. Nothing changed; the next one is tried as usual.
var ErrDiskFull = errors.New("disk is full")

// Persist implements checkpoint.Store. m.ID must be above LastID, m.Job be Job.
// ctx is heeded until the write begins; then it is waited for, as nobody could
// tell otherwise whether the checkpoint is there.
//
// If the write itself fails, the new checkpoint may be on disk although an error
// is returned. Get and Scan still read the previous one, and the next Persist
// opens the store anew and goes on from there; if it finds the failed checkpoint
// in the store it returns an error that wraps checkpoint.ErrFatal.
func (d *Directory) Persist(ctx context.Context, m *checkpoint.Manifest, changes []checkpoint.Change) (int64, error) {
	n, err := d.persist(ctx, m, changes)
	if err != nil {
		return 0, fmt.Errorf("persisting checkpoint %d: %w", m.ID, err)
	}
	return n, nil
}

func (d *Directory) persist(ctx context.Context, m *checkpoint.Manifest, changes []checkpoint.Change) (int64, error) {
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	if err := d.roomFor(0); err != nil {
		return 0, err
	}
	if err := d.revive(ctx); err != nil {
		return 0, err
	}
	if m.Job != d.identity.job {
		return 0, fmt.Errorf("%w: %q instead of %q", ErrOtherJob, m.Job, d.identity.job)
	}
	if used := d.LastID(); m.ID <= used {
		return 0, fmt.Errorf("ids are not used twice: %d is not above %d", m.ID, used)
	}
	b := d.batch(m, changes)
	size := int64(b.Len())
	if err := d.roomFor(size); err != nil {
		return 0, errors.Join(err, b.Close())
	}
	if err := d.retainLast(); err != nil {
		return 0, errors.Join(fmt.Errorf("retaining checkpoint %d: %w", d.last.ID, err), b.Close())
	}
	// From here on the id is used, whatever becomes of it.
	d.mu.Lock()
	d.mu.used = m.ID
	d.mu.Unlock()
	e := d.engine
	if err := e.guard(func() error { return e.db.Apply(b, pebble.Sync) }); err != nil {
		return 0, e.giveUp(err)
	}
	if err := d.acknowledge(m.ID); err != nil {
		return 0, err
	}
	d.last = cloneManifest(m)
	d.setView(e)
	d.prune()
	return size, b.Close()
}

// roomFor returns an error if there is no room for a batch of a size in bytes. A
// file system that does not tell is taken to have room.
func (d *Directory) roomFor(size int64) error {
	usage, err := d.root.fs.GetDiskUsage(d.root.path)
	if need := uint64(2*size) + diskReserve; err == nil && usage.AvailBytes < need {
		return fmt.Errorf("%w: %s has %d bytes free, %d are needed", ErrDiskFull, d.root.path, usage.AvailBytes, need)
	}
	return nil
}

// batch collects what makes m the last checkpoint. Setting and deleting in a
// batch only grows it; errors come from Apply.
func (d *Directory) batch(m *checkpoint.Manifest, changes []checkpoint.Change) *pebble.Batch {
	b := d.engine.db.NewBatch()
	var record []byte
	set := func(key, payload []byte) {
		record = seal(record[:0], key, payload)
		_ = b.Set(key, record, nil)
	}
	for _, c := range changes {
		key := stateKey(c.Operator, c.Scope, c.Key)
		if c.Value == nil {
			_ = b.Delete(key, nil)
		} else {
			set(key, c.Value)
		}
	}
	var before checkpoint.Positions
	if d.last != nil {
		before = d.last.Positions
	}
	for p, pos := range m.Positions {
		if old, ok := before[p]; !ok || old != pos {
			set(positionKey(p), encodePosition(pos))
		}
	}
	for p := range before {
		if _, ok := m.Positions[p]; !ok {
			_ = b.Delete(positionKey(p), nil)
		}
	}
	_ = b.Delete(linkKey(idOf(d.last)), nil)
	set(linkKey(m.ID), nil)
	set(manifestKey, summarize(*m).encode())
	return b
}

// acknowledge notes what is durable now, first of all that a restored folder is
// the one that counts.
func (d *Directory) acknowledge(id checkpoint.ID) error {
	if d.staged {
		return d.promote(id)
	}
	if err := d.acks.write(acknowledgement{d.identity.generation, id}); err != nil {
		// The checkpoint is true all the same. Only the proof that it was there is
		// missing, should the store lose it.
		d.conf.Logf("%s: noting checkpoint %d: %v", d.root.join(acknowledgedFile), id, err)
	}
	return nil
}

// promote makes the folder of a restore the one that counts and drops the newer
// history.
func (d *Directory) promote(first checkpoint.ID) error {
	next := d.identity
	next.generation++
	next.restoredFrom = d.last.ID
	next.first = first
	if err := d.writeIdentity(next); err != nil {
		// The rename may have happened or not: only a new start can tell.
		d.dead = checkpoint.Fatal(fmt.Errorf("making the restored checkpoint %d count: %w", d.last.ID, err))
		return d.dead
	}
	d.staged = false
	d.superseded = nil
	acks, err := d.root.openAcknowledgements(acknowledgement{next.generation, first})
	if err != nil {
		d.dead = checkpoint.Fatal(err)
		return d.dead
	}
	d.acks = acks
	if err := d.clean(); err != nil {
		d.conf.Logf("%s: dropping the history after checkpoint %d, to be tried again at the next start: %v",
			d.root.path, next.restoredFrom, err)
	}
	return nil
}

// revive opens a broken store anew. The broken one does not write any more, and
// is read from until the new one takes its place.
func (d *Directory) revive(ctx context.Context) error {
	if d.dead != nil {
		return d.dead
	}
	if d.engine == nil {
		return errClosed
	}
	cause := d.engine.failure()
	if cause == nil {
		return nil
	}
	live := folder{d.root.fs, d.engine.path}
	found, err := d.inspect(ctx, live)
	if err != nil {
		return d.stillBroken(err)
	}
	if idOf(found) != idOf(d.last) {
		d.dead = checkpoint.Fatal(fmt.Errorf("checkpoint %d failed, but is in the store: start anew from there: %w", idOf(found), cause))
		return d.dead
	}
	d.reading.Lock()
	defer d.reading.Unlock()
	if d.beingRead() {
		return d.stillBroken(errors.New("its state is being read"))
	}
	d.endView(cause)
	if err := d.engine.close(); err != nil {
		d.dead = checkpoint.Fatal(err)
		return d.dead
	}
	if err := d.openLive(live, found); err != nil {
		return d.stillBroken(err)
	}
	d.conf.Logf("%s: opened anew after: %v", live.path, cause)
	return nil
}

// stillBroken is why the store could not be opened anew. Unless it is damage, the
// next Persist tries again.
func (d *Directory) stillBroken(err error) error {
	err = fmt.Errorf("opening the store anew: %w (%w)", err, d.engine.failure())
	if damaged(err) {
		err = checkpoint.Fatal(err)
		d.dead = err
	}
	return err
}
