package store

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"github.com/cockroachdb/pebble/v2"

	"github.com/tidemarkhq/tidemark/checkpoint"
	"github.com/tidemarkhq/tidemark/internal/savepoint"
)

// idGap is left in the ids when the last one cannot be read any more: what a
// crash of the machine can have taken from ACKNOWLEDGED is far less.
const idGap = 1000

func (d *Directory) open(ctx context.Context) error {
	id, found, err := d.root.readIdentity()
	if err != nil {
		return err
	}
	if found {
		d.identity = id
		return d.reopen(ctx)
	}
	if d.conf.RestoreFrom != 0 {
		return unknownID(d.conf.RestoreFrom, nil)
	}
	return d.create(ctx)
}

// create makes an empty store.
func (d *Directory) create(ctx context.Context) error {
	err := d.build(d.conf.Share.stored(), func(*engine) error { return nil })
	if err == nil {
		err = d.finish()
	}
	if err != nil {
		return err
	}
	d.setView(d.engine)
	return ctx.Err()
}

// finish makes a store that was made count.
func (d *Directory) finish() error {
	ready := d.identity
	ready.ready = true
	return d.writeIdentity(ready)
}

// build makes a store, in which fill puts its first checkpoint, if it has one. Until
// STORE says that it is ready, whatever there is may be thrown away, so a crash in
// between starts over.
func (d *Directory) build(share savepoint.Share, fill func(*engine) error) error {
	d.identity = identity{job: d.conf.Job, share: share, generation: 1}
	if d.identity.job == "" {
		d.identity.job = newJob()
	}
	if err := d.writeIdentity(d.identity); err != nil {
		return err
	}
	live := d.live()
	if err := d.root.fs.RemoveAll(live.path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("removing %s: %w", live.path, err)
	}
	e, err := openEngine(live, true, false, d.conf.Logf)
	if err != nil {
		return fmt.Errorf("making %s: %w", live.path, err)
	}
	d.engine = e
	err = e.guard(func() error {
		b := e.db.NewBatch()
		_ = b.Set(baseKey, seal(nil, baseKey, nil), nil)
		_ = b.Set(linkKey(0), seal(nil, linkKey(0), nil), nil)
		if err := e.db.Apply(b, pebble.Sync); err != nil {
			return err
		}
		if err := fill(e); err != nil {
			return err
		}
		// Into a table: the base record must not go away with the log.
		return e.db.Flush()
	})
	if err != nil {
		return fmt.Errorf("making %s: %w", live.path, err)
	}
	if err := d.root.sync(); err != nil {
		return fmt.Errorf("making %s: %w", live.path, err)
	}
	return d.openAcknowledgements()
}

// reopen opens a store that is there.
func (d *Directory) reopen(ctx context.Context) error {
	last, lost := d.inspectLive(ctx)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if lost != nil && !damaged(lost) {
		return lost
	}
	retained, err := d.retainedIDs()
	if err != nil {
		return err
	}
	d.mu.used = max(idOf(last), d.identity.first, slices.Max(append(retained, 0)))
	if a, err := d.root.readAcknowledgement(); err == nil {
		d.mu.used = max(d.mu.used, a.id)
	}
	if lost == nil && last == nil && d.conf.RestoreFrom == 0 {
		err = d.adopt()
	} else {
		err = d.identity.admit(d.conf.Job, d.conf.Share.stored())
	}
	if err != nil {
		return err
	}
	from := d.conf.RestoreFrom
	if from != 0 && from == d.identity.restoredFrom {
		d.conf.Logf("%s: checkpoint.restore_from %d was done before; going on from checkpoint %d. "+
			"To go back once more, start without it first", d.root.path, from, idOf(last))
		from = 0
	} else if lost == nil && from != 0 && from == idOf(last) {
		from = 0
	}
	if from != 0 {
		return d.stage(ctx, from, last, lost, retained)
	}
	if lost != nil {
		return fmt.Errorf("%w; restore_from can go back to a retained checkpoint (there are: %s)",
			lost, listIDs(retained))
	}
	return d.resume(last)
}

// resume goes on from the last checkpoint.
func (d *Directory) resume(last *checkpoint.Manifest) error {
	if err := d.clean(); err != nil {
		return err
	}
	if d.identity.restoredFrom != 0 && d.conf.RestoreFrom != d.identity.restoredFrom {
		rearmed := d.identity
		rearmed.restoredFrom = 0
		if err := d.writeIdentity(rearmed); err != nil {
			return err
		}
	}
	if err := d.openLive(d.live(), last); err != nil {
		return err
	}
	return d.openAcknowledgements()
}

// stage prepares a restore from an earlier checkpoint. Nothing that was there
// before is changed.
func (d *Directory) stage(
	ctx context.Context, from checkpoint.ID, newest *checkpoint.Manifest, lost error, retained []checkpoint.ID,
) error {
	if !slices.Contains(retained, from) {
		if newest != nil {
			retained = append(retained, newest.ID)
		}
		return errors.Join(unknownID(from, retained), lost)
	}
	if lost != nil {
		d.conf.Logf("%s: the last checkpoint cannot be read: %v", d.root.path, lost)
		d.mu.used += idGap
	}
	if err := d.clean(); err != nil {
		return err
	}
	source := d.root.sub(retainedFolder, fmt.Sprint(from))
	target := d.root.sub(liveFolder(d.identity.generation + 1))
	if err := source.sub(stateFolder).linkAll(target); err != nil {
		return damage(fmt.Sprintf("restoring checkpoint %d", from), err)
	}
	if err := d.root.sync(); err != nil {
		return fmt.Errorf("restoring checkpoint %d: %w", from, err)
	}
	want, err := d.readRetained(from)
	if err != nil {
		return err
	}
	found, err := d.inspect(ctx, target)
	if err != nil {
		return err
	}
	if idOf(found) != from || summarize(*found).digest != summarize(want).digest {
		return fmt.Errorf("%w: %s holds checkpoint %d", checkpoint.ErrCorrupt, source.path, idOf(found))
	}
	d.superseded = newest
	d.staged = true
	return d.openLive(target, found)
}

// openLive opens a live folder that was inspected before for writing.
func (d *Directory) openLive(live folder, last *checkpoint.Manifest) error {
	e, err := openEngine(live, false, false, d.conf.Logf)
	if err != nil {
		return damage("opening "+live.path, err)
	}
	d.engine = e
	again, err := readSummary(e.db)
	if err != nil {
		return damage("reading "+live.path, err)
	}
	if again.manifest.ID != idOf(last) {
		return fmt.Errorf("%w: %s held checkpoint %d when it was checked, and holds %d",
			checkpoint.ErrCorrupt, live.path, idOf(last), again.manifest.ID)
	}
	d.last = last
	d.setView(e)
	return nil
}

// adopt binds a store without any checkpoint to who opens it.
func (d *Directory) adopt() error {
	id := d.identity
	id.share = d.conf.Share.stored()
	if d.conf.Job != "" {
		id.job = d.conf.Job
	}
	if id == d.identity {
		return nil
	}
	return d.writeIdentity(id)
}

func (d *Directory) writeIdentity(id identity) error {
	if err := d.root.replace(identityFile, id.encode()); err != nil {
		return fmt.Errorf("writing %s: %w", d.root.join(identityFile), err)
	}
	d.identity = id
	return nil
}

func (d *Directory) openAcknowledgements() (err error) {
	d.acks, err = d.root.openAcknowledgements(acknowledgement{d.identity.generation, idOf(d.last)})
	return err
}

func (d *Directory) live() folder { return d.root.sub(liveFolder(d.identity.generation)) }

// clean removes what a crash or an undone restore left: temporary files, live
// folders that do not count, retained checkpoints of a history that was dropped.
func (d *Directory) clean() error {
	names, err := d.root.list()
	if err != nil {
		return fmt.Errorf("listing %s: %w", d.root.path, err)
	}
	for _, name := range names {
		stale := strings.HasPrefix(name, livePrefix) && name != liveFolder(d.identity.generation)
		if stale || strings.HasSuffix(name, temporarySuffix) {
			if err := d.root.fs.RemoveAll(d.root.join(name)); err != nil {
				return fmt.Errorf("removing %s: %w", d.root.join(name), err)
			}
		}
	}
	return d.cleanRetained()
}

func unknownID(id checkpoint.ID, there []checkpoint.ID) error {
	return checkpoint.Fatal(fmt.Errorf("%w: checkpoint.restore_from is %d; there are: %s", ErrUnknownID, id, listIDs(there)))
}

func listIDs(ids []checkpoint.ID) string {
	if len(ids) == 0 {
		return "none"
	}
	ids = slices.Compact(slices.Sorted(slices.Values(ids)))
	return strings.Trim(fmt.Sprint(ids), "[]")
}
