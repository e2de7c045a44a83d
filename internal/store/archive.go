package store

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"github.com/tidemarkhq/tidemark/checkpoint"
	"github.com/tidemarkhq/tidemark/internal/savepoint"
)

// Archive is the store of a folder that no job works with. It reads the store
// without writing to it, except for Delete and DeleteAll.
type Archive struct{ d *Directory }

var _ savepoint.Archive = (*Archive)(nil)

// OpenArchive locks the store in a folder. Of the options only Directory, Logf, Now
// and FS count. It returns savepoint.ErrNoStore if there is none, and
// checkpoint.ErrLocked, which names the process, if somebody works with it.
func OpenArchive(o Options) (*Archive, error) {
	d, err := lockFolder(o, func(root folder) error {
		// Before anything is made in a folder that is not ours.
		_, found, err := root.readIdentity()
		if err == nil && !found {
			err = fmt.Errorf("%w in %s", savepoint.ErrNoStore, root.path)
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("opening the checkpoint store: %w", err)
	}
	id, found, err := d.root.readIdentity()
	if err == nil && !found {
		err = fmt.Errorf("%w in %s", savepoint.ErrNoStore, d.root.path)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("opening the checkpoint store: %w", err), d.lock.Close())
	}
	d.identity = id
	return &Archive{d}, nil
}

// lockFolder makes the folder and locks it, if check has nothing against it.
func lockFolder(o Options, check func(folder) error) (*Directory, error) {
	o.Verify = -1 // Whoever reads a checkpoint here reads all of it.
	conf, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	if err := check(folder{conf.FS, conf.Directory}); err != nil {
		return nil, err
	}
	path, err := resolve(conf.FS, conf.Directory)
	if err != nil {
		return nil, err
	}
	d := &Directory{conf: conf, root: folder{conf.FS, path}}
	if d.lock, err = d.root.acquire(conf.Now()); err != nil {
		return nil, err
	}
	return d, nil
}

// Job implements savepoint.Archive.
func (a *Archive) Job() string { return a.d.identity.job }

// Origin implements savepoint.Archive.
func (a *Archive) Origin() savepoint.Origin { return a.d.origin() }

// List implements savepoint.Archive. A store whose last checkpoint is damaged is an
// error; earlier ones that are damaged are logged and left out.
func (a *Archive) List(ctx context.Context) ([]checkpoint.Manifest, error) {
	last, err := a.d.inspectLive(ctx)
	if err != nil {
		return nil, err
	}
	a.d.last = last
	return a.d.List(ctx)
}

// Snapshot implements savepoint.Archive.
func (a *Archive) Snapshot(ctx context.Context, id checkpoint.ID) (savepoint.Snapshot, error) {
	ids, err := a.d.retainedIDs()
	if err != nil {
		return nil, err
	}
	last, lost := a.d.inspectLive(ctx)
	switch {
	case lost == nil && last != nil && (id == 0 || id == last.ID):
		return a.open(a.d.live(), last)
	case id != 0 && slices.Contains(ids, id):
		return a.openRetained(ctx, id)
	case lost != nil:
		return nil, fmt.Errorf("%w; there are earlier checkpoints: %s", lost, listIDs(ids))
	case last == nil:
		return nil, fmt.Errorf("%w in %s yet", checkpoint.ErrNoCheckpoint, a.d.root.path)
	}
	return nil, fmt.Errorf("%w: %d; there are: %s", savepoint.ErrUnknownID, id, listIDs(append(ids, last.ID)))
}

func (a *Archive) openRetained(ctx context.Context, id checkpoint.ID) (savepoint.Snapshot, error) {
	want, err := a.d.readRetained(id)
	if err != nil {
		return nil, err
	}
	place := a.d.retained().sub(fmt.Sprint(id), stateFolder)
	found, err := a.d.inspect(ctx, place)
	if err != nil {
		return nil, err
	}
	if idOf(found) != id || summarize(*found).digest != summarize(want).digest {
		return nil, fmt.Errorf("%w: %s holds checkpoint %d", checkpoint.ErrCorrupt, place.path, idOf(found))
	}
	return a.open(place, found)
}

// open opens a folder of Pebble's, which was inspected before, for reading.
func (a *Archive) open(place folder, m *checkpoint.Manifest) (savepoint.Snapshot, error) {
	e, err := openEngine(place, false, true, a.d.conf.Logf)
	if err != nil {
		return nil, damage("opening "+place.path, err)
	}
	return &snapshot{engine: e, reader: e.db, manifest: m, origin: a.d.origin(), close: e.close}, nil
}

// Delete implements savepoint.Archive.
func (a *Archive) Delete(ctx context.Context, id checkpoint.ID) error {
	ids, err := a.d.retainedIDs()
	if err != nil {
		return err
	}
	// If the last one cannot be read, the others may be all that is left; but whoever
	// names one of them has a reason.
	last, _ := a.d.inspectLive(ctx)
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case last != nil && last.ID == id:
		return fmt.Errorf("checkpoint %d is the last one, which the job goes on from: it can only be deleted with all others", id)
	case !slices.Contains(ids, id):
		return fmt.Errorf("%w: %d; there are: %s", savepoint.ErrUnknownID, id, listIDs(append(ids, idOf(last))))
	}
	if err := a.d.retained().remove(fmt.Sprint(id)); err != nil {
		return fmt.Errorf("deleting checkpoint %d: %w", id, err)
	}
	return a.d.retained().sync()
}

// DeleteAll implements savepoint.Archive. The folder and its lock stay.
func (a *Archive) DeleteAll(context.Context) error {
	root := a.d.root
	if err := removeAll(root, retainedFolder); err != nil {
		return fmt.Errorf("deleting all checkpoints: %w", err)
	}
	// From here on there is no store, whatever of it is still in the folder.
	gone := a.d.identity
	gone.ready = false
	if err := a.d.writeIdentity(gone); err != nil {
		return fmt.Errorf("deleting all checkpoints: %w", err)
	}
	if err := root.sweep(); err != nil {
		return fmt.Errorf("the checkpoints are deleted, but some of their files are not: %w", err)
	}
	return nil
}

// sweep removes what belongs to a store that is not ready. STORE goes last: what it
// says of the rest holds until then.
func (f folder) sweep() error {
	names, err := f.list()
	if err != nil {
		return err
	}
	for _, name := range names {
		if name == identityFile || !ofStore(name) {
			continue
		}
		if err := removeAll(f, name); err != nil {
			return err
		}
	}
	if err := f.sync(); err != nil {
		return err
	}
	return errors.Join(removeAll(f, identityFile), f.sync())
}

func removeAll(f folder, name string) error {
	if err := f.fs.RemoveAll(f.join(name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// ofStore tells whether a name in the folder is one of a store, its lock aside.
func ofStore(name string) bool {
	return name == identityFile || name == acknowledgedFile || name == retainedFolder ||
		strings.HasPrefix(name, livePrefix) || strings.HasSuffix(name, temporarySuffix)
}

// Close implements savepoint.Archive.
func (a *Archive) Close() error { return a.d.lock.Close() }
