package store

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strconv"
	"strings"

	"github.com/tidemarkhq/tidemark/checkpoint"
)

func (d *Directory) retained() folder { return d.root.sub(retainedFolder) }

// retainLast keeps the last checkpoint before the next one replaces it. What is
// not complete has a temporary name, so a crash leaves nothing half.
func (d *Directory) retainLast() error {
	if d.conf.Retain < 2 || d.last == nil {
		return nil
	}
	all, name := d.retained(), fmt.Sprint(d.last.ID)
	if there, err := all.exists(name); err != nil || there {
		return err
	}
	making := all.sub(name + temporarySuffix)
	if err := making.fs.RemoveAll(making.path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := making.fs.MkdirAll(making.path, 0o755); err != nil {
		return err
	}
	if err := d.engine.guard(func() error { return d.engine.db.Checkpoint(making.join(stateFolder)) }); err != nil {
		return err
	}
	if err := making.create(checkpointFile, encodeCheckpoint(*d.last)); err != nil {
		return err
	}
	if err := making.sync(); err != nil {
		return err
	}
	if err := all.fs.Rename(making.path, all.join(name)); err != nil {
		return err
	}
	return errors.Join(all.sync(), d.root.sync())
}

// prune removes retained checkpoints beyond Retain. What cannot be removed is
// tried again with the next checkpoint.
func (d *Directory) prune() {
	ids, err := d.retainedIDs()
	if err != nil {
		d.conf.Logf("pruning retained checkpoints: %v", err)
		return
	}
	ids = slices.DeleteFunc(ids, func(id checkpoint.ID) bool { return id >= d.last.ID })
	for _, id := range ids[:max(0, len(ids)-(d.conf.Retain-1))] {
		if err := d.retained().remove(fmt.Sprint(id)); err != nil {
			d.conf.Logf("pruning retained checkpoint %d: %v", id, err)
		}
	}
}

// cleanRetained removes what is temporary, and what belongs to a history that a
// restore dropped.
func (d *Directory) cleanRetained() error {
	names, err := d.retained().list()
	if err != nil {
		return fmt.Errorf("listing %s: %w", d.retained().path, err)
	}
	for _, name := range names {
		if !strings.HasSuffix(name, temporarySuffix) {
			continue
		}
		if err := d.root.fs.RemoveAll(d.retained().join(name)); err != nil {
			return fmt.Errorf("removing %s: %w", d.retained().join(name), err)
		}
	}
	if d.identity.restoredFrom == 0 {
		return nil
	}
	ids, err := d.retainedIDs()
	if err != nil {
		return err
	}
	for _, id := range ids {
		if d.identity.restoredFrom < id && id < d.identity.first {
			if err := d.retained().remove(fmt.Sprint(id)); err != nil {
				return fmt.Errorf("dropping retained checkpoint %d: %w", id, err)
			}
		}
	}
	return nil
}

// retainedIDs returns the ids of the earlier checkpoints, in order.
func (d *Directory) retainedIDs() ([]checkpoint.ID, error) {
	names, err := d.retained().list()
	if err != nil {
		return nil, fmt.Errorf("listing %s: %w", d.retained().path, err)
	}
	var ids []checkpoint.ID
	for _, name := range names {
		if id, err := strconv.ParseInt(name, 10, 64); err == nil && id > 0 {
			ids = append(ids, checkpoint.ID(id))
		}
	}
	slices.Sort(ids)
	return ids, nil
}

// readRetained returns what the CHECKPOINT file of a retained checkpoint says.
func (d *Directory) readRetained(id checkpoint.ID) (checkpoint.Manifest, error) {
	f := d.retained().sub(fmt.Sprint(id))
	b, err := f.read(checkpointFile)
	if err != nil {
		return checkpoint.Manifest{}, damage("reading "+f.join(checkpointFile), err)
	}
	m, err := decodeCheckpoint(b)
	if err == nil && m.ID != id {
		err = fmt.Errorf("%w: it is of checkpoint %d", checkpoint.ErrCorrupt, m.ID)
	}
	return m, damage("reading "+f.join(checkpointFile), err)
}

// List implements checkpoint.Store. A retained checkpoint that is damaged is
// logged and left out: it cannot be restored from.
func (d *Directory) List(ctx context.Context) ([]checkpoint.Manifest, error) {
	ids, err := d.retainedIDs()
	if err != nil {
		return nil, err
	}
	var all []checkpoint.Manifest
	for _, id := range ids {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		m, err := d.readRetained(id)
		switch {
		case err == nil:
			all = append(all, m)
		case damaged(err):
			d.conf.Logf("retained checkpoint %d cannot be restored from: %v", id, err)
		default:
			return nil, err
		}
	}
	for _, m := range []*checkpoint.Manifest{d.last, d.superseded} {
		if m != nil && !slices.Contains(ids, m.ID) {
			all = append(all, *cloneManifest(m))
		}
	}
	slices.SortFunc(all, func(a, b checkpoint.Manifest) int { return int(a.ID - b.ID) })
	return all, nil
}
