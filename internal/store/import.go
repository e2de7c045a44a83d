package store

import (
	"context"
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2"

	"github.com/tidemarkhq/tidemark/checkpoint"
	"github.com/tidemarkhq/tidemark/internal/savepoint"
)

// Importer makes a directory store out of a savepoint. Of the options only
// Directory, Logf, Now and FS count.
type Importer struct{ Options Options }

var _ savepoint.Importer = Importer{}

// Import implements savepoint.Importer. The folder is made if it is not there.
func (i Importer) Import(ctx context.Context, s savepoint.Snapshot) error {
	d, err := lockFolder(i.Options, folder.empty)
	if err != nil {
		return fmt.Errorf("importing into %s: %w", i.Options.Directory, err)
	}
	// Somebody may have been faster.
	if err = d.root.empty(); err == nil {
		if err = d.importing(ctx, s); err != nil {
			err = errors.Join(err, d.undo())
		}
	}
	if err = errors.Join(err, d.Close()); err != nil {
		return fmt.Errorf("importing into %s: %w", d.root.path, err)
	}
	return nil
}

// empty returns an error if there is anything but the rest of a store that never
// was ready.
func (f folder) empty() error {
	id, found, err := f.readIdentity()
	if err != nil {
		return err
	}
	if found {
		return fmt.Errorf("%w: it holds a store of job %q; name another folder, or delete what is there (checkpoint delete --all)",
			savepoint.ErrNotEmpty, id.job)
	}
	names, err := f.list()
	if err != nil {
		return err
	}
	for _, name := range names {
		if name != lockFile && name != holderFile && !ofStore(name) {
			return fmt.Errorf("%w: it has %s; name a folder of its own", savepoint.ErrNotEmpty, name)
		}
	}
	return nil
}

func (d *Directory) importing(ctx context.Context, s savepoint.Snapshot) error {
	m := s.Manifest()
	if m.ID <= 0 || m.Job == "" {
		return fmt.Errorf("%w: checkpoint %d of job %q", checkpoint.ErrCorrupt, m.ID, m.Job)
	}
	d.conf.Job = m.Job
	if err := d.root.sweep(); err != nil {
		return err
	}
	err := d.build(s.Origin().Share, func(e *engine) error {
		if err := d.fill(ctx, e, s); err != nil {
			return err
		}
		if err := e.db.Apply(d.batch(m, nil), pebble.Sync); err != nil {
			return err
		}
		d.last = m
		return nil
	})
	// Nobody reads it here, and what closing has to say comes before it counts.
	if err == nil {
		err = errors.Join(d.closeEngine(), ctx.Err())
	}
	if err != nil {
		return err
	}
	return d.finish()
}

func (d *Directory) closeEngine() error {
	if d.engine == nil {
		return nil
	}
	err := d.engine.close()
	if d.engine.ended {
		d.engine = nil
	}
	return err
}

// importBatch is how much state is written at a time, in bytes.
const importBatch = 1 << 20

// fill writes all state. None of it counts before the checkpoint is there, which is
// synced after it, so nothing here is.
func (d *Directory) fill(ctx context.Context, e *engine, s savepoint.Snapshot) error {
	b := e.db.NewBatch()
	var key, record []byte
	write := func() error {
		if err := d.roomFor(int64(b.Len())); err != nil {
			return err
		}
		if err := e.db.Apply(b, pebble.NoSync); err != nil {
			return err
		}
		b.Reset()
		return ctx.Err()
	}
	err := s.Each(ctx, func(entry savepoint.Entry) error {
		key = stateKey(entry.Operator, entry.Scope, entry.Key)
		record = seal(record[:0], key, entry.Value)
		_ = b.Set(key, record, nil) // It only grows the batch; errors come from Apply.
		if b.Len() < importBatch {
			return nil
		}
		return write()
	})
	if err == nil {
		err = write()
	}
	return errors.Join(err, b.Close())
}

// undo leaves the folder as empty as it was.
func (d *Directory) undo() error {
	if d.acks != nil {
		_ = d.acks.file.Close() // It is removed.
		d.acks = nil
	}
	if err := d.closeEngine(); d.engine != nil {
		return err
	}
	if d.identity == (identity{}) {
		return nil // Nothing was made.
	}
	// STORE may say that it is ready although writing it failed.
	gone := d.identity
	gone.ready = false
	if err := d.writeIdentity(gone); err != nil {
		return err
	}
	return d.root.sweep()
}
